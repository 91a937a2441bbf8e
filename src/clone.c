// SPDX-License-Identifier: MIT
/* Children: one that walks a program in shared memory, and one that runs a Lua function in a copy. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"
#include "program.h"
#include "share.h"

#define NAMESPACES                                                                                      \
  (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |            \
   CLONE_NEWCGROUP | CLONE_NEWTIME)

enum { FLAGS = 1, BODY, OPTIONS, PIDFD };

bool sys_has_cloned;

static void reap(pid_t pid, int *status) {
  while (waitpid(pid, status, __WALL) == -1 && errno != ECHILD) {} /* the only reason not to wait */
}

static int push_child(lua_State *L, pid_t pid, unsigned long long flags) {
  lua_pushinteger(L, pid);
  if (!(flags & CLONE_PIDFD)) return 1;
  lua_pushvalue(L, PIDFD);
  return 2;
}

/* Field of the options table, left on the stack; nil where there is none. */
static int option(lua_State *L, const char *name) {
  if (lua_istable(L, OPTIONS)) return lua_getfield(L, OPTIONS, name);
  lua_pushnil(L);
  return LUA_TNIL;
}

static void check_options(lua_State *L, bool is_program) {
  static const char *const known[] = { "cgroup", "values", "born", "threads" };
  if (lua_isnoneornil(L, OPTIONS)) return;
  luaL_checktype(L, OPTIONS, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, OPTIONS); lua_pop(L, 1)) {
    const char *name;
    if (string_of(L, -2, &name)) name = "";
    bool fits = strcmp(name, known[0]) == 0;
    for (int i = is_program ? 1 : 3; i <= (is_program ? 2 : 3); i++) fits = fits || strcmp(name, known[i]) == 0;
    if (!fits) luaL_argerror(L, OPTIONS, lua_pushfstring(L, "unknown option \"%s\"", name));
  }
}

static void set_cgroup(lua_State *L, struct clone_args *args) {
  int fd;
  if (option(L, "cgroup") != LUA_TNIL) {
    if (!fd_of(L, -1, &fd)) luaL_argerror(L, OPTIONS, "cgroup: expected a descriptor");
    args->flags |= CLONE_INTO_CGROUP;
    args->cgroup = (uintptr_t)fd;
  }
  lua_pop(L, 1);
}

/* nil, "clone: step 3, mount: Permission denied", errno, 3 */
static int push_failed_step(lua_State *L, const struct packed *packed, const struct start *s) {
  const struct record *record = &packed->program.record;
  int step = record->failed ? record->failed : record->at, status = 0;
  const char *name = step ? packed->name[step - 1] : "the first step";
  reap(s->pid, &status);
  if (record->failed && record->error) sys_failure(L, record->error, "clone: step %d, %s", step, name);
  else if (record->failed) {
    luaL_pushfail(L);
    lua_pushfstring(L, "clone: step %d, %s: returned %I", step, name, (lua_Integer)packed->program.value[step - 1]);
    lua_pushinteger(L, 0);
  } else {
    luaL_pushfail(L);
    if (WIFSIGNALED(status)) lua_pushfstring(L, "clone: the child was killed by signal %d at step %d, %s", WTERMSIG(status), step, name);
    else lua_pushfstring(L, "clone: the child ended at step %d, %s", step, name); /* the caller ignores SIGCHLD */
    lua_pushinteger(L, ECANCELED);
  }
  lua_pushinteger(L, step);
  return 4;
}

static bool is_under_way(const struct packed *packed) {
  const struct record *record = &packed->program.record;
  if (record->failed) return false;
  return record->done || (record->at > 0 && packed->program.op[record->at - 1].is_final);
}

/* Through the go-between. Returns the status of the `born` function's call, whose values it leaves on the stack. */
static int start_after_birth(lua_State *L, struct start *s) {
  const unsigned long long first = s->child.flags & (CLONE_NEWUSER | CLONE_NEWNET);
  s->between.flags = first;
  s->child.flags &= ~first;
  pid_t between = share_open(s);
  if (between == -1) return LUA_OK;
  struct packed *packed = lua_touserdata(L, BODY);
  packed->busy = true;
  lua_pushinteger(L, between);
  int status = lua_pcall(L, 1, 1, 0);
  packed->busy = false;
  share_close(s, between, status == LUA_OK && lua_toboolean(L, -1));
  return status;
}

