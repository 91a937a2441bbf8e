// SPDX-License-Identifier: MIT
/* Linked into casulo.sys, and into the command, to measure what the suite reaches: which lines of casulo's Lua have run, in each process
 * that has them; and the same of C, by gcov. The first is kept in a file that all of them map, so it is there whatever becomes of a
 * process; the second is written when a process ends, also by _exit, as copies do, or executes another program. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int measured_open(lua_State *L);
void measured_openlibs(lua_State *L);
void __gcov_dump(void); /* NOLINT: gcov's own names */

/* The file, as run.sh makes it: a module each. */
static struct module { char name[64]; unsigned char reached[512]; } *modules;
static size_t count;

static void map_lines(void) {
  struct stat file;
  int fd = open(COVERAGE "/lines", O_RDWR | O_CLOEXEC);
  if (fd == -1) return;
  if (fstat(fd, &file) == 0) {
    void *map = mmap(NULL, (size_t)file.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) {
      modules = map;
      count = (size_t)file.st_size / sizeof *modules;
    }
  }
  close(fd);
}

/* NULL for what is not casulo's. */
static struct module *module_of(const char *source) {
  static const char *last;
  static struct module *found;
  if (source == last) return found;
  const char *name = strstr(source, "lua/casulo/");
  last = source;
  found = NULL;
  if (source[0] != '@' || !name) return NULL;
  for (size_t i = 0; i < count && !found; i++)
    if (strcmp(modules[i].name, name) == 0) found = &modules[i];
  return found;
}

static void note_line(lua_State *L, lua_Debug *at) {
  lua_getinfo(L, "S", at);
  struct module *module = module_of(at->source);
  if (module && at->currentline >= 0 && at->currentline < (int)sizeof module->reached) module->reached[at->currentline] = 1;
}

/* Where the root is another, they cannot be written, and gcov would say so on standard error. */
_Noreturn void measured_exit(int status) {
  if (access(COVERAGE "/lines", W_OK) == 0) __gcov_dump();
  for (;;) syscall(SYS_exit_group, status);
}

static void begin(lua_State *L) {
  if (!modules) map_lines();
  lua_sethook(L, note_line, LUA_MASKLINE, 0);
}

void measured_openlibs(lua_State *L) {
  luaL_openlibs(L);
  begin(L);
}

int luaopen_casulo_sys(lua_State *L) {
  begin(L);
  return measured_open(L);
}
