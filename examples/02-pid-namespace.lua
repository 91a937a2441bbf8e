-- SPDX-License-Identifier: MIT
-- Goal:   what a PID namespace changes: the PID of a process, and the processes that it sees.
-- Run:    make && eval "$(make -s env)"; sudo -E lua5.4 examples/02-pid-namespace.lua
-- Expect: outside, some PID and a long table; inside, "My pid is 1" and a table of one row.
local casulo = require "casulo"
local recipes, sys = casulo.recipes, casulo.sys

local function print_processes()
  print(("My pid is %d\n\nPIDS\n%-20s %s"):format(sys.getpid(), "NAME", "PID"))
  local pids = {}
  for _, name in ipairs(sys.scandir "/proc") do pids[#pids + 1] = math.tointeger(name) end
  table.sort(pids)
  for _, pid in ipairs(pids) do
    local comm = io.open(("/proc/%d/comm"):format(pid))
    local name = comm and comm:read "l" -- nothing when it has ended meanwhile
    if name then print(("%-20s %d"):format(name, pid)) end
    if comm then comm:close() end
  end
  print()
end

print_processes()

-- unshare --fork --pid --mount-proc: a PID namespace is entered by being born in it, and its /proc must be mounted anew.
assert(casulo.unshared({ "pid", "mount" }, {
  recipes.private_mounts(),
  recipes.fresh_proc(),
  print_processes,
}))
