-- SPDX-License-Identifier: MIT
--- What protections cost: a start without one of them, beside one with all.

local casulo = require "casulo"
local interleaved = require "bench.interleaved"
local kinds = require "bench.kinds"

local LEFT_OUT = {
  { "none" },
  { "the covers in /proc and /sys", { masked = {}, readonly_paths = {} } },
  { "the filter of system calls", { seccomp = false } },
  { "the limit of capabilities", { capabilities = { add = { "ALL" } } } },
  { "these three", { masked = {}, readonly_paths = {}, seccomp = false, capabilities = { add = { "ALL" } } } },
}

local function add_rows(rows, kind, settings)
  local all, boxes = casulo.container(kinds.describe(kind, settings.root, { "/bin/true" })), {}
  for i, each in ipairs(LEFT_OUT) do boxes[i] = all:with(each[2] or {}) end
  local medians = interleaved(boxes, settings.rounds)
  for i, each in ipairs(LEFT_OUT) do
    rows[#rows + 1] = { kind = i == 1 and kinds.TITLES[kind] or "", left_out = each[1], time = medians[i], ratio = medians[i] / medians[1] }
  end
end

--- Measures.
-- @tparam table settings `root`, `rounds`
-- @treturn table section
return function(settings)
  local section = {
    name = "protections", title = "Start, /bin/true, wait, without a protection: µs", rows = {},
    columns = { { "kind", "%s", "new namespaces; mounts" }, { "left_out", "%s", "left out" }, { "time", "%.0f" }, { "ratio", "%.3f" } },
  }
  for _, kind in ipairs { "four", "whole" } do add_rows(section.rows, kind, settings) end
  return section
end
