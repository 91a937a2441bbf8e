// SPDX-License-Identifier: MIT
/* A Lua module for the specs: calls a function while memory runs out.
 *
 *   scarce.call(k, lasting, f, …) → whether the k-th allocation came, and so failed; whether f returned; its results, or its error.
 *   `lasting`: all allocations from there on fail, until the call returns; else this one alone, also when Lua
 * tries again after a collection. */
#include <lauxlib.h>
#include <stdbool.h>

static struct {
  lua_Alloc allocate;
  void *data;
  lua_Integer left; /* allocations until one fails */
  bool lasting;
  int failed; /* how many have */
} memory;

static void *allocate(void *data, void *block, size_t old, size_t size) {
  bool grows = size > (block ? old : 0);
  if (grows && memory.left > 0) memory.left--;
  if (grows && memory.left == 0 && (memory.lasting || memory.failed < 2)) { /* Lua tries each again after a collection */
    memory.failed++;
    return NULL;
  }
  return memory.allocate(data, block, old, size);
}

static int scarce_call(lua_State *L) {
  memory.left = luaL_checkinteger(L, 1);
  memory.lasting = lua_toboolean(L, 2);
  memory.failed = 0;
  memory.allocate = lua_getallocf(L, &memory.data);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_setallocf(L, allocate, memory.data);
  int status = lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 0);
  lua_setallocf(L, memory.allocate, memory.data);
  lua_pushboolean(L, status == LUA_OK);
  lua_replace(L, 2);
  lua_pushboolean(L, memory.failed > 0);
  lua_replace(L, 1);
  return lua_gettop(L);
}

int luaopen_scarce(lua_State *L) {
  lua_newtable(L);
  lua_pushcfunction(L, scarce_call);
  lua_setfield(L, -2, "call");
  return 1;
}
