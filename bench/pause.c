// SPDX-License-Identifier: MIT
/* The smallest command: it waits for a signal. What a container of it takes in memory is the container's own, and one
 * process's. Without the C library, so that nothing of its start is counted. */
#include <sys/syscall.h>

void _start(void);

void _start(void) {
#if defined(__x86_64__)
  for (;;) __asm__ volatile("syscall" : : "a"(SYS_pause) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register long x0 __asm__("x0") = 0;
  register long x1 __asm__("x1") = 0;
  register long x2 __asm__("x2") = 0;
  register long x3 __asm__("x3") = 0;
  register long x8 __asm__("x8") = SYS_ppoll;
  for (;;) __asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3), "r"(x8) : "memory");
#endif
}
