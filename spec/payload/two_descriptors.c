/* SPDX-License-Identifier: MIT
 * Sends two descriptors in one message through the socket that is its standard input. */
#include <string.h>
#include <sys/socket.h>

int main(void) {
  int fds[2] = { 0, 1 };
  union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof fds)]; } control = {
    .header = { .cmsg_len = CMSG_LEN(sizeof fds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS },
  };
  memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
  struct iovec bytes = { .iov_base = "x", .iov_len = 1 };
  struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
  return sendmsg(0, &message, 0) != 1;
}
