-- SPDX-License-Identifier: MIT
-- Prints which lines the suite has not reached. Usage: table.lua FILE_OF_LINES MODULE… (C: what gcov -n -t says comes on standard input)
local reached = {}
local file <close> = assert(io.open(arg[1], "rb"))
for record in function() return file:read(576) end do
  local name, lines = record:match "^%Z+", {}
  for line = 1, 511 do lines[line] = record:byte(65 + line) == 1 end
  reached[name] = lines
end

-- What Lua has at the ends of blocks and functions, and does not come to or tell of where the rest of the line was reached.
local PASSED_OVER = { VARARGPREP = true, JMP = true, CLOSE = true }

local function ranges(lines)
  local parts, i = {}, 1
  while lines[i] do
    local first = i
    while lines[i + 1] and lines[i + 1] - lines[i] <= 1 do i = i + 1 end
    parts[#parts + 1] = first == i and tostring(lines[i]) or ("%d-%d"):format(lines[first], lines[i])
    i = i + 1
  end
  return table.concat(parts, " ")
end

local all, missed = 0, 0
local function row(name, count, lines)
  all, missed = all + count, missed + #lines
  print(("%-40s %5d %6.1f %%  %s"):format(name, count, 100 * (count - #lines) / math.max(count, 1), ranges(lines)))
end

print(("%-40s %5s %8s  %s"):format("file", "lines", "reached", "not reached"))
for i = 2, #arg do
  local executable, listing, before = {}, assert(io.popen(("luac5.4 -l -l -p %q"):format(arg[i]))), nil
  for line in listing:lines() do
    local number, name = line:match "^%s+%d+%s+%[(%d+)%]%s+(%S+)"
    local is_passed_over = PASSED_OVER[name] or name == "RETURN" and (before == "TAILCALL" or before == "RETURN")
    if number and not is_passed_over then executable[tonumber(number)] = true end
    before = name
  end
  listing:close()
  local count, lines, seen = 0, {}, reached[arg[i]]
  for number in pairs(executable) do
    count = count + 1
    if not seen[number] then lines[#lines + 1] = number end
  end
  table.sort(lines)
  row(arg[i], count, lines)
end

-- gcov's own listing: "    count:  line:text", ##### for a line that was not reached
local name, count, lines
local function finish()
  if name then row(name, count, lines) end
end
for text in io.lines() do
  local times, number, rest = text:match "^%s*(%S+):%s*(%d+):(.*)$"
  if number == "0" and rest:find "^Source:" then
    finish()
    name, count, lines = rest:match "^Source:(.*)$", 0, {}
  elseif number and times ~= "-" then
    count = count + 1
    if times:find("#####", 1, true) or times:find("=====", 1, true) then lines[#lines + 1] = tonumber(number) end
  end
end
finish()
print(("%-40s %5d %6.1f %%"):format("all", all, 100 * (all - missed) / all))
