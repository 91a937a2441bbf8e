-- SPDX-License-Identifier: MIT

--- The known name that a mistyped one was probably meant to be.
-- @module casulo.nearest

local LONGEST = 64 -- far longer than any known name; it would take long to see that

-- Levenshtein's distance, with one row of the matrix.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal
    diagonal, row[0] = row[0], i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      diagonal, row[j] = row[j], math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
    end
  end
  return row[#b]
end

-- mnt is short for mount, however near net is.
local function is_short_for(name, candidate)
  local position = 1
  for char in name:gmatch "." do
    position = candidate:find(char, position, true)
    if not position then return false end
    position = position + 1
  end
  return #name > 1
end

-- How far a name may be from what was meant.
local function limit(candidate) return math.max(2, #candidate // 2) end

--- The nearest name.
-- @tparam string name what was written
-- @tparam table known a set of names
-- @treturn ?string nil where none is near
return function(name, known)
  local best, least
  if #name > LONGEST then return nil end
  name = name:lower()
  for candidate in pairs(known) do
    local lower = candidate:lower()
    local far = math.abs(#name - #lower) -- at least; of a long text the distance itself takes long
    if is_short_for(name, lower) then far = 0.5 + (#candidate - #name) / 1000
    elseif far <= limit(lower) then far = distance(name, lower) end
    if not least or far < least or (far == least and candidate < best) then best, least = candidate, far end
  end
  return best and least <= limit(best) and best or nil
end
