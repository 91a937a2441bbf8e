-- SPDX-License-Identifier: MIT
--- Runs filters of system calls as the kernel runs them.
local filter_support = {}

local COMPARE = {
  [0x15] = function(a, k) return a == k end, [0x25] = function(a, k) return a > k end, [0x35] = function(a, k) return a >= k end,
}

--- Reads struct sock_filter once.
function filter_support.program(text)
  local instructions = {}
  for at = 1, #text, 8 do instructions[#instructions + 1] = { string.unpack("=I2I1I1I4", text, at) } end
  return instructions
end

--- Classic BPF, as far as filters are made of it, on struct seccomp_data. An error where the kernel would not take it.
function filter_support.run(instructions, audit, number, arguments)
  local data = string.pack("=I4I4i8" .. ("i8"):rep(6), number, audit, 0, table.unpack(arguments or { 0, 0, 0, 0, 0, 0 }))
  local a, at = 0, 1
  while true do
    local operation, yes, no, value = table.unpack(instructions[at])
    at = at + 1
    if operation == 0x20 then a = string.unpack("=I4", data, value + 1)
    elseif operation == 0x54 then a = a & value
    elseif operation == 0x05 then at = at + value
    elseif operation == 0x06 then return value
    else at = at + (COMPARE[operation](a, value) and yes or no) end
  end
end

return filter_support
