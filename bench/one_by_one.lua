-- SPDX-License-Identifier: MIT
--- What the caller has more than before, when many containers came and went.

local figures = require "bench.figures"
local json = require "dkjson"
local peer = require "bench.peer"

local MOST_KILOBYTES = 1024

--- Measures.
-- @tparam table settings `root`, `count`
-- @treturn table section
return function(settings)
  local process <close> = peer.start { "lua5.4", "bench/sequence.lua", settings.root, tostring(settings.count) }
  local row = json.decode(process:answer())
  row.count, row.targets = settings.count, {}
  for _, what in ipairs { "descriptors", "processes", "mounts" } do
    table.insert(row.targets, figures.target(what, row[what], 0))
  end
  for _, what in ipairs { "resident", "lua" } do
    table.insert(row.targets, figures.target(what, row[what], MOST_KILOBYTES))
  end
  return {
    name = "sequence", title = "One after another, the full default container: what the caller then has more",
    columns = { { "count", "%d", "containers" }, { "seconds", "%.1f", "s" }, { "descriptors", "%d" }, { "processes", "%d" },
      { "mounts", "%d" }, { "resident", "%.0f", "resident, kB" }, { "lua", "%.1f", "Lua, kB" } },
    rows = { row }, notes = {},
  }
end
