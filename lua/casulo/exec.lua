-- SPDX-License-Identifier: MIT

--- A further command in a container that runs.
--
-- casulo-init, in memory of its own, joins the container's namespaces and starts the command there. It stays outside, where
-- nobody in the container sees it, and stands for the command: it ends as that ends, and the command dies with it.
--
-- What can be seen from inside is only the process that becomes the command, and that is born with all of the outside behind
-- it: in the container's root, cgroups and namespaces, with the container's rights, a copy of a memory in which nothing of the
-- host is. In front of it are the streams that the command is given.
-- @module casulo.exec

local capabilities = require "casulo.capabilities"
local cgroup = require "casulo.cgroup"
local command = require "casulo.command"
local container = require "casulo.container"
local description = require "casulo.description"
local failure = require "casulo.failure"
local handle = require "casulo.handle"
local handover = require "casulo.handover"
local idmap = require "casulo.idmap"
local life = require "casulo.recipes.life"
local look = require "casulo.look"
local plan = require "casulo.plan"
local privileges = require "casulo.recipes.privileges"
local process = require "casulo.process"
local sys = require "casulo.sys"
local terminal = require "casulo.recipes.terminal"

local ref = plan.ref
local exec = {}

local PATIENCE = 30 -- seconds until the command must be executed: the container's file system may be one that never answers

-- What of a process's status says how far its rights go. → nil when there is no such process
local function rights_of(pid)
  local text = look.text(("/proc/%s/status"):format(pid))
  local function field(name) return math.tointeger(tonumber(text:match("\n" .. name .. ":%s*(%x+)"), 16)) end
  if not text or not text:find "\nCapBnd:" then return nil end
  return { bounding = field "CapBnd", permitted = field "CapPrm", no_new_privs = field "NoNewPrivs" == 1 }
end

-- What casulo-init and its child still need to become the command, and to hand it its terminal.
local ON_THE_WAY = capabilities.set { "SETUID", "SETGID", "SETPCAP", "CHOWN" }

-- The rights that the first process of the container can no longer get, or that the command is not to have, casulo-init gives up.
local function limit_steps(checked, target)
  local kept, own = target.rights, target.own_rights
  return {
    privileges.bound(target.bounding, own.bounding),
    privileges.have(own.permitted & (kept.bounding | ON_THE_WAY), 0, "no more rights than the container's, from which this process can be seen soon"),
    kept.no_new_privs and not checked.no_new_privs and privileges.no_new_privs() or {},
  }
end

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
  container = "what stands for the container", root = "its root",
  terminal_socket = "the way for a terminal",
}

local function pass(values, numbers)
  local steps = {}
  for i, name in ipairs(values) do
    steps[i] = { "dup2", ref(name == "terminal_socket" and name or name .. " above"), numbers[name], why = PASSED[name] or "a cgroup of its" }
  end
  return steps
end

-- Where the container has a cgroup of its own, its limits are the command's, too.
local function join_cgroups(target, numbers)
  local steps = {}
  for i in ipairs(target.cgroups) do
    local is_own = target.cgroup and i == target.cgroups.own
    steps[i] = { "write", numbers["cgroup " .. i], "0", tolerate = not is_own and { sys.EACCES, sys.EPERM, sys.ENOENT } or nil,
      why = is_own and "into the container's own cgroup" or "into the container's cgroup, where the caller may put processes there" }
  end
  return steps
end

-- Kept by the child of casulo-init, until the terminal is there.
local KEPT = { terminal_socket = true }

