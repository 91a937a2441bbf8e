-- SPDX-License-Identifier: MIT

--- Compiles a policy on system calls into a filter for seccomp(2).
--
-- The filter runs at each system call, and when it is installed the kernel runs it once for each number to see which are
-- always allowed: what counts is the way to a verdict. So the numbers are cut into ranges of one verdict each, which are
-- searched by halves.
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

-- A piece of a filter is a list of { operation, value, yes, no }, where yes and no are how many instructions are jumped over. It
-- ends in a verdict, whichever way it takes.
local function append(piece, other) return table.move(other, 1, #other, #piece + 1, piece) end

local function branch(operation, value, yes, no)
  local piece = { { operation, value, 0, #yes } }
  if #yes > 255 then piece = { { operation, value, 1, 0 }, { JUMP, #yes, 0, 0 } } end -- a conditional jump is no farther
  return append(append(piece, yes), no)
end

-- What each operator is made of: a comparison, and whether it must hold.
local OPERATORS = {
  ["=="] = { EQUAL, true }, ["~="] = { EQUAL, false }, [">"] = { ABOVE, true }, ["<="] = { ABOVE, false },
  [">="] = { AT_LEAST, true }, ["<"] = { AT_LEAST, false },
}
filter.OPERATORS = OPERATORS

local function load_half(instructions, offset, mask)
  instructions[#instructions + 1] = { LOAD, offset }
  if mask ~= LOW then instructions[#instructions + 1] = { AND, mask } end
end

-- The instructions of one condition. Jumps go to "holds", "fails" or the next instruction (0).
local function condition_code(condition)
  local index, operator, value, mask = table.unpack(condition)
  local comparison, wanted = table.unpack(OPERATORS[operator])
  local yes, no = wanted and "holds" or "fails", wanted and "fails" or "holds"
  local high, low, offset, instructions = value >> 32, value & LOW, ARGUMENTS + 8 * index, {}
  mask = mask or -1
  if mask >> 32 ~= 0 or high ~= 0 then -- without it the upper half is 0 on both sides
    load_half(instructions, offset + 4, mask >> 32)
    if comparison ~= EQUAL then instructions[#instructions + 1] = { ABOVE, high, yes, 0 } end
    instructions[#instructions + 1] = { EQUAL, high, 0, no }
  end
  load_half(instructions, offset, mask & LOW)
  instructions[#instructions + 1] = { comparison, low, yes, no }
  return instructions
end

-- The conditions of a rule and its verdict, then what is tried when one does not hold.
local function rule_piece(rule, otherwise)
  local instructions, ends = {}, {}
  for _, condition in ipairs(rule[2]) do
    append(instructions, condition_code(condition))
    ends[#ends + 1] = #instructions
  end
  local piece, current = {}, 1
  for i, each in ipairs(instructions) do
    if i > ends[current] then current = current + 1 end
    local distance = { holds = ends[current] - i, fails = #instructions + 1 - i, [0] = 0 }
    piece[i] = { each[1], each[2], distance[each[3]] or 0, distance[each[4]] or 0 }
  end
  piece[#piece + 1] = { RETURN, rule[1] }
  return append(piece, otherwise)
end

local function verdict_piece(verdict)
  if math.type(verdict) == "integer" then return { { RETURN, verdict } } end
  local piece = { { RETURN, verdict[#verdict] } }
  for i = #verdict - 1, 1, -1 do piece = rule_piece(verdict[i], piece) end
  return piece
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

local function search_piece(ranges, first, last)
  if first == last then return verdict_piece(ranges[first][2]) end
  local middle = (first + last + 1) // 2
  return branch(AT_LEAST, ranges[middle][1], search_piece(ranges, middle, last), search_piece(ranges, first, middle - 1))
end

-- struct sock_filter
local function text_of(piece)
  local parts = {}
  for i, each in ipairs(piece) do parts[i] = string.pack("=I2I1I1I4", each[1], each[3] or 0, each[4] or 0, each[2]) end
  return table.concat(parts)
end

--- Compiles a policy.
-- @tparam table policy see above
-- @treturn string of struct sock_filter
-- @see seccomp(2)
function filter.compile(policy)
  local others = policy.others or policy.default
  local piece = verdict_piece(others)
  for i = #policy.machines, 1, -1 do
    local machine = policy.machines[i]
    local ranges = ranges_of(machine.verdicts, policy.default, others)
    piece = branch(EQUAL, machine.audit, append({ { LOAD, NUMBER } }, search_piece(ranges, 1, #ranges)), piece)
  end
  return text_of(append({ { LOAD, MACHINE } }, piece))
end

return filter
