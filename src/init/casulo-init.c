// SPDX-License-Identifier: MIT
/* casulo-init: what a container's process executes, lest it have anything of its caller's when it becomes the command. With one loop it
 * may be more than the way to that:
 *
 *   PID 1       starts the command, forwards signals to it, reaps what is orphaned, ends the others when it has ended
 *   joiner      enters the namespaces of a container that runs, starts a command there, and stands for it outside
 *   gate        waits for a word of the caller, then becomes the command, or starts it as PID 1 does
 *
 * What it does is a program of the same kind as the caller's child walks, which lies at the end of its file. It has no C
 * library, no heap and nothing of the host in its memory: from inside a container one may look into its PID 1. */
#include <asm/statfs.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/signalfd.h>
#include <linux/time_types.h>
#include <linux/wait.h>
#include <poll.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../image.h"

/* The start of the last segment of the file, for the caller to fill in. */
static volatile struct image image __attribute__((section(".data"), used)) = { .magic = IMAGE_MAGIC };
#define IMAGE ((struct image *)&image)

enum {
  FAILED = 125, NOTHING = 2 /* ENOENT */, NOBODY = 3 /* ESRCH */, NO_CHILD = 10 /* ECHILD */, NO_DIRECTORY = 20 /* ENOTDIR */,
  CANCELED = 125 /* ECANCELED */, CLOSE_ON_EXEC = 02000000,
};

/* What it does beside the steps, and counts after them. */
enum own_call { CLONE = 1, SIGNALFD, MMAP };

#if defined(__x86_64__)
__asm__(".globl _start\n_start: xorl %ebp, %ebp\n andq $-16, %rsp\n call run\n hlt\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x29, xzr\n mov x30, xzr\n bl run\n brk #1\n");
#endif

static long send_signal(long pid, int number) { return raw_call(SYS_kill, pid, number, 0, 0, 0, 0); }

static long milliseconds(void) {
  struct __kernel_timespec now = { 0 };
  raw_call(SYS_clock_gettime, 1 /* CLOCK_MONOTONIC */, (long)&now, 0, 0, 0, 0);
  return (long)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

/* The record, then the results: together they fit a pipe, and one write. */
static void report(const struct record *record, const long *value) {
  const size_t results = (size_t)IMAGE->program.count * sizeof *value;
  struct { const void *base; size_t size; } parts[] = { { record, sizeof *record }, { value, results } };
  if (raw_call(SYS_writev, IMAGE->report, (long)parts, 2, 0, 0, 0) == (long)(sizeof *record + results)) return;
  if (raw_call(SYS_write, IMAGE->report, (long)record, sizeof *record, 0, 0, 0) == (long)sizeof *record) return; /* what is needed of it */
  /* The caller is gone. The signal that says so is not for the command. */
  const unsigned long long broken_pipe = 1ULL << (SIGPIPE - 1);
  struct __kernel_timespec at_once = { 0 };
  raw_call(SYS_rt_sigtimedwait, (long)&broken_pipe, 0, (long)&at_once, sizeof broken_pipe, 0, 0);
}

/* The first bytes of a file, but of nothing that to open does something. → their number */
static long read_head(long path, char *head, size_t size) {
  long fd = raw_call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, 0, 0);
  long count = fd < 0 ? 0 : raw_call(SYS_read, fd, (long)head, (long)size, 0, 0, 0);
  return count < 0 ? 0 : count;
}

/* What of a command there is that could not be executed. It is this process that looks, with no more than the container's rights: in
 * a hostile root a file system may lie, or never answer until this process is killed. */
static void examine(const struct op *op, int failed) {
  struct found found;
  struct statfs system;
  int last = failed - 1, step = last;
  if (op[last].nr != SYS_execve) return;
  while (step > 0 && op[step - 1].nr == SYS_execve) step--; /* of the directories of PATH, the first */
  for (;; step++) {
    found.step = step + 1;
    found.error = (int)-raw_call(SYS_statx, AT_FDCWD, op[step].arg[0], 0, STATX_BASIC_STATS, (long)&found.file, 0);
    if (step == last || (found.error != NOTHING && found.error != NO_DIRECTORY)) break;
  }
  long path = op[step].arg[0], count = 0;
  if (!found.error) {
    found.mount_flags = raw_call(SYS_statfs, path, (long)&system, 0, 0, 0, 0) < 0 ? 0 : (int64_t)system.f_flags;
    if ((found.file.stx_mode & S_IFMT) == S_IFREG) count = read_head(path, found.head, sizeof found.head);
  }
  raw_call(SYS_write, IMAGE->report, (long)&found, (long)offsetof(struct found, head) + count, 0, 0, 0);
}

