/* SPDX-License-Identifier: MIT
 * A program as Lua holds it: one userdata with the steps, their strings and room for the results. */
#ifndef CASULO_PROGRAM_H
#define CASULO_PROGRAM_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

#include "walk.h"

struct packed {
  struct program program;
  const char **name; /* of each step's call */
  int inputs, pointers;
  unsigned named;  /* one above the highest descriptor that the steps name */
  unsigned needed; /* or that they or the inputs do */
  bool busy; /* between binding and the child's last step: a `born` function may not start it again */
  uint32_t *pointer; /* where a pointer into the steps' own memory stands, in bytes from the first op */
  size_t size;       /* of the ops, the values and the bytes, which lie in this order */
};

void program_bind(lua_State *L, int program_index, int values_index);

#endif
