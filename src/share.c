// SPDX-License-Identifier: MIT
/* Children that share the caller's memory: the stack, the signals and the dumpable flag around them.
 *
 * Where somebody else must write the child's id maps, a go-between stands in for it:
 *
 *   caller       clone3(CLONE_VM | CLONE_FILES | CLONE_NEWUSER …)     the go-between is born in the new user namespace
 *   go-between   waits for the verdict, a word in the memory that     a caller that dies ends it
 *                they share
 *   caller       writes the maps of the go-between
 *   caller       says go, waits                                       or no, and the go-between ends
 *   go-between   clone3(CLONE_VM | CLONE_VFORK | CLONE_PARENT …)      the child, which is the caller's own; its pidfd, too,
 *                                                                     for which the go-between shares the descriptors
 *   child        walks its program, executes
 *   go-between   ends
 *   caller       goes on when both have let go of its memory, whoever was killed on the way */
#define _GNU_SOURCE
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const size_t STACK = 64 * 1024UL;

/* Stacks for a child and a go-between. The last pair is kept for the next start of any thread. */
static _Atomic(char *) spare;

static char *take_stacks(void) {
  char *stacks = atomic_exchange(&spare, NULL);
  if (stacks) return stacks;
  stacks = mmap(NULL, 2 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  return stacks == MAP_FAILED ? NULL : stacks;
}

static void give_stacks(char *stacks) {
  char *other = atomic_exchange(&spare, stacks);
  if (other) munmap(other, 2 * STACK);
}

/* setresuid in a child that shares our memory makes us undumpable. The flag belongs to the memory, so it is put
 * back only when no such child is left: earlier, the child's new user could look into the memory through it.
 * Meanwhile the files of every child in /proc are root's. So where others than root start children, those that open
 * their id maps and those that change their ids wait for each other. */
static pthread_mutex_t sharing = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t changing = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static int sharers, dumpable;

/* What is done beside the program has failed. For a child, too: it only writes to this. */
UNINSTRUMENTED static bool refused(struct start *s, const char *call, int argument, int error) {
  s->call = call;
  s->argument = argument;
  s->error = error;
  return false;
}

static bool begin_sharing(struct start *s) {
  bool may_change = s->program->changes_ids, maps_itself = s->child.flags & CLONE_NEWUSER;
  s->locks = geteuid() != 0 && (may_change || maps_itself);
  if (s->locks && maps_itself) pthread_rwlock_rdlock(&changing);
  else if (s->locks) pthread_rwlock_wrlock(&changing);
  if (!may_change) return true;
  pthread_mutex_lock(&sharing);
  if (sharers++ == 0) dumpable = prctl(PR_GET_DUMPABLE);
  int before = dumpable, error = errno;
  pthread_mutex_unlock(&sharing);
  return before != -1 || refused(s, "prctl PR_GET_DUMPABLE", 0, error);
}

/* The kernel lets vfork's caller go on a moment before it takes an executing child out of our memory. In that moment a process
 * of the child's new user, which can draw it out, could read the memory through it, were the flag put back. A record lock of
 * the child's goes when the exec closes its descriptor, or with the child: after that moment, or shortly before it in the
 * kernels of 2026. The file, here a pipe, is this start's own. */
static const struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

static const struct timespec moment = { .tv_nsec = 50000 };

/* Where the child's memory is kept secret from us, as long as it is our own or by a filter for good, it gets this time to leave. */
static const int MOMENTS = 100;

static void wait_until_out(const struct start *s) {
  while (fcntl(s->held[1], F_SETLKW, &lock) == -1 && errno != EBADF) {} /* the child could lock it, so this will be possible */
  for (int secret = 0; secret < MOMENTS;) {
    long difference = syscall(SYS_kcmp, getpid(), s->pid, KCMP_VM, 0, 0);
    if (difference > 0 || (difference == -1 && errno == ESRCH)) return;
    if (difference == -1) secret++;
    nanosleep(&moment, NULL);
  }
}

static void end_sharing(struct start *s) {
  if (s->program->changes_ids) {
    if (prctl(PR_GET_DUMPABLE) != 1) wait_until_out(s);
    pthread_mutex_lock(&sharing);
    if (--sharers == 0 && dumpable == 1 && prctl(PR_GET_DUMPABLE) != 1) prctl(PR_SET_DUMPABLE, 1);
    pthread_mutex_unlock(&sharing);
  }
  if (s->locks) pthread_rwlock_unlock(&changing);
}

/* Without the C library, which leaves its own two signals open. */
static long block_all(unsigned long long *old) {
  unsigned long long all = ~0ULL;
  return raw_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)old, _NSIG / CHAR_BIT, 0, 0);
}

static void restore_mask(const unsigned long long *old) {
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)old, 0, _NSIG / CHAR_BIT, 0, 0);
}

static void release(struct start *s) {
  if (s->program->changes_ids) {
    close(s->held[0]);
    close(s->held[1]);
  }
  if (s->stacks) give_stacks(s->stacks);
}

/* Above all numbers that the steps name: none of them may close what the child has locked. Where there is no room, below. */
static bool open_held(struct start *s) {
  if (pipe2(s->held, O_CLOEXEC) == -1) return false;
  int above = s->needed > INT_MAX ? -1 : fcntl(s->held[1], F_DUPFD_CLOEXEC, (int)s->needed);
  if (above == -1) return true;
  close(s->held[1]);
  s->held[1] = above;
  return true;
}

