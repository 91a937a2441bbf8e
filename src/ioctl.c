// SPDX-License-Identifier: MIT
/* Requests to network interfaces and terminals. */
#define _GNU_SOURCE
#include <sys/ioctl.h>

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>

#include "lib.h"

enum { TERMIOS = 36 }; /* the kernel's struct termios; the C library's is another */

const struct ioctl_request *ioctl_request(unsigned number) {
  static const struct ioctl_request requests[] = {
    { SIOCGIFFLAGS, sizeof(struct ifreq), "struct ifreq", false },
    { SIOCSIFFLAGS, sizeof(struct ifreq), "struct ifreq", false },
    { TIOCGWINSZ, sizeof(struct winsize), "struct winsize", false },
    { TIOCSWINSZ, sizeof(struct winsize), "struct winsize", false },
    { TCGETS, TERMIOS, "struct termios", false },
    { TCSETS, TERMIOS, "struct termios", false },
    { TCSETSW, TERMIOS, "struct termios", false },
    { TIOCGPTN, sizeof(int), "int", false },
    { TIOCSPTLCK, sizeof(int), "int", false },
    { TIOCSCTTY, 0, NULL, false },
    { TIOCGPTPEER, 0, NULL, true },
  };
  for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
    if (requests[i].number == number) return &requests[i];
  return NULL;
}

static int request_with_integer(lua_State *L, int fd, const struct ioctl_request *request) {
  int value = arg_int(L, 3), *descriptor = request->opens ? descriptor_new(L) : NULL;
  if (descriptor) value |= O_CLOEXEC;
  int result = ioctl(fd, request->number, (long)value), err = errno;
  if (descriptor) return sys_descriptor(L, descriptor, result, err, "ioctl %d", fd);
  return sys_integer(L, result, err, "ioctl %d", fd);
}

/*** Asks or tells a device: the flags of a network interface, the settings and the size of a terminal.
@function ioctl
@tparam descriptor fd a socket, or a terminal
@tparam integer request SIOCGIFFLAGS, SIOCSIFFLAGS (struct ifreq, 40 bytes); TIOCGWINSZ, TIOCSWINSZ (struct winsize, 8 bytes);
TCGETS, TCSETS, TCSETSW (the kernel's struct termios, 36 bytes); TIOCGPTN, TIOCSPTLCK (an int, 4 bytes); TIOCSCTTY, TIOCGPTPEER (an
integer)
@tparam string|integer argument
@treturn string the structure as the kernel left it; for an integer, what the kernel returned, which is a descriptor from TIOCGPTPEER
@see netdevice(7), ioctl_tty(2)
*/
static int sys_ioctl(lua_State *L) {
  arg_count(L, 3);
  int fd = arg_fd(L, 1);
  const struct ioctl_request *request = ioctl_request(arg_uint(L, 2));
  luaL_argcheck(L, request, 2, IOCTL_EXPECTED);
  if (request->size == 0) return request_with_integer(L, fd, request);
  union { char bytes[64]; struct ifreq interface; struct winsize size; int number; } structure;
  size_t size;
  luaL_checktype(L, 3, LUA_TSTRING);
  const char *bytes = lua_tolstring(L, 3, &size);
  if (size != request->size) luaL_argerror(L, 3, lua_pushfstring(L, "%s has %d bytes", request->structure, (int)request->size));
  memcpy(&structure, bytes, size);
  if (size == sizeof structure.interface) structure.interface.ifr_name[IFNAMSIZ - 1] = '\0';
  int result = ioctl(fd, request->number, &structure), err = errno;
  if (result == -1 && size == sizeof structure.interface) return sys_failure(L, err, "ioctl %s", structure.interface.ifr_name);
  if (result == -1) return sys_failure(L, err, "ioctl %d", fd);
  lua_pushlstring(L, structure.bytes, size);
  return 1;
}

static const luaL_Reg functions[] = { { "ioctl", sys_ioctl }, { NULL, NULL } };

void open_ioctl(lua_State *L) { luaL_setfuncs(L, functions, 0); }