static _Noreturn void fail(const struct record *record, const long *value) {
  report(record, value);
  if (record->failed <= IMAGE->program.count) examine(IMAGE->program.op, record->failed);
  raw_exit(FAILED);
}

static _Noreturn void fail_beside(enum own_call call, long result) {
  const struct record record = { .failed = IMAGE->program.count + (int)call, .error = (int)-result };
  fail(&record, IMAGE->program.value);
}

static long shared_size(void) { return (long)(sizeof(struct program) + (size_t)IMAGE->program.count * sizeof(long)); }

/* The program, with its record and its results where the child will write them, too. */
static struct program *share(void) {
  const struct program *own = &IMAGE->program;
  long place = raw_call(SYS_mmap, 0, shared_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (place < 0) fail_beside(MMAP, place);
  struct program *program = (struct program *)place; /* NOLINT: what a call returns */
  *program = *own;
  program->value = (long *)(program + 1);
  return program;
}

/* What the child has come to. It could be seen from inside and may have been overwritten there: only numbers are taken. */
static struct record come_to(const struct program *program) {
  struct record record = program->record;
  const int from = IMAGE->fork + 1, to = IMAGE->program.count;
  if (record.at < from || record.at > to || record.failed < 0 || record.failed > to) record = (struct record){ .at = from };
  if (!record.failed && !IMAGE->program.op[record.at - 1].is_final) { /* it was killed on the way */
    record.failed = record.at;
    record.error = CANCELED;
  }
  return record;
}

/* This process waits until its child executes. The child has memory of its own: from inside a container that one can be
 * seen, and perhaps written to, which must not reach a process that stands outside. */
static long start_command(struct program *program) {
  const long *value = program->value;
  long pid = raw_call(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0, 0); /* not clone3, which the filter hides */
  if (pid == 0) {
    walk_steps(program, IMAGE->fork, IMAGE->program.count);
    raw_exit(FAILED);
  }
  if (pid < 0) fail_beside(CLONE, pid);
  const struct record record = come_to(program);
  if (record.failed) {
    send_signal(pid, SIGKILL); /* whatever it told */
    raw_call(SYS_wait4, pid, 0, __WALL, 0, 0, 0); /* a joiner's child would be left to whoever reaps outside */
    fail(&record, value);
  }
  report(&record, value);
  return pid;
}

/* → the command's status, once it has ended; -1 before */
static int reap(long command) {
  int status = -1;
  for (;;) {
    int raw = 0;
    long pid = raw_call(SYS_wait4, -1, (long)&raw, WNOHANG | __WALL, 0, 0, 0);
    if (pid == 0 || pid == -NO_CHILD) return status;
    if (pid < 0) continue;
    if (pid == command) status = raw;
  }
}

/* A command that ends so is reaped here. Were this process killed, too, it would be left to whoever reaps outside, and keep the
 * PID namespace of the container from ending until then. */
static void kill_command(long command) {
  send_signal(-command, SIGKILL);
  send_signal(command, SIGKILL);
}

static void forget_caller(void) {
  if (IMAGE->caller != -1) raw_call(SYS_close, IMAGE->caller, 0, 0, 0, 0, 0);
  IMAGE->caller = -1;
}

/* A signal for the command that cannot be passed on, for it would end or stop this process; or that it is to outlive the caller. */
static void hear(long command) {
  char byte = 0;
  long count = raw_call(SYS_read, IMAGE->control, (long)&byte, 1, 0, 0, 0);
  if (byte == SIGKILL) kill_command(command);
  if (byte == SIGSTOP) send_signal(command, SIGSTOP);
  if (byte == SIGKILL || byte == SIGSTOP) return;
  if (count == 1) {
    raw_call(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0, 0);
    forget_caller();
  }
  raw_call(SYS_shutdown, IMAGE->control, 2 /* SHUT_RDWR */, 0, 0, 0, 0); /* which the caller notices */
  raw_call(SYS_close, IMAGE->control, 0, 0, 0, 0, 0);
  IMAGE->control = -1;
}

/* Waits for signals that are blocked, for the caller's word, where one is still expected, and for its end. */
static int next_signal(long command, int signals, long patience) {
  struct pollfd fds[3] = {
    { .fd = signals, .events = POLLIN }, { .fd = IMAGE->control, .events = POLLIN }, { .fd = IMAGE->caller, .events = POLLIN },
  };
  struct __kernel_timespec time = { .tv_sec = patience / 1000, .tv_nsec = patience % 1000 * 1000000 };
  raw_call(SYS_ppoll, (long)fds, 3, patience < 0 ? 0 : (long)&time, 0, 0, 0);
  if (fds[1].revents) hear(command);
  if (fds[2].revents && IMAGE->caller != -1) {
    kill_command(command);
    forget_caller();
  }
  struct signalfd_siginfo info;
  if (!(fds[0].revents & POLLIN)) return 0;
  return raw_call(SYS_read, signals, (long)&info, sizeof info, 0, 0, 0) == sizeof info ? (int)info.ssi_signo : 0;
}

/* What a terminal sends is meant for all that run in its foreground. */
static void forward(long command, int number) {
  send_signal(number == SIGINT || number == SIGQUIT ? -command : command, number);
}

static void end_others(long command, int signals) {
  if (send_signal(-1, SIGTERM) == -NOBODY) return;
  send_signal(-1, SIGCONT);
  long deadline = milliseconds() + IMAGE->grace, left;
  while (send_signal(-1, 0) != -NOBODY && (left = deadline - milliseconds()) > 0) {
    next_signal(command, signals, left < 20 ? left : 20); /* those that came by `exec` are not our children, and end in silence */
    reap(0);
  } /* whoever is left, the kernel kills when PID 1 ends */
}

/* As the command ended: by the same signal, where PID 1 is not immune to it. */
static _Noreturn void end_as(int status) {
  int number = status & 0x7f;
  if (number && !IMAGE->is_init) {
    const unsigned long long all_but_this = ~(1ULL << (number - 1));
    raw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all_but_this, 0, sizeof all_but_this, 0, 0);
    send_signal(raw_call(SYS_getpid, 0, 0, 0, 0, 0, 0), number);
  }
  raw_exit(number ? 128 + number : status >> 8 & 0xff);
}

