-- SPDX-License-Identifier: MIT

--- A place to work in, while a container's mounts are made: a tmpfs over the host's / in this mount namespace, which goes
-- when the work is done. What must lie in an attached file system to be made is made here, with names that are not the host's.
-- @module casulo.recipes.scratch

local detached = require "casulo.recipes.detached"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local scratch = {}

--- Enters a new one. Paths that begin with / still mean the host's, for this process has its root below.
-- @tparam string name of the value
-- @tparam string why
-- @tparam[opt] string size as large as it may grow
-- @treturn table steps
-- @see tmpfs(5), move_mount(2)
function scratch.enter(name, why, size)
  local settings = { { "mode", "755", "only root may add to it" } }
  if size then settings[2] = { "size", size, "as large as it may grow" } end
  return {
    detached.filesystem(name, "tmpfs", settings, sys.MOUNT_ATTR_NOSUID | sys.MOUNT_ATTR_NODEV, why),
    detached.attach(name, "/", "the kernel wants an attached mount for what comes now; absolute paths still lead to what is below"),
    { "fchdir", ref(name), why = "into it, by descriptor" },
  }
end

--- Leaves it: only what was taken out of it remains.
-- @treturn table steps
-- @see umount(2)
function scratch.leave()
  return { { "umount2", ".", sys.MNT_DETACH, why = "take it away: what was made of it keeps what it needs" } }
end

local function write_file(file, index)
  local path, fd = ("%d"):format(index), ("%s content"):format(file.name)
  local mode = tonumber(file.mode or "644", 8)
  local masked = mode & 18 ~= 0
  return {
    masked and { "umask", 0, why = "all the mode bits that were asked for" } or {},
    { "openat", sys.AT_FDCWD, path, sys.O_WRONLY | sys.O_CREAT | sys.O_EXCL | sys.O_CLOEXEC, mode, as = fd, why = "a file of its own" },
    masked and { "umask", 18, why = "and usual modes again" } or {},
    file.content ~= "" and { "write", ref(fd), file.content, expect = #file.content, why = "with the text of the description" } or {},
    (file.uid or file.gid) and { "fchown", ref(fd), file.uid or -1, file.gid or -1, why = "whose it is, by ids of this user namespace" } or {},
    { "close", ref(fd), why = "done with it" },
    { "open_tree", sys.AT_FDCWD, path, sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC, as = file.name,
      why = "a mount of this file alone, to be attached in its place" },
    file.readonly and detached.attributes(file.name, sys.MOUNT_ATTR_RDONLY, "nobody inside may change it") or {},
  }
end

--- Files with a content, each in a value of its own.
-- @tparam table files each with `name`, of its value, `content`, `mode`, `uid`, `gid`, `readonly`
-- @treturn table steps
-- @see open_tree(2)
function scratch.files(files)
  local steps = { scratch.enter("files", "a file system in memory for the files that the description holds") }
  for i, file in ipairs(files) do steps[#steps + 1] = write_file(file, i) end
  steps[#steps + 1] = scratch.leave()
  return steps
end

return scratch
