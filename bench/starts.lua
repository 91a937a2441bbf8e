-- SPDX-License-Identifier: MIT
--- What a start and the end of a container cost within a process: casulo's beside those of C by hand, and beside its own in a
-- process with a large heap.

local figures = require "bench.figures"
local kinds = require "bench.kinds"
local peer = require "bench.peer"
local write_images = require "bench.images"

local MOST_OF_BY_HAND, MOST_OF_EMPTY = 1.15, 1.1

local starts = {}

local function casulo(settings, ...) return peer.start { "lua5.4", "bench/in_process.lua", settings.root, ... } end

-- Another tree of casulo, which has been built, with the benchmark that came with it.
local IN_TREE = 'cd "$0" && eval "$(make -s --no-print-directory env)" && LUA_PATH="./?.lua;$LUA_PATH" exec lua5.4 bench/in_process.lua "$1"'
local function casulo_of(tree, settings) return peer.start { "/bin/sh", "-c", IN_TREE, tree, settings.root } end

-- The processes take turns, a few starts each; who begins changes from turn to turn. → the median of each
local function compare(settings, kind, processes)
  local times, medians = {}, {}
  for i, each in ipairs(processes) do
    times[i] = {}
    each:measure(kind, settings.turn, {}) -- the first ones find nothing in the caches
  end
  for round = 1, settings.rounds do
    for i = 0, #processes - 1 do
      local index = (round + i) % #processes + 1
      processes[index]:measure(kind, settings.turn, times[index])
    end
  end
  for i in ipairs(processes) do medians[i] = figures.median(times[i]) end
  return table.unpack(medians)
end

--- Compares with C by hand: such as executes the command itself, and such as goes through casulo-init.
-- @tparam table settings `root`, `directory`, `rounds`, `turn`
-- @treturn table section
function starts.beside_c(settings)
  local section = {
    name = "in process", title = "Start, /bin/true, wait, from within a process: µs",
    columns = {
      { "kind", "%s", "new namespaces; mounts" }, { "casulo", "%.0f" }, { "by hand", "%.0f", "C by hand" }, { "ratio", "%.3f" },
      { "through", "%.0f", "through casulo-init" }, { "ratio through", "%.3f", "ratio" },
    },
    rows = {}, notes = { "C by hand executes the command itself; through casulo-init, it does all that casulo does." },
  }
  local by_hand, images = settings.directory .. "/by_hand", write_images(settings.directory, settings.root, { "/bin/true" })
  local ours <close> = casulo(settings)
  local direct <close> = peer.start { by_hand, settings.root .. "/", "/bin/true" }
  local through <close> = peer.start { by_hand, "--through", images, settings.root .. "/", "/bin/true" }
  for _, kind in ipairs { "four", "six", "whole" } do
    local row = { kind = kinds.TITLES[kind], runs = settings.rounds * settings.turn }
    row.casulo, row["by hand"], row.through = compare(settings, kind, { ours, direct, through })
    row.ratio, row["ratio through"] = row.casulo / row["by hand"], row.casulo / row.through
    row.targets = { figures.target("of C by hand", row.ratio, MOST_OF_BY_HAND) }
    table.insert(section.rows, row)
  end
  return section
end

--- Compares with another revision of casulo.
-- @tparam table settings `root`, `rounds`, `turn`, `tree`: the directory where that was built, `revision`
-- @treturn table section
function starts.beside_revision(settings)
  local section = {
    name = "revision", title = ("Start, /bin/true, wait, from within a process, beside casulo of %s: µs"):format(settings.revision), rows = {},
    columns = { { "kind", "%s", "new namespaces; mounts" }, { "casulo", "%.0f" }, { "before", "%.0f", settings.revision }, { "ratio", "%.3f" } },
  }
  local ours <close> = casulo(settings)
  local others <close> = casulo_of(settings.tree, settings)
  for _, kind in ipairs { "four", "six", "whole" } do
    local row = { kind = kinds.TITLES[kind], runs = settings.rounds * settings.turn }
    row.casulo, row.before = compare(settings, kind, { ours, others })
    row.ratio = row.casulo / row.before
    table.insert(section.rows, row)
  end
  return section
end

local function megabytes_available()
  for line in io.lines "/proc/meminfo" do
    local kilobytes = line:match "^MemAvailable:%s+(%d+)"
    if kilobytes then return kilobytes // 1024 end
  end
end

-- One process a heap, all alive at once.
local function processes(settings)
  local list = setmetatable({}, { __close = function(list)
    for _, each in ipairs(list) do each.process:close() end
  end })
  for _, megabytes in ipairs(settings.heaps) do
    if megabytes * 1.1 + 500 < megabytes_available() then
      local process = casulo(settings, tostring(megabytes))
      list[#list + 1] = { megabytes = megabytes, process = process, shared = {}, copy = {} }
      process:measure("four", 1, {}) -- it has made its heap
    else
      list.left_out = megabytes
    end
  end
  return list
end

--- Compares processes with heaps of several sizes.
-- @tparam table settings `root`, `heaps` (MB; the first is 0), `rounds`, `turn`, `copies` (one in so many rounds)
-- @treturn table section
function starts.beside_heap(settings)
  local section = {
    name = "heap", title = "The same, by the size of the caller's heap of small tables: µs",
    columns = { { "megabytes", "%.0f", "heap, MB" }, { "shared", "%.0f", "casulo" }, { "ratio", "%.3f", "of the empty heap" },
      { "copy", "%.0f", "a copy, as by fork" } },
    rows = {},
    notes = { "PID, mount, UTS and IPC namespaces; the heap is a chain of tables, and its collector is stopped. "
      .. "A copy: a plan with a Lua function in it." },
  }
  local list <close> = processes(settings)
  for round = 1, settings.rounds do
    for i = 0, #list - 1 do
      local each = list[(round + i) % #list + 1]
      each.process:measure("four", settings.turn, each.shared)
      if round % settings.copies == 0 then each.process:measure("copy", 1, each.copy) end
    end
  end
  for i, each in ipairs(list) do
    local row = { megabytes = each.megabytes, runs = #each.shared, targets = {} }
    row.shared, row.copy = figures.median(each.shared), figures.median(each.copy)
    row.ratio = row.shared / (i == 1 and row.shared or section.rows[1].shared)
    if i > 1 then row.targets[1] = figures.target("of the empty heap", row.ratio, MOST_OF_EMPTY) end
    section.rows[i] = row
  end
  if list.left_out then table.insert(section.notes, ("%d MB: too little memory here."):format(list.left_out)) end
  return section
end

return starts
