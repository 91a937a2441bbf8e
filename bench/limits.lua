-- SPDX-License-Identifier: MIT
--- What limits add to a start: with a cgroup of its own, which is made, filled in and removed, beside without.

local casulo = require "casulo"
local figures = require "bench.figures"
local interleaved = require "bench.interleaved"
local kinds = require "bench.kinds"
local sys = casulo.sys

local LIMITS = { memory = "64m", pids = 20, cpu = 1 } -- less of a processor would be felt by the start itself, on a slow machine
local MOST_OF_NONE = 1.25
local TOP = "/sys/fs/cgroup"

local function write(path, text)
  local fd <close>, message = sys.open(path, sys.O_WRONLY)
  return fd and sys.write(fd, text), message
end

-- As all that a service manager starts, this process is in a cgroup whose memory is counted; outside of one the containers without
-- limits would be spared that.
local function enter_cgroup()
  local place = ("%s/bench-%d"):format(TOP, sys.getpid())
  local own = { place = place, caller = place .. "/caller" }
  if not (sys.mkdir(place, 493) and write(place .. "/cgroup.subtree_control", "+cpu +memory +pids +io")
    and sys.mkdir(own.caller, 493) and write(own.caller .. "/cgroup.procs", "0")) then own.caller = nil end
  return setmetatable(own, { __close = function()
    write(TOP .. "/cgroup.procs", "0")
    sys.rmdir(place .. "/caller")
    sys.rmdir(place)
  end })
end

local function row_of(kind, settings)
  local without = casulo.container(kinds.describe(kind, settings.root, { "/bin/true" }))
  local medians = interleaved({ without, without:with { limits = LIMITS } }, settings.rounds)
  local row = { kind = kinds.TITLES[kind], without = medians[1], with = medians[2] }
  row.ratio = row.with / row.without
  row.targets = { figures.target("of one without", row.ratio, MOST_OF_NONE) }
  return row
end

--- Measures.
-- @tparam table settings `root`, `rounds`
-- @treturn table section
return function(settings)
  local section = {
    name = "limits", title = "Start, /bin/true, wait, with limits of memory, processes and CPU, and without: µs", rows = {}, notes = {},
    columns = { { "kind", "%s", "new namespaces; mounts" }, { "without", "%.0f" }, { "with", "%.0f", "with limits" }, { "ratio", "%.3f" } },
  }
  local own <close> = enter_cgroup()
  if not own.caller then
    section.notes[1] = "This host has no controllers of cgroup v2 at its top; a machine that has them: spec/vm-run make bench ONLY=limits."
    return section
  end
  for _, kind in ipairs { "four", "whole" } do table.insert(section.rows, row_of(kind, settings)) end
  return section
end
