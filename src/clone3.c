// SPDX-License-Identifier: MIT
/* clone3(2) with a stack of the child's own. The C library has no wrapper: the child returns from the
 * call with an empty stack, so there is no frame to return into. */
#include "clone3.h"

#include <sys/syscall.h>

#if defined(__x86_64__)
__attribute__((noinline, no_sanitize("address", "undefined", "thread"))) long clone3_on_stack(
  struct clone_args *args, void (*run)(void *), void *arg) {
  long result;
  register void (*child)(void *) __asm__("r12") = run;
  register void *child_arg __asm__("r13") = arg;
  __asm__ volatile(
    "syscall\n\t"
    "testq %%rax, %%rax\n\t"
    "jnz 1f\n\t"
    "xorl %%ebp, %%ebp\n\t" /* where a debugger's walk up the stack ends */
    "movq %[arg], %%rdi\n\t"
    "callq *%[run]\n\t"
    "hlt\n"
    "1:"
    : "=a"(result)
    : "0"((long)SYS_clone3), "D"(args), "S"(sizeof *args), [run] "r"(child), [arg] "r"(child_arg)
    : "rcx", "r11", "memory", "cc");
  return result;
}
#elif defined(__aarch64__)
__attribute__((noinline, no_sanitize("address", "undefined", "thread"))) long clone3_on_stack(
  struct clone_args *args, void (*run)(void *), void *arg) {
  register long x8 __asm__("x8") = SYS_clone3;
  register long x0 __asm__("x0") = (long)args;
  register long x1 __asm__("x1") = sizeof *args;
  register void (*child)(void *) __asm__("x19") = run;
  register void *child_arg __asm__("x20") = arg;
  __asm__ volatile(
    "svc #0\n\t"
    "cbnz x0, 1f\n\t"
    "mov x29, xzr\n\t"
    "mov x30, xzr\n\t"
    "mov x0, %[arg]\n\t"
    "blr %[run]\n\t"
    "brk #1\n"
    "1:"
    : "+r"(x0)
    : "r"(x8), "r"(x1), [run] "r"(child), [arg] "r"(child_arg)
    : "memory", "cc");
  return x0;
}
#endif
