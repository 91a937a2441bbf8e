// SPDX-License-Identifier: MIT
/* A host process for the specs: each of its threads runs the same Lua script in a state of its own.
 *
 * Usage: threads COUNT SCRIPT [ARGUMENT…]. With a count of 1 there is no other thread than the main one. A script finds in the
 * table `driver`:
 *   thread             its number, from 1
 *   meet()             waits for all threads
 *   count()            → how many times it was called, by all threads
 *   watch()            from here on another thread looks whether this process is dumpable, and compares its memory with that of
 *                      the next processes: while it does, the kernel does not let these change it
 *   unwatch()          → how many times it was; how many times that thread looked
 *   shares(pid)        → whether a process still shares this one's memory
 *   handle(signal)     counts a signal
 *   handled(signal)    → how many times its handler ran; how many times any handler ran in another process */
#define _GNU_SOURCE
#include <lauxlib.h>
#include <linux/kcmp.h>
#include <lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static char **arguments;
static pid_t self;
static pthread_barrier_t barrier;
static atomic_int counted, watching, dumpable, looks, last, runs[_NSIG], strange;

static int share_memory(pid_t pid) { return syscall(SYS_kcmp, self, pid, KCMP_VM, 0, 0) == 0; }

static void *watch(void *unused) {
  while (watching) {
    for (int i = 1; i < 4; i++) share_memory(last + i);
    if (prctl(PR_GET_DUMPABLE) == 1 && watching) dumpable++;
    looks++;
  }
  return unused;
}

static void handler(int signal) {
  runs[signal]++;
  if (getpid() != self) strange++;
}

static int driver_meet(lua_State *L) {
  (void)L;
  pthread_barrier_wait(&barrier);
  return 0;
}

static int driver_count(lua_State *L) {
  lua_pushinteger(L, ++counted);
  return 1;
}

static int driver_watch(lua_State *L) {
  pthread_t watcher;
  watching = 1;
  if (pthread_create(&watcher, NULL, watch, NULL) != 0) return luaL_error(L, "no more threads");
  return 0;
}

static int driver_unwatch(lua_State *L) {
  watching = 0;
  lua_pushinteger(L, dumpable);
  lua_pushinteger(L, looks);
  return 2;
}

static int driver_shares(lua_State *L) {
  last = (pid_t)luaL_checkinteger(L, 1);
  lua_pushboolean(L, share_memory(last));
  return 1;
}

static int driver_handle(lua_State *L) {
  struct sigaction action = { .sa_handler = handler };
  lua_pushinteger(L, sigaction((int)luaL_checkinteger(L, 1), &action, NULL));
  return 1;
}

static int driver_handled(lua_State *L) {
  lua_pushinteger(L, runs[luaL_checkinteger(L, 1)]);
  lua_pushinteger(L, strange);
  return 2;
}

static const luaL_Reg functions[] = {
  { "meet", driver_meet },     { "count", driver_count },   { "watch", driver_watch },     { "unwatch", driver_unwatch },
  { "shares", driver_shares }, { "handle", driver_handle }, { "handled", driver_handled }, { NULL, NULL },
};

static void *run(void *number) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_newlib(L, functions);
  lua_pushinteger(L, *(int *)number);
  lua_setfield(L, -2, "thread");
  lua_setglobal(L, "driver");
  int status = luaL_loadfile(L, arguments[0]), count = 0;
  for (; arguments[count + 1]; count++) lua_pushstring(L, arguments[count + 1]);
  if (status == LUA_OK) status = lua_pcall(L, count, 0, 0);
  if (status != LUA_OK) {
    fprintf(stderr, "thread %d: %s\n", *(int *)number, luaL_tolstring(L, -1, NULL));
    _exit(1); /* the others may wait for this one */
  }
  lua_close(L);
  return NULL;
}

int main(int argc, char **argv) {
  pthread_t thread[64];
  int number[64], count = argc > 2 ? atoi(argv[1]) : 0;
  if (count < 1 || count > 64) return 2;
  arguments = argv + 2;
  self = getpid();
  pthread_barrier_init(&barrier, NULL, (unsigned)count);
  for (int i = 0; i < count; i++) number[i] = i + 1;
  if (count == 1) return run(&number[0]) != NULL;
  for (int i = 0; i < count; i++)
    if (pthread_create(&thread[i], NULL, run, &number[i]) != 0) return 2;
  for (int i = 0; i < count; i++) pthread_join(thread[i], NULL);
  return 0;
}
