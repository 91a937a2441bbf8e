-- SPDX-License-Identifier: MIT

--- What of /proc and /sys the processes of a container may not see, or not change: these show the whole kernel, whatever the
-- namespaces are.
--
-- All are reached from the descriptor of the mount that they lie in, so nobody who changes the root meanwhile can lead them
-- astray.
-- @module casulo.recipes.masks

local detached = require "casulo.recipes.detached"
local mounts = require "casulo.recipes.mounts"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local masks = {}

--- What is hidden where nothing is asked for.
masks.MASKED = {
  "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
  "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
}

--- What is read-only where nothing is asked for: files that belong to the host's root, and act on all of it.
masks.READONLY = { "/proc/bus", "/proc/dynamic_debug", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" }

local CLONE = sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC

-- The flags of calls that take the place itself where the path is empty.
local function at(path, flags, empty) return path == "" and flags | empty or flags end

-- What a place in a mount is called: where it is all of it, as the mount is.
local function within(mount, path) return path == "" and mount or ("%s in %s"):format(path, mount) end

local function over(name, mount, path, why)
  local flags = at(path, sys.MOVE_MOUNT_F_EMPTY_PATH, sys.MOVE_MOUNT_T_EMPTY_PATH)
  return { "move_mount", ref(name), "", ref(mount), path, flags, why = why }
end

--- Makes a place read-only that lies in an attached mount.
-- @tparam string mount the value that holds the mount
-- @tparam string path in it
-- @treturn table steps
function masks.readonly(mount, path)
  local name = "copy of " .. within(mount, path)
  return {
    { "open_tree", ref(mount), path, at(path, CLONE | sys.AT_RECURSIVE, sys.AT_EMPTY_PATH), as = name,
      why = "it acts on the whole kernel, whatever the namespaces are" },
    { "mount_setattr", ref(name), "", sys.AT_EMPTY_PATH | sys.AT_RECURSIVE, mounts.attribute_set(sys.MOUNT_ATTR_RDONLY),
      why = "so root inside may look at it, and not write" },
    over(name, mount, path, "over itself"),
  }
end

--- A directory of proc that is always empty; a copy of it covers others at a small cost.
masks.EMPTY_IN_PROC = "tty/ldisc"

--- What covers directories where that is not at hand: an empty one.
-- @treturn table steps
function masks.empty_directory()
  local SAFE = sys.MOUNT_ATTR_RDONLY | sys.MOUNT_ATTR_NOSUID | sys.MOUNT_ATTR_NODEV | sys.MOUNT_ATTR_NOEXEC
  return detached.filesystem("empty directory", "tmpfs", { { "mode", "555", "nobody writes to it" } }, SAFE,
    "an empty directory, to hide others under it")
end

--- What covers files: the null device, which is empty to readers.
-- @treturn table steps
function masks.null()
  return detached.clone_device("null", "/dev/null", "the null device, to hide files under it")
end

--- Covers a place in an attached mount.
-- @tparam string cover the value that holds what covers it
-- @tparam ?string inside where in an attached mount, which is copied: "" is all of it.
-- Without, the cover has no place yet, and gets this one
-- @tparam string mount the value that holds the mount
-- @tparam string path in it
-- @treturn table steps
function masks.cover(cover, inside, mount, path)
  local why = "it tells of the whole host, or reaches its memory: hidden"
  if not inside then return { over(cover, mount, path, why) } end
  local name = "cover of " .. within(mount, path)
  return {
    { "open_tree", ref(cover), inside, at(inside, CLONE, sys.AT_EMPTY_PATH), as = name, why = "what is empty, for another place" },
    over(name, mount, path, why),
  }
end

return masks
