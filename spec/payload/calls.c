// SPDX-License-Identifier: MIT
/* Makes the system calls whose numbers are its arguments, as NUMBER:ARGUMENT:…, and prints the errno of each, 0 where it succeeds. An
 * argument that is not given is -1: no address, no descriptor and no set of flags, so that nothing comes of a call that is not
 * refused. One that begins with "i" is made as a program for i386 makes it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long old(long number, const long *argument) {
  long result = -ENOSYS;
#if defined(__x86_64__)
  __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(argument[0]), "c"(argument[1]), "d"(argument[2]), "S"(argument[3]),
                   "D"(argument[4]) : "memory", "r8", "r9", "r10", "r11");
  result = (int)result;
#else
  (void)number, (void)argument;
#endif
  if (result >= 0) return result;
  errno = (int)-result;
  return -1;
}

int main(int count, char **word) {
  pid_t self = getpid();
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 1; i < count; i++) {
    long argument[6] = { -1, -1, -1, -1, -1, -1 };
    int is_old = word[i][0] == 'i';
    char *rest;
    long number = strtol(word[i] + is_old, &rest, 0);
    for (int k = 0; k < 6 && *rest == ':'; k++) argument[k] = (long)strtoull(rest + 1, &rest, 0);
    errno = 0;
    long result = is_old ? old(number, argument)
      : syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
    int err = errno;
    if (syscall(SYS_getpid) != self) _exit(0); /* a child that should not be */
    printf("%s %d\n", word[i], result == -1 ? err : 0);
  }
  return 0;
}
