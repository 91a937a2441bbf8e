-- SPDX-License-Identifier: MIT

--- Facts of this host, each gathered once, when it is first asked for.
--
-- * `uid`, `gid`: the effective ids of the caller, which it may change; always as they are now
-- * `login`: what /etc/passwd calls the caller, or its uid; also as it is now, and so are:
-- * `subuid`, `subgid`: the ids that the file of that name in /etc gives the caller, `{ { first, count }, … }`; `partial`
--   where somebody else may give it more; `free`: from where on it gives none to anyone
-- * `root`: what `/` is: `"mount"`, or `"initramfs"`, from which nobody can pivot away
-- * `has_tty_group`: whether group 5, tty, stands for anyone in the caller's user namespace
-- * `may_setgroups`: whether that namespace allows setgroups
-- * `in_user_namespace`: whether the caller is in another user namespace than the first
-- * `kernel_uid`: whose the kernel's own files are, the host's root, as the caller's user namespace calls it; false where it has no id there
-- * `term`: the caller's TERM
-- * `has_memfd_exec`: whether memfd_create knows MFD_EXEC
-- * `capabilities`: those that the caller may hand on, a bit each, as they are now: permitted, and not taken from its bounding set
-- * `has_usual_score`: whether the caller's place in the OOM killer's list is the usual one, as it is now
-- * `landlock_abi`: the version of what the kernel's Landlock knows; 0 where there is none
-- * `landlock_is_off`: whether the kernel has one that was not enabled when it started
-- * `rlimits`: the caller's limits of resources, as they are now: by name, `{ soft =, hard = }`
-- * `may_lack_keys`: whether calls that use keys may be none of the kernel's, or refused by a filter that the caller is under
-- * `last_capability`: the number of the last one that the kernel knows
-- * `is_file(path)`: whether a path is something other than a directory; nil where there is nothing
-- * `is_device(path)`: likewise, a device
-- * `propagates(path)`: whether the mount that it lies in tells others of mounts in it, "shared", or only hears of theirs, "slave"; or
--   neither, false; nil where there is nothing
--
-- A table of the same shape takes its place in unit tests.
-- @module casulo.host

local look = require "casulo.look"
local sys = require "casulo.sys"

local current = { uid = sys.geteuid, gid = sys.getegid }
local gather = {}

local function read(path) return look.text(path) or "" end

local function login()
  local uid = sys.geteuid()
  return ("\n" .. read "/etc/passwd"):match(("\n([^:\n]+):[^:\n]*:%d:"):format(uid))
end

function current.login() return login() or ("%d"):format(sys.geteuid()) end

