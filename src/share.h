/* SPDX-License-Identifier: MIT
 * Starting a child that shares the caller's memory until it executes another program. */
#ifndef CASULO_SHARE_H
#define CASULO_SHARE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "clone3.h"
#include "walk.h"

/* One start. It lives on the caller's stack, which stays until nobody else uses it. */
struct start {
  struct program *program;
  struct clone_args child, between;
  pid_t caller;
  _Atomic int verdict;        /* what the go-between waits for */
  char *stacks;               /* the child's and the go-between's */
  unsigned long long blocked; /* the caller's signal mask, while all are blocked */
  int held[2];                /* a pipe on which a child that changes ids holds a lock while it is in the caller's memory */
  unsigned needed;            /* with CLONE_FILES: the child has no descriptor of this number, nor above */
  bool locks;                 /* against starts that are in each other's way */
  const char *call;           /* which of the calls beside the program has failed, and so there is no child, or none that goes on */
  int argument;               /* a number for the message, or 0 */
  int error;                  /* its errno */
  pid_t pid;
  int between_status;         /* how the go-between ended, where that is known */
  _Atomic int child_lives, between_lives; /* cleared by the kernel when that process has let go of the memory */
};

/* A child of vfork's kind: returns when it has executed or ended. Where start->pid is 0 there was none: see start->call. */
void share_start(struct start *start);

/* The same in two halves: the first makes the go-between and returns its pid, or -1; the second lets it
 * start the child, or gives up. */
pid_t share_open(struct start *start);
void share_close(struct start *start, pid_t between, int go);

#endif
