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
dependencies = { "lua ~> 5.4" }
build = {
  type = "builtin",
  modules = {
    ["casulo.sys"] = {
      sources = {
        "src/argument.c", "src/clone.c", "src/clone3.c", "src/constants.c", "src/descriptor.c", "src/file.c",
        "src/identity.c", "src/mount.c", "src/names.c", "src/network.c", "src/pack.c", "src/path.c", "src/process.c", "src/program.c",
        "src/result.c", "src/share.c", "src/signal.c", "src/sys.c", "src/wait.c", "src/walk.c",
      },
    },
    ["casulo"] = "lua/casulo/init.lua",
    ["casulo.cli"] = "lua/casulo/cli.lua",
    ["casulo.container"] = "lua/casulo/container.lua",
    ["casulo.description"] = "lua/casulo/description.lua",
    ["casulo.explain"] = "lua/casulo/explain.lua",
    ["casulo.failure"] = "lua/casulo/failure.lua",
    ["casulo.foreground"] = "lua/casulo/foreground.lua",
    ["casulo.hint"] = "lua/casulo/hint.lua",
    ["casulo.host"] = "lua/casulo/host.lua",
    ["casulo.layout"] = "lua/casulo/layout.lua",
    ["casulo.nearest"] = "lua/casulo/nearest.lua",
    ["casulo.plan"] = "lua/casulo/plan.lua",
    ["casulo.process"] = "lua/casulo/process.lua",
    ["casulo.recipes"] = "lua/casulo/recipes/init.lua",
    ["casulo.recipes.detached"] = "lua/casulo/recipes/detached.lua",
    ["casulo.recipes.devices"] = "lua/casulo/recipes/devices.lua",
    ["casulo.recipes.life"] = "lua/casulo/recipes/life.lua",
    ["casulo.recipes.mounts"] = "lua/casulo/recipes/mounts.lua",
    ["casulo.recipes.names"] = "lua/casulo/recipes/names.lua",
    ["casulo.recipes.network"] = "lua/casulo/recipes/network.lua",
    ["casulo.recipes.users"] = "lua/casulo/recipes/users.lua",
    ["casulo.recorder"] = "lua/casulo/recorder.lua",
    ["casulo.rootfs"] = "lua/casulo/rootfs.lua",
    ["casulo.streams"] = "lua/casulo/streams.lua",
    ["casulo.unshared"] = "lua/casulo/unshared.lua",
    ["casulo.version"] = "lua/casulo/version.lua",
  },
  install = { bin = { casulo = "bin/casulo" } },
}
