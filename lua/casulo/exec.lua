-- SPDX-License-Identifier: MIT

--- A further command in a container that runs.
--
-- casulo-init, in memory of its own, joins the container's namespaces and starts the command there; it stays outside, stands
-- for the command, and cannot be seen from inside.
-- @module casulo.exec

local cgroup = require "casulo.cgroup"
local command = require "casulo.command"
local container = require "casulo.container"
local description = require "casulo.description"
local handle = require "casulo.handle"
local handover = require "casulo.handover"
local idmap = require "casulo.idmap"
local life = require "casulo.recipes.life"
local plan = require "casulo.plan"
local process = require "casulo.process"
local sys = require "casulo.sys"
local terminal = require "casulo.recipes.terminal"

local ref = plan.ref
local exec = {}

-- The descriptors that casulo-init is given to go in, above the numbers that it gets them under.
local function before(values, numbers, target, detach)
  local steps = { detach and {} or life.caller() }
  if numbers.root then
    steps[#steps + 1] = { { "open", ("/proc/%d/root"):format(target.pid), sys.O_PATH | sys.O_DIRECTORY, as = "root",
      why = "the container's root, which setns would not find: it was no mount point" } }
  end
  for _, name in ipairs(values) do
    if name ~= "terminal_socket" then -- it lies above already
      steps[#steps + 1] = { { "fcntl", ref(name), sys.F_DUPFD_CLOEXEC, numbers.above, as = name .. " above",
        why = "out of the way of the numbers that casulo-init gets" } }
    end
  end
  return handover.in_phase("before", steps)
end

local PASSED = {
  container = "what stands for the container", caller = "and for who asked for the command", root = "its root",
  terminal_socket = "the way for a terminal",
}

local function pass(values, numbers)
  local steps = {}
  for i, name in ipairs(values) do
    steps[i] = { "dup2", ref(name == "terminal_socket" and name or name .. " above"), numbers[name], why = PASSED[name] }
  end
  return steps
end

-- What casulo-init does itself: it goes in, and lets go of what leads out.
local function enter(checked, target, values, numbers, size)
  local function rearm(why) return numbers.caller and life.die_with(numbers.caller, why) or {} end
  local closing = {}
  for i, name in ipairs(values) do closing[i] = { "close", numbers[name], why = "nothing of the outside goes along" } end
  return {
    { "setns", numbers.container, target.flags, why = "into all namespaces of the container at once, and to its root" },
    rearm "the kernel forgets that request when the rights change",
    command.become_root(checked, rearm "and when the ids change"),
    numbers.root and {
      { "fchdir", numbers.root, why = "to the container's root, by descriptor" },
      { "chroot", ".", why = "and make it the root of this process" },
    } or {},
    size and { terminal.open(size, checked.user, numbers.terminal_socket), life.streams { tty = size } } or {},
    checked.new.pid and {} or {
      { "getpid", as = "init", why = "casulo-init, with which the command is to die" },
      { "pidfd_open", ref "init", as = "init pidfd", why = "a descriptor that stands for it" },
    },
    closing,
  }
end

-- The command dies with casulo-init. Its parent is none that it can see: PID 0; another one has it when that has died.
local function die_with_init(checked)
  if not checked.new.pid then return life.die_with(ref "init pidfd", "when casulo-init dies, which stands for this process, it dies too") end
  return {
    { "prctl", sys.PR_SET_PDEATHSIG, sys.SIGKILL, why = "when casulo-init dies, which stands for this process, it dies too" },
    { "getppid", expect = 0, why = "its parent is outside; one inside would mean that it has died already" },
  }
end

local function plan_of(target, checked, variant)
  local values, host = { "container" }, target.host
  if not variant.detach then values[#values + 1] = "caller" end
  if host.root == "initramfs" then values[#values + 1] = "root" end
  if variant.tty then values[#values + 1] = "terminal_socket" end
  local numbers = handover.numbers(variant.fds, values)
  local stdio = { stdin = variant.stdin, stdout = variant.stdout, stderr = variant.stderr, fds = variant.fds }
  return plan.new {
    before(values, numbers, target, variant.detach),
    variant.detach and {} or life.die_with_caller(),
    life.session(),
    life.umask(18, "whoever started casulo"),
    life.clean(),
    life.streams(stdio),
    pass(values, numbers),
    handover.steps {
      init = enter(checked, target, values, numbers, variant.tty), stays = true, numbers = numbers, host = host,
      command = {
        die_with_init(checked), life.session(), variant.tty and terminal.control() or {},
        command.rights(checked, host, die_with_init(checked)), command.exec(checked, host),
      },
    },
  }, numbers
end

-- The command's own settings, over those of the container's first one.
local function checked_for(target, settings)
  local checked = {}
  for name, value in pairs(target.checked) do checked[name] = value end
  for _, name in ipairs { "command", "user", "cwd" } do checked[name] = settings[name] or checked[name] end
  checked.env = {}
  for name, value in pairs(target.checked.env) do checked.env[name] = value end
  for name, value in pairs(settings.env or {}) do checked.env[name] = value end
  idmap.check_user(checked, "exec")
  return checked
end

local function prepare(target, options)
  local settings = description.exec_options(options, "exec")
  description.check_terminal(settings, target.checked, "exec")
  local variant = container.variant(settings)
  local the_plan, numbers = plan_of(target, checked_for(target, settings), variant)
  settings.job = process.job(the_plan)
  settings.job.flags, settings.job.stays, settings.job.above = 0, true, numbers.above
  settings.values = { container = target.pidfd:fileno(), cgroup = cgroup.of(target.pid) }
  return settings
end

--- Starts a command in a container that runs.
-- @tparam table target `pid`, `pidfd`; `checked`, its description; `host`: facts; `flags`: its namespaces, as of setns(2)
-- @tparam table options `command`, `env`, `cwd`, `user`, and those of `Container:start`
-- @treturn process or nil and an error
-- @see setns(2)
function exec.start(target, options)
  local ok, settings = description.try(prepare, target, options)
  if not ok then error(settings, 3) end
  return process.start(settings)
end

--- Starts a further command in the container of this process: in its namespaces and its root, with its rights.
-- @tparam table options `command` (required); `env`, over the container's; `cwd`; `user`; and those of `Container:start`
-- @treturn process or nil and an error, when the command never ran
-- @see setns(2)
function handle.Process:exec(options)
  if not self.container then error("exec: this process is no container", 2) end
  if self.result or not self.pidfd:is_open() then return nil, require "casulo.failure".new { message = "exec: the container has ended", errno = sys.ESRCH } end
  local started, err = exec.start({
    pid = self.pid, pidfd = self.pidfd, checked = self.container.checked, host = self.container.host,
    flags = container.setns_flags(self.container.checked),
  }, options)
  return started, err
end

return exec
