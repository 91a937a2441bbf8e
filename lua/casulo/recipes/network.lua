-- SPDX-License-Identifier: MIT

--- A network namespace's own loopback.
-- @module casulo.recipes.network

local plan = require "casulo.plan"
local sys = require "casulo.sys"

local network = {}

--- Brings up `lo`, which a new network namespace has, but down.
-- @treturn table steps
-- @see netdevice(7), network_namespaces(7)
function network.loopback()
  local request = string.pack("z", "lo")
  request = request .. ("\0"):rep(16 - #request) .. string.pack("=I2", sys.IFF_UP | sys.IFF_RUNNING)
  request = request .. ("\0"):rep(40 - #request)
  return {
    { "socket", sys.AF_INET, sys.SOCK_DGRAM | sys.SOCK_CLOEXEC, 0, as = "socket",
      why = "any socket of the new network namespace leads to its interfaces" },
    { "ioctl", plan.ref "socket", sys.SIOCSIFFLAGS, request,
      why = "a new network namespace has a loopback only, and it is down: bring it up" },
    { "close", plan.ref "socket", why = "the socket has served" },
  }
end

return network
