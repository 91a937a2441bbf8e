-- SPDX-License-Identifier: MIT

--- A minimal /dev: what programs rely on, and no device of the host beyond it.
-- @module casulo.recipes.devices

local plan = require "casulo.plan"
local mounts = require "casulo.recipes.mounts"
local sys = require "casulo.sys"

local devices = {}

--- The device nodes.
devices.NODES = { "null", "zero", "full", "random", "urandom", "tty" }

--- The symbolic links: name and target.
devices.LINKS = {
  { "fd", "/proc/self/fd" }, { "stdin", "/proc/self/fd/0" }, { "stdout", "/proc/self/fd/1" },
  { "stderr", "/proc/self/fd/2" }, { "ptmx", "pts/ptmx" },
}

local HARMLESS = sys.MOUNT_ATTR_RDONLY | sys.MOUNT_ATTR_NOSUID | sys.MOUNT_ATTR_NOEXEC

local function link_steps(directory, prefix)
  local steps = {}
  for i, link in ipairs(devices.LINKS) do
    steps[i] = { "symlinkat", link[2], directory, prefix .. link[1],
      why = link[1] == "ptmx" and "a new terminal comes from the container's own devpts"
        or "the descriptors of whoever looks, as programs expect them in /dev" }
  end
  return steps
end

--- Links a minimal /dev has.
-- @tparam string target where it is mounted
-- @treturn table steps
function devices.links(target) return link_steps(sys.AT_FDCWD, target .. "/") end

--- The same where it has no place yet, or one that is not to be trusted.
-- @tparam string name the value that holds it
-- @treturn table steps
function devices.links_in(name) return link_steps(plan.ref(name), "") end

--- A minimal /dev made in place: a tmpfs with the host's harmless devices, terminals and shared memory of its own.
-- The host's /dev is bound in from, so this comes before a new root is entered.
-- @tparam[opt] string target `/dev`
-- @tparam[opt] table host facts; whether it has a group tty decides whose the terminals are
-- @treturn table steps
-- @see devpts(5), shm_overview(7), null(4)
function devices.minimal_dev(target, host)
  target = target or "/dev"
  local terminals = "newinstance,ptmxmode=0666,mode=0620" .. (host and host.has_tty_group and ",gid=5" or "")
  local list = {}
  local function step(item) list[#list + 1] = item end
  local function directory(path, why) step { "mkdirat", sys.AT_FDCWD, path, 493, tolerate = { sys.EEXIST }, why = why } end
  for _, node in ipairs(devices.NODES) do
    step { "open_tree", sys.AT_FDCWD, "/dev/" .. node, sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC, as = "device " .. node,
      why = node == "null" and "the host's harmless devices, while its /dev is in sight" or "likewise" }
    step { "mount_setattr", plan.ref("device " .. node), "", sys.AT_EMPTY_PATH, mounts.attribute_set(HARMLESS),
      why = "read-only, which leaves the device writable, but not its mode and owner: those are the host's" }
  end
  step(mounts.tmpfs(target, { nosuid = true, mode = "755" }))
  for _, node in ipairs(devices.NODES) do
    local path = ("%s/%s"):format(target, node)
    step { "mknodat", sys.AT_FDCWD, path, sys.S_IFREG | 438, why = "an empty file, to mount a device on" }
    step { "move_mount", plan.ref("device " .. node), "", sys.AT_FDCWD, path, sys.MOVE_MOUNT_F_EMPTY_PATH,
      why = "the device, and no other of the host's" }
  end
  directory(target .. "/pts", "where terminals appear")
  step { "mount", "devpts", target .. "/pts", "devpts", sys.MS_NOSUID | sys.MS_NOEXEC, terminals,
    why = "terminals of its own, numbered from 0" }
  directory(target .. "/shm", "where POSIX shared memory lives")
  step(mounts.tmpfs(target .. "/shm", { nosuid = true, nodev = true, mode = "1777" }))
  step(devices.links(target))
  return list
end

return devices
