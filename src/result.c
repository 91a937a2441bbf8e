// SPDX-License-Identifier: MIT
/* The one way in which a call's outcome becomes Lua values. */
#include "lib.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static int failure(lua_State *L, int saved_errno, const char *format, va_list args) {
  luaL_pushfail(L);
  lua_pushvfstring(L, format, args);
  lua_pushfstring(L, "%s: %s", lua_tostring(L, -1), strerror(saved_errno));
  lua_remove(L, -2);
  lua_pushinteger(L, saved_errno);
  return 3;
}

int sys_failure(lua_State *L, int saved_errno, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = failure(L, saved_errno, format, args);
  va_end(args);
  return n;
}

int sys_status(lua_State *L, int result, int saved_errno, const char *format, ...) {
  if (result != -1) {
    lua_pushboolean(L, 1);
    return 1;
  }
  va_list args;
  va_start(args, format);
  int n = failure(L, saved_errno, format, args);
  va_end(args);
  return n;
}

int sys_integer(lua_State *L, long result, int saved_errno, const char *format, ...) {
  if (result != -1) {
    lua_pushinteger(L, result);
    return 1;
  }
  va_list args;
  va_start(args, format);
  int n = failure(L, saved_errno, format, args);
  va_end(args);
  return n;
}

int sys_descriptor(lua_State *L, int *descriptor, int fd, int saved_errno, const char *format, ...) {
  if (fd != -1) {
    *descriptor = fd;
    return 1;
  }
  va_list args;
  va_start(args, format);
  int n = failure(L, saved_errno, format, args);
  va_end(args);
  return n;
}

const char *name_or_null(const char *string) { return string ? string : "NULL"; }

/*** The C library's words for an errno.
@function strerror
@tparam integer errno
@treturn string
@see strerror(3)
*/
static int sys_strerror(lua_State *L) {
  arg_count(L, 1);
  lua_pushstring(L, strerror(arg_int(L, 1)));
  return 1;
}

static const luaL_Reg functions[] = { { "strerror", sys_strerror }, { NULL, NULL } };

void open_result(lua_State *L) { luaL_setfuncs(L, functions, 0); }
