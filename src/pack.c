// SPDX-License-Identifier: MIT
/* Packing: a step from Lua becomes an op for the loop. Whatever can be wrong with it is found here. */
#define _GNU_SOURCE
#include "pack.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "lib.h"

/* The calls that a step may name, sorted, and how its arguments become those of the kernel:
 *   s string   S string or nil   n string, then its length   b bytes, then their number   B struct ifreq
 *   i int   P option of prctl   u unsigned   l unsigned long   I id, -1 for unchanged   d descriptor   D descriptor or nil
 *   v list of strings   g list of group ids   m signal set, no old set, its size   h disposition, likewise
 *   p list of struct pollfd   t milliseconds   r a number of bytes to read   f filter of seccomp
 *   H, C the header and the sets of capset   w bytes to send, c the descriptors to send with them   A what a rule of Landlock allows
 *   L, M the soft and the hard limit of a resource   and, taking no argument: e empty string, E AT_EMPTY_PATH, 0 zero
 *   o, x flags of a call that opens a descriptor, which becomes close-on-exec
 * What stands past `|` may be absent, for 0. */
static const struct call calls[] = {
  { "_exit", SYS_exit_group, "i" },
  { "capset", SYS_capset, "HC" },
  { "chdir", SYS_chdir, "s" },
  { "chroot", SYS_chroot, "s" },
  { "close", SYS_close, "d" },
  { "close_range", SYS_close_range, "uuu" },
  { "dup2", SYS_dup3, "dd" },
  { "execve", SYS_execve, "svv" },
  { "fchdir", SYS_fchdir, "d" },
  { "fchown", SYS_fchown, "dII" },
  { "fcntl", SYS_fcntl, "di|l" },
  { "fexecve", SYS_execveat, "devvE" },
  { "fsconfig", SYS_fsconfig, "duSSD" },
  { "fsmount", SYS_fsmount, "dxu" },
  { "fsopen", SYS_fsopen, "sx" },
  { "getpid", SYS_getpid, "" },
  { "getppid", SYS_getppid, "" },
  { "ioctl", SYS_ioctl, "duB" },
  { "keyctl", SYS_keyctl, "uS" },
  { "landlock_add_rule", SYS_landlock_add_rule, "duAu" },
  { "landlock_create_ruleset", SYS_landlock_create_ruleset, "bu" },
  { "landlock_restrict_self", SYS_landlock_restrict_self, "du" },
  { "mkdirat", SYS_mkdirat, "dsu" },
  { "mknodat", SYS_mknodat, "dsu|u" },
  { "mount", SYS_mount, "SsSlS" },
  { "mount_setattr", SYS_mount_setattr, "dsub" },
  { "move_mount", SYS_move_mount, "dsdsu" },
  { "open_tree", SYS_open_tree, "dso" },
  { "openat", SYS_openat, "dso|u" },
  { "openat2", SYS_openat2, "dsb" },
  { "personality", SYS_personality, "u" },
  { "pidfd_open", SYS_pidfd_open, "i|u" },
  { "pivot_root", SYS_pivot_root, "ss" },
  { "poll", SYS_ppoll, "pt" },
  { "prctl", SYS_prctl, "Pl|lll" },
  { "read", SYS_read, "dr" },
  { "seccomp", SYS_seccomp, "uuf" },
  { "sendmsg", SYS_sendmsg, "dwc|u" },
  { "setdomainname", SYS_setdomainname, "n" },
  { "setgroups", SYS_setgroups, "g" },
  { "sethostname", SYS_sethostname, "n" },
  { "setns", SYS_setns, "du" },
  { "setpriority", SYS_setpriority, "iui" },
  { "setresgid", SYS_setresgid, "III" },
  { "setresuid", SYS_setresuid, "III" },
  { "setrlimit", SYS_prlimit64, "0uLM0" },
  { "setsid", SYS_setsid, "" },
  { "signal", SYS_rt_sigaction, "ih" },
  { "sigprocmask", SYS_rt_sigprocmask, "im" },
  { "socket", SYS_socket, "ioi" },
  { "symlinkat", SYS_symlinkat, "sds" },
  { "umask", SYS_umask, "u" },
  { "umount2", SYS_umount2, "si" },
  { "unshare", SYS_unshare, "u" },
  { "write", SYS_write, "db" },
};

static void refuse_further(lua_State *L, struct packing *p, int step) {
  lua_Integer last = p->argument + 1;
  for (lua_pushnil(L); lua_next(L, step); lua_pop(L, 1))
    if (lua_isinteger(L, -2) && lua_tointeger(L, -2) > last) {
      p->argument = (int)last;
      wrong_step(L, p, "too many arguments");
    }
}

