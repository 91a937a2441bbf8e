-- SPDX-License-Identifier: MIT
-- A caller with a secret in its memory, its environment and its arguments, which starts containers while somebody inside watches.
--
-- Usage: reach_out_caller.lua ROOT WAY FIELDS SECRET. FIELDS: those of the watcher's container, as Lua. Prints what it has found.
local casulo = require "casulo"
local sys = casulo.sys

local root, way, fields, secret = ...
fields = assert(load("return " .. fields))()
local watcher = { "/watcher", (secret:gsub(".", function(letter) return string.char(letter:byte() + 1) end)) }
local path = os.tmpname()
local output <close> = assert(io.open(path, "w"))
local NULL = { stdin = "null", stdout = "null", stderr = "null" }

local function found()
  local file <close> = assert(io.open(path))
  return file:read "a"
end

-- Waits until the watcher has printed something so and so many times.
local function await(word, times)
  while select(2, found():gsub(word, "")) < times do sys.poll({}, 2) end
end
local function rounds() return select(2, found():gsub("round", "")) end

local function box(...)
  local description = { rootfs = root, command = { "/bin/sleep", "1000" } }
  for _, each in ipairs { NULL, ... } do
    for name, value in pairs(each) do description[name] = value end
  end
  return casulo.container(description)
end

local function watch(process)
  local settings = { command = { watcher[1], watcher[2], "all" }, stdin = "null", stdout = output, stderr = "null" }
  return assert(process:exec(settings))
end

local WAYS = {}

-- The watcher is there before the first command is.
function WAYS.start()
  for i = 1, 30 do
    local p <close> = assert(box(fields, { init = i % 3 == 0 }):create())
    local w <close> = watch(p)
    await("ready", i)
    await("round", rounds() + 1)
    assert(p:start())
    await("round", rounds() + 2)
    local _ = w
  end
end

function WAYS.exec()
  local p <close> = assert(box(fields):start())
  local w <close> = watch(p)
  await("round", 1)
  for _ = 1, 100 do
    local q <close> = assert(p:exec { command = { "/bin/true" }, stdin = "null", stdout = "null", stderr = "null" })
    q:wait()
  end
  await("round", rounds() + 1)
  local _ = w
end

-- In a container that shares the host's PIDs, while others start and end.
function WAYS.beside()
  local w <close> = assert(box(fields, { command = { watcher[1], watcher[2], "look" }, stdout = output }):start())
  await("ready", 1)
  local long, short = box(), { box { command = { "/bin/true" } }, box { command = { "/bin/true" }, init = true } }
  for i = 1, 150 do
    assert(short[i % 2 + 1]:run())
    if i % 10 == 0 then
      local p <close> = assert(long:start())
      assert(p:exec { command = { "/bin/true" }, stdin = "null", stdout = "null", stderr = "null" }):wait()
    end
  end
  local _ = w
end

WAYS[way]()
print(found())
os.remove(path)
