-- SPDX-License-Identifier: MIT

--- Who is who: the id maps of a container, which ranges its caller may map, and the user that the command runs as.
--
-- A map is a list of `{ container, host, count }`; `kind` is "uid" or "gid".
-- @module casulo.idmap

local idmap = {}

local LAST = 0xfffffffe -- 0xffffffff is no id

--- Whether an id inside stands for one outside.
-- @tparam table map
-- @tparam integer id
-- @treturn boolean
function idmap.reaches(map, id)
  for _, range in ipairs(map) do
    if id >= range[1] and id - range[1] < range[3] then return true end
  end
  return false
end

--- The id inside that a process begins with: root, or the first where there is no root.
-- @tparam table map
-- @treturn integer
function idmap.first(map) return idmap.reaches(map, 0) and 0 or map[1][1] end

-- A process without privilege may write such a map itself: one id, its own.
local function is_own(map, id) return #map == 1 and map[1][2] == id and map[1][3] == 1 end

local function overlap(a, b, side) return a[side] < b[side] + b[3] and b[side] < a[side] + a[3] end

--- What the kernel would refuse in a map.
-- @tparam table map
-- @treturn ?integer the range
-- @treturn string what is wrong with it
function idmap.conflict(map)
  for i, range in ipairs(map) do
    if math.max(range[1], range[2]) > LAST - range[3] + 1 then return i, ("it ends above the last id, %d"):format(LAST) end
    for k = 1, i - 1 do
      if overlap(range, map[k], 1) then return i, ("inside, it overlaps range %d"):format(k) end
      if overlap(range, map[k], 2) then return i, ("outside, it overlaps range %d"):format(k) end
    end
  end
end

-- Whether subordinate ranges, which may touch each other, hold `count` ids from `first` on.
local function holds(ranges, first, count)
  for _, range in ipairs(ranges) do
    local left = range[1] + range[2] - first
    if first >= range[1] and left > 0 then return left >= count or holds(ranges, first + left, count - left) end
  end
  return false
end

local function listed(ranges)
  local texts = {}
  for i, range in ipairs(ranges) do texts[i] = ("%d to %d"):format(range[1], range[1] + range[2] - 1) end
  return table.concat(texts, ", ")
end

-- What root can do for a user who has no ids, or why nothing.
local function cure(kind, host)
  local obstacles = require "casulo.obstacles"
  local command = obstacles.no_subordinate(kind, host).cure
  return command and "root can give some: " .. command or obstacles.NO_ACCOUNT
end

-- Whose ids an ordinary user may map: its own, and those that are subordinate to it. Where the files do not tell, newuidmap will.
local function check_allowed(map, path, kind, host)
  local own, ranges = host[kind], host["sub" .. kind]
  if ranges.partial then return end
  for i, range in ipairs(map) do
    if not (range[2] == own and range[3] == 1) and not holds(ranges, range[2], range[3]) then
      error(("%s[%d]: not the caller's to map: an ordinary user maps its own %s, %d, and what /etc/sub%s gives it, %s"):format(
        path, i, kind, own, kind, #ranges > 0 and listed(ranges) or "which is nothing; " .. cure(kind, host)), 0)
    end
  end
end

-- What "auto" stands for: root inside is the caller, followed by all ids that are subordinate to it. Where the caller is root,
-- root inside is the first of these.
local function auto(path, kind, host)
  local ranges, map, next_id = host["sub" .. kind], {}, 0
  if #ranges == 0 then
    error(('%s: "auto" takes the ids that /etc/sub%s gives the caller, and there are none; %s'):format(path, kind, cure(kind, host)), 0)
  end
  if host.uid ~= 0 then map[1], next_id = { 0, host[kind], 1 }, 1 end
  for _, range in ipairs(ranges) do
    map[#map + 1] = { next_id, range[1], range[2] }
    if idmap.conflict(map) then map[#map] = nil -- one that is given twice
    else next_id = next_id + range[2] end
  end
  return map
end

-- Who writes the maps, and whether setgroups is given up for it.
local function settle_writer(checked, path, host)
  local own_gid = is_own(checked.gid_map, host.gid)
  checked.own_maps = own_gid and is_own(checked.uid_map, host.uid) and not checked.any_idmap -- which the caller must find written
  checked.maps_by_helper = not checked.own_maps and host.uid ~= 0
  checked.denies_setgroups = own_gid and (checked.own_maps or checked.maps_by_helper)
  if not checked.maps_by_helper then return end
  for _, kind in ipairs { "uid", "gid" } do
    check_allowed(checked[kind .. "_map"], ("%s.%s_map"):format(path, kind), kind, host)
  end
end

--- Checks the user of a command against the maps. Raises what is wrong.
-- @tparam table checked `new`, `user`, and what `settle` fills in
-- @tparam string path how messages call what names the user
function idmap.check_user(checked, path)
  local user = checked.new.user and checked.user or {}
  if checked.denies_setgroups and user.groups then
    error(path .. ".user.groups: a user namespace whose only group is that of the caller has given up setgroups", 0)
  end
  for _, kind in ipairs { "uid", "gid" } do
    if user[kind] and not idmap.reaches(checked[kind .. "_map"], user[kind]) then
      error(("%s.user.%s: %d stands for nobody outside (see %s_map)"):format(path, kind, user[kind], kind), 0)
    end
  end
end

--- Fills in the maps of a description with a new user namespace, checks them against the host and the user against them. Raises
-- what is wrong. `own_maps` says that the child may write them, `maps_by_helper` that newuidmap(1) must, `denies_setgroups` that the
-- namespace gives that up.
-- @tparam table checked `new`, `user`, `uid_map`, `gid_map`
-- @tparam string path how messages call the description
-- @tparam table host facts
function idmap.settle(checked, path, host)
  local both = checked.uid_map == "auto" and "auto" or nil
  for _, kind in ipairs { "uid", "gid" } do
    local name = kind .. "_map"
    local map = checked[name] or both or { { 0, host[kind], 1 } }
    checked[name] = map == "auto" and auto(("%s.%s"):format(path, name), kind, host) or map
  end
  settle_writer(checked, path, host)
  idmap.check_user(checked, path)
end

return idmap
