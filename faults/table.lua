-- SPDX-License-Identifier: MIT

--- Prints what the workers counted, as a table and as one line. Usage: table.lua COUNTS… ; exits with 1 where there is an exception.

local order, rows, total = {}, {}, { 0, 0, 0, 0, 0 }
for _, path in ipairs(arg) do
  for line in io.lines(path) do
    local name = line:match "^[^\t]+"
    if not rows[name] then
      order[#order + 1] = name
      rows[name] = { 0, 0, 0, 0, 0 }
    end
    local column = 0
    for count in line:gmatch "\t(%d+)" do
      column = column + 1
      rows[name][column] = rows[name][column] + math.tointeger(count)
      total[column] = total[column] + math.tointeger(count)
    end
  end
end

local function sum(row) return row[1] + row[2] + row[3] + row[5] end

print(("%-44s %10s %10s %10s %10s %10s"):format("scenario", "injections", "errors", "successes", "harmless", "exceptions"))
for _, name in ipairs(order) do
  local row = rows[name]
  print(("%-44s %10d %10d %10d %10d %10d"):format(name, sum(row), row[1], row[2], row[3], row[5]))
end
print(("faults: %d injections in %d scenarios: %d errors that name the call, %d clean successes, %d harmless, %d not reached, %d exceptions")
  :format(sum(total), #order, total[1], total[2], total[3], total[4], total[5]))
os.exit(total[5] == 0 and sum(total) > 0)
