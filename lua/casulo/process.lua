-- SPDX-License-Identifier: MIT

--- Processes: starting the child of a plan, and its errors.
-- @module casulo.process

local descriptors = require "casulo.descriptors"
local handle = require "casulo.handle"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local process = {}

--- What a plan is made into once, for all starts of it.
-- @tparam plan the_plan
-- @treturn table `before`, `born`, `after` and `steps`, those of the child; `handed`, those of casulo-init, if any; `program`,
--   unless one of the child's needs Lua
function process.job(the_plan)
  local steps, handed = the_plan:phase "child", the_plan:phase "init"
  for _, step in ipairs(the_plan:phase "command") do handed[#handed + 1] = step end
  return {
    before = the_plan:phase "before", born = the_plan:phase "born", after = the_plan:phase "after",
    steps = steps, handed = handed[1] and handed, program = not the_plan:needs_copy() and sys.program(steps) or nil,
  }
end

-- The descriptors among the values are the caller's until the scope of a start is left.
local closing = {
  __close = function(values)
    for _, value in pairs(values) do
      if type(value) == "userdata" then descriptors.release(value) end
    end
  end,
}

-- Where the command was looked for in PATH, a file that may not be executed says more than the last place's ENOENT.
local function denied_before(steps, results, position)
  for i = position, 1, -1 do
    if steps[i][1] ~= "execve" then break end
    if results[i] == -sys.EACCES then return steps[i] end
  end
end

local function has_call(steps, call, last)
  for i = 1, last do
    if steps[i][1] == call then return true end
  end
end

-- Whether rules of the description hold for a step: its filter is installed by one before.
local function is_ruled(job, steps, position)
  if not job.has_rules then return nil end
  return has_call(steps, "seccomp", position - 1) or steps == job.handed and has_call(job.steps, "seccomp", #job.steps)
end

-- `found`: what of a command there is that could not be executed, as of `casulo.executable`
local function failed_in_child(job, steps, results, message, errno, position, found)
  local step = steps[position]
  if step and step[1] == "execve" and errno == sys.ENOENT then
    local denied = denied_before(steps, results, position)
    if denied then step, errno = denied, sys.EACCES end
  end
  if found and found.errno == 0 and (results[found.step] or 0) < 0 then step, errno = steps[found.step], -results[found.step] end
  return require "casulo.failure".new { step = step, message = message, errno = errno, found = found,
    is_restricted = has_call(steps, "landlock_restrict_self", #steps), is_ruled = is_ruled(job, steps, position) }
end

-- A call that `sys.clone` makes beside the program and itself: "clone: mmap: Cannot allocate memory".
local function failed_at_clone(flags, message, errno)
  local call = message:match "^clone: (%S+) ?.-: "
  if not call then return require "casulo.failure".new { call = "clone", args = { flags }, message = message, errno = errno } end
  local step = call == "close_range" and require "casulo.recipes.life".birth()[1] or nil
  local told = ("%s: %s"):format(require "casulo.explain".clone(flags), message:gsub("^clone: ", ""))
  return require "casulo.failure".new { step = step, call = call, args = {}, message = told, errno = errno }
end

-- The caller's steps while the child waits: they find its PID in the value `PID`, and /proc/PID of it in `child`. Those of a child
-- that is killed meanwhile fail, too; the clone tells what happened.
local function born(steps, values, state)
  return function(pid)
    local directory, message, errno = sys.open(("/proc/%d"):format(pid), sys.O_PATH | sys.O_DIRECTORY)
    if not directory then
      state.failure = { message = message, errno = errno }
      return false
    end
    values.PID, values.child = pid, directory
    local ok, failure = plan.run(steps, require "casulo.calls", values)
    state.done = ok
    if not ok and sys.waitid(sys.P_PID, pid, sys.WEXITED | sys.WNOHANG | sys.WNOWAIT | sys.__WALL) == 0 then state.failure = failure end
    return ok or false
  end
end

local function has_ref(value, name)
  if type(value) ~= "table" then return false end
  if value.ref == name then return true end
  for _, inner in pairs(value) do
    if has_ref(inner, name) then return true end
  end
  return false
end

-- What a clone raises is the plan's mistake, as a ref without a value is: told by its step, which is a failure like others.
local function mistaken(steps, message)
  local name = message:match '^clone: (no value for ref ".*")$'
  for _, step in ipairs(name and steps or {}) do
    if has_ref(step, name:match '"(.*)"') then return require "casulo.failure".new { step = step, message = name, errno = 0 } end
  end
  return require "casulo.failure".new { message = message, errno = 0 }
end

local function clone_program(job, flags, values)
  local born_steps, state = job.born, {}
  local options = { values = values, cgroup = values.cgroup, born = born_steps[1] and born(born_steps, values, state) or nil }
  local ok, pid, pidfd, errno, position = pcall(sys.clone, flags | sys.CLONE_PIDFD, job.program, options)
  if not ok then return nil, mistaken(job.steps, tostring(pid)) end
  if pid then return pid, pidfd end
  if state.done then plan.undo(born_steps, #born_steps, sys, values) end
  if state.failure then return nil, require "casulo.failure".new(state.failure) end
  if not position or position == 0 and errno ~= sys.ECANCELED then return nil, failed_at_clone(flags, pidfd, errno) end
  return nil, failed_in_child(job, job.steps, job.program:results(), pidfd, errno, position)
end

-- A plan with Lua functions runs in a copy of this process; what goes wrong comes back as text through a pipe.
local function clone_function(job, flags, values, report)
  local failures = require "casulo.failure" -- now: the child may have no files to load it from
  local pid, pidfd, errno = sys.clone(flags & ~sys.CLONE_FILES | sys.CLONE_PIDFD, function()
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

-- What casulo-init does beside the steps of the plan, counted after them.
local OWN_CALLS = { "clone", "signalfd", "mmap" }

local function failed_beside(job, call, errno)
  return require "casulo.failure".new { call = call, args = { 0 }, errno = errno, is_ruled = job.has_rules,
    message = ("casulo-init: %s: %s"):format(call, sys.strerror(errno)) }
end

-- Waits for what casulo-init has to tell. A container's file system may be one that never answers.
local function read_report(self, patience)
  local entries = { { fd = self.report, events = sys.POLLIN } }
  local limit = patience and handle.now() + patience
  while descriptors.poll(entries, self:milliseconds_left(limit)) == 0 do
    local time = handle.now()
    if time >= math.min(self.deadline or math.huge, limit or math.huge) then
      return nil, "its time was over before the command was executed", sys.ETIMEDOUT
    end
  end
  local text, message, errno
  repeat text, message, errno = sys.read(self.report, 65536) until text or errno ~= sys.EINTR
  return text, message, errno
end

local RECORD, RESULT = 16, 8 -- bytes, in a report
local PATIENCE = 1 -- second

-- What casulo-init found of a command that could not be executed, and tells after the record.
local function read_found(self, text, position)
  local steps = self.job.handed
  if not (steps[position] and steps[position][1] == "execve") then return nil end
  local rest = text:sub(RECORD + RESULT * #steps + 1)
  if rest == "" then rest = read_report(self, PATIENCE) or "" end
  return require "casulo.executable".decode(rest)
end

-- Waits until casulo-init, or its child, is the command. → true, or nil and an error
local function executed(self)
  local text, message, errno = read_report(self, self.job.patience)
  local position, failed_with, results = sys.image_report(text or "")
  local found = position and read_found(self, text, position)
  descriptors.release(self.report)
  self.report = nil
  if text == "" and not self.job.stays then return true end -- its end was closed by the exec
  if position == 0 then
    message = message or "casulo-init ended before the command was executed"
    return nil, require "casulo.failure".new { message = message, errno = errno or sys.ECANCELED, is_ruled = self.job.has_rules }
  end
  if not position then
    self.runs = true
    return true
  end
  local steps = self.job.handed
  if position > #steps then return nil, failed_beside(self.job, OWN_CALLS[position - #steps], failed_with) end
  message = failed_with == sys.ECANCELED and "the child of casulo-init was killed at this step"
    or ("%s: returned %s"):format(steps[position][1], results[position])
  return nil, failed_in_child(self.job, steps, results, message, failed_with, position, found)
end

-- What is left to do when the child has executed. → true, or nil and an error
local function complete(self, values)
  self.created = self.job.gate
  if self.job.handed and not self.created then
    local ok, failure = executed(self)
    if not ok then return nil, failure end
  end
  if self.terminal_socket then
    local master, message, errno = require "casulo.recipes.terminal".receive(self.terminal_socket)
    descriptors.release(self.terminal_socket)
    if not master then return nil, require "casulo.failure".new { message = message, errno = errno } end
    self.tty = descriptors.set_aside(master)
  end
  local ok, failure = plan.run(self.job.after, sys, values)
  if not ok then return nil, require "casulo.failure".new(failure) end
  return true
end

local function is_own(setting) return setting == nil or setting == "inherit" end

-- Whether anything is to be opened for the child.
local function has_streams(settings)
  return settings.fds or settings.tty or settings.job.handed or not settings.job.program
    or not (is_own(settings.stdin) and is_own(settings.stdout) and is_own(settings.stderr))
end

-- Leaves nothing of a start that failed.
local function give_up(job, values, cgroup, failure, self)
  if cgroup then failure.hint = cgroup:shortage() or failure.hint end
  if self then self:close() end
  plan.undo(job.before, #job.before, sys, values)
  if cgroup then cgroup:remove() end -- on which processes may leave late
end

--- Starts the child of a plan.
-- @tparam table settings `job` (what `job` returns, and the `flags` of the clone), `own_pids` (the child is PID 1 of its
--   own PID namespace), `stdin`, `stdout`, `stderr`, `fds`, `timeout`, `detach`
-- @treturn process or nil and an error, when the command never ran
function process.start(settings)
  local job = settings.job
  local deadline = settings.timeout and not job.gate and handle.now() + settings.timeout or nil
  handle.reap_detached()
  local opened <close> = has_streams(settings) and require "casulo.streams".open(settings) or nil
  if opened and opened.err then return nil, opened.err end
  local values <close> = setmetatable(opened and opened.values or {}, closing)
  for name, value in pairs(settings.values or {}) do values[name] = value end
  local cgroup = job.place and require "casulo.own_cgroup".new(job.place)
  if cgroup then cgroup:name(values) end
  local ok, failure = plan.run(job.before, sys, values)
  if not ok then return nil, require "casulo.failure".new(failure) end
  local self = { -- made before the child: once that lives, nothing may fail until somebody owns it
    pid = false, pidfd = false, owner = sys.getpid(), own_pids = settings.own_pids, deadline = deadline,
    detached = settings.detach, job = job, container = settings.container, timeout = settings.timeout,
    cgroup = cgroup,
  }
  self.pid, self.pidfd = clone(job, values, opened and opened.report)
  if not self.pid then
    give_up(job, values, cgroup, self.pidfd)
    return nil, self.pidfd
  end
  handle.own(self)
  self.pidfd = descriptors.set_aside(self.pidfd)
  if opened then opened:hand_over(self) end
  ok, failure = complete(self, values)
  if ok then return self end
  self.detached = false -- it never was what was asked for
  give_up(job, values, cgroup, failure, self)
  return nil, failure
end

--- Lets a created process go on to its command. The time of its `timeout` begins.
-- @treturn process itself; or nil and an error, when the command never ran
function handle.Process:start()
  if not self.created then error("start: it has been started already", 2) end
  self.created = false
  self.deadline = self.timeout and handle.now() + self.timeout
  local ok, failure, errno = nil, nil, sys.EPIPE
  if not self.released then ok, failure, errno = sys.sendmsg(self.control, "s", {}) end
  if ok then ok, failure = executed(self)
  elseif errno == sys.EPIPE then
    local told, why = true, nil
    if not self.released then told, why = executed(self) end -- it may have said why
    failure = not told and why.step and why or require "casulo.failure".new { message = "start: it has ended before", errno = sys.ECANCELED }
  else failure = require "casulo.failure".new { message = "start: " .. failure, errno = errno } end
  if not ok then
    self.detached = false
    if self.cgroup then failure.hint = self.cgroup:shortage() or failure.hint end
    self:close()
    return nil, failure
  end
  if self.detached then self:detach() end -- it was asked for before anybody listened
  return self
end

local function size_of(rows, columns)
  local check = require "casulo.check"
  return require "casulo.recipes.terminal".size(check.integer(rows, "resize: rows", 0, 65535), check.integer(columns, "resize: columns", 0, 65535))
end

--- Sets the size of the terminal. What runs in its foreground gets SIGWINCH.
-- @tparam integer rows
-- @tparam integer columns
-- @return true, or nil, a message and errno
-- @see TIOCSWINSZ(2const)
function handle.Process:resize(rows, columns)
  if not self.tty then error("resize: this process has no terminal", 2) end
  local ok, size = pcall(size_of, rows, columns)
  if not ok then error(size, 2) end
  if not self.tty:is_open() then return nil, "resize: the terminal has been closed", sys.EBADF end
  local set, message, errno = sys.ioctl(self.tty, sys.TIOCSWINSZ, size)
  return set and true, message, errno
end

return process
