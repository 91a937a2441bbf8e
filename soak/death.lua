-- SPDX-License-Identifier: MIT
--- Callers that are killed at a random moment, and what they leave: nothing, at the latest a second later, or after the next call.

local casulo = require "casulo"
local host = require "soak.host"
local killer = require "soak.killer"
local sys = casulo.sys

local death = {}

local RANGES = { { 0, 100000, 65536 } }
local NEW = { "user", "pid", "mount", "uts", "ipc" }
local NAME = "soak"

local function box(place, fields)
  local description = { rootfs = place.root, command = { "/bin/sleep", "1000" }, stdin = "null", stderr = "null" }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function starting(fields)
  return function(place)
    local container = box(place, fields)
    return function() assert(container:start()):close() end
  end
end

-- Enough to end that its end takes time.
local CROWD = { "/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo; wait" }

local function tearing_down(place)
  local container = box(place, { command = CROWD, stdout = "pipe" })
  return function()
    local process <close> = assert(container:start())
    assert(sys.read(process.stdout, 1) == "\n")
  end
end

local function running(place)
  local container = box(place, { command = { "/bin/echo", "text" }, stdout = "pipe" })
  return function() assert(assert(container:run()).stdout == "text\n") end
end

local function executing(place)
  local process = assert(box(place):start())
  return function()
    local other <close> = assert(process:exec { command = { "/bin/echo", "text" }, stdout = "pipe" })
    assert(other:wait().stdout == "text\n")
  end
end

local function creating(place)
  local container = box(place, { command = { "/bin/true" } })
  return function()
    local process <close> = assert(container:create())
    assert(assert(process:start()):wait())
  end
end

local function building(place)
  local number = 0
  return function()
    casulo.rootfs.busybox(place.built)
    number = number + 1
    assert(sys.rename(place.built, ("%s-%d"):format(place.built, number)))
  end
end

-- The command, which is there once; so each death is that of another one.
local function commanding(words)
  return function(place)
    local argv = { place.command, "run", "--rootfs", place.root, table.unpack(words) }
    return function() sys.execve(argv[1], argv, { "PATH=/usr/bin:/bin" }) end
  end
end

-- What the next call finds of a tree is whole, and it clears away what is not.
local function look_at_tree(place)
  local whole = host.listed(place.root .. "/bin")
  local found = sys.stat(place.built)
  if found and host.listed(place.built .. "/bin") ~= whole then return "a tree that is not whole has its name" end
  casulo.rootfs.busybox(place.built)
  local names = host.listed(place.built .. "/bin")
  assert(os.execute(("rm -rf %s %s-*"):format(place.built, place.built)))
  if names ~= whole then return "the next call does not make it whole" end
end

local function look_at_names()
  local records, problems = require "casulo.state".list()
  if not records then return problems end
  if records[1] then return "the next call still lists it" end
end

--- Each: `name`; `prepare`, which returns what is done again and again until the caller is killed; `share` of the count; `seconds`, about what
-- that takes; `ends`, whether it may end by itself or as the signal asks; `look`, the next call, which returns what it finds wrong.
death.CASES = {
  { name = "start", prepare = starting(), share = 1, seconds = 0.004 },
  { name = "run", prepare = running, share = 1, seconds = 0.006 },
  { name = "exec", prepare = executing, share = 1, seconds = 0.012 },
  { name = "teardown", prepare = tearing_down, share = 1, seconds = 0.02 },
  { name = "create, then start", prepare = creating, share = 0.25, seconds = 0.006 },
  { name = "start with init", prepare = starting { init = true }, share = 0.25, seconds = 0.006 },
  { name = "start with ranges of ids", prepare = starting { namespaces = NEW, uid_map = RANGES, gid_map = RANGES }, share = 0.25, seconds = 0.006 },
  { name = "start by an ordinary user", prepare = starting(), become = host.become_user, share = 0.25, seconds = 0.006 },
  { name = "start with a name", prepare = starting { name = NAME }, share = 0.25, seconds = 0.006, look = look_at_names },
  { name = "casulo.rootfs.busybox", prepare = building, share = 0.1, seconds = 0.03, look = look_at_tree },
  { name = "casulo run", prepare = commanding { "--", "/bin/true" }, ends = true, share = 0.25, seconds = 0.006 },
  { name = "casulo run --init", prepare = commanding { "--init", "--", "/bin/sleep", "1000" }, ends = true, share = 0.25, seconds = 0.006 },
}

