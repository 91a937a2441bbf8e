// SPDX-License-Identifier: MIT
/* Argument checks: a value that the C type cannot hold raises, and nothing is cut or guessed. */
#include "lib.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>


/* The …_of functions return what is wrong with the value at an index, or NULL; they serve arguments and steps alike. */

const char *string_of(lua_State *L, int index, const char **string) {
  size_t length;
  if (lua_type(L, index) != LUA_TSTRING) return "expected a string";
  *string = lua_tolstring(L, index, &length);
  return strlen(*string) == length ? NULL : "string contains a NUL byte";
}

const char *integer_of(lua_State *L, int index, lua_Integer least, lua_Integer most, lua_Integer *value) {
  int is_integer = 0;
  /* a string that looks like a number is a mistake here */
  if (lua_type(L, index) != LUA_TNUMBER) return "expected an integer";
  *value = lua_tointegerx(L, index, &is_integer);
  if (!is_integer) return "number has no integer representation";
  if (*value >= least && *value <= most) return NULL;
  return lua_pushfstring(L, "%I is not between %I and %I", *value, least, most);
}

/* A list without holes or other keys. */
const char *list_of(lua_State *L, int index, size_t *length) {
  if (lua_type(L, index) != LUA_TTABLE) return "expected a list";
  size_t keys = 0, holes = 0;
  *length = lua_rawlen(L, index);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) keys++;
  for (size_t i = 1; i <= *length; i++) {
    if (lua_rawgeti(L, index, (lua_Integer)i) == LUA_TNIL) holes++;
    lua_pop(L, 1);
  }
  return keys == *length && holes == 0 ? NULL : "expected a list without holes";
}

/* The strings stay alive in the caller's table; the array is a userdata left on the stack. */
const char *strings_of(lua_State *L, int index, char ***strings, size_t *count) {
  const char *wrong = list_of(L, index, count);
  if (wrong) return wrong;
  *strings = lua_newuserdatauv(L, (*count + 1) * sizeof **strings, 0);
  for (size_t i = 0; i < *count && !wrong; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    wrong = string_of(L, -1, (const char **)&(*strings)[i]);
    lua_pop(L, 1);
  }
  (*strings)[*count] = NULL;
  return wrong;
}

const char *gids_of(lua_State *L, int index, gid_t **gids, size_t *count) {
  const char *wrong = list_of(L, index, count);
  if (wrong) return wrong;
  *gids = lua_newuserdatauv(L, (*count + 1) * sizeof **gids, 0);
  for (size_t i = 0; i < *count && !wrong; i++) {
    lua_Integer gid = 0;
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    if (integer_of(L, -1, 0, (lua_Integer)UINT_MAX - 1, &gid)) wrong = "expected a list of group ids";
    (*gids)[i] = (gid_t)gid;
    lua_pop(L, 1);
  }
  return wrong;
}

const char *signals_of(lua_State *L, int index, sigset_t *set) {
  size_t count;
  const char *wrong = list_of(L, index, &count);
  sigemptyset(set);
  for (size_t i = 1; i <= count && !wrong; i++) {
    lua_Integer number = 0;
    lua_rawgeti(L, index, (lua_Integer)i);
    if (integer_of(L, -1, 1, SIGRTMAX, &number) || sigaddset(set, (int)number) == -1)
      wrong = "expected a list of signal numbers";
    lua_pop(L, 1);
  }
  return wrong;
}

void arg_count(lua_State *L, int most) {
  if (lua_gettop(L) > most) luaL_error(L, "too many arguments: %d at most, got %d", most, lua_gettop(L));
}

static void require_fit(lua_State *L, int index, const char *wrong) {
  if (!wrong) return;
  if (strncmp(wrong, "expected ", 9) == 0) luaL_typeerror(L, index, wrong + 9);
  luaL_argerror(L, index, wrong);
  abort(); /* not reached: tells compilers and analysers that a bad value does not come back */
}

const char *arg_string(lua_State *L, int index) {
  const char *string;
  require_fit(L, index, string_of(L, index, &string));
  return string;
}

const char *arg_string_or_null(lua_State *L, int index) {
  return lua_isnoneornil(L, index) ? NULL : arg_string(L, index);
}

lua_Integer arg_range(lua_State *L, int index, lua_Integer least, lua_Integer most) {
  lua_Integer value;
  require_fit(L, index, integer_of(L, index, least, most, &value));
  return value;
}

int arg_int(lua_State *L, int index) { return (int)arg_range(L, index, INT_MIN, INT_MAX); }

/* Absent is not nil: a constant that the headers lack is nil, and must not count as the default. */
int arg_int_or(lua_State *L, int index, int when_absent) {
  return lua_isnone(L, index) ? when_absent : arg_int(L, index);
}

unsigned arg_uint(lua_State *L, int index) { return (unsigned)arg_range(L, index, 0, UINT_MAX); }

unsigned arg_uint_or(lua_State *L, int index, unsigned when_absent) {
  return lua_isnone(L, index) ? when_absent : arg_uint(L, index);
}

/* A user or group id; -1 leaves it as it is. */
unsigned arg_id(lua_State *L, int index) { return (unsigned)arg_range(L, index, -1, (lua_Integer)UINT_MAX - 1); }

int arg_fd(lua_State *L, int index) {
  int fd;
  if (!fd_of(L, index, &fd)) luaL_typeerror(L, index, "descriptor, file or integer");
  return fd;
}

char **arg_strings(lua_State *L, int index) {
  char **strings;
  size_t count;
  require_fit(L, index, strings_of(L, index, &strings, &count));
  return strings;
}

gid_t *arg_gids(lua_State *L, int index, size_t *count) {
  gid_t *gids;
  require_fit(L, index, gids_of(L, index, &gids, count));
  return gids;
}

void arg_signals(lua_State *L, int index, sigset_t *set) { require_fit(L, index, signals_of(L, index, set)); }

/* A list of { fd = …, events = … }, the members of struct pollfd. The array is a userdata left on the stack. */
struct pollfd *arg_pollfds(lua_State *L, int index, size_t *count) {
  require_fit(L, index, list_of(L, index, count));
  struct pollfd *fds = lua_newuserdatauv(L, (*count + 1) * sizeof *fds, 0);
  for (size_t i = 0; i < *count; i++) {
    lua_Integer events = 0;
    int type = lua_rawgeti(L, index, (lua_Integer)i + 1);
    luaL_argcheck(L, type == LUA_TTABLE, index, "expected a list of { fd = …, events = … }");
    lua_getfield(L, -1, "fd");
    luaL_argcheck(L, fd_of(L, -1, &fds[i].fd), index, "field fd: expected a descriptor, file or integer");
    lua_getfield(L, -2, "events");
    luaL_argcheck(L, !integer_of(L, -1, 0, SHRT_MAX, &events), index, "field events: expected an integer");
    fds[i].events = (short)events;
    fds[i].revents = 0;
    lua_pop(L, 3);
  }
  return fds;
}