-- Names that are not in /etc/passwd, and ids that nsswitch.conf(5) has from elsewhere, are known to newuidmap only.
local function subordinate(kind)
  local name, uid = login(), tostring(sys.geteuid())
  local ranges = { free = 100000, partial = not name or read "/etc/nsswitch.conf":find "%f[^\n\0]subid:" ~= nil }
  for owner, first, count in read("/etc/sub" .. kind):gmatch "%f[^\n\0]([^:\n]+):(%d+):(%d+)" do
    first, count = math.tointeger(tonumber(first)), math.tointeger(tonumber(count))
    if owner == name or owner == uid then ranges[#ranges + 1] = { first, count } end
    ranges.free = math.max(ranges.free, first + count)
  end
  return ranges
end

function current.rlimits()
  local limits, resources = {}, require "casulo.recipes.rlimits"
  for name in pairs(resources.names()) do
    local soft, hard = sys.getrlimit(resources.number(name))
    if not soft then error(hard, 0) end
    limits[name] = { soft = soft, hard = hard }
  end
  return limits
end

function current.subuid() return subordinate "uid" end
function current.subgid() return subordinate "gid" end

local function is_in_bounding_set(number)
  local result, message, errno = sys.prctl(sys.PR_CAPBSET_READ, number)
  if not result and errno ~= sys.EINVAL then error(("%s (PR_CAPBSET_READ %d)"):format(message, number), 0) end -- a number that it does not know
  return result == 1
end

function current.capabilities()
  local set = require "casulo.recipes.privileges".permitted()
  for number = 0, 63 do
    if set & 1 << number ~= 0 and not is_in_bounding_set(number) then set = set & ~(1 << number) end
  end
  return set
end

-- Each start asks for it, so the file is not read to its end. One that cannot be read is taken for an odd one, which is put right.
function current.has_usual_score()
  local opened <close> = sys.open("/proc/self/oom_score_adj", sys.O_RDONLY)
  return opened ~= nil and sys.read(opened, 16) == "0\n"
end

function gather.term() return os.getenv "TERM" or "xterm" end

-- Only a ramfs or tmpfs can be the first root file system of the kernel, so others need no look at the table.
function gather.root()
  local root, message = sys.statfs "/"
  if not root then error(message, 0) end
  if root.type ~= sys.RAMFS_MAGIC and root.type ~= sys.TMPFS_MAGIC then return "mount" end
  for line in look.lines "/proc/self/mountinfo" do
    local id, parent, target = line:match "^(%d+) (%d+) %S+ %S+ (%S+)"
    if target == "/" then return id == parent and "initramfs" or "mount" end
  end
  return "mount"
end

function gather.in_user_namespace() return not read "/proc/self/uid_map":find "^%s*0%s+0%s+4294967295%s*$" end

function gather.kernel_uid()
  local found = look.stat "/proc/sys/kernel/core_pattern"
  return found and ("%d\n"):format(found.uid) ~= read "/proc/sys/kernel/overflowuid" and found.uid
end

function gather.may_setgroups() return read "/proc/self/setgroups" ~= "deny\n" end

function gather.has_tty_group()
  for first, count in read "/proc/self/gid_map":gmatch "(%d+)%s+%d+%s+(%d+)" do
    if math.tointeger(first) <= 5 and 5 < math.tointeger(first) + math.tointeger(count) then return true end
  end
  return false
end

-- Since Linux 6.3 a file in memory can be marked as one to be executed, and must be where vm.memfd_noexec is 1. Where none can be made,
-- the start says so; that tells nothing for later ones.
function gather.has_memfd_exec()
  local probe <close>, _, errno = sys.memfd_create("probe", sys.MFD_EXEC)
  if probe or errno == sys.EINVAL then return probe ~= nil end
end

local HAS_NONE = { [sys.EOPNOTSUPP] = true, [sys.ENOSYS] = true, [sys.EPERM] = true } -- EPERM: a filter that does not know it
local function landlock_version()
  local version, message, errno = sys.landlock_create_ruleset(nil, sys.LANDLOCK_CREATE_RULESET_VERSION)
  if not version and not HAS_NONE[errno] then error(message, 0) end
  return version, errno
end

function gather.landlock_abi() return landlock_version() or 0 end
function gather.landlock_is_off() return select(2, landlock_version()) == sys.EOPNOTSUPP end

function gather.may_lack_keys() return not look.stat "/proc/key-users" or read "/proc/self/status":find "\nSeccomp:%s*[^0%s]" ~= nil end

function gather.last_capability() return math.tointeger(tonumber(read "/proc/sys/kernel/cap_last_cap")) or 40 end

local function type_test(test)
  return function()
    return function(path)
      local found = look.stat(path)
      if not found then return nil end
      return test(found.mode & sys.S_IFMT)
    end
  end
end

gather.is_file = type_test(function(type) return type ~= sys.S_IFDIR end)
gather.is_device = type_test(function(type) return type == sys.S_IFCHR or type == sys.S_IFBLK end)

function gather.block_device()
  return function(path)
    local found = sys.stat(path)
    if not found or found.mode & sys.S_IFMT ~= sys.S_IFBLK then return nil end
    return ("%d:%d"):format(found.rdev >> 8 & 0xfff, found.rdev & 0xff | found.rdev >> 12 & 0xfff00)
  end
end

-- The optional fields of its line say it; which line it is, a descriptor's own file says.
local function propagation_of(path)
  if not look.stat(path) then return nil end
  local opened <close>, message = sys.open(path, sys.O_PATH)
  if not opened then error(message, 0) end
  local id = read(("/proc/self/fdinfo/%d"):format(opened:fileno())):match "mnt_id:%s*(%d+)"
  local fields = id and ("\n" .. read "/proc/self/mountinfo"):match(("\n%s %%d+ %%S+ %%S+ %%S+ %%S+ ([^\n]-)%%- "):format(id))
  if not fields then return nil end
  return fields:find "shared:" and "shared" or fields:find "master:" and "slave" or false
end

function gather.propagates() return propagation_of end

return setmetatable({}, {
  __index = function(facts, name)
    if current[name] then return current[name]() end
    local value = gather[name] and gather[name]()
    rawset(facts, name, value)
    return value
  end,
})
