-- SPDX-License-Identifier: MIT

--- Where the cgroup of a container goes, with which controllers, and what is in the way of that.
-- @module casulo.placement

local cgroup = require "casulo.cgroup"
local limit_fields = require "casulo.limit_fields"
local obstacles = require "casulo.obstacles"

local placement = {}

local FOR_STATS = { "cpu", "io", "memory", "pids" }

--- Looks for a place.
-- @tparam table checked of `casulo.description`: `limits`, `cgroup_parent`
-- @tparam table host facts, as of `casulo.surroundings`
-- @treturn table `place`: the path of the cgroup above; `missing`: controllers that it is yet to pass on; `controllers`: those of the container;
--   `limits`: what is set; `obstacle`: what is in the way, as of `casulo.obstacles`
function placement.find(checked, host)
  local own = cgroup.own(checked.cgroup_parent)
  local needed, is_needed = limit_fields.controllers(checked.limits or {})
  local found = { place = own.place or "/sys/fs/cgroup", missing = {}, controllers = {}, limits = checked.limits or {} }
  found.obstacle = obstacles.cgroup(own, checked.cgroup_parent, host) or obstacles.controllers(own, needed)
  for _, name in ipairs(needed) do
    found.controllers[#found.controllers + 1] = name
    if not (own.passed_on and own.passed_on[name]) then found.missing[#found.missing + 1] = name end
  end
  for _, name in ipairs(FOR_STATS) do
    if own.passed_on and own.passed_on[name] and not is_needed[name] then found.controllers[#found.controllers + 1] = name end
  end
  return found
end

return placement
