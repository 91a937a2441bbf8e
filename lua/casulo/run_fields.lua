-- SPDX-License-Identifier: MIT

--- The fields that may differ from one run of a container to the next, and what checks each: the streams, the terminal, the
-- timeout, the name.
-- @module casulo.run_fields

local check = require "casulo.check"

local shown, wrong = check.shown, check.wrong

local KEYWORDS = { inherit = true, null = true, pipe = true }

local function is_descriptor(value)
  if io.type(value) == "file" then return true end
  local metatable = type(value) == "userdata" and getmetatable(value)
  if type(metatable) == "table" and metatable.__name == "casulo.descriptor" then return value:is_open() end
  return math.type(value) == "integer" and value >= 0 and value <= 0x7fffffff
end

-- A text that is so near a keyword that it was probably meant to be one.
local function meant(text)
  local near = text:find "^%a+$" and require "casulo.nearest"(text, KEYWORDS)
  local is_near = near and near:sub(1, 1) == text:sub(1, 1):lower() and math.abs(#near - #text) <= 2
  return is_near and near
end

local function check_stdin(value, path)
  if KEYWORDS[value] or is_descriptor(value) then return value end
  if type(value) ~= "string" then wrong(path, '"inherit", "null", "pipe", a text, a file or a descriptor', value) end
  local near = meant(value)
  if near then
    error(('%s: %s: did you mean "%s"? (a text like this goes through "pipe")'):format(path, shown(value), near), 0)
  end
  return value
end

local function check_output(value, path)
  if KEYWORDS[value] or type(value) == "function" or is_descriptor(value) then return value end
  wrong(path, '"inherit", "null", "pipe", a function, a file or a descriptor', value)
end

local function check_fds(value, path)
  if type(value) ~= "table" then wrong(path, "a table of numbers and files", value) end
  local fds = {}
  for number, file in pairs(value) do
    if math.type(number) ~= "integer" or number < 3 or number > 255 then
      wrong(path, "numbers from 3 to 255 (0 to 2 are stdin, stdout and stderr)", number)
    end
    if not is_descriptor(file) then wrong(("%s[%d]"):format(path, number), "a file, a descriptor or its number", file) end
    fds[number] = file
  end
  return fds
end

local function check_timeout(value, path)
  if type(value) ~= "number" or value ~= value or value <= 0 or value == math.huge then
    wrong(path, "seconds above 0", value)
  end
  if value > 1e9 then wrong(path, "at most 1e9 seconds", value) end
  return value
end

local TTY_FIELDS = { rows = true, columns = true }

-- → the size of the terminal
local function check_tty(value, path)
  if value == false then return false end
  if value == true then return { rows = 24, columns = 80 } end
  if type(value) ~= "table" then wrong(path, "true, false or { rows =, columns = }", value) end
  check.table(value, path, TTY_FIELDS)
  return {
    rows = check.integer(value.rows, path .. ".rows", 0, 65535), columns = check.integer(value.columns, path .. ".columns", 0, 65535),
  }
end

local function check_container_name(value, path) return require "casulo.state".check(value, path) end

return {
  stdin = check_stdin, stdout = check_output, stderr = check_output, fds = check_fds, timeout = check_timeout,
  detach = check.boolean, tty = check_tty, name = check_container_name,
}
