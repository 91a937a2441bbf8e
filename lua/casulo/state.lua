-- SPDX-License-Identifier: MIT

--- The names of containers: a record for each, in a directory that only its user may enter.
--
-- Root's are in /run/casulo, a user's in $XDG_RUNTIME_DIR/casulo. There is no daemon: a record holds the PID and the start
-- time of a process, and is believed while that process lives; one that is not is removed by the next call that meets it.
-- Records are made, replaced and removed under a lock of the directory, which the kernel frees when its holder is killed,
-- and moved into place whole, so that to read one takes no lock.
--
-- A record: `name`; `pid`; `start_time` (field 22 of /proc/PID/stat: clock ticks since the host started); `seen_from`, the
-- namespaces in which these two count; `started` (seconds since 1970); and what the maker of the container adds: `command`,
-- `rootfs`, `namespaces` (a list of those that are its own), `env` (a list of NAME=value), `cwd`, `umask`, `user`; `cgroup`, the path of its own
-- one, which is removed with the record.
-- @module casulo.state

local living = require "casulo.living"
local sys = require "casulo.sys"

local state = {}

local NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"
local LONGEST, LARGEST = 64, 1 << 24 -- bytes of a name; of a record, which is far more than arguments and environment can be
local PATIENCE = 1 -- second, for a start that is under way: most take a few milliseconds
local UNFINISHED = ".new" -- no name, so no record; only the holder of the lock writes it

--- Checks a name: 1 to 64 letters, digits, `_`, `.` and `-`, of which the first is a letter or a digit. Raises where it is none.
-- @param value
-- @tparam string path how messages call it
-- @treturn string
function state.check(value, path)
  if type(value) == "string" and #value <= LONGEST and value:find(NAME) then return value end
  require "casulo.check".wrong(path, ("1 to %d letters, digits, _, . and -, the first a letter or a digit"):format(LONGEST), value)
end

-- Loaded when a name is used, and not before: that takes as long as to start a container.
local function json()
  local ok, module = pcall(require, "dkjson")
  if ok then return module end
  if not module:find("module 'dkjson' not found", 1, true) then return nil, "the names of containers need the Lua module dkjson: " .. module end
  return nil, "the names of containers need the Lua module dkjson; install the package lua-dkjson"
end

local function release(descriptor) getmetatable(descriptor).__close(descriptor) end

local function uninterrupted(call, ...)
  local result, message, errno
  repeat result, message, errno = call(...) until result or errno ~= sys.EINTR
  return result, message, errno
end

-- Opens a directory that nobody but the caller may enter. → descriptor, or nil, what it is instead, errno
local function open_private(at, name, flags)
  local fd, message, errno = sys.openat(at, name, sys.O_RDONLY | sys.O_DIRECTORY | flags)
  if not fd then return nil, message, errno end
  local found = assert(sys.fstat(fd))
  if found.uid == sys.geteuid() and found.mode & 63 == 0 then return fd end
  release(fd)
  return nil, ("it has uid %d and mode %04o"):format(found.uid, found.mode & 4095)
end

local Directory = {}
Directory.__index = Directory

-- The directory that is locked. The collector may run then, and give up a name: whoever waited there for the lock would wait for itself.
local locked = setmetatable({ false }, { __mode = "v" })

local function is_locked() return locked[1] and locked[1].fd:is_open() end

function Directory:__close()
  if self == locked[1] then sys.flock(self.fd, sys.LOCK_UN) end -- a fork elsewhere in this process may hold a copy of it
  release(self.fd)
end

-- Until it is closed.
function Directory:lock()
  if is_locked() then return true end
  local ok, message = uninterrupted(sys.flock, self.fd, sys.LOCK_EX)
  if ok then locked[1] = self end
  return ok, message
end

local EXPECTED = "%s: expected a directory of uid %d with mode 0700, for the names of containers: %s"

