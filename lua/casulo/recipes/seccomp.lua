-- SPDX-License-Identifier: MIT

--- Filters of system calls.
-- @module casulo.recipes.seccomp

local sys = require "casulo.sys"

local seccomp = {}

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
function seccomp.refuse_typing()
  return {
    { "seccomp", sys.SECCOMP_SET_MODE_FILTER, 0, NO_TYPING,
      why = "the command may not type into a terminal that it has open (TIOCSTI, TIOCLINUX): a shell outside would run it" },
  }
end

return seccomp
