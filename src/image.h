/* SPDX-License-Identifier: MIT
 * What casulo-init is told: it lies at the end of its own file, where the kernel loads it with the rest. */
#ifndef CASULO_IMAGE_H
#define CASULO_IMAGE_H

#include <linux/stat.h>
#include <stdint.h>

#include "walk.h"

#define IMAGE_MAGIC 0x696e692d6f6c7573ULL

/* The steps, their values and their bytes follow it; pointers are those of casulo-init's own memory. */
struct image {
  _Alignas(16) uint64_t magic;
  int fork;     /* how many steps it walks itself; a child walks the others, and it stays to look after that. All: it becomes the command */
  int report;   /* the descriptor that the record and the results go to when the command is started, or cannot be */
  int control;  /* the next one, whose other end the caller has: a byte is SIGKILL or SIGSTOP for the command, or lets it outlive the
                   caller; -1 when that has come */
  int watches;  /* when its parent, the caller, has ended, the command is killed */
  int caller;   /* the descriptor that stands for that one, opened by itself; -1 before */
  int is_init;  /* PID 1: it ends the others when the command has ended */
  int64_t grace; /* milliseconds between TERM and KILL for them */
  struct program program;
};

/* What it finds of a command that could not be executed, after the record and the results: one write that a pipe takes whole. */
struct found {
  int step;  /* the first that was to execute something that is there; where nothing is, the one that failed. From 1 */
  int error; /* of statx(2), or 0: all that follows */
  int64_t mount_flags; /* of statfs(2) */
  struct statx file;
  char head[2048]; /* the first bytes of a regular file, as far as this process may read it */
};

#endif
