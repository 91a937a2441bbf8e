-- SPDX-License-Identifier: MIT

--- Processes that run: the handle that owns one until its end.
-- @module casulo.handle

local descriptors = require "casulo.descriptors"
local sys = require "casulo.sys"

local handle = {}
local Process = {}
handle.Process = Process
Process.__index = Process
Process.__name = "casulo.process"

local DESCRIPTORS = { "stdin", "stdout", "stderr", "tty", "report", "control", "terminal_socket", "pidfd" }
local NO_FLOWS = {}

--- Seconds of CLOCK_MONOTONIC.
-- @treturn number
function handle.now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end
local now = handle.now

--- Makes a table the handle of a process: `pid`, `pidfd`, `owner`, `own_pids`, `deadline`, `detached`, `job`, and what
-- `Opened:hand_over` adds. Allocates nothing, so a child that runs already finds its owner.
-- @tparam table fields
-- @treturn process
function handle.own(fields) return setmetatable(fields, Process) end

--- Whether a value is a process.
-- @param value
-- @treturn boolean
function handle.is_process(value) return getmetatable(value) == Process end

--- A descriptor that becomes readable when the process has ended, for event loops. After `wait` there is none: that closes it.
-- @treturn integer
-- @see pidfd_open(2)
function Process:pollfd()
  if not self.pidfd:is_open() then error("pollfd: the process has ended, and its descriptor is closed", 2) end
  return self.pidfd:fileno()
end

-- What poll looks at to see whether the process has ended: to the kernel a signal to a zombie is a success.
local function ending_of(self)
  self.ending = self.ending or { fd = self.pidfd, events = sys.POLLIN, revents = 0 }
  return self.ending
end

local function send_signal(self, number)
  if number == sys.SIGKILL and self.cgroup and not self.own_pids and self.cgroup:kill() then return true end
  local ok, message, errno
  if self.pidfd:is_open() then ok, message, errno = sys.pidfd_send_signal(self.pidfd, number) end
  if not ok and errno ~= sys.ESRCH then ok, message, errno = sys.kill(self.pid, number) end -- it is not reaped: the number is its own
  if number == sys.SIGKILL and not self.own_pids then sys.kill(-self.pid, number) end
  return ok, message, errno
end

local function send(self, number)
  if self.job.stands_in and require "casulo.joiner".ask(self, number) then return true end
  return send_signal(self, number)
end

local function signal_of(value, call)
  local number = value
  if type(value) == "string" then
    local name = value:gsub("^SIG", "")
    number = name:find "^%u[%u%d]+$" and sys["SIG" .. name]
  end
  if math.type(number) == "integer" and number >= -1 << 31 and number < 1 << 31 then return number end
  error(("%s: unknown signal %s"):format(call, require "casulo.check".word(value)), 3)
end

-- Where that cannot be seen, a signal does no harm.
local function has_ended(self)
  if self.status or self.result then return true end
  -- by an entry of its own: what `ending` has found, `outcome` takes for seen by a wait, which reads the streams first
  return self.pidfd:is_open() and (sys.poll({ { fd = self.pidfd, events = sys.POLLIN } }, 0) or 0) ~= 0
end

--- Sends a signal. Which of them PID 1 of a PID namespace gets: SIGKILL and SIGSTOP, and those that it handles.
-- @tparam string|integer signal a name such as "TERM" or "SIGTERM", in capitals, or a number
-- @return true, or nil, a message and errno: ESRCH when the process has ended
-- @see pidfd_send_signal(2), pid_namespaces(7)
function Process:signal(signal)
  local number = signal_of(signal, "signal")
  if has_ended(self) then return nil, "signal: the process has ended", sys.ESRCH end
  return send(self, number)
end

--- The same, and SIGKILL where nothing is said: that ends PID 1 of a PID namespace with everything in it.
-- @tparam[opt] string|integer signal
-- @return as of `signal`
function Process:kill(signal)
  local number = signal == nil and sys.SIGKILL or signal_of(signal, "kill")
  if has_ended(self) then return nil, "kill: the process has ended", sys.ESRCH end
  return send(self, number)
end

--- How long to wait at most before `wait` has something to do again: until the timeout, or until a moment before it.
-- @tparam[opt] number moment seconds of CLOCK_MONOTONIC
-- @treturn integer milliseconds; -1 for no end
function Process:milliseconds_left(moment)
  local deadline = not self.timed_out and self.deadline or nil
  if deadline and (not moment or deadline < moment) then moment = deadline end
  return handle.milliseconds_until(moment)
end

