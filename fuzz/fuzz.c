// SPDX-License-Identifier: MIT
/* The fuzzer of casulo.sys: each input is a few calls of its functions with arguments of every kind. What may come out is an error
 * that is a string, or what the reference says; and no descriptor and no child may be left when nobody holds them. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

int luaopen_casulo_sys(lua_State *L);

enum { CALLS = 6, RUNS_OF_A_CHECK = 32, RUNS_OF_A_STATE = 512 };
static const size_t MOST_MEMORY = 8UL << 20;

static lua_State *state;
static unsigned runs;
static bool tracing;
static size_t used;
static unsigned allocations_left; /* until they fail; 0: they do not */
static bool fail_on;              /* not once, but from there on */

_Noreturn void defect(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("DEFECT: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  abort();
}

static bool allocation_fails(void) {
  if (allocations_left == 0) return false;
  if (allocations_left > 1) return --allocations_left, false;
  if (!fail_on) allocations_left = 0;
  return true;
}

static void *allocate(void *unused, void *block, size_t old, size_t size) {
  (void)unused;
  if (!block) old = 0;
  if (size == 0) {
    free(block);
    used -= old;
    return NULL;
  }
  if (size > old && (allocation_fails() || used - old + size > MOST_MEMORY)) return NULL;
  void *new = realloc(block, size);
  if (new) used += size - old;
  return new;
}

/* Puts into the registry the names of all functions, these functions, and the constants: sorted, or an input would mean something
 * else in another process. */
static void sort_out(lua_State *L) {
  static const char chunk[] =
    "local names, functions, constants, by_name = {}, {}, {}, {}\n"
    "for _, from in ipairs { ... } do\n"
    "  for name, value in pairs(from) do\n"
    "    if type(value) ~= 'table' then by_name[name], names[#names + 1] = value, name end\n"
    "  end\n"
    "end\n"
    "table.sort(names)\n"
    "for i = #names, 1, -1 do\n"
    "  local value = by_name[names[i]]\n"
    "  if type(value) == 'number' then table.insert(constants, 1, value) table.remove(names, i) else table.insert(functions, 1, value) end\n"
    "end\n"
    "return constants, functions, names\n";
  if (luaL_loadstring(L, chunk) != LUA_OK) defect("%s", lua_tostring(L, -1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 3);
  lua_setfield(L, LUA_REGISTRYINDEX, "names");
  lua_setfield(L, LUA_REGISTRYINDEX, "functions");
  lua_setfield(L, LUA_REGISTRYINDEX, "constants");
}

/* A finalizer for which there was no memory: Lua does not call it again, so what it had to close stays open. */
static bool finalizer_lost;

static void warned(void *unused, const char *part, int to_be_continued) {
  (void)unused, (void)to_be_continued;
  if (strcmp(part, "not enough memory") == 0) finalizer_lost = true;
}

static lua_State *new_state(void) {
  static int states;
  lua_State *L = lua_newstate(allocate, NULL);
  states++;
  lua_setwarnf(L, warned, NULL);
  lua_gc(L, states % 2 ? LUA_GCGEN : LUA_GCINC, 0, 0, 0);
  luaL_requiref(L, "_G", luaopen_base, 1);
  luaL_requiref(L, "table", luaopen_table, 1);
  lua_settop(L, 0);
  luaL_newmetatable(L, LUA_FILEHANDLE);
  lua_pop(L, 1);
  values_open(L);
  lua_pushcfunction(L, luaopen_casulo_sys); /* not loaded by its name, or each error would look for that of its function */
  lua_call(L, 0, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, "sys");
  luaL_getmetatable(L, "casulo.descriptor");
  lua_getfield(L, -1, "__index");
  luaL_getmetatable(L, "casulo.program");
  lua_getfield(L, -1, "__index");
  lua_remove(L, -2);
  sort_out(L);
  return L;
}

/* nil, a message and an errno; or values that are documented. A descriptor or a child that is given away as a number is the
 * caller's. */
static void check_results(lua_State *L, int first, const char *name) {
  int top = lua_gettop(L);
  if (top > first && lua_isnil(L, first) && strcmp(name, "image_report") != 0 &&
      (lua_type(L, first + 1) != LUA_TSTRING || !lua_isinteger(L, first + 2)))
    defect("%s: a failure without its message or errno", name);
  for (int i = first; i <= top; i++) {
    int type = lua_type(L, i);
    if (type == LUA_TFUNCTION || type == LUA_TTHREAD || type == LUA_TLIGHTUSERDATA) defect("%s: returned a %s", name, lua_typename(L, type));
    if (type == LUA_TUSERDATA && !luaL_testudata(L, i, "casulo.descriptor") && !luaL_testudata(L, i, "casulo.program"))
      defect("%s: returned another userdata", name);
  }
  if (strcmp(name, "clone") == 0 && lua_isinteger(L, first)) kernel_forget_child((long)lua_tointeger(L, first));
}

static void keep_results(lua_State *L, int first) {
  int top = lua_gettop(L);
  lua_getfield(L, LUA_REGISTRYINDEX, "kept");
  for (int i = first; i <= top; i++) {
    lua_pushvalue(L, i);
    lua_rawseti(L, -2, 1 + take() % 8);
  }
}

/* To understand an input. */
static void trace(lua_State *L, const char *name, int first) {
  fprintf(stderr, "%s(", name);
  for (int i = first + 1; i <= lua_gettop(L); i++)
    fprintf(stderr, "%s %s,", luaL_typename(L, i), "");
  fputs(")\n", stderr);
}

static int push_call(lua_State *L, int depth, const char **name) {
  uint8_t chosen = take();
  if (chosen >= 240) return push_likely_call(L, name);
  lua_getfield(L, LUA_REGISTRYINDEX, "functions");
  lua_getfield(L, LUA_REGISTRYINDEX, "names");
  lua_Integer number = 1 + (lua_Integer)(chosen % lua_rawlen(L, -2));
  lua_rawgeti(L, -1, number);
  *name = lua_tostring(L, -1);
  lua_rawgeti(L, -3, number);
  int count = take() % 8;
  for (int i = 0; i < count; i++) push_value(L, depth);
  return count;
}

/* One call. Its arguments may be too much for the memory; that is an error like those of the call. */
static int perform(lua_State *L) {
  int depth = (int)lua_tointeger(L, 1);
  const char *name;
  current = L;
  int count = push_call(L, depth, &name), first = lua_gettop(L) - count;
  if (tracing) trace(L, name, first);
  lua_call(L, count, LUA_MULTRET);
  check_results(L, first, name);
  keep_results(L, first);
  return 0;
}

/* In a coroutine, too, where nothing may yield through the call. */
static int call_in(lua_State *L, lua_State *caller, int depth) {
  int results;
  lua_pushcfunction(L, perform);
  lua_pushinteger(L, depth);
  return L == caller ? lua_pcall(L, 1, 0, 0) : lua_resume(L, caller, 1, &results);
}

void call_something(lua_State *L, int depth) {
  lua_State *before = current, *own = L;
  luaL_checkstack(L, 8, "calls");
  int top = lua_gettop(L);
  if (take() % 8 == 7) own = lua_newthread(L);
  int status = call_in(own, L, depth);
  current = before;
  if (status != LUA_OK && tracing) fprintf(stderr, "→ %s\n", lua_tostring(own, -1));
  if (status != LUA_OK && status != LUA_YIELD && lua_type(own, -1) != LUA_TSTRING && !any_error_was_raised)
    defect("an error that is a %s", luaL_typename(own, -1));
  lua_settop(L, top);
}

static void forget(lua_State *L) {
  for (int i = 0; i < 2; i++) {
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, i ? "kept" : "victims");
  }
}

/* What a finalizer has made is collected the next time. */
static void check_nothing_is_left(lua_State *L) {
  for (int i = 0; i < 3 && kernel_open_count() > 0; i++) {
    forget(L);
    lua_gc(L, LUA_GCCOLLECT);
  }
  if (finalizer_lost) kernel_close_all();
  finalizer_lost = false;
  if (kernel_open_count()) defect("%d descriptors are left", kernel_open_count());
  if (kernel_child_count()) defect("%d children are left", kernel_child_count());
}

static void close_state_of_runs(void) {
  if (!state) return;
  input_begin(NULL, 0);
  check_nothing_is_left(state);
  lua_close(state);
  state = NULL;
  if (used) defect("%zu bytes are left", used);
}

static int run(lua_State *L) {
  for (int i = 0; i < CALLS && !input_is_over(); i++) call_something(L, 0);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  if (!state) {
    if (runs == 0) atexit(close_state_of_runs);
    tracing = getenv("FUZZ_TRACE") != NULL;
    state = new_state();
  }
  input_begin(bytes, size);
  uint8_t mode = take();
  if (mode % 16 == 2) lua_gc(state, LUA_GCCOLLECT);
  fail_on = mode & 4;
  allocations_left = mode & 8 ? 1U + take() : 0;
  any_error_was_raised = false;
  lua_pushcfunction(state, run);
  lua_pcall(state, 0, 0, 0); /* only for want of memory, between the calls */
  allocations_left = 0;
  lua_settop(state, 0);
  forget(state);
  input_begin(NULL, 0);
  if (tracing || runs % RUNS_OF_A_CHECK == 0) check_nothing_is_left(state);
  if (++runs % RUNS_OF_A_STATE == 0) close_state_of_runs();
  return 0;
}
