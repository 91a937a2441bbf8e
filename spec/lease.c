// SPDX-License-Identifier: MIT
/* Holds a lease on a file until the end of its standard input: whoever else opens the file has to wait for it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(int count, char **word) {
  char byte;
  signal(SIGIO, SIG_IGN); /* with which the kernel asks for it back */
  int file = open(count == 2 ? word[1] : "", O_RDWR);
  if (fcntl(file, F_SETLEASE, F_WRLCK) < 0) {
    perror("F_SETLEASE");
    return 1;
  }
  if (write(1, "ready\n", 6) != 6) return 1;
  return read(0, &byte, 1) != 0;
}
