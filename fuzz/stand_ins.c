// SPDX-License-Identifier: MIT
/* Stand-ins for what casulo.sys calls of the C library: stub_NAME for NAME, as run.sh renames them; and for its own two ways
 * around it, raw_call and clone3_on_stack. A child that shares memory is walked here and now, in the order in which the
 * kernel would let it run. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "kernel.h"

static long with_errno(long result) {
  if (result >= 0) return result;
  errno = (int)-result;
  return -1;
}

/* Those whose arguments are their system call's. Who takes fewer passes on what he finds: nothing looks at it. */
#define SAME(name, nr) \
  long stub_##name(long a, long b, long c, long d, long e, long f) { return with_errno(kernel_call(nr, (long[]){ a, b, c, d, e, f })); }
SAME(chdir, SYS_chdir) SAME(chmod, SYS_chmod) SAME(chown, SYS_chown) SAME(chroot, SYS_chroot) SAME(close, SYS_close)
SAME(dup2, SYS_dup2) SAME(execve, SYS_execve) SAME(fchdir, SYS_fchdir) SAME(fchown, SYS_fchown) SAME(fcntl, SYS_fcntl)
SAME(flock, SYS_flock) SAME(fsconfig, SYS_fsconfig) SAME(fsmount, SYS_fsmount) SAME(fsopen, SYS_fsopen) SAME(getegid, SYS_getegid)
SAME(geteuid, SYS_geteuid) SAME(getgid, SYS_getgid) SAME(getpid, SYS_getpid) SAME(getppid, SYS_getppid) SAME(getsid, SYS_getsid)
SAME(getuid, SYS_getuid) SAME(kill, SYS_kill) SAME(link, SYS_link) SAME(memfd_create, SYS_memfd_create) SAME(mkdirat, SYS_mkdirat)
SAME(mknodat, SYS_mknodat) SAME(mount, SYS_mount) SAME(move_mount, SYS_move_mount) SAME(open_tree, SYS_open_tree)
SAME(openat, SYS_openat) SAME(personality, SYS_personality) SAME(poll, SYS_poll) SAME(prctl, SYS_prctl) SAME(read, SYS_read)
SAME(recvmsg, SYS_recvmsg) SAME(rename, SYS_rename) SAME(rmdir, SYS_rmdir) SAME(sendmsg, SYS_sendmsg)
SAME(setdomainname, SYS_setdomainname) SAME(setgroups, SYS_setgroups) SAME(sethostname, SYS_sethostname) SAME(setns, SYS_setns)
SAME(setpriority, SYS_setpriority) SAME(setresgid, SYS_setresgid) SAME(setresuid, SYS_setresuid) SAME(setsid, SYS_setsid)
SAME(socket, SYS_socket) SAME(symlinkat, SYS_symlinkat) SAME(umask, SYS_umask) SAME(umount2, SYS_umount2) SAME(unlink, SYS_unlink)
SAME(unshare, SYS_unshare) SAME(write, SYS_write) SAME(ioctl, SYS_ioctl) SAME(signalfd, SYS_signalfd4)

long stub_syscall(long nr, long a, long b, long c, long d, long e, long f) {
  return with_errno(kernel_call(nr, (long[]){ a, b, c, d, e, f }));
}

/* Those that fill a structure. */
static int fill(void *structure, size_t size) {
  long verdict = kernel_verdict();
  if (verdict == 0) kernel_write(structure, size);
  return (int)with_errno(verdict);
}
int stub_stat(const char *path, struct stat *s) { return kernel_read(path, strlen(path) + 1), fill(s, sizeof *s); }
int stub_lstat(const char *path, struct stat *s) { return stub_stat(path, s); }
int stub_fstat(int fd, struct stat *s) { return (void)fd, fill(s, sizeof *s); }
int stub_statfs(const char *path, struct statfs *s) { return kernel_read(path, strlen(path) + 1), fill(s, sizeof *s); }
int stub_clock_gettime(clockid_t clock, struct timespec *time) { return (void)clock, fill(time, sizeof *time); }
int stub_uname(struct utsname *names) { return fill(names, sizeof *names); }
int stub_gethostname(char *name, size_t size) { return fill(name, size); }

int stub_getresuid(unsigned *real, unsigned *effective, unsigned *saved) {
  *real = *effective = *saved = take();
  return 0;
}
int stub_getresgid(unsigned *real, unsigned *effective, unsigned *saved) { return stub_getresuid(real, effective, saved); }

int stub_getgroups(int room, gid_t *gids) {
  long verdict = kernel_verdict();
  if (verdict < 0) return (int)with_errno(verdict);
  if (room > 0) kernel_write(gids, (size_t)room * sizeof *gids);
  return room > 0 ? room : take() % 16;
}

ssize_t stub_readlink(const char *path, char *target, size_t size) {
  kernel_read(path, strlen(path) + 1);
  long verdict = kernel_verdict();
  if (verdict < 0) return with_errno(verdict);
  kernel_write(target, size);
  return (ssize_t)(take_word() % (size + 1));
}

int stub_pair(int *fds) {
  long verdict = kernel_verdict(), first = verdict < 0 ? verdict : kernel_open();
  if (first < 0) return (int)with_errno(first);
  long second = kernel_open();
  if (second < 0) kernel_close((int)first);
  if (second < 0) return (int)with_errno(second);
  fds[0] = (int)first;
  fds[1] = (int)second;
  return 0;
}
int stub_pipe2(int *fds) { return stub_pair(fds); }
int stub_socketpair(int domain, int type, int protocol, int *fds) {
  (void)domain, (void)type, (void)protocol;
  return stub_pair(fds);
}

