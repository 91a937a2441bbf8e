// SPDX-License-Identifier: MIT
/* Does what C libraries do by clone or clone3, and prints a word for each that worked. */
#define _GNU_SOURCE
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void *say(void *word) {
  puts(word);
  return NULL;
}

static int ends_well(pid_t pid) {
  int status = -1;
  return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(void) {
  char *argv[] = { "true", NULL };
  pthread_t thread;
  pid_t pid;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (pthread_create(&thread, NULL, say, "thread") != 0 || pthread_join(thread, NULL) != 0) return 1;
  if ((pid = fork()) == 0) _exit(0);
  if (ends_well(pid)) puts("fork");
  if ((pid = vfork()) == 0) _exit(0);
  if (ends_well(pid)) puts("vfork");
  if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0 && ends_well(pid)) puts("spawn");
  if (system("true") == 0) puts("system");
  return 0;
}
