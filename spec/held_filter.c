// SPDX-License-Identifier: MIT
/* Prints the filter of system calls that the kernel holds for a process, its last one, as it is: struct sock_filter. As root. */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif

int main(int count, char **word) {
  static struct sock_filter filter[4096];
  pid_t pid = count == 2 ? atoi(word[1]) : 0;
  if (ptrace(PTRACE_ATTACH, pid, 0, 0) != 0 || waitpid(pid, NULL, __WALL) != pid) {
    perror("PTRACE_ATTACH");
    return 1;
  }
  long length = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, (void *)0, filter);
  if (length < 0) {
    perror("PTRACE_SECCOMP_GET_FILTER");
    return 2;
  }
  return fwrite(filter, sizeof *filter, (size_t)length, stdout) != (size_t)length;
}