/* nil, "clone: signal 13: Operation not permitted", errno */
static int push_beside(lua_State *L, const struct start *s) {
  if (s->argument) return sys_failure(L, s->error, "clone: %s %d", s->call, s->argument);
  return sys_failure(L, s->error, *s->call ? "clone: %s" : "clone", s->call);
}

/* No child: the clone failed, `born` said no, or the go-between was killed. */
static int push_no_child(lua_State *L, const struct start *s) {
  if (s->error) return push_beside(L, s);
  if (!WIFSIGNALED(s->between_status)) return sys_failure(L, ECANCELED, "clone");
  luaL_pushfail(L);
  lua_pushfstring(L, "clone: the go-between was killed by signal %d", WTERMSIG(s->between_status));
  lua_pushinteger(L, ECANCELED);
  return 3;
}

static void close_descriptor(int *descriptor) {
  if (*descriptor != -1) close(*descriptor);
  *descriptor = -1;
}

/* A child that could not begin with its program. */
static int push_unbegun(lua_State *L, const struct start *s, int *pidfd) {
  int status;
  close_descriptor(pidfd);
  reap(s->pid, &status);
  push_beside(L, s);
  lua_pushinteger(L, 0);
  return 4;
}

static int clone_program(lua_State *L, unsigned long long flags) {
  struct packed *packed = luaL_checkudata(L, BODY, PROGRAM);
  int *descriptor = descriptor_new(L), pidfd = -1;
  struct start s = { .program = &packed->program, .child = { .flags = flags, .pidfd = (uintptr_t)&pidfd } };
  bool has_values = option(L, "values") != LUA_TNIL;
  int values = has_values ? lua_gettop(L) : 0, status = LUA_OK;
  if (has_values) luaL_argexpected(L, lua_istable(L, values), OPTIONS, "table for values");
  set_cgroup(L, &s.child);
  bool has_born = option(L, "born") != LUA_TNIL;
  program_bind(L, BODY, values); /* the last: a metamethod of the options may have started this program, too */
  s.needed = packed->needed;
  if (has_born) status = start_after_birth(L, &s);
  else share_start(&s);
  if (s.pid && (flags & CLONE_PIDFD)) *descriptor = pidfd;
  if (status != LUA_OK) return lua_error(L);
  if (!s.pid) return push_no_child(L, &s);
  if (s.error) return push_unbegun(L, &s, descriptor);
  if (is_under_way(packed)) return push_child(L, s.pid, flags);
  close_descriptor(descriptor);
  return push_failed_step(L, packed, &s);
}

