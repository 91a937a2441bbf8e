// SPDX-License-Identifier: MIT
/* Descriptors as userdata that close themselves, and the calls on any descriptor. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

int *descriptor_new(lua_State *L) {
  int *fd = lua_newuserdatauv(L, sizeof *fd, 0);
  *fd = -1;
  luaL_setmetatable(L, DESCRIPTOR);
  return fd;
}

/* An integer, a descriptor or an open Lua file. Raises for a closed one: its number may be another's by now. */
int fd_of(lua_State *L, int index, int *fd) {
  int *descriptor = luaL_testudata(L, index, DESCRIPTOR);
  if (descriptor) {
    if (*descriptor == -1) luaL_error(L, "attempt to use a closed descriptor");
    *fd = *descriptor;
    return 1;
  }
  luaL_Stream *stream = luaL_testudata(L, index, LUA_FILEHANDLE);
  if (stream) {
    if (!stream->closef) luaL_error(L, "attempt to use a closed file");
    *fd = fileno(stream->f);
    return 1;
  }
  int is_integer = 0;
  lua_Integer value = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &is_integer) : 0;
  if (!is_integer || value < INT_MIN || value > INT_MAX) return 0;
  *fd = (int)value;
  return 1;
}

static int descriptor_fileno(lua_State *L) {
  luaL_checkudata(L, 1, DESCRIPTOR);
  lua_pushinteger(L, arg_fd(L, 1));
  return 1;
}

/*** Closes a descriptor. A Lua file is closed by its own method instead.
@function close
@tparam descriptor fd
@see close(2)
*/
static int sys_close(lua_State *L) {
  arg_count(L, 1);
  int fd = arg_fd(L, 1);
  int *descriptor = luaL_testudata(L, 1, DESCRIPTOR);
  luaL_argcheck(L, !luaL_testudata(L, 1, LUA_FILEHANDLE), 1, "a Lua file is closed by its own method, or it would be twice");
  if (descriptor) *descriptor = -1; /* Linux frees the number even when close fails */
  int result = close(fd), err = errno;
  return sys_status(L, result, err, "close %d", fd);
}

static int descriptor_release(lua_State *L) {
  int *fd = luaL_checkudata(L, 1, DESCRIPTOR);
  if (*fd != -1) close(*fd);
  *fd = -1;
  return 0;
}

static int descriptor_is_open(lua_State *L) {
  lua_pushboolean(L, *(int *)luaL_checkudata(L, 1, DESCRIPTOR) != -1);
  return 1;
}

static int descriptor_tostring(lua_State *L) {
  int *fd = luaL_checkudata(L, 1, DESCRIPTOR);
  if (*fd == -1) lua_pushliteral(L, "descriptor (closed)");
  else lua_pushfstring(L, "descriptor (%d)", *fd);
  return 1;
}

/*** Closes a range of descriptors, or marks them close-on-exec.
@function close_range
@tparam integer first
@tparam integer last
@tparam integer flags CLOSE_RANGE_…, or 0
@see close_range(2)
*/
static int sys_close_range(lua_State *L) {
  arg_count(L, 3);
  unsigned first = arg_uint(L, 1), last = arg_uint(L, 2), flags = arg_uint(L, 3);
  int result = (int)syscall(SYS_close_range, first, last, flags), err = errno;
  return sys_status(L, result, err, "close_range %I to %I", (lua_Integer)first, (lua_Integer)last);
}

/*** Makes a number stand for the same open file. It survives an exec.
@function dup2
@tparam descriptor old
@tparam descriptor new
@treturn integer the new number
@see dup2(2)
*/
static int sys_dup2(lua_State *L) {
  arg_count(L, 2);
  int old = arg_fd(L, 1), new = arg_fd(L, 2);
  int result = dup2(old, new), err = errno;
  return sys_integer(L, result, err, "dup2 %d to %d", old, new);
}