-- Root's place is the same whatever environment sudo has kept.
local function open_parent()
  if sys.geteuid() == 0 then
    local fd, message = sys.open("/run", sys.O_PATH | sys.O_DIRECTORY)
    return fd, fd and "/run" or message
  end
  local path = os.getenv "XDG_RUNTIME_DIR"
  local fd, message = nil, "it is not set"
  if path and path:sub(1, 1) ~= "/" then message = ("%q is no absolute path"):format(path)
  elseif path then fd, message = open_private(sys.AT_FDCWD, path, 0) end
  if fd then return fd, path end
  return nil, EXPECTED:format("XDG_RUNTIME_DIR", sys.geteuid(), message)
end

-- The directory of the names. → directory; nil alone where there is none yet and none is to be made; nil and what is wrong
local function open_directory(make)
  local parent <close>, path = open_parent()
  if not parent then return nil, path end
  path = path .. "/casulo"
  local fd, message, errno = open_private(parent, "casulo", sys.O_NOFOLLOW)
  if errno == sys.ENOENT then
    if not make then return nil end
    local made, why, number = sys.mkdirat(parent, "casulo", 448)
    if not made and number ~= sys.EEXIST then return nil, ("%s: %s"):format(path, why), number end
    fd, message = open_private(parent, "casulo", sys.O_NOFOLLOW)
  end
  if not fd then return nil, EXPECTED:format(path, sys.geteuid(), message) end
  -- what is named by way of the descriptor is in the directory that was looked at, wherever its path leads now
  return setmetatable({ fd = fd, path = path, at = ("/proc/self/fd/%d/"):format(fd:fileno()) }, Directory)
end

function Directory:file(name) return ("%s%s.json"):format(self.at, name) end

-- A message of a call, with the path as the user knows it.
function Directory:says(message)
  local start, stop = message:find(self.at, 1, true)
  return start and message:sub(1, start - 1) .. self.path .. "/" .. message:sub(stop + 1) or message
end

local function read_text(path)
  local fd <close>, message, errno = sys.open(path, sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK)
  if not fd then return nil, message, errno end
  local found = assert(sys.fstat(fd))
  if found.mode & sys.S_IFMT ~= sys.S_IFREG or found.size > LARGEST then return "" end -- no record that casulo made
  return uninterrupted(sys.read, fd, found.size)
end

local function write_text(path, text)
  local fd <close>, message, number = sys.open(path, sys.O_WRONLY | sys.O_CREAT | sys.O_TRUNC | sys.O_NOFOLLOW, 384)
  if not fd then return nil, message, number end
  while text ~= "" do
    local count, why, errno = uninterrupted(sys.write, fd, text)
    if not count then return nil, why, errno end
    text = text:sub(count + 1)
  end
  return true
end

-- Only under the lock.
function Directory:write(name, text)
  local unfinished = self.at .. UNFINISHED
  local ok, message, errno = write_text(unfinished, text)
  if ok then ok, message, errno = sys.rename(unfinished, self:file(name)) end
  if ok then return true end
  sys.unlink(unfinished)
  return nil, self:says(message), errno
end

local function is_strings(value)
  if type(value) ~= "table" then return false end
  for _, item in ipairs(value) do
    if type(item) ~= "string" then return false end
  end
  return true
end

local function is_integer(value, least, most) return math.type(value) == "integer" and value >= least and value <= most end

local function is_record(value, name)
  if type(value) ~= "table" or value.name ~= name or type(value.seen_from) ~= "string" then return false end
  if not is_integer(value.pid, 1, 0x7fffffff) or not is_integer(value.start_time, 0, math.maxinteger) then return false end
  return value.starting == true or is_strings(value.command) and is_strings(value.namespaces) and type(value.rootfs) == "string"
    and is_integer(value.started, 0, 1 << 40)
end

-- → record; nil alone where there is none; nil, what is wrong, and whether the file can at least be read; errno where not
function Directory:read(name)
  local decoder, missing = json()
  if not decoder then return nil, missing end
  local text, message, errno = read_text(self:file(name))
  if not text and errno == sys.ENOENT then return nil end
  if not text then return nil, self:says(message), false, errno end
  local ok, record = pcall(decoder.decode, text, 1, nil, nil, nil)
  if ok and is_record(record, name) then return record end
  return nil, ("%s/%s.json is no record of a container"):format(self.path, name), true
