// SPDX-License-Identifier: MIT
/* The names of the UTS namespace. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static int sys_sethostname(lua_State *L) {
  arg_count(L, 1);
  const char *name = arg_string(L, 1);
  int result = sethostname(name, strlen(name)), err = errno;
  return sys_status(L, result, err, "sethostname %s", name);
}

static int sys_gethostname(lua_State *L) {
  arg_count(L, 0);
  char name[HOST_NAME_MAX + 1];
  int result = gethostname(name, sizeof name), err = errno;
  if (result == -1) return sys_failure(L, err, "gethostname");
  lua_pushstring(L, name);
  return 1;
}

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