/*** Duplicates a descriptor (close-on-exec), or reads and sets its flags.
@function fcntl
@tparam descriptor fd
@tparam integer command F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS or F_GET_SEALS
@tparam[opt=0] integer value
@treturn descriptor|integer the copy, or the flags
@see fcntl(2)
*/
static int sys_fcntl(lua_State *L) {
  arg_count(L, 3);
  int fd = arg_fd(L, 1), command = arg_int(L, 2), value = arg_int_or(L, 3, 0);
  if (command == F_DUPFD_CLOEXEC) {
    int *copy = descriptor_new(L);
    int result = fcntl(fd, command, value), err = errno;
    return sys_descriptor(L, copy, result, err, "fcntl %d", fd);
  }
  static const int known[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS, F_GET_SEALS };
  bool is_known = false;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) is_known = is_known || command == known[i];
  luaL_argcheck(L, is_known, 2, "expected F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS or F_GET_SEALS");
  int result = fcntl(fd, command, value), err = errno;
  return sys_integer(L, result, err, "fcntl %d", fd);
}

/*** Makes a pipe.
@function pipe2
@tparam[opt=0] integer flags O_NONBLOCK
@return descriptor,descriptor the end to read and the end to write
@see pipe2(2)
*/
static int sys_pipe2(lua_State *L) {
  arg_count(L, 1);
  int flags = arg_int_or(L, 1, 0) | O_CLOEXEC, fds[2];
  int *reader = descriptor_new(L), *writer = descriptor_new(L);
  int result = pipe2(fds, flags), err = errno;
  if (result == -1) return sys_failure(L, err, "pipe2");
  *reader = fds[0];
  *writer = fds[1];
  return 2;
}

/*** Reads what is there, up to a size.
@function read
@tparam descriptor fd
@tparam integer size bytes
@treturn string empty at the end of the file
@see read(2)
*/
static int sys_read(lua_State *L) {
  arg_count(L, 2);
  int fd = arg_fd(L, 1);
  size_t size = (size_t)arg_range(L, 2, 0, INT_MAX);
  luaL_Buffer buffer;
  char *bytes = luaL_buffinitsize(L, &buffer, size);
  ssize_t count = read(fd, bytes, size);
  int err = errno;
  if (count == -1) return sys_failure(L, err, "read %d", fd);
  luaL_pushresultsize(&buffer, (size_t)count);
  return 1;
}

/*** Writes bytes.
@function write
@tparam descriptor fd
@tparam string bytes
@treturn integer how many were written
@see write(2)
*/
static int sys_write(lua_State *L) {
  arg_count(L, 2);
  int fd = arg_fd(L, 1);
  size_t size;
  luaL_checktype(L, 2, LUA_TSTRING);
  const char *bytes = lua_tolstring(L, 2, &size);
  ssize_t count = write(fd, bytes, size);
  int err = errno;
  return sys_integer(L, count, err, "write %d", fd);
}

/*** Locks an open file or directory, or waits until it can. The lock is that of the open file: its copies share it, and it
is gone with the last of them.
@function flock
@tparam descriptor fd
@tparam integer operation LOCK_SH, LOCK_EX or LOCK_UN, and LOCK_NB
@see flock(2)
*/
static int sys_flock(lua_State *L) {
  arg_count(L, 2);
  int fd = arg_fd(L, 1);
  int result = flock(fd, arg_int(L, 2)), err = errno;
  return sys_status(L, result, err, "flock %d", fd);
}

/*** Whether a descriptor is a terminal.
@function isatty
@tparam descriptor fd
@see isatty(3)
*/
static int sys_isatty(lua_State *L) {
  arg_count(L, 1);
  int fd = arg_fd(L, 1);
  int result = isatty(fd) ? 0 : -1, err = errno;
  return sys_status(L, result, err, "isatty %d", fd);
}

static const luaL_Reg functions[] = {
  { "close", sys_close }, { "close_range", sys_close_range }, { "dup2", sys_dup2 },   { "fcntl", sys_fcntl },
  { "pipe2", sys_pipe2 }, { "read", sys_read },               { "write", sys_write }, { "isatty", sys_isatty },
  { "flock", sys_flock }, { NULL, NULL },
};

static const luaL_Reg methods[] = {
  { "fileno", descriptor_fileno }, { "is_open", descriptor_is_open }, { "close", sys_close }, { NULL, NULL },
};

static const luaL_Reg metamethods[] = {
  { "__gc", descriptor_release },
  { "__close", descriptor_release },
  { "__tostring", descriptor_tostring },
  { NULL, NULL },
};

void open_descriptor(lua_State *L) {
  luaL_newmetatable(L, DESCRIPTOR);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
