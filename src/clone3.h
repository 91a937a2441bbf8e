/* SPDX-License-Identifier: MIT
 * clone3(2) for a child on a stack of its own. */
#ifndef CASULO_CLONE3_H
#define CASULO_CLONE3_H

#include <linux/sched.h>

/* The child calls run(arg) on args->stack, and run must not return. The caller gets a pid or minus an errno. */
long clone3_on_stack(struct clone_args *args, void (*run)(void *), void *arg);

#endif
