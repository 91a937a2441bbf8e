// SPDX-License-Identifier: MIT
/* Prints what isolation it sees, a line each, and in the order of the clean run's: nothing in it is another one each time but the
 * numbers of namespaces, mounts and devices. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

static void print_file(const char *path, const char *only) {
  char line[4096];
  FILE *file = fopen(path, "r");
  if (!file) printf("%s: %s\n", path, strerror(errno));
  while (file && fgets(line, sizeof line, file)) {
    size_t name = strcspn(line, ":");
    char word[64];
    snprintf(word, sizeof word, " %.*s ", (int)name, line);
    if (!only || strstr(only, word)) printf("%s: %s", path, line);
  }
  if (file) fclose(file);
}

static void print_links(const char *directory) {
  struct dirent **names;
  int count = scandir(directory, &names, NULL, alphasort);
  for (int i = 0; i < count; i++) {
    char path[300], target[256] = "";
    snprintf(path, sizeof path, "%s/%s", directory, names[i]->d_name);
    if (names[i]->d_name[0] != '.' && readlink(path, target, sizeof target - 1) > 0) printf("%s -> %s\n", path, target);
  }
}

static void print_tree(const char *directory) {
  struct dirent **names;
  int count = scandir(directory, &names, NULL, alphasort);
  for (int i = 0; i < count; i++) {
    char path[300];
    struct stat found;
    snprintf(path, sizeof path, "%s/%s", directory, names[i]->d_name);
    if (strcmp(names[i]->d_name, "..") != 0 && lstat(path, &found) == 0)
      printf("%s: mode %o uid %u gid %u rdev %lx\n", path, found.st_mode, found.st_uid, found.st_gid, (unsigned long)found.st_rdev);
  }
}

static void print_signals(void) {
  for (int i = 1; i <= 64; i++) {
    struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } action;
    if (syscall(SYS_rt_sigaction, i, NULL, &action, sizeof action.mask) == 0 && action.handler != (void *)SIG_DFL) printf("signal %d\n", i);
  }
}

static void print_loopback(void) {
  struct ifreq request = { .ifr_name = "lo" };
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0) printf("lo %x\n", request.ifr_flags);
  close(fd);
}

static void print_keyring(void) {
  char name[256] = "";
  long ring = syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, name, sizeof name - 1);
  printf("keyring %s\n", ring > 0 ? name : strerror(errno));
}

static void print_own(void) {
  struct utsname names;
  char directory[4096] = "";
  int signal = 0;
  mode_t mask = umask(0);
  umask(mask);
  uname(&names);
  prctl(PR_GET_PDEATHSIG, &signal);
  if (syscall(SYS_getcwd, directory, sizeof directory) < 0) directory[0] = 0;
  printf("names %s %s\ndirectory %s\numask %o\nparent's death %d\n", names.nodename, names.domainname, directory, mask, signal);
  printf("nice %d\npersonality %x\n", getpriority(PRIO_PROCESS, 0), personality(0xffffffff));
  printf("dumpable %d keep %d securebits %d\n", prctl(PR_GET_DUMPABLE), prctl(PR_GET_KEEPCAPS), prctl(PR_GET_SECUREBITS));
  printf("session %d group %d first %d\n", getsid(0) == getpid(), getpgrp() == getpid(), getpid() == 1);
}

static const char *const FILES[] = {
  "/proc/self/mountinfo", "/proc/self/limits", "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups", "/proc/self/cgroup",
  "/proc/self/oom_score_adj", "/proc/self/timens_offsets", "/etc/text", NULL,
};
static const char *const TREES[] = { "/", "/dev", "/dev/pts", "/dev/shm", "/proc/self/fd", "/mnt", "/mnt/below", "/srv", "/data", NULL };

int main(void) {
  const char *waits = getenv("WAIT");
  if (waits && strcmp(waits, "1") == 0) pause();
  print_links("/proc/self/fd");
  print_links("/proc/self/ns");
  print_file("/proc/self/status", " Uid  Gid  Groups  NoNewPrivs  Seccomp  Seccomp_filters  CapInh  CapPrm  CapEff  CapBnd  CapAmb  SigBlk  SigIgn  SigCgt ");
  for (int i = 0; FILES[i]; i++) print_file(FILES[i], NULL);
  for (int i = 0; TREES[i]; i++) print_tree(TREES[i]);
  print_signals();
  print_loopback();
  print_keyring();
  print_own();
  for (char **each = environ; *each; each++) printf("variable %s\n", *each);
  return 0;
}
