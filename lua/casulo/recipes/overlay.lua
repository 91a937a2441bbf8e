-- SPDX-License-Identifier: MIT

--- Overlays: directories that are only read, one over the other, and one on top that takes what is written.
--
-- The layers are attached in a scratch place and named from there, for four reasons: a name in an option of the file system
-- would be cut at 256 bytes, may hold no colon, comma or backslash, shows in the mount table inside, and Linux before 6.15 wants
-- layers that are attached.
-- @module casulo.recipes.overlay

local detached = require "casulo.recipes.detached"
local scratch = require "casulo.recipes.scratch"
local sys = require "casulo.sys"

local overlay = {}

local function layer(name, index) return ("%s layer %d"):format(name, index) end

local function split(path)
  local parts = { path:match "^/" }
  for part in path:gmatch "[^/]+" do
    if part ~= "." then parts[#parts + 1] = part end
  end
  return parts
end

-- The kernel wants both in one mount, so what is cloned is a directory above both. → it, and what leads on from there
local function common_parent(upper, work)
  local a, b, common = split(upper), split(work), 0
  while common < math.min(#a, #b) - 1 and a[common + 1] == b[common + 1] do common = common + 1 end
  local parent = table.concat(a, "/", 1, common):gsub("^//", "/")
  return parent == "" and "." or parent, table.concat(a, "/", common + 1), table.concat(b, "/", common + 1)
end

--- Clones of the layers, while the host is in sight.
-- @tparam string name of the overlay's value
-- @tparam table settings `lower`: a list of directories, the topmost first; `upper` and `work`, or neither
-- @treturn table steps
-- @see open_tree(2)
function overlay.clone_layers(name, settings)
  local steps = {}
  for i, path in ipairs(settings.lower) do
    steps[i] = detached.clone_tree(layer(name, i), path:gsub("/*$", "/"),
      i == 1 and "a directory of the overlay, which is only read" or "the one below it, likewise", { recursive = false })
  end
  if settings.upper then
    local parent = common_parent(settings.upper, settings.work)
    steps[#steps + 1] = detached.clone_tree(name .. " upper", parent:gsub("/*$", "/"),
      "where the directories lie that take what is written; as the kernel wants, in one mount")
  end
  return steps
end

local function attach_lower(name, settings)
  local steps = {}
  for i in ipairs(settings.lower) do
    steps[#steps + 1] = { "mkdirat", sys.AT_FDCWD, ("%d"):format(i), 448, why = "a place for a layer" }
    steps[#steps + 1] = detached.attach(layer(name, i), ("%d"):format(i), "the layer in its place")
  end
  return steps
end

local function attach_upper(name, settings)
  if not settings.upper then
    return {
      { "mkdirat", sys.AT_FDCWD, "upper", 493, why = "what is written goes here, and is gone with the last who uses it" },
      { "mkdirat", sys.AT_FDCWD, "work", 493, why = "where the kernel prepares it" },
    }
  end
  local _, upper, work = common_parent(settings.upper, settings.work)
  return {
    { "mkdirat", sys.AT_FDCWD, "kept", 448, why = "a place for what is kept" },
    detached.attach(name .. " upper", "kept", "what is above both directories in its place"),
    { "symlinkat", "kept/" .. upper, sys.AT_FDCWD, "upper", why = "what is written goes there, whatever its name" },
    { "symlinkat", "kept/" .. work, sys.AT_FDCWD, "work", why = "and is prepared there" },
  }
end

--- Makes the overlay of cloned layers.
-- @tparam string name of its value
-- @tparam table settings as for `clone_layers`; `size`: how much may be written, where that is not kept
-- @tparam boolean userxattr whether this process is in a user namespace, which may not set the attributes trusted.*
-- @tparam integer attributes MOUNT_ATTR_…
-- @treturn table steps
-- @see fsopen(2)
function overlay.make(name, settings, userxattr, attributes)
  local lower = {}
  for i in ipairs(settings.lower) do lower[i] = ("%d"):format(i) end
  local options = {
    { "lowerdir", table.concat(lower, ":"), "what is only read, the topmost first" },
    { "upperdir", "upper", "what is written" }, { "workdir", "work", "an empty directory beside it" },
  }
  if userxattr then options[4] = { "userxattr", nil, "marks of its own as attributes user.*: a user namespace may set no others" } end
  return {
    scratch.enter(name .. " scratch", settings.upper and "a file system in memory, to put the layers in"
      or "a file system in memory, for the layers and for what is written", settings.size),
    attach_lower(name, settings),
    attach_upper(name, settings),
    detached.filesystem(name, "overlay", options, attributes, "the directories as one"),
    scratch.leave(),
  }
end

return overlay
