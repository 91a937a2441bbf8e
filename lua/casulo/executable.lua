-- SPDX-License-Identifier: MIT

--- Why a file cannot be executed, by what it is like.
--
-- What a file holds is told by its first bytes alone, which may be a hostile root's: whatever they are, they are only looked at.
-- @module casulo.executable

local obstacles = require "casulo.obstacles"
local sys = require "casulo.sys"

local obstacle = obstacles.new
local executable = {}

local PT_INTERP = 3
local FIXED = 8 + 8 + 256 -- bytes of a report before the head of the file: see struct found in src/image.h

--- What casulo-init found of a command that could not be executed.
-- @tparam string bytes as it wrote them
-- @treturn ?table `step`, from 1, that was to execute it; `errno`, 0 where something is there; then `mode`, `uid`, `gid`, `size`, `is_noexec`,
--   `head`, its first bytes as far as they can be read
-- @see statx(2), statfs(2)
function executable.decode(bytes)
  if #bytes < FIXED then return nil end
  local step, errno, flags, _, uid, gid, mode, _, size = string.unpack("=i4i4i8 c20I4I4I2 c10I8", bytes)
  return { step = step, errno = errno, mode = mode, uid = uid, gid = gid, is_noexec = flags & sys.MS_NOEXEC ~= 0, size = size,
    head = bytes:sub(FIXED + 1) }
end

-- The program headers, as far as they are there.
local function interpreter(bytes, order, is_64)
  local offset = string.unpack(order .. (is_64 and "I8" or "I4"), bytes, is_64 and 33 or 29)
  local size, count = string.unpack(order .. "I2I2", bytes, is_64 and 55 or 43)
  for i = 0, count - 1 do
    local header = offset + i * size + 1
    if string.unpack(order .. "I4", bytes, header) == PT_INTERP then
      local place = string.unpack(order .. (is_64 and "I8" or "I4"), bytes, header + (is_64 and 8 or 4))
      return bytes:match("^[^%z]+", place + 1) or ""
    end
  end
  return false
end

