// SPDX-License-Identifier: MIT
/* The command as a program of its own: the interpreter, casulo.sys and the modules of casulo in one file. The interpreter
 * of the system loads a line editor first, and that takes as long as a container. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "modules.h"

int luaopen_casulo_sys(lua_State *L);

/* What `require` calls for a module, with its name. */
static int open_module(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const struct module *module = modules;
  while (strcmp(module->name, name) != 0) module++;
  if (luaL_loadbufferx(L, module->code, module->size, name, "b") != LUA_OK) return lua_error(L);
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

static void offer_modules(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (const struct module *module = modules; module->name; module++) {
    lua_pushcfunction(L, open_module);
    lua_setfield(L, -2, module->name);
  }
  lua_pushcfunction(L, luaopen_casulo_sys);
  lua_setfield(L, -2, "casulo.sys");
}

static int run(lua_State *L) {
  char **argv = lua_touserdata(L, 1);
  luaL_openlibs(L);
  offer_modules(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "casulo.cli");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_newtable(L);
  for (int i = 0; argv[i]; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_pushvalue(L, -1);
  lua_setglobal(L, "arg");
  lua_call(L, 1, 1);
  return 1;
}

int main(int argc, char **argv) {
  (void)argc;
  lua_State *L = luaL_newstate();
  if (!L) return 125;
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, argv);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return (int)lua_tointeger(L, -1);
  fprintf(stderr, "casulo: %s\n", lua_tostring(L, -1));
  return 125;
}
