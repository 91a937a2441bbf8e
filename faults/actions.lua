-- SPDX-License-Identifier: MIT

--- What caller.lua does, by name: functions that return what the payload printed, or nil and what went wrong. The calls from the first `mark` to
-- the next are those that inject makes fail.

local actions, casulo = {}, nil
local base = os.getenv "CASULO_FAULTS_TREE"

-- Where inject begins to look, and where it has looked enough.
local function mark() casulo.sys.kill(casulo.sys.getpid(), casulo.sys.SIGURG) end

local LANDLOCK = { paths = { ["/"] = "read execute", ["/mnt"] = "read write" }, scope = { "signal" }, optional = true }
local RANGES = { { 0, 100000, 65536 } }
local NEW = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }

local function description(fields)
  local made = { rootfs = base .. "/root", command = { "/payload" }, stdin = "null", stdout = "pipe", stderr = "pipe", timeout = 15 }
  for name, value in pairs(fields or {}) do made[name] = value end
  return made
end

-- → what the payload printed; or nil and what went wrong
local function outcome(result, err, text)
  if not result then return nil, err end
  if result.exit_code ~= 0 then
    return nil, result.lost or result.timed_out and "TIMED OUT" or ("ended with %s"):format(result.exit_code or result.signal)
  end
  return text or (result.stdout .. result.stderr)
end

-- An action of which all is looked at.
local function whole(body)
  return function()
    mark()
    return body()
  end
end

local function run(fields)
  return whole(function() return outcome(casulo.container(description(fields)):run()) end)
end

-- A container that waits, around what is looked at.
local function beside(fields, body)
  return function()
    local box = casulo.container(description(fields)):with { env = { WAIT = "1" }, stdout = "null", stderr = "null" }
    local process <close> = assert(box:start())
    mark()
    local text, err = body(process)
    mark()
    return text, err
  end
end

local EXEC = { command = { "/payload" }, env = { WAIT = "" }, stdin = "null", stdout = "pipe", stderr = "pipe", timeout = 15 }

local function exec(options)
  local all = {}
  for name, value in pairs(EXEC) do all[name] = value end
  for name, value in pairs(options or {}) do all[name] = value end
  return function(process)
    local started <close>, err = process:exec(all)
    if not started then return nil, err end
    return outcome(started:wait())
  end
end

local function tree(name) return ("%s/%s"):format(base, name) end

local MOUNTS = {
  { type = "bind", source = tree "source", target = "/data", readonly = true, nosuid = true, noexec = true },
  { type = "bind", source = tree "source/file", target = "/file" },
  { type = "device", source = "/dev/zero", target = "/nothing" },
  { type = "tmpfs", target = "/mnt", size = "1m" },
  { type = "file", target = "/etc/text", content = "text", mode = "0666", uid = 0, readonly = true },
  { type = "directory", target = "/mnt/below/it", mode = "0777" }, { type = "symlink", target = "/mnt/link", to = "below" },
  { type = "mqueue", target = "/dev/mqueue" },
  { type = "overlay", target = "/srv", lower = { tree "lower" }, upper = tree "upper", work = tree "work" },
  { type = "proc", target = "/mnt/proc", hidepid = 2 },
}

actions.run = run()
actions.full = run { hostname = "a", domainname = "b", umask = 63, cwd = "/mnt", readonly = true, rlimits = { nofile = 64, core = 0 },
  landlock = LANDLOCK, user = 7, capabilities = { add = { "NET_RAW" } }, init = true, mounts = MOUNTS }
actions.ranges = run { namespaces = NEW, uid_map = RANGES, gid_map = RANGES, user = "7:8" }
actions.idmap = run { namespaces = NEW, uid_map = RANGES, gid_map = RANGES,
  mounts = { { type = "bind", source = tree "source", target = "/data", idmap = true } } }
actions.auto = run { namespaces = NEW, uid_map = "auto", gid_map = "auto" }
actions.nested = run { namespaces = NEW, nesting = true, uid_map = RANGES, gid_map = RANGES, init = true }
actions.host = whole(function()
  return outcome(casulo.container(description {
    rootfs = casulo.rootfs.host { writable = { tree "source" }, hidden = { "/etc/passwd" } }, command = { tree "source/payload" },
  }):run())
end)
actions.ephemeral = run { rootfs = { base .. "/root", ephemeral = true, size = "4m" } }

