-- SPDX-License-Identifier: MIT

--- A container in the foreground: it has the caller's streams, and the signals that the caller receives.
-- @module casulo.foreground

local handle = require "casulo.handle"
local sys = require "casulo.sys"

local FORWARDED = { "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH" }
local ENDING = { [sys.SIGHUP] = true, [sys.SIGINT] = true, [sys.SIGQUIT] = true, [sys.SIGTERM] = true } -- also of casulo itself
local PATIENCE = 1 -- second, for whoever looks at the terminal, when an end was asked for
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
  self.deaf_to, self.is_urgent = number, true
  self.process:kill()
end

-- What the terminal sent was meant for all that run in its foreground, so the whole process group gets it.
function Forwarder:forward(number, from_kernel)
  self.is_urgent = self.is_urgent or ENDING[number]
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

-- What stands in for streams that somebody would have to read or write.
local function options_of(settings)
  local options = {}
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if settings[name] == "pipe" then options[name] = "inherit" end
  end
  if settings.tty then options.tty = require "casulo.terminal".size() or settings.tty end
  return options
end

local function next_event(process, forwarder, entries, pump)
  sys.poll(entries, next(forwarder.doubtful) and 10 or process:milliseconds_left())
  local number, from_kernel
  if entries[1].revents ~= 0 then number, from_kernel = next_signal(forwarder.signals) end
  if pump then pump:move() end
  if pump and number == sys.SIGWINCH then pump:resize(require "casulo.terminal".size())
  elseif number and number ~= sys.SIGTSTP then forwarder:forward(number, from_kernel) end
  forwarder:look_again()
end

-- Shows what is left in the terminal of a process that has ended, to a slow reader, too; but one who reads no more holds casulo up
-- only until the process's time is over, or a signal asks for the end.
local function show_rest(process, forwarder, pump)
  local signals = { fd = forwarder.signals, events = sys.POLLIN, revents = 0 }
  local patience = process.timed_out and 0 or forwarder.is_urgent and PATIENCE
  pump:drain(function(entry)
    local ready
    repeat
      ready = sys.poll({ signals, entry }, process:milliseconds_left(patience and handle.now() + patience))
      if ready and signals.revents ~= 0 and ENDING[next_signal(forwarder.signals)] then patience = 0 end
    until ready == 0 or ready and entry.revents ~= 0
    return ready ~= 0
  end)
end

-- → a terminal's pump, and what poll looks at for it
local function pump_of(process, entries)
  if not process.tty then return nil, table.move(process:entries(), 1, #process:entries(), 2, entries) end
  local pump = require "casulo.pump"(process.tty)
  process.tty = nil -- whose flow is the pump's
  entries[2] = process:entries()[1]
  return pump, table.move(pump.entries, 1, 4, 3, entries)
end

-- The caller's terminal shows the container's while there is a pump, until the value's scope is left.
local function raw_terminal(pump)
  if pump then return require "casulo.terminal".raw() end
end

--- Runs a process in the foreground and forwards signals to it.
-- @tparam function start gets options for `Container:start`, and returns what that does
-- @tparam table settings `stdin`, `stdout`, `stderr`, `tty`: those that it would have
-- @treturn table result, or nil and an error
-- @return the signal to which PID 1 was deaf and for which the container was ended, if any
return function(start, settings)
  local wanted = wanted_signals()
  sys.sigprocmask(sys.SIG_BLOCK, wanted)
  local signals <close>, message, errno = sys.signalfd(-1, wanted, sys.SFD_NONBLOCK)
  if not signals then return nil, require "casulo.failure".new { message = message, errno = errno } end
  local process <close>, err = start(options_of(settings))
  if not process then return nil, err end
  local _ <close> = process.tty
  local pump <close>, entries = pump_of(process, { { fd = signals, events = sys.POLLIN } })
  local raw <close>, failure = raw_terminal(pump)
  if not raw and failure then return nil, failure end
  local forwarder = setmetatable({ process = process, doubtful = {}, signals = signals }, Forwarder)
  while true do
    next_event(process, forwarder, entries, pump)
    local result, why = process:wait(0)
    if not result and why ~= "timeout" then return nil, why end
    if result then
      if pump then show_rest(process, forwarder, pump) end
      return result, nil, forwarder.deaf_to
    end
  end
end
