// SPDX-License-Identifier: MIT
/* Packing: a step from Lua becomes an op for the loop. Whatever can be wrong with it is found here. */
#define _GNU_SOURCE
#include "pack.h"

#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "lib.h"

/* The calls that a step may name, and how its arguments become those of the kernel:
 *   s string   S string or nil   n string, then its length   b bytes, then their number   B struct ifreq
 *   i int   P option of prctl   u unsigned   l unsigned long   I id, -1 for unchanged   d descriptor   D descriptor or nil
 *   v list of strings   g list of group ids   m signal set, no old set, its size   h disposition, likewise
 *   p list of struct pollfd   t 0, not to wait   and, taking no argument: e empty string, E AT_EMPTY_PATH
 *   o, x flags of a call that opens a descriptor, which becomes close-on-exec
 * What stands past `|` may be absent, for 0. */
static const struct call calls[] = {
  { "_exit", SYS_exit_group, "i" },
  { "chdir", SYS_chdir, "s" },
  { "chroot", SYS_chroot, "s" },
  { "close", SYS_close, "d" },
  { "close_range", SYS_close_range, "uuu" },
  { "dup2", SYS_dup3, "dd" },
  { "execve", SYS_execve, "svv" },
  { "fchdir", SYS_fchdir, "d" },
  { "fexecve", SYS_execveat, "devvE" },
  { "fsconfig", SYS_fsconfig, "duSSD" },
  { "fsmount", SYS_fsmount, "dxu" },
  { "fsopen", SYS_fsopen, "sx" },
  { "ioctl", SYS_ioctl, "duB" },
  { "mkdirat", SYS_mkdirat, "dsu" },
  { "mknodat", SYS_mknodat, "dsu|u" },
  { "mount", SYS_mount, "SsSlS" },
  { "mount_setattr", SYS_mount_setattr, "dsub" },
  { "move_mount", SYS_move_mount, "dsdsu" },
  { "open_tree", SYS_open_tree, "dso" },
  { "openat2", SYS_openat2, "dsb" },
  { "openat", SYS_openat, "dso|u" },
  { "pivot_root", SYS_pivot_root, "ss" },
  { "poll", SYS_ppoll, "pt" },
  { "prctl", SYS_prctl, "Pl|lll" },
  { "setdomainname", SYS_setdomainname, "n" },
  { "setgroups", SYS_setgroups, "g" },
  { "sethostname", SYS_sethostname, "n" },
  { "setns", SYS_setns, "du" },
  { "setresgid", SYS_setresgid, "III" },
  { "setresuid", SYS_setresuid, "III" },
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

static int wrong_step(lua_State *L, const struct packing *p, const char *what) {
  return luaL_error(L, "program: step %d, %s, argument %d: %s", p->step, p->call->name, p->argument, what);
}

/* A finalizer may change the steps between the passes; what no longer fits is refused. */
static _Noreturn void changed(lua_State *L) {
  luaL_error(L, "program: the steps changed while they were packed");
  abort();
}

/* Raw: what a metamethod gives could differ the second time. */
static int raw_field(lua_State *L, int index, const char *name) {
  index = lua_absindex(L, index);
  lua_pushstring(L, name);
  return lua_rawget(L, index);
}

static void *keep(lua_State *L, struct packing *p, const void *bytes, size_t size) {
  size_t offset = (p->used + 15) & ~(size_t)15;
  p->used = offset + size;
  if (!p->packed) return NULL;
  if (p->used > p->room) changed(L);
  return memcpy(p->bytes + offset, bytes, size);
}

static void emit(struct packing *p, long value) { p->op.arg[p->filled++] = value; }
static void emit_kept(lua_State *L, struct packing *p, const void *bytes, size_t size) {
  emit(p, (long)keep(L, p, bytes, size));
}

/* The index of the value that `ref "name"`, on top of the stack, stands for; 0 when it is no ref. */
static int value_of_ref(lua_State *L, struct packing *p) {
  if (lua_type(L, -1) != LUA_TTABLE) return 0;
  if (raw_field(L, -1, "ref") == LUA_TNIL) {
    lua_pop(L, 1);
    return 0;
  }
  if (lua_type(L, -1) != LUA_TSTRING) wrong_step(L, p, "ref needs a name");
  lua_pushvalue(L, -1);
  if (lua_rawget(L, p->names) == LUA_TNIL) { /* no earlier step has this name: an input */
    lua_pop(L, 1);
    if (p->packed) changed(L);
    lua_pushinteger(L, p->count + ++p->inputs);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, p->names);
  }
  int value = (int)lua_tointeger(L, -1);
  lua_pop(L, 2);
  return value;
}

