// SPDX-License-Identifier: MIT
/* Linked into casulo.sys to measure what the suite reaches: which lines of casulo's Lua have run, in each process that loads the
 * module; and the same of C, by gcov. Both are written when a process ends, also by _exit, as copies do, or executes another program. */
#define _GNU_SOURCE
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int measured_open(lua_State *L);
void __gcov_dump(void); /* NOLINT: gcov's own names */
void __gcov_reset(void); /* NOLINT */

enum { FILES = 128, LINES = 512 };
static struct { char name[64]; unsigned char reached[LINES]; } files[FILES];

/* Where it stands in the table; NULL for what is not casulo's. */
static unsigned char *lines_of(const char *source) {
  static const char *last;
  static int found;
  if (source == last) return found < 0 ? NULL : files[found].reached;
  const char *name = strstr(source, "lua/casulo/");
  last = source;
  found = -1;
  if (source[0] != '@' || !name || strlen(name) >= sizeof files->name) return NULL;
  for (int i = 0; i < FILES && found < 0; i++) {
    if (!files[i].name[0]) strcpy(files[i].name, name);
    if (strcmp(files[i].name, name) == 0) found = i;
  }
  return found < 0 ? NULL : files[found].reached;
}

static void note_line(lua_State *L, lua_Debug *at) {
  lua_getinfo(L, "S", at);
  unsigned char *lines = lines_of(at->source);
  if (lines && at->currentline >= 0 && at->currentline < LINES) lines[at->currentline] = 1;
}

static void write_lines(void) {
  const char *path = getenv("CASULO_LINES");
  FILE *out = path ? fopen(path, "ae") : NULL;
  if (!out) return;
  for (int i = 0; i < FILES && files[i].name[0]; i++) {
    fprintf(out, "%s", files[i].name);
    for (int line = 0; line < LINES; line++)
      if (files[i].reached[line]) fprintf(out, " %d", line);
    fputc('\n', out);
    fflush(out); /* a line at a time: others append, too */
  }
  fclose(out);
}

static void write_all(void) {
  write_lines();
  __gcov_dump();
  __gcov_reset();
}

_Noreturn void measured_exit(int status) {
  write_all();
  for (;;) syscall(SYS_exit_group, status);
}

int measured_execve(const char *path, char *const argv[], char *const envp[]) {
  write_all();
  return (int)syscall(SYS_execve, path, argv, envp);
}

int luaopen_casulo_sys(lua_State *L) {
  static int is_open;
  if (!is_open++) atexit(write_lines);
  lua_sethook(L, note_line, LUA_MASKLINE, 0);
  return measured_open(L);
}
