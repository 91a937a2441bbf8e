// SPDX-License-Identifier: MIT

/*** The system calls of a container's life, one to one with their man pages.
A function has its man page's name and order of arguments; nil is NULL. Unless it says otherwise it returns true; where the call
fails, nil, a message such as `mount proc on /proc: Permission denied`, and errno. A wrong argument raises: a string with a NUL, an
integer that the C type cannot hold, a nil flag. Constants have their C names; one that the headers lack is nil.
What opens a descriptor opens it close-on-exec and returns an object with `:fileno()` and `:close()`, which closes itself at the
end of its scope. Where a parameter is a descriptor, such an object, an integer or a Lua file will do.
@module casulo.sys
*/
#include "lib.h"

__attribute__((visibility("default"))) int luaopen_casulo_sys(lua_State *L);

int luaopen_casulo_sys(lua_State *L) {
  luaL_checkversion(L);
  lua_createtable(L, 0, 480); /* room for all functions and constants at once */
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
  open_seccomp(L);
  open_landlock(L);
  open_resource(L);
  open_ioctl(L);
  open_socket(L);
  open_program(L);
  open_image(L);
  open_clone(L);
  open_constants(L);
  return 1;
}
