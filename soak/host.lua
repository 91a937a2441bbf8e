-- SPDX-License-Identifier: MIT
--- What neither deaths nor load may change, and whether they have.

local sys = require "casulo.sys"

local host = {}

--- Seconds of CLOCK_MONOTONIC.
function host.now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

function host.read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function listed(directory)
  local names = sys.scandir(directory) or {}
  table.sort(names)
  return table.concat(names, " ")
end
host.listed = listed

--- The state of the host, as far as a container could change it; what is compared are texts.
-- @tparam {string,...} directories further ones in which nothing may appear
function host.look(directories)
  collectgarbage()
  local state = { mounts = host.read "/proc/self/mountinfo", descriptors = listed "/proc/self/fd", hostname = sys.gethostname() }
  for _, directory in ipairs(directories) do state[directory] = listed(directory) end
  return state
end

--- What is another than before, in words; nil where nothing is.
function host.difference(before, after)
  for name, value in pairs(before) do
    if after[name] ~= value then return ("%s: was %s\nis %s"):format(name, value, after[name]) end
  end
end

local function described(pid)
  local ok, text = pcall(host.read, ("/proc/%s/cmdline"):format(pid))
  return ok and ("%s (%s)"):format(pid, text:gsub("%z", " ")) or pid
end

--- The PIDs of a process's children, and of the orphans that have come to it.
-- @tparam integer pid
-- @treturn string empty where it is gone
function host.children(pid)
  local file <close> = io.open(("/proc/%d/task/%d/children"):format(pid, pid))
  return file and file:read "a" or ""
end

--- Waits until this process has no children, nor orphans that have come to it.
-- @tparam number seconds the longest that it may take
-- @treturn ?string those that are left then
function host.wait_for_none(seconds)
  local deadline = host.now() + seconds
  repeat
    local pid, _, errno = sys.waitid(sys.P_ALL, 0, sys.WEXITED | sys.WNOHANG | sys.__WALL)
    if not pid and errno == sys.ECHILD then return nil end
    if pid == 0 then sys.poll({}, 1) end
  until host.now() > deadline
  local left = {}
  for pid in host.children(sys.getpid()):gmatch "%d+" do left[#left + 1] = described(pid) end
  return table.concat(left, ", ")
end

local USER = 61234 -- an id that no account has

--- Makes this process one of an ordinary user, who was given nothing.
function host.become_user()
  assert(sys.setgroups {})
  assert(sys.setresgid(USER, USER, USER))
  assert(sys.setresuid(USER, USER, USER))
  assert(sys.prctl(sys.PR_SET_DUMPABLE, 1))
end

--- Runs a function in a copy of this process.
-- @treturn integer its PID
function host.fork(body) return (assert(sys.clone(0, body, { threads = true }))) end

return host
