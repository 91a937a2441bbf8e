-- SPDX-License-Identifier: MIT
--- What many containers at once take: casulo's, bwrap's, and the bare processes of the same command.

local figures = require "bench.figures"
local json = require "dkjson"
local kinds = require "bench.kinds"
local peer = require "bench.peer"
local tools = require "bench.tools"

-- kB each; of the largest crowd.
local MOST = { four = 90, six = 350, whole = 450 }
local SMALLEST, USUAL = { "/bin/pause" }, { "/bin/sleep", "1000000" }

local function measure(settings, tool, kind, count, command)
  local process <close> = peer.start { "lua5.4", "bench/alive.lua", settings.root, tool, kind, tostring(count),
    tostring(settings.patience), table.unpack(command) }
  local row = json.decode(process:answer())
  row.kind = tool == "bare" and "no container" or kinds.TITLES[kind]
  row.count, row.tool, row.command = count, tool, command[1]:match "[^/]+$"
  row.each, row.start_each, row.targets = row.user + row.kernel, row.start / row.alive * 1e3, {}
  row.megabytes = row.each * row.alive / 1024
  return row
end

local COLUMNS = {
  { "kind", "%s", "new namespaces; mounts" }, { "tool", "%s" }, { "command", "%s" }, { "alive", "%d" },
  { "processes", "%.0f", "processes each" }, { "start", "%.2f", "start, s" }, { "start_each", "%.2f", "ms each" },
  { "kernel", "%.1f", "kernel, kB each" }, { "user", "%.1f", "user, kB each" }, { "each", "%.1f", "kB each" },
  { "reap", "%.2f", "kill and reap, s" }, { "freed", "%.2f", "freed after, s" },
}

local function add(section, row)
  table.insert(section.rows, row)
  if row.stopped then
    local told = "%s, %s: stopped at %d of %d: %s"
    table.insert(section.notes, told:format(row.tool, row.kind, row.alive, row.count, row.stopped))
  end
  return row
end

local crowd = {}

--- Measures casulo's kinds by the number of containers.
-- @tparam table settings `root`, `counts`, `patience` (seconds)
-- @treturn table section
function crowd.by_count(settings)
  local section = {
    name = "alive", title = "Alive at once, from one process", columns = COLUMNS, rows = {},
    notes = { "Memory: the kernel's is the growth of Slab, VmallocUsed (stacks, filters), PageTables and Percpu in /proc/meminfo; the "
      .. "user's is RssAnon and RssShmem of the processes.",
      "The command is the smallest there is, a static program of one system call. A start takes longer the more processes there are: "
      .. "pivot_root(2) looks at each.",
      "Freed after: when the kernel has let go of 80 % of it." },
  }
  add(section, measure(settings, "bare", "four", settings.counts[#settings.counts], SMALLEST))
  for _, kind in ipairs { "four", "six", "whole" } do
    for i, count in ipairs(settings.counts) do
      local row = add(section, measure(settings, "casulo", kind, count, SMALLEST))
      if i == #settings.counts then
        row.targets = { figures.target("kB each", row.each, MOST[kind]), figures.target("not started", count - row.alive, 0) }
      end
    end
  end
  return section
end

--- Compares casulo with bwrap, and with the processes alone.
-- @tparam table settings `root`, `compared`, `patience` (seconds)
-- @treturn table section
function crowd.by_tool(settings)
  local section = {
    name = "alive, by tool", title = "Alive at once, beside bwrap, which keeps three processes for each", columns = COLUMNS,
    rows = {}, notes = {},
  }
  add(section, measure(settings, "bare", "four", settings.compared, USUAL))
  for _, kind in ipairs { "four", "six", "whole" } do
    add(section, measure(settings, "casulo", kind, settings.compared, USUAL))
    if tools.is_installed "bwrap" then add(section, measure(settings, "bwrap", kind, settings.compared, USUAL)) end
  end
  if not tools.is_installed "bwrap" then table.insert(section.notes, "bwrap is not installed.") end
  return section
end

return crowd
