-- SPDX-License-Identifier: MIT

--- What went wrong before a command ran, as a table that reads as one line.
--
-- `kind`: "setup", "not_found" or "not_executable"; `step`, `call`, `args`: what failed; `errno`; `hint`: what to do about
-- it, where that is known. `tostring` gives `open_tree(AT_FDCWD, "/nope/", …): No such file or directory (…)`.
-- @module casulo.failure

local explain = require "casulo.explain"
local sys = require "casulo.sys"

local failure = {}
local Failure = { __name = "casulo.error" }
Failure.__index = Failure

local function line(self)
  local text
  if type(self.step) == "function" then text = self.message
  elseif self.step then
    text = ("%s: %s"):format(explain.call(self.step), self.reason)
  elseif self.call == "clone" then
    text = ("%s: %s"):format(explain.clone(self.args[1]), self.reason)
  else
    text = self.message
  end
  if self.hint then text = ("%s (%s)"):format(text, self.hint) end
  return (text:gsub("\n", " "))
end

Failure.__tostring = line

local function kind_of(step, errno)
  if type(step) ~= "table" or step[1] ~= "execve" then return "setup" end -- by descriptor, it is casulo-init that is executed
  return (errno == sys.ENOENT or errno == sys.ENOTDIR) and "not_found" or "not_executable"
end

--- Makes an error.
-- @tparam table facts `step`, or `call` and `args`; `message`; `errno`; `is_restricted`: whether Landlock may have been the reason;
--   `is_ruled`: whether rules of the description's for seccomp may; `found`: what of a command there is that could not be executed, as
--   of `casulo.executable`
-- @treturn table
function failure.new(facts)
  local err = setmetatable({ step = facts.step, call = facts.call, args = facts.args, message = facts.message, errno = facts.errno,
    is_restricted = facts.is_restricted, is_ruled = facts.is_ruled, found = facts.found }, Failure)
  if type(err.step) == "table" then
    err.call = err.step[1]
    err.args = table.move(err.step, 2, require "casulo.plan".arity(err.step) + 1, 1, {})
  end
  err.kind = kind_of(err.step, err.errno)
  if err.errno and err.errno ~= 0 and err.errno ~= sys.ECANCELED then err.reason = sys.strerror(err.errno)
  else err.reason = err.message end
  err.hint = require "casulo.hint".text(err)
  return err
end

--- A failure as text, for the way from a child to its caller. It fits a pipe, whose reader may be slow.
-- @tparam table facts `step`, `message`, `errno`
-- @tparam table steps those that ran
-- @treturn string
function failure.encode(facts, steps)
  local position = 0
  for i, step in ipairs(steps) do
    if step == facts.step then position = i end
  end
  return ("%d %d %s"):format(position, facts.errno or 0, facts.message:sub(1, 4000))
end

--- The error that `encode` made text of.
-- @tparam string text
-- @tparam table steps
-- @treturn table
function failure.decode(text, steps)
  local position, errno, message = text:match "^(%d+) (%d+) (.*)$"
  return failure.new { step = steps[tonumber(position)], errno = math.tointeger(tonumber(errno)), message = message }
end

return failure
