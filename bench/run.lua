-- SPDX-License-Identifier: MIT
--- Measures what containers cost, casulo's and others', and prints it; build/bench.json has the same in full.
--
-- usage: run.lua DIRECTORY [quick]

local casulo = require "casulo"
local json = require "dkjson"
local machine = require "bench.machine"
local peer = require "bench.peer"
local text_of = require "bench.table"

local directory, quick = arg[1], arg[2] == "quick"

local working = assert(casulo.sys.readlink "/proc/self/cwd")
local root = casulo.rootfs.busybox(("%s/%s/root"):format(working, directory))
assert(os.execute(("cp '%s/pause' '%s/bin/pause'"):format(directory, root)))

local function settings(fields)
  fields.root, fields.directory = root, ("%s/%s"):format(working, directory)
  return fields
end

local function one_after_another(options)
  local process <close> = peer.start { "lua5.4", "bench/sequence.lua", options.root, tostring(options.count) }
  local row = json.decode(process:answer())
  row.count, row.targets = options.count, {}
  for _, what in ipairs { "descriptors", "processes", "mounts" } do table.insert(row.targets, { what = what, value = row[what], most = 0 }) end
  for _, what in ipairs { "resident", "lua" } do table.insert(row.targets, { what = what .. ", kB", value = row[what], most = 1024 }) end
  return {
    name = "sequence", title = "One after another, the full default container: what the caller then has more",
    columns = { { "count", "%d", "containers" }, { "seconds", "%.1f", "s" }, { "descriptors", "%d" }, { "processes", "%d" },
      { "mounts", "%d" }, { "resident", "%.0f", "resident, kB" }, { "lua", "%.1f", "Lua, kB" } },
    rows = { row }, notes = {},
  }
end

local starts, crowd = require "bench.starts", require "bench.crowd"

-- Each section and its settings, in full and quick.
local SECTIONS = {
  { starts.beside_c, { by_hand = directory .. "/by_hand", rounds = 60, turn = 20 }, { by_hand = directory .. "/by_hand", rounds = 4, turn = 5 } },
  { require "bench.commands", { rounds = 6, runs = 30 }, { rounds = 1, runs = 5 } },
  { starts.beside_heap, { heaps = { 0, 100, 1024, 4096 }, rounds = 40, turn = 20 }, { heaps = { 0, 20 }, rounds = 4, turn = 5 } },
  { one_after_another, { count = 10000 }, { count = 100 } },
  { crowd.by_count, { counts = { 1000, 4000, 16000 } }, { counts = { 20 } } },
  { crowd.by_tool, { compared = 1000 }, { compared = 20 } },
}

local described = machine.describe()
print(machine.text(described))
local sections, list = {}, {}
for i, entry in ipairs(SECTIONS) do
  list[i] = entry[1](settings(entry[quick and 3 or 2]))
  sections[list[i].name] = list[i]
  print(text_of(list[i]))
  io.flush()
end
print(require "bench.plot"(directory, sections))

local report = assert(io.open("build/bench.json", "w"))
assert(report:write(json.encode({ machine = described, quick = quick, sections = list }, { indent = true }), "\n"))
report:close()
print "The same in full: build/bench.json"