--- The time until a moment, for `descriptors.poll`.
-- @tparam ?number moment seconds of CLOCK_MONOTONIC
-- @treturn integer milliseconds; -1 for no end
function handle.milliseconds_until(moment)
  if not moment then return -1 end
  return math.max(0, math.min(math.ceil((moment - now()) * 1000), 0x7fffffff))
end

-- What it tells at the end.
local function leave_cgroup(self, result)
  if (self.cgroup:memory_events().oom_kill or 0) > 0 then result.oom_killed = true end
  self.cgroup:remove(self.own_pids)
end

local function reap(self)
  local pid, how, code, is_refused
  repeat
    local errno
    -- by PID where the descriptor was closed: until it is reaped, no other process has it
    local by, id = sys.P_PIDFD, self.pidfd
    if is_refused or not id:is_open() then by, id = sys.P_PID, self.pid end
    pid, how, errno = sys.waitid(by, id, sys.WEXITED | sys.__WALL)
    code = errno
    if errno == sys.EAGAIN and not pid then descriptors.poll({ ending_of(self) }, -1) end -- an event loop made it O_NONBLOCK
    local again = errno == sys.EINTR or errno == sys.EAGAIN or errno ~= sys.ECHILD and not is_refused
    is_refused = errno ~= sys.EINTR and errno ~= sys.EAGAIN -- then the other way, by PID, is tried once
  until pid or not again
  local result = self.timed_out and { timed_out = true } or {}
  if not pid then result.lost = how -- the caller ignores SIGCHLD, and the kernel kept no status
  elseif how == "exit" then result.exit_code = code
  else result.signal = code end
  if self.cgroup then leave_cgroup(self, result) end
  return result
end

local function release(self)
  self.released = true
  if self.claim and self.status then self.claim:release() end -- of its name
  for _, name in ipairs(DESCRIPTORS) do
    if self[name] then descriptors.release(self[name]) end
  end
  for _, flow in ipairs(self.flows or NO_FLOWS) do require "casulo.streams".stop(flow) end
end

local adopt -- see below

-- The end, whatever the process does and whoever else wants to know of it.
local function abort(self)
  if self.result then return end
  if not self.status then
    if self.job.stands_in and self.pidfd:is_open() and require "casulo.joiner".end_command(self) then
      adopt(self)
      self.status = { lost = "the process cannot be killed now" }
    else
      send_signal(self, sys.SIGKILL)
      self.status = reap(self)
    end
  end
  self.result = self.status
  release(self)
end

-- A function that a stream calls has raised: its process ends, and the error goes on.
local function fail(self, err)
  abort(self)
  error(err, 0)
end

-- The functions that drain calls may wait for this process, too; the innermost comes to the end.
local function finish(self)
  if not self.status then self.status = reap(self) end
  if self.flows and self.flows[1] then
    local ok, err = require "casulo.streams".drain(self.flows)
    if not ok then fail(self, err) end
  end
  if self.result then return end
  self.result = self.status
  for _, flow in ipairs(self.flows or NO_FLOWS) do
    local text = flow.chunks and table.concat(flow.chunks)
    if flow.failure then self.err = require "casulo.failure".new(flow.failure) end
    if text and flow.name ~= "report" then self.result[flow.name] = text
    elseif text and text ~= "" then self.err = require "casulo.failure".decode(text, self.job.steps) end
  end
  release(self)
end

--- Gives the outcome of a process that has ended, as far as that has been seen; does not look itself.
-- @tparam process self
-- @treturn boolean whether it has ended
-- @return as of `wait`
-- @return likewise
function handle.outcome(self)
  if not self.result then
    if not self.status and (not self.ending or self.ending.revents == 0) then return false end
    finish(self)
  end
  if self.err then return true, nil, self.err end
  return true, self.result
end

