// SPDX-License-Identifier: MIT
/* Sockets, and descriptors that travel through them. */
#define _GNU_SOURCE
#include <sys/socket.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "lib.h"

/*** Opens a socket, close-on-exec.
@function socket
@tparam integer domain AF_…
@tparam integer type SOCK_…
@tparam integer protocol
@treturn descriptor
@see socket(2)
*/
static int sys_socket(lua_State *L) {
  arg_count(L, 3);
  int domain = arg_int(L, 1), type = arg_int(L, 2) | SOCK_CLOEXEC, protocol = arg_int(L, 3);
  int *descriptor = descriptor_new(L);
  int fd = socket(domain, type, protocol), err = errno;
  return sys_descriptor(L, descriptor, fd, err, "socket");
}

/*** Opens two sockets that are connected with each other, close-on-exec.
@function socketpair
@tparam integer domain AF_UNIX
@tparam integer type SOCK_…
@tparam integer protocol
@treturn descriptor
@treturn descriptor
@see socketpair(2)
*/
static int sys_socketpair(lua_State *L) {
  arg_count(L, 3);
  int domain = arg_int(L, 1), type = arg_int(L, 2) | SOCK_CLOEXEC, protocol = arg_int(L, 3);
  int *first = descriptor_new(L), *second = descriptor_new(L), fds[2];
  int result = socketpair(domain, type, protocol, fds), err = errno;
  if (result == -1) return sys_failure(L, err, "socketpair");
  *first = fds[0];
  *second = fds[1];
  return 2;
}

union control {
  struct cmsghdr header; /* for its alignment */
  char bytes[CMSG_SPACE(sizeof(int))];
};

/*** Sends bytes, and one descriptor or none, through a socket of the domain AF_UNIX. Nobody gets SIGPIPE.
@function sendmsg
@tparam descriptor fd
@tparam string bytes at least one
@tparam {descriptor} descriptors
@tparam[opt=0] integer flags MSG_…
@treturn integer how many bytes were sent
@see sendmsg(2), unix(7)
*/
static int sys_sendmsg(lua_State *L) {
  arg_count(L, 4);
  int fd = arg_fd(L, 1), flags = arg_int_or(L, 4, 0), sent = -1;
  struct iovec bytes;
  luaL_checktype(L, 2, LUA_TSTRING);
  bytes.iov_base = (void *)lua_tolstring(L, 2, &bytes.iov_len);
  luaL_argcheck(L, bytes.iov_len > 0, 2, "a descriptor does not travel without a byte");
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_Unsigned descriptors = lua_rawlen(L, 3);
  lua_rawgeti(L, 3, 1);
  luaL_argcheck(L, descriptors == 0 || (descriptors == 1 && fd_of(L, lua_gettop(L), &sent)), 3, "expected a list of one descriptor, or none");
  union control control = { .header = { .cmsg_len = CMSG_LEN(sizeof sent), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
  memcpy(CMSG_DATA(&control.header), &sent, sizeof sent);
  struct msghdr message = {
    .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = descriptors ? &control : NULL, .msg_controllen = descriptors ? sizeof control : 0,
  };
  ssize_t count = sendmsg(fd, &message, flags | MSG_NOSIGNAL);
  int err = errno;
  return sys_integer(L, count, err, "sendmsg %d", fd);
}

/*** Receives bytes, and the descriptor that came with them, close-on-exec.
@function recvmsg
@tparam descriptor fd
@tparam integer size bytes
@tparam[opt=0] integer flags MSG_…
@treturn string empty when the other end is closed
@treturn ?descriptor
@see recvmsg(2), unix(7)
*/
static int sys_recvmsg(lua_State *L) {
  arg_count(L, 3);
  int fd = arg_fd(L, 1), flags = arg_int_or(L, 3, 0), *descriptor;
  struct iovec bytes = { .iov_len = (size_t)arg_range(L, 2, 0, INT_MAX) };
  luaL_Buffer buffer;
  union control control;
  struct msghdr message = {
    .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control,
    .msg_controllen = CMSG_LEN(sizeof *descriptor), /* CMSG_SPACE has room for a second one, which nobody would close */
  };
  descriptor = descriptor_new(L);
  bytes.iov_base = luaL_buffinitsize(L, &buffer, bytes.iov_len);
  ssize_t count = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
  int err = errno;
  if (count == -1) return sys_failure(L, err, "recvmsg %d", fd);
  const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  bool came = header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len >= CMSG_LEN(sizeof(int));
  if (came) memcpy(descriptor, CMSG_DATA(header), sizeof *descriptor);
  luaL_pushresultsize(&buffer, (size_t)count);
  if (!came) return 1;
  lua_pushvalue(L, -2);
  return 2;
}

static const luaL_Reg functions[] = {
  { "socket", sys_socket }, { "socketpair", sys_socketpair }, { "sendmsg", sys_sendmsg }, { "recvmsg", sys_recvmsg },
  { NULL, NULL },
};

void open_socket(lua_State *L) { luaL_setfuncs(L, functions, 0); }
