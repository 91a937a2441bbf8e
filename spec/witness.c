// SPDX-License-Identifier: MIT
/* Sees whatever is done to files and directories of the host, from whichever mount namespace, by whatever name.
 *
 * Usage: witness PATH… A directory is watched with all that is in it. Prints "ready", then a line for each thing that is opened,
 * read, written, made, removed or moved: "open PATH". Ends when its standard input does, after what has happened until then. */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 1024, SEEN = IN_OPEN | IN_ACCESS | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF };

static char watched[MOST][512];

static const struct { unsigned mask; const char *name; } events[] = {
  { IN_OPEN, "open" }, { IN_ACCESS, "read" }, { IN_MODIFY, "write" }, { IN_CREATE, "create" }, { IN_DELETE | IN_DELETE_SELF, "delete" },
  { IN_MOVE | IN_MOVE_SELF, "move" }, { IN_Q_OVERFLOW, "too much" },
};

static int watch(int queue, const char *path) {
  struct stat found;
  int number = inotify_add_watch(queue, path, SEEN | IN_DONT_FOLLOW);
  if (number < 0 || number >= MOST || lstat(path, &found) != 0) {
    perror(path);
    return -1;
  }
  snprintf(watched[number], sizeof watched[number], "%s", path);
  DIR *directory = S_ISDIR(found.st_mode) ? opendir(path) : NULL;
  for (struct dirent *entry; directory && (entry = readdir(directory));) {
    char inner[512];
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(inner, sizeof inner, "%.200s/%s", path, entry->d_name);
    if (watch(queue, inner) != 0) return -1;
  }
  if (directory) closedir(directory);
  return 0;
}

static void tell(const struct inotify_event *event) {
  for (size_t i = 0; i < sizeof events / sizeof *events; i++)
    if (event->mask & events[i].mask)
      printf("%s %s%s%s\n", events[i].name, event->wd > 0 ? watched[event->wd] : "", event->len ? "/" : "", event->len ? event->name : "");
}

/* → whether there was anything */
static int tell_all(int queue, int is_silent) {
  static char bytes[1 << 16] __attribute__((aligned(8)));
  ssize_t size = read(queue, bytes, sizeof bytes);
  for (ssize_t at = 0; at < size && !is_silent;) {
    const struct inotify_event *event = (const void *)(bytes + at);
    tell(event);
    at += (ssize_t)(sizeof *event + event->len);
  }
  return size > 0;
}

int main(int count, char **word) {
  int queue = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  for (int i = 1; i < count; i++)
    if (watch(queue, word[i]) != 0) return 1;
  while (tell_all(queue, 1)) {} /* what was done just now, to watch */
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct pollfd fds[2] = { { .fd = 0, .events = POLLIN }, { .fd = queue, .events = POLLIN } };
    if (poll(fds, 2, -1) < 0) return 1;
    int is_over = fds[0].revents != 0;
    while (tell_all(queue, 0)) {}
    fflush(stdout);
    if (is_over) return 0;
  }
}
