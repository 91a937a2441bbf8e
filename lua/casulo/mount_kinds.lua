-- SPDX-License-Identifier: MIT

--- How the root and each kind of mount is made. For a mount, functions of its type's name: `(name, mount, checked, host) → steps`,
-- where `name` is the value that holds it.
-- @module casulo.mount_kinds

local detached = require "casulo.recipes.detached"
local sys = require "casulo.sys"

local NOSUID, NODEV, NOEXEC = sys.MOUNT_ATTR_NOSUID, sys.MOUNT_ATTR_NODEV, sys.MOUNT_ATTR_NOEXEC
local SAFE = NOSUID | NODEV | NOEXEC

local mount_kinds = {}

--- The name of a directory, such that nothing else has it.
-- @tparam string path
-- @treturn string with a slash at its end
function mount_kinds.directory(path) return (path:gsub("/*$", "/")) end

--- Clones what the root is made of, while the host is in sight.
-- @tparam table root of a checked description
-- @treturn table steps
function mount_kinds.clone_root(root)
  if root.type == "overlay" then return require "casulo.recipes.overlay".clone_layers("root", root) end
  if root.type ~= "directory" then return {} end
  if root.idmap then return detached.idmapped_tree("root", mount_kinds.directory(root.path), { nodev = root.nodev }) end
  return detached.clone_tree("root", mount_kinds.directory(root.path), "the tree that becomes /, while the host's is in sight",
    { nodev = root.nodev })
end

--- Makes a root that is no clone.
-- @tparam table root of a checked description
-- @tparam table checked the description
-- @tparam table host facts
-- @treturn table steps
function mount_kinds.make_root(root, checked, host)
  if root.type == "overlay" then return mount_kinds.overlay("root", root, checked, host) end
  return mount_kinds.tmpfs("root", { size = root.size, mode = root.mode or "755", attributes = 0, why = "an empty tree that becomes /" })
end

-- In a user namespace, be it the container's own or the caller's, the kernel lets nobody set the attributes trusted.*.
function mount_kinds.overlay(name, mount, checked, host)
  return require "casulo.recipes.overlay".make(name, mount, checked.new.user or host.in_user_namespace,
    (mount.attributes or 0) | (mount.nodev == false and 0 or NODEV))
end

function mount_kinds.bind(name, mount)
  if mount.idmap then return detached.idmapped_tree(name, mount.source, mount) end
  return detached.clone_tree(name, mount.source, "what is bound in, while the host's tree is in sight", mount)
end

function mount_kinds.device(name, mount)
  return detached.clone_device(name, mount.source, "a device of the host, by name; read-only, or a chmod inside would reach the host's")
end

function mount_kinds.tmpfs(name, mount)
  local settings = { { "mode", mount.mode or "1777", mount.mode_why or "who may write at its top" } }
  if mount.size then settings[#settings + 1] = { "size", mount.size, "as large as it may grow" } end
  if mount.uid then settings[#settings + 1] = { "uid", ("%d"):format(mount.uid), "whose its top is, an id of this user namespace" } end
  if mount.gid then settings[#settings + 1] = { "gid", ("%d"):format(mount.gid), "and its group" } end
  return detached.filesystem(name, "tmpfs", settings, mount.attributes | NOSUID | NODEV, mount.why or "a file system in memory")
end

-- The kernel lets the owner of a user namespace mount what shows another namespace only if that is its own, too.
function mount_kinds.proc(name, mount, checked)
  if checked.new.user and not checked.new.pid then
    return detached.clone_tree(name, "/proc", "the host's /proc: the PID namespace is the host's, too",
      { readonly = mount.readonly, nosuid = true, nodev = true, noexec = true })
  end
  local settings = mount.hidepid and { { "hidepid", tostring(mount.hidepid), "users see no processes but their own" } } or {}
  return detached.filesystem(name, "proc", settings, mount.attributes | SAFE,
    "a /proc that shows the PID namespace of its maker; made while the host's is in sight, as the kernel asks in a user namespace")
end

function mount_kinds.sysfs(name, mount, checked)
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

function mount_kinds.devpts(name, mount, checked, host)
  local settings = {
    { "ptmxmode", "0666", "everyone inside may open a new terminal" },
    { "mode", "0620", "and its group may write to it, as write(1) does" },
  }
  if maps_tty_group(checked, host) then settings[3] = { "gid", "5", "that group is tty" } end
  return detached.filesystem(name, "devpts", settings, mount.attributes | NOSUID | NOEXEC, "terminals of its own, numbered from 0")
end

function mount_kinds.mqueue(name, mount)
  return detached.filesystem(name, "mqueue", {}, mount.attributes | SAFE, "the POSIX message queues of this IPC namespace")
end

-- Its top is the cgroup that the caller is in: root inside could freeze or kill it there, or make cgroups beside it.
function mount_kinds.cgroup2(name, mount)
  local readonly = mount.readonly == false and 0 or sys.MOUNT_ATTR_RDONLY
  return detached.filesystem(name, "cgroup2", {}, mount.attributes | SAFE | readonly,
    "the cgroups of this cgroup namespace, which begin at the caller's" .. (readonly ~= 0 and "; to look at" or ""))
end

return mount_kinds