end

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

-- The record of a name and what `living` says of it. For one whose container is being started, waits until it has: its
-- command may run for a moment before it is on record.
function Directory:look(name, deadline)
  while true do
    local record, message, _, errno = self:read(name)
    local pidfd
    if record then pidfd, message, errno = living.process(record) end
    if not pidfd or not record.starting or now() >= deadline then return record, pidfd, message, errno end
    sys.poll({ { fd = pidfd, events = sys.POLLIN } }, 1)
    release(pidfd)
  end
end

-- Under the lock: somebody may have replaced the record since it was found to be stale.
function Directory:remove_stale(name)
  local record = self:lock() and self:read(name)
  if not record or living.lives(record) ~= false then return end
  sys.unlink(self:file(name))
  local left = record.cgroup and require "casulo.own_cgroup".at(record.cgroup)
  if left then left:remove(true) end
end

-- Under the lock. → true, or nil and who has the name
function Directory:is_free(name)
  local record, message, readable = self:read(name)
  if not record then
    if message and not readable then return nil, message end
    return true -- what is no record is replaced
  end
  local alive, why = living.lives(record)
  if alive == false then return true end
  local taken = ("the name %q is taken"):format(name)
  if alive == nil then return nil, ("%s, and %s; if that is gone, remove %s/%s.json"):format(taken, why, self.path, name) end
  if record.starting then return nil, ("%s: PID %d is starting its container"):format(taken, record.pid) end
  return nil, ("%s: its container runs as PID %d; casulo kill %s ends it"):format(taken, record.pid, name)
end

local Claim = {}
Claim.__index = Claim

-- A directory under its lock.
local function open_locked(make)
  local directory, message, errno = open_directory(make)
  if not directory then return nil, message, errno end
  local ok, why = directory:lock()
  if ok then return directory end
  directory:__close()
  return nil, why
end

--- Takes a name. The claim ends with this process or when it is released; also when a `<close>` scope is left before it is
-- complete.
-- @tparam string name see `check`
-- @treturn claim or nil, who has the name, or why names cannot be kept; and errno, where a call failed
function state.claim(name)
  state.check(name, "name")
  local encoder, message = json()
  if not encoder then return nil, message end
  local pid = sys.getpid()
  local claim = setmetatable({ name = name, owner = pid }, Claim) -- from here on the collector gives up what an error leaves
  local record = { name = name, pid = pid, start_time = living.start_time(pid), seen_from = living.seen_from(), starting = true,
    claim = ("%p"):format(claim) } -- and not what another one has written since
  if not record.start_time then return nil, living.UNREADABLE:format(pid) end
  local directory <close>, why, number = open_locked(true)
  if not directory then return nil, why, number end
  local ok, taken = directory:is_free(name)
  local errno
  claim.text = encoder.encode(record)
  if ok then ok, taken, errno = directory:write(name, claim.text) end
  claim.given_up = not ok
  return ok and claim or nil, taken, errno
end

-- Does something under the lock, if the record is still the one that this claim wrote.
local function while_held(claim, act)
  local directory <close>, message = open_locked(false)
  if not directory then return nil, message end
  local text, why, errno = read_text(directory:file(claim.name))
  if not text and errno ~= sys.ENOENT then return nil, directory:says(why) end
  if text ~= claim.text then return nil, ("the name %q is not this claim's any more"):format(claim.name) end
  return act(directory)
end

--- Names the container: from now on the claim lasts as long as its process, whether or not the caller does.
-- @tparam table record `pid`, `command`, `rootfs`, `namespaces` and what else `find` is to give
-- @return true, or nil and a message
function Claim:complete(record)
  local whole = { name = self.name, start_time = living.start_time(record.pid), seen_from = living.seen_from(), started = os.time() }
  if not whole.start_time then
    local pidfd <close>, _, errno = sys.pidfd_open(record.pid)
    if not pidfd and living.GONE[errno] then return true end -- and needs no name any more
    return nil, living.UNREADABLE:format(record.pid)
  end
  for field, value in pairs(record) do whole[field] = value end
  if not is_record(whole, self.name) then error("complete: expected a record with pid, command, rootfs and namespaces", 2) end
  local text = json().encode(whole)
  return while_held(self, function(directory)
    local ok, message = directory:write(self.name, text)
    if ok then self.text, self.completed = text, true end
    return ok, message
  end)
