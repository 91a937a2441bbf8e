-- SPDX-License-Identifier: MIT
--- Containers that are started in turn, so that a noisy machine is as noisy for each.

local figures = require "bench.figures"
local sys = require "casulo.sys"

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

local function measure(times, box)
  local started = now()
  local result, err = box:run()
  times[#times + 1] = (now() - started) * 1e6
  assert(result and result.exit_code == 0, err)
end

--- Runs each container so many times.
-- @tparam {container,...} boxes
-- @tparam integer rounds
-- @treturn {number,...} the median of each, from the start to the end, in µs
return function(boxes, rounds)
  local times, medians = {}, {}
  for i in ipairs(boxes) do times[i] = {} end
  for _ = 1, rounds do
    for i, box in ipairs(boxes) do measure(times[i], box) end
  end
  for i in ipairs(boxes) do medians[i] = figures.median(times[i]) end
  return medians
end
