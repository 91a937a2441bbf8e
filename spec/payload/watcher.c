// SPDX-License-Identifier: MIT
/* Watches for processes that appear beside it, and looks at each at once for what is the host's: its executable, its
 * descriptors, its root and working directory, its memory and its environment, in which it looks for a secret. Its arguments: the
 * secret, with each letter one too high, and `strike`, to overwrite and kill what it can trace; `look`, to kill nobody; or `all`, to look at all
 * processes that it sees, again and again, and to kill nobody. Prints what it could get:
 *
 *   exe LINK | exe opened LINK | exe written LINK | fd LINK | fd opened LINK | fd stolen LINK | outside root|cwd | memory | secret | struck
 *   secret in environ|cmdline|auxv|comm
 *
 * and, first of all, "ready"; with `all`, "round" when it has looked at each once. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char secret[64], link_text[256];
static int is_gentle; /* among processes of the host */
static struct stat own_root;

static void say(const char *what, const char *link) {
  printf("%s %s\n", what, link);
  fflush(stdout);
}

static const char *link_of(const char *path) {
  ssize_t length = readlink(path, link_text, sizeof link_text - 1);
  if (length < 0) return NULL;
  link_text[length] = '\0';
  return link_text;
}

static const char *link_of_fd(int fd) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const char *link = link_of(path);
  return link ? link : "";
}

/* Nobody can open a file for writing that is executed; so this ends who does. */
static void try_to_write(int pid, int executable) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", executable);
  kill(pid, SIGKILL);
  for (int tries = 0; tries < 1000; tries++) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno != ETXTBSY) return;
    if (fd < 0) { usleep(100); continue; }
    say("exe opened", link_of_fd(fd));
    if (write(fd, "x", 1) == 1 || ftruncate(fd, 0) == 0) say("exe written", link_of_fd(fd));
    close(fd);
    return;
  }
}

static void look_at_exe(int pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  say("exe", link_of_fd(fd));
  if (!is_gentle && strncmp(link_text, "/memfd:", 7) == 0) try_to_write(pid, fd);
  close(fd);
}

static void look_at_descriptors(int pid) {
  char path[64];
  for (int number = 0; number < 24; number++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
    if (link_of(path)) say("fd", link_text);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) continue;
    say("fd opened", link_of_fd(fd));
    close(fd);
  }
}

/* A descriptor that stands for a process outside leads to all that this one has open. */
static void steal(int process, int depth) {
  for (int number = 0; number < 24; number++) {
    int fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
    if (fd < 0) continue;
    link_of_fd(fd);
    if (depth > 0) say("fd stolen", link_text);
    else if (strcmp(link_text, "anon_inode:[pidfd]") == 0) steal(fd, depth + 1);
    close(fd);
  }
}

static void look_behind_descriptors(int pid) {
  int process = (int)syscall(SYS_pidfd_open, pid, 0);
  if (process < 0) return;
  steal(process, 0);
  close(process);
}

static void look_at_place(int pid, const char *name) {
  char path[64];
  struct stat found;
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  if (stat(path, &found) == 0 && (found.st_dev != own_root.st_dev || found.st_ino != own_root.st_ino)) say("outside", name);
}

static void search(int pid, unsigned long from, unsigned long to) {
  static char bytes[1 << 20];
  for (; from < to; from += sizeof bytes) {
    size_t size = to - from < sizeof bytes ? to - from : sizeof bytes;
    struct iovec local = { bytes, size }, remote = { (void *)from, size };
    ssize_t count = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (count <= 0) return;
    if (from == 0x400000) say("memory", "");
    if (memmem(bytes, (size_t)count, secret, strlen(secret))) say("secret", "");
  }
}

static FILE *maps_of(int pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  return fopen(path, "re");
}

static void look_at_memory(int pid) {
  char line[512];
  unsigned long from, to;
  FILE *maps = maps_of(pid);
  if (!maps) return;
  while (fgets(line, sizeof line, maps))
    if (sscanf(line, "%lx-%lx r", &from, &to) == 2) search(pid, from, to);
  fclose(maps);
}

static void look_at_text(int pid, const char *name) {
  static char bytes[1 << 16];
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t count = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
  if (fd >= 0) close(fd);
  if (count > 0 && memmem(bytes, (size_t)count, secret, strlen(secret))) say("secret in", name);
}

/* Fills the code of casulo-init with breakpoints, and ends the process: whoever shares its memory runs into them. */
static void strike(int pid) {
  char path[64], line[512], breakpoints[4096];
  unsigned long from, to;
  if (ptrace(PTRACE_SEIZE, pid, 0, 0) != 0) return;
  ptrace(PTRACE_INTERRUPT, pid, 0, 0);
  FILE *maps = maps_of(pid);
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  int memory = open(path, O_RDWR | O_CLOEXEC);
  memset(breakpoints, 0xcc, sizeof breakpoints);
  while (maps && fgets(line, sizeof line, maps)) {
    if (!strstr(line, "r-x") || !strstr(line, "casulo-init") || sscanf(line, "%lx-%lx", &from, &to) != 2) continue;
    for (; from < to; from += sizeof breakpoints)
      if (pwrite(memory, breakpoints, sizeof breakpoints, (off_t)from) > 0) say("struck", "");
  }
  if (maps) fclose(maps);
  if (memory >= 0) close(memory);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, __WALL);
}

static void look_at(int pid) {
  look_at_place(pid, "root");
  look_at_place(pid, "cwd");
  look_at_descriptors(pid);
  look_behind_descriptors(pid);
  look_at_text(pid, "environ");
  look_at_text(pid, "cmdline");
  look_at_text(pid, "auxv");
  look_at_text(pid, "comm");
  look_at_memory(pid);
  look_at_exe(pid);
}

static void look_at_all(void) {
  DIR *processes = opendir("/proc");
  for (struct dirent *entry; processes && (entry = readdir(processes));) {
    int pid = atoi(entry->d_name);
    if (pid > 0 && pid != getpid()) look_at(pid);
  }
  if (processes) closedir(processes);
  say("round", "");
}

/* → the number of the latest process, or of one close to it: many may have come and gone meanwhile. */
static int catch_up(int newest) {
  static int loads = -1;
  char text[128] = "";
  if (loads < 0) loads = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
  ssize_t count = pread(loads, text, sizeof text - 1, 0);
  const char *last = count > 0 ? strrchr(text, ' ') : NULL;
  int latest = last ? atoi(last) : 0;
  return latest > newest + 4 ? latest - 4 : newest;
}

int main(int count, char **word) {
  int newest = getpid(), strikes = count > 2 && strcmp(word[2], "strike") == 0;
  for (const char *letter = count > 1 ? word[1] : ""; *letter; letter++) secret[letter - word[1]] = (char)(*letter - 1);
  stat("/", &own_root);
  say("ready", "");
  is_gentle = count > 2 && !strikes;
  while (is_gentle && strcmp(word[2], "all") == 0) look_at_all();
  for (;; newest = catch_up(newest))
    for (int ahead = 1; ahead <= 4; ahead++)
      if (kill(newest + ahead, 0) == 0 || errno == EPERM) {
        newest += ahead;
        if (strikes) strike(newest);
        else look_at(newest);
        break;
      }
}
