-- SPDX-License-Identifier: MIT
--- Plots of measurements, by gnuplot.

local peer = require "bench.peer"

local STYLE = [[
set terminal svg size 640,400 font "sans-serif,13" background "white"
set key top left reverse Left
set grid ytics lc "#dddddd"
set border 3
set tics nomirror
]]

-- Lines: `{ title, { { x, y }, … } }`
local function plot(directory, name, settings, lines)
  local path = ("%s/%s"):format(directory, name)
  local script = assert(io.open(path .. ".gnuplot", "w"))
  script:write(STYLE, ("set output '%s.svg'\n"):format(path), settings, "\n")
  local parts = {}
  for i, line in ipairs(lines) do
    script:write(("$line%d << END\n"):format(i))
    for _, point in ipairs(line[2]) do script:write(("%g %g\n"):format(point[1], point[2])) end
    script:write "END\n"
    parts[i] = ("$line%d with linespoints pt 7 ps 0.6 lw 2 title '%s'"):format(i, line[1])
  end
  script:write("plot ", table.concat(parts, ", "), "\n")
  script:close()
  peer.run({ "gnuplot", path .. ".gnuplot" }, path .. ".log")
end

local function points(rows, x, y)
  local list = {}
  for i, row in ipairs(rows) do list[i] = { row[x], row[y] } end
  return list
end

-- The containers among the rows, in a list for each kind.
local function by_kind(rows)
  local kinds, order = {}, {}
  for _, row in ipairs(rows) do
    if row.tool == "casulo" and not kinds[row.kind] then
      kinds[row.kind] = {}
      order[#order + 1] = row.kind
    end
    table.insert(kinds[row.kind] or {}, row)
  end
  return kinds, order
end

local function draw_heap(directory, rows)
  plot(directory, "heap", "set logscale y\nset format y '%.0f'\nset xlabel 'heap of the caller, MB'\nset ylabel 'start, /bin/true, wait: µs'", {
    { "a child that shares the memory (casulo)", points(rows, "megabytes", "shared") },
    { "a copy, as by fork", points(rows, "megabytes", "copy") },
  })
end

local function draw_alive(directory, rows)
  local lines = {}
  local kinds, order = by_kind(rows)
  for i, kind in ipairs(order) do lines[i] = { kind, points(kinds[kind], "alive", "megabytes") } end
  plot(directory, "alive", "set xlabel 'containers alive'\nset ylabel 'memory, MB'", lines)
end

local DRAW = { heap = draw_heap, alive = draw_alive }

--- Draws what the sections have to draw.
-- @tparam string directory
-- @tparam table list of sections
-- @treturn string what was done, or why not
return function(directory, list)
  if not peer.find "gnuplot" then return "gnuplot is not installed, so nothing was drawn." end
  local drawn = {}
  for _, section in ipairs(list) do
    if DRAW[section.name] then
      DRAW[section.name](directory, section.rows)
      drawn[#drawn + 1] = ("%s/%s.svg"):format(directory, section.name)
    end
  end
  return drawn[1] and "Drawn: " .. table.concat(drawn, ", ") or "Nothing to draw."
end
