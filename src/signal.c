// SPDX-License-Identifier: MIT
/* Signals to the calling process: which are blocked, which are ignored, and reading them from a descriptor. */
#define _GNU_SOURCE
#include "lib.h"

#include <errno.h>
#include <stdint.h>
#include <sys/signalfd.h>

/*** Changes which signals are blocked.
@function sigprocmask
@tparam integer how SIG_BLOCK, SIG_UNBLOCK or SIG_SETMASK
@tparam ?{integer,...} signals nil changes none
@treturn {integer,...} the signals that were blocked before
@see sigprocmask(2)
*/
static int sys_sigprocmask(lua_State *L) {
  arg_count(L, 2);
  int how = arg_int(L, 1);
  sigset_t set, old;
  int changes = !lua_isnoneornil(L, 2);
  if (changes) arg_signals(L, 2, &set);
  lua_createtable(L, SIGRTMAX, 0); /* once the mask is another, nothing may fail */
  int result = sigprocmask(how, changes ? &set : NULL, &old), err = errno;
  if (result == -1) return sys_failure(L, err, "sigprocmask");
  lua_Integer count = 0;
  for (int number = 1; number <= SIGRTMAX; number++) {
    if (sigismember(&old, number) != 1) continue;
    lua_pushinteger(L, number);
    lua_rawseti(L, -2, ++count);
  }
  return 1;
}

/*** Resets or ignores a signal.
@function signal
@tparam integer number
@tparam integer disposition SIG_DFL or SIG_IGN
@treturn integer the disposition before; another integer stands for a handler
@see signal(2)
*/
static int sys_signal(lua_State *L) {
  arg_count(L, 2);
  int number = arg_int(L, 1);
  intptr_t disposition = (intptr_t)arg_range(L, 2, (intptr_t)SIG_DFL, (intptr_t)SIG_IGN);
  void (*old)(int) = signal(number, (void (*)(int))disposition);
  int err = errno;
  return sys_integer(L, (long)(intptr_t)old, err, "signal %d", number);
}

/*** A descriptor from which blocked signals are read, as struct signalfd_siginfo.
@function signalfd
@tparam descriptor fd -1 for a new one
@tparam {integer,...} signals
@tparam integer flags SFD_NONBLOCK, or 0
@treturn descriptor
@see signalfd(2)
*/
static int sys_signalfd(lua_State *L) {
  arg_count(L, 3);
  int fd = arg_fd(L, 1), flags = arg_int(L, 3) | SFD_CLOEXEC;
  sigset_t set;
  arg_signals(L, 2, &set);
  if (fd != -1) {
    int result = signalfd(fd, &set, flags), err = errno;
    return sys_integer(L, result, err, "signalfd %d", fd);
  }
  int *descriptor = descriptor_new(L);
  int result = signalfd(-1, &set, flags), err = errno;
  return sys_descriptor(L, descriptor, result, err, "signalfd");
}

static const luaL_Reg functions[] = {
  { "sigprocmask", sys_sigprocmask }, { "signal", sys_signal }, { "signalfd", sys_signalfd }, { NULL, NULL },
};

void open_signal(lua_State *L) { luaL_setfuncs(L, functions, 0); }
