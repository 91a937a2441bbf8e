-- SPDX-License-Identifier: MIT

--- Recipes: functions from settings to steps, for `casulo.plan`. Each file of them is one subject of the kernel;
-- here all of them go by their own names: `casulo.recipes.hostname "sag"`.
-- @module casulo.recipes

local SUBJECTS = { "mounts", "devices", "names", "users", "network", "life", "detached" }

return setmetatable({ SUBJECTS = SUBJECTS }, {
  __index = function(recipes, name)
    for _, subject in ipairs(SUBJECTS) do
      local recipe = require("casulo.recipes." .. subject)[name]
      if recipe ~= nil then
        rawset(recipes, name, recipe)
        return recipe
      end
    end
  end,
})
