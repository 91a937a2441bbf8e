-- SPDX-License-Identifier: MIT

--- Further facts of this host, for what is in the way of containers: all those of `casulo.host`, and these, as they are now.
--
-- * `release`: of the kernel, as uname(2) tells it
-- * `status`: the fields of /proc/self/status that are numbers, such as `Seccomp` and `NoNewPrivs`, with the sets of
--   capabilities and signals as integers
-- * `sysctls`: their values by name, a number where it is one; nil where the kernel has none of that name
-- * `is_chroot`: whether `/` is a directory of a mounted tree, and not its top
-- * `covered`: what is mounted below `/proc` and `/sys`, without the places that the kernel keeps empty for that, in two sorted
--   lists: `{ proc = { "/proc/kcore" }, sys = {} }`
-- * `is_inner`: whether this PID namespace is another than the host's first, as in a container
-- * `overlay`: "loaded" where the kernel has that file system; "module" where it loads it as soon as one is mounted
-- * `has_systemd`: whether that is the init of this host
-- * `cgroup`: what `casulo.cgroup.own` returns
-- * `process_limits`: a list of what limits the number of processes: `name`; `left`, how many more; `cure`
-- * `names`: true where containers can have names, else why they cannot
--
-- A table of the same shape takes its place in unit tests.
-- @module casulo.surroundings

local host = require "casulo.host"
local sys = require "casulo.sys"

local facts = {}

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

function facts.release()
  local name, message = sys.uname()
  return name and name.release or error(message, 0)
end

-- A set of capabilities or signals is written as a mask of 16 digits or more, other numbers in decimal.
function facts.status()
  local status = {}
  for name, text in read "/proc/self/status":gmatch "([%w_]+):\t(%x+)\n" do
    status[name] = tonumber(text, #text >= 16 and 16 or 10)
  end
  return status
end

function facts.sysctls()
  return setmetatable({}, { __index = function(_, name)
    local text = read("/proc/sys/" .. name:gsub("%.", "/")):gsub("\n$", "")
    return tonumber(text) or text ~= "" and text or nil
  end })
end

-- The table shows what is mounted below the root of this process.
function facts.is_chroot()
  local mounts = read "/proc/self/mountinfo"
  return mounts ~= "" and not mounts:find "%f[^\n\0]%d+ %d+ %S+ %S+ / "
end

-- The directories of proc and sysfs that exist to be mounted on: to cover these hides nothing.
local EMPTY = {
  ["/proc/sys/fs/binfmt_misc"] = true, ["/proc/fs/nfsd"] = true, ["/proc/openprom"] = true, ["/sys/fs/cgroup"] = true,
  ["/sys/fs/bpf"] = true, ["/sys/fs/pstore"] = true, ["/sys/fs/fuse/connections"] = true, ["/sys/fs/selinux"] = true,
  ["/sys/fs/smackfs"] = true, ["/sys/kernel/security"] = true, ["/sys/kernel/debug"] = true, ["/sys/kernel/tracing"] = true,
  ["/sys/kernel/config"] = true, ["/sys/firmware/efi/efivars"] = true, ["/sys/hypervisor/s390"] = true,
}

local function is_below(path, places)
  local parent = path
  while parent ~= "" do
    if places[parent] then return true end
    parent = parent:match "^(.*)/"
  end
  return false
end

function facts.covered()
  local covered, seen = { proc = {}, sys = {} }, {}
  for target in read "/proc/self/mountinfo":gmatch "%f[^\n\0]%d+ %d+ %S+ %S+ (%S+)" do
    local list = covered[target:match "^/(%a+)/"]
    if list and not is_below(target, EMPTY) and not is_below(target, seen) then
      seen[target] = true
      list[#list + 1] = target
    end
  end
  for _, list in pairs(covered) do table.sort(list) end
  return covered
end

local FIRST = "pid:[4026531836]" -- of the kernel's own numbering
function facts.is_inner() return (sys.readlink "/proc/self/ns/pid" or FIRST) ~= FIRST end

function facts.overlay()
  if read "/proc/filesystems":find("\toverlay\n", 1, true) then return "loaded" end
  return read(("/lib/modules/%s/modules.dep"):format(facts.release())):find("/overlay.ko", 1, true) and "module"
end

function facts.has_systemd() return sys.stat "/run/systemd/system" ~= nil end

function facts.cgroup() return require "casulo.cgroup".own() end

-- The limit of the caller's cgroup, and of those above it, whichever is the nearest to be reached.
local function add_cgroup_limits(limits)
  local path = facts.cgroup().path
  while path and path ~= "/" do
    local most, used = tonumber(read(path .. "/pids.max")), tonumber(read(path .. "/pids.current"))
    if most and used then
      limits[#limits + 1] = { name = path .. "/pids.max", left = most - used, cure = ("echo max >%s/pids.max"):format(path) }
    end
    path = path:match "^(.*)/"
  end
end

local function add_user_limit(limits)
  local most = tonumber(read "/proc/self/limits":match "Max processes%s+(%d+)")
  if not most or host.uid == 0 then return end
  local used = 0
  for _, pid in ipairs(sys.scandir "/proc") do
    local directory = "/proc/" .. pid
    local found = pid:find "^%d" and sys.stat(directory)
    if found and found.uid == host.uid then used = used + #(sys.scandir(directory .. "/task") or {}) end
  end
  limits[#limits + 1] = { name = "ulimit -u", left = most - used, cure = "ulimit -u unlimited" }
end

-- Threads count as processes do.
function facts.process_limits()
  local limits, sysctls = {}, facts.sysctls()
  local running = tonumber(read "/proc/loadavg":match "/(%d+)")
  for _, name in ipairs { "kernel.pid_max", "kernel.threads-max" } do
    if running and math.type(sysctls[name]) == "integer" then
      limits[#limits + 1] = { name = "sysctl " .. name, left = sysctls[name] - running, cure = ("sysctl -w %s=%d"):format(name, 2 * sysctls[name]) }
    end
  end
  add_cgroup_limits(limits)
  add_user_limit(limits)
  return limits
end

function facts.names()
  local usable, why = require "casulo.state".usable()
  return usable or why
end

return setmetatable({}, {
  __index = function(_, name)
    local gather = facts[name]
    if gather then return gather() end
    return host[name]
  end,
})
