// SPDX-License-Identifier: MIT
/* The calling process: its namespaces, its program, its end, its attributes. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int sys_unshare(lua_State *L) {
  arg_count(L, 1);
  int flags = (int)arg_uint(L, 1);
  int result = unshare(flags), err = errno;
  return sys_status(L, result, err, "unshare");
}

static int sys_setns(lua_State *L) {
  arg_count(L, 2);
  int fd = arg_fd(L, 1);
  int result = setns(fd, (int)arg_uint(L, 2)), err = errno;
  return sys_status(L, result, err, "setns %d", fd);
}

static int sys_execve(lua_State *L) {
  arg_count(L, 3);
  const char *path = arg_string(L, 1);
  char **argv = arg_strings(L, 2), **envp = arg_strings(L, 3);
  fflush(NULL);
  execve(path, argv, envp);
  int err = errno;
  return sys_failure(L, err, "execve %s", path);
}

static int sys_fexecve(lua_State *L) {
  arg_count(L, 3);
  int fd = arg_fd(L, 1);
  char **argv = arg_strings(L, 2), **envp = arg_strings(L, 3);
  fflush(NULL);
  syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
  int err = errno;
  return sys_failure(L, err, "fexecve %d", fd);
}

static int sys_exit(lua_State *L) {
  arg_count(L, 1);
  _exit((int)arg_range(L, 1, 0, 255));
}

static int sys_getpid(lua_State *L) {
  arg_count(L, 0);
  lua_pushinteger(L, getpid());
  return 1;
}

static int sys_getppid(lua_State *L) {
  arg_count(L, 0);
  lua_pushinteger(L, getppid());
  return 1;
}

static int sys_setsid(lua_State *L) {
  arg_count(L, 0);
  pid_t result = setsid();
  int err = errno;
  return sys_integer(L, result, err, "setsid");
}

static int sys_getsid(lua_State *L) {
  arg_count(L, 1);
  pid_t pid = arg_int(L, 1);
  pid_t result = getsid(pid);
  int err = errno;
  return sys_integer(L, result, err, "getsid %d", pid);
}

/* The options that a container uses; each takes and returns integers. */
static int sys_prctl(lua_State *L) {
  arg_count(L, 5);
  int option = arg_int(L, 1);
  switch (option) {
    case PR_SET_PDEATHSIG: case PR_SET_DUMPABLE: case PR_GET_DUMPABLE: case PR_SET_NO_NEW_PRIVS:
    case PR_GET_NO_NEW_PRIVS: case PR_SET_CHILD_SUBREAPER: case PR_SET_KEEPCAPS: case PR_GET_KEEPCAPS:
    case PR_SET_SECUREBITS: case PR_GET_SECUREBITS: case PR_CAPBSET_READ: case PR_CAPBSET_DROP: case PR_CAP_AMBIENT:
      break;
    default:
      luaL_argerror(L, 1, "not an option of prctl that casulo knows");
  }
  unsigned long value[4];
  for (int i = 0; i < 4; i++)
    value[i] = lua_isnone(L, i + 2) ? 0 : (unsigned long)arg_range(L, i + 2, 0, INT64_MAX);
  int result = prctl(option, value[0], value[1], value[2], value[3]), err = errno;
  return sys_integer(L, result, err, "prctl %d", option);
}

static const luaL_Reg functions[] = {
  { "unshare", sys_unshare }, { "setns", sys_setns },     { "execve", sys_execve }, { "fexecve", sys_fexecve },
  { "_exit", sys_exit },      { "getpid", sys_getpid },   { "getppid", sys_getppid }, { "setsid", sys_setsid },
  { "getsid", sys_getsid },   { "prctl", sys_prctl },     { NULL, NULL },
};

void open_process(lua_State *L) { luaL_setfuncs(L, functions, 0); }
