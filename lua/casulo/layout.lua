-- SPDX-License-Identifier: MIT

--- The file system of a container: which mounts it has, and the order in which that is safe.
--
-- 1. While the host is in sight, what comes from it is cloned: the root, what is bound in, devices.
-- 2. Still in sight of it, new file systems are made. All these are descriptors and have no place yet.
-- 3. The root is entered, and the host's tree is gone.
-- 4. Missing places are made and the rest is attached. Each path is now resolved inside the container.
-- @module casulo.layout

local detached = require "casulo.recipes.detached"
local mounts = require "casulo.recipes.mounts"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local NOSUID, NODEV, NOEXEC = sys.MOUNT_ATTR_NOSUID, sys.MOUNT_ATTR_NODEV, sys.MOUNT_ATTR_NOEXEC
local SAFE = NOSUID | NODEV | NOEXEC

local layout = {}

-- Each kind of mount → how it is made while the host is in sight. `name` is the value that will hold it.
local MAKE = {}

function MAKE.bind(name, mount)
  return detached.clone_tree(name, mount.source, "what is bound in, while the host's tree is in sight", mount)
end

function MAKE.device(name, mount)
  return detached.clone_tree(name, mount.source, "a device of the host, by name; read-only, or a chmod inside would reach the host's",
    { readonly = true })
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
  devpts = "where terminals appear", device = "the device in its place", bind = "the host's files in their place, found inside the container's root",
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
  for i, mount in ipairs(list) do
    -- the position keeps the names of the values apart, whatever the targets are
    local name = mount.name or ("mount %d %s"):format(i, mount.target)
    list[i] = setmetatable({ is_standard = mount.name, name = name, attributes = mounts.attributes(mount) }, { __index = mount })
  end
  return list
end

-- What is cloned from the host's tree, before anything is mounted over it.
local IS_CLONED = { bind = true, device = true }

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
      { "mount_setattr", sys.AT_FDCWD, "/", sys.AT_RECURSIVE, mounts.attribute_set(sys.MOUNT_ATTR_RDONLY),
        why = "the root is read-only, before anything else is attached to it" },
    }
  end
  for i, mount in ipairs(list) do
    local why, is_nested = ATTACH_WHY[mount.type] or "the mount in its place", is_within(mount.target, list, i)
    if mount.is_standard then
      if is_nested then steps[#steps + 1] = place(mount) end
      steps[#steps + 1] = detached.attach(mount.name, mount.target, why)
    else
      steps[#steps + 1] = detached.attach_carefully(mount.name, mount.target, is_nested, mount.is_file, why)
    end
    forget_below(mount.target, made)
    if mount.devices then steps[#steps + 1] = attach_devices(made) end
  end
  return steps
end

--- The steps from the host's tree to the container's.
-- @tparam table checked what `casulo.description` returns
-- @tparam table host facts
-- @tparam table become_root steps to the first ids of the maps, if these are not the caller's
-- @treturn plan
-- @see mount_namespaces(7), pivot_root(2)
function layout.steps(checked, host, become_root)
  local list = mount_list(checked)
  local root = checked.rootfs:gsub("/*$", "/") -- a directory, and nothing else, has a name that ends so
  local steps = {
    mounts.private_mounts(),
    detached.clone_tree("root", root, "the tree that becomes /, while the host's is in sight", { nodev = true }),
  }
  local function step(item) steps[#steps + 1] = item end
  for _, mount in ipairs(list) do
    if IS_CLONED[mount.type] then step(MAKE[mount.type](mount.name, mount)) end
  end
  if checked.standard_mounts then step(make_devices()) end
  step(detached.attach_root(root, host.root == "initramfs"))
  step(become_root)
  for _, mount in ipairs(list) do
    if not IS_CLONED[mount.type] then step(MAKE[mount.type](mount.name, mount, checked, host)) end
  end
  step(detached.enter_root(host.root == "initramfs"))
  step(attach_all(checked, list))
  return plan.of_recipes(steps)
end

return layout