static _Noreturn void look_after(long command, int signals) {
  for (;;) {
    int number = next_signal(command, signals, -1), status;
    if (number && number != SIGCHLD) forward(command, number);
    status = reap(command);
    if (status == -1) continue;
    if (IMAGE->is_init) end_others(command, signals);
    end_as(status);
  }
}

/* Nothing else stays open, so that whoever reads what the command writes sees its end. */
static void close_all_but(int first, int last) {
  if (first > 0) raw_call(SYS_close_range, 0, first - 1, 0, 0, 0, 0);
  raw_call(SYS_close_range, last + 1, ~0U, 0, 0, 0, 0);
}

/* A descriptor for the caller, now that the command is there: while that came into being it had a copy of each one that this process
 * has, and whoever may trace it inside could have taken from this one all that the caller has open. Until then, and where it cannot be
 * had, the kernel kills this process with its parent; so that is still the caller. */
static void watch_caller(void) {
  long fd = raw_call(SYS_pidfd_open, raw_call(SYS_getppid, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0, 0);
  if (fd < 0) return;
  IMAGE->caller = (int)fd;
  raw_call(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0, 0); /* from here on it sees to that itself */
}

__attribute__((used)) static _Noreturn void run(void) {
  const unsigned long long all = ~0ULL;
  raw_call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0);
  raw_call(SYS_prctl, PR_SET_NAME, (long)"casulo-init", 0, 0, 0, 0);
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof all, 0, 0);
  bool stays = IMAGE->fork < IMAGE->program.count;
  struct program *program = stays ? share() : &IMAGE->program;
  if (!walk_steps(program, 0, IMAGE->fork)) fail(&program->record, program->value);
  if (!stays) raw_exit(FAILED); /* it had no step that becomes a command */
  long signals = raw_call(SYS_signalfd4, -1, (long)&all, sizeof all, CLOSE_ON_EXEC, 0, 0);
  if (signals < 0) fail_beside(SIGNALFD, signals);
  long command = start_command(program);
  raw_call(SYS_munmap, (long)program, shared_size(), 0, 0, 0, 0);
  raw_call(SYS_dup3, signals, IMAGE->report, CLOSE_ON_EXEC, 0, 0, 0);
  close_all_but(IMAGE->report, IMAGE->control);
  if (IMAGE->watches) watch_caller();
  look_after(command, IMAGE->report);
}
