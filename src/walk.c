// SPDX-License-Identifier: MIT
/* The loop that walks a program. It allocates nothing, and writes nothing but its stack, the
 * results and the record: whoever shares this memory finds it whole at whatever instant the
 * walker is killed. */
#include "walk.h"

#include <sys/syscall.h>

/* Not syscall(3): that writes errno, which is the parent's. */
#if defined(__x86_64__)
UNINSTRUMENTED long raw_call(long nr, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
UNINSTRUMENTED long raw_call(long nr, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = nr;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
#else
#error "casulo knows how to start a child on x86-64 and aarch64"
#endif

UNINSTRUMENTED static bool accepted(const struct op *op, long result) {
  if (result >= 0) return !op->exact || result == op->expect;
  for (int i = 0; i < WALK_TOLERATED; i++)
    if (op->tolerate[i] == -result) return true;
  return false;
}

UNINSTRUMENTED bool walk_steps(struct program *program, int first, int last) {
  struct record *record = &program->record;
  for (int i = first; i < last; i++) {
    const struct op *op = &program->op[i];
    long a[WALK_ARGS];
    for (int k = 0; k < WALK_ARGS; k++) a[k] = op->from[k] ? program->value[op->from[k] - 1] : op->arg[k];
    if (op->into) *op->into = (int)program->value[op->into_from - 1];
    *(volatile int *)&record->at = i + 1;
    long result = raw_call(op->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    program->value[i] = result;
    if (accepted(op, result)) continue;
    record->error = result < 0 ? (int)-result : 0;
    record->failed = i + 1;
    return false;
  }
  return true;
}

/* A filter may refuse a call, and an end that is refused must not become a loop. */
UNINSTRUMENTED _Noreturn void raw_exit(int status) {
  raw_call(SYS_exit_group, status, 0, 0, 0, 0, 0);
  raw_call(SYS_exit, status, 0, 0, 0, 0, 0);
  __builtin_trap();
}

UNINSTRUMENTED _Noreturn void walk(struct program *program) {
  int status = 125;
  if (walk_steps(program, 0, program->count)) {
    program->record.done = true;
    status = 0;
  }
  raw_exit(status);
}
