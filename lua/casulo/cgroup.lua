-- SPDX-License-Identifier: MIT

--- Where a process stands in the trees of cgroups: the one of version 2, and those of version 1.
-- @module casulo.cgroup

local look = require "casulo.look"
local sys = require "casulo.sys"

local cgroup = {}

-- → the path in each tree, by what the tree is called: its controllers; nothing in version 2. nil when there is no such process
local function paths_of(process)
  local text = look.text(("/proc/%s/cgroup"):format(process))
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
  for line in look.lines "/proc/self/mountinfo" do
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
  local words = {}
  for word in (look.text(path) or ""):gmatch "%S+" do words[#words + 1] = word end
  return words
end

-- → whether; why not
local function may_write(path)
  local fd <close>, message, errno = sys.open(path, sys.O_WRONLY) -- which changes nothing
  if not fd and not FORBIDDEN[errno] and errno ~= sys.ENOENT then error(message, 0) end
  return fd ~= nil, message
end

-- → "2", "1", "hybrid", or nothing; and what the trees of version 1 have, as a set
local function layout()
  local found, version1 = {}, {}
  for line in look.lines "/proc/self/mountinfo" do
    local kind, options = line:match "%- (cgroup2?) %S+ (%S+)$"
    if kind and (kind == "cgroup2" or options:match "[^,]+$" ~= "name=systemd") then found[kind] = true end
    if kind == "cgroup" then
      for name in options:gmatch "[^,]+" do version1[name] = true end
    end
  end
  if found.cgroup and found.cgroup2 then return "hybrid", version1 end
  return found.cgroup2 and "2" or found.cgroup and "1", version1
end

local function set_of(words)
  local set = {}
  for _, word in ipairs(words) do set[word] = true end
  return set
end

-- How a cgroup stands to the caller: "free", where it may make cgroups with limits; "busy": it has processes of its own, and the kernel lets
-- none have those beside cgroups with limits, but for the first of all; "threaded"; "forbidden", and what was refused, if anything was tried;
-- "missing".
local function standing(path)
  local found = look.stat(path)
  if not found or not look.stat(path .. "/cgroup.procs") then return "missing" end
  if found.uid ~= sys.geteuid() and sys.geteuid() ~= 0 then return "forbidden" end
  for _, file in ipairs { "cgroup.procs", "cgroup.subtree_control" } do
    local may, refusal = may_write(("%s/%s"):format(path, file))
    if not may then return "forbidden", refusal end
  end
  local kind = words_of(path .. "/cgroup.type")
  if kind[1] and (kind[1] ~= "domain" or kind[2]) then return "threaded" end
  return kind[1] and (look.text(path .. "/cgroup.procs") or "") ~= "" and "busy" or "free"
end

-- Controllers that the place lacks, and one above it has. They are the place's, too, if the caller can pass them on to it: a systemd
-- passes on only what its units ask for.
local function look_above(own)
  own.held_by, own.withheld = {}, {}
  local path, is_ours = own.place, true
  while path ~= own.top and path ~= "" do
    path = path:match "^(.*)/"
    is_ours = is_ours and standing(path) == "free"
    for _, name in ipairs(words_of(path .. "/cgroup.controllers")) do
      if is_ours and not own.has[name] then own.has[name], own.held_by[name] = true, path end
      if not own.has[name] then own.withheld[name] = own.withheld[name] or path end
    end
  end
end

local function describe(own, path, stands, refusal)
  own.place, own.stands, own.refusal = path, stands, refusal
  own.has, own.passed_on = set_of(words_of(path .. "/cgroup.controllers")), set_of(words_of(path .. "/cgroup.subtree_control"))
  look_above(own)
  return own
end

-- A process goes from one cgroup to another, and is born in another, only for who may write to the nearest one above both.
-- → that one, where the caller may not
local function border(path, other)
  while other ~= path and other:sub(1, #path + 1) ~= path .. "/" do path = path:match "^(.*)/" end
  return not may_write(path .. "/cgroup.procs") and path or nil
end

--- Where the caller stands, and where it can make cgroups.
-- @tparam[opt] string parent the path of a cgroup in the tree of version 2, in place of the nearest one
-- @treturn table `layout`: "2", "1" or "hybrid", as far as it is mounted; `version1`: a set of the controllers there; and of the tree of
--   version 2: `top`, the directory that is seen as its top; `path`, that of the caller's cgroup; `place`, that of the nearest of this one
--   and those above in which the caller can make cgroups; `stands`, how that one is to it: "free"; "busy", for cgroups without limits
--   only; "threaded", "forbidden" or "missing", for none; `refusal`: the call that was forbidden, if one was tried; `has`: a set of the
--   controllers that are in it or that the caller can pass on to it, and `held_by`: of these, from which cgroup above; `withheld`: which
--   cgroup above has one that the caller cannot; `passed_on`, a set of those that cgroups in it get; `border`: the cgroup above the
--   caller's and this one that keeps the caller from starting processes here
-- @see cgroups(7)
function cgroup.own(parent)
  local paths = paths_of "self"
  if not paths then return {} end
  local own = {}
  own.layout, own.version1 = layout()
  local target, root = mounted ""
  local path = paths[""]
  if not target or not path or path:sub(1, #root) ~= root then return own end
  own.top, own.path = target, (target .. path:sub(#root + 1)):gsub("(.)/$", "%1")
  if parent then
    path = (target .. parent):gsub("(.)/$", "%1")
    own.border = border(own.path, path)
    return describe(own, path, standing(path))
  end
  local busy, at_own, refusal
  path = own.path
  while true do
    local stands, refused = standing(path)
    if path == own.path then at_own, refusal = stands, refused end
    if stands == "free" then return describe(own, path, stands) end
    busy = busy or stands == "busy" and path
    if path == target then break end
    path = path:match "^(.*)/"
  end
  if busy then return describe(own, busy, "busy") end
  return describe(own, own.path, at_own, refusal)
end

--- Makes a cgroup, and those above it, pass controllers on, as far as the caller may. What is refused is seen by the files that are not there.
-- @tparam string path
-- @tparam {string,...} names
-- @see cgroups(7)
function cgroup.pass_on(path, names)
  for last in (path .. "/"):gmatch "()/" do -- what is no cgroup has no such file
    local fd <close> = sys.open(path:sub(1, last - 1) .. "/cgroup.subtree_control", sys.O_WRONLY)
    for _, name in ipairs(fd and names or {}) do sys.write(fd, "+" .. name) end
  end
end

-- Descriptors that are closed where an error ends their scope, and are somebody else's where nothing does.
local UNLESS_KEPT = { __close = function(opened, err)
  for _, fd in ipairs(err ~= nil and opened or {}) do fd:close() end
end }

--- The cgroups of a process, as far as they are others than the caller's and the caller may put processes there.
-- @tparam integer pid
-- @treturn {descriptor,...} the file cgroup.procs of each, to be closed; where it is a `<close>` variable, an error that ends its scope does so;
--   `own`: which of them is that of version 2. nil, a message and errno where one cannot be opened
-- @see cgroups(7)
function cgroup.open(pid)
  local own, paths = paths_of "self", paths_of(pid)
  if not own then return {} end -- a kernel without cgroups
  if not paths then return nil, ("/proc/%d/cgroup: the process has ended"):format(pid), sys.ESRCH end
  local opened <close> = setmetatable({}, UNLESS_KEPT)
  for controllers, path in pairs(paths) do
    local fd, message, errno
    if path ~= own[controllers] then fd, message, errno = open(controllers, path) end
    if message then
      for _, each in ipairs(opened) do each:close() end
      return nil, message, errno
    end
    opened[#opened + 1] = fd
    if fd and controllers == "" then opened.own = #opened end
  end
  return opened
end

return cgroup