/* As text while it is protected: an error object may have a __tostring that raises. */
static int error_text(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* os.exit in the copy. Lua's own runs what the caller's process does at its exit and, with `true`, the caller's finalizers and
 * <close> variables. */
static int exit_copy(lua_State *L) {
  int status = lua_isboolean(L, 1) ? !lua_toboolean(L, 1) : (int)luaL_optinteger(L, 1, 0);
  fflush(NULL);
  _exit(status);
}

static int call_body(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushliteral(L, "os");
  if (lua_rawget(L, -2) == LUA_TTABLE) {
    lua_pushliteral(L, "exit");
    lua_pushcfunction(L, exit_copy);
    lua_rawset(L, -3);
  }
  lua_settop(L, 1);
  lua_call(L, 0, 1);
  return 1;
}

/* In the child: whatever the function does, it ends here. */
static _Noreturn void run_function(lua_State *L) {
  lua_settop(L, BODY);
  lua_pushcfunction(L, error_text);
  lua_pushcfunction(L, call_body);
  lua_rotate(L, BODY, -1); /* the body is its argument */
  int status = lua_pcall(L, 1, 1, BODY), is_integer = 1;
  lua_Integer code = 1;
  if (status == LUA_OK && lua_type(L, -1) == LUA_TNUMBER) code = lua_tointegerx(L, -1, &is_integer);
  else if (status == LUA_OK) code = !(lua_isnil(L, -1) || lua_toboolean(L, -1));
  else fprintf(stderr, "%s\n", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error without a message");
  fflush(NULL);
  _exit(is_integer && code >= 0 && code <= 255 ? (int)code : 1);
}

/* malloc in the copy of a process with several threads may find a lock that nobody will release. */
static bool has_threads(void) {
  struct stat task;
  return !__libc_single_threaded && stat("/proc/self/task", &task) == 0 && task.st_nlink > 3;
}

static int clone_function(lua_State *L, unsigned long long flags) {
  int *descriptor = descriptor_new(L), pidfd = -1;
  option(L, "threads");
  if (!lua_toboolean(L, -1) && has_threads())
    luaL_error(L, "clone: this process has several threads; a function in a copy of it may hang (threads = true allows it)");
  lua_pop(L, 1);
  struct clone_args args = { .flags = flags, .exit_signal = SIGCHLD, .pidfd = (uintptr_t)&pidfd };
  set_cgroup(L, &args);
  fflush(NULL);
  long result = raw_call(SYS_clone3, (long)&args, sizeof args, 0, 0, 0, 0);
  if (result == 0) run_function(L);
  if (result < 0) return sys_failure(L, (int)-result, "clone");
  *descriptor = pidfd;
  return push_child(L, (pid_t)result, flags);
}

/*** Starts a child.
It walks a program, sharing the caller's memory until it executes or ends: a start costs the same however much memory the
caller has. Or it runs a function in a copy of the caller, and ends as the function does: with what it returns for a status (0
where it returns nothing), or with 1 and a message on standard error where it raises. In the copy os.exit runs nothing of the caller's
either: no finalizer, no <close> variable, nothing that is registered for its exit.
@function clone
@tparam integer flags CLONE_NEW…, CLONE_PIDFD. For a program, CLONE_FILES: the child has of the caller's descriptors those up to the highest
that the steps and the inputs name, so that a start costs the same however many the caller has; it shares the table of them until
it has made a copy, by close_range(2) with CLOSE_RANGE_UNSHARE. A number inside a string (/proc/self/fd/N) names none. A child that walks a
program ignores and handles no signal, whatever the caller does
@tparam program|function body
@tparam[opt] table options `cgroup`: the descriptor of a cgroup v2 directory to start in. For a program, `values`: its inputs, by the
names of their refs; `born`: a function that is called with the child's PID while the child waits in its new namespaces, and lets
it go on by returning true. For a function, `threads`: true to copy a process of several threads, although the copy may hang.
@treturn integer pid and, with CLONE_PIDFD, a descriptor; or nil, a message, errno and, where a step of the program failed, its number; 0 for
what comes before them: the close_range of CLONE_FILES, signals
@see clone(2)
*/
static int sys_clone(lua_State *L) {
  arg_count(L, 3);
  unsigned long long flags = (unsigned long long)arg_range(L, FLAGS, 0, INT64_MAX);
  bool is_function = lua_isfunction(L, BODY);
  unsigned long long allowed = NAMESPACES | CLONE_PIDFD | (is_function ? 0 : CLONE_FILES);
  luaL_argcheck(L, !(flags & ~allowed), FLAGS,
                is_function ? "expected CLONE_NEW… flags and CLONE_PIDFD" : "expected CLONE_NEW… flags, CLONE_PIDFD and CLONE_FILES");
  luaL_argexpected(L, is_function || luaL_testudata(L, BODY, PROGRAM), BODY, "program or function");
  check_options(L, !is_function);
  lua_settop(L, OPTIONS);
  sys_has_cloned = true;
  return is_function ? clone_function(L, flags) : clone_program(L, flags);
}

static const luaL_Reg functions[] = { { "clone", sys_clone }, { NULL, NULL } };

void open_clone(lua_State *L) { luaL_setfuncs(L, functions, 0); }
