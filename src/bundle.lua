-- SPDX-License-Identifier: MIT
-- Compiles the modules that `casulo run` needs into one file: the command would else spend more time on compiling
-- them than on the container. Usage: bundle.lua OUTPUT

local MODULES = {
  "cli", "foreground", "description", "container", "layout", "host", "plan", "process", "streams", "recipes.mounts",
  "recipes.detached", "recipes.life", "recipes.devices", "recipes.network", "recipes.names", "recipes.users",
  "failure", "hint", "explain", -- for a start that fails because no more files can be opened
}

local parts = {}
for i, name in ipairs(MODULES) do
  local file <close> = assert(io.open(("lua/casulo/%s.lua"):format((name:gsub("%.", "/")))))
  parts[i] = ("package.preload['casulo.%s'] = function(...) %s\nend\n"):format(name, file:read "a")
end
local chunk = assert(load(table.concat(parts), "=casulo"))
local output <close> = assert(io.open(arg[1], "wb"))
assert(output:write(string.dump(chunk, true)))
