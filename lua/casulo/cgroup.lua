-- SPDX-License-Identifier: MIT

--- Where a process stands in the tree of cgroups.
-- @module casulo.cgroup

local sys = require "casulo.sys"

local cgroup = {}

local function path_of(process)
  local file <close> = io.open(("/proc/%s/cgroup"):format(process))
  return file and ("\n" .. file:read "a"):match "\n0::([^\n]*)"
end

-- Where the second version of cgroups is mounted, and which of its directories that shows.
local function mounted()
  for line in io.lines "/proc/self/mountinfo" do
    local root, target = line:match "^%d+ %d+ %S+ (%S+) (%S+) .* %- cgroup2 "
    if root then return target, root end
  end
end

--- The cgroup of a process, where that is another one than the caller's.
-- @tparam integer pid
-- @treturn ?descriptor its directory, for CLONE_INTO_CGROUP; nil where the caller is in it, too, or it is out of sight
-- @see cgroups(7)
function cgroup.of(pid)
  local own, path = path_of "self", path_of(pid)
  if not path or path == own then return nil end
  local target, root = mounted()
  if not target or root ~= "/" then return nil end
  return (sys.open(target .. path, sys.O_PATH | sys.O_DIRECTORY))
end

return cgroup
