-- SPDX-License-Identifier: MIT
--- Measures what containers cost, casulo's and others', prints it as tables and writes it as JSON.
--
-- usage: run.lua DIRECTORY REPORT quick|whole [ONLY [REVISION]]
-- Casulo of that revision is in DIRECTORY/tree, and has been built.

local casulo = require "casulo"
local crowd = require "bench.crowd"
local json = require "dkjson"
local machine = require "bench.machine"
local starts = require "bench.starts"
local text_of = require "bench.table"

local directory, report, quick, only, revision = arg[1], arg[2], arg[3] == "quick", arg[4] or "", arg[5] or ""

-- The name of each section, what measures it, and how much of it in full and in short. `turn` is how many starts one process does before
-- another's turn; `patience` how many seconds are spent on starting.
local SECTIONS = {
  { "in process", starts.beside_c, { rounds = 300, turn = 5 }, { rounds = 4, turn = 5 } },
  { "commands", require "bench.commands", { rounds = 20, runs = 10 }, { rounds = 1, runs = 5 } },
  { "heap", starts.beside_heap, { heaps = { 0, 100, 1024, 4096 }, rounds = 200, turn = 5, copies = 10 },
    { heaps = { 0, 20 }, rounds = 6, turn = 5, copies = 2 } },
  { "protections", require "bench.protections", { rounds = 400 }, { rounds = 5 } },
  { "pool", require "bench.pool", { rounds = 300 }, { rounds = 10 } },
  { "limits", require "bench.limits", { rounds = 200 }, { rounds = 5 } },
  { "sequence", require "bench.one_by_one", { count = 10000 }, { count = 100 } },
  { "alive", crowd.by_count, { counts = { 1000, 4000, 16000 }, patience = 300 }, { counts = { 20 }, patience = 10 } },
  { "alive by tool", crowd.by_tool, { compared = 1000, patience = 60 }, { compared = 20, patience = 10 } },
}

if revision ~= "" then
  table.insert(SECTIONS, 1, { "revision", starts.beside_revision, { rounds = 300, turn = 5 }, { rounds = 4, turn = 5 } })
end

local function measure()
  local list = {}
  for _, section in ipairs(SECTIONS) do
    if section[1]:find(only, 1, true) then
      local settings = section[quick and 4 or 3]
      settings.directory = ("%s/%s"):format(casulo.sys.readlink "/proc/self/cwd", directory)
      settings.root, settings.tree, settings.revision = settings.directory .. "/root", settings.directory .. "/tree", revision
      list[#list + 1] = section[2](settings)
      print(text_of(list[#list]))
      io.flush()
    end
  end
  return list
end

local described = machine.describe()
print(machine.text(described))
if quick then print "In short: a trial of the benchmark, whose figures say little.\n" end
casulo.rootfs.busybox(directory .. "/root")
assert(os.execute(("cp '%s/pause' '%s/root/bin/pause'"):format(directory, directory)))
local sections = measure()
print(require "bench.plot"(directory, sections))
local file = assert(io.open(report, "w"))
assert(file:write(json.encode({ machine = described, quick = quick, sections = sections }, { indent = true }), "\n"))
assert(file:close())
print("All of it: " .. report)
