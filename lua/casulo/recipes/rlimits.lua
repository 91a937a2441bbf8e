-- SPDX-License-Identifier: MIT

--- Limits of resources of a process and of those that it starts.
-- @module casulo.recipes.rlimits

local sys = require "casulo.sys"

local rlimits = {}

-- What each counts, and in what.
local WHY = {
  as = "the address space of a process, in bytes", core = "a core dump, in bytes", cpu = "a process's time on the CPU, in seconds",
  data = "what a process may allocate, in bytes", fsize = "a file that it writes, in bytes", locks = "file locks",
  memlock = "memory that may not be swapped, in bytes", msgqueue = "what the user's POSIX message queues hold, in bytes",
  nice = "the priority that it may take: 20 minus the nice value", nofile = "one more than the highest descriptor of a process",
  nproc = "processes of this user", rss = "of no effect since Linux 2.4.30", rtprio = "its real-time priority",
  rttime = "real-time work without a pause, in microseconds", sigpending = "signals that are queued for the user",
  stack = "the stack of a process, in bytes",
}

--- The kernel's number of a resource.
-- @tparam string name as in setrlimit(2), in lower case: `"nofile"`
-- @treturn ?integer
function rlimits.number(name) return WHY[name] and sys["RLIMIT_" .. name:upper()] end

--- The names of all resources, as a set.
-- @treturn table
function rlimits.names()
  local set = {}
  for name in pairs(WHY) do set[name] = true end
  return set
end

--- Sets limits. They hold from the next call on, so these steps come last before the command is executed.
-- @tparam table limits by name, `{ soft =, hard = }`: integers, RLIM_INFINITY for none
-- @tparam[opt] string why in place of what each limit is about
-- @treturn table steps
-- @see setrlimit(2)
function rlimits.set(limits, why)
  local names, steps = {}, {}
  for name in pairs(limits) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    local limit = limits[name]
    steps[i] = { "setrlimit", rlimits.number(name), limit.soft, limit.hard, why = why or WHY[name] }
  end
  return steps
end

return rlimits
