-- SPDX-License-Identifier: MIT
--- Kills at random moments.

local host = require "soak.host"
local sys = require "casulo.sys"

local killer = {}

--- Lets a random time pass. A moment, not a state: it is the randomness that is tested.
-- @tparam number seconds the longest
function killer.pass(seconds)
  local moment = host.now() + math.random() * seconds
  while host.now() < moment do end
end

--- Begins to kill each other child of this process within some time of its birth, half of them as early as can be.
-- @tparam number seconds
-- @treturn function that ends it
function killer.of_children(seconds)
  local caller = sys.getpid()
  local pid = host.fork(function()
    local own = sys.getpid()
    while sys.getppid() == caller do
      for each in host.children(caller):gmatch "%d+" do
        if math.tointeger(each) ~= own then
          killer.pass(math.random(2) == 1 and seconds or 0)
          sys.kill(math.tointeger(each), sys.SIGKILL)
        end
      end
    end
  end)
  return function()
    sys.kill(pid, sys.SIGKILL)
    sys.waitpid(pid)
  end
end

return killer