static void pack_integer(lua_State *L, struct packing *p, lua_Integer least, lua_Integer most) {
  lua_Integer integer;
  int value = value_of_ref(L, p);
  if (value) {
    p->op.from[p->filled] = (short)value;
    emit(p, 0);
    return;
  }
  const char *wrong = integer_of(L, lua_gettop(L), least, most, &integer);
  if (wrong) wrong_step(L, p, wrong);
  emit(p, (long)integer);
}

/* O_CLOEXEC is SOCK_CLOEXEC and OPEN_TREE_CLOEXEC; FSOPEN_CLOEXEC is FSMOUNT_CLOEXEC. */
static void pack_opening(lua_State *L, struct packing *p, long cloexec) {
  pack_integer(L, p, 0, INT_MAX);
  p->op.arg[p->filled - 1] |= cloexec;
}

static void pack_descriptor(lua_State *L, struct packing *p) {
  int fd;
  if (lua_type(L, -1) == LUA_TUSERDATA && fd_of(L, lua_gettop(L), &fd)) emit(p, fd);
  else pack_integer(L, p, INT_MIN, INT_MAX);
}

static void pack_string(lua_State *L, struct packing *p, bool with_length) {
  const char *string, *wrong = string_of(L, lua_gettop(L), &string);
  if (wrong) wrong_step(L, p, wrong);
  emit_kept(L, p, string, strlen(string) + 1);
  if (with_length) emit(p, (long)strlen(string));
}

static void pack_bytes(lua_State *L, struct packing *p) {
  size_t size;
  if (lua_type(L, -1) != LUA_TSTRING) wrong_step(L, p, "expected a string");
  const char *bytes = lua_tolstring(L, -1, &size);
  emit_kept(L, p, bytes, size);
  emit(p, (long)size);
}

/* The kernel writes an answer into it, so its size matters. */
static void pack_ifreq(lua_State *L, struct packing *p) {
  if (lua_type(L, -1) != LUA_TSTRING || lua_rawlen(L, -1) != sizeof(struct ifreq))
    wrong_step(L, p, "struct ifreq has 40 bytes");
  if (p->op.from[1] || (p->op.arg[1] != SIOCGIFFLAGS && p->op.arg[1] != SIOCSIFFLAGS)) {
    p->argument--;
    wrong_step(L, p, "expected SIOCGIFFLAGS or SIOCSIFFLAGS");
  }
  emit_kept(L, p, lua_tostring(L, -1), sizeof(struct ifreq));
}

static void pack_strings(lua_State *L, struct packing *p) {
  int top = lua_gettop(L);
  char **strings;
  size_t count;
  const char *wrong = strings_of(L, top, &strings, &count);
  if (wrong) wrong_step(L, p, wrong);
  for (size_t i = 0; i < count; i++) strings[i] = keep(L, p, strings[i], strlen(strings[i]) + 1);
  emit_kept(L, p, strings, (count + 1) * sizeof *strings);
  lua_settop(L, top);
}

static void pack_gids(lua_State *L, struct packing *p) {
  int top = lua_gettop(L);
  gid_t *gids;
  size_t count;
  const char *wrong = gids_of(L, top, &gids, &count);
  if (wrong) wrong_step(L, p, wrong);
  emit(p, (long)count);
  emit_kept(L, p, gids, count * sizeof *gids);
  lua_settop(L, top);
}

/* The kernel's signal set is one 64-bit word; the C library's is longer. */
static void pack_signals(lua_State *L, struct packing *p) {
  sigset_t set;
  const char *wrong = signals_of(L, lua_gettop(L), &set);
  if (wrong) wrong_step(L, p, wrong);
  emit_kept(L, p, &set, _NSIG / CHAR_BIT);
  emit(p, 0);
  emit(p, _NSIG / CHAR_BIT);
}

static void pack_disposition(lua_State *L, struct packing *p) {
  struct { uint64_t handler, flags, restorer, mask; } action = { 0 }; /* the kernel's struct sigaction */
  lua_Integer handler;
  const char *wrong = integer_of(L, lua_gettop(L), (intptr_t)SIG_DFL, (intptr_t)SIG_IGN, &handler);
  if (wrong) wrong_step(L, p, wrong);
  action.handler = (uint64_t)handler;
  emit_kept(L, p, &action, sizeof action);
  emit(p, 0);
  emit(p, _NSIG / CHAR_BIT);
}

