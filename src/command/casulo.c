// SPDX-License-Identifier: MIT
/* The command as a program of its own: the interpreter, casulo.sys and the modules of casulo in one file, static. The interpreter
 * of the system loads a line editor first, and that takes as long as a container; to find and bind libraries takes a third of it. */
#define _GNU_SOURCE
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib.h"
#include "modules.h"

int luaopen_casulo_sys(lua_State *L);

/* What a start needs, given out in a row. The kernel maps it at once: a page fault for each page takes longer than to use
 * it. What is freed in it is lost, and what exceeds it is malloc's. */
enum { ARENA = 560 * 1024 };
static char *arena, *arena_next, *arena_end;

static void open_arena(void) {
  void *pages = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (pages == MAP_FAILED) return;
  arena = arena_next = pages;
  arena_end = arena + ARENA;
}

static size_t room_of(size_t size) { return (size + 15) & ~(size_t)15; }

static void *take(size_t size) {
  if (room_of(size) > (size_t)(arena_end - arena_next)) return malloc(size);
  arena_next += room_of(size);
  return arena_next - room_of(size);
}

static void *allocate(void *unused, void *block, size_t old, size_t size) {
  (void)unused;
  bool is_inside = (char *)block >= arena && (char *)block < arena_end;
  bool is_last = is_inside && (char *)block + room_of(old) == arena_next;
  if (block && !is_inside && size > 0) return realloc(block, size);
  if (is_last) arena_next = block; /* so it grows where it is, and is not lost */
  if (size == 0) {
    if (!is_inside) free(block);
    return NULL;
  }
  if (block && !is_last && size <= old) return block;
  void *place = take(size);
  if (!place && is_last) arena_next += room_of(old);
  return place && block && place != block ? memcpy(place, block, old) : place;
}

/* The linker puts what begins with __wrap_ in place of the C library's, for the interpreter. A static program cannot load a C module
 * that a description requires. The interpreter of the system can, so the command begins again there, as long as nothing has been
 * started, which would be twice, and the description can be read again. */
static char **arguments;
static int count;
static pid_t self;
static bool has_forked;

int __real_system(const char *line);
int __wrap_system(const char *line);
FILE *__real_popen(const char *line, const char *mode);
FILE *__wrap_popen(const char *line, const char *mode);
void *__wrap_dlopen(const char *path, int mode);
char *__wrap_dlerror(void);

int __wrap_system(const char *line) {
  has_forked = has_forked || line;
  return __real_system(line);
}

FILE *__wrap_popen(const char *line, const char *mode) {
  has_forked = true;
  return __real_popen(line, mode);
}

/* A pipe gives its text once. */
static bool can_be_read_again(void) {
  struct stat file;
  for (int i = 1; i < count && strcmp(arguments[i], "--") != 0; i++)
    if (stat(arguments[i], &file) == 0 && !S_ISREG(file.st_mode) && !S_ISDIR(file.st_mode)) return false;
  return true;
}

#define GO_ON \
  "local found, cli = pcall(require, 'casulo.cli') " \
  "if found then os.exit(cli.main(arg), true) end " \
  "io.stderr:write('casulo: for a description that requires a C module, " LUA " must find casulo: set LUA_PATH and LUA_CPATH\\n') " \
  "os.exit(125)"

void *__wrap_dlopen(const char *path, int mode) {
  (void)path;
  (void)mode;
  if (getpid() != self || sys_has_cloned || has_forked || !can_be_read_again()) return NULL;
  char *again[count + 4];
  memcpy(again, (char *[]){ LUA, "-e", GO_ON, "-" }, 4 * sizeof *again);
  memcpy(again + 4, arguments + 1, (size_t)count * sizeof *again);
  execvp(again[0], again);
  return NULL;
}

char *__wrap_dlerror(void) {
  return "this command loads C modules only through " LUA ", which must be there and find casulo, for a description in a regular file, "
         "and before anything is started";
}

/* What `require` calls for a module, with its name. */
static int open_module(lua_State *L) {
  const struct module *module = lua_touserdata(L, lua_upvalueindex(1));
  if (luaL_loadbufferx(L, module->code, module->size, module->name, "b") != LUA_OK) return lua_error(L);
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

static void offer_modules(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (const struct module *module = modules; module->name; module++) {
    lua_pushlightuserdata(L, (void *)module);
    lua_pushcclosure(L, open_module, 1);
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
  arguments = argv;
  count = argc;
  self = getpid();
  lua_State *L = luaL_newstate();
  if (!L) return 125;
  open_arena();
  lua_setallocf(L, allocate, NULL);
  lua_gc(L, LUA_GCSTEP, -2048); /* a debt below 0: the collector begins after 2 MB, and is out of the way of a start */
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, argv);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return (int)lua_tointeger(L, -1);
  fprintf(stderr, "casulo: %s\n", lua_tostring(L, -1));
  return 125;
}
