-- SPDX-License-Identifier: MIT

--- Ways to make casulo's filter of system calls weaker, one verdict at a time. Only the filter of a container that asks for nothing is changed.

local filter_changes = {}

local ALLOW = 0x7fff0000

local upvalue = require "mutate.mutation".upvalue

-- policy.lua's verdict on each call, by name and by number; the numbers of all calls.
local function own_verdicts(machine)
  local machine_of = upvalue(require "casulo.policy".filter, "machine_of")
  local numbers, by_number = require "casulo.syscalls"[machine], {}
  local by_name = upvalue(machine_of, "own_verdicts")(numbers, {})
  for name, verdict in pairs(by_name) do by_number[numbers[name] or -1] = verdict end
  by_number[-1] = nil
  return by_name, by_number, numbers
end

local function compiled(sys, verdicts, default)
  local policy = { default = default or 0x00050000 | sys.ENOSYS, machines = { { audit = sys.AUDIT_ARCH_NATIVE, verdicts = verdicts } } }
  return require "casulo.filter".compile(policy)
end

local function copy_with(verdicts, number, verdict)
  local copy = {}
  for key, value in pairs(verdicts) do copy[key] = value end
  copy[number] = verdict
  return copy
end

-- Rules without one of them; what is refused at their end is allowed.
local function without_rule(rules, index)
  local copy = {}
  for i, rule in ipairs(rules) do
    if i ~= index then copy[#copy + 1] = rule
    elseif math.type(rule) == "integer" then copy[#copy + 1] = ALLOW end
  end
  return copy
end

local function is_refusal(rule) return (math.type(rule) == "integer" and rule or rule[1]) ~= ALLOW end

local cached
local function changes(sys)
  if cached then return cached end
  local machine = sys.AUDIT_ARCH_NATIVE == sys.AUDIT_ARCH_X86_64 and "x86_64" or "aarch64"
  local by_name, by_number, numbers = own_verdicts(machine)
  local list, names = {}, {}
  for name in pairs(by_name) do names[#names + 1] = name end
  table.sort(names)
  local function add(name, verdict, text)
    list[#list + 1] = { text, function() return compiled(sys, copy_with(by_number, numbers[name], verdict)) end }
  end
  for _, name in ipairs(names) do
    local verdict = numbers[name] and by_name[name] or ALLOW
    if verdict == by_name[name] and math.type(verdict) == "integer" and verdict ~= ALLOW then add(name, ALLOW, "that allows " .. name) end
    for i, rule in ipairs(type(verdict) == "table" and verdict or {}) do
      if is_refusal(rule) then add(name, without_rule(verdict, i), ("that allows %s, by rule %d"):format(name, i)) end
    end
  end
  list[#list + 1] = { "that allows calls that it does not know", function() return compiled(sys, by_number, ALLOW) end }
  cached = list
  return list
end

-- Made once: tests watch what is done while a plan is made.
local filters = {}

--- Calls a function with each.
-- @tparam table step of seccomp
-- @tparam function with_argument makes a step with another argument
-- @tparam function body of its name and a function that makes the changed step
function filter_changes.each(step, with_argument, body)
  local sys = require "casulo.sys"
  if step[4] ~= require "casulo.default_filter"[sys.AUDIT_ARCH_NATIVE] then return end
  for _, each in ipairs(changes(sys)) do
    body(each[1], function()
      filters[each] = filters[each] or each[2]()
      return with_argument(step, 3, filters[each])
    end)
  end
end

return filter_changes
