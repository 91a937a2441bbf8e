// SPDX-License-Identifier: MIT
/* casulo.sys: the system calls of a container's life, one to one with their man pages. */
#include "lib.h"

__attribute__((visibility("default"))) int luaopen_casulo_sys(lua_State *L);

int luaopen_casulo_sys(lua_State *L) {
  luaL_checkversion(L);
  lua_createtable(L, 0, 420); /* room for all functions and constants at once */
  open_result(L);
  open_descriptor(L);
  open_file(L);
  open_path(L);
  open_mount(L);
  open_process(L);
  open_wait(L);
  open_signal(L);
  open_identity(L);
  open_names(L);
  open_network(L);
  open_program(L);
  open_clone(L);
  open_constants(L);
  return 1;
}
