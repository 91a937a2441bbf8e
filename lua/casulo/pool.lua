-- SPDX-License-Identifier: MIT

--- Containers that are made ahead, to be started when they are wanted: what takes time, their namespaces and mounts, is there then.
-- @module casulo.pool

local check = require "casulo.check"
local container = require "casulo.container"
local description = require "casulo.description"

local Pool = {}
Pool.__index = Pool
Pool.__name = "casulo.pool"

local MOST = 1 << 16

--- Makes containers until there are as many ready as the pool's size, in place of those that were started or have ended. To be called when
-- there is time.
-- @return true, or nil and an error
function Pool:fill()
  for i = #self.ready, 1, -1 do
    if self.ready[i]:wait(0) then table.remove(self.ready, i) end
  end
  while #self.ready < self.size do
    local process, err = self.container:create(self.options)
    if not process then return nil, err end
    self.ready[#self.ready + 1] = process
  end
  return true
end

--- Starts the one that has been ready for longest; or, when none is, a new one.
-- @treturn process or nil and an error, when the command never ran
function Pool:start()
  while self.ready[1] do
    local process = table.remove(self.ready, 1)
    if not process:wait(0) then return process:start() end -- else it was killed while it waited
  end
  return self.container:start(self.options)
end

--- Ends those that are ready. What was started runs on.
function Pool:close()
  for _, process in ipairs(self.ready) do process:close() end
  self.ready, self.size = {}, 0
end

Pool.__close = Pool.close

local pool = {}

local function checked(settings)
  if type(settings) ~= "table" then check.wrong("pool", "a table", settings) end
  local options = {}
  for name, value in pairs(settings) do options[name] = value end
  local box, size = options[1], check.integer(options.size, "pool.size", 1, MOST)
  options[1], options.size = nil, nil
  if not container.is_container(box) then check.wrong("pool[1]", "a container", box) end
  if options.name or box.raw.name then error("pool.name: a name is one container's, and a pool has many", 0) end
  container.settings(box, options, "pool") -- now: a start would tell of them as its own
  return setmetatable({ container = box, size = size, options = options, ready = {} }, Pool)
end

--- Makes a pool, and fills it.
-- @tparam table settings the container first; `size`: how many are ready; and the options of `Container:start` for each
-- @treturn pool with `start`, `fill` and `close`, which the end of its scope calls, too; or nil and an error
function pool.new(settings)
  local ok, made = description.try(checked, settings)
  if not ok then error(made, 2) end
  local filled, err = made:fill()
  if filled then return made end
  made:close()
  return nil, err
end

return pool
