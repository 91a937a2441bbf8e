/* SPDX-License-Identifier: MIT
 * What the stand-ins for the C library's functions ask of the kernel that is none. */
#ifndef CASULO_FUZZ_KERNEL_H
#define CASULO_FUZZ_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

extern bool kernel_in_child; /* whose descriptors are its own */
long kernel_call(long nr, const long *a); /* the result, or minus an errno; all six arguments */
long kernel_verdict(void);
long kernel_open(void);
long kernel_close(int fd);
long kernel_start(void);
bool kernel_reap(long pid);
void kernel_read(const void *memory, size_t size);
void kernel_write(void *memory, size_t size);

#endif
