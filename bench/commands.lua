-- SPDX-License-Identifier: MIT
--- What a container costs as a command: casulo's and the other tools', each from its start to its end.

local figures = require "bench.figures"
local json = require "dkjson"
local kinds = require "bench.kinds"
local peer = require "bench.peer"
local tools = require "bench.tools"

local COMMAND = { "/bin/true" }
local COMPARED = { "C by hand", "unshare", "bwrap", "crun", "crun with a cgroup", "runc" }
local MOST = { bwrap = 0.8, ["crun with a cgroup"] = 0.35 }

local function write_bundles(settings)
  for kind in pairs(kinds.TITLES) do
    local path = ("%s/bundle-%s"):format(settings.directory, kind)
    assert(os.execute(("mkdir -p '%s'"):format(path)))
    local file <close> = assert(io.open(path .. "/config.json", "w"))
    assert(file:write(json.encode(tools.bundle(kind, settings.root, COMMAND))))
  end
end

-- crun refuses to run beside a cgroup v2 that is mounted within a cgroup v1, even where it is to use neither.
local function without_hybrid_cgroup(command)
  local mounts <close> = assert(io.open "/proc/self/mounts")
  local place = "/sys/fs/cgroup/unified"
  if not mounts:read "a":find(" " .. place .. " cgroup2 ", 1, true) then return command end
  return { "unshare", "--mount", "sh", "-c", ("umount %s && exec \"$@\""):format(place), "sh", table.unpack(command) }
end

local function quoted(words)
  local list = {}
  for i, word in ipairs(words) do list[i] = "'" .. word:gsub("'", "'\\''") .. "'" end
  return table.concat(list, " ")
end

-- Each round in an order of its own: what one tool leaves to the kernel to do is the next one's loss.
local function shuffle(lines)
  for i = #lines, 2, -1 do
    local k = math.random(i)
    lines[i], lines[k] = lines[k], lines[i]
  end
end

-- One round: each tool some times.
local function measure(settings, lines, times)
  local report = settings.directory .. "/hyperfine.json"
  local command = { "hyperfine", "--style", "none", "-N", "-i", "-w", "2", "-r", tostring(settings.runs), "--export-json", report }
  shuffle(lines)
  for _, line in ipairs(lines) do command[#command + 1] = quoted(line.words) end
  peer.run(without_hybrid_cgroup(command), settings.directory .. "/hyperfine.log")
  local file <close> = assert(io.open(report))
  local results = assert(json.decode(file:read "a")).results
  for i, line in ipairs(lines) do
    local tool = line.name
    times[tool] = times[tool] or { failed = 0 }
    for k, seconds in ipairs(results[i].times) do
      if results[i].exit_codes[k] == 0 then table.insert(times[tool], seconds * 1e3)
      else times[tool].failed = times[tool].failed + 1 end
    end
  end
end

local function lines_of(settings, kind)
  local lines = {}
  for _, tool in ipairs(tools.LIST) do
    local name, line = table.unpack(tool)
    local list = tools.is_installed(name) and line(kind, settings.root, COMMAND, settings.directory)
    if list then lines[#lines + 1] = { name = name, words = list } end
  end
  return lines
end

-- The cell of a tool, and a note where it did not always succeed.
local function cell(tool, times, notes, title)
  if not tools.is_installed(tool) then return "not installed" end
  if not times then return end
  if times.failed > 0 then
    table.insert(notes, ("%s failed %d times of %d: %s"):format(tool, times.failed, times.failed + #times, title))
  end
  return times[1] and figures.median(times) or "failed"
end

local function row(settings, kind, notes)
  local times, lines = {}, lines_of(settings, kind)
  for _ = 1, settings.rounds do measure(settings, lines, times) end
  local cells = { kind = kinds.TITLES[kind], runs = settings.rounds * settings.runs, targets = {} }
  for _, tool in ipairs(tools.LIST) do cells[tool[1]] = cell(tool[1], times[tool[1]], notes, cells.kind) end
  for _, tool in ipairs(COMPARED) do
    if math.type(cells[tool]) and math.type(cells.casulo) then
      local ratio = cells.casulo / cells[tool]
      cells["of " .. tool] = ratio
      if MOST[tool] then table.insert(cells.targets, figures.target("of " .. tool, ratio, MOST[tool])) end
    end
  end
  return cells
end

--- Measures.
-- @tparam table settings `directory`, `root`, `rounds`, `runs`
-- @treturn table section
return function(settings)
  local section = {
    name = "commands", title = "The same as a command, from its start to its end: ms",
    columns = { { "kind", "%s", "new namespaces; mounts" } },
    rows = {},
    notes = {
      "C by hand is bench/by_hand.c, static: casulo's system calls but those of casulo-init. unshare changes no root. crun: with "
        .. "--cgroup-manager=disabled; with a cgroup: as it comes. Of bwrap: casulo's time as a part of bwrap's.",
      "casulo makes /sys and a /dev/shm beside /proc and /dev; bwrap only in the last row.",
    },
  }
  for _, tool in ipairs(tools.LIST) do table.insert(section.columns, { tool[1], "%.2f" }) end
  for _, tool in ipairs(COMPARED) do table.insert(section.columns, { "of " .. tool, "%.2f" }) end
  if not peer.find "hyperfine" then
    section.notes = { "hyperfine is not installed, so no command was measured." }
    return section
  end
  write_bundles(settings)
  for _, kind in ipairs { "four", "standard", "six", "whole" } do table.insert(section.rows, row(settings, kind, section.notes)) end
  return section
end
