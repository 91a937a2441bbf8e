-- SPDX-License-Identifier: MIT
-- Goal:   containers among the coroutines of cqueues: each waits for its own, and none for the others.
-- Run:    make && eval "$(make -s env)"; lua5.4 examples/11-cqueues.lua               (with or without sudo; needs lua-cqueues)
-- Expect: the coroutine that counts goes on while three containers sleep; the shortest sleep ends first.
local casulo = require "casulo"
local cqueues = require "cqueues"

local root = casulo.rootfs.busybox "build/hello"
local loop = cqueues.new()

-- Waits for the end of a process as p:wait() does, but lets the other coroutines run.
local function wait(process)
  local pidfd = process:pollfd()
  cqueues.poll { pollfd = pidfd, events = "r" }
  cqueues.cancel(pidfd) -- the loop must let go of it before wait closes it
  return process:wait()
end

local running = 0
local function run(name, seconds)
  running = running + 1
  loop:wrap(function()
    local box = casulo.container { rootfs = root, command = { "/bin/sh", "-c", ("sleep %g; exit %d"):format(seconds, #name) } }
    local process <close> = assert(box:start())
    print(("%-8s ended, exit code %d"):format(name, wait(process).exit_code))
    running = running - 1
  end)
end

loop:wrap(function()
  local count = 0
  while running > 0 do
    cqueues.sleep(0.02)
    count = count + 1
  end
  print(count > 10 and "the count went on" or "the count stood still")
end)

run("slow", 0.9)
run("middling", 0.6)
run("quick", 0.3)
assert(loop:loop())
