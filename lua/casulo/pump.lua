-- SPDX-License-Identifier: MIT

--- Between the caller's terminal and a container's: what is typed goes in, what is shown comes out.
-- @module casulo.pump

local sys = require "casulo.sys"

local STDIN, STDOUT = 0, 1
local CHUNK = 4096 -- what a pipe takes whole when poll says that it takes some
local HELD = 65536 -- more than a terminal holds, which is some 20,000 bytes
local END_OF_FILE = "\4" -- what a terminal takes for the end of what is typed

local Pump = {}
Pump.__index = Pump

-- From one descriptor to another, through what the other did not take yet.
local function direction(from, to) return { from = from, to = to, waiting = "" } end

-- Standard output once more, for writes that never wait: a terminal has less room than poll tells, and a pipe others that fill it.
-- The open file that others have, too, stays as it is. That of a regular file would have another offset, and a terminal's master
-- opened again is another terminal.
local function open_again()
  local found = sys.fstat(STDOUT)
  local is_fifo = found and found.mode & sys.S_IFMT == sys.S_IFIFO
  local is_terminal = sys.ioctl(STDOUT, sys.TCGETS, ("\0"):rep(36)) and not sys.ioctl(STDOUT, sys.TIOCGPTN, ("\0"):rep(4))
  return (is_fifo or is_terminal) and sys.open("/proc/self/fd/1", sys.O_WRONLY | sys.O_NONBLOCK | sys.O_NOCTTY) or nil
end

--- Makes a pump, which is to be closed.
-- @tparam descriptor master the caller's side of the container's terminal
-- @treturn table with two `entries` for each direction, for `sys.poll`
local function new(master)
  sys.fcntl(master, sys.F_SETFL, sys.fcntl(master, sys.F_GETFL) | sys.O_NONBLOCK)
  local output = open_again()
  local self = setmetatable({ master = master, output = output, entries = {} }, Pump)
  self.typed, self.shown = direction(STDIN, master), direction(master, output or STDOUT)
  for _, way in ipairs { self.typed, self.shown } do
    way.reading, way.writing = { fd = way.from, events = sys.POLLIN, revents = 0 }, { fd = -1, events = sys.POLLOUT, revents = 0 }
    table.move({ way.reading, way.writing }, 1, 2, #self.entries + 1, self.entries)
  end
  return self
end

-- Either the one end is read or the other written: what comes in faster than it goes out waits where it is.
local function set(way)
  way.reading.fd = way.waiting == "" and not way.ended and way.from or -1
  way.writing.fd = way.waiting ~= "" and way.to or -1
end

local function read(way, at_end)
  local text, _, errno = sys.read(way.from, CHUNK)
  if text and text ~= "" then way.waiting = text
  elseif not text and (errno == sys.EAGAIN or errno == sys.EINTR) then return false
  else
    way.ended = true
    way.waiting = at_end
  end
  return true
end

local function write(way)
  local count, _, errno = sys.write(way.to, way.waiting)
  if count then way.waiting = way.waiting:sub(count + 1)
  elseif errno ~= sys.EAGAIN and errno ~= sys.EINTR then
    way.waiting = "" -- nobody takes it any more; what comes is read on, or the command would wait for ever to show it
  end
end

--- Moves what the last poll found.
function Pump:move()
  for _, way in ipairs { self.typed, self.shown } do
    if way.reading.fd ~= -1 and way.reading.revents ~= 0 then read(way, way == self.typed and END_OF_FILE or "") end
    if way.writing.fd ~= -1 and way.writing.revents ~= 0 then write(way) end
    set(way)
  end
end

--- Shows what is left when the container has ended. Another process may keep its terminal, and write on; so no more is read than
-- a terminal holds.
-- @tparam function wait gets an entry for `sys.poll`, and returns true when that is ready, or false to leave the rest
function Pump:drain(wait)
  local way, left = self.shown, HELD
  repeat
    left = left - #way.waiting
    while way.waiting ~= "" do
      set(way)
      if not wait(way.writing) then return end
      write(way)
    end
  until way.ended or left <= 0 or not read(way, "")
end

--- Tells the container's terminal the size of the caller's.
-- @tparam ?table size `rows`, `columns`
function Pump:resize(size)
  if size then sys.ioctl(self.master, sys.TIOCSWINSZ, require "casulo.recipes.terminal".size(size.rows, size.columns)) end
end

function Pump:__close()
  if self.output then self.output:close() end
end

return new
