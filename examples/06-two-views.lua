-- SPDX-License-Identifier: MIT
-- Goal:   one process seen from both sides of a PID namespace. Michael is inside and thinks that he is alone; Dwight is
--         outside, watches him, and could intervene at any time.
-- Run:    make && eval "$(make -s env)"; sudo -E lua5.4 examples/06-two-views.lua
-- Expect: Michael is PID 1 to himself, sees one process and can signal nobody else; to Dwight he has another PID, both of
--         which the kernel lists (NSpid), and a signal from Dwight ends him.
local casulo = require "casulo"
local sys = casulo.sys

local function count_processes()
  local count = 0
  for _, name in ipairs(sys.scandir "/proc") do count = count + (math.tointeger(name) and 1 or 0) end
  return count
end

local dwight = sys.getpid()
local to_dwight, from_michael = assert(sys.pipe2(0))
local to_michael, from_dwight = assert(sys.pipe2(0))

local pid = assert(sys.clone(sys.CLONE_NEWPID | sys.CLONE_NEWNS, function()
  from_dwight:close()
  assert(sys.mount(nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE))
  sys.umount2("/proc", sys.MNT_DETACH)
  assert(sys.mount("proc", "/proc", "proc", sys.MS_NOSUID | sys.MS_NODEV | sys.MS_NOEXEC))
  local _, why = sys.kill(dwight, 0)
  print(("Michael: my PID is %d, my parent's is %d"):format(sys.getpid(), sys.getppid()))
  print(("Michael: I see %d process"):format(count_processes()))
  print(("Michael: can I signal Dwight, PID %d? %s"):format(dwight, why))
  io.stdout:flush()
  sys.write(from_michael, "!")
  sys.read(to_michael, 1) -- blissfully ignorant, for as long as Dwight lives
end))

from_michael:close() -- what is left open is his: his end would end our read
to_michael:close()
sys.read(to_dwight, 1)
print(("Dwight:  his PID is %d, mine is %d"):format(pid, dwight))
print(("Dwight:  the kernel lists both of his: %s"):format(
  io.open(("/proc/%d/status"):format(pid)):read "a":match "NSpid:%s*([^\n]*)":gsub("%s+", " ")))
print(("Dwight:  I see %s"):format(count_processes() > 1 and "him and everyone else" or "him only"))
print(("Dwight:  can I signal him? %s"):format(sys.kill(pid, 0) and "yes" or "no"))
assert(sys.kill(pid, sys.SIGKILL))
local _, how, number = sys.waitpid(pid)
print(("Dwight:  he ended by %s %d"):format(how, number))
