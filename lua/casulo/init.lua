-- SPDX-License-Identifier: MIT
--- casulo: Linux containers described in Lua. What is not used is not loaded.
-- @module casulo

local casulo = { _VERSION = "casulo 0.1" }

local PARTS = {
  sys = function() return require "casulo.sys" end,
  container = function() return require "casulo.container".new end,
  rootfs = function() return require "casulo.rootfs" end,
  plan = function() return require "casulo.plan".new end,
  ref = function() return require "casulo.plan".ref end,
  recipes = function() return require "casulo.recipes" end,
  unshared = function() return require "casulo.unshared" end,
  recorder = function() return require "casulo.recorder" end,
  host = function() return require "casulo.host" end,
}

return setmetatable(casulo, {
  __index = function(_, name)
    local part = PARTS[name] and PARTS[name]()
    rawset(casulo, name, part)
    return part
  end,
})