actions.cgroup = run { cgroup = true }

-- A terminal, a gate, and descriptors by number.
actions.create = function()
  local file <close> = assert(io.open "/dev/null")
  mark()
  local process <close>, err = casulo.container(description { fds = { [5] = file }, name = "faults-created" }):create()
  if not process then return nil, err end
  local started, why = process:start()
  if not started then return nil, why end
  return outcome(process:wait())
end

actions.tty = whole(function()
  local result, err = casulo.container(description { tty = { rows = 24, columns = 80 }, stdin = "inherit", stdout = "inherit",
    stderr = "inherit", init = true }):run()
  return outcome(result, err, result and result.tty)
end)

-- Functions in the place of pipes, and a text to read.
actions.streams = whole(function()
  local chunks = {}
  local result, err = casulo.container(description { stdin = ("x"):rep(200000), stdout = function(chunk) chunks[#chunks + 1] = chunk end,
    stderr = function() end }):run()
  return outcome(result, err, table.concat(chunks))
end)

-- A plan of one's own, whose child is a copy of the caller.
actions.copy = whole(function()
  local recipes = casulo.recipes
  local namespaces = { "mount", "pid", "uts", "ipc", "net" }
  if casulo.sys.geteuid() ~= 0 then namespaces[#namespaces + 1] = "user" end
  return outcome(casulo.unshared(namespaces, {
    recipes.private_mounts(),
    recipes.tmpfs("/mnt", { nosuid = true, nodev = true }),
    { "mkdirat", casulo.sys.AT_FDCWD, "/mnt/below", 493, undo = { "umount2", "/mnt/below", 0 }, why = "one that is taken back" },
    function() assert(casulo.sys.sethostname "copy") end,
    { "mount", "proc", "/proc", "proc", 0, nil, why = "a /proc of its own" },
    { "execve", tree "root/payload", { "payload" }, {}, why = "the payload" },
  }, { stdout = "pipe", stderr = "pipe", stdin = "null", timeout = 15 }))
end)

actions.exec = beside({}, exec())
actions["exec-full"] = beside({ namespaces = NEW, uid_map = RANGES, gid_map = RANGES }, exec { user = "7:8", cwd = "/mnt" })
actions["exec-tty"] = beside({ init = true }, function(process)
  local started <close>, err = process:exec { command = { "/payload" }, env = { WAIT = "" }, tty = true, timeout = 15 }
  if not started then return nil, err end
  local result, wrong = started:wait()
  return outcome(result, wrong, result and result.tty)
end)

-- The ends of a container: killed and waited for, at its timeout, by its scope, by the end of its command while others live.
actions.kill = beside({ name = "faults-killed" }, function(process)
  local ok, message = process:kill()
  if not ok then return nil, message end
  local result, err = process:wait()
  return outcome(result and { exit_code = result.signal == 9 and 0, lost = result.lost }, err, "killed")
end)
actions.close = beside({ init = true }, function(process)
  process:close()
  return "closed"
end)
actions["exec-close"] = beside({}, function(process)
  local all = {}
  for name, value in pairs(EXEC) do all[name] = value end
  all.env = { WAIT = "1" }
  local started, err = process:exec(all)
  if not started then return nil, err end
  started:close()
  return "closed"
end)
actions.timeout = whole(function()
  local result, err = casulo.container(description { env = { WAIT = "1" }, timeout = 1, init = true }):run()
  return outcome(result and { exit_code = result.timed_out and 0, lost = result.lost }, err, "timed out")
end)
actions.detach = whole(function()
  local process, err = casulo.container(description { env = { WAIT = "1" }, init = true, stdout = "null", stderr = "null" }):start()
  if not process then return nil, err end
  local ok, message = process:detach()
  local killed, why = process:kill()
  local result, wrong = process:wait()
  if not ok or not killed then return nil, message or why end
  return outcome(result and { exit_code = result.signal == 9 and 0, lost = result.lost }, wrong, "detached")
end)


--- → the actions, for a module that is loaded
return function(module)
  casulo = module
  return actions
end
