-- SPDX-License-Identifier: MIT

--- The fields of a mount in a description, and what checks each.
-- @module casulo.mount_fields

local check = require "casulo.check"
local ATTRIBUTES = require "casulo.recipes.mounts".ATTRIBUTES

local wrong = check.wrong
local mount_fields = {}

local function path_of_host(value, path) return check.filled(value, path, "a path") end

-- What each unit holds at most: the kernel counts in 64 bits and takes what wraps to 0 for no limit. Above 100% there may be swap.
local MOST = { [""] = math.maxinteger, k = math.maxinteger >> 10, m = math.maxinteger >> 20, g = math.maxinteger >> 30, ["%"] = 1000 }

--- Checks how large a tmpfs may grow.
-- @param value bytes, or a string such as "64m" or "50%"
-- @tparam string path how messages call it
-- @treturn string as the kernel reads it
function mount_fields.size(value, path)
  if math.type(value) == "integer" and value > 0 then return ("%d"):format(value) end
  local digits, unit = (type(value) == "string" and value or ""):match "^0*([1-9]%d*)([kmgKMG%%]?)$" -- with a 0 in front it would be octal
  if not digits then wrong(path, 'bytes, or a string such as "64m"', value) end
  local number = math.tointeger(tonumber(digits))
  if not number or number > MOST[unit:lower()] then wrong(path, "less than 2^63 bytes, or at most 1000%", value) end
  return digits .. unit
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

local PROPAGATION = { private = true, slave = true, shared = true }
local function check_propagation(value, path)
  if not PROPAGATION[value] then wrong(path, '"private", "slave" or "shared"', value) end
  return value
end

local LONGEST, MOST_LAYERS = 1 << 20, 64 -- bytes; directories: their names in one option of the kernel's

local function check_content(value, path)
  if type(value) ~= "string" then wrong(path, "a string", value) end
  if #value > LONGEST then error(("%s: expected at most %d bytes, got %d"):format(path, LONGEST, #value), 0) end
  return value
end

-- The kernel takes the other bits from what the directory lies in.
local function check_directory_mode(value, path)
  local mode = mount_fields.mode(value, path)
  if tonumber(mode, 8) > 1023 then wrong(path, 'permission bits up to "1777"', value) end
  return mode
end

--- Checks the lower directories of an overlay.
-- @tparam table value the topmost first
-- @tparam string path how messages call it
-- @treturn table
function mount_fields.layers(value, path)
  local layers = check.list(value, path, path_of_host)
  if not layers[1] then error(path .. ": expected at least one directory", 0) end
  if #layers > MOST_LAYERS then error(("%s: expected at most %d directories, got %d"):format(path, MOST_LAYERS, #layers), 0) end
  return layers
end

--- Checks what the fields of an overlay are together.
-- @tparam table overlay with `lower`, `upper`, `work`, `size`, each checked
-- @tparam string path how messages call it
function mount_fields.check_overlay(overlay, path)
  if not overlay.lower then error(path .. ".lower: expected a list of directories, got nil", 0) end
  for name, other in pairs { upper = "work", work = "upper" } do
    if overlay[name] then
      if not overlay[other] then
        error(("%s.%s: required with %s: two directories of the same file system, the one for work empty"):format(path, other, name), 0)
      end
      if ("/" .. overlay[name] .. "/"):find("/../", 1, true) then wrong(("%s.%s"):format(path, name), "a path without ..", overlay[name]) end
      if overlay[name]:find "^/" and not overlay[other]:find "^/" then
        wrong(("%s.%s"):format(path, other), "an absolute path, as the other is", overlay[other])
      end
    end
  end
  if overlay.upper and overlay.size then error(path .. ".size: it is for what is thrown away, and upper is kept", 0) end
end

