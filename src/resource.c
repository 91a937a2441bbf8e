// SPDX-License-Identifier: MIT
/* Limits of resources. */
#define _GNU_SOURCE
#include <sys/resource.h>

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib.h"

int limit_of(lua_State *L, int index, rlim_t *limit) {
  lua_Integer value;
  if (integer_of(L, index, (lua_Integer)RLIM_INFINITY, LUA_MAXINTEGER, &value)) return 0;
  *limit = (rlim_t)value;
  return 1;
}

/*** The limits of a resource for this process.
@function getrlimit
@tparam integer resource RLIMIT_…
@return integer,integer: the soft and the hard limit, in the resource's own units; RLIM_INFINITY for none
@see getrlimit(2)
*/
static int sys_getrlimit(lua_State *L) {
  arg_count(L, 1);
  unsigned resource = arg_uint(L, 1);
  struct rlimit limit;
  int result = (int)syscall(SYS_prlimit64, 0, resource, NULL, &limit), err = errno;
  if (result == -1) return sys_failure(L, err, "getrlimit %d", (int)resource);
  lua_pushinteger(L, (lua_Integer)limit.rlim_cur);
  lua_pushinteger(L, (lua_Integer)limit.rlim_max);
  return 2;
}

/*** Sets the limits of a resource for this process, and for those that it starts.
@function setrlimit
@tparam integer resource RLIMIT_…
@tparam integer soft what counts, in the resource's own units; RLIM_INFINITY for none
@tparam integer hard how far anyone without CAP_SYS_RESOURCE may raise the soft one
@see setrlimit(2)
*/
static int sys_setrlimit(lua_State *L) {
  arg_count(L, 3);
  unsigned resource = arg_uint(L, 1);
  struct rlimit limit;
  if (!limit_of(L, 2, &limit.rlim_cur)) luaL_argerror(L, 2, LIMIT_EXPECTED);
  if (!limit_of(L, 3, &limit.rlim_max)) luaL_argerror(L, 3, LIMIT_EXPECTED);
  int result = (int)syscall(SYS_prlimit64, 0, resource, &limit, NULL), err = errno;
  return sys_status(L, result, err, "setrlimit %d", (int)resource);
}

static const luaL_Reg functions[] = { { "getrlimit", sys_getrlimit }, { "setrlimit", sys_setrlimit }, { NULL, NULL } };

void open_resource(lua_State *L) { luaL_setfuncs(L, functions, 0); }
