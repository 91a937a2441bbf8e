-- SPDX-License-Identifier: MIT

--- Privileges: what a process may do at most.
-- @module casulo.recipes.privileges

local capabilities = require "casulo.capabilities"
local sys = require "casulo.sys"

local privileges = {}

local THIS_PROCESS = string.pack("=I4i4", 0x20080522, 0) -- _LINUX_CAPABILITY_VERSION_3
local LOW = 0xffffffff

-- struct __user_cap_data_struct, for the lower and for the upper half
local function sets_text(effective, permitted, inheritable)
  return string.pack("=I4I4I4I4I4I4", effective & LOW, permitted & LOW, inheritable & LOW, effective >> 32, permitted >> 32, inheritable >> 32)
end

--- The permitted capabilities of this process, a bit each.
-- @treturn integer
-- @see capget(2)
function privileges.permitted()
  local _, low, _, _, high = string.unpack("=I4I4I4I4I4", (assert(sys.capget(THIS_PROCESS))))
  return high << 32 | low
end

--- Takes capabilities from the bounding set: nothing that this process executes can have them.
-- @tparam integer kept those that may be had, a bit each
-- @tparam integer bounding those that may be had now, likewise
-- @treturn table steps
-- @see capabilities(7), PR_CAPBSET_DROP(2const)
function privileges.bound(kept, bounding)
  local steps = {}
  for number = 0, 63 do
    if bounding & ~kept & 1 << number ~= 0 then
      steps[#steps + 1] = { "prctl", sys.PR_CAPBSET_DROP, number,
        why = "no program that is executed gets it: " .. capabilities.purpose(number) }
    end
  end
  return steps
end

--- Sets the effective and permitted capabilities, which may not grow, and the inheritable ones.
-- @tparam integer permitted a bit each
-- @tparam integer inheritable likewise
-- @tparam string why
-- @treturn table steps
-- @see capset(2)
function privileges.have(permitted, inheritable, why)
  return { { "capset", THIS_PROCESS, sets_text(permitted, permitted, inheritable), why = why } }
end

--- Hands inheritable capabilities to programs that are executed by another user than root.
-- @tparam integer set a bit each
-- @treturn table steps
-- @see PR_CAP_AMBIENT(2const)
function privileges.pass_on(set)
  local steps = {}
  for number = 0, 63 do
    if set & 1 << number ~= 0 then
      steps[#steps + 1] = { "prctl", sys.PR_CAP_AMBIENT, sys.PR_CAP_AMBIENT_RAISE, number, 0, 0,
        why = "the command, which is not root, has it all the same: " .. capabilities.purpose(number) }
    end
  end
  return steps
end

--- The capabilities of another user than root are kept when this process becomes it.
-- @treturn table steps
-- @see PR_SET_KEEPCAPS(2const)
function privileges.keep()
  return { { "prctl", sys.PR_SET_KEEPCAPS, 1, 0, 0, 0, why = "to become another user than root would take all capabilities away" } }
end

--- No program that is executed from here on has more rights than its caller: setuid bits count for nothing.
-- @treturn table steps
-- @see PR_SET_NO_NEW_PRIVS(2const)
function privileges.no_new_privs()
  return { { "prctl", sys.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, why = "no program that is executed gets more rights: setuid bits count for nothing" } }
end

return privileges
