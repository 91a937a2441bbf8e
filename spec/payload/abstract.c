// SPDX-License-Identifier: MIT
/* Listens on a socket of the abstract namespace, and says "ready"; or, with an argument, connects to it, and prints the errno. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int count, char **word) {
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  memcpy(address.sun_path, "\0casulo", 7);
  int end = socket(AF_UNIX, SOCK_STREAM, 0);
  socklen_t size = sizeof(sa_family_t) + 7;
  (void)word;
  if (count > 1) return printf("%d\n", connect(end, (struct sockaddr *)&address, size) == 0 ? 0 : errno) < 0;
  if (bind(end, (struct sockaddr *)&address, size) != 0 || listen(end, 5) != 0) return 1;
  puts("ready");
  fflush(stdout);
  return pause();
}
