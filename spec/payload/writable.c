// SPDX-License-Identifier: MIT
/* Prints the files in given directories that can be opened for writing, and have somebody who may write them. The directories of
 * processes in /proc are passed over: what a process may do to itself and to its like is no matter of the host's. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void try_to_open(const char *path) {
  int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return;
  puts(path);
  close(fd);
}

static void walk(const char *path, int depth) {
  char inner[4096];
  struct stat found;
  DIR *directory = depth < 32 ? opendir(path) : NULL;
  for (struct dirent *entry; directory && (entry = readdir(directory));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (depth == 0 && isdigit((unsigned char)entry->d_name[0])) continue;
    if (snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) >= (int)sizeof inner || lstat(inner, &found) != 0) continue;
    if (S_ISDIR(found.st_mode)) walk(inner, depth + 1);
    if (S_ISREG(found.st_mode) && found.st_mode & 0222) try_to_open(inner);
  }
  if (directory) closedir(directory);
}

int main(int count, char **word) {
  for (int i = 1; i < count; i++) walk(word[i], 0);
  return 0;
}
