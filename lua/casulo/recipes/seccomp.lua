-- SPDX-License-Identifier: MIT

--- Filters of system calls.
-- @module casulo.recipes.seccomp

local sys = require "casulo.sys"

local seccomp = {}

--- Installs a filter, for good.
-- @tparam string filter of struct sock_filter
-- @treturn table steps
-- @see seccomp(2)
function seccomp.filter(filter)
  return {
    { "seccomp", sys.SECCOMP_SET_MODE_FILTER, 0, filter,
      why = "from here on calls that reach the whole kernel fail: mounts, namespaces, modules, keys, clocks, typing into terminals and more" },
  }
end

return seccomp
