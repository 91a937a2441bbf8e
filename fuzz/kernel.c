// SPDX-License-Identifier: MIT
/* A kernel that is none: each call of casulo.sys ends here (run.sh renames them). It looks at the memory that it is given, as the
 * kernel would, so that the sanitizers see a wrong pointer or length; succeeds or fails as the input says; and keeps account of
 * descriptors and children, so that what is left behind is seen. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "fuzz.h"
#include "kernel.h"

enum { FIRST_FD = 1000, FIRST_PID = 1 << 20, MOST = 4096 };

/* Numbers that are in use. */
struct numbers {
  bool used[MOST];
  int count, last, first, error;
};
static struct numbers descriptors = { .first = FIRST_FD, .error = EMFILE }, children = { .first = FIRST_PID, .error = EAGAIN };
lua_State *current;
bool kernel_in_child;

int kernel_open_count(void) { return descriptors.count; }
int kernel_child_count(void) { return children.count; }

static long take_number(struct numbers *numbers) {
  if (numbers->count == MOST) return -numbers->error;
  do numbers->last = (numbers->last + 1) % MOST;
  while (numbers->used[numbers->last]);
  numbers->used[numbers->last] = true;
  numbers->count++;
  return numbers->first + numbers->last;
}

static bool give_back(struct numbers *numbers, long number) {
  number -= numbers->first;
  if (number < 0 || number >= MOST || !numbers->used[number]) return false;
  numbers->used[number] = false;
  numbers->count--;
  return true;
}

long kernel_open(void) { return take_number(&descriptors); }
long kernel_start(void) { return take_number(&children); }
long kernel_close(int fd) { return give_back(&descriptors, fd) ? 0 : -EBADF; }

void kernel_close_all(void) {
  for (int i = 0; i < MOST; i++) give_back(&descriptors, FIRST_FD + i);
}

/* Whether it is a child that has not been waited for; it is none any more. */
bool kernel_reap(long pid) { return give_back(&children, pid); }
void kernel_forget_child(long pid) { kernel_reap(pid); }

/* 0, or minus an errno of the input's choice. */
long kernel_verdict(void) {
  uint8_t byte = take();
  return byte < 192 ? 0 : -(1 + (long)(byte - 192) * 2);
}

static volatile unsigned char sink;

void kernel_read(const void *memory, size_t size) {
  const unsigned char *bytes = memory;
  if (!memory || size == 0) return;
  for (size_t i = 0; i < size; i += i + 64 < size ? 61 : 1) sink ^= bytes[i];
  sink ^= bytes[size - 1];
}

void kernel_write(void *memory, size_t size) {
  if (!memory || size == 0) return;
  memset(memory, take(), size < 4096 ? size : 4096);
  ((char *)memory)[size - 1] = 0;
}

static void read_string(const char *string) {
  if (string) kernel_read(string, strlen(string) + 1);
}

static void read_strings(char *const *strings) {
  for (; strings && *strings; strings++) read_string(*strings);
}

