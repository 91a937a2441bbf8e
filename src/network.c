// SPDX-License-Identifier: MIT
/* As much of sockets as brings up a loopback interface. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

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

/*** Reads or sets the flags of a network interface.
@function ioctl
@tparam descriptor fd a socket
@tparam integer request SIOCGIFFLAGS or SIOCSIFFLAGS
@tparam string ifreq struct ifreq, 40 bytes
@treturn string the structure as the kernel left it
@see netdevice(7)
*/
static int sys_ioctl(lua_State *L) {
  arg_count(L, 3);
  int fd = arg_fd(L, 1);
  unsigned request = arg_uint(L, 2);
  luaL_argcheck(L, request == SIOCGIFFLAGS || request == SIOCSIFFLAGS, 2, "expected SIOCGIFFLAGS or SIOCSIFFLAGS");
  size_t size;
  luaL_checktype(L, 3, LUA_TSTRING);
  const char *structure = lua_tolstring(L, 3, &size);
  struct ifreq request_data;
  luaL_argcheck(L, size == sizeof request_data, 3, "struct ifreq has 40 bytes");
  memcpy(&request_data, structure, size);
  request_data.ifr_name[IFNAMSIZ - 1] = '\0';
  int result = ioctl(fd, request, &request_data), err = errno;
  if (result == -1) return sys_failure(L, err, "ioctl %s", request_data.ifr_name);
  lua_pushlstring(L, (const char *)&request_data, sizeof request_data);
  return 1;
}

static const luaL_Reg functions[] = {
  { "socket", sys_socket }, { "ioctl", sys_ioctl }, { NULL, NULL },
};

void open_network(lua_State *L) { luaL_setfuncs(L, functions, 0); }
