-- SPDX-License-Identifier: MIT

--- Where the cgroup of a container goes, with which controllers, and what is in the way of that.
-- @module casulo.placement

local cgroup = require "casulo.cgroup"
local limit_fields = require "casulo.limit_fields"
local obstacles = require "casulo.obstacles"

local placement = {}

local FOR_STATS = { "cpu", "io", "memory", "pids" }

-- Which cgroups are yet to pass on which of the controllers, from above downwards.
local function to_pass_on(own, names)
  local found, path, here = {}, own.place, {}
  for _, name in ipairs(names) do
    if not own.passed_on[name] then here[#here + 1] = name end
  end
  while here[1] do
    table.insert(found, 1, { path = path, controllers = here })
    local above = {}
    for _, name in ipairs(here) do
      if (own.held_by[name] or path) ~= path then above[#above + 1] = name end
    end
    path, here = path:match "^(.*)/", above
  end
  return found
end

--- Looks for a place.
-- @tparam table checked of `casulo.description`: `limits`, `cgroup_parent`
-- @tparam table host facts, as of `casulo.surroundings`
-- @treturn table `place`: the path of the cgroup above; `to_pass_on`: a list of `path` and `controllers`, of that cgroup and those above it that
--   are yet to pass some on; `controllers`: those of the container; `limits`: what is set; `obstacle`: what is in the way, as of `casulo.obstacles`
function placement.find(checked, host)
  local own = cgroup.own(checked.cgroup_parent)
  local needed, is_needed = limit_fields.controllers(checked.limits or {})
  local found = { place = own.place or "/sys/fs/cgroup", to_pass_on = {}, controllers = {}, limits = checked.limits or {} }
  found.obstacle = obstacles.cgroup(own, checked.cgroup_parent, host) or obstacles.controllers(own, needed)
  if not found.obstacle then found.to_pass_on = to_pass_on(own, needed) end
  table.move(needed, 1, #needed, 1, found.controllers)
  for _, name in ipairs(FOR_STATS) do
    if own.passed_on and own.passed_on[name] and not is_needed[name] then found.controllers[#found.controllers + 1] = name end
  end
  return found
end

return placement
