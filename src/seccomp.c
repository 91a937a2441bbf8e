// SPDX-License-Identifier: MIT
/* Filters of system calls. */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib.h"

/*** Filters the system calls of this process and of those that it starts. There is no way back.
@function seccomp
@tparam integer operation SECCOMP_SET_MODE_FILTER
@tparam integer flags 0
@tparam string filter of struct sock_filter, 8 bytes each
@treturn integer
@see seccomp(2)
*/
static int sys_seccomp(lua_State *L) {
  arg_count(L, 3);
  unsigned operation = arg_uint(L, 1), flags = arg_uint(L, 2);
  size_t size;
  luaL_checktype(L, 3, LUA_TSTRING);
  const char *filter = lua_tolstring(L, 3, &size);
  luaL_argcheck(L, operation == SECCOMP_SET_MODE_FILTER, 1, "expected SECCOMP_SET_MODE_FILTER");
  luaL_argcheck(L, size > 0 && size % sizeof(struct sock_filter) == 0 && size / sizeof(struct sock_filter) <= BPF_MAXINSNS, 3,
                "expected a string of struct sock_filter, 1 to 4096 of them");
  struct sock_fprog program = {
    .len = (unsigned short)(size / sizeof(struct sock_filter)), .filter = (struct sock_filter *)filter,
  };
  long result = syscall(SYS_seccomp, operation, flags, &program);
  int err = errno;
  return sys_integer(L, result, err, "seccomp");
}

static const luaL_Reg functions[] = { { "seccomp", sys_seccomp }, { NULL, NULL } };

void open_seccomp(lua_State *L) { luaL_setfuncs(L, functions, 0); }