static bool enter(struct start *s) {
  if (s->program->changes_ids && !open_held(s)) return refused(s, "pipe2", 0, errno);
  s->stacks = take_stacks();
  if (!s->stacks) {
    refused(s, "mmap", 0, errno);
    release(s);
    return false;
  }
  s->child.stack = (uintptr_t)s->stacks;
  s->between.stack = (uintptr_t)s->stacks + STACK;
  s->child.stack_size = s->between.stack_size = STACK;
  long result = block_all(&s->blocked);
  if (result == 0) return true;
  refused(s, "rt_sigprocmask", 0, (int)-result);
  release(s);
  return false;
}

static void leave(struct start *s) {
  release(s);
  restore_mask(&s->blocked);
}

/* To copy a table of descriptors takes time and memory by their number, and a caller with many children has many. So the child
 * shares the table first, and then takes of it only what it needs. It must, before the lock: those who share a table share that. */
UNINSTRUMENTED static bool copy_descriptors(struct start *s) {
  if ((unsigned)s->held[1] >= s->needed) s->needed = (unsigned)s->held[1] + 1;
  long result = raw_call(SYS_close_range, s->needed, ~0U, CLOSE_RANGE_UNSHARE, 0, 0, 0);
  return result == 0 || refused(s, "close_range", 0, (int)-result);
}

/* CLONE_CLEAR_SIGHAND leaves ignored what the caller ignores. */
UNINSTRUMENTED static bool default_signals(struct start *s) {
  struct { unsigned long handler, flags, restorer, mask; } by_default;
  by_default.handler = by_default.flags = by_default.restorer = by_default.mask = 0;
  for (int number = 1; number < _NSIG; number++) {
    if (number == SIGKILL || number == SIGSTOP) continue;
    long result = raw_call(SYS_rt_sigaction, number, (long)&by_default, 0, sizeof by_default.mask, 0, 0);
    if (result < 0) return refused(s, "signal", number, (int)-result);
  }
  return true;
}

UNINSTRUMENTED static bool lock_memory(struct start *s) {
  long result = raw_call(SYS_fcntl, s->held[1], F_SETLK, (long)&lock, 0, 0, 0);
  return result >= 0 || refused(s, "fcntl F_SETLK", 0, (int)-result);
}

UNINSTRUMENTED static void run_child(void *arg) {
  struct start *s = arg;
  if ((!(s->child.flags & CLONE_FILES) || copy_descriptors(s)) && default_signals(s) && (!s->program->changes_ids || lock_memory(s)))
    walk(s->program);
  raw_exit(125);
}

void share_start(struct start *s) {
  if (!enter(s)) return;
  s->child.flags |= CLONE_VM | CLONE_VFORK | CLONE_CLEAR_SIGHAND;
  s->child.exit_signal = SIGCHLD;
  if (begin_sharing(s)) {
    long result = clone3_on_stack(&s->child, run_child, s);
    if (result < 0) refused(s, "", 0, (int)-result);
    else s->pid = (pid_t)result;
  }
  end_sharing(s);
  leave(s);
}

/* Looks again from time to time: to be woken is not sure. */
UNINSTRUMENTED static void wait_while(_Atomic int *word, int value) {
  struct { long seconds, nanoseconds; } patience;
  patience.seconds = 0;
  patience.nanoseconds = 10000000;
  while (atomic_load(word) == value) raw_call(SYS_futex, (long)word, FUTEX_WAIT, value, (long)&patience, 0, 0);
}

enum { UNDECIDED, GO, NO };

UNINSTRUMENTED static void run_between(void *arg) {
  struct start *s = arg;
  long result = raw_call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
  if (result < 0) refused(s, "prctl PR_SET_PDEATHSIG", 0, (int)-result);
  /* a caller that died before that request has left this process to another parent */
  if (raw_call(SYS_getppid, 0, 0, 0, 0, 0, 0) == s->caller) {
    wait_while(&s->verdict, UNDECIDED);
    result = s->verdict == GO && !s->error ? clone3_on_stack(&s->child, run_child, s) : 0;
    if (result < 0) refused(s, "", 0, (int)-result);
  }
  raw_exit(0);
}

pid_t share_open(struct start *s) {
  if (!enter(s)) return -1;
  s->caller = getpid();
  s->between_lives = 1;
  s->between.flags |= CLONE_VM | CLONE_FILES | CLONE_CLEAR_SIGHAND | CLONE_CHILD_CLEARTID;
  s->between.child_tid = (uintptr_t)&s->between_lives;
  s->between.exit_signal = SIGCHLD; /* which the child takes over with its parent */
  s->child_lives = 1;
  s->child.flags |= CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID;
  s->child.child_tid = (uintptr_t)&s->child_lives;
  s->child.parent_tid = (uintptr_t)&s->pid;
  long result = clone3_on_stack(&s->between, run_between, s);
  if (result > 0) return (pid_t)result;
  leave(s);
  refused(s, "", 0, (int)-result);
  return -1;
}

static void decide(struct start *s, int verdict) {
  s->verdict = verdict;
  raw_call(SYS_futex, (long)&s->verdict, FUTEX_WAKE, 1, 0, 0, 0);
  wait_while(&s->between_lives, 1);
}

/* The go-between alone has the caller's ids, and is none of those who share. */
static void let_go(struct start *s) {
  decide(s, begin_sharing(s) ? GO : NO);
  if (s->pid != 0) wait_while(&s->child_lives, 1);
  end_sharing(s);
}

void share_close(struct start *s, pid_t between, int go) {
  if (go) let_go(s);
  else decide(s, NO);
  while (waitpid(between, &s->between_status, __WALL) == -1 && errno != ECHILD) {}
  leave(s);
}
