// SPDX-License-Identifier: MIT
/* Values of every kind, as the bytes of the input say. */
#include <lauxlib.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

enum { VICTIMS = 16 };

static const uint8_t *input;
static size_t left;

void input_begin(const uint8_t *bytes, size_t size) {
  input = bytes;
  left = size;
}

bool input_is_over(void) { return left == 0; }

uint8_t take(void) {
  if (left == 0) return 0;
  left--;
  return *input++;
}

uint64_t take_word(void) {
  uint64_t word = 0;
  for (int i = 0; i < 8; i++) word = word << 8 | take();
  return word;
}

void push_integer(lua_State *L) {
  static const lua_Integer limits[] = {
    0, 1, -1, 2, 3, 16, -100, SHRT_MAX, SHRT_MAX + 1, 65535, 65536, INT_MAX, INT_MIN, (lua_Integer)INT_MAX + 1, (lua_Integer)INT_MIN - 1,
    UINT_MAX, (lua_Integer)UINT_MAX - 1, (lua_Integer)UINT_MAX + 1, 1LL << 53, LUA_MAXINTEGER, LUA_MININTEGER, 4095, 4096, 64, 65,
  };
  uint8_t byte = take();
  if (byte < 128) lua_pushinteger(L, byte);
  else if (byte < 240) lua_pushinteger(L, limits[byte % (sizeof limits / sizeof *limits)]);
  else lua_pushinteger(L, (lua_Integer)take_word());
}

static void push_float(lua_State *L) {
  static const lua_Number floats[] = { 0.0, -0.0, 0.5, 1.0, -1.0, 3.0, 1e308, 9007199254740992.0, 9223372036854775808.0, 4294967295.0 };
  uint8_t byte = take();
  if (byte % 16 < 10) lua_pushnumber(L, floats[byte % 16]);
  else lua_pushnumber(L, byte % 16 == 10 ? NAN : byte % 16 == 11 ? INFINITY : -INFINITY);
}

/* Of the sizes that structures have, of any other, with a NUL or without, or long. */
static void push_string(lua_State *L) {
  static const size_t sizes[] = { 0, 1, 4, 8, 16, 24, 32, 36, 40, 48, 64, 65 };
  static const char *const words[] = { "/", "", "/proc", "a=b", "new", "root", "x\0y", "\n", "%s%n", "exit" };
  uint8_t byte = take();
  char bytes[64 + 1];
  if (byte < 64) {
    const char *word = words[byte % (sizeof words / sizeof *words)];
    lua_pushlstring(L, word, word[0] == 'x' ? 3 : strlen(word));
    return;
  }
  size_t size = byte < 192 ? sizes[byte % (sizeof sizes / sizeof *sizes)] : byte % 32;
  for (size_t i = 0; i < size; i++) bytes[i] = (char)take();
  if (byte < 250) {
    lua_pushlstring(L, bytes, size);
    return;
  }
  luaL_Buffer buffer;
  size = (size_t)take() << 8;
  memset(luaL_buffinitsize(L, &buffer, size), '/', size);
  luaL_pushresultsize(&buffer, size);
}

/* A table may change while it is read: the metamethods of others find it here. */
void note_victim(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "victims");
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, 1 + take() % VICTIMS);
  lua_pop(L, 1);
}

static void push_list(lua_State *L, int depth) {
  int count = take() % 8;
  lua_newtable(L);
  for (int i = 1; i <= count; i++) {
    push_value(L, depth + 1);
    lua_rawseti(L, -2, i);
  }
  note_victim(L);
}

static void push_fields(lua_State *L, int depth) {
  static const char *const names[] = {
    "fd", "events", "ref", "as", "tolerate", "expect", "parent_fd", "allowed_access", "values", "born", "cgroup", "threads",
    "report", "fork", "grace", "watches", "is_init", "x", "y", "revents", "undo", "phase", "why", "values\0", "",
  };
  int count = 1 + take() % 4;
  lua_newtable(L);
  for (int i = 0; i < count; i++) {
    const char *name = names[take() % (sizeof names / sizeof *names)];
    lua_pushlstring(L, name, take() < 250 ? strlen(name) : strlen(name) + 1);
    push_value(L, depth + 1);
    lua_rawset(L, -3);
  }
  note_victim(L);
}

static void push_with_metatable(lua_State *L, int depth) {
  static const char *const kinds[] = { "raising", "answering", "changing", "casulo.descriptor", "casulo.program" };
  if (take() & 1) push_list(L, depth);
  else push_fields(L, depth);
  luaL_setmetatable(L, kinds[take() % 5]);
}

