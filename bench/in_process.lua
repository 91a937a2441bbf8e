-- SPDX-License-Identifier: MIT
--- A process that starts containers and says how long each took.
--
-- usage: in_process.lua ROOT [MEGABYTES]
-- It makes a heap of so many megabytes of small tables, if given. Then, for each "KIND COUNT" on standard input, it starts so many
-- containers, waits for each, and writes a line of microseconds. KIND is four, six, whole, or copy: as four, but the child is
-- a copy of this process, as by fork(2).

local casulo = require "casulo"
local kinds = require "bench.kinds"
local sys = casulo.sys

local root, megabytes = arg[1], tonumber(arg[2])

-- A chain of tables, for it has none that doubles. The collector would walk it again and again, so that is stopped for good.
local function fill(kilobytes)
  collectgarbage "stop"
  local chain = {}
  while collectgarbage "count" < kilobytes do
    for _ = 1, 1000 do chain = { chain } end
  end
  return chain
end

local function copying()
  local recipes = casulo.recipes
  local plan = casulo.plan {
    function() end, -- for which the child must be a copy
    recipes.private_mounts(), recipes.pivot_root(root), recipes.fresh_proc(),
    { "execve", "/bin/true", { "/bin/true" }, {} },
  }
  return function() return casulo.unshared({ "pid", "mount", "uts", "ipc" }, plan) end
end

local starters = {}
local function starter(kind)
  if kind == "copy" then return copying() end
  local box = casulo.container(kinds.describe(kind, root, { "/bin/true" }))
  return function() return box:run() end
end

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

local chain = megabytes and fill(megabytes * 1024)
for line in io.lines() do
  local kind, count = line:match "^(%a+) (%d+)$"
  starters[kind] = starters[kind] or starter(kind)
  local run, times = starters[kind], {}
  for i = 1, math.tointeger(tonumber(count)) do
    local started = now()
    local result = assert(run())
    times[i] = ("%.1f"):format((now() - started) * 1e6)
    assert(result.exit_code == 0)
  end
  print(table.concat(times, " "))
  io.flush()
end
return chain
