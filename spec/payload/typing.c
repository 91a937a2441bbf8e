// SPDX-License-Identifier: MIT
/* Tries to type into the terminal that is its standard input, in every way there is to make the system call. Prints a
 * line for each way, with what came of it, and exits with 1 where one was not refused. */
#include <linux/tiocl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

static char letter[2] = "x";
static char paste[2] = { TIOCL_PASTESEL, 0 };
static int succeeded;

static long native(long number, long request, void *argument) {
  long result;
#if defined(__x86_64__)
  __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(0L), "S"(request), "d"(argument) : "rcx", "r11", "memory");
#else
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = 0, x1 __asm__("x1") = request, x2 __asm__("x2") = (long)argument;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  result = x0;
#endif
  return result;
}

static void say(const char *way, const char *request, long result) {
  printf("%s %s %ld\n", way, request, result);
  if (result >= 0) succeeded = 1;
}

static void all_ways(const char *name, long request, void *argument) {
  say("64", name, native(SYS_ioctl, request, argument));
  say("64 high", name, native(SYS_ioctl, request | 1L << 32, argument)); /* the kernel looks at the lower half only */
  say("64 sign", name, native(SYS_ioctl, (long)((unsigned long)request | ~0UL << 32), argument));
#if defined(__x86_64__)
  say("x32", name, native(0x40000000 | 514, request, argument));
  say("x32 high", name, native(0x40000000 | 514, request | 1L << 32, argument));
  say("x32 16", name, native(0x40000000 | SYS_ioctl, request, argument));
  long result;
  __asm__ volatile("push %%rbx\n xor %%ebx, %%ebx\n int $0x80\n pop %%rbx" /* addresses of a static program fit 32 bits */
                   : "=a"(result) : "0"(54L), "c"(request), "d"(argument) : "memory", "r8", "r9", "r10", "r11");
  say("i386", name, (int)result);
#endif
}

int main(void) {
  all_ways("TIOCSTI", TIOCSTI, letter);
  all_ways("TIOCLINUX", TIOCLINUX, paste);
  return succeeded;
}
