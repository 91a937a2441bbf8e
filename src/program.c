// SPDX-License-Identifier: MIT
/* Programs: packed steps in one userdata, and the values that they are given when they start. */
#include "program.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "lib.h"
#include "pack.h"

static bool changes_ids(const struct op *op) {
  return op->nr == SYS_setresuid || op->nr == SYS_setresgid || op->nr == SYS_unshare || op->nr == SYS_setns ||
         (op->nr == SYS_prctl && op->arg[0] == PR_SET_DUMPABLE);
}

static void pack_steps(lua_State *L, struct packing *p) {
  p->used = 0;
  p->pointers = 0;
  for (p->step = 1; p->step <= p->count; p->step++) {
    lua_rawgeti(L, 1, p->step);
    pack_step(L, p, lua_gettop(L));
    lua_pop(L, 1);
    keep_op(L, p);
    if (!p->packed) continue;
    if (changes_ids(&p->op)) p->packed->program.changes_ids = true;
    p->packed->name[p->step - 1] = p->call->name;
  }
}

static size_t aligned(size_t size) { return (size + 15) & ~(size_t)15; }

/* One block: the struct, the names, where pointers stand; then the ops, the values, the bytes. */
static struct packed *new_packed(lua_State *L, const struct packing *p) {
  size_t count = (size_t)p->count, values = count + (size_t)p->inputs;
  struct packed *packed;
  size_t own = aligned(sizeof *packed + count * sizeof *packed->name + (size_t)p->pointers * sizeof *packed->pointer);
  size_t fixed = aligned(count * sizeof *packed->program.op + values * sizeof *packed->program.value);
  packed = lua_newuserdatauv(L, own + fixed + p->used, 2);
  memset(packed, 0, own + fixed + p->used);
  *packed = (struct packed){ .program.count = p->count, .inputs = p->inputs, .pointers = p->pointers, .size = fixed + p->used };
  packed->name = (void *)(packed + 1);
  packed->pointer = (void *)(packed->name + count);
  packed->program.op = (void *)((char *)packed + own);
  packed->program.value = (void *)(packed->program.op + count);
  return packed;
}

/*** Packs steps into a program for `clone`. What does not fit its call raises, naming the step and the argument.
@function program
@tparam table steps list of `{ call, argument…, as = name, tolerate = { errno… }, expect = result }`. An argument is an integer, a
string, nil, a list, or `{ ref = name }`: the result of the earlier step of that name or, where there is none, an input that
`clone` must be given
@treturn program
*/
static int sys_program(lua_State *L) {
  arg_count(L, 1);
  size_t count;
  const char *wrong = list_of(L, 1, &count);
  if (wrong) luaL_argerror(L, 1, wrong);
  luaL_argcheck(L, count > 0 && count < SHRT_MAX / 2, 1, "no steps, or too many");
  lua_newtable(L);
  struct packing p = { .names = lua_gettop(L), .count = (int)count };
  pack_steps(L, &p);
  luaL_argcheck(L, p.inputs < SHRT_MAX / 2, 1, "too many inputs");
  p.packed = new_packed(L, &p);
  p.room = p.used;
  p.pointers_room = p.pointers;
  p.bytes = (char *)p.packed->program.op + (p.packed->size - p.used);
  pack_steps(L, &p);
  lua_pushvalue(L, p.names);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 2); /* keeps descriptors open whose numbers were packed */
  luaL_setmetatable(L, PROGRAM);
  return 1;
}

/* Gives the inputs their values, from the table at an index (0: there is none). Runs no code of the caller's. */
void program_bind(lua_State *L, int program_index, int values_index) {
  struct packed *packed = lua_touserdata(L, program_index);
  if (packed->busy) luaL_error(L, "clone: this program is being started already");
  memset(&packed->program.record, 0, sizeof packed->program.record);
  memset(packed->program.value, 0, (size_t)packed->program.count * sizeof *packed->program.value);
  packed->needed = packed->named > 3 ? packed->named : 3; /* the standard streams */
  if (packed->inputs == 0) return;
  lua_getiuservalue(L, program_index, 1);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    int value = (int)lua_tointeger(L, -1), fd = -1;
    if (value <= packed->program.count) continue;
    const char *name = lua_tostring(L, -2);
    lua_pushvalue(L, -2);
    if (!values_index || (lua_rawget(L, values_index), !fd_of(L, -1, &fd))) luaL_error(L, "clone: no value for ref \"%s\"", name);
    packed->program.value[value - 1] = fd;
    if (fd >= 0 && (unsigned)fd >= packed->needed) packed->needed = (unsigned)fd + 1;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/*** What the steps of the last run returned, as far as it came; a failure is minus its errno.
@function program:results
@treturn {integer,...}
*/
static int program_results(lua_State *L) {
  const struct packed *packed = luaL_checkudata(L, 1, PROGRAM);
  lua_createtable(L, packed->program.record.at, 0);
  for (int i = 0; i < packed->program.record.at; i++) {
    lua_pushinteger(L, packed->program.value[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static const luaL_Reg functions[] = { { "program", sys_program }, { NULL, NULL } };
static const luaL_Reg methods[] = { { "results", program_results }, { NULL, NULL } };

void open_program(lua_State *L) {
  luaL_newmetatable(L, PROGRAM);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
