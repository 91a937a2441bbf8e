// SPDX-License-Identifier: MIT
/* The names of the UTS namespace. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/*** Sets the hostname of this UTS namespace.
@function sethostname
@tparam string name up to 64 bytes
@see sethostname(2)
*/
static int sys_sethostname(lua_State *L) {
  arg_count(L, 1);
  const char *name = arg_string(L, 1);
  int result = sethostname(name, strlen(name)), err = errno;
  return sys_status(L, result, err, "sethostname %s", name);
}

/*** The hostname.
@function gethostname
@treturn string
@see gethostname(2)
*/
static int sys_gethostname(lua_State *L) {
  arg_count(L, 0);
  char name[HOST_NAME_MAX + 1];
  int result = gethostname(name, sizeof name), err = errno;
  if (result == -1) return sys_failure(L, err, "gethostname");
  lua_pushstring(L, name);
  return 1;
}

/*** Sets the NIS domain name of this UTS namespace.
@function setdomainname
@tparam string name up to 64 bytes
@see setdomainname(2)
*/
static int sys_setdomainname(lua_State *L) {
  arg_count(L, 1);
  const char *name = arg_string(L, 1);
  int result = setdomainname(name, strlen(name)), err = errno;
  return sys_status(L, result, err, "setdomainname %s", name);
}

static void set_field(lua_State *L, const char *field, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, field);
}

/*** Names of the system.
@function uname
@treturn table `sysname nodename release version machine domainname`
@see uname(2)
*/
static int sys_uname(lua_State *L) {
  arg_count(L, 0);
  struct utsname names;
  int result = uname(&names), err = errno;
  if (result == -1) return sys_failure(L, err, "uname");
  lua_createtable(L, 0, 6);
  set_field(L, "sysname", names.sysname);
  set_field(L, "nodename", names.nodename);
  set_field(L, "release", names.release);
  set_field(L, "version", names.version);
  set_field(L, "machine", names.machine);
  set_field(L, "domainname", names.domainname);
  return 1;
}

static const luaL_Reg functions[] = {
  { "sethostname", sys_sethostname }, { "gethostname", sys_gethostname }, { "setdomainname", sys_setdomainname },
  { "uname", sys_uname },             { NULL, NULL },
};

void open_names(lua_State *L) { luaL_setfuncs(L, functions, 0); }