death.SIGNALS = { "KILL", "INT", "TERM", "HUP" }

-- Where it is interrupted, the interpreter raises an error, wherever it is, and says so.
local function is_end(case, signal, how, code)
  if how == "signal" then return code == sys["SIG" .. signal] end
  return case.ends and code ~= 1 or signal == "INT" and code == 1
end

local function caller_of(case, place, signal)
  return host.fork(function()
    if signal == "INT" then
      assert(sys.dup2(place.null, 2))
      assert(sys.sigprocmask(sys.SIG_UNBLOCK, { sys.SIGINT }))
    end
    if case.become then case.become() end
    local once = case.prepare(place)
    while true do once() end
  end)
end

-- Of the first SIGINT the interpreter makes an error, wherever it is: in a protected call, such as gives up a name, that is lost. The second
-- one ends it, as a user sees who is used to press Ctrl-C again.
local function send(pid, signal)
  sys.kill(pid, sys["SIG" .. signal])
  local deadline = host.now() + 2
  while signal == "INT" and sys.waitid(sys.P_PID, pid, sys.WEXITED | sys.WNOHANG | sys.WNOWAIT) == 0 do
    if host.now() > deadline then return sys.kill(pid, sys.SIGINT) end
    sys.poll({}, 1)
  end
end

-- → what is wrong afterwards, if anything
local function die(case, place, signal)
  if signal == "INT" then assert(sys.sigprocmask(sys.SIG_BLOCK, { sys.SIGINT })) end -- until nobody sees what it says
  local pid = caller_of(case, place, signal)
  assert(sys.sigprocmask(sys.SIG_UNBLOCK, { sys.SIGINT }))
  killer.pass(case.seconds * 2)
  send(pid, signal)
  local _, how, code = sys.waitpid(pid)
  if not is_end(case, signal, how, code) then return ("the caller ended by itself: %s %d"):format(how, code) end
  local left = host.wait_for_none(1)
  if left then return "left a second later: " .. left end
  return case.look and case.look(place)
end

local function is_told(problems, text)
  problems[#problems + 1] = text
  return #problems > 10
end

--- Callers of one kind, killed one after another.
-- @tparam table case
-- @tparam table place `root`, `built`, `command`: paths
-- @tparam string signal
-- @tparam integer count
-- @treturn {string,...} what was wrong
function death.of_callers(case, place, signal, count)
  local problems, before = {}, host.look(place.directories)
  for i = 1, count do
    local problem = die(case, place, signal) or host.difference(before, host.look(place.directories))
    if problem and is_told(problems, ("death %d: %s"):format(i, problem)) then break end
  end
  return problems
end

-- What is said of a start in which the container's first process was killed.
local function is_clear(err) return err.kind == "setup" and tostring(err):find "was killed" ~= nil or tostring(err):find "ended before" ~= nil end

--- Starts in which the container's first process is killed at a random moment.
-- @tparam table fields of the description
-- @tparam table place
-- @tparam integer count
-- @treturn {string,...} what was wrong
-- @treturn integer how many of them never came to their command
function death.of_first_processes(fields, place, count)
  local problems, before, early = {}, host.look(place.directories), 0
  local container = box(place, fields)
  local stop = killer.of_children(0.003)
  for i = 1, count do
    local process, err = container:start()
    local result = process and process:wait()
    early = early + (err and 1 or 0)
    local problem = err and not is_clear(err) and tostring(err) or result and result.signal ~= sys.SIGKILL and "another end than by the signal"
    if problem and is_told(problems, ("death %d: %s"):format(i, problem)) then break end
  end
  stop()
  problems[#problems + 1] = host.wait_for_none(1)
  problems[#problems + 1] = host.difference(before, host.look(place.directories))
  return problems, early
end

return death
