-- SPDX-License-Identifier: MIT
-- Goal:   what a container may use of memory, processes and the processor; what it tells of that; and its time, stopped.
-- Run:    make && eval "$(make -s env)"; sudo -E lua5.4 examples/14-limits.lua        (without sudo: in a cgroup of the user's own)
-- Expect: what wants too much memory is killed, and one process too many is refused; a busy loop gets a fifth of a processor, more
--         of it after an update, and nothing while it is frozen. Where the host sets no such limits: why, and what to do about it.
local casulo = require "casulo"
local sys = casulo.sys

local box = casulo.container {
  rootfs = casulo.rootfs.busybox "build/hello",
  limits = { memory = "32m", swap = 0, pids = 10, cpu = 0.2 }, -- for all that runs inside, together
  stdout = "pipe", stderr = "pipe",
}
local function doing(script) return box:with { command = { "/bin/sh", "-c", script } } end
local function say(what, text, ...) print(("%-8s " .. text):format(what .. ":", ...)) end

local greedy, err = doing("dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?"):run()
if not greedy then
  print("no limits here: " .. tostring(err)) -- a host with cgroups of version 1, or a user to whom none is delegated
  return
end
say("memory", "64 MB of 32: dd has status %d, oom_killed is %s", greedy.stdout:match "%d+", greedy.oom_killed)

local crowd = assert(doing("for i in $(seq 12); do sleep 1000 & done"):run()) -- with the shell, these are 13
say("pids", "12 more of 10: %s", crowd.stderr:match "[^\n]+")

-- What the container has of a processor while this process waits.
local function share(p)
  local from, before = sys.clock_gettime(sys.CLOCK_MONOTONIC), p:stats().cpu.usage
  sys.poll({}, 500)
  return (p:stats().cpu.usage - before) / (sys.clock_gettime(sys.CLOCK_MONOTONIC) - from)
end

local loop <close> = assert(doing("while :; do :; done"):start())
say("cpu", "%.2f of a processor, of 0.2", share(loop))
local stats = loop:stats()
say("stats", "%d of %d bytes, %d of %d processes; held back in %d of %d periods", stats.memory.current, stats.memory.max,
  stats.pids.current, stats.pids.max, stats.cpu.throttled_periods, stats.cpu.periods)

assert(loop:update { cpu = 0.6, pids = 20 }) -- all that is given, or nothing
say("update", "%.2f of a processor, of 0.6; %d processes at most", share(loop), loop:stats().pids.max)

assert(loop:freeze())
say("freeze", "%.2f of a processor", share(loop))
assert(loop:thaw())
say("thaw", "%.2f of a processor", share(loop))
