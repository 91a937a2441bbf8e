-- SPDX-License-Identifier: MIT

--- A stand-in for `casulo.calls`, and so for `casulo.sys`, that makes no call and keeps a list of those it was asked for.
--
--     local recorder = casulo.recorder()
--     assert(plan.run(steps, recorder, {}))
--     assert(recorder.calls[1][1] == "mount")
--
-- @module casulo.recorder

local calls_of_steps = require "casulo.calls"

--- A recorder. Constants are those of `casulo.sys`.
-- @tparam[opt] table outcomes by call name: a function with the call's arguments, whose results the call returns
-- @treturn table with `calls`, a list of `{ name, argument…, n = count of arguments }`
local function recorder(outcomes)
  local calls = {}
  return setmetatable({ calls = calls }, {
    __index = function(_, name)
      local real = calls_of_steps[name]
      if type(real) ~= "function" then return real end
      return function(...)
        calls[#calls + 1] = { name, n = select("#", ...), ... }
        if outcomes and outcomes[name] then return outcomes[name](...) end
        return #calls
      end
    end,
  })
end

return recorder
