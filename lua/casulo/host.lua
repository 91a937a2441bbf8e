-- SPDX-License-Identifier: MIT
--- Facts of this host, each gathered once, when it is first asked for.
--
-- * `uid`, `gid`: the effective ids of the caller
-- * `root`: what `/` is: `"mount"`, or `"initramfs"`, from which nobody can pivot away
-- * `term`: the caller's TERM
-- * `is_file(path)`: whether a path is something other than a directory; nil where there is nothing
--
-- A table of the same shape takes its place in unit tests.
-- @module casulo.host

local sys = require "casulo.sys"

local gather = {}

function gather.uid() return sys.geteuid() end
function gather.gid() return sys.getegid() end
function gather.term() return os.getenv "TERM" or "xterm" end

-- Only a ramfs or tmpfs can be the first root file system of the kernel, so others need no look at the table.
function gather.root()
  local root = sys.statfs "/"
  if root and root.type ~= sys.RAMFS_MAGIC and root.type ~= sys.TMPFS_MAGIC then return "mount" end
  for line in io.lines "/proc/self/mountinfo" do
    local id, parent, target = line:match "^(%d+) (%d+) %S+ %S+ (%S+)"
    if target == "/" then return id == parent and "initramfs" or "mount" end
  end
  return "mount"
end

function gather.is_file()
  return function(path)
    local found = sys.stat(path)
    if not found then return nil end
    return found.mode & sys.S_IFMT ~= sys.S_IFDIR
  end
end

return setmetatable({}, {
  __index = function(facts, name)
    local value = gather[name] and gather[name]()
    rawset(facts, name, value)
    return value
  end,
})
