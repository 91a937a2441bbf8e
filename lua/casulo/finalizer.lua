-- SPDX-License-Identifier: MIT

--- What the collector calls when it finds an object that nobody holds any more.
-- @module casulo.finalizer

--- Makes a finalizer that is called again at the next collection where there was no memory for it; else Lua would give it up, and what it
-- ends would never end.
-- @tparam table class the metatable of the objects, whose `__gc` it is
-- @tparam function close called with the object
-- @treturn function
return function(class, close)
  return function(object)
    if not pcall(close, object) then setmetatable(object, class) end
  end
end
