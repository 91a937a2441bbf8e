// SPDX-License-Identifier: MIT
/* Tries to leave its root. Its arguments: a way, and a path that only the host has. Prints "out" when it can open that, else "in".
 *
 *   chroot     to a directory below, with the old working directory open, and up from there
 *   fds        fchdir to each descriptor that it has, and up from there
 *   links      the links of /proc to the roots, directories and descriptors of all processes that it sees
 *   umount     takes its root away, as one that was pivoted to
 *   pivot      makes another place the root, and takes the old one away
 *   setns      joins the namespaces of all processes that it sees
 *   handle     opens the root of the file system by its number
 *   device     makes a node for the disk on which its root lies, and opens it
 *   mount      mounts that disk */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *sought;

static void look_from(int directory) {
  if (faccessat(directory, sought + 1, F_OK, 0) != 0) return;
  puts("out");
  exit(0);
}

/* From the working directory up to whatever is above all, and by its own root. */
static void climb(void) {
  for (int i = 0; i < 64 && chdir("..") == 0; i++) {}
  look_from(AT_FDCWD);
  int ignored = chroot(".");
  (void)ignored;
  int root = open("/", O_PATH | O_DIRECTORY);
  look_from(root);
  close(root);
}

static void by_chroot(void) {
  int here = open(".", O_RDONLY | O_DIRECTORY);
  if (mkdir("/tmp/below", 0755) != 0 || chroot("/tmp/below") != 0) return;
  if (fchdir(here) == 0) climb();
}

static void by_fds(void) {
  for (int fd = 0; fd < 1024; fd++)
    if (fchdir(fd) == 0) climb();
}

static void by_link(const char *path) {
  int directory = open(path, O_PATH | O_DIRECTORY);
  if (directory < 0) return;
  look_from(directory);
  if (fchdir(directory) == 0) climb();
  close(directory);
}

static void each_process(void (*body)(const char *)) {
  DIR *processes = opendir("/proc");
  for (struct dirent *entry; processes && (entry = readdir(processes));)
    if (atoi(entry->d_name) > 0) body(entry->d_name);
}

static void by_links_of(const char *pid) {
  char path[64];
  const char *const names[] = { "root", "cwd", "root/..", "cwd/../../../.." };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "/proc/%.12s/%s", pid, names[i]);
    by_link(path);
  }
  for (int fd = 0; fd < 64; fd++) {
    snprintf(path, sizeof path, "/proc/%.12s/fd/%d", pid, fd);
    by_link(path);
  }
}

static void by_setns_of(const char *pid) {
  char path[64];
  const char *const names[] = { "user", "mnt", "cgroup", "pid" };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "/proc/%.12s/ns/%s", pid, names[i]);
    int space = open(path, O_RDONLY);
    if (space >= 0 && setns(space, 0) == 0) climb();
    close(space);
  }
}

static void by_umount(void) {
  for (int i = 0; i < 4; i++) {
    if (umount2("/", MNT_DETACH) != 0 && umount2(".", MNT_DETACH) != 0) break;
    climb();
  }
}

static void by_pivot(void) {
  if (mkdir("/tmp/new", 0755) != 0 || mount("none", "/tmp/new", "tmpfs", 0, NULL) != 0) return;
  if (mkdir("/tmp/new/old", 0755) != 0 || syscall(SYS_pivot_root, "/tmp/new", "/tmp/new/old") != 0) return;
  if (chdir("/old") == 0) climb();
  if (umount2("/old", MNT_DETACH) == 0 && chdir("/") == 0) climb();
}

static void by_handle(void) {
  struct { struct file_handle header; unsigned number, generation; } root = { .header = { .handle_bytes = 8, .handle_type = 1 }, .number = 2 };
  int directory = open("/", O_RDONLY | O_DIRECTORY);
  int found = open_by_handle_at(directory, &root.header, O_RDONLY | O_DIRECTORY);
  if (found < 0) return;
  look_from(found);
  if (fchdir(found) == 0) climb();
}

static const char *disk(void) {
  struct stat root;
  if (stat("/", &root) != 0 || mknod("/disk", S_IFBLK | 0600, root.st_dev) != 0) return NULL;
  return "/disk";
}

static void by_device(void) {
  const char *path = disk();
  if (!path || open(path, O_RDONLY | O_NONBLOCK) < 0) return;
  puts("out");
  exit(0);
}

static void by_mount(void) {
  const char *path = disk();
  if (path && mount(path, "/tmp", "ext4", MS_RDONLY, NULL) == 0 && chdir("/tmp") == 0) look_from(AT_FDCWD);
}

int main(int count, char **word) {
  static const struct { const char *name; void (*try)(void); } ways[] = {
    { "chroot", by_chroot }, { "fds", by_fds }, { "umount", by_umount }, { "pivot", by_pivot }, { "handle", by_handle },
    { "device", by_device }, { "mount", by_mount },
  };
  if (count != 3) return 2;
  sought = word[2];
  if (strcmp(word[1], "links") == 0) each_process(by_links_of);
  if (strcmp(word[1], "setns") == 0) each_process(by_setns_of);
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
    if (strcmp(ways[i].name, word[1]) == 0) ways[i].try();
  puts("in");
  return 0;
}
