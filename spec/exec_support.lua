-- SPDX-License-Identifier: MIT
--- What the specs of exec share: containers of all kinds, and what can be known of a process in one.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local FOREVER = { "/bin/sleep", "1000" }
local ALL = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }

local function box(fields)
  local description = { rootfs = support.rootfs(), command = FOREVER }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function sh(script) return { "/bin/sh", "-c", script } end

-- Calls a function with the paths of new cgroups, one in each hierarchy that is mounted as such a file system, without cpuset's. They are
-- gone afterwards, whatever it does; so is what a run that was killed has left, which had the same PID in a PID namespace of its own.
local function with_cgroups(fstype, body)
  local made = {}
  for line in io.lines "/proc/self/mountinfo" do
    local place, options = line:match("^%d+ %d+ %S+ / (%S+) .- %- " .. fstype .. " %S+ (%S+)")
    if place and not options:find "cpuset" then made[#made + 1] = ("%s/casulo-spec-%d"):format(place, sys.getpid()) end
  end
  if not made[1] then return support.cannot_run "no such cgroups are mounted" end
  for _, directory in ipairs(made) do
    sys.rmdir(directory)
    assert(sys.mkdir(directory, 493))
  end
  local ok, message = pcall(body, made)
  for _, directory in ipairs(made) do
    support.eventually(function() return sys.rmdir(directory) end, directory .. " is empty")
  end
  if not ok then error(message, 0) end
end

local function read_or_nil(path)
  local file <close> = io.open(path)
  return file and file:read "a"
end

-- The child of a process that has one, or nil.
local function child_of(pid) return tonumber(read_or_nil(("/proc/%d/task/%d/children"):format(pid, pid))) end

-- The command of an `exec`, as the host sees it: the child of what stands for it. At the end of its exec, which shuts casulo's pipe, an
-- ordinary user may not look at it yet.
local function command_of(process)
  return support.eventually(function()
    local pid = child_of(process.pid)
    return pid and sys.stat(("/proc/%d/root"):format(pid)) and pid
  end)
end

local function status(pid, field) return (support.read_file(("/proc/%d/status"):format(pid)):match("\n" .. field .. ":[ \t]*([^\n]*)")) end

local function file_at(path)
  local found = assert(sys.stat(path))
  return ("%d:%d"):format(found.dev, found.ino)
end

local KINDS = { "user", "pid", "mnt", "uts", "ipc", "net", "cgroup", "time" }
local RIGHTS = { "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters" }

-- Where a process is and what it may do.
local function facts(pid)
  local found = { root = file_at(("/proc/%d/root"):format(pid)), cgroups = support.read_file(("/proc/%d/cgroup"):format(pid)) }
  for _, kind in ipairs(KINDS) do found[kind] = support.namespace(pid, kind) end
  for _, field in ipairs(RIGHTS) do found[field] = status(pid, field) end
  return found
end

-- Those of a process that has not executed its command yet nobody but root may see: they are "".
local function descriptors(pid)
  local names = sys.scandir(("/proc/%d/fd"):format(pid)) or {}
  table.sort(names)
  return table.concat(names, " ")
end

local function is_gone(pid)
  local _, _, errno = sys.kill(pid, 0)
  return errno == sys.ESRCH
end

-- The processes in a container, by the numbers that they have there.
local function inside(process)
  local found = {}
  for _, name in ipairs(sys.scandir(("/proc/%d/root/proc"):format(process.pid))) do found[#found + 1] = name:match "^%d+$" end
  return table.concat(found, " ")
end

local function children() return (support.read_file(("/proc/self/task/%d/children"):format(sys.getpid())):gsub(" $", "")) end

-- Waits until this process, which reaps meanwhile, has no other child than a container.
local function only_child_is(process)
  support.eventually(function()
    while children() ~= tostring(process.pid) and (sys.waitpid(-1, sys.WNOHANG) or 0) ~= 0 do end
    return children() == tostring(process.pid)
  end, "no other child is left")
end

-- As root only: containers that an ordinary user cannot make.
local RANGES = { namespaces = ALL, uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 100000, 65536 } } }
local CONTAINERS = {
  { "as it is by default", {} },
  { "with a PID 1 of casulo's own", { init = true } },
  { "that shares the host's PID namespace", { namespaces = { pid = "host" } } },
  { "that shares all it can", { namespaces = { pid = "host", uts = "host", ipc = "host", net = "host", cgroup = "host" } } },
  { "with its own clocks", { namespaces = { "user", "pid", "mount", "time" } } },
  { "with ranges of ids", RANGES, true },
  { "with ranges of ids and a user", { namespaces = ALL, uid_map = RANGES.uid_map, gid_map = RANGES.gid_map,
    user = { uid = 7, gid = 8, groups = { 9 } } }, true },
  { "of root with a user namespace of one id", { namespaces = ALL }, true },
  { "of another user", { user = { uid = 1000, gid = 1001, groups = { 5, 6 } } }, true },
  { "that has joined other namespaces", { namespaces = { net = "/proc/self/ns/net", uts = "/proc/self/ns/uts", ipc = "/proc/self/ns/ipc" } }, true },
}

return {
  FOREVER = FOREVER, ALL = ALL, CONTAINERS = CONTAINERS, box = box, sh = sh, command_of = command_of, child_of = child_of, status = status,
  file_at = file_at, facts = facts, descriptors = descriptors, is_gone = is_gone, inside = inside, children = children,
  only_child_is = only_child_is, with_cgroups = with_cgroups,
}
