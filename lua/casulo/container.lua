-- SPDX-License-Identifier: MIT

--- Containers: a checked description, the plan that follows from it, and what can be done with it.
-- @module casulo.container

local description = require "casulo.description"
local detached = require "casulo.recipes.detached"
local life = require "casulo.recipes.life"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

local CLONE_FLAGS = {
  user = sys.CLONE_NEWUSER, pid = sys.CLONE_NEWPID, mount = sys.CLONE_NEWNS, uts = sys.CLONE_NEWUTS,
  ipc = sys.CLONE_NEWIPC, net = sys.CLONE_NEWNET, cgroup = sys.CLONE_NEWCGROUP, time = sys.CLONE_NEWTIME,
}

local NOSUID, NODEV, NOEXEC = sys.MOUNT_ATTR_NOSUID, sys.MOUNT_ATTR_NODEV, sys.MOUNT_ATTR_NOEXEC
local SAFE = NOSUID | NODEV | NOEXEC

local container = {}
local Container = {}
Container.__index = Container

--- The flags of clone(2) for a set of namespaces.
-- @tparam table new
-- @treturn integer
function container.clone_flags(new)
  local flags = 0
  for kind in pairs(new) do flags = flags | CLONE_FLAGS[kind] end
  return flags
end

local function environment(checked, host)
  local user = checked.user and checked.user.uid or 0
  local env = { PATH = PATH, HOME = user == 0 and "/root" or "/", TERM = host.term }
  for _, name in ipairs(checked.inherit_env or {}) do env[name] = os.getenv(name) end
  for name, value in pairs(checked.env) do env[name] = value end
  local list = {}
  for name, value in pairs(env) do list[#list + 1] = ("%s=%s"):format(name, value) end
  table.sort(list)
  return list, env.PATH
end

-- Each kind of mount → how it is made while the host is in sight. `name` is the value that will hold it.
local MAKE = {}

function MAKE.bind(name, mount)
  return detached.clone_tree(name, mount.source, "what is bound in, while the host's tree is in sight", mount)
end

function MAKE.tmpfs(name, mount)
  local settings = { { "mode", mount.mode or "1777", mount.mode_why or "who may write at its top" } }
  if mount.size then settings[2] = { "size", mount.size, "as large as it may grow" } end
  return detached.filesystem(name, "tmpfs", settings, mount.attributes | NOSUID | NODEV, mount.why or "a file system in memory")
end

-- The kernel lets the owner of a user namespace mount what shows another namespace only if that is its own, too.
function MAKE.proc(name, mount, checked)
  if checked.new.user and not checked.new.pid then
    return detached.clone_tree(name, "/proc", "the host's /proc: the PID namespace is the host's, too",
      { readonly = mount.readonly, nosuid = true, nodev = true, noexec = true })
  end
  local settings = mount.hidepid and { { "hidepid", tostring(mount.hidepid), "users see no processes but their own" } } or {}
  return detached.filesystem(name, "proc", settings, mount.attributes | SAFE,
    "a /proc that shows the PID namespace of its maker; made while the host's is in sight, as the kernel asks in a user namespace")
end

function MAKE.sysfs(name, mount, checked)
  if checked.new.user and not checked.new.net then
    return detached.clone_tree(name, "/sys", "the host's /sys: the network namespace is the host's, too",
      { readonly = true, nosuid = true, nodev = true, noexec = true })
  end
  return detached.filesystem(name, "sysfs", {}, mount.attributes | SAFE | sys.MOUNT_ATTR_RDONLY,
    "a /sys that shows this network namespace; read-only, for it reaches the host's devices")
end

local function maps_tty_group(checked, host)
  if not checked.new.user then return host.has_tty_group end
  for _, range in ipairs(checked.gid_map) do
    if range[1] <= 5 and 5 < range[1] + range[3] then return true end
  end
  return false
end

function MAKE.devpts(name, mount, checked, host)
  local settings = {
    { "ptmxmode", "0666", "everyone inside may open a new terminal" },
    { "mode", "0620", "and its group may write to it, as write(1) does" },
  }
  if maps_tty_group(checked, host) then settings[3] = { "gid", "5", "that group is tty" } end
  return detached.filesystem(name, "devpts", settings, mount.attributes | NOSUID | NOEXEC, "terminals of its own, numbered from 0")
end

function MAKE.mqueue(name, mount)
  return detached.filesystem(name, "mqueue", {}, mount.attributes | SAFE, "the POSIX message queues of this IPC namespace")
end

function MAKE.cgroup2(name, mount)
  return detached.filesystem(name, "cgroup2", {}, mount.attributes | SAFE, "the cgroups of this cgroup namespace")
end

local ATTACH_WHY = {
  proc = "ps shows what is here: only this container's processes", sysfs = "the kernel's devices, to look at",
  devpts = "where terminals appear", bind = "the host's files in their place, found inside the container's root",
}

-- The mounts of the container in the order in which they are attached: the standard ones, then the description's.
local function mount_list(checked)
  local list = {}
  if checked.standard_mounts then
    list = {
      { type = "sysfs", target = "/sys", name = "sysfs" },
      { type = "tmpfs", target = "/dev", name = "dev", mode = "755", mode_why = "only root may add to it", devices = true,
        why = "a /dev with nothing of the host's in it" },
      { type = "devpts", target = "/dev/pts", name = "devpts" },
      { type = "tmpfs", target = "/dev/shm", name = "shm", mode = "1777", mode_why = "everyone may write, and remove only what is theirs",
        why = "where POSIX shared memory lives" },
      -- last: where it is in sight, a link in the root may lead through /proc/self/fd to what is still open
      { type = "proc", target = "/proc", name = "proc" },
    }
  end
  table.move(checked.mounts, 1, #checked.mounts, #list + 1, list)
  local mounts = require "casulo.recipes.mounts"
  for i, mount in ipairs(list) do
    -- the position keeps the names of the values apart, whatever the targets are
    local name = mount.name or ("mount %d %s"):format(i, mount.target)
    list[i] = setmetatable({ is_standard = mount.name, name = name, attributes = mounts.attributes(mount) }, { __index = mount })
  end
  return list
end

-- While the host is in sight: a clone of each device, read-only, so that a chmod inside does not reach the host's.
local function make_devices()
  local steps = {}
  for _, node in ipairs(require "casulo.recipes.devices".NODES) do
    steps[#steps + 1] = detached.clone_tree("device " .. node, "/dev/" .. node,
      "a device of the host that does no harm", { readonly = true })
  end
  return steps
end

local function attach_devices(made)
  local devices = require "casulo.recipes.devices"
  local steps = {}
  for _, node in ipairs(devices.NODES) do
    local path = "/dev/" .. node
    steps[#steps + 1] = detached.mount_point(path, true, made)
    steps[#steps + 1] = detached.attach("device " .. node, path, "the device in its place")
  end
  steps[#steps + 1] = devices.links "/dev"
  return steps
end

local function is_within(path, list, before)
  for i = 1, before - 1 do
    if path:sub(1, #list[i].target + 1) == list[i].target .. "/" then return true end
  end
  return false
end

-- What was made below a place can no longer be seen once something is mounted there.
local function forget_below(target, made)
  for path in pairs(made) do
    if path:sub(1, #target + 1) == target .. "/" then made[path] = nil end
  end
end

-- Inside the new root: first the places that lie in the root itself, so that it can be made read-only before anything
-- else is attached to it; then the mounts, each with its place if that lies in an earlier one.
local function attach_all(checked, list)
  local steps, made = {}, {}
  local function place(mount)
    return detached.mount_point(mount.target, mount.is_file, made)
  end
  for i, mount in ipairs(list) do
    if not is_within(mount.target, list, i) then steps[#steps + 1] = place(mount) end
  end
  if checked.readonly then
    steps[#steps + 1] = {
      { "mount_setattr", sys.AT_FDCWD, "/", sys.AT_RECURSIVE, string.pack("=I8I8I8I8", sys.MOUNT_ATTR_RDONLY, 0, 0, 0),
        why = "the root is read-only, before anything else is attached to it" },
    }
  end
  for i, mount in ipairs(list) do
    local why = ATTACH_WHY[mount.type] or "the mount in its place"
    if mount.is_standard then
      if is_within(mount.target, list, i) then steps[#steps + 1] = place(mount) end
      steps[#steps + 1] = detached.attach(mount.name, mount.target, why)
    else
      local is_nested = is_within(mount.target, list, i)
      steps[#steps + 1] = detached.attach_carefully(mount.name, mount.target, is_nested, mount.is_file, why)
    end
    forget_below(mount.target, made)
    if mount.devices then steps[#steps + 1] = attach_devices(made) end
  end
  return steps
end

local function become_root(checked)
  if not checked.new.user or checked.own_maps then return {} end
  local first = { uid = checked.uid_map[1][1], gid = checked.gid_map[1][1] }
  return {
    require "casulo.recipes.users".become(first,
      "root inside from here on: before, this process could still read what only its caller may; "
        .. "from here, new files get owners that the maps know"),
    life.die_with_caller "the kernel forgets that request when the ids change",
  }
end

local function file_system_steps(checked, host)
  local list = mount_list(checked)
  local root = checked.rootfs:gsub("/*$", "/") -- a directory, and nothing else, has a name that ends so
  local steps = {
    require "casulo.recipes.mounts".private_mounts(),
    detached.clone_tree("root", root, "the tree that becomes /, while the host's is in sight"),
  }
  local function step(item) steps[#steps + 1] = item end
  for _, mount in ipairs(list) do
    if mount.type == "bind" then step(MAKE.bind(mount.name, mount)) end
  end
  if checked.standard_mounts then step(make_devices()) end
  step(detached.attach_root(root, host.root == "initramfs"))
  step(become_root(checked))
  for _, mount in ipairs(list) do
    if mount.type ~= "bind" then step(MAKE[mount.type](mount.name, mount, checked, host)) end
  end
  step(detached.enter_root(host.root == "initramfs"))
  step(attach_all(checked, list))
  return steps
end

local function join_steps(checked)
  local before, child = {}, {}
  for _, kind in ipairs { "net", "uts", "ipc", "cgroup" } do
    local path = checked.joined[kind]
    if path then
      before[#before + 1] = { "open", path, sys.O_RDONLY | sys.O_CLOEXEC, as = kind .. " namespace", phase = "before",
        why = "a namespace that exists already" }
      child[#child + 1] = { "setns", plan.ref(kind .. " namespace"), CLONE_FLAGS[kind], why = "and this process joins it" }
    end
  end
  return before, child
end

local function map_steps(checked)
  if not checked.new.user then return {} end
  local users = require "casulo.recipes.users"
  return checked.own_maps and users.own_id_maps(checked.uid_map, checked.gid_map)
    or users.id_maps(checked.uid_map, checked.gid_map)
end

-- A user namespace whose maps a process wrote itself has given up setgroups.
local function user_steps(checked, host)
  local user, denied = checked.user, checked.own_maps or not (checked.new.user or host.may_setgroups)
  if not user then
    if denied then return {} end
    return { { "setgroups", {}, why = "none of the caller's supplementary groups" } }
  end
  local groups = user.groups or not denied and {} or nil
  return {
    require "casulo.recipes.users".become({ uid = user.uid, gid = user.gid, groups = groups }),
    life.die_with_caller "the kernel forgets that request when the ids change",
  }
end

local function names_steps(checked)
  local steps, names = {}, (checked.hostname or checked.domainname) and require "casulo.recipes.names"
  if checked.hostname then steps[#steps + 1] = names.hostname(checked.hostname) end
  if checked.domainname then steps[#steps + 1] = names.domainname(checked.domainname) end
  return steps
end

--- Whether a value is a container.
-- @param value
-- @treturn boolean
function container.is_container(value) return getmetatable(value) == Container end

--- The plan of a container: steps from a checked description and the facts of a host. Makes no system call.
-- @tparam table checked what `casulo.description` returns
-- @tparam table host facts
-- @tparam table redirected set of the streams that are not the caller's
-- @treturn plan
function container.plan(checked, host, redirected)
  local env, path = environment(checked, host)
  local join_before, join = join_steps(checked)
  return plan.new {
    life.caller(),
    join_before,
    life.die_with_caller(),
    life.session(),
    life.umask(18, "whoever started casulo: the places made here get usual modes"),
    map_steps(checked),
    join,
    file_system_steps(checked, host),
    checked.new.net and require "casulo.recipes.network".loopback() or {},
    names_steps(checked),
    user_steps(checked, host),
    life.cwd(checked.cwd),
    checked.umask ~= 18 and life.umask(checked.umask) or {},
    life.streams(redirected), -- after the last use of what a caller without standard streams has open in their place
    life.clean(),
    life.exec(checked.command, env, path),
  }
end

--- Makes a container from a description. Runs nothing; a bad description raises, naming the field. What the host must
-- be asked, such as whether a file or a directory is bound in, is asked here.
-- @tparam table raw the description; see the README for its fields
-- @treturn container
function container.new(raw)
  local host = require "casulo.host"
  local ok, checked = description.try(description.check, raw, host)
  if not ok then error(checked, 2) end
  for _, mount in ipairs(checked.mounts) do
    if mount.type == "bind" then mount.is_file = host.is_file(mount.source) end
  end
  local copy = {}
  for name, value in pairs(raw) do copy[name] = value end
  return setmetatable({ raw = copy, checked = checked, host = host, programs = {} }, Container)
end

--- Another container that differs in the given fields.
-- @tparam table fields
-- @treturn container
function Container:with(fields)
  if type(fields) ~= "table" then error("container: with expects a table of fields", 2) end
  local raw = {}
  for name, value in pairs(self.raw) do raw[name] = value end
  for name, value in pairs(fields) do raw[name] = value end
  local ok, made = pcall(container.new, raw)
  if not ok then error(made, 2) end
  return made
end

--- The set of streams that are not the caller's.
-- @tparam table streams
-- @treturn table
function container.redirected(streams)
  local redirected = {}
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if streams[name] and streams[name] ~= "inherit" then redirected[name] = true end
  end
  return redirected
end

--- Every step and why, one a line. Runs nothing and needs no privilege.
-- @treturn string
function Container:explain()
  local explain = require "casulo.explain"
  local why = self.checked.new.pid and "a child that is PID 1, with these namespaces of its own" or "a child with these namespaces of its own"
  return container.plan(self.checked, self.host, container.redirected(self.checked))
    :explain(explain.clone(container.clone_flags(self.checked.new)), why)
end

-- The packed program of a set of redirected streams; the next start with the same ones takes it as it is.
local function prepared(self, redirected)
  local key = ("%s %s %s"):format(redirected.stdin, redirected.stdout, redirected.stderr)
  if not self.programs[key] then
    local the_plan = container.plan(self.checked, self.host, redirected)
    self.programs[key] = { plan = the_plan, program = sys.program(the_plan:phase "child"), steps = the_plan:phase "child" }
  end
  return self.programs[key]
end

local function start(self, options)
  local ok, settings = description.try(description.run_options, options, "start")
  if not ok then error(settings, 3) end
  for _, name in ipairs { "stdin", "stdout", "stderr", "timeout" } do
    if settings[name] == nil then settings[name] = self.checked[name] end
  end
  settings.flags = container.clone_flags(self.checked.new)
  settings.own_pids = self.checked.new.pid
  settings.job = prepared(self, container.redirected(settings))
  return require "casulo.process".start(settings)
end

--- Starts the container.
-- @tparam[opt] table options `stdin`, `stdout`, `stderr`, `timeout`, in place of the description's
-- @treturn process or nil and an error, when the command never ran
function Container:start(options)
  local process, err = start(self, options)
  return process, err
end

--- Starts the container and waits for its end.
-- @tparam[opt] table options as for `start`
-- @treturn table result, or nil and an error, when the command never ran
function Container:run(options)
  if (options and options.stdin or self.checked.stdin) == "pipe" then
    error('run: stdin: nobody could write to the pipe; start gives it, or take "null", a file or a descriptor', 2)
  end
  local process <close>, err = start(self, options)
  if not process then return nil, err end
  return process:wait()
end

return container
