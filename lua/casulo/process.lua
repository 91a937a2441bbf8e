-- SPDX-License-Identifier: MIT

--- Processes: starting the child of a plan, its errors, and the handle that owns it until its end.
-- @module casulo.process

local plan = require "casulo.plan"
local streams = require "casulo.streams"
local sys = require "casulo.sys"

local process = {}
local Process = {}
Process.__index = Process
Process.__name = "casulo.process"

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

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
  local options, failures = { values = values }, {}
  local born_steps = job.plan:phase "born"
  if born_steps[1] then options.born = born(born_steps, values, failures) end
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

local function clone(settings, values, report)
  if settings.job.program then return clone_program(settings.job, settings.flags, values) end
  return clone_function(settings.job, settings.flags, values, report)
end

--- Starts the child of a plan.
-- @tparam table settings `job` (`plan`, its child `steps` and, unless it has functions, the packed `program`), `flags` of
--   the clone, `own_pids` (the child is PID 1 of its own PID namespace), `stdin`, `stdout`, `stderr`, `timeout`
-- @treturn process or nil and an error, when the command never ran
function process.start(settings)
  local started = now()
  local opened <close> = streams.open(settings)
  if opened.err then return nil, opened.err end
  local values <close> = setmetatable(opened.values, closing)
  local before = settings.job.plan:phase "before"
  local ok, failure = plan.run(before, sys, values)
  if not ok then return nil, require "casulo.failure".new(failure) end
  local self = { -- made before the child: once that lives, nothing may fail until somebody owns it
    pid = false, pidfd = false, owner = sys.getpid(), own_pids = settings.own_pids,
    deadline = settings.timeout and started + settings.timeout,
    job = settings.job, captured = {},
  }
  self.pid, self.pidfd = clone(settings, values, opened.report)
  if not self.pid then
    plan.undo(before, #before, sys, values)
    return nil, self.pidfd
  end
  setmetatable(self, Process)
  opened:hand_over(self)
  ok, failure = plan.run(settings.job.plan:phase "after", sys, values)
  if ok then return self end
  self:close()
  plan.undo(before, #before, sys, values)
  return nil, require "casulo.failure".new(failure)
end

--- A descriptor that becomes readable when the process has ended, for event loops.
-- @treturn integer
-- @see pidfd_open(2)
function Process:pollfd() return self.pidfd:fileno() end

--- Sends a signal. SIGKILL ends PID 1 of a PID namespace with everything in it.
-- @tparam[opt] string|integer signal a name such as "TERM" or "SIGTERM", or a number (SIGKILL)
-- @return true, or nil, a message and errno
-- @see pidfd_send_signal(2)
function Process:kill(signal)
  local number = signal or sys.SIGKILL
  if type(number) == "string" then
    local name = number:gsub("^SIG", "")
    number = name:find "^%u[%u%d]+$" and sys["SIG" .. name]
  end
  if math.type(number) ~= "integer" then error(("kill: unknown signal %s"):format(tostring(signal)), 2) end
  if self.result then return nil, "kill: the process has ended", sys.ESRCH end
  local ok, message, errno
  if self.pidfd:is_open() then ok, message, errno = sys.pidfd_send_signal(self.pidfd, number)
  else ok, message, errno = sys.kill(self.pid, number) end
  if number == sys.SIGKILL and not self.own_pids then sys.kill(-self.pid, number) end
  return ok, message, errno
end

--- How long to wait at most before `wait` has something to do again: until the timeout, or until a moment before it.
-- @tparam[opt] number moment seconds of CLOCK_MONOTONIC
-- @treturn integer milliseconds; -1 for no end
function Process:milliseconds_left(moment)
  local deadline = not self.timed_out and self.deadline or nil
  if deadline and (not moment or deadline < moment) then moment = deadline end
  if not moment then return -1 end
  return math.max(0, math.min(math.ceil((moment - now()) * 1000), 0x7fffffff))
end

local function reap(self)
  local pid, how, code
  repeat
    local errno
    -- by PID where the descriptor was closed: until it is reaped, no other process has it
    local by, id = sys.P_PIDFD, self.pidfd
    if not id:is_open() then by, id = sys.P_PID, self.pid end
    pid, how, errno = sys.waitid(by, id, sys.WEXITED | sys.__WALL)
    code = errno
  until pid or errno ~= sys.EINTR
  local result = self.timed_out and { timed_out = true } or {}
  if not pid then result.lost = how -- the caller ignores SIGCHLD, and the kernel kept no status
  elseif how == "exit" then result.exit_code = code
  else result.signal = code end
  return result
end

local function finish(self)
  local result = reap(self)
  streams.drain(self.captured)
  for name, stream in pairs(self.captured) do
    if name ~= "report" then result[name] = stream:text() end
  end
  self.result = result
  local report = self.captured.report and self.captured.report:text()
  if report and report ~= "" then
    self.err = require "casulo.failure".decode(report, self.job.steps)
  end
  self:close()
end

local function outcome(self)
  if self.err then return nil, self.err end
  return self.result
end

-- The streams that the caller has not closed, which waiting must read, or the child would block on a full pipe.
local function capture_rest(self)
  for _, name in ipairs { "stdout", "stderr" } do
    if self[name] and not self.captured[name] then
      if self[name]:is_open() then self.captured[name] = streams.capture(self[name]) end
    end
  end
end

--- Waits for the end. Streams that are piped are read meanwhile, and what came is in the result.
-- @tparam[opt] number seconds how long to wait at most
-- @treturn table result: `exit_code` or `signal`; `stdout`, `stderr` where piped; `timed_out`.
--   nil and "timeout" when it is still running. nil and an error when a function of the plan failed.
function Process:wait(seconds)
  if seconds ~= nil and (type(seconds) ~= "number" or seconds ~= seconds) then
    error(("wait: expected seconds, got %s"):format(tostring(seconds)), 2)
  end
  if self.result then return outcome(self) end
  local patience = seconds and now() + seconds
  capture_rest(self)
  while true do
    local ended = streams.poll(self.pidfd, self.captured, self:milliseconds_left(patience))
    if ended then
      finish(self)
      return outcome(self)
    end
    if self.deadline and not self.timed_out and now() >= self.deadline then
      self.timed_out = true
      self:kill()
    elseif patience and now() >= patience then
      return nil, "timeout"
    end
  end
end

--- Ends the process if it still runs, reaps it and closes its descriptors. Also when a `<close>` scope is left.
function Process:close()
  if self.owner ~= sys.getpid() then return end -- a copy of this process does not own it
  if not self.result then
    self:kill()
    self.result = reap(self)
  end
  for _, name in ipairs { "stdin", "stdout", "stderr", "pidfd" } do
    if self[name] then streams.release(self[name]) end
  end
  streams.close(self.captured)
end

Process.__close = Process.close
Process.__gc = Process.close

return process
