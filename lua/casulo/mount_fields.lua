-- SPDX-License-Identifier: MIT

--- The fields of a mount in a description, and what checks each.
-- @module casulo.mount_fields

local check = require "casulo.check"
local ATTRIBUTES = require "casulo.recipes.mounts".ATTRIBUTES

local wrong = check.wrong
local mount_fields = {}

local function path_of_host(value, path)
  check.string(value, path)
  if value == "" then wrong(path, "a path", value) end
  return value
end

--- Checks how large a tmpfs may grow.
-- @param value bytes, or a string such as "64m" or "50%"
-- @tparam string path how messages call it
-- @treturn string as the kernel reads it
function mount_fields.size(value, path)
  if math.type(value) == "integer" and value > 0 then return ("%d"):format(value) end
  if type(value) == "string" and value:find "^%d+[kmgKMG%%]?$" and value:find "[1-9]" then return value end
  wrong(path, 'bytes, or a string such as "64m"', value)
end

--- Checks permission bits.
-- @param value an integer, or a string of octal digits
-- @tparam string path how messages call it
-- @treturn string of octal digits
function mount_fields.mode(value, path)
  if math.type(value) == "integer" and value >= 0 and value <= 4095 then return ("%o"):format(value) end
  if type(value) == "string" and value:find "^[0-7][0-7]?[0-7]?[0-7]?$" then return value end
  wrong(path, 'permission bits, or a string of octal digits such as "1777"', value)
end

local HIDEPID = { [0] = true, true, true, [4] = true }
local function check_hidepid(value, path)
  if math.type(value) ~= "integer" or not HIDEPID[value] then wrong(path, "0, 1, 2 or 4", value) end
  return value
end

local function with_attributes(fields)
  for name in pairs(ATTRIBUTES) do fields[name] = check.boolean end
  return fields
end

-- What each type takes beside `type` and `target`.
local TYPES = {
  bind = with_attributes { source = path_of_host },
  device = { source = check.absolute },
  tmpfs = with_attributes { size = mount_fields.size, mode = mount_fields.mode },
  proc = with_attributes { hidepid = check_hidepid },
  sysfs = with_attributes {}, devpts = with_attributes {}, mqueue = with_attributes {}, cgroup2 = with_attributes {},
}
local REQUIRED = { bind = { "source" }, device = { "source" } }

local function known(fields)
  local names = { type = true, target = true }
  for name in pairs(fields) do names[name] = true end
  return names
end

--- Checks one mount.
-- @tparam table value
-- @tparam string path how messages call it
-- @treturn table
function mount_fields.check(value, path)
  if type(value) ~= "table" then wrong(path, "a table", value) end
  local fields = TYPES[value.type]
  if not fields then check.unknown(path .. ".type", "mount type", value.type, TYPES) end
  check.table(value, path, known(fields))
  local target = value.target
  if value.type == "device" and target == nil then target = check.absolute(value.source, path .. ".source") end
  local mount = { type = value.type, target = check.absolute(target, path .. ".target") }
  if mount.target == "/" then error(path .. ".target: / is the root itself (see rootfs)", 0) end
  for _, name in ipairs(REQUIRED[value.type] or {}) do mount[name] = fields[name](value[name], ("%s.%s"):format(path, name)) end
  for name, checker in pairs(fields) do
    if value[name] ~= nil then mount[name] = checker(value[name], ("%s.%s"):format(path, name)) end
  end
  if mount.type == "bind" and mount.nodev == nil then mount.nodev = true end
  return mount
end

--- Asks the host what must be known of the source of a checked mount, if it has one. Raises what is wrong with it.
-- @tparam table mount gets `is_file`: whether something other than a directory is there
-- @tparam string path how messages call it
-- @tparam table host facts
function mount_fields.ask(mount, path, host)
  if not mount.source then return end
  mount.is_file = host.is_file(mount.source)
  local is_device = host.is_device(mount.source)
  if mount.type == "device" and is_device == false then error(("%s.source: %s is no device"):format(path, mount.source), 0) end
  if mount.type == "bind" and mount.nodev and is_device then
    error(('%s.source: %s is a device, which nobody could open there; take type = "device"'):format(path, mount.source), 0)
  end
end

return mount_fields
