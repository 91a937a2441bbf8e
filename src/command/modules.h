/* SPDX-License-Identifier: MIT
 * The modules of casulo as bytecode, which src/bundle.lua writes. */
#ifndef CASULO_MODULES_H
#define CASULO_MODULES_H

#include <stddef.h>

extern const struct module {
  const char *name; /* NULL after the last */
  const char *code;
  size_t size;
} modules[];

#endif
