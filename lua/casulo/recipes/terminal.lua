-- SPDX-License-Identifier: MIT

--- Terminals: one of the container's own, and the caller's, which it may not type into.
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
  if type(master) ~= "userdata" then return nil, "the terminal did not arrive", errno end
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

-- The parts of struct seccomp_data, the operations of BPF, and what ioctl(2) is called on each machine.
local NUMBER, MACHINE, REQUEST = 0, 4, 24
local LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
local ALLOW, REFUSE = 0x7fff0000, 0x00050000 | sys.EPERM
local X86_64, I386, AARCH64, ARM = 0xc000003e, 0x40000003, 0xc00000b7, 0x40000028

local CHECK, PASS, FAIL = 13, 16, 17 -- where they stand in this list
local INSTRUCTIONS = {
  { LOAD, MACHINE },
  { IF_EQUAL, X86_64, 6, 3 }, { IF_EQUAL, AARCH64, 9, 4 }, { IF_EQUAL, I386, 11, 5 }, { IF_EQUAL, ARM, 11, PASS },
  { LOAD, NUMBER }, { IF_EQUAL, 16, CHECK, 8 }, { IF_EQUAL, 0x40000000 | 514, CHECK, PASS }, -- and that of x32
  { LOAD, NUMBER }, { IF_EQUAL, 29, CHECK, PASS },
  { LOAD, NUMBER }, { IF_EQUAL, 54, CHECK, PASS },
  { LOAD, REQUEST }, { IF_EQUAL, sys.TIOCSTI, FAIL, 15 }, { IF_EQUAL, sys.TIOCLINUX, FAIL, PASS }, -- 32 bits, as the kernel looks at
  { RETURN, ALLOW }, { RETURN, REFUSE },
}

-- struct sock_filter: a jump is counted from the next instruction.
local function filter_text(instructions)
  local parts = {}
  for i, each in ipairs(instructions) do
    local operation, value, yes, no = table.unpack(each)
    parts[i] = string.pack("=I2I1I1I4", operation, yes and yes - i - 1 or 0, no and no - i - 1 or 0, value)
  end
  return table.concat(parts)
end

local NO_TYPING = filter_text(INSTRUCTIONS)

--- Refuses TIOCSTI and TIOCLINUX: with them a process types into a terminal that it has open, and the shell outside would
-- run what was typed.
-- @treturn table steps
-- @see seccomp(2), TIOCSTI(2const), ioctl_console(2)
function terminal.refuse_typing()
  return {
    { "seccomp", sys.SECCOMP_SET_MODE_FILTER, 0, NO_TYPING,
      why = "the command may not type into a terminal that it has open (TIOCSTI, TIOCLINUX): a shell outside would run it" },
  }
end

return terminal
