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

-- How a process stands to a signal: it has a handler; it holds it back, for a signalfd or for later; or it is PID 1 with
-- neither, for which the kernel drops the signal.
local function standing(process, number)
  local file <close> = io.open(("/proc/%d/status"):format(process.pid))
  local status = file and file:read "a" or ""
  local function has(field) return tonumber(status:match(field .. ":%s*(%x+)") or "0", 16) & 1 << number - 1 ~= 0 end
  if has "SigCgt" then return "handled" end
  if has "SigBlk" then return has "ShdPnd" and "pending" or "blocked" end
  return "deaf"
end

local Forwarder = {}
Forwarder.__index = Forwarder

local function end_for(self, number)
  self.deaf_to = number
  self.process:kill()
end

-- What the terminal sent was meant for all that run in its foreground, so the whole process group gets it.
function Forwarder:forward(number, from_kernel)
  local may_drop = self.process.own_pids and not HARMLESS[number]
  local stands = may_drop and standing(self.process, number)
  if stands == "deaf" then return end_for(self, number) end
  if from_kernel and not HARMLESS[number] then sys.kill(-self.process.pid, number) else self.process:kill(number) end
  if may_drop and stands ~= "handled" then self.doubtful[number] = true end
end

-- A signal that was held back when it was sent: a shell does so for a moment while it forks, and is deaf afterwards.
function Forwarder:look_again()
  for number in pairs(self.doubtful) do
    local stands = standing(self.process, number)
    if stands == "deaf" then end_for(self, number) end
    if stands ~= "pending" then self.doubtful[number] = nil end
  end
end

local function next_signal(signals)
  local info = sys.read(signals, 128) -- struct signalfd_siginfo
  if not info then return end
  local number, _, code = string.unpack("=I4i4i4", info)
  return number, code == sys.SI_KERNEL
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
  local forwarder = setmetatable({ process = process, doubtful = {} }, Forwarder)
  local entries = { { fd = signals, events = sys.POLLIN }, table.unpack(process:entries()) }
  while true do
    sys.poll(entries, next(forwarder.doubtful) and 10 or process:milliseconds_left())
    if entries[1].revents ~= 0 then
      local number, from_kernel = next_signal(signals)
      if number and number ~= sys.SIGTSTP then forwarder:forward(number, from_kernel) end
    end
    forwarder:look_again()
    local result, why = process:wait(0)
    if result then return result, nil, forwarder.deaf_to end
    if why ~= "timeout" then return nil, why end
  end
end
