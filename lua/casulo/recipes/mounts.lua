-- SPDX-License-Identifier: MIT

--- Mounts made in place, one after another, as one would by hand with mount(8).
--
-- For scripts of one's own, and for learning. A container uses `casulo.recipes.detached` instead, where
-- the order of the calls keeps a hostile root file system from leading them astray.
-- @module casulo.recipes.mounts

local sys = require "casulo.sys"

local mounts = {}

local FLAGS = { readonly = sys.MS_RDONLY, nosuid = sys.MS_NOSUID, nodev = sys.MS_NODEV, noexec = sys.MS_NOEXEC }
local SAFE = sys.MS_NOSUID | sys.MS_NODEV | sys.MS_NOEXEC

--- Splits options into mount flags and the data of the file system.
-- @tparam table options flags such as `nosuid = true`; the rest is data, such as `mode = "755"`
-- @treturn integer flags
-- @treturn ?string data
local function flags_and_data(options)
  local flags, data = 0, {}
  for name, value in pairs(options or {}) do
    if FLAGS[name] then
      if value then flags = flags | FLAGS[name] end
    elseif value == true then
      data[#data + 1] = name
    elseif value then
      local is_bits = name == "mode" and math.type(value) == "integer" -- which the kernel reads as octal digits
      data[#data + 1] = (is_bits and "%s=%o" or "%s=%s"):format(name, value)
    end
  end
  table.sort(data)
  return flags, data[1] and table.concat(data, ",") or nil
end

--- Cuts this mount namespace off from all others. Only in a new mount namespace: elsewhere it changes the host.
-- @treturn table steps
-- @see mount(2), mount_namespaces(7)
function mounts.private_mounts()
  return {
    { "mount", nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE, nil,
      why = "mounts made here stay here, and none of the host's arrives: / is shared on most hosts, and mounts propagate "
        .. "(in a new mount namespace only, or it is the host that changes)" },
  }
end

--- A /proc of this PID namespace in place of the inherited one. Wants private mounts first, CAP_SYS_ADMIN (as root, or as
-- root of a user namespace), and a directory /proc.
-- @tparam[opt] table options `hidepid`: 0, 1 or 2
-- @treturn table steps
-- @see proc(5), pid_namespaces(7)
function mounts.fresh_proc(options)
  local data = options and options.hidepid and ("hidepid=%d"):format(options.hidepid) or nil
  return {
    { "umount2", "/proc", sys.MNT_DETACH, tolerate = { sys.EINVAL },
      why = "detach the inherited /proc, busy or not: it shows the PIDs of another namespace; none there is fine too" },
    { "mount", "proc", "/proc", "proc", SAFE, data,
      why = "a fresh /proc shows the PID namespace of who mounts it, so ps sees only its own world; in it no setuid bits, "
        .. "no devices, nothing to execute" .. (data and "; and users see only their own processes" or "") },
  }
end

--- A read-only /sys of this network namespace.
-- @tparam[opt] string target `/sys`
-- @treturn table steps
-- @see sysfs(5)
function mounts.sysfs(target)
  return {
    { "mount", "sysfs", target or "/sys", "sysfs", SAFE | sys.MS_RDONLY, nil,
      why = "/sys to look at and not to write: it reaches the host's devices" },
  }
end

--- A file system in memory.
-- @tparam string target
-- @tparam[opt] table options `nosuid`, `nodev`, `noexec`, `readonly`; `size`, `mode` (permission bits, or octal digits)
-- and others of tmpfs(5)
-- @treturn table steps
-- @see tmpfs(5)
function mounts.tmpfs(target, options)
  local flags, data = flags_and_data(options)
  return {
    { "mount", "tmpfs", target, "tmpfs", flags, data,
      undo = { "umount2", target, sys.MNT_DETACH },
      why = "a file system in memory, which is gone with its last mount" },
  }
end

--- The attributes of a mount by the names that options and descriptions have for them.
mounts.ATTRIBUTES = {
  readonly = sys.MOUNT_ATTR_RDONLY, nosuid = sys.MOUNT_ATTR_NOSUID,
  nodev = sys.MOUNT_ATTR_NODEV, noexec = sys.MOUNT_ATTR_NOEXEC,
}

--- The same files in a second place.
-- @tparam string source
-- @tparam string target
-- @tparam[opt] table options `readonly`, `nosuid`, `nodev`, `noexec`, for all the mounts below it too
-- @treturn table steps
-- @see mount(2), mount_setattr(2)
function mounts.bind(source, target, options)
  local steps = {
    { "mount", source, target, nil, sys.MS_BIND | sys.MS_REC, nil,
      undo = { "umount2", target, sys.MNT_DETACH },
      why = "the same files in a second place, with what is mounted below them" },
  }
  for name in pairs(options or {}) do
    if not mounts.ATTRIBUTES[name] then error(("bind: unknown option %s; known: readonly nosuid nodev noexec"):format(tostring(name)), 2) end
  end
  local attributes = mounts.attributes(options)
  if attributes ~= 0 then
    steps[2] = { "mount_setattr", sys.AT_FDCWD, target, sys.AT_RECURSIVE, mounts.attribute_set(attributes),
      why = "a bind mount takes its flags in a second call; recursively, or a mount below it would stay as it was" }
  end
  return steps
end

--- The attributes of a mount for fsmount(2) and mount_setattr(2).
-- @tparam ?table options `readonly`, `nosuid`, `nodev`, `noexec`
-- @treturn integer
function mounts.attributes(options)
  local attributes = 0
  for name, bit in pairs(mounts.ATTRIBUTES) do
    if options and options[name] then attributes = attributes | bit end
  end
  return attributes
end

--- struct mount_attr, with attributes to set.
-- @tparam integer attributes
-- @tparam[opt] integer propagation MS_PRIVATE, MS_SLAVE or MS_SHARED
-- @treturn string
-- @see mount_setattr(2)
function mounts.attribute_set(attributes, propagation) return string.pack("=I8I8I8I8", attributes, 0, propagation or 0, 0) end

--- Another root directory for this process and its children. Enough to look around in; a privileged process finds a
-- way out, which it does not after `pivot_root`.
-- @tparam string directory
-- @treturn table steps
-- @see chroot(2)
function mounts.chroot(directory)
  return {
    { "chroot", directory, why = "where the process lives: every path now begins here, but the host's mounts remain" },
    { "chdir", "/", why = "the working directory was still outside, and .. would lead on from there" },
  }
end

--- Another root mount for this mount namespace; the old one is taken away. Wants private mounts first.
-- @tparam string directory
-- @treturn table steps
-- @see pivot_root(2)
function mounts.pivot_root(directory)
  return {
    { "mount", directory, directory, nil, sys.MS_BIND | sys.MS_REC, nil,
      why = "pivot_root wants a mount point: mount the directory on itself" },
    { "chdir", directory, why = "into the new root, for the next two calls" },
    mounts.pivot_here(),
  }
end

--- Makes the working directory, a mount point, the root.
-- @treturn table steps
function mounts.pivot_here()
  return {
    { "pivot_root", ".", ".", why = "the working directory becomes the root of all, and the old root lands on top of it" },
    { "umount2", ".", sys.MNT_DETACH, why = "take the old root away: the host's files can no longer be reached at all" },
    { "chdir", "/", why = "and stand in the new root" },
  }
end

return mounts
