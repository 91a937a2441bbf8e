-- SPDX-License-Identifier: MIT

--- The process that stands outside for the command of an `exec`: how it is told what no signal can tell it, and how it ends.
--
-- It must reap the command. Were it killed before that, the command would be left to whoever reaps outside, perhaps to nobody; and
-- the PID namespace of the container does not end, nor does who waits for it, as long as there is something to reap in it.
-- @module casulo.joiner

local descriptors = require "casulo.descriptors"
local sys = require "casulo.sys"

local joiner = {}

local PATIENCE = 1000 -- milliseconds until something that was killed should have ended
local ASKED = { [sys.SIGKILL] = true, [sys.SIGSTOP] = true }

--- Asks it to send the command a signal that would only end or stop itself.
-- @tparam process process
-- @tparam integer number
-- @treturn boolean whether it was asked
function joiner.ask(process, number)
  if not ASKED[number] or not process.runs or not process.control:is_open() then return false end
  return sys.sendmsg(process.control, string.char(number), {}, sys.MSG_DONTWAIT) ~= nil
end

local function read(path, ...)
  local file <close> = io.open(path:format(...))
  return file and file:read "a" or ""
end

local function child_of(pid) return math.tointeger(tonumber(read("/proc/%d/task/%d/children", pid, pid):match "%d+")) end

-- The one that is to become the command. Its parent waits until it has, and hears nothing.
local function kill_child(pid)
  local child = child_of(pid)
  local pidfd <close> = child and sys.pidfd_open(child) or nil
  return pidfd and child_of(pid) == child and sys.pidfd_send_signal(pidfd, sys.SIGKILL) -- it still is that one
end

-- Whether not even SIGKILL reaches it now: a file system that never answers, a cgroup that is frozen.
local function is_stuck(pid) return pid and read("/proc/%d/stat", pid):match "^.*%) (%S)" == "D" end

--- Ends the command, and waits a moment for the end of what stands for it.
-- @tparam process process
-- @treturn boolean whether that cannot end now. It will when the command can
function joiner.end_command(process)
  if not joiner.ask(process, sys.SIGKILL) and not kill_child(process.pid) then sys.kill(process.pid, sys.SIGKILL) end
  if descriptors.poll({ { fd = process.pidfd, events = sys.POLLIN } }, PATIENCE) ~= 0 then return false end
  return is_stuck(process.pid) or is_stuck(child_of(process.pid)) or false
end

return joiner
