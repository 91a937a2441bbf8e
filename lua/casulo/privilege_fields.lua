-- SPDX-License-Identifier: MIT

--- Checks the fields of a description that say what its processes may do.
-- @module casulo.privilege_fields

local capabilities = require "casulo.capabilities"
local check = require "casulo.check"
local sys = require "casulo.sys"

local wrong = check.wrong

local function check_capability(value, path)
  check.string(value, path)
  local name = value:upper():gsub("^CAP_", "")
  if name ~= "ALL" and not capabilities.NUMBERS[name] then check.unknown(path, "capability", name, capabilities.NUMBERS) end
  return name
end

local CHANGES = { add = true, drop = true }

-- → the names: `exact`, or what is to be added and dropped
local function check_capabilities(value, path)
  if type(value) ~= "table" then wrong(path, "a list of names, or { add = {…}, drop = {…} }", value) end
  if value[1] ~= nil or next(value) == nil then return { exact = check.list(value, path, check_capability) } end
  check.table(value, path, CHANGES)
  local changes = {}
  for name in pairs(CHANGES) do changes[name] = check.list(value[name] or {}, ("%s.%s"):format(path, name), check_capability) end
  return changes
end

local function check_action(value, path)
  local actions = require "casulo.policy".ACTIONS
  check.string(value, path)
  if actions[value] then return actions[value] end
  if value:find "^E%u%w+$" and math.type(sys[value]) == "integer" then return 0x00050000 | sys[value] end
  if value:find "^E%u" then error(("%s: unknown errno %s"):format(path, check.shown(value)), 0) end
  check.unknown(path, "action", value, actions)
end

local function check_call(value, path)
  if math.type(value) == "integer" then return check.integer(value, path, 0, 0x3fffffff) end
  check.string(value, path)
  local known = {}
  for _, numbers in pairs(require "casulo.syscalls") do
    if numbers[value] then return value end
    for name in pairs(numbers) do known[name] = true end
  end
  local near = require "casulo.nearest"(value, known)
  error(("%s: unknown system call %s; %s"):format(path, check.shown(value),
    near and ("did you mean %s?"):format(near) or "a number stands for one that casulo does not know"), 0)
end

local function check_condition(value, path)
  local operators, fields = require "casulo.filter".OPERATORS, { index = true, op = true, value = true, mask = true }
  check.table(value, path, fields)
  local index = check.integer(value.index, path .. ".index", 0, 5)
  if not operators[value.op] then wrong(path .. ".op", '"==", "~=", "<", "<=", ">" or ">="', value.op) end
  if math.type(value.value) ~= "integer" then wrong(path .. ".value", "an integer", value.value) end
  if value.mask ~= nil and math.type(value.mask) ~= "integer" then wrong(path .. ".mask", "an integer", value.mask) end
  if value.mask and value.value & ~value.mask ~= 0 then error(path .. ".value: it has bits that the mask lacks, and never fits", 0) end
  return { index, value.op, value.value, value.mask }
end

local MOST_CONDITIONS = 36 -- of one rule: a conditional jump of the filter goes no farther

-- A call that a rule with this action can be about.
local function check_ruled(call, path, action)
  local policy = require "casulo.policy"
  if policy.ENDS[call] and not policy.RUNS[action] then
    error(("%s: %s cannot be refused: a process that may not end would run for ever"):format(path, call), 0)
  end
end

local function check_rule(value, path)
  if type(value) ~= "table" then wrong(path, "a table", value) end
  local calls, named = {}, {}
  for key, item in pairs(value) do
    if math.type(key) == "integer" then calls[key] = item else named[key] = item end
  end
  check.table(named, path, { action = true, args = true })
  local rule = { calls = check.list(calls, path, check_call), action = check_action(value.action, path .. ".action") }
  if not rule.calls[1] then error(path .. ": expected the names of system calls first", 0) end
  for i, call in ipairs(rule.calls) do check_ruled(call, ("%s[%d]"):format(path, i), rule.action) end
  rule.conditions = check.list(value.args or {}, path .. ".args", check_condition)
  if #rule.conditions > MOST_CONDITIONS then error(("%s.args: expected at most %d, got %d"):format(path, MOST_CONDITIONS, #rule.conditions), 0) end
  return rule
end

-- → false, or a list of rules with `default` and `compat`
local function check_seccomp(value, path)
  if value == false then return false end
  if type(value) ~= "table" then wrong(path, "false, or a list of rules", value) end
  local listed, named = {}, {}
  for key, item in pairs(value) do
    if math.type(key) == "integer" then listed[key] = item else named[key] = item end
  end
  check.table(named, path, { default = true, compat = true })
  local rules = check.list(listed, path, check_rule)
  if named.default ~= nil then rules.default = check_action(named.default, path .. ".default") end
  if named.compat ~= nil then rules.compat = check.boolean(named.compat, path .. ".compat") end
  return rules
end

local function check_path(value, path)
  local is_directory = type(value) == "string" and value:find "./$"
  local place = check.absolute(value, path)
  if place == "/" then error(path .. ": / is the root itself, over which nothing would be seen (see readonly)", 0) end
  return place .. (is_directory and "/" or "")
end

-- → the list, and whether it is enough to take what there is
local function check_paths(value, path)
  if type(value) ~= "table" then wrong(path, "a list of paths", value) end
  local listed, optional = {}, value.optional
  for key, item in pairs(value) do
    if key ~= "optional" then listed[key] = item end
  end
  local paths = check.list(listed, path, check_path)
  paths.optional = optional ~= nil and check.boolean(optional, path .. ".optional")
  return paths
end

return {
  capabilities = check_capabilities, no_new_privs = check.boolean, seccomp = check_seccomp, nesting = check.boolean,
  masked = check_paths, readonly_paths = check_paths,
}
