-- SPDX-License-Identifier: MIT
--- Sections of measurements as tables of text. A section has a `title`, `columns` of `{ key, format [, head] }`, `rows` with a cell
-- a key, and `notes`. A row's `targets` are its last column.

local function cell(row, column)
  local value = row[column[1]]
  if value == nil then return "–" end
  return type(value) == "number" and column[2]:format(value) or tostring(value)
end

local function verdict(row)
  local list = {}
  for i, target in ipairs(row.targets or {}) do
    list[i] = ("%s %s %g"):format(target.what, target.reached and "≤" or ">", target.most)
    if not target.reached then list[i] = list[i] .. ": SHORT" end
  end
  if not list[1] then return "" end
  local text = table.concat(list, ", ")
  return text:find "SHORT" and text or "PASS: " .. text
end

local function padded(text, width, is_left)
  local space = (" "):rep(width - utf8.len(text))
  return is_left and text .. space or space .. text
end

--- A section as text.
-- @tparam table section
-- @treturn string
return function(section)
  local grid, widths = { {} }, {}
  for k, column in ipairs(section.columns) do grid[1][k] = column[3] or column[1] end
  table.insert(grid[1], "target")
  for _, row in ipairs(section.rows) do
    local line = {}
    for k, column in ipairs(section.columns) do line[k] = cell(row, column) end
    table.insert(line, verdict(row))
    table.insert(grid, line)
  end
  for _, line in ipairs(grid) do
    for k, text in ipairs(line) do widths[k] = math.max(widths[k] or 0, utf8.len(text)) end
  end
  local lines = { section.title, "" }
  for _, line in ipairs(#grid > 1 and grid or {}) do
    for k, text in ipairs(line) do line[k] = padded(text, widths[k], k == 1 or k == #line) end
    table.insert(lines, ("  " .. table.concat(line, "  "):gsub("%s+$", "")))
  end
  for _, note in ipairs(section.notes or {}) do table.insert(lines, "  " .. note) end
  return table.concat(lines, "\n") .. "\n"
end
