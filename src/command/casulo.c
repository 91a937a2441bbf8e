// SPDX-License-Identifier: MIT
/* The command as a program of its own: the interpreter with casulo.sys inside, which runs the same bin/casulo. The
 * interpreter of the system loads a line editor first, and that takes as long as a container. */
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int luaopen_casulo_sys(lua_State *L);

/* Where the script is, from the directory of this program, and what it is to think its own name is. */
static const struct {
  const char *script, *name;
} places[] = {
  { "/../lib/lua/5.4/casulo/command.lua", "/casulo" },  /* installed */
  { "/../../bin/casulo", "/../../bin/casulo" },         /* in build/bin of a checkout */
};

/* Leaves the script on the stack, above its name. */
static int load_script(lua_State *L, const char *directory) {
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    const char *path = lua_pushfstring(L, "%s%s", directory, places[i].script);
    if (access(path, R_OK) == -1) continue;
    lua_pushfstring(L, "%s%s", directory, places[i].name);
    if (luaL_loadfilex(L, path, "t") != LUA_OK) return lua_error(L);
    return 1;
  }
  return luaL_error(L, "its script is missing; install it again");
}

static int run(lua_State *L) {
  char **argv = lua_touserdata(L, 1);
  char self[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length == -1) return luaL_error(L, "/proc is not mounted");
  self[length] = '\0';
  *strrchr(self, '/') = '\0';
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_casulo_sys);
  lua_setfield(L, -2, "casulo.sys");
  load_script(L, self);
  lua_newtable(L);
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, 0);
  for (int i = 1; argv[i]; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_setglobal(L, "arg");
  lua_call(L, 0, 0); /* which exits */
  return 0;
}

int main(int argc, char **argv) {
  (void)argc;
  lua_State *L = luaL_newstate();
  if (!L) return 125;
  luaL_openlibs(L);
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, argv);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) fprintf(stderr, "casulo: %s\n", lua_tostring(L, -1));
  return 125;
}