-- What casulo-init does itself: it goes in, and lets go of what leads out.
local function enter(checked, target, values, numbers, variant)
  local tty = variant.tty
  local function rearm(why) return variant.detach and {} or life.die_with_parent(target.caller, why) end
  local closing = {}
  for _, name in ipairs(values) do
    if not KEPT[name] then closing[#closing + 1] = { "close", numbers[name], why = "nothing of the outside goes along" } end
  end
  return {
    join_cgroups(target, numbers),
    { "setns", numbers.container, target.flags, why = "into all namespaces of the container at once, and to its root" },
    rearm "the kernel forgets that request when the rights change",
    command.become_root(checked, rearm "and when the ids change"),
    numbers.root and {
      { "fchdir", numbers.root, why = "to the container's root, by descriptor" },
      { "chroot", ".", why = "and make it the root of this process" },
    } or {},
    command.filtered(checked), -- while it may
    limit_steps(checked, target),
    { "getpid", as = "self", why = "casulo-init, with which the command is to die" },
    { "pidfd_open", ref "self", as = "casulo-init", why = "a descriptor that stands for it" },
    closing,
    tty and terminal.stand_in(numbers.terminal_socket) or {},
  }
end

-- What the child of casulo-init does, in sight of the container.
local function become_command(checked, host, bounding, tty, numbers)
  local function die_with_init(why) return life.die_with(ref "casulo-init", why) end
  local rights, further = command.rights(checked, host, die_with_init "the kernel forgets that request when the ids change", bounding)
  return {
    die_with_init "when casulo-init dies, which stands for this process, it dies too",
    life.session(),
    tty and {
      terminal.open(tty, checked.user, numbers.terminal_socket),
      { "close", numbers.terminal_socket, why = "which the command has no use for" },
      life.streams { tty = tty }, terminal.control(),
    } or {},
    rights, further,
    command.exec(checked, host),
  }
end

local function plan_of(target, checked, variant)
  local values, host = { "container" }, target.host
  if host.root == "initramfs" then values[#values + 1] = "root" end
  for i in ipairs(target.cgroups) do values[#values + 1] = "cgroup " .. i end
  if variant.tty then values[#values + 1] = "terminal_socket" end
  local numbers = handover.numbers(variant.fds, values, true)
  local stdio = { stdin = variant.stdin, stdout = variant.stdout, stderr = variant.stderr, fds = variant.fds }
  return plan.of_recipes {
    before(values, numbers, target, variant.detach),
    variant.detach and {} or life.die_with_caller(),
    life.session(),
    command.raise_limits(checked),
    life.umask(18, "whoever started casulo"),
    life.usual(checked.denies_keys, false, host),
    life.clean(),
    life.streams(stdio),
    pass(values, numbers),
    handover.steps {
      init = enter(checked, target, values, numbers, variant),
      command = become_command(checked, host, target.bounding, variant.tty, numbers),
      stays = true, watches = not variant.detach, numbers = numbers, host = host,
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
  description.settle_limits(checked, "exec", target.host)
  return checked
end

local function settings_for(target, options)
  local settings = description.exec_options(options, "exec")
  description.check_terminal(settings, target.checked, "exec")
  settings.checked = checked_for(target, settings)
  return settings
end

local PF_EXITING = 4 -- of the kernel, in the flags of /proc/PID/stat

-- It has left its namespaces before its descriptor says that it has ended.
local function has_ended(target)
  local flags = (look.text(("/proc/%d/stat"):format(target.pid)) or ""):match("^.*%) " .. ("%S+ "):rep(6) .. "(%d+)")
  if not flags or tonumber(flags) & PF_EXITING ~= 0 then return true end
  return sys.poll({ { fd = target.pidfd, events = sys.POLLIN } }, 0) == 1
end

local function ended() return failure.new { message = "exec: the container has ended", errno = sys.ESRCH } end

-- Why no command can come into the container's own cgroup.
local function out_of_reach(target, cgroups)
  if not cgroups.own then return ("exec: the caller may not put a process into the container's cgroup, %s"):format(target.cgroup.path) end
  if target.cgroup:is_frozen() then return "exec: the container is frozen; thaw lets it go on" end
end

-- What must be known of the container's first process, beside its description. → true, or nil and an error
local function look_at(target)
  target.caller = sys.getpid()
  target.rights = rights_of(target.pid)
  target.own_rights = rights_of "self"
  if target.checked.new.user then -- which gives all of them
    local all = capabilities.all(target.host)
    target.own_rights.bounding, target.own_rights.permitted = all, all
  end
  local cgroups <close>, message, errno = cgroup.open(target.pid)
  local lives = not has_ended(target) -- else what was read may be another process's
  local refused = target.cgroup and cgroups and out_of_reach(target, cgroups)
  if lives and cgroups and target.rights and not refused then
    target.cgroups = cgroups
    return true
  end
  for _, fd in ipairs(cgroups or {}) do fd:close() end
  if not lives then return nil, ended() end
  return nil, failure.new { message = message or refused or ("exec: /proc/%d/status cannot be read"):format(target.pid), errno = errno }
end

local function start(target, settings)
  local refused
  settings, refused = require "casulo.descriptors".look_at_inherited(settings)
  if not settings then return nil, failure.new { message = refused } end
  local looked, ok, err = pcall(look_at, target)
  if not looked then return nil, failure.new { message = "exec: " .. tostring(ok) } end
  if not ok then return nil, err end
  local variant = container.variant(settings)
  target.bounding = target.rights.bounding & capabilities.bounding(settings.checked)
  local the_plan, numbers = plan_of(target, settings.checked, variant)
  settings.job = process.job(the_plan)
  settings.job.flags, settings.job.above, settings.job.patience = sys.CLONE_FILES, numbers.above, PATIENCE
  settings.job.stays, settings.job.stands_in, settings.job.has_rules = true, true, container.has_rules(settings.checked)
  settings.values = { container = target.pidfd:fileno() }
  for i, fd in ipairs(target.cgroups) do settings.values["cgroup " .. i] = fd end
  local started
  started, err = process.start(settings)
  if not started and has_ended(target) then err = ended() end -- whatever failed on the way
  return started, err
end

--- Starts a command in a container that runs.
-- @tparam table target `pid`, `pidfd`; `checked`, its description; `host`: facts; `cgroup`: its own one, if any
-- @tparam table options `command`, `env`, `cwd`, `user`, and those of `Container:start`
-- @treturn process or nil and an error
-- @see setns(2)
function exec.start(target, options)
  local ok, settings = description.try(settings_for, target, options)
  if not ok then error(settings, 3) end
  target.flags = container.setns_flags(target.checked)
  return start(target, settings)
end

--- Starts a further command in the container of this process: in its namespaces, cgroups and root, with its rights at most. The
-- container may be one that has only been created.
--
-- To end it ends the command and its process group; what has left that is the container's.
-- @tparam table options `command` (required); `env`, over the container's; `cwd`; `user`; and those of `Container:start`
-- @treturn process or nil and an error, when the command never ran
-- @see setns(2)
function handle.Process:exec(options)
  if not self.container then error("exec: this process is no container", 2) end
  if self.result or not self.pidfd:is_open() then return nil, ended() end
  local started, err = exec.start({
    pid = self.pid, pidfd = self.pidfd, checked = self.container.checked, host = self.container.host, cgroup = self.cgroup,
  }, options)
  return started, err
end

--- Starts a command in the container of a name.
-- @tparam string name see `casulo.state`
-- @tparam table options as of `Process:exec`
-- @treturn process or nil and an error
function exec.by_name(name, options)
  local record, message = require "casulo.state".find(name)
  if not record then return nil, failure.new { message = message } end
  local _ <close> = record.pidfd
  local target, err = require "casulo.record".target(record)
  local started
  if target then started, err = exec.start(target, options) end
  return started, err
end

return exec
