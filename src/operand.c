// SPDX-License-Identifier: MIT
/* Packing one argument of a step, as the letter of its kind says. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>

#include "lib.h"
#include "pack.h"

int wrong_step(lua_State *L, const struct packing *p, const char *what) {
  return luaL_error(L, "program: step %d, %s, argument %d: %s", p->step, p->call->name, p->argument, what);
}

/* A finalizer may change the steps between the passes. */
_Noreturn void changed(lua_State *L) {
  luaL_error(L, "program: the steps changed while they were packed");
  abort();
}

int raw_field(lua_State *L, int index, const char *name) {
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

void emit(struct packing *p, long value) { p->op.arg[p->filled++] = value; }
void emit_kept(lua_State *L, struct packing *p, const void *bytes, size_t size) {
  p->kept_mask |= 1U << p->filled;
  emit(p, (long)keep(L, p, bytes, size));
}

/* Whoever moves the program to another place must know where in it pointers to itself stand. */
void note_pointer(lua_State *L, struct packing *p, const void *where) {
  if (p->packed) {
    if (p->pointers >= p->pointers_room) changed(L);
    p->packed->pointer[p->pointers] = (uint32_t)((const char *)where - (const char *)p->packed->program.op);
  }
  p->pointers++;
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

static void note_descriptor(struct packing *p, long fd) {
  if (p->packed && fd >= p->packed->named) p->packed->named = (unsigned)fd + 1;
}

static void pack_descriptor(lua_State *L, struct packing *p) {
  int fd;
  if (lua_type(L, -1) == LUA_TUSERDATA && fd_of(L, lua_gettop(L), &fd)) emit(p, fd);
  else pack_integer(L, p, INT_MIN, INT_MAX);
  note_descriptor(p, p->op.arg[p->filled - 1]);
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

/* One that the kernel knows the size of. */
static void pack_structure(lua_State *L, struct packing *p, size_t size) {
  if (lua_type(L, -1) != LUA_TSTRING || lua_rawlen(L, -1) != size)
    wrong_step(L, p, lua_pushfstring(L, "expected a string of %d bytes", (int)size));
  emit_kept(L, p, lua_tostring(L, -1), size);
}

/* A descriptor inside a structure, on top of the stack: known now, or put there when the step is walked. */
static void pack_late_descriptor(lua_State *L, struct packing *p, int *where) {
  int fd, value = value_of_ref(L, p);
  if (value && p->op.into_from) wrong_step(L, p, "only one ref can stand inside");
  if (value) {
    p->op.into = where;
    p->op.into_from = (short)value;
  } else {
    if (!fd_of(L, lua_gettop(L), &fd)) wrong_step(L, p, "expected a descriptor");
    note_descriptor(p, fd);
    if (where) *where = fd;
  }
}

/* The kernel may write an answer into a structure, so its size matters. */
static void pack_ioctl(lua_State *L, struct packing *p) {
  const struct ioctl_request *request = p->op.from[1] ? NULL : ioctl_request((unsigned)p->op.arg[1]);
  if (!request) {
    p->argument--;
    wrong_step(L, p, IOCTL_EXPECTED);
    return;
  }
  if (request->size == 0) {
    pack_integer(L, p, 0, INT_MAX);
    return;
  }
  if (lua_type(L, -1) != LUA_TSTRING || lua_rawlen(L, -1) != request->size)
    wrong_step(L, p, lua_pushfstring(L, "%s has %d bytes", request->structure, (int)request->size));
  emit_kept(L, p, lua_tostring(L, -1), request->size);
}

/* Room for what is read; nobody looks at it. */
static void pack_room(lua_State *L, struct packing *p) {
  static const char none[4096];
  lua_Integer size;
  const char *wrong = integer_of(L, lua_gettop(L), 0, sizeof none, &size);
  if (wrong) wrong_step(L, p, wrong);
  emit_kept(L, p, none, (size_t)size);
  emit(p, (long)size);
}

static void pack_filter(lua_State *L, struct packing *p) {
  size_t size = lua_type(L, -1) == LUA_TSTRING ? lua_rawlen(L, -1) : 0;
  if (size == 0 || size % sizeof(struct sock_filter) != 0 || size / sizeof(struct sock_filter) > BPF_MAXINSNS)
    wrong_step(L, p, "expected a string of struct sock_filter, 1 to 4096 of them");
  struct sock_fprog filter = { .len = (unsigned short)(size / sizeof(struct sock_filter)) };
  filter.filter = keep(L, p, lua_tostring(L, -1), size);
  emit_kept(L, p, &filter, sizeof filter);
  note_pointer(L, p, p->packed ? &((struct sock_fprog *)p->op.arg[p->filled - 1])->filter : NULL);
}

/* The rights below a path, with the descriptor that stands for it, as a table; what else there is, as a string. */
static void pack_rule(lua_State *L, struct packing *p) {
  bool is_beneath = p->op.arg[1] == LANDLOCK_RULE_PATH_BENEATH, is_string = lua_type(L, -1) == LUA_TSTRING;
  if (!is_string && !lua_istable(L, -1)) wrong_step(L, p, "expected a string, or { allowed_access = …, parent_fd = … }");
  if (p->op.from[1] || is_beneath == is_string) wrong_step(L, p, "not the structure of this type of rule"); /* they differ in size */
  if (is_string) {
    pack_structure(L, p, LANDLOCK_NET_PORT_ATTR);
    return;
  }
  struct landlock_path_beneath_attr rule = { .parent_fd = -1 }, *kept;
  lua_Integer allowed = 0;
  raw_field(L, -1, "allowed_access");
  if (integer_of(L, lua_gettop(L), 0, INT64_MAX, &allowed)) wrong_step(L, p, "field allowed_access: expected an integer");
  rule.allowed_access = (uint64_t)allowed;
  kept = keep(L, p, &rule, sizeof rule);
  raw_field(L, -2, "parent_fd");
  pack_late_descriptor(L, p, kept ? (int *)((char *)kept + offsetof(struct landlock_path_beneath_attr, parent_fd)) : NULL);
  lua_pop(L, 2);
  p->kept_mask |= 1U << p->filled;
  emit(p, (long)kept);
}

/* The soft limit stands in for both until the hard one is known, in the next argument. */
static void pack_soft_limit(lua_State *L, struct packing *p) {
  struct rlimit limit = { 0 };
  if (!limit_of(L, lua_gettop(L), &limit.rlim_cur)) wrong_step(L, p, LIMIT_EXPECTED);
  emit_kept(L, p, &limit, sizeof limit);
}

static void pack_hard_limit(lua_State *L, struct packing *p) {
  struct rlimit *kept = (void *)p->op.arg[p->filled - 1];
  rlim_t hard;
  if (!limit_of(L, lua_gettop(L), &hard)) wrong_step(L, p, LIMIT_EXPECTED);
  if (kept) kept->rlim_max = hard;
}

/* What is sent stands in for the message until the descriptors are known, in the next argument. */
static void pack_bytes_to_send(lua_State *L, struct packing *p) {
  struct iovec bytes;
  if (lua_type(L, -1) != LUA_TSTRING || lua_rawlen(L, -1) == 0) wrong_step(L, p, "expected a string, not empty");
  bytes.iov_base = keep(L, p, lua_tolstring(L, -1, &bytes.iov_len), lua_rawlen(L, -1));
  emit_kept(L, p, &bytes, sizeof bytes);
  note_pointer(L, p, p->packed ? &((struct iovec *)p->op.arg[1])->iov_base : NULL);
}

static void pack_descriptors_to_send(lua_State *L, struct packing *p) {
  size_t count;
  const char *wrong = list_of(L, lua_gettop(L), &count);
  if (wrong || count != 1) wrong_step(L, p, "expected a list of one descriptor");
  struct { struct msghdr header; union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control; } message, *kept;
  memset(&message, 0, sizeof message);
  message.control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
  message.header.msg_iov = (struct iovec *)p->op.arg[1];
  message.header.msg_iovlen = 1;
  message.header.msg_controllen = sizeof message.control;
  kept = keep(L, p, &message, sizeof message);
  lua_rawgeti(L, -1, 1);
  pack_late_descriptor(L, p, kept ? (int *)CMSG_DATA(&kept->control.header) : NULL);
  lua_pop(L, 1);
  if (kept) kept->header.msg_control = &kept->control;
  note_pointer(L, p, kept ? &kept->header.msg_iov : NULL);
  note_pointer(L, p, kept ? &kept->header.msg_control : NULL);
  p->op.arg[1] = (long)kept;
}

static void pack_strings(lua_State *L, struct packing *p) {
  int top = lua_gettop(L);
  char **strings;
  size_t count;
  const char *wrong = strings_of(L, top, &strings, &count);
  if (wrong) wrong_step(L, p, wrong);
  for (size_t i = 0; i < count; i++) strings[i] = keep(L, p, strings[i], strlen(strings[i]) + 1);
  emit_kept(L, p, strings, (count + 1) * sizeof *strings);
  for (size_t i = 0; i < count; i++) note_pointer(L, p, p->packed ? (char **)p->op.arg[p->filled - 1] + i : NULL);
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
  if (where) *where = entry;
  raw_field(L, -2, "fd");
  pack_late_descriptor(L, p, where ? &where->fd : NULL);
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
  p->kept_mask |= 1U << p->filled;
  emit(p, (long)fds);
  emit(p, (long)count);
}

/* 0 or for ever: the kernel counts another time down where it is kept, and the next start would wait less. */
static void pack_time(lua_State *L, struct packing *p) {
  static const struct timespec none;
  lua_Integer milliseconds;
  const char *wrong = integer_of(L, lua_gettop(L), -1, 0, &milliseconds);
  if (wrong) wrong_step(L, p, wrong);
  if (milliseconds == -1) emit(p, 0);
  else emit_kept(L, p, &none, sizeof none);
}

void pack_argument(lua_State *L, struct packing *p, char kind) {
  bool is_nil = lua_isnil(L, -1);
  switch (kind) {
    case 'S': case 'D': if (is_nil) { emit(p, 0); break; }
      if (kind == 'D') pack_descriptor(L, p); else pack_string(L, p, false);
      break;
    case 's': pack_string(L, p, false); break;
    case 'n': pack_string(L, p, true); break;
    case 'b': pack_bytes(L, p); break;
    case 'H': pack_structure(L, p, sizeof(struct __user_cap_header_struct)); break;
    case 'C': pack_structure(L, p, _LINUX_CAPABILITY_U32S_3 * sizeof(struct __user_cap_data_struct)); break;
    case 'B': pack_ioctl(L, p); break;
    case 'A': pack_rule(L, p); break;
    case 'L': pack_soft_limit(L, p); break;
    case 'M': pack_hard_limit(L, p); break;
    case 'r': pack_room(L, p); break;
    case 'f': pack_filter(L, p); break;
    case 'w': pack_bytes_to_send(L, p); break;
    case 'c': pack_descriptors_to_send(L, p); break;
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
    case 't': pack_time(L, p); break;
  }
}
