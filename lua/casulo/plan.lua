-- SPDX-License-Identifier: MIT

--- Plans: ordered lists of steps, as plain data.
--
-- A step is one system call, its arguments and one sentence why:
--
--     { "mount", nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE, why = "mounts made here stay here" }
--
-- An argument is an integer, a string, nil (NULL), a list, or `ref "name"`: the result of the
-- earlier step with `as = "name"`. C structures are strings made with `string.pack`.
-- Further fields: `tolerate`, the errnos that are no failure; `expect`, the only result that is none;
-- `undo`, the step that takes it back when a later one fails; `alike`, whether it is told in one line with the one before;
-- `phase`, one of
--
-- * `before`: by the caller, before the clone
-- * `born`: by the caller, while the child waits in its new namespaces
-- * `child`: by the child (the default)
-- * `init`: by casulo-init, which the child has executed
-- * `command`: by the child of casulo-init, or by itself, until it becomes the command
-- * `after`: by the caller, when the child has executed
--
-- A step of phase `born` may also be `{ "spawn", argv }`: a program that is run to its end. Any step may be a Lua function, which
-- is called with the values of the earlier steps.
-- @module casulo.plan

local plan = {}
local Plan = {}
Plan.__index = Plan

local FIELDS = { as = "string", why = "string", tolerate = "table", expect = "integer", undo = "table", phase = "string", alike = "boolean" }
local PHASES = { before = true, born = true, child = true, init = true, command = true, after = true }

--- The result of an earlier step, or a value that is known only when the plan runs.
-- @tparam string name what the step says in `as`
-- @treturn table an argument for a step
function plan.ref(name)
  if type(name) ~= "string" then error("ref: expected a name", 2) end
  return { ref = name }
end

--- How many arguments a step has; nil is one too.
-- @tparam table step
-- @treturn integer
function plan.arity(step)
  local last = 1
  for key in pairs(step) do
    if math.type(key) == "integer" and key > last then last = key end
  end
  return last - 1
end

local function check_step(step, position)
  local function wrong(what) error(("plan: step %d (%s): %s"):format(position, step[1], what), 0) end
  for key, value in pairs(step) do
    local expected = FIELDS[key]
    if not expected and math.type(key) ~= "integer" then wrong("unknown field " .. require "casulo.check".word(key)) end
    if expected and (math.type(value) or type(value)) ~= expected then wrong(("%s: expected a value of type %s"):format(key, expected)) end
  end
  if step.phase and not PHASES[step.phase] then wrong("unknown phase " .. require "casulo.check".word(step.phase)) end
  if step.undo and type(step.undo[1]) ~= "string" then wrong "undo: expected a step" end
end

local DEEPEST = 50

