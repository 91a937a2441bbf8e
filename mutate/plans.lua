-- SPDX-License-Identifier: MIT

--- Containers whose plans have, together, all the steps that casulo makes. As root: `plans.lua list` starts them and prints every step
-- and each way to make it weaker; `plans.lua try NUMBER…` starts some, until one does, and says which cannot. `plans.lua list cgroup` is
-- about containers with a cgroup of their own, and what is done for that: it takes a machine of one's own with all controllers.

local top = arg[0]:match "^(.*)plans%.lua$"
local mutation = package.loaded["mutate.mutation"] or dofile(top .. "mutation.lua")
mutation.is_recording = arg[1] == "list"

local casulo = require "casulo"
local sys = casulo.sys

-- Where it were as usual, no container would put its own right.
do
  local score <close> = assert(io.open("/proc/self/oom_score_adj", "w"))
  assert(score:write "100")
end

local USER = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }
local RANGES = { { 0, 100000, 65536 } }

local base = os.getenv "CASULO_MUTATE_TREE" -- root, source, lower, upper, work

local function description(fields)
  local made = { rootfs = base .. "/root", command = { "/bin/true" }, stdin = "null", timeout = 20 }
  for name, value in pairs(fields) do made[name] = value end
  return made
end

local function run(fields)
  return function()
    local result, err = casulo.container(description(fields)):run()
    return result and result.exit_code == 0, err or result.exit_code or result.signal
  end
end

-- A command that comes later.
local function run_exec(fields, options)
  return function()
    fields.command = { "/bin/sleep", "20" }
    local box <close>, err = casulo.container(description(fields)):start()
    if not box then return nil, err end
    local all = { command = { "/bin/true" }, stdin = "null", timeout = 20 }
    for name, value in pairs(options or {}) do all[name] = value end
    local process <close>, why = box:exec(all)
    if not process then return nil, why end
    local result, wrong = process:wait()
    return result and result.exit_code == 0, wrong or result.exit_code or result.signal
  end
end

local function created(fields)
  return function()
    local process <close>, err = casulo.container(description(fields)):create()
    if not process then return nil, err end
    local started, why = process:start()
    if not started then return nil, why end
    local result, wrong = process:wait()
    return result and result.exit_code == 0, wrong or "its exit status"
  end
end

local TREES = {
  { type = "bind", source = base .. "/source", target = "/data", readonly = true, nosuid = true, noexec = true },
  { type = "bind", source = base .. "/source/file", target = "/file" },
  { type = "device", source = "/dev/zero", target = "/nothing" },
  { type = "tmpfs", target = "/mnt", size = "1m" },
  { type = "file", target = "/etc/text", content = "text", mode = "0666", uid = 0, readonly = true },
  { type = "directory", target = "/mnt/below/it", mode = "0777" }, { type = "symlink", target = "/mnt/link", to = "below" },
  { type = "mqueue", target = "/dev/mqueue" }, { type = "cgroup2", target = "/run" },
  { type = "overlay", target = "/srv", lower = { base .. "/lower" }, upper = base .. "/upper", work = base .. "/work" },
  { type = "proc", target = "/mnt/proc", hidepid = 2 },
}
local LANDLOCK = { paths = { ["/"] = "read execute", ["/tmp"] = "read write" }, scope = { "signal", "abstract_unix_socket" }, bind_tcp = { 80 } }

local LIST = {
  run {},
  run { hostname = "a", domainname = "b", umask = 63, cwd = "/tmp", readonly = true, rlimits = { nofile = 64 }, mounts = TREES },
  run { namespaces = USER, hostname = "a" },
  run { namespaces = USER, uid_map = RANGES, gid_map = RANGES },
  run { namespaces = USER, uid_map = RANGES, gid_map = RANGES, user = "1000:1000", mounts = {
    { type = "bind", source = base .. "/source", target = "/data", idmap = true } } },
  run { user = { uid = 1000, gid = 1000, groups = { 5 } }, capabilities = { add = { "NET_RAW" } } },
  run { user = 1000 },
  run { init = true },
  run { init = true, user = 1000, detach = true },
  run { namespaces = USER, init = true },
  created {},
  run { namespaces = USER, nesting = true, uid_map = RANGES, gid_map = RANGES },
  run { rootfs = casulo.rootfs.host { writable = { base .. "/source" }, hidden = { "/etc/passwd", "/var/log" } } },
  run { rootfs = { base .. "/root", ephemeral = true, size = "4m" } },
  run { rootfs = { base .. "/root", ephemeral = true, size = "4m" }, namespaces = USER },
  run { masked = { "/etc/passwd", "/root/" }, readonly_paths = { "/etc/", "/bin/busybox" } },
  run { standard_mounts = false, mounts = { { type = "proc", target = "/proc" } } },
  run { landlock = LANDLOCK },
  run { tty = true, init = true, user = 1000, stdin = "inherit" },
  run { namespaces = { "pid", "mount", net = "/proc/self/ns/net", uts = "/proc/self/ns/uts", ipc = "/proc/self/ns/ipc" } },
  run { namespaces = { "user", "mount" } },
  run_exec {},
  run_exec({ namespaces = USER, uid_map = RANGES, gid_map = RANGES }, { user = "1000:1000", tty = true, stdin = "inherit" }),
  run_exec({ landlock = LANDLOCK, rlimits = { nofile = 64 } }, { user = 1000, cwd = "/tmp" }),
  run_exec({ init = true, no_new_privs = false }, { stdout = "null", fds = { [5] = 1 } }),
}

local LIMITS = {
  memory = "64m", memory_high = "32m", swap = "8m", pids = 100, cpu = 0.5, cpu_weight = 50, cpus = "0", ["memory.oom.group"] = 1,
}

-- In a cgroup that passes no controller on yet.
local function run_in_place(fields)
  return function()
    sys.mkdir("/sys/fs/cgroup/place", 493)
    fields.cgroup_parent = "/place"
    return run(fields)()
  end
end

local WITH_CGROUP = { run { cgroup = true }, run { limits = LIMITS }, run_in_place { limits = LIMITS }, run_exec { limits = LIMITS } }
local others = #LIST
table.move(WITH_CGROUP, 1, #WITH_CGROUP, others + 1, LIST)
local is_about_cgroups = arg[2] == "cgroup"

if arg[1] == "list" then
  local found = {}
  for i = is_about_cgroups and others + 1 or 1, is_about_cgroups and #LIST or others do
    mutation.seen = {}
    local before = #mutation.order
    local ok, err = LIST[i]()
    if not ok then io.stderr:write(("container %d does not run here, nor are its steps looked at: %s\n"):format(i, err)) end
    for j = before + 1, #mutation.order do
      local each = mutation.order[j]
      local key = ("%s\t%s"):format(each.step, each.change)
      if not found[key] and ok then found[#found + 1], found[key] = key, {} end
      if found[key] then table.insert(found[key], i) end
    end
  end
  for _, key in ipairs(found) do
    local is_of_cgroup = (key:find "^cgroup, " or key:find "own cgroup") ~= nil
    if is_of_cgroup == is_about_cgroups then print(("%s\t%s"):format(key, table.concat(found[key], " "))) end
  end
else
  for i = 2, #arg do
    local called, ok, err = pcall(LIST[tonumber(arg[i])])
    if called and ok then
      print "starts"
      break
    end
    print(("cannot start: %s"):format(tostring(called and err or ok):gsub("\n.*", "")))
  end
end
sys.waitpid(-1, sys.WNOHANG)
