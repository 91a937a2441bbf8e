// SPDX-License-Identifier: MIT
/* A hostile dynamic loader: the kernel runs it in place of the program, and it executes a script. */
#include <sys/syscall.h>

static const char *const words[] = { "/bin/sh", "/hostile", 0 };
static const char *const none[] = { 0 };

void _start(void);
void _start(void) {
  for (;;) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"((long)SYS_execve), "D"(words[0]), "S"(words), "d"(none) : "rcx", "r11", "memory");
#else
    register long x8 __asm__("x8") = SYS_execve;
    register const void *x0 __asm__("x0") = words[0], *x1 __asm__("x1") = words, *x2 __asm__("x2") = none;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
#endif
  }
}
