-- SPDX-License-Identifier: MIT

--- What of this host is in the way of containers, looked for before one is started.
--
-- Each examination gives a state, what is so in one sentence, and the command that cures it, as far as one does. What can be tried
-- out is (`casulo.trials`), and what went wrong there is told in the words of an error of a run (`casulo.hint`).
-- @module casulo.doctor

local hint = require "casulo.hint"
local obstacles = require "casulo.obstacles"

local doctor = {}

local FEW = 100 -- processes

-- What an error of a trial, or the text of one, says in the words of a run. → state, what, cure
local function found(state, err, host)
  if type(err) == "string" then return state, err end
  local obstacle = hint.obstacle(err, host)
  if type(obstacle) == "table" then return state, obstacle.what, obstacle.cure end
  return state, obstacle or tostring(err)
end

local function told(state, obstacle) return state, obstacle.what, obstacle.cure end

-- What only a container in a user namespace needs keeps nobody but an ordinary user from one.
local function weight(host) return host.uid == 0 and "warning" or "problem" end

local examine = {}

function examine.kernel(host, trials)
  if trials.calls ~= true then return told("problem", obstacles.missing(table.concat(trials.calls, ", "), host)) end
  if obstacles.is_old(host) then return told("problem", obstacles.missing(nil, host)) end
  return "ok", ("Linux %s has every system call that a container needs"):format(host.release)
end

function examine.root(host)
  if host.is_chroot then return told("problem", obstacles.chroot()) end
  if host.root == "initramfs" then return "ok", "/ is the initramfs: containers are attached over it, for nobody can pivot away from it" end
  return "ok", "/ is a mount point"
end

function examine.filter(host, trials)
  if host.status.Seccomp ~= 2 then return "ok", "no seccomp filter is around casulo" end
  if trials.container == true and trials.user == true then return "ok", "the seccomp filter around casulo lets a container start" end
  return told("warning", obstacles.filtered "calls that a container may need")
end

examine["user namespace"] = function(host, trials)
  if trials.user == true then return "ok", "the caller can make one, and is root in it" end
  return found(weight(host), trials.user, host)
end

local KINDS = { "pid", "mount", "uts", "ipc", "net", "cgroup", "time" }

