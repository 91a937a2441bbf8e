-- SPDX-License-Identifier: MIT

--- The forms that the root of a description may have, and what checks each.
--
-- A checked one is a table with `type`: `directory` (`path`, `nodev`, `idmap`), `tmpfs` (`size`, `mode`), `overlay` (`lower`,
-- `upper`, `work`, `size`) or `host` (`writable`, `hidden`).
-- @module casulo.root_fields

local check = require "casulo.check"

local wrong = check.wrong
local root_fields = {}

local function check_directory(value, path) return check.filled(value, path, "a directory") end

-- A list of paths on the host that are the same inside.
local function check_paths(value, path)
  return check.list(value, path, function(item, inner) return check.filled(item, inner, "a path") end)
end

local function checker_of(name) return function(value, path) return require "casulo.mount_fields"[name](value, path) end end
local size, mode, layers = checker_of "size", checker_of "mode", checker_of "layers"

-- What each type takes beside `type`.
local TYPES = {
  tmpfs = { size = size, mode = mode },
  overlay = { lower = layers, upper = check_directory, work = check_directory, size = size },
  host = { writable = check_paths, hidden = check_paths },
}
local DIRECTORY = { check_directory, ephemeral = check.boolean, size = size, nodev = check.boolean, idmap = check.boolean }

local function check_fields(value, path, fields)
  local known, checked = { type = true }, {}
  for name in pairs(fields) do known[name] = true end
  check.table(value, path, known)
  for name, checker in pairs(fields) do
    local inner = math.type(name) == "integer" and ("%s[%d]"):format(path, name) or ("%s.%s"):format(path, name)
    if value[name] ~= nil then checked[name] = checker(value[name], inner) end
  end
  return checked
end

-- { path, ephemeral =, … }
local function check_tree(value, path)
  if value[1] == nil then error(path .. "[1]: expected a directory, as in { \"build/root\", ephemeral = true }", 0) end
  local tree = check_fields(value, path, DIRECTORY)
  if not tree.ephemeral then
    if tree.size then error(path .. ".size: it is for what is thrown away; add ephemeral = true", 0) end
    return { type = "directory", path = tree[1], nodev = tree.nodev ~= false, idmap = tree.idmap or nil }
  end
  if tree.idmap then error(path .. ".idmap: an overlay has no ids of its own to map; leave out one of ephemeral and idmap", 0) end
  return { type = "overlay", path = tree[1], lower = { tree[1] }, size = tree.size, nodev = tree.nodev }
end

--- Checks a root.
-- @param value a string, or a table
-- @tparam string path how messages call it
-- @treturn table
function root_fields.check(value, path)
  if value == nil then error(path .. ": required: a directory, or what a function of casulo.rootfs returns", 0) end
  if type(value) == "string" then return { type = "directory", path = check_directory(value, path), nodev = true } end
  if type(value) ~= "table" then wrong(path, "a directory, or what a function of casulo.rootfs returns", value) end
  if value.type == nil then return check_tree(value, path) end
  if not TYPES[value.type] then check.unknown(path .. ".type", "type of root", value.type, TYPES) end
  local root = check_fields(value, path, TYPES[value.type])
  root.type = value.type
  if root.type == "overlay" then
    require "casulo.mount_fields".check_overlay(root, path)
    root.path = root.lower[1]
  elseif root.type == "host" then
    root.path = "/"
  end
  return root
end

return root_fields
