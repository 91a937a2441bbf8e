-- SPDX-License-Identifier: MIT

--- A terminal of the container's own.
-- @module casulo.recipes.terminal

local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local terminal = {}

local PTMX = "/dev/pts/ptmx"
local OPEN = string.pack("=I8I8I8", sys.O_RDWR | sys.O_NOCTTY | sys.O_CLOEXEC | sys.O_NONBLOCK, 0, sys.RESOLVE_NO_SYMLINKS)

--- A size as the kernel has it: struct winsize.
-- @tparam integer rows
-- @tparam integer columns
-- @treturn string
-- @see TIOCSWINSZ(2const)
function terminal.size(rows, columns) return string.pack("=I2I2I2I2", rows, columns, 0, 0) end

--- Opens a pair of the container's own devpts. The master goes to the caller, through the socket in the value
-- `terminal_socket`; the terminal is in the value `terminal`. Something else than devpts may have come to be there: opening that
-- follows no link and does not wait, and what is no terminal fails here.
-- @tparam table size `rows`, `columns`
-- @tparam[opt] table user `uid`, `gid`: whose terminal it is
-- @tparam[opt] integer socket its number, in place of the value `terminal_socket`
-- @treturn table steps
-- @see pts(4), ioctl_tty(2), unix(7)
function terminal.open(size, user, socket)
  local steps = {
    { "openat2", sys.AT_FDCWD, PTMX, OPEN, as = "master",
      why = "a new terminal of the container's own devpts: this is the side of the one who looks at it" },
    { "ioctl", ref "master", sys.TIOCSPTLCK, string.pack("=i4", 0), why = "it is locked at first" },
    { "ioctl", ref "master", sys.TIOCSWINSZ, terminal.size(size.rows, size.columns), why = "its size" },
    { "ioctl", ref "master", sys.TIOCGPTPEER, sys.O_RDWR | sys.O_NOCTTY | sys.O_CLOEXEC, as = "terminal",
      why = "the command's side of it, by descriptor: a path could have been tampered with" },
  }
  if user then
    steps[#steps + 1] = { "fchown", ref "terminal", user.uid, -1, why = "it belongs to the user whom the command runs as" }
  end
  steps[#steps + 1] = { "sendmsg", socket or ref "terminal_socket", "t", { ref "master" },
    why = "the caller gets the other side, and reads and writes what is shown and typed" }
  return steps
end

--- Puts a socket in the place of the standard streams, until the terminal is there: those of the caller are not the command's.
-- @tparam integer socket
-- @treturn table steps
-- @see dup2(2)
function terminal.stand_in(socket)
  local steps = {}
  for number = 0, 2 do steps[number + 1] = { "dup2", socket, number, why = "no stream of the caller's goes along, either" } end
  return steps
end

--- Takes the master that `open` sent.
-- @tparam descriptor socket
-- @treturn descriptor nil, a message and errno, when none came
-- @see recvmsg(2), TIOCGPTN(2const)
function terminal.receive(socket)
  local _, master, errno = sys.recvmsg(socket, 1, sys.MSG_DONTWAIT)
  if type(master) ~= "userdata" then return nil, ("the terminal did not arrive%s"):format(errno and ": " .. master or ""), errno end
  local ok, message, why = sys.ioctl(master, sys.TIOCGPTN, string.pack("=i4", 0))
  if ok then ok, message, why = sys.fcntl(master, sys.F_SETFL, sys.O_RDWR) end -- from here on it may wait
  if ok then return master end
  master:close()
  return nil, "what arrived is no terminal: " .. message, why
end

--- Makes standard input the controlling terminal of this session.
-- @treturn table steps
-- @see TIOCSCTTY(2const)
function terminal.control()
  return {
    { "ioctl", 0, sys.TIOCSCTTY, 0, why = "it is the terminal of this session: Ctrl-C and job control work in it" },
  }
end

return terminal
