-- SPDX-License-Identifier: MIT

--- The field `rlimits` of a description: its check, and which of the limits are above the caller's own.
-- @module casulo.rlimit_fields

local check = require "casulo.check"
local rlimits = require "casulo.recipes.rlimits"
local sys = require "casulo.sys"

local NONE = sys.RLIM_INFINITY

local rlimit_fields = {}

local function check_limit(value, path)
  if value == "unlimited" then return NONE end
  if math.type(value) ~= "integer" or value < 0 then check.wrong(path, 'an integer from 0 on, or "unlimited"', value) end
  return value
end

local LIMIT_FIELDS = { soft = true, hard = true }

local function exceeds(limit, other) return other ~= NONE and (limit == NONE or limit > other) end

local function check_limits(value, path)
  if type(value) ~= "table" then
    local both = check_limit(value, path)
    return { soft = both, hard = both }
  end
  check.table(value, path, LIMIT_FIELDS)
  local limit = { soft = check_limit(value.soft, path .. ".soft"), hard = check_limit(value.hard, path .. ".hard") }
  if exceeds(limit.soft, limit.hard) then error(path .. ": the soft limit is above the hard one", 0) end
  return limit
end

--- Checks the field.
-- @tparam table value
-- @tparam string path how messages call it
-- @treturn table by name, `{ soft =, hard = }`: integers, RLIM_INFINITY for none
function rlimit_fields.check(value, path)
  if type(value) ~= "table" then check.wrong(path, "a table of names and limits", value) end
  local limits = {}
  for name, limit in pairs(value) do
    if not rlimits.number(name) then check.unknown(path, "resource", name, rlimits.names()) end
    limits[name] = check_limits(limit, ("%s.%s"):format(path, name))
  end
  return limits
end

--- The hard limits that are above the caller's own. They are raised as long as the child has the caller's rights.
-- @tparam table limits checked
-- @tparam table current the caller's own, in the same form
-- @treturn table likewise: the soft limit as it is, and the hard one as it is to be
function rlimit_fields.above(limits, current)
  local raised = {}
  for name, limit in pairs(limits) do
    if exceeds(limit.hard, current[name].hard) then raised[name] = { soft = current[name].soft, hard = limit.hard } end
  end
  return raised
end

--- The field as a record holds it, which other programs may read.
-- @tparam ?table limits checked
-- @treturn ?table as in a description
function rlimit_fields.record(limits)
  local function word(limit) return limit == NONE and "unlimited" or limit end
  local record = limits and {}
  for name, limit in pairs(limits or {}) do record[name] = { soft = word(limit.soft), hard = word(limit.hard) } end
  return record
end

return rlimit_fields
