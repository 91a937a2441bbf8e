-- SPDX-License-Identifier: MIT
--- What it gains to have containers ready: how long a start takes from a pool, of one that begins with nothing.

local casulo = require "casulo"
local figures = require "bench.figures"
local kinds = require "bench.kinds"
local sys = casulo.sys

local MOST_OF_A_START = 0.5

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

-- Adds the µs until a command is executed.
local function measure(times, start)
  local started = now()
  local process = assert(start())
  times[#times + 1] = (now() - started) * 1e6
  assert(process:wait().exit_code == 0)
end

--- Measures.
-- @tparam table settings `root`, `rounds`
-- @treturn table section
return function(settings)
  local section = {
    name = "pool", title = "Until the command is executed, from within a process: µs",
    columns = { { "kind", "%s", "new namespaces; mounts" }, { "start", "%.0f" }, { "pool", "%.0f", "from a pool" }, { "ratio", "%.3f" } },
    rows = {},
  }
  for _, kind in ipairs { "four", "six", "whole" } do
    local box = casulo.container(kinds.describe(kind, settings.root, { "/bin/true" }))
    local pool <close> = assert(casulo.pool { box, size = 4 })
    local alone, pooled = {}, {}
    for _ = 1, settings.rounds do
      measure(alone, function() return box:start() end)
      measure(pooled, function() return pool:start() end)
      assert(pool:fill())
    end
    local row = { kind = kinds.TITLES[kind], start = figures.median(alone), pool = figures.median(pooled) }
    row.ratio = row.pool / row.start
    row.targets = { figures.target("of a start", row.ratio, MOST_OF_A_START) }
    table.insert(section.rows, row)
  end
  return section
end
