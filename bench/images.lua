-- SPDX-License-Identifier: MIT
--- casulo-init, as containers of each kind execute it, in files: for C that goes through it, too.

local casulo = require "casulo"
local container = require "casulo.container"
local kinds = require "bench.kinds"

local function image_of(box)
  for _, step in ipairs(container.plan(box.checked, box.host, container.variant {}):phase "before") do
    if step[1] == "write" and step[2].ref == "init file" then return step[3] end
  end
  error "no step writes casulo-init"
end

--- Writes them.
-- @tparam string directory where a directory "images" is made; each file in it has its kind's name
-- @tparam string root
-- @tparam {string,...} command
-- @treturn string the directory that they are in
return function(directory, root, command)
  local images = directory .. "/images"
  assert(os.execute(("mkdir -p '%s'"):format(images)))
  for _, kind in ipairs { "four", "six", "whole" } do
    local file <close> = assert(io.open(images .. "/" .. kind, "w"))
    assert(file:write(image_of(casulo.container(kinds.describe(kind, root, command)))))
  end
  return images
end
