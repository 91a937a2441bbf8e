// SPDX-License-Identifier: MIT
/* Steps of programs, and calls with arguments, that may well be taken: else few inputs would come past the first checks. */
#include <lauxlib.h>
#include <linux/sched.h>
#include <string.h>

#include "../src/pack.h"
#include "fuzz.h"

static void push_sized(lua_State *L, size_t size) {
  char bytes[64];
  for (size_t i = 0; i < size; i++) bytes[i] = (char)take();
  lua_pushlstring(L, bytes, size);
}

static void push_ref(lua_State *L) {
  static const char *const names[] = { "x", "y", "PID", "stdin" };
  lua_createtable(L, 0, 1);
  lua_pushstring(L, names[take() % 4]);
  lua_setfield(L, -2, "ref");
}

/* Of one kind, in a list. */
static void push_list_of(lua_State *L, char kind) {
  int count = take() % 4;
  lua_newtable(L);
  for (int i = 1; i <= count; i++) {
    if (kind == 's') lua_pushliteral(L, "argument");
    else if (kind == 'd') push_ref(L);
    else lua_pushinteger(L, 1 + take() % 64);
    lua_rawseti(L, -2, i);
  }
  note_victim(L);
}

static void push_table_of(lua_State *L, const char *number, const char *fd) {
  lua_newtable(L);
  lua_pushinteger(L, take());
  lua_setfield(L, -2, number);
  if (take() & 1) push_ref(L);
  else push_kept(L);
  lua_setfield(L, -2, fd);
}

/* What fits a letter of the table of calls in pack.c. */
static void push_fitting(lua_State *L, char kind) {
  switch (kind) {
    case 's': case 'S': case 'n': lua_pushstring(L, take() & 1 ? "/proc" : ""); break;
    case 'D': lua_pushnil(L); break;
    case 'b': push_sized(L, take() % 64); break;
    case 'w': push_sized(L, 1 + take() % 8); break;
    case 'B': push_sized(L, take() & 1 ? 40 : 8); break;
    case 'H': push_sized(L, 8); break;
    case 'C': push_sized(L, 24); break;
    case 'f': push_sized(L, 8U * (1 + take() % 4)); break;
    case 'v': push_list_of(L, 's'); break;
    case 'c': push_list_of(L, 'd'); break;
    case 'g': case 'm': push_list_of(L, 'i'); break;
    case 'h': lua_pushinteger(L, take() & 1); break;
    case 't': lua_pushinteger(L, -(take() & 1)); break;
    case 'P': lua_pushinteger(L, take()); break;
    case 'A': if (take() & 1) push_sized(L, 16); else push_table_of(L, "allowed_access", "parent_fd"); break;
    case 'p': lua_newtable(L); push_table_of(L, "events", "fd"); lua_rawseti(L, -2, 1); break;
    default: if (take() & 1) push_ref(L); else push_integer(L);
  }
}

/* Those of pack.c, where it keeps them to itself: run.sh lets them out. */
extern const struct call calls_of_programs[];

static void push_outcome(lua_State *L) {
  static const char *const fields[] = { "as", "tolerate", "expect" };
  uint8_t field = take() % 4;
  if (field == 3) return;
  if (take() & 1) push_value(L, DEEPEST - 1);
  else if (field == 0) lua_pushliteral(L, "x");
  else if (field == 1) push_list_of(L, 'i');
  else lua_pushinteger(L, take());
  lua_setfield(L, -2, fields[field]);
}

void push_step(lua_State *L) {
  uint8_t chosen = take();
  int i = 1;
  lua_createtable(L, 8, 2);
  if (chosen < 250) {
    const struct call *call = &calls_of_programs[chosen % CALLS_OF_PROGRAMS];
    lua_pushstring(L, call->name);
    lua_rawseti(L, -2, i);
    for (const char *kind = call->arguments; *kind; kind++) {
      if (strchr("|eE0", *kind)) continue;
      if (take() < 224) push_fitting(L, *kind);
      else push_value(L, DEEPEST - 2);
      lua_rawseti(L, -2, ++i);
    }
  }
  for (int more = chosen < 250 ? take() / 224 : take() % 8; more > 0; more--) {
    push_value(L, DEEPEST - 2);
    lua_rawseti(L, -2, ++i - (chosen >= 250));
  }
  push_outcome(L);
  note_victim(L);
}

void push_steps(lua_State *L) {
  int count = 1 + take() % 5;
  lua_newtable(L);
  for (int i = 1; i <= count; i++) {
    push_step(L);
    lua_rawseti(L, -2, i);
  }
  note_victim(L);
}

static void push_values(lua_State *L) {
  static const char *const names[] = { "x", "y", "PID", "stdin" };
  lua_newtable(L);
  for (int i = 0; i < 4; i++) {
    if (take() & 1) push_kept(L);
    else lua_pushinteger(L, take());
    lua_setfield(L, -2, names[i]);
  }
  if (take() > 224) luaL_setmetatable(L, "changing");
}

static void push_options(lua_State *L, bool of_program) {
  uint8_t which = take();
  lua_newtable(L);
  if (of_program) push_values(L);
  else lua_pushboolean(L, which & 1);
  lua_setfield(L, -2, of_program ? "values" : "threads");
  if (of_program && which & 2) {
    push_function(L);
    lua_setfield(L, -2, "born");
  }
  if (which & 4) {
    push_value(L, DEEPEST - 1);
    lua_setfield(L, -2, "cgroup");
  }
  if (which > 224) luaL_setmetatable(L, "changing");
}

static void push_settings(lua_State *L) {
  static const char *const names[] = { "report", "fork", "grace", "watches", "is_init" };
  lua_newtable(L);
  for (int i = 0; i < 5; i++) {
    if (take() < 224) lua_pushinteger(L, take() % 4);
    else push_value(L, DEEPEST - 1);
    lua_setfield(L, -2, names[i]);
  }
}

static void push_function_of(lua_State *L, const char *name) {
  lua_getfield(L, LUA_REGISTRYINDEX, "sys");
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

static void push_program(lua_State *L) {
  push_function_of(L, "program");
  push_steps(L);
  lua_call(L, 1, 1);
}

int push_likely_call(lua_State *L, const char **name) {
  uint8_t kind = take() % 4;
  *name = kind == 3 ? "image" : "clone";
  push_function_of(L, *name);
  if (kind != 3) lua_pushinteger(L, (lua_Integer)(take() & 1 ? CLONE_PIDFD : 0) | (take() & 1 ? CLONE_NEWUSER | CLONE_NEWPID : 0) |
                                      (kind != 2 && take() & 1 ? CLONE_FILES : 0));
  if (kind == 2) push_function(L);
  else push_program(L);
  if (kind == 3) push_settings(L);
  else push_options(L, kind != 2);
  return kind == 3 ? 2 : 3;
}
