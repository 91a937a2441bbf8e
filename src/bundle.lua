-- SPDX-License-Identifier: MIT
-- Compiles modules into an array of C: the command would else spend more time on finding and compiling them than on the
-- container. Usage: bundle.lua OUTPUT MODULE.lua…

local output <close> = assert(io.open(arg[1], "w"))
local entries = {}
output:write('#include "../src/command/modules.h"\n')
for i, path in ipairs { table.unpack(arg, 2) } do
  local name = path:match "^lua/(.*)%.lua$":gsub("/init$", ""):gsub("/", ".")
  local code = string.dump(assert(loadfile(path)), true)
  output:write(("static const char code%d[] = {%s};\n"):format(i, code:gsub(".", function(char) return char:byte() .. "," end)))
  entries[i] = ('  { "%s", code%d, sizeof code%d },\n'):format(name, i, i)
end
assert(output:write("const struct module modules[] = {\n", table.concat(entries), "  { NULL, NULL, 0 },\n};\n"))