--- What poll must look at for this process: its end, and its streams. From here on those that are pipes are read here.
-- @treturn table entries for `sys.poll`
function Process:entries()
  if not self.watched then
    self.flows = self.flows or {}
    for _, name in ipairs { "stdout", "stderr", "tty" } do
      if self[name] and self[name]:is_open() then
        self.flows[#self.flows + 1] = require "casulo.streams".reading(name, self[name])
      end
    end
    self.watched = { ending_of(self), table.unpack(self.flows) }
  end
  for _, flow in ipairs(self.flows) do
    if not flow.descriptor:is_open() then flow.fd = -1 end -- the caller has closed it
  end
  return self.watched
end

--- Moves what the last poll found in the streams of a process. An error in a function that gets it ends the process.
-- @tparam process self
function handle.move(self)
  if not self.flows[1] then return end
  local ok, err = require "casulo.streams".move(self.flows)
  if not ok then fail(self, err) end
end

--- Ends a process whose time is over.
-- @tparam process self
-- @tparam number time seconds of CLOCK_MONOTONIC
function handle.expire(self, time)
  if self.deadline and not self.timed_out and time >= self.deadline then
    self.timed_out = true
    send(self, sys.SIGKILL)
  end
end

--- Refuses what is no time to wait.
-- @param seconds
-- @tparam string call how messages call it
-- @treturn ?number the moment until which to wait
function handle.patience(seconds, call)
  if seconds == nil then return nil end
  if type(seconds) ~= "number" or seconds ~= seconds then
    error(("%s: expected seconds, got %s"):format(call, require "casulo.check".word(seconds)), 3)
  end
  return now() + seconds
end

local function wait_with_streams(self, patience)
  local entries = self:entries()
  while true do
    if descriptors.poll(entries, self:milliseconds_left(patience)) > 0 then handle.move(self) end
    local ended, result, err = handle.outcome(self)
    if ended then return result, err end
    local time = (self.deadline or patience) and now()
    if time then handle.expire(self, time) end
    if patience and time >= patience then return nil, "timeout" end
  end
end

--- Waits for the end. Streams that are piped are read meanwhile, and what came is in the result; a text for standard
-- input is written, and functions get what came.
-- @tparam[opt] number seconds how long to wait at most
-- @treturn table result: `exit_code` or `signal`; `stdout`, `stderr` where piped; `timed_out`.
--   nil and "timeout" when it is still running. nil and an error when a function of the plan failed.
function Process:wait(seconds)
  local patience = handle.patience(seconds, "wait")
  if not (self.result or patience or self.deadline or self.flows or self.stdout or self.stderr or self.tty) then finish(self) end
  local ended, result, err = handle.outcome(self)
  if ended then return result, err end
  return wait_with_streams(self, patience)
end

-- Detached processes without a handle: children of this process still, which it must reap.
local orphans = { first = 1, last = 0 }

local function is_running(pid) return sys.waitid(sys.P_PID, pid, sys.WEXITED | sys.WNOHANG | sys.__WALL) == 0 end

function adopt(process)
  orphans.last = orphans.last + 1
  orphans[orphans.last] = { pid = process.pid, cgroup = process.cgroup, own_pids = process.own_pids }
end

--- Reaps two of the detached processes without a handle, in turn, if they have ended. Called at each start, it leaves
-- never more zombies than there are such processes that run, at a constant cost.
function handle.reap_detached()
  for _ = 1, 2 do
    local process = orphans[orphans.first]
    if not process then return end
    orphans[orphans.first] = nil
    orphans.first = orphans.first + 1
    if is_running(process.pid) then adopt(process)
    elseif process.cgroup then process.cgroup:remove(process.own_pids) end
  end
end

-- Waits until casulo-init has heard, and shut its end, or has ended. → true; or nil, a message and errno
local function heard(control)
  local entry, deadline = { fd = control, events = 0, revents = 0 }, now() + 10
  repeat
    local ready, message, errno = sys.poll({ entry }, handle.milliseconds_until(deadline))
    if not ready and errno ~= sys.EINTR then return nil, message, errno end
    if entry.revents ~= 0 then return true end
  until now() >= deadline
  return nil, "casulo-init does not answer: is it stopped?", sys.ETIMEDOUT
end

--- Lets go of the process: no longer is it ended when the handle's scope is left, or the handle is collected. One that was
-- started with `detach = true`, or has a PID 1 of casulo's own (`init`), lives on when its caller ends, too; another one dies
-- with the thread that started it.
-- @treturn boolean true; or nil, a message and errno when that PID 1 is stopped, and does not hear of it
-- @see PR_SET_PDEATHSIG(2const)
function Process:detach()
  if self.job.stays and self.control and self.control:is_open() and not self.created then
    local ok, message, errno = sys.sendmsg(self.control, "d", {})
    if ok or errno == sys.EPIPE then ok, message, errno = heard(self.control) end
    if not ok then return nil, "detach: " .. message, errno end
    descriptors.release(self.control)
  end
  self.detached = true
  return true
end

--- Ends the process if it still runs and is not detached, reaps it and closes its descriptors. Also when a `<close>` scope
-- is left.
function Process:close()
  if self.released or self.owner ~= sys.getpid() then return end -- a copy of this process does not own it
  if not self.detached or self.status then return abort(self) end
  if is_running(self.pid) then adopt(self) end
  self.result = { lost = "the process is detached, and its handle closed" }
  release(self)
end

Process.__close = Process.close
Process.__gc = require "casulo.finalizer"(Process, Process.close)

return handle
