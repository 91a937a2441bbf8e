-- SPDX-License-Identifier: MIT
-- Writes the seeds of a file, a line each in hexadecimal digits, into a directory. Usage: seeds.lua FILE DIRECTORY
local number = 0
for line in io.lines(arg[1]) do
  number = number + 1
  local file = assert(io.open(("%s/seed-%d"):format(arg[2], number), "wb"))
  assert(file:write((line:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))))
  file:close()
end
