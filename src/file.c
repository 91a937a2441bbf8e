// SPDX-License-Identifier: MIT
/* Opening files. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int opened_at(lua_State *L, int dirfd, const char *path, int flags, mode_t mode) {
  int *descriptor = descriptor_new(L);
  int fd = openat(dirfd, path, flags | O_CLOEXEC, mode), err = errno;
  return sys_descriptor(L, descriptor, fd, err, "open %s", path);
}

/*** Opens a file, close-on-exec.
@function open
@tparam string path
@tparam integer flags O_…
@tparam[opt=0] integer mode of a file that is made
@treturn descriptor
@see open(2)
*/
static int sys_open(lua_State *L) {
  arg_count(L, 3);
  return opened_at(L, AT_FDCWD, arg_string(L, 1), arg_int(L, 2), arg_uint_or(L, 3, 0));
}

/*** Opens a file relative to a directory, close-on-exec.
@function openat
@tparam descriptor dirfd or AT_FDCWD
@tparam string path
@tparam integer flags O_…
@tparam[opt=0] integer mode of a file that is made
@treturn descriptor
@see openat(2)
*/
static int sys_openat(lua_State *L) {
  arg_count(L, 4);
  return opened_at(L, arg_fd(L, 1), arg_string(L, 2), arg_int(L, 3), arg_uint_or(L, 4, 0));
}

/*** Opens a file, with a say in how its path is resolved.
@function openat2
@tparam descriptor dirfd or AT_FDCWD
@tparam string path
@tparam string how struct open_how: three 64-bit integers, flags, mode, resolve
@treturn descriptor
@see openat2(2)
*/
static int sys_openat2(lua_State *L) {
  arg_count(L, 3);
  int dirfd = arg_fd(L, 1);
  const char *path = arg_string(L, 2);
  struct open_how how;
  luaL_checktype(L, 3, LUA_TSTRING);
  luaL_argcheck(L, lua_rawlen(L, 3) == sizeof how, 3, "struct open_how has 24 bytes");
  memcpy(&how, lua_tostring(L, 3), sizeof how);
  how.flags |= O_CLOEXEC;
  int *descriptor = descriptor_new(L);
  int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how), err = errno;
  return sys_descriptor(L, descriptor, fd, err, "openat2 %s", path);
}

/*** Makes a file without a name, in memory, close-on-exec.
@function memfd_create
@tparam string name for those who look
@tparam integer flags MFD_…
@treturn descriptor
@see memfd_create(2)
*/
static int sys_memfd_create(lua_State *L) {
  arg_count(L, 2);
  const char *name = arg_string(L, 1);
  unsigned flags = arg_uint(L, 2) | MFD_CLOEXEC;
  int *descriptor = descriptor_new(L);
  int fd = memfd_create(name, flags), err = errno;
  return sys_descriptor(L, descriptor, fd, err, "memfd_create %s", name);
}

static const luaL_Reg functions[] = {
  { "open", sys_open },
  { "openat", sys_openat },
  { "openat2", sys_openat2 },
  { "memfd_create", sys_memfd_create },
  { NULL, NULL },
};

void open_file(lua_State *L) { luaL_setfuncs(L, functions, 0); }
