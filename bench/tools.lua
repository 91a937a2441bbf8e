-- SPDX-License-Identifier: MIT
--- The command lines by which each tool runs the same command in the same isolation.

local peer = require "bench.peer"

local tools = {}

local function words(text)
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = word end
  return list
end

local function joined(...)
  local list = {}
  for _, part in ipairs { ... } do table.move(part, 1, #part, #list + 1, list) end
  return list
end

local CASULO = {
  four = function(root) return { "bench/four.lua", "--rootfs", root } end,
  standard = function(root) return { "--rootfs", root, "--share", "net,cgroup" } end,
  six = function(root) return { "bench/six.lua", "--rootfs", root } end,
  whole = function(root) return { "--rootfs", root } end,
}

local UNSHARE = {
  four = "--pid --fork --kill-child --mount --uts --ipc --mount-proc",
  six = "--pid --fork --kill-child --mount --uts --ipc --net --cgroup --mount-proc",
}

-- Its /dev has no /dev/shm of its own, its /sys is the host's.
local BWRAP = {
  four = "--unshare-pid --unshare-uts --unshare-ipc --proc /proc",
  standard = "--unshare-pid --unshare-uts --unshare-ipc --proc /proc --dev /dev",
  six = "--unshare-pid --unshare-uts --unshare-ipc --unshare-net --unshare-cgroup --proc /proc",
  whole = "--unshare-pid --unshare-uts --unshare-ipc --unshare-net --unshare-cgroup"
    .. " --proc /proc --dev /dev --tmpfs /dev/shm --ro-bind /sys /sys",
}

local function mount(destination, type, ...) return { destination = destination, type = type, source = type, options = { ... } } end
local PROC = mount("/proc", "proc", "nosuid", "nodev", "noexec")
local DEV = {
  mount("/dev", "tmpfs", "nosuid", "mode=755"),
  mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
  mount("/dev/shm", "tmpfs", "nosuid", "nodev", "mode=1777"),
}
local SYS = mount("/sys", "sysfs", "nosuid", "nodev", "noexec", "ro")

local OCI = {
  four = { namespaces = "pid mount uts ipc", mounts = { PROC } },
  standard = { namespaces = "pid mount uts ipc", mounts = { PROC, table.unpack(DEV) } },
  six = { namespaces = "pid mount uts ipc network cgroup", mounts = { PROC } },
  whole = { namespaces = "pid mount uts ipc network cgroup", mounts = { PROC, SYS, table.unpack(DEV) } },
}

--- A bundle of the Open Container Initiative, as crun and runc take it.
-- @tparam string kind
-- @tparam string root an absolute path
-- @tparam {string,...} command
-- @treturn table for its config.json
function tools.bundle(kind, root, command)
  local namespaces = {}
  for i, type in ipairs(words(OCI[kind].namespaces)) do namespaces[i] = { type = type } end
  return {
    ociVersion = "1.0.0",
    process = { user = { uid = 0, gid = 0 }, args = command, env = { "PATH=/bin" }, cwd = "/" },
    root = { path = root },
    mounts = OCI[kind].mounts,
    linux = { namespaces = namespaces },
  }
end

local function oci(runtime, ...)
  local options = { ... }
  return function(kind, _, _, directory)
    return joined({ runtime }, options, { "--root", ("%s/state/%s"):format(directory, runtime) },
      { "run", "--bundle", ("%s/bundle-%s"):format(directory, kind), "casulo-bench" })
  end
end

--- How each tool is called: its name, and a function of kind, root, command and the directory of the bundles that returns a
-- list of words, or nil where it has no such kind.
tools.LIST = {
  { "casulo", function(kind, root, command)
    return joined({ "build/bin/casulo", "run" }, CASULO[kind](root), { "--" }, command)
  end },
  { "C by hand", function(kind, root, command, directory)
    return kind ~= "standard" and joined({ directory .. "/by_hand", kind, root .. "/" }, command)
  end },
  { "unshare", function(kind, root, command)
    return UNSHARE[kind] and joined({ "unshare" }, words(UNSHARE[kind]), { root .. command[1] }, { table.unpack(command, 2) })
  end },
  { "bwrap", function(kind, root, command)
    return joined({ "bwrap", "--die-with-parent", "--new-session", "--bind", root, "/" }, words(BWRAP[kind]), command)
  end },
  { "crun", oci("crun", "--cgroup-manager=disabled") },
  { "crun with a cgroup", oci "crun" },
  { "runc", oci "runc" },
}

--- Whether the tool of a name in the list can be run.
-- @tparam string name
-- @treturn boolean
function tools.is_installed(name) return name == "casulo" or name == "C by hand" or peer.find(name:match "^%S+") ~= nil end

return tools
