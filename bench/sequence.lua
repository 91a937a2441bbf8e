-- SPDX-License-Identifier: MIT
--- A process that runs containers one after another and says, as a line of JSON, what it then has more than before.
--
-- usage: sequence.lua ROOT COUNT

local casulo = require "casulo"
local json = require "dkjson"
local sys = casulo.sys

local root, count = arg[1], math.tointeger(tonumber(arg[2]))

local function lines_of(path)
  local lines = 0
  for _ in io.lines(path) do lines = lines + 1 end
  return lines
end

local function children()
  local found, own = 0, tostring(sys.getpid())
  for _, name in ipairs(sys.scandir "/proc") do
    local stat = name:find "^%d" and io.open(("/proc/%s/stat"):format(name))
    if stat then
      if (stat:read "a" or ""):match "%) %S (%d+)" == own then found = found + 1 end
      stat:close()
    end
  end
  return found
end

local function look()
  collectgarbage()
  local file <close> = assert(io.open "/proc/self/status")
  return {
    resident = tonumber(file:read "a":match "VmRSS:%s+(%d+)"),
    lua = collectgarbage "count",
    descriptors = #sys.scandir "/proc/self/fd",
    processes = children(),
    mounts = lines_of "/proc/self/mountinfo",
  }
end

local box = casulo.container { rootfs = root, command = { "/bin/true" } }
local function run(times)
  for _ = 1, times do assert(box:run().exit_code == 0) end
end

run(100) -- what is made once is made now
local before, started = look(), sys.clock_gettime(sys.CLOCK_MONOTONIC)
run(count)
local answer = { seconds = sys.clock_gettime(sys.CLOCK_MONOTONIC) - started }
for name, value in pairs(look()) do answer[name] = value - before[name] end
print(json.encode(answer))
