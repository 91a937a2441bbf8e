-- SPDX-License-Identifier: MIT

--- Whether the process lives that a record tells of: a PID alone may be another one's by now.
-- @module casulo.living

local look = require "casulo.look"
local sys = require "casulo.sys"

local living = {}

--- What is said where that file cannot be read.
living.UNREADABLE = "/proc/%d/stat cannot be read, so it cannot be told when that process started"

--- When a process started.
-- @tparam integer pid
-- @treturn ?integer clock ticks since the host started
function living.start_time(pid)
  local text = look.text(("/proc/%d/stat"):format(pid)) or ""
  return math.tointeger(text:match("^.*%) " .. ("%S+ "):rep(19) .. "(%d+)")) -- the command's name may hold anything
end

--- The namespaces on which it depends what a PID and a start time mean.
-- @treturn string
function living.seen_from()
  return ("%s %s"):format(look.readlink "/proc/self/ns/pid", look.readlink "/proc/self/ns/time")
end

--- The errnos of pidfd_open(2) that tell that there is no such process.
living.GONE = { [sys.ESRCH] = true, [sys.EINVAL] = true, [sys.ENOENT] = true } -- the others: the number is a thread's now

--- The process of a record.
-- @tparam table record `pid`, `start_time`, `seen_from`
-- @return pidfd; false when it is gone; nil and why when that cannot be told, and errno where a call has failed
function living.process(record)
  if record.seen_from ~= living.seen_from() then return nil, "its process was started from another PID or time namespace" end
  local pidfd, message, errno = sys.pidfd_open(record.pid)
  if not pidfd then
    if living.GONE[errno] then return false end
    return nil, message, errno
  end
  local started = living.start_time(record.pid) -- of that process, if the descriptor is not at its end afterwards
  local polled, why, number
  repeat polled, why, number = sys.poll({ { fd = pidfd, events = sys.POLLIN } }, 0) until polled or number ~= sys.EINTR
  if polled == 0 and started == record.start_time then return pidfd end
  pidfd:close()
  if polled == 1 or polled and started then return false end
  return nil, why or living.UNREADABLE:format(record.pid), number or sys.ESRCH
end

--- Whether the process of a record lives.
-- @tparam table record as of `process`
-- @return true or false; nil and why when that cannot be told
function living.lives(record)
  local pidfd, why = living.process(record)
  if pidfd then pidfd:close() end
  return pidfd and true or pidfd, why
end

return living