local function append(steps, item, depth)
  if type(item) == "function" or (type(item) == "table" and type(item[1]) == "string") then
    steps[#steps + 1] = item
    if type(item) == "table" then check_step(item, #steps) end
  elseif getmetatable(item) == Plan then
    table.move(item.steps, 1, #item.steps, #steps + 1, steps)
  elseif type(item) == "table" then
    if depth > DEEPEST then error(("plan: item %d: lists in lists, more than %d deep"):format(#steps + 1, DEEPEST), 0) end
    local last = 0
    for key in pairs(item) do
      if math.type(key) ~= "integer" then
        error(("plan: item %d: expected a list of steps, got the field %s"):format(#steps + 1, require "casulo.check".word(key)), 0)
      end
      last = math.max(last, key)
    end
    for i = 1, last do append(steps, item[i], depth + 1) end -- a nil among them is no step, and no end
  else
    error(("plan: item %d: expected a step, a list of steps or a function, got %s"):format(#steps + 1, type(item)), 0)
  end
end

--- Makes a plan. Lists in the list, as the recipes return them, are laid out flat.
-- @tparam table list steps, lists of steps, plans and functions
-- @treturn plan
function plan.new(list)
  if type(list) ~= "table" then error("plan: expected a list of steps", 2) end
  local steps = {}
  append(steps, list, 1)
  return setmetatable({ steps = steps }, Plan)
end

local function flatten(steps, list)
  for i = 1, #list do
    local item = list[i]
    if item.why then steps[#steps + 1] = item else flatten(steps, item.steps or item) end
  end
end

--- Makes a plan of what casulo's own recipes return. It is not checked: a start has no time for that.
-- @tparam table list steps, each with its `why`, lists of steps without holes, and plans
-- @treturn plan
function plan.of_recipes(list)
  local steps = {}
  flatten(steps, list)
  return setmetatable({ steps = steps }, Plan)
end

local function by_phase(steps)
  local phases = {}
  for phase in pairs(PHASES) do phases[phase] = {} end
  for i = 1, #steps do
    local list = phases[type(steps[i]) == "table" and steps[i].phase or "child"]
    list[#list + 1] = steps[i]
  end
  return phases
end

--- The steps of one phase, in order.
-- @tparam string phase
-- @treturn table
function Plan:phase(phase)
  self.phases = self.phases or by_phase(self.steps)
  return table.move(self.phases[phase], 1, #self.phases[phase], 1, {})
end

--- Whether the child's steps need Lua, and so a copy of the caller's memory: one is a function, or says how to undo it.
-- @treturn boolean
function Plan:needs_copy()
  for _, step in ipairs(self:phase "child") do
    if type(step) == "function" or step.undo then return true end
  end
  return false
end

local function resolve(argument, values)
  if type(argument) ~= "table" then return argument end
  if argument.ref then
    local value = values[argument.ref]
    if value == nil then error(("no value for ref %q"):format(argument.ref), 0) end
    return value
  end
  local copy = {}
  for key, value in pairs(argument) do copy[key] = resolve(value, values) end
  return copy
end

local function tolerates(step, errno)
  for _, tolerated in ipairs(step.tolerate or {}) do
    if tolerated == errno then return true end
  end
  return false
end

-- → the function that makes the call, and its arguments
local function prepared(step, sys, values)
  local count, arguments = plan.arity(step), {}
  for i = 1, count do arguments[i] = resolve(step[i + 1], values) end
  local perform = type(sys[step[1]]) == "function" and sys[step[1]] or error("casulo.sys has no such call", 0)
  return perform, table.unpack(arguments, 1, count)
end

-- Called by pcall itself, a function of C puts no place of this file in front of what it raises.
local function perform_call(is_well, ...)
  if is_well then return pcall(...) end
  return false, ...
end

-- A wrong argument is the plan's mistake, but nothing done before it may be left behind: so it is a failure like others. Lua finds
-- no name, or a longer one, for a function that pcall calls.
local function outcome_of(name, is_well, result, message, errno)
  if is_well then return result, message, errno end
  return nil, (tostring(result):gsub("^(bad argument #%d+ to )'[^']*'", ("%%1'%s'"):format(name))), 0
end

-- A step for an error to tell of: with the texts that its refs stand for, which say more than their names.
local function with_texts(step, values)
  local told, has_texts = {}, false
  for key, value in pairs(step) do
    local text = type(value) == "table" and value.ref and values[value.ref]
    told[key] = type(text) == "string" and text or value
    has_texts = has_texts or told[key] ~= value
  end
  return has_texts and told or step
end

local function call(step, sys, values)
  local result, message, errno = outcome_of(step[1], perform_call(pcall(prepared, step, sys, values)))
  if result == nil then
    if tolerates(step, errno) then return true end
    return nil, { step = with_texts(step, values), message = message, errno = errno }
  end
  if step.expect and (result == true and 0 or result) ~= step.expect then
    return nil, { step = step, message = ("%s: returned %s"):format(step[1], tostring(result)), errno = 0 }
  end
  if step.as then values[step.as] = result end
  return true
end

local function perform(step, sys, values)
  if type(step) == "table" then return call(step, sys, values) end
  local returned
  local ok, message = xpcall(function() returned = step(values) end, function(message)
    local told, text = pcall(tostring, message)
    return told and text or "an error that cannot be told"
  end)
  if ok and type(returned) == "table" then
    ok, message = false, "the function returned a table: are these steps, and was it meant to be called in the plan?"
  end
  if ok then return true end
  return nil, { step = step, message = message }
end

--- Runs steps one after another in this process. When one fails, those before it are undone, last first.
-- @tparam table steps as `phase` returns them
-- @param sys what makes the calls: `casulo.sys`, or a recorder
-- @tparam table values results by name; grows
-- @return true, or nil and `{ step, message, errno }`
function plan.run(steps, sys, values)
  for position, step in ipairs(steps) do
    local ok, failure = perform(step, sys, values)
    if not ok then
      plan.undo(steps, position - 1, sys, values)
      return nil, failure
    end
  end
  return true
end

--- Undoes the first `count` steps, last first, as far as they say how.
-- @tparam table steps
-- @tparam integer count
-- @param sys
-- @tparam table values
function plan.undo(steps, count, sys, values)
  for position = count, 1, -1 do
    local undo = type(steps[position]) == "table" and steps[position].undo
    if undo then call(undo, sys, values) end
  end
end

--- The plan in words: one call a line in C's own form, with its reason. Runs nothing.
-- @tparam[opt] string clone how the line of the clone reads; the child's steps are indented below it
-- @tparam[opt] string why its reason
-- @treturn string
function Plan:explain(clone, why)
  return require "casulo.explain".plan(self, clone, why)
end

return plan
