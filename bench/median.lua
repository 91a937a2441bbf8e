-- SPDX-License-Identifier: MIT
--- The median of a list of numbers, which it sorts.

return function(numbers)
  table.sort(numbers)
  local middle = #numbers // 2
  return #numbers % 2 == 1 and numbers[middle + 1] or (numbers[middle] + numbers[middle + 1]) / 2
end
