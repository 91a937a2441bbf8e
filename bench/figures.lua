-- SPDX-License-Identifier: MIT
--- Medians, and targets for figures.

local figures = {}

--- The median of a list, which it sorts.
-- @tparam {number,...} numbers
-- @treturn number
function figures.median(numbers)
  table.sort(numbers)
  local middle = #numbers // 2
  return #numbers % 2 == 1 and numbers[middle + 1] or (numbers[middle] + numbers[middle + 1]) / 2
end

--- A figure beside the most that it is meant to be.
-- @tparam string what
-- @tparam number value
-- @tparam number most
-- @treturn table
function figures.target(what, value, most) return { what = what, value = value, most = most, reached = value <= most } end

return figures
