-- SPDX-License-Identifier: MIT

--- The cgroup of a container, from before its start until it is removed after the container's end.
--
-- It lies in one of the calling process, which is made for its first container and removed with its last. That one's name tells whose it
-- is, so that what a caller leaves that was killed can be removed by the next one.
-- @module casulo.own_cgroup

local descriptors = require "casulo.descriptors"
local sys = require "casulo.sys"

local own_cgroup = {}
local Cgroup = {}
Cgroup.__index = Cgroup

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

-- → the text of a file; nil, a message and errno
local function read(path)
  local fd <close>, message, errno = sys.open(path, sys.O_RDONLY)
  if not fd then return nil, message, errno end
  return sys.read(fd, 65536)
end

local function write(path, text)
  local fd <close>, message, errno = sys.open(path, sys.O_WRONLY)
  if not fd then return nil, message, errno end
  local count, _, why = sys.write(fd, text)
  if count then return true end
  return nil, ("write %s: %s"):format(path, sys.strerror(why)), why
end

local own = {} -- `pid`, to notice a fork; `name`; `count`; `left`: paths of those that could not be removed yet

local function namespace() return (sys.readlink "/proc/self/ns/pid" or ""):match "%d+" or "0" end

local function own_name()
  local pid = sys.getpid()
  if own.pid ~= pid then
    own = { pid = pid, name = ("casulo-%d-%s-%x"):format(pid, namespace(), math.floor(now() * 1e9)), count = 0, left = {} }
  end
  return own.name
end

-- What was made inside goes first.
local function remove_below(path)
  for _, name in ipairs(sys.scandir(path) or {}) do
    local inner = ("%s/%s"):format(path, name)
    local found = sys.lstat(inner)
    if found and found.mode & sys.S_IFMT == sys.S_IFDIR then
      remove_below(inner)
      sys.rmdir(inner)
    end
  end
end

-- → whether it is gone
local function remove(path)
  local ok, _, errno = sys.rmdir(path)
  if ok or errno == sys.ENOENT then return true end
  remove_below(path)
  ok, _, errno = sys.rmdir(path)
  return ok ~= nil or errno == sys.ENOENT
end

-- Whether a name is one of a process that has ended.
local function is_abandoned(name, from)
  local pid, seen_from = name:match "^casulo%-(%d+)%-(%d+)%-%x+$"
  if not pid or seen_from ~= from then return false end
  return select(3, sys.kill(math.tointeger(tonumber(pid)), 0)) == sys.ESRCH
end

-- Removes what could not be removed before, and what processes have left that have ended, as far as it is empty.
local function sweep(place)
  local left = own.left
  own.left = {}
  for _, path in ipairs(left) do
    if not remove(path) then own.left[#own.left + 1] = path end
  end
  local from
  for _, name in ipairs(sys.scandir(place) or {}) do
    if name ~= own.name and name:find("casulo-", 1, true) == 1 then
      from = from or namespace()
      if is_abandoned(name, from) then remove(("%s/%s"):format(place, name)) end
    end
  end
end

--- The cgroup that the next container of this process is to have. Makes nothing yet, but removes what others have left.
-- @tparam string place the path of the cgroup above
-- @treturn cgroup with `path`, and `parent`, that of the process
function own_cgroup.new(place)
  local parent = ("%s/%s"):format(place == "/" and "" or place, own_name())
  sweep(place)
  own.count = own.count + 1
  return setmetatable({ parent = parent, path = ("%s/%d"):format(parent, own.count) }, Cgroup)
end

--- The cgroup of a container of another process.
-- @param path what a record says
-- @treturn ?cgroup nil where it is no such path
function own_cgroup.at(path)
  local parent = type(path) == "string" and path:match "^(/.*/casulo%-%d+%-%d+%-%x+)/%d+$"
  return parent and setmetatable({ parent = parent, path = path }, Cgroup) or nil
end

--- Reads a file of it.
-- @tparam string file its name
-- @treturn string, or nil, a message and errno
function Cgroup:read(file) return read(("%s/%s"):format(self.path, file)) end

--- Writes to a file of it.
-- @tparam string file its name
-- @tparam string text
-- @return true, or nil, a message and errno
function Cgroup:write(file, text) return write(("%s/%s"):format(self.path, file), text) end

-- Lines of a name and a number.
local function numbers_in(text)
  local numbers = {}
  for name, number in text:gmatch "([%w_]+) (%d+)" do numbers[name] = math.tointeger(tonumber(number)) end
  return numbers
end

--- Waits until a line of cgroup.events says what is expected.
-- @tparam string name `populated` or `frozen`
-- @tparam integer expected
-- @tparam number seconds at most
-- @treturn boolean whether it does, or the cgroup is gone
function Cgroup:becomes(name, expected, seconds)
  local deadline = now() + seconds
  while true do
    local events <close> = sys.open(self.path .. "/cgroup.events", sys.O_RDONLY)
    local text = events and sys.read(events, 4096) -- the kernel tells of changes since the last read of this open file
    if not text or numbers_in(text)[name] == expected then return true end
    local left = deadline - now()
    if left <= 0 then return false end
    descriptors.poll({ { fd = events, events = sys.POLLPRI } }, math.ceil(left * 1000))
  end
end

local PATIENCE = 1 -- second, for processes that are ending already

--- Removes the cgroup. Its first process has ended.
-- @tparam boolean ends whether the others end by themselves: PID 1 of their namespace has; they are killed otherwise
-- @treturn boolean whether it is gone; if not, it is tried again at later starts
function Cgroup:remove(ends)
  local gone = remove(self.path)
  if not gone then
    if not (ends and self:becomes("populated", 0, PATIENCE)) then
      self:kill()
      self:becomes("populated", 0, PATIENCE)
    end
    gone = remove(self.path)
  end
  if not gone and self.parent:find(own_name(), 1, true) then own.left[#own.left + 1] = self.path end
  sys.rmdir(self.parent) -- as long as there are others in it, the kernel refuses
  return gone
end

--- Gives the values by which the steps of `casulo.recipes.limits` name it.
-- @tparam table values grows
function Cgroup:name(values)
  values["casulo's cgroup"], values["casulo's subtree_control"] = self.parent, self.parent .. "/cgroup.subtree_control"
  values["the container's cgroup"] = self.path
end

--- What a start that failed may have lacked.
-- @treturn ?string
function Cgroup:shortage()
  local events = self:memory_events()
  if (events.oom or 0) + (events.oom_kill or 0) > 0 then return "limits.memory: it is too small for a start" end
end

--- Whether its processes are stopped.
-- @treturn boolean
function Cgroup:is_frozen() return numbers_in(self:read "cgroup.events" or "").frozen == 1 end

--- Kills all that is in it.
-- @return true; or nil, a message and errno: ENOENT before Linux 5.14, which cannot
function Cgroup:kill() return self:write("cgroup.kill", "1") end

--- How often something has happened for want of memory.
-- @treturn table `oom_kill`: processes that the kernel killed; `oom`: how often there was no more to be had; …
function Cgroup:memory_events() return numbers_in(self:read "memory.events" or "") end

return own_cgroup