end

local function release_once(claim)
  return while_held(claim, function(directory) return sys.unlink(directory:file(claim.name)) end)
end

--- Gives the name up, if it is still this claim's. Raises nothing: who calls this has more to give up.
-- @return true, or nil and a message
function Claim:release()
  local ok, released, message = pcall(release_once, self)
  if not (ok and released) then ok, released, message = pcall(release_once, self) end -- one that stays goes with the next call that meets it
  return ok and released, ok and message or released
end

function Claim:__close()
  if self.completed or self.given_up or self.owner ~= sys.getpid() then return end -- a copy of this process does not own it
  self.given_up = self:release() -- or the collector tries again
end

Claim.__gc = require "casulo.finalizer"(Claim, Claim.__close)

-- The records of what runs, and what is wrong with other files; nil and a message where the directory cannot be read.
local function running(directory)
  local files, why = sys.scandir(directory.at)
  if not files then return nil, directory:says(why) end
  local records, problems, stale, deadline, incomplete = {}, {}, {}, now() + PATIENCE, false
  for _, file in ipairs(files) do
    local name = file:match "^(.*)%.json$"
    if name and #name <= LONGEST and name:find(NAME) then
      local record, pidfd, message, errno = directory:look(name, deadline)
      if pidfd then release(pidfd) end
      incomplete = incomplete or errno ~= nil
      if pidfd and not record.starting then records[#records + 1] = record
      elseif pidfd == false then stale[#stale + 1] = name
      elseif message then problems[#problems + 1] = ("%s: %s"):format(name, message) end
    end
  end
  for _, name in ipairs(stale) do directory:remove_stale(name) end
  local unfinished = directory.at .. UNFINISHED
  if sys.lstat(unfinished) and directory:lock() then sys.unlink(unfinished) end -- a writer was killed
  table.sort(records, function(a, b) return a.name < b.name end)
  return records, problems, incomplete
end

--- Whether the caller's containers can have names. Makes nothing.
-- @treturn boolean or nil and why they cannot
function state.usable()
  local encoder, message = json()
  if not encoder then return nil, message end
  local directory <close>, why = open_directory(false)
  if directory or not why then return true end
  return nil, why
end

--- The containers that run under a name.
-- @treturn {table,...} their records, sorted by name; nil and a message where they cannot be read
-- @treturn {string,...} what is wrong with files that are not believed
-- @treturn boolean whether there may be more, of which a call that failed kept it from knowing
function state.list()
  local directory <close>, why = open_directory(false)
  if not directory then return not why and {} or nil, why or {} end
  local decoder, missing = json()
  if not decoder then return nil, missing end
  return running(directory)
end

-- Why there is no such container, with a name that may have been meant.
local function not_found(name, directory)
  local known = {}
  for _, record in ipairs(directory and running(directory) or {}) do known[record.name] = true end
  local near = require "casulo.nearest"(name, known)
  return ("no container is called %q%s"):format(name, near and ("; did you mean %s?"):format(near) or "")
end

--- The container of a name.
-- @tparam string name
-- @treturn table its record, with `pidfd`, an open descriptor for its process; nil and a message where there is none, or
--   where that cannot be told
function state.find(name)
  state.check(name, "name")
  local directory <close>, why = open_directory(false)
  if not directory then return nil, why or not_found(name) end
  local record, pidfd, message = directory:look(name, now() + PATIENCE)
  if not pidfd then return nil, message and ("%s: %s"):format(name, message) or not_found(name, directory) end
  if record.starting then
    release(pidfd)
    return nil, ("the container %q is being started"):format(name)
  end
  record.pidfd = pidfd
  return record
end

return state