static void pack_arguments(lua_State *L, struct packing *p, int step) {
  bool optional = false;
  int absent = 0;
  p->argument = 0;
  for (const char *kind = p->call->arguments; *kind; kind++) {
    if (*kind == '|') { optional = true; continue; }
    if (*kind == 'e') { emit_kept(L, p, "", 1); continue; }
    if (*kind == 'E') { emit(p, AT_EMPTY_PATH); continue; }
    if (*kind == '0') { emit(p, 0); continue; }
    lua_rawgeti(L, step, ++p->argument + 1);
    if (optional && lua_isnil(L, -1)) {
      absent = absent ? absent : p->argument;
      emit(p, 0);
    } else if (absent) {
      p->argument = absent;
      wrong_step(L, p, "expected an integer"); /* a nil that stands before another argument */
    } else {
      pack_argument(L, p, *kind);
    }
    lua_pop(L, 1);
  }
  refuse_further(L, p, step);
  if (p->op.nr == SYS_dup3 && !p->op.from[0] && !p->op.from[1] && p->op.arg[0] == p->op.arg[1])
    wrong_step(L, p, "the numbers are equal, and there is nothing to do");
}

static void pack_outcomes(lua_State *L, struct packing *p, int step) {
  p->op.is_final = p->op.nr == SYS_execve || p->op.nr == SYS_execveat || p->op.nr == SYS_exit_group;
  if (raw_field(L, step, "tolerate") != LUA_TNIL) {
    size_t count;
    const char *wrong = list_of(L, lua_gettop(L), &count);
    if (wrong || count > WALK_TOLERATED) luaL_error(L, "program: step %d, tolerate: %s", p->step, wrong ? wrong : "too many");
    for (size_t i = 0; i < count; i++) {
      lua_Integer number;
      lua_rawgeti(L, -1, (lua_Integer)i + 1);
      wrong = integer_of(L, -1, 1, 4095, &number);
      if (wrong) luaL_error(L, "program: step %d, tolerate: %s", p->step, wrong);
      p->op.tolerate[i] = (int)number;
      lua_pop(L, 1);
    }
  }
  if (raw_field(L, step, "expect") != LUA_TNIL) {
    lua_Integer expect;
    const char *wrong = integer_of(L, -1, 0, INT64_MAX, &expect);
    if (wrong) luaL_error(L, "program: step %d, expect: %s", p->step, wrong);
    p->op.exact = true;
    p->op.expect = (long)expect;
  }
  if (raw_field(L, step, "as") != LUA_TNIL && !p->packed) {
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "program: step %d, as: expected a string", p->step);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, p->names) != LUA_TNIL)
      luaL_error(L, "program: step %d, as: %s is a value already", p->step, lua_tostring(L, -2));
    lua_pop(L, 1);
    lua_pushinteger(L, p->step);
    lua_rawset(L, p->names);
  }
  lua_settop(L, step);
}

static int compare_call(const void *name, const void *call) { return strcmp(name, ((const struct call *)call)->name); }

static const struct call *find_call(const char *name) {
  return bsearch(name, calls, sizeof calls / sizeof *calls, sizeof *calls, compare_call);
}

void pack_step(lua_State *L, struct packing *p, int step) {
  if (lua_type(L, step) != LUA_TTABLE) luaL_error(L, "program: step %d: expected a table", p->step);
  const char *name;
  lua_rawgeti(L, step, 1);
  if (string_of(L, -1, &name)) luaL_error(L, "program: step %d: expected the name of a call first", p->step);
  p->call = find_call(name);
  if (!p->call) {
    luaL_error(L, "program: step %d: %s is no call of a program", p->step, lua_tostring(L, -1));
    return;
  }
  lua_pop(L, 1);
  memset(&p->op, 0, sizeof p->op);
  p->kept_mask = 0;
  p->op.nr = p->call->nr;
  p->filled = 0;
  pack_arguments(L, p, step);
  pack_outcomes(L, p, step);
}

void keep_op(lua_State *L, struct packing *p) {
  struct op *op = p->packed ? &p->packed->program.op[p->step - 1] : NULL;
  if (op) *op = p->op;
  for (int i = 0; i < p->filled; i++)
    if (p->kept_mask & 1U << i) note_pointer(L, p, op ? &op->arg[i] : NULL);
  if (p->op.into_from) note_pointer(L, p, op ? &op->into : NULL);
}
