/* SPDX-License-Identifier: MIT
 * A program as Lua holds it: one userdata with the steps, their strings and room for the results. */
#ifndef CASULO_PROGRAM_H
#define CASULO_PROGRAM_H

#include <lua.h>

#include "walk.h"

/* The descriptor inside a struct pollfd, which is known only when the program starts. */
struct patch {
  int *fd;
  int value;
};

struct packed {
  struct program program;
  const char **name; /* of each step's call */
  int inputs, patches;
  bool busy; /* between binding and the child's last step: a `born` function may not start it again */
  struct patch *patch;
};

void program_bind(lua_State *L, int program_index, int values_index);

#endif