--- What the header of an ELF program says.
-- @tparam string bytes its first ones, or all
-- @treturn ?table `machine`, a number of elf(5); `loader`: the path of the one that it asks for, empty where that is not among the bytes,
--   or false; nil where the bytes end before that is told. No table where this is no ELF file.
-- @see elf(5)
function executable.elf(bytes)
  if not bytes:find "^\127ELF[\1\2][\1\2]" then return nil end
  local order, is_64 = bytes:byte(6) == 2 and ">" or "<", bytes:byte(5) == 2
  local elf = { is_64 = is_64, machine = #bytes >= 20 and string.unpack(order .. "I2", bytes, 19) or nil }
  local is_whole, loader = pcall(interpreter, bytes, order, is_64)
  if is_whole then elf.loader = loader end
  return elf
end

-- The interpreter of a script, with the carriage return of a line that ends as on Windows; empty where it names none.
local function script_for(head) return head:match "^#![ \t]*([^ \t\n%z]*)" end

local LONGEST = 256 -- bytes of a name that are shown

-- Names that may come from a hostile file are shown without what a terminal would obey.
local function shown(name) return (name:sub(1, LONGEST):gsub("[%c\127-\255]", "?")) end

-- What it needs is missing: the kernel says so with the same errno as of a file that is not there.
local function lacks(path, found)
  local interpreter_name, elf = script_for(found.head), executable.elf(found.head)
  if interpreter_name and interpreter_name:find "\r$" then
    return obstacle(("sed -i 's/\\r$//' %s"):format(path), "its first line ends in a carriage return, as on Windows, which counts as part of "
      .. "the interpreter's name")
  end
  if interpreter_name then
    return obstacle("install it there, or bind it in", "it is a script for %s, which the container lacks, or which lacks there what it needs itself",
      shown(interpreter_name))
  end
  if elf and elf.loader then
    return obstacle("take a static one, or a root that has its loader and its libraries",
      "it is a dynamic program, and the container lacks its loader%s", elf.loader ~= "" and ", " .. shown(elf.loader) or "")
  end
  return "it is there, and the interpreter or loader that it names is missing in the container"
end

local MACHINES = {
  [3] = "i386", [8] = "mips", [20] = "ppc", [21] = "ppc64", [22] = "s390x", [40] = "arm", [62] = "x86_64", [183] = "aarch64", [243] = "riscv",
  [258] = "loongarch",
}
local OWN = sys.AUDIT_ARCH_NATIVE & 0xffff -- which has the numbers of ELF

local function no_program(path, found)
  local head = found.head
  local elf = executable.elf(head)
  if elf and elf.machine and (elf.machine ~= OWN or not elf.is_64) then
    return obstacle("take one that was built for this machine", "it is a program for %s, and this machine is %s",
      MACHINES[elf.machine] or ("machine %d of ELF"):format(elf.machine), MACHINES[OWN])
  end
  if head:find "^\127ELF" then return "it is no whole program of this machine: cut off, or an object file" end
  if head == "" then return found.size == 0 and "the file is empty" or nil end
  if head:find "^#!" then return "its first line, #!, names no interpreter" end
  if not head:find "%z" then
    return obstacle(("sed -i '1i #!/bin/sh' %s"):format(path), "it is a text that does not begin with #! and an interpreter")
  end
end

local TYPES = {
  [sys.S_IFDIR] = "a directory", [sys.S_IFIFO] = "a FIFO", [sys.S_IFSOCK] = "a socket", [sys.S_IFCHR] = "a device", [sys.S_IFBLK] = "a device",
}

local function denied(path, found, is_restricted)
  if found.errno ~= 0 and found.errno ~= sys.EACCES then return nil end
  if found.errno ~= 0 then return "a directory on the way to it does not let the user of the command through" end
  local type = found.mode & sys.S_IFMT
  if type ~= sys.S_IFREG then return ("it is %s, and no program"):format(TYPES[type] or "no file") end
  if found.is_noexec then
    return obstacle("mount that without noexec, or take another place", "the file system that it is on is mounted noexec")
  end
  if found.mode & 73 == 0 then return obstacle("chmod +x " .. path, "it lacks the right to execute") end -- 0111
  if is_restricted then return nil end
  if found.mode & 73 ~= 73 then
    return ("its mode is %04o and its owner %d:%d: the user of the command may not execute it"):format(found.mode & 4095, found.uid, found.gid)
  end
  local interpreter_name, elf = script_for(found.head) or "", executable.elf(found.head)
  if interpreter_name ~= "" then
    return ("it is a script for %s, which may not be executed there: by its mode, its mount or a directory above it"):format(shown(interpreter_name))
  end
  if elf and elf.loader then return ("it is a dynamic program, whose loader %s may not be executed there"):format(shown(elf.loader)) end
  return "its mode lets everyone execute it: a directory above it does not, or a security module of the host"
end

local FAULTS = {
  [sys.ENOENT] = function(path, found) return found and found.errno == 0 and lacks(path, found) or nil end,
  [sys.ENOEXEC] = function(path, found) return found and found.errno == 0 and no_program(path, found) or nil end,
  [sys.EACCES] = function(path, found, is_restricted) return found and denied(path, found, is_restricted) end,
  [sys.ELOOP] = function() return "the symbolic links that it is reached by lead in a circle, or are more than 40" end,
  [sys.ETXTBSY] = function() return "somebody has it open for writing" end,
  [sys.E2BIG] = function()
    return "its arguments and variables are more than a quarter of what the stack may be (ulimit -s), or one of them is longer than 128 kB"
  end,
  [sys.EAGAIN] = function() return "its user has as many processes as it may (ulimit -u, rlimits.nproc)" end,
}

--- What keeps a file from being executed.
-- @tparam integer errno of execve(2)
-- @tparam ?string path what it is called inside
-- @tparam ?table found as of `decode`
-- @tparam ?boolean is_restricted whether Landlock may be the reason
-- @treturn table|string|nil what `casulo.obstacles` makes, or a sentence, where it can be told
function executable.fault(errno, path, found, is_restricted)
  return FAULTS[errno] and FAULTS[errno](path and shown(path), found, is_restricted)
end

return executable
