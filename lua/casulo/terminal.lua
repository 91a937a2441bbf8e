-- SPDX-License-Identifier: MIT

--- The caller's terminal while a container's is shown in it: raw, and put back afterwards whatever happens.
-- @module casulo.terminal

local handover = require "casulo.handover"
local host = require "casulo.host"
local life = require "casulo.recipes.life"
local plan = require "casulo.plan"
local process = require "casulo.process"
local sys = require "casulo.sys"

local ref = plan.ref
local terminal = {}
local Terminal = {}
Terminal.__index = Terminal

local STDIN, STDOUT = 0, 1
local TERMIOS, WINSIZE = ("\0"):rep(36), ("\0"):rep(8)

--- The size of the caller's terminal: that of its standard input or, where that is none, of its standard output.
-- @treturn ?table `rows`, `columns`; nil where there is none
-- @see TIOCGWINSZ(2const)
function terminal.size()
  for _, fd in ipairs { STDIN, STDOUT } do
    local size = sys.ioctl(fd, sys.TIOCGWINSZ, WINSIZE)
    if size then
      local rows, columns = string.unpack("=I2I2", size)
      return { rows = rows, columns = columns }
    end
  end
end

-- What cfmakeraw(3) does: each byte goes through as it is typed, and none has a meaning here.
local function raw(settings)
  local input, output, control, own, discipline, characters = string.unpack("=I4I4I4I4Bc19", settings)
  input = input & ~0x5eb -- IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
  output = output & ~0x1 -- OPOST
  control = control & ~0x130 | 0x30 -- CSIZE PARENB; CS8
  own = own & ~0x804b -- ISIG ICANON ECHO ECHONL IEXTEN
  characters = characters:sub(1, 5) .. "\0\1" .. characters:sub(8) -- VTIME, VMIN: a read waits for one byte
  return string.pack("=I4I4I4I4Bc19", input, output, control, own, discipline, characters)
end

-- A process that waits for the end of this one, and then puts the terminal back: SIGKILL leaves no other way. In a session of its
-- own it is not stopped for that, and not ended by what ends this one.
local function guard(settings)
  local numbers = handover.numbers(nil, { "caller" })
  local job = process.job(plan.new {
    life.caller(),
    { "fcntl", ref "caller", sys.F_DUPFD_CLOEXEC, numbers.above, as = "caller above", phase = "before" },
    life.session(),
    { "close_range", 1, 0xffffffff, sys.CLOSE_RANGE_CLOEXEC },
    { "dup2", ref "caller above", numbers.caller },
    handover.steps {
      numbers = numbers, host = host, command = {},
      init = {
        { "poll", { { fd = numbers.caller, events = sys.POLLIN } }, -1, why = "until the caller has ended" },
        { "ioctl", STDIN, sys.TCSETSW, settings, why = "the terminal is as it was" },
        { "_exit", 0, why = "and this was all" },
      },
    },
  })
  job.flags, job.above, job.gate = 0, numbers.above, true -- nobody waits until it has executed a command
  return process.start { job = job }
end

--- Makes the terminal on standard input raw, until the value's scope is left.
-- @treturn ?table nil where standard input is no terminal
-- @treturn ?table an error
-- @see termios(3)
function terminal.raw()
  local settings = sys.ioctl(STDIN, sys.TCGETS, TERMIOS)
  if not settings then return nil end
  local keeper, err = guard(settings)
  if not keeper then return nil, err end
  local self = setmetatable({ settings = settings, keeper = keeper }, Terminal)
  sys.ioctl(STDIN, sys.TCSETSW, raw(settings))
  return self
end

function Terminal:__close()
  sys.ioctl(STDIN, sys.TCSETSW, self.settings)
  self.keeper:close()
end

return terminal
