-- SPDX-License-Identifier: MIT
-- Compiles the modules that `casulo run` needs into one file: the command would else spend more time on compiling
-- them than on the container. Usage: bundle.lua OUTPUT

local MODULES = {
  "version", "cli", "foreground", "check", "description", "idmap", "container", "layout", "host", "plan", "process", "handle", "streams",
  "recipes.mounts", "recipes.detached", "recipes.life", "recipes.devices", "recipes.network", "recipes.names", "recipes.users", "calls",
  "command", "recipes.terminal", "failure", "hint", "explain", -- for a start that fails because no more files can be opened
}

-- Each as a string of its own, which costs next to nothing to read: what a run does not need is not unpacked.
local parts = {}
for i, name in ipairs(MODULES) do
  local chunk = assert(loadfile(("lua/casulo/%s.lua"):format((name:gsub("%.", "/")))))
  parts[i] = ("package.preload['casulo.%s'] = function(...) return load(%q, '=casulo.%s', 'b')(...) end\n"):format(
    name, string.dump(chunk, true), name)
end
local chunk = assert(load(table.concat(parts), "=casulo"))
local output <close> = assert(io.open(arg[1], "wb"))
assert(output:write(string.dump(chunk, true)))
