-- SPDX-License-Identifier: MIT

--- Processes: starting the child of a plan, and its errors.
-- @module casulo.process

local handle = require "casulo.handle"
local plan = require "casulo.plan"
local streams = require "casulo.streams"
local sys = require "casulo.sys"

local process = {}

--- What a plan is made into once, for all starts of it.
-- @tparam plan the_plan
-- @treturn table `before`, `born`, `after` and `steps`, those of the child; `program`, unless one of these needs Lua
function process.job(the_plan)
  local steps = the_plan:phase "child"
  return {
    before = the_plan:phase "before", born = the_plan:phase "born", after = the_plan:phase "after",
    steps = steps, program = not the_plan:needs_copy() and sys.program(steps) or nil,
  }
end

-- The descriptors among the values are the caller's until the scope of a start is left.
local closing = {
  __close = function(values)
    for _, value in pairs(values) do
      if type(value) == "userdata" then streams.release(value) end
    end
  end,
}

-- Where the command was looked for in PATH, a file that may not be executed says more than the last place's ENOENT.
local function denied_before(job, position)
  local results = job.program:results()
  for i = position, 1, -1 do
    if job.steps[i][1] ~= "execve" then break end
    if results[i] == -sys.EACCES then return job.steps[i] end
  end
end

local function failed_in_child(job, message, errno, position)
  local step = position and job.steps[position]
  if step and step[1] == "execve" and errno == sys.ENOENT then
    local denied = denied_before(job, position)
    if denied then step, errno = denied, sys.EACCES end
  end
  return require "casulo.failure".new { step = step, message = message, errno = errno }
end

-- The caller's steps while the child waits: they find /proc/PID of it in the value `child`.
local function born(steps, values, failures)
  return function(pid)
    local directory, message, errno = sys.open(("/proc/%d"):format(pid), sys.O_PATH | sys.O_DIRECTORY)
    if not directory then
      failures[1] = { message = message, errno = errno }
      return false
    end
    values.child = directory
    local ok, failure = plan.run(steps, sys, values)
    failures[1] = failure
    return ok or false
  end
end

local function clone_program(job, flags, values)
  local born_steps, failures = job.born, {}
  local options = { values = values, born = born_steps[1] and born(born_steps, values, failures) or nil }
  local pid, pidfd, errno, position = sys.clone(flags | sys.CLONE_PIDFD, job.program, options)
  if pid then return pid, pidfd end
  if not failures[1] then plan.undo(born_steps, #born_steps, sys, values) end -- else they are undone already
  if failures[1] then return nil, require "casulo.failure".new(failures[1]) end
  if not position then return nil, require "casulo.failure".new { call = "clone", args = { flags }, message = pidfd, errno = errno } end
  return nil, failed_in_child(job, pidfd, errno, position)
end

-- A plan with Lua functions runs in a copy of this process; what goes wrong comes back as text through a pipe.
local function clone_function(job, flags, values, report)
  local failures = require "casulo.failure" -- now: the child may have no files to load it from
  local pid, pidfd, errno = sys.clone(flags | sys.CLONE_PIDFD, function()
    local ok, failure = plan.run(job.steps, sys, values)
    if ok then return 0 end
    sys.write(report, failures.encode(failure, job.steps))
    return 125
  end)
  if pid then return pid, pidfd end
  return nil, failures.new { call = "clone", args = { flags }, message = pidfd, errno = errno }
end

local function clone(job, values, report)
  if job.program then return clone_program(job, job.flags, values) end
  return clone_function(job, job.flags, values, report)
end

--- Starts the child of a plan.
-- @tparam table settings `job` (what `job` returns, and the `flags` of the clone), `own_pids` (the child is PID 1 of its
--   own PID namespace), `stdin`, `stdout`, `stderr`, `fds`, `timeout`, `detach`
-- @treturn process or nil and an error, when the command never ran
function process.start(settings)
  local job, deadline = settings.job, settings.timeout and handle.now() + settings.timeout
  handle.reap_detached()
  local opened <close> = streams.open(settings)
  if opened and opened.err then return nil, opened.err end
  local values <close> = setmetatable(opened and opened.values or {}, closing)
  local ok, failure = plan.run(job.before, sys, values)
  if not ok then return nil, require "casulo.failure".new(failure) end
  local self = { -- made before the child: once that lives, nothing may fail until somebody owns it
    pid = false, pidfd = false, owner = sys.getpid(), own_pids = settings.own_pids, deadline = deadline,
    detached = settings.detach, job = job,
  }
  self.pid, self.pidfd = clone(job, values, opened and opened.report)
  if not self.pid then
    plan.undo(job.before, #job.before, sys, values)
    return nil, self.pidfd
  end
  handle.own(self)
  if opened then opened:hand_over(self) end
  ok, failure = plan.run(job.after, sys, values)
  if ok then return self end
  self.detached = false -- it never was what was asked for
  self:close()
  plan.undo(job.before, #job.before, sys, values)
  return nil, require "casulo.failure".new(failure)
end

return process
