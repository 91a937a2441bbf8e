/* SPDX-License-Identifier: MIT
 * Packing one step into the op that the loop walks. */
#ifndef CASULO_PACK_H
#define CASULO_PACK_H

#include <lua.h>
#include <stddef.h>

#include "program.h"

struct call {
  const char *name;
  long nr;
  const char *arguments;
};

/* Packing goes through the steps twice: first to measure, with `packed` NULL, then to fill. */
struct packing {
  struct packed *packed;
  char *bytes; /* where strings and structures are kept */
  size_t used, room; /* of the bytes; the second pass has the room that the first used */
  int names;   /* stack index: name of a value → its index, from 1 */
  int step, count, inputs, pointers, pointers_room;
  const struct call *call;
  int argument;
  struct op op;
  int filled;          /* kernel arguments of `op` */
  unsigned kept_mask;  /* those of them that point to kept bytes, by bit */
};

/* The packing of one argument, on top of the stack. */
void pack_argument(lua_State *L, struct packing *p, char kind);

/* What both halves of packing need. */
int wrong_step(lua_State *L, const struct packing *p, const char *what);
_Noreturn void changed(lua_State *L); /* what no longer fits the second time is refused */
int raw_field(lua_State *L, int index, const char *name); /* raw: what a metamethod gives could differ the second time */
void emit(struct packing *p, long value);
void emit_kept(lua_State *L, struct packing *p, const void *bytes, size_t size);
void note_pointer(lua_State *L, struct packing *p, const void *where);

/* The step is the table at a stack index; the op is left in p->op, its call in p->call. */
void pack_step(lua_State *L, struct packing *p, int step);

/* Puts the op where the loop will find it. */
void keep_op(lua_State *L, struct packing *p);

#endif
