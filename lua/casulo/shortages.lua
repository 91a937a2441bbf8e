-- SPDX-License-Identifier: MIT

--- What there may be too little of for a call, and which limit that is, whatever the call was for.
-- @module casulo.shortages

local obstacles = require "casulo.obstacles"
local sys = require "casulo.sys"

local obstacle = obstacles.new

local function full() return obstacle(nil, "the file system is full, or has no inode left: see df, and df -i") end

local NO_SPACE = {
  open_tree = function()
    return obstacle("sysctl -w fs.mount-max=1000000", "there are as many mounts as sysctl fs.mount-max allows in one namespace")
  end,
  memfd_create = function() return obstacle(nil, "the memory that tmpfs may take is used up: see free") end,
  openat2 = function() return obstacle("sysctl -w kernel.pty.max=16384", "there are as many terminals as sysctl kernel.pty.max allows") end,
}
NO_SPACE.move_mount, NO_SPACE.mount, NO_SPACE.fsmount = NO_SPACE.open_tree, NO_SPACE.open_tree, NO_SPACE.open_tree

local BY_ERRNO = {
  [sys.EMFILE] = function(_, host)
    local limit = host.rlimits.nofile.soft
    return obstacle(("ulimit -n %d"):format(math.max(1024, 2 * limit)), "this process may have no more than %d descriptors", limit)
  end,
  [sys.ENFILE] = function() return obstacle("sysctl -w fs.file-max=1000000", "the host has as many files open as sysctl fs.file-max allows") end,
  [sys.ENOMEM] = function()
    return obstacle(nil, "memory is short: the host's, or what memory.max of the caller's cgroup or ulimit -v leaves")
  end,
  [sys.ENOSPC] = function(err) return (NO_SPACE[err.call] or full)() end,
  [sys.EDQUOT] = function(err)
    if err.call == "keyctl" then
      return obstacle("sysctl -w kernel.keys.maxkeys=2000", "the caller has as many keys as sysctl kernel.keys.maxkeys allows")
    end
    return obstacle(nil, "the disk quota of the caller is used up: see quota")
  end,
  [sys.EFBIG] = function() return obstacle("ulimit -f unlimited", "no file may be that large here") end,
  [sys.EROFS] = function() return obstacle(nil, "the file system is mounted read-only") end,
  [sys.EIO] = function() return obstacle(nil, "the disk or the server behind this file system fails: see dmesg") end,
  [sys.ETIMEDOUT] = function() return "timeout is too short, or a file system of the container does not answer" end,
  [sys.ENAMETOOLONG] = function() return "a name in a path has 255 bytes at most, and a path 4095" end,
}

--- What there is too little of.
-- @tparam table err what `casulo.failure` makes
-- @tparam table host facts, as of `casulo.surroundings`
-- @treturn table|string|nil as of `casulo.hint.obstacle`
return function(err, host)
  return BY_ERRNO[err.errno] and BY_ERRNO[err.errno](err, host)
end
