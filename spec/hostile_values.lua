-- SPDX-License-Identifier: MIT
--- Values that no call expects, and how a call may answer them.
local assert = require "luassert"
local sys = require "casulo.sys"

local hostile = {}

local RAISED = "raised by the caller's own metamethod"

local function raise() error(RAISED, 0) end

--- A table each of whose metamethods raises.
function hostile.raising(contents)
  return setmetatable(contents or {}, { __index = raise, __newindex = raise, __len = raise, __pairs = raise, __tostring = raise, __call = raise,
    __eq = raise, __lt = raise, __concat = raise, __close = raise, __name = 5 })
end

--- Calls a function with each of them, and with its name.
function hostile.each(body)
  local closed, file <close> = sys.open("/dev/null", sys.O_RDONLY), io.open "/dev/null"
  closed:close()
  local closed_file = io.open "/dev/null"
  closed_file:close()
  local values = {
    { "true", true }, { "false", false }, { "zero", 0 }, { "minus one", -1 }, { "two to the 40", 1 << 40 }, { "the least integer", math.mininteger },
    { "the largest integer", math.maxinteger }, { "a fraction", 0.5 }, { "NaN", 0 / 0 }, { "infinity", math.huge }, { "minus infinity", -math.huge },
    { "an empty string", "" }, { "a NUL", "\0" }, { "an embedded NUL", "a\0b" }, { "a long string", ("x"):rep(100000) }, { "no UTF-8", "\xff\xfe" },
    { "an empty table", {} }, { "a hole", { 1, nil, 3 } }, { "a table of tables", { {} } }, { "itself", {} },
    { "a table that raises", hostile.raising() },
    { "a list that raises", hostile.raising { "a", "b" } }, { "a function", function() end }, { "a coroutine", coroutine.create(function() end) },
    { "a closed descriptor", closed }, { "a file", file }, { "a closed file", closed_file }, { "a metatable", getmetatable(closed) },
    { "a name that lies", setmetatable({}, { __name = "casulo.descriptor" }) },
    { "a false descriptor", setmetatable({}, getmetatable(closed)) },
    { "a nil" },
  }
  values[20][2][1] = values[20][2]
  for _, value in ipairs(values) do body(value[2], value[1]) end
end

-- What Lua says where a value was not looked at before it was used.
local INTERNAL = { "casulo/[%w_/]+%.lua:%d+:", "attempt to index", "attempt to call", "attempt to perform", "attempt to concat", "attempt to get",
  "attempt to compare", "bad argument #%d+ to 'for", "invalid value %(", "stack overflow" }

--- Asserts that an error is one that the caller can understand.
function hostile.understandable(err, what)
  assert.are.equal("string", type(err), what)
  if err:find(RAISED, 1, true) then return end
  assert.is_nil(err:find "[\n\0]", what .. ": " .. err:sub(1, 300))
  for _, pattern in ipairs(INTERNAL) do assert.is_nil(err:find(pattern), ("%s: %s"):format(what, err:sub(1, 300))) end
end

--- Calls a function: an error must be understandable.
-- @treturn boolean whether it returned
-- @return what it returned, or the error
function hostile.call(what, call, ...)
  local results = table.pack(pcall(call, ...))
  if not results[1] then hostile.understandable(results[2], what) end
  return table.unpack(results, 1, results.n)
end

return hostile
