// SPDX-License-Identifier: MIT
/* Landlock: what a process gives up of the file system, of the network and of other processes. */
#define _GNU_SOURCE
#include <linux/landlock.h>

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib.h"

/*** Makes a set of rules; or tells what the kernel's Landlock knows.
@function landlock_create_ruleset
@tparam ?string attr struct landlock_ruleset_attr
@tparam integer flags 0; or LANDLOCK_CREATE_RULESET_VERSION, with nil before it
@return a descriptor; or the version of Landlock's ABI, an integer
@see landlock_create_ruleset(2)
*/
static int sys_landlock_create_ruleset(lua_State *L) {
  arg_count(L, 2);
  size_t size = 0;
  const char *attr = NULL;
  if (!lua_isnil(L, 1)) {
    luaL_checktype(L, 1, LUA_TSTRING);
    attr = lua_tolstring(L, 1, &size);
  }
  unsigned flags = arg_uint(L, 2);
  int *descriptor = flags == 0 ? descriptor_new(L) : NULL; /* with flags it opens nothing */
  int result = (int)syscall(SYS_landlock_create_ruleset, attr, size, flags), err = errno;
  if (descriptor) return sys_descriptor(L, descriptor, result, err, "landlock_create_ruleset");
  return sys_integer(L, result, err, "landlock_create_ruleset");
}

/* The rights below a path, with the descriptor that stands for it, as a table; what else there is, as a string. */
static const void *rule_attr(lua_State *L, int index, struct landlock_path_beneath_attr *beneath) {
  if (lua_type(L, index) == LUA_TSTRING) {
    luaL_argcheck(L, lua_rawlen(L, index) == LANDLOCK_NET_PORT_ATTR, index, "expected 16 bytes, or a table");
    return lua_tostring(L, index);
  }
  luaL_checktype(L, index, LUA_TTABLE);
  lua_Integer allowed = 0;
  int fd = -1;
  lua_getfield(L, index, "allowed_access");
  luaL_argcheck(L, !integer_of(L, -1, 0, INT64_MAX, &allowed), index, "field allowed_access: expected an integer");
  lua_getfield(L, index, "parent_fd");
  luaL_argcheck(L, fd_of(L, -1, &fd), index, "field parent_fd: expected a descriptor, file or integer");
  lua_pop(L, 2);
  *beneath = (struct landlock_path_beneath_attr){ .allowed_access = (uint64_t)allowed, .parent_fd = fd };
  return beneath;
}

/*** Adds to a set of rules what it allows.
@function landlock_add_rule
@tparam descriptor ruleset
@tparam integer type LANDLOCK_RULE_PATH_BENEATH or LANDLOCK_RULE_NET_PORT
@tparam table|string attr `{ allowed_access =, parent_fd = }`, for struct landlock_path_beneath_attr; or struct landlock_net_port_attr, 16 bytes
@tparam integer flags 0
@see landlock_add_rule(2)
*/
static int sys_landlock_add_rule(lua_State *L) {
  arg_count(L, 4);
  struct landlock_path_beneath_attr beneath;
  int ruleset = arg_fd(L, 1);
  unsigned type = arg_uint(L, 2), flags = arg_uint(L, 4);
  const void *attr = rule_attr(L, 3, &beneath);
  luaL_argcheck(L, (type == LANDLOCK_RULE_PATH_BENEATH) == (attr == &beneath), 3, "not the structure of this type of rule");
  int result = (int)syscall(SYS_landlock_add_rule, ruleset, type, attr, flags), err = errno;
  return sys_status(L, result, err, "landlock_add_rule %d", ruleset);
}

/*** Holds this thread, and all that it starts, to a set of rules. There is no way back.
@function landlock_restrict_self
@tparam descriptor ruleset
@tparam integer flags 0
@see landlock_restrict_self(2)
*/
static int sys_landlock_restrict_self(lua_State *L) {
  arg_count(L, 2);
  int ruleset = arg_fd(L, 1);
  int result = (int)syscall(SYS_landlock_restrict_self, ruleset, arg_uint(L, 2)), err = errno;
  return sys_status(L, result, err, "landlock_restrict_self %d", ruleset);
}

static const luaL_Reg functions[] = {
  { "landlock_create_ruleset", sys_landlock_create_ruleset },
  { "landlock_add_rule", sys_landlock_add_rule },
  { "landlock_restrict_self", sys_landlock_restrict_self },
  { NULL, NULL },
};

void open_landlock(lua_State *L) { luaL_setfuncs(L, functions, 0); }
