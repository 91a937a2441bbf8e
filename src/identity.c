// SPDX-License-Identifier: MIT
/* Who the calling process is, and what it may do: user and group ids, capabilities, keyrings. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*** The ids of this process: `getuid`, `geteuid`, `getgid` and `getegid`. They never fail.
@function getuid
@treturn integer
@see getuid(2)
*/
#define GETTER(name)                      \
  static int sys_##name(lua_State *L) {   \
    arg_count(L, 0);                      \
    lua_pushinteger(L, name());           \
    return 1;                             \
  }
GETTER(getuid)
GETTER(geteuid)
GETTER(getgid)
GETTER(getegid)

/*** Real, effective and saved user ids.
@function getresuid
@return integer,integer,integer
@see getresuid(2)
*/
static int sys_getresuid(lua_State *L) {
  arg_count(L, 0);
  uid_t real, effective, saved;
  getresuid(&real, &effective, &saved);
  lua_pushinteger(L, real);
  lua_pushinteger(L, effective);
  lua_pushinteger(L, saved);
  return 3;
}

/*** Real, effective and saved group ids.
@function getresgid
@return integer,integer,integer
@see getresgid(2)
*/
static int sys_getresgid(lua_State *L) {
  arg_count(L, 0);
  gid_t real, effective, saved;
  getresgid(&real, &effective, &saved);
  lua_pushinteger(L, real);
  lua_pushinteger(L, effective);
  lua_pushinteger(L, saved);
  return 3;
}

/*** Sets the user ids of all threads; -1 leaves one as it is.
@function setresuid
@tparam integer real
@tparam integer effective
@tparam integer saved
@see setresuid(2)
*/
static int sys_setresuid(lua_State *L) {
  arg_count(L, 3);
  int result = setresuid(arg_id(L, 1), arg_id(L, 2), arg_id(L, 3)), err = errno;
  return sys_status(L, result, err, "setresuid");
}

/*** Sets the group ids of all threads; -1 leaves one as it is.
@function setresgid
@tparam integer real
@tparam integer effective
@tparam integer saved
@see setresgid(2)
*/
static int sys_setresgid(lua_State *L) {
  arg_count(L, 3);
  int result = setresgid(arg_id(L, 1), arg_id(L, 2), arg_id(L, 3)), err = errno;
  return sys_status(L, result, err, "setresgid");
}

/*** The supplementary groups.
@function getgroups
@treturn {integer,...}
@see getgroups(2)
*/
static int sys_getgroups(lua_State *L) {
  arg_count(L, 0);
  int count = getgroups(0, NULL), err = errno;
  if (count == -1) return sys_failure(L, err, "getgroups");
  gid_t *gids = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *gids, 0);
  count = getgroups(count + 1, gids); /* room for none would ask for their number again */
  err = errno;
  if (count == -1) return sys_failure(L, err, "getgroups");
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    lua_pushinteger(L, gids[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/*** Sets the supplementary groups.
@function setgroups
@tparam {integer,...} gids
@see setgroups(2)
*/
static int sys_setgroups(lua_State *L) {
  arg_count(L, 1);
  size_t count;
  gid_t *gids = arg_gids(L, 1, &count);
  int result = setgroups(count, gids), err = errno;
  return sys_status(L, result, err, "setgroups");
}

/*** Sets the capabilities of this thread.
@function capset
@tparam string header struct __user_cap_header_struct, 8 bytes
@tparam string sets two of struct __user_cap_data_struct, 24 bytes
@see capset(2)
*/
static int sys_capset(lua_State *L) {
  arg_count(L, 2);
  struct __user_cap_header_struct header;
  struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
  for (int i = 1; i <= 2; i++) luaL_checktype(L, i, LUA_TSTRING);
  luaL_argcheck(L, lua_rawlen(L, 1) == sizeof header, 1, "expected 8 bytes");
  luaL_argcheck(L, lua_rawlen(L, 2) == sizeof sets, 2, "expected 24 bytes");
  memcpy(&header, lua_tostring(L, 1), sizeof header);
  memcpy(sets, lua_tostring(L, 2), sizeof sets);
  int result = (int)syscall(SYS_capset, &header, sets), err = errno;
  return sys_status(L, result, err, "capset");
}

/*** The capabilities of a thread.
@function capget
@tparam string header struct __user_cap_header_struct, 8 bytes
@treturn string two of struct __user_cap_data_struct, 24 bytes
@see capget(2)
*/
static int sys_capget(lua_State *L) {
  arg_count(L, 1);
  struct __user_cap_header_struct header;
  struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { 0 };
  luaL_checktype(L, 1, LUA_TSTRING);
  luaL_argcheck(L, lua_rawlen(L, 1) == sizeof header, 1, "expected 8 bytes");
  memcpy(&header, lua_tostring(L, 1), sizeof header);
  long result = syscall(SYS_capget, &header, sets);
  int err = errno;
  if (result == -1) return sys_failure(L, err, "capget");
  lua_pushlstring(L, (const char *)sets, sizeof sets);
  return 1;
}

/*** Joins a session keyring.
@function keyctl
@tparam integer operation KEYCTL_JOIN_SESSION_KEYRING
@tparam ?string name nil for a new one without a name
@treturn integer its id
@see keyctl(2), KEYCTL_JOIN_SESSION_KEYRING(2const)
*/
static int sys_keyctl(lua_State *L) {
  arg_count(L, 2);
  unsigned operation = arg_uint(L, 1);
  luaL_argcheck(L, operation == KEYCTL_JOIN_SESSION_KEYRING, 1, "expected KEYCTL_JOIN_SESSION_KEYRING");
  const char *name = arg_string_or_null(L, 2);
  long result = syscall(SYS_keyctl, operation, name);
  int err = errno;
  return sys_integer(L, result, err, "keyctl");
}

static const luaL_Reg functions[] = {
  { "getuid", sys_getuid },       { "geteuid", sys_geteuid },     { "getgid", sys_getgid },
  { "getegid", sys_getegid },     { "getresuid", sys_getresuid }, { "getresgid", sys_getresgid },
  { "setresuid", sys_setresuid }, { "setresgid", sys_setresgid }, { "getgroups", sys_getgroups },
  { "setgroups", sys_setgroups }, { "capset", sys_capset },       { "capget", sys_capget },
  { "keyctl", sys_keyctl },       { NULL, NULL },
};

void open_identity(lua_State *L) { luaL_setfuncs(L, functions, 0); }