/* As many descriptors as there is room for, whatever the caller had in mind. */
static void receive(struct msghdr *message) {
  long room = message->msg_control && message->msg_controllen > sizeof(struct cmsghdr)
    ? (long)((message->msg_controllen - sizeof(struct cmsghdr)) / sizeof(int)) : 0;
  long sent = take() % 4, number = 0;
  struct cmsghdr *header = message->msg_control;
  if (room > sent) room = sent;
  for (; number < room; number++) {
    int fd = (int)kernel_open();
    if (fd < 0) break;
    memcpy(CMSG_DATA(header) + number * sizeof fd, &fd, sizeof fd);
  }
  message->msg_controllen = number ? CMSG_LEN((size_t)number * sizeof(int)) : 0;
  if (number) *header = (struct cmsghdr){ .cmsg_len = message->msg_controllen, .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
}

/* What a call does with its arguments, a letter each:
 *   s string or NULL   v list of strings   b bytes to read, n their number   w bytes to write, n likewise   g gids after their number
 *   0-9 a structure to read of 4 times so many bytes   R rlimit to write   C capability sets   p pollfds, n their number
 *   f filter   A rule of Landlock, after its type   m message to send   M to receive   . nothing
 * and behind it what the call returns: F a descriptor, I an integer, N up to the number, else 0. */
static const struct { long nr; const char *kinds; } calls[] = {
  { SYS_mount, "sss.s" }, { SYS_umount2, "s" }, { SYS_pivot_root, "ss" }, { SYS_open_tree, ".s.=F" }, { SYS_move_mount, ".s.s" },
  { SYS_fsopen, "s.=F" }, { SYS_fsconfig, "..ss" }, { SYS_fsmount, "...=F" }, { SYS_mount_setattr, ".s.bn" }, { SYS_chroot, "s" },
  { SYS_chdir, "s" }, { SYS_fchdir, "." }, { SYS_mkdirat, ".s" }, { SYS_mknodat, ".s" }, { SYS_symlinkat, "s.s" }, { SYS_link, "ss" },
  { SYS_rename, "ss" }, { SYS_unlink, "s" }, { SYS_rmdir, "s" }, { SYS_chmod, "s" }, { SYS_chown, "s" }, { SYS_fchown, "." },
  { SYS_umask, "=I" }, { SYS_openat, ".s=F" }, { SYS_openat2, ".sbn=F" }, { SYS_memfd_create, "s=F" }, { SYS_socket, "=F" },
  { SYS_signalfd4, ".2=F" }, { SYS_pidfd_open, "=F" }, { SYS_landlock_create_ruleset, "bn=F" }, { SYS_landlock_add_rule, "..A" },
  { SYS_landlock_restrict_self, "." }, { SYS_sethostname, "bn" }, { SYS_setdomainname, "bn" }, { SYS_setgroups, ".g" },
  { SYS_capset, "26" }, { SYS_capget, "2C" }, { SYS_keyctl, ".s=I" }, { SYS_prlimit64, "..4R" }, { SYS_seccomp, "..f" },
  { SYS_unshare, "." }, { SYS_setns, "." }, { SYS_execve, "svv" }, { SYS_execveat, ".svv" }, { SYS_setsid, "=I" }, { SYS_getsid, "=I" },
  { SYS_prctl, "=I" }, { SYS_setpriority, "." }, { SYS_personality, "=I" }, { SYS_read, ".wn=N" }, { SYS_write, ".bn=N" },
  { SYS_flock, "." }, { SYS_dup3, "=I" }, { SYS_dup2, "=I" }, { SYS_fcntl, "=I" }, { SYS_close_range, "." }, { SYS_close, "." },
  { SYS_kill, "." }, { SYS_pidfd_send_signal, "..s" }, { SYS_poll, "pn=I" }, { SYS_ppoll, "pn4=I" }, { SYS_sendmsg, ".m=I" },
  { SYS_recvmsg, ".M=I" }, { SYS_setresuid, "." }, { SYS_setresgid, "." }, { SYS_getpid, "=I" }, { SYS_getppid, "=I" },
  { SYS_geteuid, "=I" }, { SYS_getuid, "=I" }, { SYS_getgid, "=I" }, { SYS_getegid, "=I" }, { SYS_ioctl, "=I" },
  { SYS_rt_sigaction, ".8" }, { SYS_rt_sigprocmask, ".2" }, { SYS_exit_group, "." },
};

static void look_at(char kind, const long *a) {
  void *pointer = (void *)a[0]; /* NOLINT: what a system call takes */
  switch (kind) {
    case 's': read_string(pointer); break;
    case 'v': read_strings(pointer); break;
    case 'b': kernel_read(pointer, (size_t)a[1]); break;
    case 'w': kernel_write(pointer, (size_t)a[1]); break;
    case 'g': kernel_read(pointer, (size_t)a[-1] * sizeof(int)); break;
    case 'R': kernel_write(pointer, 16); break;
    case 'C': kernel_write(pointer, 24); break;
    case 'p': kernel_write(pointer, (size_t)a[1] * sizeof(struct pollfd)); break;
    case 'f': kernel_read(((struct sock_fprog *)pointer)->filter, ((struct sock_fprog *)pointer)->len * sizeof(struct sock_filter)); break;
    case 'A': kernel_read(pointer, (int)a[-1] == LANDLOCK_RULE_PATH_BENEATH ? sizeof(struct landlock_path_beneath_attr) : 16); break;
    case 'm': case 'M': {
      struct msghdr *message = pointer;
      for (size_t i = 0; i < message->msg_iovlen; i++) {
        if (kind == 'm') kernel_read(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
        else kernel_write(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
      }
      if (kind == 'm') kernel_read(message->msg_control, message->msg_controllen);
      break;
    }
    default: if (kind >= '0' && kind <= '9') kernel_read(pointer, (size_t)(kind - '0') * 4);
  }
}

static const char *kinds_of(long nr) {
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if (calls[i].nr == nr) return calls[i].kinds;
  defect("call %ld is not one that the fuzzer knows", nr);
}

/* What a call returns that succeeds. */
static long success(long nr, const long *a, char kind, long number) {
  bool opens = kind == 'F';
  if (nr == SYS_recvmsg) receive((struct msghdr *)a[1]); /* NOLINT */
  if (nr == SYS_landlock_create_ruleset && a[2] != 0) opens = false;
  if (nr == SYS_signalfd4 && (int)a[0] != -1) return (int)a[0];
  if (nr == SYS_fcntl && (int)a[1] == F_DUPFD_CLOEXEC) opens = true;
  if (nr == SYS_ioctl && (unsigned)a[1] == TIOCGPTPEER) opens = true;
  if (opens && !kernel_in_child) return kernel_open();
  if (kind == 'N') return number ? (long)(take_word() % ((unsigned long)number + 1)) : 0;
  return kind == 'I' || kind == 'F' ? take() : 0;
}

long kernel_call(long nr, const long *a) {
  const char *kind = kinds_of(nr);
  long number = 0;
  for (; *kind && *kind != '='; kind++, a++) {
    look_at(*kind, a);
    if (*kind == 'n') number = *a;
  }
  long verdict = kernel_verdict();
  if (nr == SYS_close && !kernel_in_child) return kernel_close((int)a[-1]);
  return verdict < 0 ? verdict : success(nr, a - (kind - kinds_of(nr)), *kind ? kind[1] : 0, number);
}
