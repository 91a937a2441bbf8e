-- SPDX-License-Identifier: MIT
--- Calls while memory runs out: each allocation in turn fails, alone or with all after it.
local assert = require "luassert"
local support = require "support"

local scarce_support = {}

local scarce
local function module()
  if not scarce then
    local path = support.base() .. "/scarce.so"
    local status, _, err = support.sh(("gcc -O1 -Wall -Wextra -Werror -shared -fPIC $(pkg-config --cflags lua5.4) -o %s spec/scarce.c"):format(path))
    assert.are.equal(0, status, err)
    scarce = assert(package.loadlib(path, "luaopen_scarce"))()
  end
  return scarce
end

local MESSAGE = "not enough memory"

-- An error that says so: a string, or what a start returns.
local function check(name, k, ok, ...)
  local result, err = ...
  if not ok then -- it may say where the caller called
    return assert.is_truthy(type(result) == "string" and result:find(MESSAGE .. "$"), ("%s, allocation %d: %s"):format(name, k, tostring(result)))
  end
  if result == nil and type(err) == "table" then
    assert.is_truthy(tostring(err):find(MESSAGE, 1, true), ("%s, allocation %d: %s"):format(name, k, tostring(err)))
  end
end

local function look_at(name, k, after, came, ok, ...)
  check(name, k, ok, ...)
  if ok then after(...) end
  return came
end

local function state()
  collectgarbage()
  return support.host_state()
end

--- Runs a function again and again, while its first allocation fails, its second, and so on until it needs no more; and as often while
-- all from that one on fail. It ends with the error of Lua, or does what it does; and nothing is left.
-- @tparam string name for messages
-- @tparam function body
-- @tparam[opt] function after called with what it returned
-- @tparam[opt=1] integer stride how many allocations further each time
-- @treturn integer how many calls that was
function scarce_support.sweep(name, body, after, stride)
  local call, count = module().call, 0
  after = after or function() end
  after(body())
  local before = state()
  for _, lasting in ipairs { false, true } do
    local k, came = 1, true
    while came do
      came = look_at(name, k, after, call(k, lasting, body))
      collectgarbage() -- what an error has left is the collector's
      k, count = k + (stride or 1), count + 1
      if count % 50 == 0 or not came then assert.are.same(before, state(), ("%s, up to allocation %d"):format(name, k)) end
    end
  end
  return count
end

return scarce_support