-- Kinds that cannot be made for the same reason are told of together.
function examine.namespaces(host, trials)
  local kinds_of, parts, cures, worst = {}, {}, {}, "warning"
  for _, kind in ipairs(KINDS) do
    if trials[kind] ~= true then
      local state, what, cure = found(kind == "time" and "warning" or "problem", trials[kind], host)
      if state == "problem" then worst = state end
      if not kinds_of[what] then
        kinds_of[what] = {}
        parts[#parts + 1], cures[#cures + 1] = what, cure
      end
      table.insert(kinds_of[what], kind)
    end
  end
  if not parts[1] then return "ok", "the caller can make new ones: " .. table.concat(KINDS, " ") end
  for i, what in ipairs(parts) do parts[i] = ("%s: %s"):format(table.concat(kinds_of[what], " "), what) end
  return worst, table.concat(parts, "; "), cures[1] and table.concat(cures, "; ")
end

local function kernel_view(kind)
  return function(host, trials)
    if trials[kind] == true then return "ok", ("a user namespace can mount a /%s of its own"):format(kind) end
    return found(weight(host), trials[kind], host)
  end
end

examine["/proc"], examine["/sys"] = kernel_view "proc", kernel_view "sys"

function examine.container(host, trials)
  local err = trials.container
  if err == true then return "ok", "one with the defaults starts, with / of this host as its root, read-only" end
  local _, _, cure = found("problem", err, host)
  return "problem", "it does not start: " .. tostring(err), cure
end

local function ids(host)
  local texts = {}
  for _, kind in ipairs { "uid", "gid" } do
    local count = 0
    for _, range in ipairs(host["sub" .. kind]) do count = count + range[2] end
    texts[#texts + 1] = ("%d %ss"):format(count, kind)
  end
  return table.concat(texts, " and ")
end

function examine.ids(host, trials)
  for _, kind in ipairs { "uid", "gid" } do
    if #host["sub" .. kind] == 0 then return told("warning", obstacles.no_subordinate(kind, host)) end
  end
  if trials.ranges == true then return "ok", ('the caller can map %s more (uid_map = "auto")'):format(ids(host)) end
  return found("warning", trials.ranges, host)
end

function examine.init(host, trials)
  if trials.init == true then return "ok", "casulo-init can be executed from memory" end
  return found("problem", trials.init, host)
end

function examine.seccomp(host)
  local actions = host.sysctls["kernel.seccomp.actions_avail"]
  if actions then return "ok", "the kernel has filters of system calls: " .. actions end
  return "problem", "this kernel has no filters of system calls, and a container has one", "boot a kernel with CONFIG_SECCOMP_FILTER"
end

function examine.landlock(_, trials)
  if trials.landlock == nil then return nil end
  if math.type(trials.landlock) == "integer" then return "ok", ("the kernel has version %d of its ABI"):format(trials.landlock) end
  return "warning", trials.landlock, "boot a kernel with CONFIG_SECURITY_LANDLOCK, and landlock in its list lsm="
end

function examine.overlay(host, trials)
  if obstacles.is_old(host) then return nil end -- the kernel has been told of already
  if host.overlay == "module" then return "ok", "the kernel loads that file system when one is mounted" end -- not now: nothing is changed
  if not host.overlay then return "warning", "this kernel has no overlay file system, or has not loaded it", "modprobe overlay" end
  if trials.overlay == true then return "ok", "a user namespace can mount one" end
  return found("warning", trials.overlay, host)
end

examine["idmapped mounts"] = function(host, trials)
  if host.uid ~= 0 then return nil end -- nobody else may
  if trials.idmap == true then return "ok", "the file system of / can be mounted with other ids" end
  return "warning", "the file system of / cannot be mounted with other ids: " .. tostring(trials.idmap)
end

function examine.cgroup(host)
  local own = host.cgroup
  local lack = obstacles.cgroup(own, nil, host) or obstacles.controllers(own, { "memory", "pids", "cpu" })
  if lack then return told("warning", lack) end
  local controllers = {}
  for name in pairs(own.has) do controllers[#controllers + 1] = name end
  table.sort(controllers)
  return "ok", ("%s is the caller's to divide, with the controllers %s"):format(own.place, table.concat(controllers, " "))
end

function examine.processes(host)
  local least
  for _, limit in ipairs(host.process_limits) do
    if not least or limit.left < least.left then least = limit end
  end
  if not least then return "ok", "nothing limits their number" end
  if least.left >= FEW then return "ok", ("%d more can be made, by %s"):format(least.left, least.name) end
  return "warning", ("only %d more can be made, by %s"):format(least.left, least.name), least.cure
end

function examine.names(host)
  if host.names == true then return "ok", "containers can have names" end
  if host.names:find "dkjson" then return "warning", host.names, "apt-get install lua-dkjson" end
  local directory = ("/run/user/%d"):format(host.uid)
  return "warning", host.names, ("install -d -m 700 -o %s %s (as root), and export XDG_RUNTIME_DIR=%s"):format(host.login, directory, directory)
end

-- What examines what, in the order of the list: first what all others need.
local ORDER = {
  "kernel", "root", "filter", "user namespace", "namespaces", "/proc", "/sys", "container", "ids", "init", "seccomp", "landlock", "overlay",
  "idmapped mounts", "cgroup", "processes", "names",
}

--- Examines this host for its caller. Changes nothing, and leaves nothing behind.
-- @tparam[opt] table host facts in place of those of `casulo.surroundings`
-- @tparam[opt] table trials what came of them, in place of those of `casulo.trials`
-- @treturn {table,...} each `name`; `state`: "ok", "warning" (something that a container may ask for does not work) or "problem"
--   (no container can run for this caller); `what`: a sentence; `cure`: a command, mostly for root to run, where one is known
function doctor.examine(host, trials)
  host, trials = host or require "casulo.surroundings", trials or require "casulo.trials"()
  local list = {}
  for _, name in ipairs(ORDER) do
    local state, what, cure = examine[name](host, trials)
    if state then list[#list + 1] = { name = name, state = state, what = what, cure = cure } end
  end
  return list
end

--- Whether a container can run, by what an examination found.
-- @tparam {table,...} list of `examine`
-- @treturn boolean
function doctor.can_run(list)
  for _, each in ipairs(list) do
    if each.state == "problem" then return false end
  end
  return true
end

local function text_of(list)
  local lines = {}
  for _, each in ipairs(list) do
    lines[#lines + 1] = ("%-8s %s: %s\n"):format(each.state, each.name, each.what)
    if each.cure then lines[#lines + 1] = ("%s cure: %s\n"):format((" "):rep(8), each.cure) end
  end
  lines[#lines + 1] = doctor.can_run(list) and "containers can run here\n" or "no container can run here, as long as there is a problem\n"
  return table.concat(lines)
end

--- The command: prints what an examination found.
-- @tparam {string,...} arguments
-- @treturn integer exit status: 0 where a container can run for this caller, 1 where something prevents it
function doctor.command(arguments)
  local cli, named = require "casulo.cli", require "casulo.named"
  local options, word, command = cli.parse(arguments, named.OPTIONS.doctor)
  if word or command then cli.mistake("doctor takes no arguments but --json, got %q", word or "--") end
  local list = doctor.examine()
  cli.say(options.json and named.json(list, { "name", "state", "what", "cure" }) or text_of(list))
  return doctor.can_run(list) and 0 or 1
end

return doctor
