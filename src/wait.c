// SPDX-License-Identifier: MIT
/* Other processes: waiting for them, signalling them, and descriptors that stand for them; the clock to wait by. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* pid, "exit"|"signal"|"stop"|"continue", code */
static int push_status(lua_State *L, pid_t pid, int status) {
  lua_pushinteger(L, pid);
  if (WIFEXITED(status)) {
    lua_pushliteral(L, "exit");
    lua_pushinteger(L, WEXITSTATUS(status));
  } else if (WIFSIGNALED(status)) {
    lua_pushliteral(L, "signal");
    lua_pushinteger(L, WTERMSIG(status));
  } else if (WIFSTOPPED(status)) {
    lua_pushliteral(L, "stop");
    lua_pushinteger(L, WSTOPSIG(status));
  } else {
    lua_pushliteral(L, "continue");
    lua_pushinteger(L, SIGCONT);
  }
  return 3;
}

/*** Waits for a child.
@function waitpid
@tparam integer pid -1 for any
@tparam[opt=0] integer options WNOHANG, WUNTRACED, WCONTINUED, __WALL
@return integer,string,integer pid; "exit", "signal", "stop" or "continue"; code. 0 alone with WNOHANG when none has changed
@see waitpid(2)
*/
static int sys_waitpid(lua_State *L) {
  arg_count(L, 2);
  pid_t pid = arg_int(L, 1);
  int options = arg_int_or(L, 2, 0), status;
  pid_t result = waitpid(pid, &status, options);
  int err = errno;
  if (result == -1) return sys_failure(L, err, "waitpid %d", pid);
  if (result == 0) {
    lua_pushinteger(L, 0); /* WNOHANG, and none has changed state */
    return 1;
  }
  return push_status(L, result, status);
}

/*** Waits for a child, by pidfd too.
@function waitid
@tparam integer idtype P_PID, P_PIDFD, P_PGID, P_ALL
@tparam descriptor id
@tparam integer options WEXITED, WSTOPPED, WCONTINUED, WNOHANG, WNOWAIT, __WALL
@return integer,string,integer as of `waitpid`
@see waitid(2)
*/
static int sys_waitid(lua_State *L) {
  arg_count(L, 3);
  int idtype = arg_int(L, 1), id = arg_fd(L, 2), options = arg_int(L, 3);
  siginfo_t info = { .si_pid = 0 };
  int result = waitid((idtype_t)idtype, (id_t)id, &info, options), err = errno;
  if (result == -1) return sys_failure(L, err, "waitid %d", id);
  lua_pushinteger(L, info.si_pid);
  if (info.si_pid == 0) return 1;
  static const char *const how[] = {
    [CLD_EXITED] = "exit",  [CLD_KILLED] = "signal",  [CLD_DUMPED] = "signal",
    [CLD_STOPPED] = "stop", [CLD_TRAPPED] = "stop", [CLD_CONTINUED] = "continue",
  };
  lua_pushstring(L, how[info.si_code]);
  lua_pushinteger(L, info.si_status);
  return 3;
}

/*** Sends a signal to a process or, with a negative number, to a process group.
@function kill
@tparam integer pid
@tparam integer signal 0 to look only
@see kill(2)
*/
static int sys_kill(lua_State *L) {
  arg_count(L, 2);
  pid_t pid = arg_int(L, 1);
  int result = kill(pid, arg_int(L, 2)), err = errno;
  return sys_status(L, result, err, "kill %d", pid);
}

/*** A descriptor for a process; readable when it has ended.
@function pidfd_open
@tparam integer pid
@tparam[opt=0] integer flags
@treturn descriptor
@see pidfd_open(2)
*/
static int sys_pidfd_open(lua_State *L) {
  arg_count(L, 2);
  pid_t pid = arg_int(L, 1);
  unsigned flags = arg_uint_or(L, 2, 0);
  int *descriptor = descriptor_new(L);
  int fd = (int)syscall(SYS_pidfd_open, pid, flags), err = errno;
  return sys_descriptor(L, descriptor, fd, err, "pidfd_open %d", pid);
}

/*** Sends a signal to the process that a descriptor stands for.
@function pidfd_send_signal
@tparam descriptor pidfd
@tparam integer signal
@see pidfd_send_signal(2)
*/
static int sys_pidfd_send_signal(lua_State *L) {
  arg_count(L, 2);
  int fd = arg_fd(L, 1);
  int result = (int)syscall(SYS_pidfd_send_signal, fd, arg_int(L, 2), NULL, 0), err = errno;
  return sys_status(L, result, err, "pidfd_send_signal");
}

/*** Waits until one of some descriptors is ready. Sets `revents` in each entry.
@function poll
@tparam table fds list of `{ fd = descriptor, events = POLL… }`
@tparam integer milliseconds -1 for no end
@treturn integer how many are ready
@see poll(2)
*/
static int sys_poll(lua_State *L) {
  arg_count(L, 2);
  size_t count;
  struct pollfd *fds = arg_pollfds(L, 1, &count);
  int milliseconds = arg_int(L, 2);
  int result = poll(fds, count, milliseconds), err = errno;
  if (result == -1) return sys_failure(L, err, "poll");
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    lua_pushinteger(L, fds[i].revents);
    lua_setfield(L, -2, "revents");
    lua_pop(L, 1);
  }
  lua_pushinteger(L, result);
  return 1;
}

/*** The time of a clock.
@function clock_gettime
@tparam integer clock CLOCK_MONOTONIC
@treturn number seconds
@see clock_gettime(2)
*/
static int sys_clock_gettime(lua_State *L) {
  arg_count(L, 1);
  clockid_t clock = arg_int(L, 1);
  struct timespec time;
  int result = clock_gettime(clock, &time), err = errno;
  if (result == -1) return sys_failure(L, err, "clock_gettime");
  lua_pushnumber(L, (lua_Number)time.tv_sec + (lua_Number)time.tv_nsec * 1e-9);
  return 1;
}

static const luaL_Reg functions[] = {
  { "clock_gettime", sys_clock_gettime }, { "waitpid", sys_waitpid }, { "waitid", sys_waitid }, { "kill", sys_kill }, { "pidfd_open", sys_pidfd_open },
  { "pidfd_send_signal", sys_pidfd_send_signal }, { "poll", sys_poll }, { NULL, NULL },
};

void open_wait(lua_State *L) { luaL_setfuncs(L, functions, 0); }