static int with_results(lua_State *L) {
  int count = take() % 3;
  for (int i = 0; i < count; i++) push_value(L, DEEPEST);
  return count;
}

bool any_error_was_raised;
static int with_error(lua_State *L) {
  any_error_was_raised = true;
  push_value(L, DEEPEST);
  return lua_error(L);
}

static int with_yield(lua_State *L) { return lua_yield(L, 0); }

static int with_call(lua_State *L) {
  call_something(L, DEEPEST - 1);
  lua_pushboolean(L, take() & 1);
  return 1;
}

static int with_true(lua_State *L) {
  lua_pushboolean(L, 1);
  return 1;
}

void push_function(lua_State *L) {
  static const lua_CFunction functions[] = { with_results, with_error, with_yield, with_call, with_true };
  lua_pushcfunction(L, functions[take() % 5]);
}

/* A Lua file, open or closed. No file of the machine is in it. */
static int close_file(lua_State *L) {
  ((luaL_Stream *)lua_touserdata(L, 1))->f = NULL;
  lua_pushboolean(L, 1);
  return 1;
}

static void push_file(lua_State *L) {
  luaL_Stream *stream = lua_newuserdatauv(L, sizeof *stream, 0);
  stream->f = stdin;
  stream->closef = take() & 1 ? close_file : NULL;
  luaL_setmetatable(L, LUA_FILEHANDLE);
}

/* Something that an earlier call returned: a descriptor, open or closed, a program, a number. */
void push_kept(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "kept");
  lua_rawgeti(L, -1, 1 + take() % 8);
  lua_remove(L, -2);
}

static void push_constant(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "constants");
  lua_rawgeti(L, -1, 1 + (lua_Integer)((take() << 8 | take()) % lua_rawlen(L, -1)));
  lua_remove(L, -2);
}

static void push_object(lua_State *L, uint8_t kind) {
  switch (kind) {
    case 0: push_function(L); break;
    case 1: lua_newthread(L); break;
    case 2: lua_pushlightuserdata(L, take() & 1 ? L : NULL); break;
    case 3: push_file(L); break;
    case 4: luaL_getmetatable(L, take() & 1 ? "casulo.descriptor" : "casulo.program"); break;
    default: lua_newuserdatauv(L, take() & 15, 0); luaL_setmetatable(L, "raising");
  }
}

void push_value(lua_State *L, int depth) {
  luaL_checkstack(L, 12, "values");
  uint8_t kind = take() % 32;
  if (kind < 1) lua_pushnil(L);
  else if (kind < 2) lua_pushboolean(L, take() & 1);
  else if (kind < 8) push_integer(L);
  else if (kind < 9) push_float(L);
  else if (kind < 14) push_string(L);
  else if (kind < 18) push_constant(L);
  else if (kind < 22) push_kept(L);
  else if (kind < 25) push_object(L, take() % 6);
  else if (depth >= DEEPEST) lua_newtable(L);
  else if (kind < 27) push_list(L, depth);
  else if (kind < 29) push_fields(L, depth);
  else if (kind < 31) push_with_metatable(L, depth);
  else if (depth == 0) push_steps(L);
  else push_step(L);
}

/* Metatables. One raises whatever is asked, one answers with any value, one changes other tables meanwhile. */
static int raise_something(lua_State *L) { return luaL_error(L, "raised by a metamethod"); }

static int answer(lua_State *L) {
  push_value(L, DEEPEST);
  return 1;
}

static int change(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "victims");
  lua_rawgeti(L, -1, 1 + take() % VICTIMS);
  if (lua_istable(L, -1)) {
    push_value(L, DEEPEST);
    lua_rawseti(L, -2, 1 + take() % 4);
  }
  if (take() & 1) call_something(L, DEEPEST - 1);
  lua_gc(L, LUA_GCCOLLECT);
  return 0;
}

static void new_metatable(lua_State *L, const char *name, lua_CFunction function) {
  static const char *const events[] = {
    "__index", "__newindex", "__len", "__gc", "__close", "__call", "__tostring", "__pairs", "__eq", "__lt", "__le", "__concat", "__unm",
  };
  luaL_newmetatable(L, name);
  for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
    lua_pushcfunction(L, function);
    lua_setfield(L, -2, events[i]);
  }
  lua_pushinteger(L, 1); /* where a name is expected */
  lua_setfield(L, -2, "__name");
  lua_pop(L, 1);
}

void values_open(lua_State *L) {
  new_metatable(L, "raising", raise_something);
  new_metatable(L, "answering", answer);
  new_metatable(L, "changing", change);
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, "victims");
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, "kept");
}
