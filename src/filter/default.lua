-- SPDX-License-Identifier: MIT

--- Prints lua/casulo/default_filter.lua: the filter of containers that ask for nothing, for compiling it takes as long as starting
-- one of them.

local policy = require "casulo.policy"
local sys = require "casulo.sys"

local WIDTH = 32 -- bytes of the filter in a line

local function literal(bytes)
  local lines = {}
  for first = 1, #bytes, WIDTH do
    lines[#lines + 1] = "  " .. bytes:sub(first, first + WIDTH - 1):gsub(".", function(char) return ("\\x%02x"):format(char:byte()) end) .. "\\z"
  end
  return table.concat(lines, "\n")
end

io.write [[
-- SPDX-License-Identifier: MIT

--- The filter of system calls for containers that ask for nothing, by AUDIT_ARCH_… of the machine. Made by src/filter/default.lua.
-- @module casulo.default_filter

return {
]]
for _, audit in ipairs { sys.AUDIT_ARCH_X86_64, sys.AUDIT_ARCH_AARCH64 } do
  io.write(('  [0x%x] = "\\z\n%s\n  ",\n'):format(audit, literal(policy.filter(audit, {}, {}))))
end
io.write "}\n"
