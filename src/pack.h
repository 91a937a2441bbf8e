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
  int step, count, inputs, patches, patches_room;
  const struct call *call;
  int argument;
  struct op op;
  int filled; /* kernel arguments of `op` */
};

/* The step is the table at a stack index; the op is left in p->op, its call in p->call. */
void pack_step(lua_State *L, struct packing *p, int step);

#endif
