-- SPDX-License-Identifier: MIT

--- Checks of single values: what fits comes back, anything else raises a string that begins with the path of the field.
-- @module casulo.check

local check = {}

local MOST = 80 -- bytes of a text that are shown

function check.shown(value)
  if type(value) == "string" then
    if #value > MOST then value = value:sub(1, MOST):gsub("[\xc2-\xf4][\x80-\xbf]*$", "") .. "…" end
    return (("%q"):format(value):gsub("\\\n", "\\n"))
  end
  if type(value) == "table" or type(value) == "userdata" or type(value) == "function" then return "a " .. type(value) end
  return tostring(value)
end

-- A name as it is, anything else as `shown`.
function check.word(value) return type(value) == "string" and #value <= MOST and value:find "^[%w_]+$" and value or check.shown(value) end

function check.wrong(path, expected, value)
  error(("%s: expected %s, got %s"):format(path, expected, check.shown(value)), 0)
end

function check.unknown(path, kind, name, known)
  local names, set = {}, {}
  for candidate in pairs(known) do
    if type(candidate) == "string" then -- one that is a position is named where it is missing
      names[#names + 1] = candidate
      set[candidate] = true
    end
  end
  table.sort(names)
  local near = type(name) == "string" and require "casulo.nearest"(name, set)
  error(("%s: unknown %s %s; %s"):format(path, kind, check.shown(name),
    near and ("did you mean %s?"):format(near) or "known: " .. table.concat(names, " ")), 0)
end

function check.boolean(value, path)
  if type(value) ~= "boolean" then check.wrong(path, "true or false", value) end
  return value
end

function check.string(value, path)
  if type(value) ~= "string" then check.wrong(path, "a string", value) end
  if value:find("\0", 1, true) then error(path .. ": the string contains a NUL byte", 0) end
  return value
end

function check.filled(value, path, expected)
  check.string(value, path)
  if value == "" then check.wrong(path, expected, value) end
  return value
end

function check.integer(value, path, least, most)
  if math.type(value) ~= "integer" or value < least or value > most then
    check.wrong(path, ("an integer from %d to %d"):format(least, most), value)
  end
  return value
end

function check.id(value, path) return check.integer(value, path, 0, 0xfffffffe) end

function check.name(value, path)
  check.string(value, path)
  if #value < 1 or #value > 64 then
    error(("%s: expected 1 to 64 bytes, as the kernel keeps, got %d"):format(path, #value), 0)
  end
  return value
end

function check.list(value, path, item)
  if type(value) ~= "table" then check.wrong(path, "a list", value) end
  local keys = 0
  for key in pairs(value) do
    keys = keys + 1
    if math.type(key) ~= "integer" then error(path .. ": expected a list without holes or names", 0) end
  end
  local checked = {}
  for i, inner in ipairs(value) do checked[i] = item(inner, ("%s[%d]"):format(path, i)) end
  if #checked ~= keys then error(path .. ": expected a list without holes or names", 0) end
  return checked
end

function check.table(value, path, fields)
  if type(value) ~= "table" then check.wrong(path, "a table", value) end
  for key in pairs(value) do
    if not fields[key] then check.unknown(path, "field", key, fields) end
  end
end

-- Collapsed to a normal form; one that leads out of the root by its text is refused.
function check.absolute(value, path)
  check.string(value, path)
  if value:sub(1, 1) ~= "/" then check.wrong(path, "an absolute path", value) end
  local parts = {}
  for part in value:gmatch "[^/]+" do
    if part == ".." then check.wrong(path, "a path without ..", value) end
    if part ~= "." then parts[#parts + 1] = part end
  end
  return "/" .. table.concat(parts, "/")
end

return check
