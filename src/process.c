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
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/*** Puts this process into new namespaces.
@function unshare
@tparam integer flags CLONE_NEW…
@see unshare(2)
*/
static int sys_unshare(lua_State *L) {
  arg_count(L, 1);
  int flags = (int)arg_uint(L, 1);
  int result = unshare(flags), err = errno;
  return sys_status(L, result, err, "unshare");
}

/*** Joins a namespace.
@function setns
@tparam descriptor fd of a namespace, or a pidfd
@tparam integer flags CLONE_NEW…, or 0
@see setns(2)
*/
static int sys_setns(lua_State *L) {
  arg_count(L, 2);
  int fd = arg_fd(L, 1);
  int result = setns(fd, (int)arg_uint(L, 2)), err = errno;
  return sys_status(L, result, err, "setns %d", fd);
}

/*** Executes a program in place of this one. Standard output is flushed first.
@function execve
@tparam string path
@tparam {string,...} argv
@tparam {string,...} envp `NAME=value`
@see execve(2)
*/
static int sys_execve(lua_State *L) {
  arg_count(L, 3);
  const char *path = arg_string(L, 1);
  char **argv = arg_strings(L, 2), **envp = arg_strings(L, 3);
  fflush(NULL);
  execve(path, argv, envp);
  int err = errno;
  return sys_failure(L, err, "execve %s", path);
}

/*** Executes an open file.
@function fexecve
@tparam descriptor fd
@tparam {string,...} argv
@tparam {string,...} envp
@see fexecve(3)
*/
static int sys_fexecve(lua_State *L) {
  arg_count(L, 3);
  int fd = arg_fd(L, 1);
  char **argv = arg_strings(L, 2), **envp = arg_strings(L, 3);
  fflush(NULL);
  syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
  int err = errno;
  return sys_failure(L, err, "fexecve %d", fd);
}

/*** Ends this process at once; nothing is flushed.
@function _exit
@tparam integer status 0 to 255
@see _exit(2)
*/
static int sys_exit(lua_State *L) {
  arg_count(L, 1);
  _exit((int)arg_range(L, 1, 0, 255));
}

/*** This process's PID.
@function getpid
@treturn integer
@see getpid(2)
*/
static int sys_getpid(lua_State *L) {
  arg_count(L, 0);
  lua_pushinteger(L, getpid());
  return 1;
}

/*** The parent's PID; 0 where it is in another PID namespace.
@function getppid
@treturn integer
@see getppid(2)
*/
static int sys_getppid(lua_State *L) {
  arg_count(L, 0);
  lua_pushinteger(L, getppid());
  return 1;
}

/*** Begins a session.
@function setsid
@treturn integer its id
@see setsid(2)
*/
static int sys_setsid(lua_State *L) {
  arg_count(L, 0);
  pid_t result = setsid();
  int err = errno;
  return sys_integer(L, result, err, "setsid");
}

/*** The session of a process.
@function getsid
@tparam integer pid 0 for this one
@treturn integer
@see getsid(2)
*/
static int sys_getsid(lua_State *L) {
  arg_count(L, 1);
  pid_t pid = arg_int(L, 1);
  pid_t result = getsid(pid);
  int err = errno;
  return sys_integer(L, result, err, "getsid %d", pid);
}

int prctl_takes_integers(int option) {
  switch (option) {
    case PR_SET_PDEATHSIG: case PR_SET_DUMPABLE: case PR_GET_DUMPABLE: case PR_SET_NO_NEW_PRIVS:
    case PR_GET_NO_NEW_PRIVS: case PR_SET_CHILD_SUBREAPER: case PR_SET_KEEPCAPS: case PR_GET_KEEPCAPS:
    case PR_SET_SECUREBITS: case PR_GET_SECUREBITS: case PR_CAPBSET_READ: case PR_CAPBSET_DROP: case PR_CAP_AMBIENT:
      return 1;
    default:
      return 0;
  }
}

/*** Operations on this process: the options that a container uses.
@function prctl
@tparam integer option PR_…
@param ... up to four integers; 0 where absent
@treturn integer
@see prctl(2)
*/
static int sys_prctl(lua_State *L) {
  arg_count(L, 5);
  int option = arg_int(L, 1);
  luaL_argcheck(L, prctl_takes_integers(option), 1, "not an option of prctl that casulo knows");
  unsigned long value[4];
  for (int i = 0; i < 4; i++)
    value[i] = lua_isnone(L, i + 2) ? 0 : (unsigned long)arg_range(L, i + 2, 0, INT64_MAX);
  int result = prctl(option, value[0], value[1], value[2], value[3]), err = errno;
  return sys_integer(L, result, err, "prctl %d", option);
}

/*** Sets the nice value of a process, its group or its user.
@function setpriority
@tparam integer which PRIO_PROCESS, PRIO_PGRP or PRIO_USER
@tparam integer who 0 for this one
@tparam integer priority -20 to 19
@see setpriority(2)
*/
static int sys_setpriority(lua_State *L) {
  arg_count(L, 3);
  int which = arg_int(L, 1), priority = arg_int(L, 3);
  unsigned who = arg_uint(L, 2);
  int result = setpriority(which, who, priority), err = errno;
  return sys_status(L, result, err, "setpriority");
}

/*** Sets the execution domain of this process: among others, whether its memory is laid out at random.
@function personality
@tparam integer persona PER_LINUX, with flags; 0xffffffff changes nothing
@treturn integer what it was before
@see personality(2)
*/
static int sys_personality(lua_State *L) {
  arg_count(L, 1);
  unsigned long persona = arg_uint(L, 1);
  int result = personality(persona), err = errno;
  return sys_integer(L, result, err, "personality %I", (lua_Integer)persona);
}

static const luaL_Reg functions[] = {
  { "unshare", sys_unshare }, { "setns", sys_setns },     { "execve", sys_execve }, { "fexecve", sys_fexecve },
  { "_exit", sys_exit },      { "getpid", sys_getpid },   { "getppid", sys_getppid }, { "setsid", sys_setsid },
  { "getsid", sys_getsid },   { "prctl", sys_prctl },     { "setpriority", sys_setpriority },
  { "personality", sys_personality }, { NULL, NULL },
};

void open_process(lua_State *L) { luaL_setfuncs(L, functions, 0); }