int stub_scandir(const char *path, struct dirent ***entries) {
  kernel_read(path, strlen(path) + 1);
  long verdict = kernel_verdict();
  int count = take() % 8;
  if (verdict < 0) return (int)with_errno(verdict);
  *entries = malloc(sizeof **entries * 8);
  for (int i = 0; i < count; i++) {
    (*entries)[i] = calloc(1, sizeof(struct dirent));
    (*entries)[i]->d_name[0] = (char)take();
  }
  return count;
}

int stub_isatty(int fd) {
  (void)fd;
  errno = ENOTTY;
  return take() & 1;
}

int stub_sigprocmask(int how, const sigset_t *set, sigset_t *old) {
  (void)how;
  if (set) kernel_read(set, sizeof *set);
  kernel_write(old, sizeof *old);
  return (int)with_errno(kernel_verdict());
}

void (*stub_signal(int number, void (*handler)(int)))(int) {
  (void)number;
  return with_errno(kernel_verdict()) == -1 ? SIG_ERR : handler;
}

/* An earlier child, or one that the process has had from elsewhere. */
pid_t stub_waitpid(pid_t pid, int *status, int options) {
  if (!kernel_reap(pid)) {
    long verdict = kernel_verdict();
    if (verdict < 0 && verdict != -EINTR) return (pid_t)with_errno(verdict);
    if (options & WNOHANG) return 0;
  }
  *status = take() << 8 | (take() & 0x7f);
  return pid;
}

int stub_waitid(int idtype, int id, siginfo_t *info) {
  (void)idtype;
  long verdict = kernel_verdict();
  if (verdict < 0) return (int)with_errno(verdict);
  info->si_pid = id;
  info->si_code = 1 + take() % 6;
  info->si_status = take();
  kernel_reap(id);
  return 0;
}

int stub_fflush(FILE *file) { return (void)file, 0; }
int stub_fprintf(FILE *file, const char *format, const char *text) {
  (void)file, (void)format;
  kernel_read(text, strlen(text) + 1);
  return 0;
}

/* What does not come back is an error that nothing catches below the fuzzer. */
_Noreturn void stub__exit(int status) {
  luaL_error(current, "exited with %d", status);
  abort();
}

/* Children. A program's is walked until it executes or ends. */
static jmp_buf *ended;
static struct between { void (*run)(void *), *arg; int *lives; } betweens[16]; /* one may start another */

static void run_here(void (*run)(void *), void *arg) {
  jmp_buf here, *outer = ended;
  bool was_child = kernel_in_child;
  ended = &here;
  kernel_in_child = true;
  if (setjmp(here) == 0) run(arg);
  kernel_in_child = was_child;
  ended = outer;
}

static void write_pidfd(const struct clone_args *args) {
  if (!(args->flags & CLONE_PIDFD)) return;
  bool was_child = kernel_in_child;
  *(int *)args->pidfd = (int)kernel_open(); /* NOLINT */
  kernel_in_child = was_child;
}

static struct between *find_between(const int *lives) {
  for (size_t i = 0; i < sizeof betweens / sizeof *betweens; i++)
    if (betweens[i].lives == lives) return &betweens[i];
  return NULL;
}

long clone3_on_stack(struct clone_args *args, void (*run)(void *), void *arg) {
  kernel_read((char *)args->stack, args->stack_size); /* NOLINT */
  long pid = kernel_verdict();
  if (pid == 0) pid = kernel_start();
  if (pid < 0) return pid;
  write_pidfd(args);
  if (args->flags & CLONE_PARENT_SETTID) *(int *)args->parent_tid = (int)pid; /* NOLINT */
  if (args->flags & CLONE_VFORK) {
    if (take() < 224) run_here(run, arg); /* or it is killed at once */
    if (args->flags & CLONE_CHILD_CLEARTID) *(int *)args->child_tid = 0; /* NOLINT */
    return pid;
  }
  struct between *between = find_between(NULL);
  if (!between) defect("too many go-betweens");
  *between = (struct between){ run, arg, (int *)args->child_tid }; /* NOLINT */
  return pid;
}

/* The go-between runs when its caller waits for it, or never. */
static long futex(int *word, int operation) {
  struct between *found = operation == FUTEX_WAIT ? find_between(word) : NULL;
  if (!found) return 0;
  if (take() < 224) run_here(found->run, found->arg);
  *word = 0;
  found->lives = NULL;
  return 0;
}

long raw_call(long nr, long a, long b, long c, long d, long e, long f) {
  if (nr == SYS_futex) return futex((int *)a, (int)b); /* NOLINT */
  if (nr == SYS_clone3) {
    long pid = kernel_verdict();
    if (pid == 0 && take() & 1) return 0; /* this is the child */
    if (pid == 0) pid = kernel_start();
    if (pid > 0) write_pidfd((struct clone_args *)a); /* NOLINT */
    return pid;
  }
  long result = kernel_call(nr, (long[]){ a, b, c, d, e, f });
  bool is_exec = nr == SYS_execve || nr == SYS_execveat;
  if (kernel_in_child && (nr == SYS_exit_group || (is_exec && result == 0))) longjmp(*ended, 1);
  return result;
}
