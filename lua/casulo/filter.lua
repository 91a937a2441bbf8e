-- SPDX-License-Identifier: MIT

--- Compiles a policy on system calls into a filter for seccomp(2).
--
-- The filter runs at each system call, and when it is installed the kernel runs it once for each number to see which are
-- always allowed: what counts is the way to a verdict. So the numbers are cut into ranges of one verdict each, which are searched by
-- halves; and the kernel compiles each instruction, so the ranges share their verdicts.
--
-- A policy is `default`, the action for numbers that it does not name, and `machines`, a list of `{ audit, verdicts }`: what
-- AUDIT_ARCH_… says, and for a number an action, or a list of rules that ends in an action. A rule is `{ action, conditions }`; the
-- first whose conditions all hold counts. A condition is `{ index, operator, value, mask }`. `others`, by default `default`, is the action for
-- calls of other machines, which have other numbers, and for those of the x32 ABI.
-- @module casulo.filter

local filter = {}

-- Operations of classic BPF, and where in struct seccomp_data they find what they look at.
local LOAD, AND, JUMP, RETURN = 0x20, 0x54, 0x05, 0x06
local EQUAL, ABOVE, AT_LEAST = 0x15, 0x25, 0x35
local NUMBER, MACHINE, ARGUMENTS = 0, 4, 16
local LOW = 0xffffffff
local X32 = 0x40000000 -- from here on x86-64 numbers the calls of the x32 ABI; nowhere else are there as many

-- Code is written from its end to its beginning, for all jumps lead forward: where one leads is then known. A place is how many
-- instructions there were when that one had been written.
local FARTHEST = 255 -- a conditional jump; JUMP goes farther

local function write(code, operation, value, yes, no)
  code[#code + 1] = { operation, value, yes, no }
  return #code
end

-- A place that leads there, and still can be jumped to when two more instructions are written.
local function near(code, place)
  if #code + 2 - place <= FARTHEST then return place end
  return write(code, JUMP, #code - place, 0, 0)
end

local function branch(code, operation, value, yes, no)
  yes = near(code, yes)
  no = near(code, no)
  return write(code, operation, value, #code - yes, #code - no)
end

-- What each operator is made of: a comparison, and whether it must hold.
local OPERATORS = {
  ["=="] = { EQUAL, true }, ["~="] = { EQUAL, false }, [">"] = { ABOVE, true }, ["<="] = { ABOVE, false },
  [">="] = { AT_LEAST, true }, ["<"] = { AT_LEAST, false },
}
filter.OPERATORS = OPERATORS

local function load_half(code, offset, mask)
  if mask ~= LOW then write(code, AND, mask, 0, 0) end
  return write(code, LOAD, offset, 0, 0)
end

-- The instructions of a condition, and where it leads when it holds, and when it fails.
local function write_condition(code, condition, holds, fails)
  local index, operator, value, mask = table.unpack(condition)
  local comparison, wanted = table.unpack(OPERATORS[operator])
  local yes, no = wanted and holds or fails, wanted and fails or holds
  local high, low, offset = value >> 32, value & LOW, ARGUMENTS + 8 * index
  mask = mask or -1
  branch(code, comparison, low, yes, no)
  local place = load_half(code, offset, mask & LOW)
  if mask >> 32 == 0 and high == 0 then return place end -- the upper half is 0 on both sides
  place = branch(code, EQUAL, high, place, no)
  if comparison ~= EQUAL then branch(code, ABOVE, high, yes, place) end
  return load_half(code, offset + 4, mask >> 32)
end

-- Where a verdict is reached. `places` has those that have been written; a return is written again rather than jumped to by two jumps.
local function verdict_place(code, places, verdict)
  local known = places[verdict]
  if known and #code + 2 - known <= FARTHEST then return known end
  if math.type(verdict) == "integer" then
    places[verdict] = write(code, RETURN, verdict, 0, 0)
  elseif not known then
    local place = verdict_place(code, places, verdict[#verdict])
    for i = #verdict - 1, 1, -1 do
      local action, conditions = table.unpack(verdict[i])
      local otherwise = place
      place = verdict_place(code, places, action)
      for k = #conditions, 1, -1 do place = write_condition(code, conditions[k], place, otherwise) end
    end
    places[verdict] = place
  end
  return places[verdict]
end

-- Where another verdict begins: `{ { first number, verdict }, … }`
local function ranges_of(verdicts, default, others)
  local numbers, ranges = {}, { { 0, default } }
  for number in pairs(verdicts) do numbers[#numbers + 1] = number end
  table.sort(numbers)
  local function begin(number, verdict)
    local last = ranges[#ranges]
    if last[2] == verdict then return end
    if last[1] == number then ranges[#ranges] = nil end
    if #ranges == 0 or ranges[#ranges][2] ~= verdict then ranges[#ranges + 1] = { number, verdict } end
  end
  for i, number in ipairs(numbers) do
    begin(number, verdicts[number])
    if numbers[i + 1] ~= number + 1 then begin(number + 1, default) end
  end
  begin(X32, others)
  return ranges
end

local function write_search(code, places, ranges, first, last)
  if first == last then return verdict_place(code, places, ranges[first][2]) end
  local middle = (first + last + 1) // 2
  local above = write_search(code, places, ranges, middle, last)
  local below = write_search(code, places, ranges, first, middle - 1)
  return branch(code, AT_LEAST, ranges[middle][1], above, below)
end

-- struct sock_filter
local function text_of(code)
  local parts = {}
  for i = #code, 1, -1 do parts[#parts + 1] = string.pack("=I2I1I1I4", code[i][1], code[i][3], code[i][4], code[i][2]) end
  return table.concat(parts)
end

--- Compiles a policy.
-- @tparam table policy see above
-- @treturn string of struct sock_filter
-- @see seccomp(2)
function filter.compile(policy)
  local others = policy.others or policy.default
  local code, places = {}, {}
  local place = verdict_place(code, places, others)
  for i = #policy.machines, 1, -1 do
    local machine = policy.machines[i]
    local ranges, other = ranges_of(machine.verdicts, policy.default, others), place
    local search = write_search(code, places, ranges, 1, #ranges)
    if search ~= #code then write(code, JUMP, #code - search, 0, 0) end
    place = branch(code, EQUAL, machine.audit, write(code, LOAD, NUMBER, 0, 0), other)
  end
  write(code, LOAD, MACHINE, 0, 0)
  return text_of(code)
end

return filter
