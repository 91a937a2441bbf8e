-- SPDX-License-Identifier: MIT

--- Where a process stands in the trees of cgroups: the one of version 2, and those of version 1.
-- @module casulo.cgroup

local sys = require "casulo.sys"

local cgroup = {}

-- → the path in each tree, by what the tree is called: its controllers; nothing in version 2. nil when there is no such process
local function paths_of(process)
  local file <close> = io.open(("/proc/%s/cgroup"):format(process))
  local text = file and file:read "a"
  if not text or text == "" then return nil end
  local paths = {}
  for controllers, path in text:gmatch "%d+:([^:\n]*):([^\n]*)" do paths[controllers] = path end
  return paths
end

local function has_all(options, controllers)
  for name in controllers:gmatch "[^,]+" do
    if not (",%s,"):format(options):find((",%s,"):format(name), 1, true) then return false end
  end
  return true
end

-- Where a tree is mounted, and which directory of it is seen there.
local function mounted(controllers)
  local kind = controllers == "" and "cgroup2" or "cgroup"
  for line in io.lines "/proc/self/mountinfo" do
    local root, target, fstype, options = line:match "^%d+ %d+ %S+ (%S+) (%S+) .- %- (%S+) %S+ (%S+)"
    if fstype == kind and has_all(options, controllers) then return target, root == "/" and "" or root end
  end
end

local FORBIDDEN = { [sys.EACCES] = true, [sys.EPERM] = true, [sys.EROFS] = true }

local function open(controllers, path)
  local target, root = mounted(controllers)
  if not target or path:sub(1, #root) ~= root then return nil end -- out of sight
  local fd, message, errno = sys.open(("%s%s/cgroup.procs"):format(target, path:sub(#root + 1)), sys.O_WRONLY)
  if fd or FORBIDDEN[errno] then return fd end
  return nil, message, errno
end

local function words_of(path)
  local words, file <close> = {}, io.open(path)
  for word in (file and file:read "a" or ""):gmatch "%S+" do words[#words + 1] = word end
  return words
end

local function may_write(path)
  local fd <close> = sys.open(path, sys.O_WRONLY) -- which changes nothing
  return fd ~= nil
end

-- → "2", "1", "hybrid", or nothing
local function layout()
  local found = {}
  for line in io.lines "/proc/self/mountinfo" do
    local kind = line:match "%- (cgroup2?) "
    if kind and (kind == "cgroup2" or line:match "[^,%s]+$" ~= "name=systemd") then found[kind] = true end
  end
  if found.cgroup and found.cgroup2 then return "hybrid" end
  return found.cgroup2 and "2" or found.cgroup and "1"
end

--- Where the caller stands.
-- @treturn table `layout`: "2", "1" or "hybrid", as far as it is mounted; and of the tree of version 2: `path`, the directory of its
--   cgroup; `controllers`, those that there are in it; `is_delegated`, whether the caller may make cgroups there, with limits, and move
--   processes
-- @see cgroups(7)
function cgroup.own()
  local paths = paths_of "self"
  if not paths then return {} end
  local own = { layout = layout() }
  local target, root = mounted ""
  local path = paths[""]
  if not target or not path or path:sub(1, #root) ~= root then return own end
  own.path = (target .. path:sub(#root + 1)):gsub("(.)/$", "%1")
  own.controllers = words_of(own.path .. "/cgroup.controllers")
  local found = sys.stat(own.path)
  own.is_delegated = found ~= nil and (found.uid == sys.geteuid() or sys.geteuid() == 0)
    and may_write(own.path .. "/cgroup.procs") and may_write(own.path .. "/cgroup.subtree_control")
  return own
end

--- The cgroups of a process, as far as they are others than the caller's and the caller may put processes there.
-- @tparam integer pid
-- @treturn {descriptor,...} the file cgroup.procs of each; nil, a message and errno where one cannot be opened
-- @see cgroups(7)
function cgroup.open(pid)
  local own, paths = paths_of "self", paths_of(pid)
  if not own then return {} end -- a kernel without cgroups
  if not paths then return nil, ("/proc/%d/cgroup: the process has ended"):format(pid), sys.ESRCH end
  local opened = {}
  for controllers, path in pairs(paths) do
    local fd, message, errno
    if path ~= own[controllers] then fd, message, errno = open(controllers, path) end
    if message then
      for _, each in ipairs(opened) do each:close() end
      return nil, message, errno
    end
    opened[#opened + 1] = fd
  end
  return opened
end

return cgroup
