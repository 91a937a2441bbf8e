-- SPDX-License-Identifier: MIT
--- A container in the foreground: it has the caller's streams, and the signals that the caller receives.
-- @module casulo.foreground

local sys = require "casulo.sys"

local FORWARDED = { "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH" }
local HARMLESS = { [sys.SIGCONT] = true, [sys.SIGWINCH] = true } -- a process that handles them not is none the worse

-- Those that the caller does not ignore: nohup and background jobs ignore some, and that is meant to stay.
local function wanted_signals()
  local wanted = { sys.SIGTSTP } -- taken and dropped: a stopped casulo would leave two readers at one terminal
  for _, name in ipairs(FORWARDED) do
    local number = sys[name]
    if sys.signal(number, sys.SIG_DFL) == sys.SIG_IGN then sys.signal(number, sys.SIG_IGN)
    else wanted[#wanted + 1] = number end
  end
  return wanted
end

-- The kernel drops a signal to PID 1 that has no handler for it, unless it is blocked and so waits for a signalfd.
local function is_deaf(process, number)
  if not process.own_pids or HARMLESS[number] then return false end
  local file <close> = io.open(("/proc/%d/status"):format(process.pid))
  local status = file and file:read "a" or ""
  for _, field in ipairs { "SigCgt", "SigBlk" } do
    local mask = tonumber(status:match(field .. ":%s*(%x+)") or "0", 16)
    if mask & 1 << number - 1 ~= 0 then return false end
  end
  return true
end

-- What the terminal sent was meant for all that run in its foreground, so the whole process group gets it.
local function forward(process, number, from_kernel)
  if is_deaf(process, number) then
    process:kill()
    return number
  end
  if from_kernel and not HARMLESS[number] then sys.kill(-process.pid, number) else process:kill(number) end
end

local function next_signal(signals)
  local info = sys.read(signals, 128) -- struct signalfd_siginfo
  if not info then return end
  local number, _, code = string.unpack("=I4i4i4", info)
  return number, code == sys.SI_KERNEL
end

local function milliseconds_left(process)
  if not process.deadline or process.timed_out then return -1 end
  return math.max(0, math.ceil((process.deadline - sys.clock_gettime(sys.CLOCK_MONOTONIC)) * 1000))
end

--- Runs a container and forwards signals to it.
-- @tparam container box
-- @treturn table result, or nil and an error
-- @return the signal to which PID 1 was deaf and for which the container was ended, if any
return function(box)
  local wanted = wanted_signals()
  sys.sigprocmask(sys.SIG_BLOCK, wanted)
  local signals <close> = assert(sys.signalfd(-1, wanted, sys.SFD_NONBLOCK))
  local streams = {}
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if box.checked[name] == "pipe" then streams[name] = "inherit" end -- there is nobody to read it
  end
  local process <close>, err = box:start(streams)
  if not process then return nil, err end
  local deaf_to
  while true do
    local entries = { { fd = signals, events = sys.POLLIN }, { fd = process.pidfd, events = sys.POLLIN } }
    sys.poll(entries, milliseconds_left(process))
    if entries[1].revents ~= 0 then
      local number, from_kernel = next_signal(signals)
      if number and number ~= sys.SIGTSTP then deaf_to = forward(process, number, from_kernel) or deaf_to end
    end
    local result, why = process:wait(0)
    if result then return result, nil, deaf_to end
    if why ~= "timeout" then return nil, why end
  end
end
