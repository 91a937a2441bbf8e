-- SPDX-License-Identifier: MIT

--- The names of a UTS namespace.
-- @module casulo.recipes.names

local names = {}

--- The hostname of this UTS namespace.
-- @tparam string name at most 64 bytes
-- @treturn table steps
-- @see sethostname(2), uts_namespaces(7)
function names.hostname(name)
  return { { "sethostname", name, why = "the change is seen in this UTS namespace only; the host keeps its name" } }
end

--- The NIS domain name of this UTS namespace.
-- @tparam string name at most 64 bytes
-- @treturn table steps
-- @see setdomainname(2), uts_namespaces(7)
function names.domainname(name)
  return { { "setdomainname", name, why = "the other identifier that a UTS namespace holds, the NIS domain name" } }
end

return names
