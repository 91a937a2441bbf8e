-- SPDX-License-Identifier: MIT

--- A plan of one's own in new namespaces, without a root file system: what unshare(1) does.
-- @module casulo.unshared

local container = require "casulo.container"
local description = require "casulo.description"
local life = require "casulo.recipes.life"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local function own_maps(new)
  if not new.user then return {} end
  return require "casulo.recipes.users".own_id_maps({ { 0, sys.geteuid(), 1 } }, { { 0, sys.getegid(), 1 } })
end

-- The message names the place of an argument, and not what is there, which a reference to no descriptor would be.
local function with_reference(message, steps)
  local position, place = message:match "^program: step (%d+), [%w_]+, argument (%d+): expected "
  local argument = position and steps[tonumber(position)][tonumber(place) + 1]
  local name = type(argument) == "table" and argument.ref
  return name and ("%s, got the reference %q"):format(message, tostring(name)) or message
end

local function job_of(the_plan, new, variant)
  local needs_copy = the_plan:needs_copy()
  if needs_copy and the_plan:phase "born"[1] then
    error("unshared: a plan with a function, or an undo, has no phase born: its child does not wait", 0)
  end
  local own_steps = the_plan:phase "child"
  if not needs_copy and own_steps[1] then
    local ok, wrong = pcall(sys.program, own_steps) -- what is wrong is told by the number that the caller knows
    if not ok then error(with_reference(tostring(wrong), own_steps), 0) end
  end
  local whole = plan.new {
    life.caller(), life.die_with_caller(), own_maps(new), life.streams(variant),
    needs_copy and {} or life.unblock(),
    the_plan,
  }
  local job = require "casulo.process".job(whole)
  job.flags = container.clone_flags(new)
  return job
end

--- Runs a plan in a child that has new namespaces, and waits for it.
--
-- With a Lua function among its steps, or one that says how to undo it, the child is a copy of this process, else it shares
-- its memory. A new `user` namespace maps root to the caller. The plan's last step may be an execve.
-- @tparam table namespaces list of `user pid mount uts ipc net cgroup time`
-- @tparam plan|table steps a plan, or a list for one
-- @tparam[opt] table options `stdin`, `stdout`, `stderr`, `timeout`
-- @treturn table result, as `Process:wait` gives it, or nil and an error; a Lua error in a function of the plan is one, too
-- @see unshare(1), namespaces(7)
local function unshared(namespaces, steps, options)
  local ok, new = description.try(description.namespaces, namespaces, "unshared.namespaces")
  if not ok then error(new, 2) end
  local settings
  ok, settings = description.try(description.run_options, options, "unshared")
  if not ok then error(settings, 2) end
  for name in pairs { fds = true, detach = true } do
    if settings[name] then error(("unshared: %s is for containers; a plan of one's own has steps for that"):format(name), 2) end
  end
  local job
  ok, job = pcall(function() return job_of(plan.new(steps), new, container.variant(settings)) end)
  if not ok then error(job, 2) end
  settings.own_pids, settings.job = new.pid, job
  local process <close>, err = require "casulo.process".start(settings)
  if not process then return nil, err end
  return process:wait()
end

return unshared