-- What each type takes beside `type` and `target`.
local TYPES = {
  bind = with_attributes { source = path_of_host, recursive = check.boolean, propagation = check_propagation,
    idmap = check.boolean },
  device = { source = check.absolute },
  tmpfs = with_attributes { size = mount_fields.size, mode = mount_fields.mode, uid = check.id, gid = check.id },
  overlay = with_attributes { lower = mount_fields.layers, upper = path_of_host, work = path_of_host, size = mount_fields.size },
  file = { content = check_content, mode = mount_fields.mode, uid = check.id, gid = check.id, readonly = check.boolean },
  directory = { mode = check_directory_mode },
  symlink = { to = path_of_host },
  proc = with_attributes { hidepid = check_hidepid },
  sysfs = with_attributes {}, devpts = with_attributes {}, mqueue = with_attributes {}, cgroup2 = with_attributes {},
}
local REQUIRED = { bind = { "source" }, device = { "source" }, file = { "content" }, symlink = { "to" } }

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
  if mount.type == "overlay" then mount_fields.check_overlay(mount, path) end
  return mount
end

-- What lies in a mount that is shared with the host would be mounted there, too.
local function check_shared(list, path)
  for i, mount in ipairs(list) do
    for k = 1, i - 1 do
      if list[k].propagation == "shared" and mount.target:sub(1, #list[k].target + 1) == list[k].target .. "/" then
        error(("%s.mounts[%d].target: it lies in that of mounts[%d], which is shared with the host: it would be mounted there, too"):format(
          path, i, k), 0)
      end
    end
  end
end

-- The kernel lets nobody map the owners of a file system but who is root where that was mounted.
local function check_idmap(checked, path, host)
  if not checked.new.user then error(path .. ': there is no new user namespace to map for (add "user" to namespaces)', 0) end
  if host.uid ~= 0 then error(path .. ": only root may map the owners of a file system, for a container with uid_map", 0) end
end

--- Checks the mounts of a description against each other and against the ids of its user namespace. Raises what is wrong.
-- @tparam table checked `root`, `mounts`, `new`, `uid_map`, `gid_map`
-- @tparam string path how messages call the description
-- @tparam table host facts
function mount_fields.check_together(checked, path, host)
  check_shared(checked.mounts, path)
  if checked.root.idmap then check_idmap(checked, path .. ".rootfs.idmap", host) end
  for i, mount in ipairs(checked.mounts) do
    if mount.idmap then check_idmap(checked, ("%s.mounts[%d].idmap"):format(path, i), host) end
    for _, kind in ipairs { "uid", "gid" } do
      if checked.new.user and mount[kind] and not require "casulo.idmap".reaches(checked[kind .. "_map"], mount[kind]) then
        error(("%s.mounts[%d].%s: %d stands for nobody outside (see %s_map)"):format(path, i, kind, mount[kind], kind), 0)
      end
    end
  end
end

--- Whether any mount, or the root, has its owners mapped.
-- @tparam table checked `root`, `mounts`
-- @treturn boolean
function mount_fields.any_idmap(checked)
  if checked.root.idmap then return true end
  for _, mount in ipairs(checked.mounts) do
    if mount.idmap then return true end
  end
  return false
end

-- What nobody shares can be heard of by nobody.
local function check_crossing(mount, path, host)
  local own = host.propagates(mount.source)
  if own == false then
    error(("%s.propagation: no mount at %s is ever heard of elsewhere, for it lies in a private one (mount --make-shared changes that)"):format(
      path, mount.source), 0)
  elseif own == "slave" and mount.propagation == "shared" then
    error(("%s.propagation: %s lies in a mount that only hears of others (a slave), so the host would not hear of the container's"):format(
      path, mount.source), 0)
  end
end

--- Asks the host what must be known of the source of a checked mount, if it has one. Raises what is wrong with it.
-- @tparam table mount gets `is_file`: whether something other than a directory is there
-- @tparam string path how messages call it
-- @tparam table host facts
function mount_fields.ask(mount, path, host)
  if not mount.source then return end
  mount.is_file = host.is_file(mount.source)
  if mount.propagation == "slave" or mount.propagation == "shared" then check_crossing(mount, path, host) end
  local is_device = host.is_device(mount.source)
  if mount.type == "device" and is_device == false then error(("%s.source: %s is no device"):format(path, mount.source), 0) end
  if mount.type == "bind" and mount.nodev and is_device then
    error(('%s.source: %s is a device, which nobody could open there; take type = "device"'):format(path, mount.source), 0)
  end
end

return mount_fields
