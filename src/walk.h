/* SPDX-License-Identifier: MIT
 * A program of system calls, and the loop that walks it. No Lua, no libc: a child that shares
 * its parent's memory runs this, and may be killed at any instant. */
#ifndef CASULO_WALK_H
#define CASULO_WALK_H

#include <stdbool.h>

/* What runs in a child keeps out of what a sanitizer writes down in the memory that is not the child's. */
#define UNINSTRUMENTED __attribute__((no_sanitize("address", "undefined", "thread")))

enum { WALK_ARGS = 6, WALK_TOLERATED = 4 };

struct op {
  long nr;
  long arg[WALK_ARGS];
  int *into;             /* where a structure holds a descriptor that is known only now, or NULL */
  short into_from;       /* 1 + the index of its value */
  short from[WALK_ARGS]; /* 1 + an index into `value` that takes the place of `arg`, or 0 */
  int tolerate[WALK_TOLERATED];
  long expect;
  bool exact;    /* any result but `expect` is a failure */
  bool is_final; /* where it succeeds it does not come back: an exec or an exit */
};

/* What the child writes while it walks, and the parent reads when it is gone. */
struct record {
  int at;     /* the step begun last, from 1 */
  int failed; /* the step that failed, or 0 */
  int error;  /* its errno; 0: the call succeeded with another result than the expected */
  bool done;  /* the last step succeeded and came back */
};

struct program {
  int count;
  bool changes_ids; /* some step may make the memory undumpable */
  struct op *op;
  long *value; /* results of the steps, then the inputs */
  struct record record;
};

long raw_call(long nr, long a, long b, long c, long d, long e, long f);

_Noreturn void raw_exit(int status);

/* The steps from the first, counted from 0, to before the last. False when one failed, as the record says. */
bool walk_steps(struct program *program, int first, int last);

/* All of them; ends with the process. */
_Noreturn void walk(struct program *program);

#endif
