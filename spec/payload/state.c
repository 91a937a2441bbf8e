// SPDX-License-Identifier: MIT
/* Prints what a process may inherit from whoever started it, a line each. Of keys: whether one that is called
 * "casulo-spec", as payload/keys.c makes it, is in a keyring. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static void print_signals(void) {
  struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } action;
  unsigned long mask = 0, ignored = 0, handled = 0;
  for (int i = 1; i <= 64; i++) {
    if (syscall(SYS_rt_sigaction, i, NULL, &action, sizeof action.mask) != 0) continue;
    if (action.handler == (void *)SIG_IGN) ignored |= 1UL << (i - 1);
    else if (action.handler != (void *)SIG_DFL) handled |= 1UL << (i - 1);
  }
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof mask);
  printf("ignored %lx\nhandled %lx\nblocked %lx\n", ignored, handled, mask);
}

static void print_file(const char *path) {
  char text[64] = "";
  int fd = open(path, O_RDONLY);
  if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) text[strcspn(text, "\n")] = 0;
  printf("%s %s\n", path, text);
  if (fd >= 0) close(fd);
}

static void print_groups(void) {
  gid_t groups[256];
  int count = getgroups(256, groups);
  printf("groups");
  for (int i = 0; i < count; i++) printf(" %u", groups[i]);
  puts("");
}

static void print_descriptors(void) {
  printf("descriptors");
  for (int i = 0; i < 1024; i++)
    if (fcntl(i, F_GETFD) >= 0) printf(" %d", i);
  puts("");
}

static void print_directory(void) {
  char path[4096];
  long length = syscall(SYS_getcwd, path, sizeof path);
  printf("directory %s\n", length > 0 ? path : "-");
}

static int has_key(void) {
  for (int ring = -5; ring <= -1; ring++)
    if (syscall(SYS_keyctl, KEYCTL_SEARCH, ring, "user", "casulo-spec", 0) > 0) return 1;
  return syscall(SYS_request_key, "user", "casulo-spec", NULL, 0) > 0;
}

int main(void) {
  mode_t mask = umask(0);
  umask(mask);
  print_signals();
  errno = 0;
  printf("nice %d\n", getpriority(PRIO_PROCESS, 0));
  printf("personality %x\n", personality(0xffffffff));
  print_file("/proc/self/oom_score_adj");
  printf("umask %o\n", mask);
  print_groups();
  for (char **each = environ; *each; each++) printf("variable %s\n", *each);
  print_descriptors();
  print_directory();
  printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
  int terminal = open("/dev/tty", O_RDWR);
  printf("terminal %s\n", terminal >= 0 ? "yes" : "no");
  if (terminal >= 0) close(terminal);
  printf("session %d\n", getsid(0) == getpid());
  printf("keep %d\n", prctl(PR_GET_KEEPCAPS));
  printf("securebits %d\n", prctl(PR_GET_SECUREBITS));
  char name[256] = "";
  long ring = syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, name, sizeof name - 1);
  printf("keyring %s\n", ring > 0 ? name : strerror(errno));
  printf("key %s\n", has_key() ? "found" : "none");
  return 0;
}
