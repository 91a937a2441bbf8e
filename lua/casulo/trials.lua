-- SPDX-License-Identifier: MIT

--- What this host lets its caller do, found out by doing it. Each trial is made when its outcome is first asked for, and leaves nothing behind.
--
-- The outcome is `true`; else the error, as of `casulo.failure`, or the text of one.
--
-- * `calls`: the system calls that are there; else a list of those that are not
-- * `user`: a user namespace in which the caller has the rights of root
-- * `pid`, `mount`, `uts`, `ipc`, `net`, `cgroup`, `time`: a namespace of this kind
-- * `proc`, `sys`: a /proc or a /sys in a user namespace
-- * `container`: all of a container that says nothing but its root, which is the host's, to look at only; but for its command
-- * `ranges`: a user namespace with all ids that are subordinate to the caller
-- * `init`: casulo-init, executed from a file in memory
-- * `overlay`: an overlay in a user namespace
-- * `idmap`: a mount of / with other ids, which takes root
-- * `landlock`: the version of Landlock's ABI, in place of `true`
--
-- A table of the same shape takes its place in unit tests.
-- @module casulo.trials

local container = require "casulo.container"
local description = require "casulo.description"
local detached = require "casulo.recipes.detached"
local host = require "casulo.host"
local mounts = require "casulo.recipes.mounts"
local plan = require "casulo.plan"
local process = require "casulo.process"
local sys = require "casulo.sys"
local unshared = require "casulo.unshared"

local EXIT = { "_exit", 0, why = "nothing more was to be found out" }

local perform = {}

-- What each does with arguments of which nothing comes: a call that is not there tells that first.
local CALLS = {
  openat2 = function() return sys.openat2(-1, "", ("\0"):rep(24)) end,
  close_range = function() return sys.close_range(0x7fffffff, 0x7fffffff, 0) end,
  pidfd_open = function() return sys.pidfd_open(-1, 0) end,
  open_tree = function() return sys.open_tree(-1, "", 0) end,
  move_mount = function() return sys.move_mount(-1, "", -1, "", 0) end,
  fsopen = function() return sys.fsopen("tmpfs", 0x7fffffff) end,
  fsconfig = function() return sys.fsconfig(-1, sys.FSCONFIG_CMD_CREATE, nil, nil, 0) end,
  fsmount = function() return sys.fsmount(-1, 0, 0) end,
  mount_setattr = function() return sys.mount_setattr(-1, "", 0, ("\0"):rep(32)) end,
  clone3 = function()
    local result, err = unshared({}, { EXIT })
    return result, nil, err and err.errno
  end,
}

function perform.calls()
  local missing = {}
  for name, call in pairs(CALLS) do
    local _, _, errno = call()
    if errno == sys.ENOSYS then missing[#missing + 1] = name end
  end
  table.sort(missing)
  return #missing == 0 or missing
end

-- Runs steps in a child with new namespaces, and then ends it.
local function try(namespaces, steps)
  local result, err = unshared(namespaces, { steps, EXIT })
  return result and true or err
end

function perform.user() return try({ "user", "mount" }, mounts.private_mounts()) end

for _, kind in ipairs { "pid", "mount", "uts", "ipc", "net", "cgroup", "time" } do
  perform[kind] = function() return try(host.uid == 0 and { kind } or { "user", kind }, {}) end
end

local SAFE = sys.MOUNT_ATTR_NOSUID | sys.MOUNT_ATTR_NODEV | sys.MOUNT_ATTR_NOEXEC

function perform.proc()
  return try({ "user", "mount", "pid" }, detached.filesystem("proc", "proc", {}, SAFE, "a /proc of this PID namespace"))
end

function perform.sys()
  return try({ "user", "mount", "net" }, detached.filesystem("sysfs", "sysfs", {}, SAFE | sys.MOUNT_ATTR_RDONLY, "a /sys of this network namespace"))
end

-- Over /proc, a directory that is there; in this namespace only.
function perform.overlay()
  local steps = { mounts.private_mounts(), { "mount", "tmpfs", "/proc", "tmpfs", 0 } }
  for _, name in ipairs { "first", "second" } do steps[#steps + 1] = { "mkdirat", sys.AT_FDCWD, "/proc/" .. name, 493 } end
  steps[#steps + 1] = { "mount", "overlay", "/proc", "overlay", 0, "lowerdir=/proc/first:/proc/second" }
  return try({ "user", "mount" }, steps)
end

-- A container, but for its command: a directory, which is refused when all else is done. Nothing is made in the root, for it has
-- what is mounted on.
local function try_container(fields)
  fields.rootfs, fields.readonly, fields.command = "/", true, { "/" }
  local ok, box = description.try(container.new, fields)
  if not ok then return box end
  local _, err = box:run()
  return err.kind == "not_executable" or err
end

function perform.container()
  for _, target in ipairs { "/proc", "/sys", "/dev" } do
    if not sys.stat(target) then return ("there is no %s here"):format(target) end
  end
  return try_container {}
end

function perform.ranges() return try_container { namespaces = { "user", "mount" }, uid_map = "auto", standard_mounts = false } end

function perform.init()
  local handover = require "casulo.handover"
  local job = process.job(plan.new { handover.steps { init = {}, command = { EXIT }, numbers = handover.numbers(), host = host } })
  job.flags, job.above = sys.CLONE_FILES, handover.numbers().above
  local child <close>, err = process.start { job = job }
  if not child then return err end
  local result = child:wait()
  return result.exit_code == 0 or result.lost ~= nil or ("it ended with signal %d"):format(result.signal or 0)
end

-- A mount with the ids of a user namespace in place of its own. → true, or nil and a message
local function idmap_root(pid)
  local child <close> = assert(sys.open(("/proc/%d"):format(pid), sys.O_PATH | sys.O_DIRECTORY))
  local maps = require "casulo.recipes.users".id_maps({ { 0, host.uid, 1 } }, { { 0, host.gid, 1 } })
  local ok, failure = plan.run(plan.new(maps):phase "born", sys, { child = child })
  if not ok then return nil, failure.message end
  local namespace <close> = assert(sys.openat(child, "ns/user", sys.O_RDONLY))
  local tree <close>, message = sys.open_tree(sys.AT_FDCWD, "/", sys.OPEN_TREE_CLONE | sys.AT_RECURSIVE)
  if not tree then return nil, message end
  return sys.mount_setattr(tree, "", sys.AT_EMPTY_PATH, string.pack("=I8I8I8I8", sys.MOUNT_ATTR_IDMAP, 0, 0, namespace:fileno()))
end

function perform.idmap()
  local ok, done, message
  local pid, why = sys.clone(sys.CLONE_NEWUSER, sys.program { EXIT }, { born = function(pid)
    ok, done, message = pcall(idmap_root, pid)
    return true
  end })
  if not pid then return why end
  repeat local waited, _, errno = sys.waitpid(pid, sys.__WALL) until waited or errno ~= sys.EINTR
  return ok and done or message or done
end

function perform.landlock()
  if not sys.landlock_create_ruleset then return nil end
  local version, message = sys.landlock_create_ruleset(nil, sys.LANDLOCK_CREATE_RULESET_VERSION)
  return version or message
end

--- Trials that are yet to be made.
-- @treturn table what came of each by its name
return function()
  return setmetatable({}, {
    __index = function(trials, name)
      local outcome = perform[name] and perform[name]()
      rawset(trials, name, outcome)
      return outcome
    end,
  })
end
