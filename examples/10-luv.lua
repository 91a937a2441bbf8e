-- SPDX-License-Identifier: MIT
-- Goal:   containers in the event loop of luv: their output as it comes, and their ends.
-- Run:    make && eval "$(make -s env)"; lua5.4 examples/10-luv.lua                   (with or without sudo; needs lua-luv)
-- Expect: the loop ticks while three containers count, each at its own pace; the shortest ends first.
local casulo = require "casulo"
local sys = casulo.sys
local uv = require "luv"

local root = casulo.rootfs.busybox "build/hello"

local function say(name, text)
  for line in text:gmatch "[^\n]+" do print(("%-8s says %s"):format(name, line)) end
end

local running = 0
local function start(name, pause)
  local process = assert(casulo.container({
    rootfs = root, command = { "/bin/sh", "-c", ("for i in 1 2 3; do echo $i; sleep %g; done; exit %d"):format(pause, #name) },
  }):start { stdout = "pipe" })
  running = running + 1
  local output, ending = uv.new_poll(process.stdout:fileno()), uv.new_poll(process:pollfd())
  output:start("r", function()
    local chunk = sys.read(process.stdout, 65536)
    if chunk and chunk ~= "" then say(name, chunk) else output:stop() end
  end)
  ending:start("r", function()
    output:close() -- the loop must let go of the descriptors before wait closes them
    ending:close()
    local result = process:wait()
    say(name, result.stdout) -- what had not been read yet
    print(("%-8s ended, exit code %d"):format(name, result.exit_code))
    running = running - 1
  end)
end

local ticks = 0
local timer = uv.new_timer()
timer:start(0, 20, function()
  ticks = ticks + 1
  if running == 0 then timer:close() end
end)

start("slow", 0.3)
start("middling", 0.2)
start("quick", 0.1)
uv.run()
print(ticks > 10 and "the loop ticked on" or "the loop stood still")
