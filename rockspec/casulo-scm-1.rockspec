rockspec_format = "3.0"
package = "casulo"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Linux containers described in Lua",
  detailed = [[A C module wraps the system calls of containers one to one; pure Lua composes them into recipes that build
a root file system and run a process as PID 1. Every step can be shown with its reason before it runs.]],
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4", "dkjson >= 2.5" }
build = {
  type = "make",
  build_variables = { CFLAGS = "$(CFLAGS)", LUA = "$(LUA)", LUA_CFLAGS = "-I$(LUA_INCDIR)" },
  install_variables = { INSTALLED_LUA = "$(LUADIR)", INSTALLED_LIB = "$(LIBDIR)", INSTALLED_BIN = "$(BINDIR)" },
}
