-- SPDX-License-Identifier: MIT

--- Privileges: what a process may do at most.
-- @module casulo.recipes.privileges

local sys = require "casulo.sys"

local privileges = {}

local VERSION = 0x20080522 -- _LINUX_CAPABILITY_VERSION_3

-- struct __user_cap_data_struct, for the lower and for the upper half
local function sets_text(effective, permitted, inheritable)
  local low = 0xffffffff
  return string.pack("=I4I4I4I4I4I4", effective & low, permitted & low, inheritable & low, effective >> 32, permitted >> 32, inheritable >> 32)
end

--- Gives up capabilities for good, for the programs that this process executes, too.
-- @tparam integer kept those that it may keep, a bit each
-- @tparam integer bounding those that it may get now, likewise
-- @tparam integer permitted those that it has, likewise
-- @treturn table steps
-- @see capabilities(7), capset(2), PR_CAPBSET_DROP(2const)
function privileges.at_most(kept, bounding, permitted)
  local steps = {}
  for number = 0, 63 do
    if bounding & ~kept & 1 << number ~= 0 then
      steps[#steps + 1] = { "prctl", sys.PR_CAPBSET_DROP, number, why = "no program that it executes gets this capability" }
    end
  end
  steps[#steps + 1] = { "capset", string.pack("=I4i4", VERSION, 0), sets_text(permitted & kept, permitted & kept, 0),
    why = "and it has no other than these itself" }
  return steps
end

--- No program that is executed from here on has more rights than its caller: setuid bits count for nothing.
-- @treturn table steps
-- @see PR_SET_NO_NEW_PRIVS(2const)
function privileges.no_new_privs()
  return { { "prctl", sys.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, why = "no program that is executed gets more rights: setuid bits count for nothing" } }
end

return privileges
