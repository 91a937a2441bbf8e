-- SPDX-License-Identifier: MIT
--- The kinds of container that are measured, as descriptions for casulo.

local kinds = {}

kinds.TITLES = {
  four = "PID, mount, UTS, IPC; /proc",
  standard = "PID, mount, UTS, IPC; /proc and /dev",
  six = "network and cgroup, too; /proc",
  whole = "the full default container",
}

-- What differs from the default.
local FIELDS = {
  four = dofile "bench/four.lua",
  six = dofile "bench/six.lua",
  whole = {},
}

--- The description of a container.
-- @tparam string kind four, six or whole
-- @tparam string root
-- @tparam {string,...} command
-- @treturn table for `casulo.container`
function kinds.describe(kind, root, command)
  local description = { rootfs = root, command = command }
  for name, value in pairs(FIELDS[kind]) do description[name] = value end
  return description
end

return kinds
