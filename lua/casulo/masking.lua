-- SPDX-License-Identifier: MIT

--- Which paths of a container are hidden or read-only, and the steps for it among those of its layout.
--
-- What is said of /proc or /sys counts for each mount of proc or sysfs, wherever it is attached.
-- @module casulo.masking

local detached = require "casulo.recipes.detached"
local masks = require "casulo.recipes.masks"

local masking = {}

local KERNEL = { proc = "/proc/", sysfs = "/sys/" } -- where the file system of each type is in the paths of masks

local function is_kernels(path)
  for _, prefix in pairs(KERNEL) do
    if path:sub(1, #prefix) == prefix then return true end
  end
  return false
end

-- What /proc and /sys have is asked of the host's. Elsewhere a directory is written so.
local function look_at(paths, host, field)
  local places = {}
  for i, path in ipairs(paths) do
    local is_file = not path:find "/$"
    if is_kernels(path) then is_file = host.is_file(path) end
    if is_file ~= nil then places[#places + 1] = { path = path:gsub("(.)/$", "%1"), is_file = is_file }
    elseif not paths.optional then
      error(("%s[%d]: this kernel has no %s; { %q, optional = true } takes what there is"):format(field, i, path, path), 0)
    end
  end
  return places
end

-- Those of casulo are not on all kernels.
local function own(list, checked)
  return checked.nesting and {} or table.move(list, 1, #list, 1, { optional = true })
end

--- Fills in the paths of a description.
-- @tparam table checked `masked`, `readonly_paths`: lists of paths, where given, with `optional`; `nesting`
-- @tparam table host facts
-- @tparam string path how messages call the description
function masking.settle(checked, host, path)
  checked.masked = look_at(checked.masked or own(masks.MASKED, checked), host, path .. ".masked")
  checked.readonly_paths = look_at(checked.readonly_paths or own(masks.READONLY, checked), host, path .. ".readonly_paths")
  checked.has_empty_directory = host.is_file("/proc/" .. masks.EMPTY_IN_PROC) == false
end

-- Calls a function with each mount that a path is in, and the rest of the path.
local function each_place(path, list, body)
  for _, mount in ipairs(list) do
    local prefix = KERNEL[mount.type]
    if prefix and path:sub(1, #prefix) == prefix then body(mount.name, path:sub(#prefix + 1)) end
  end
  if not is_kernels(path) then body("place of " .. path, "") end
end

local function open_elsewhere(place)
  if is_kernels(place.path) then return {} end
  return { detached.open_place(place.path, "place of " .. place.path, "a place in the root; no link of /proc may lead out of here") }
end

local function proc_in(list)
  for _, mount in ipairs(list) do
    if mount.type == "proc" then return mount.name end
  end
end

-- The value that covers a place, and where in it the cover is, if it has a place already.
local function cover_of(place, checked, list)
  if place.is_file and checked.standard_mounts then return "device null", "" end
  if place.is_file then return "null" end
  local proc = checked.has_empty_directory and proc_in(list)
  if proc then return proc, masks.EMPTY_IN_PROC end
  return "empty directory"
end

local function needs(checked, list, cover)
  for _, place in ipairs(checked.masked) do
    local found = false
    each_place(place.path, list, function() found = true end)
    if found and cover_of(place, checked, list) == cover then return true end
  end
  return false
end

--- What covers files, from the host's tree; to be made while that is in sight.
-- @tparam table checked
-- @tparam table list the mounts of the container: `type`, `name`
-- @treturn table steps
function masking.from_host(checked, list) return needs(checked, list, "null") and masks.null() or {} end

--- What covers directories.
-- @tparam table checked
-- @tparam table list
-- @treturn table steps
function masking.made(checked, list) return needs(checked, list, "empty directory") and masks.empty_directory() or {} end

--- The masks, when all mounts are attached.
-- @tparam table checked
-- @tparam table list
-- @treturn table steps
function masking.steps(checked, list)
  local steps, attached = {}, {}
  for _, place in ipairs(checked.readonly_paths) do
    steps[#steps + 1] = open_elsewhere(place)
    each_place(place.path, list, function(mount, path) steps[#steps + 1] = masks.readonly(mount, path) end)
  end
  for _, place in ipairs(checked.masked) do
    local cover, inside = cover_of(place, checked, list)
    steps[#steps + 1] = open_elsewhere(place)
    each_place(place.path, list, function(mount, path)
      steps[#steps + 1] = masks.cover(cover, inside or attached[cover], mount, path)
      attached[cover] = ""
    end)
  end
  return steps
end

return masking