static void pack_pollfd(lua_State *L, struct packing *p, struct pollfd *where) {
  struct pollfd entry = { 0 };
  lua_Integer events;
  if (lua_type(L, -1) != LUA_TTABLE) wrong_step(L, p, "expected a list of { fd = …, events = … }");
  raw_field(L, -1, "events");
  if (integer_of(L, -1, 0, SHRT_MAX, &events)) wrong_step(L, p, "field events: expected an integer");
  entry.events = (short)events;
  raw_field(L, -2, "fd");
  int value = value_of_ref(L, p);
  if (value && value <= p->count) wrong_step(L, p, "field fd: the result of a step cannot stand here");
  if (!value && !fd_of(L, -1, &entry.fd)) wrong_step(L, p, "field fd: expected a descriptor");
  if (where) *where = entry;
  if (value && where && p->patches >= p->patches_room) changed(L);
  if (value && where) p->packed->patch[p->patches] = (struct patch){ .fd = &where->fd, .value = value };
  if (value) p->patches++;
  lua_pop(L, 2);
}

static void pack_pollfds(lua_State *L, struct packing *p) {
  static const struct pollfd none[16];
  int top = lua_gettop(L);
  size_t count;
  const char *wrong = list_of(L, top, &count);
  if (!wrong && count > sizeof none / sizeof *none) wrong = "too many descriptors";
  if (wrong) wrong_step(L, p, wrong);
  struct pollfd *fds = keep(L, p, none, count * sizeof *fds);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, top, (lua_Integer)i + 1);
    pack_pollfd(L, p, fds ? &fds[i] : NULL);
    lua_pop(L, 1);
  }
  emit(p, (long)fds);
  emit(p, (long)count);
}

/* Only 0: the kernel counts a longer time down where it is kept, and the next start would wait less. */
static void pack_no_time(lua_State *L, struct packing *p) {
  static const struct timespec none;
  lua_Integer milliseconds;
  const char *wrong = integer_of(L, lua_gettop(L), 0, 0, &milliseconds);
  if (wrong) wrong_step(L, p, wrong);
  emit_kept(L, p, &none, sizeof none);
}

/* One argument, on top of the stack. */
static void pack_argument(lua_State *L, struct packing *p, char kind) {
  bool is_nil = lua_isnil(L, -1);
  switch (kind) {
    case 'S': case 'D': if (is_nil) { emit(p, 0); break; }
      if (kind == 'D') pack_descriptor(L, p); else pack_string(L, p, false);
      break;
    case 's': pack_string(L, p, false); break;
    case 'n': pack_string(L, p, true); break;
    case 'b': pack_bytes(L, p); break;
    case 'B': pack_ifreq(L, p); break;
    case 'i': pack_integer(L, p, INT_MIN, INT_MAX); break;
    case 'P': pack_integer(L, p, INT_MIN, INT_MAX);
      if (!prctl_takes_integers((int)p->op.arg[0])) wrong_step(L, p, "not an option of prctl that casulo knows");
      break;
    case 'u': pack_integer(L, p, 0, UINT_MAX); break;
    case 'l': pack_integer(L, p, 0, INT64_MAX); break;
    case 'I': pack_integer(L, p, -1, (lua_Integer)UINT_MAX - 1); break;
    case 'o': pack_opening(L, p, O_CLOEXEC); break;
    case 'x': pack_opening(L, p, FSOPEN_CLOEXEC); break;
    case 'd': pack_descriptor(L, p); break;
    case 'v': pack_strings(L, p); break;
    case 'g': pack_gids(L, p); break;
    case 'm': pack_signals(L, p); break;
    case 'h': pack_disposition(L, p); break;
    case 'p': pack_pollfds(L, p); break;
    case 't': pack_no_time(L, p); break;
  }
}

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

static const struct call *find_call(const char *name) {
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if (strcmp(calls[i].name, name) == 0) return &calls[i];
  return NULL;
}

void pack_step(lua_State *L, struct packing *p, int step) {
  if (lua_type(L, step) != LUA_TTABLE) luaL_error(L, "program: step %d: expected a table", p->step);
  if (lua_rawgeti(L, step, 1) != LUA_TSTRING) luaL_error(L, "program: step %d: expected the name of a call first", p->step);
  p->call = find_call(lua_tostring(L, -1));
  if (!p->call) {
    luaL_error(L, "program: step %d: %s is no call of a program", p->step, lua_tostring(L, -1));
    return;
  }
  lua_pop(L, 1);
  memset(&p->op, 0, sizeof p->op);
  p->op.nr = p->call->nr;
  p->filled = 0;
  pack_arguments(L, p, step);
  pack_outcomes(L, p, step);
}
