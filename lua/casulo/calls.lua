-- SPDX-License-Identifier: MIT

--- What a step of the caller may name: every call of `casulo.sys`, and `spawn`, a program that does what the caller may not.
-- @module casulo.calls

local life = require "casulo.recipes.life"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local calls = {}

local NO_PROGRAM = { [sys.ENOENT] = true, [sys.EACCES] = true, [sys.ENOEXEC] = true }

local function start(argv, errors)
  local words = {}
  for i, word in ipairs(argv) do words[i] = tostring(word) end -- a PID among them is a number
  return sys.clone(0, sys.program(plan.new {
    { "dup2", errors, 2 }, life.clean(), life.exec(words, {}, os.getenv "PATH" or "/usr/bin:/bin"),
  }.steps))
end

local function reap(pid)
  local waited, how, code
  repeat waited, how, code = sys.waitpid(pid, sys.__WALL) until waited or code == sys.ECHILD
  return waited, how, code
end

--- Runs a program to its end: looked up in PATH, without an environment, and with the caller's standard input and output.
-- @tparam {string|integer,...} argv
-- @return true when it exits with 0; or nil, what it wrote to standard error, and 0; or nil, a message and errno when it
--   could not be executed; or nil, a message of the call that failed before, and 0
-- @see execvp(3), waitpid(2)
function calls.spawn(argv)
  if type(argv) ~= "table" or not argv[1] then error("bad argument #1 to 'spawn' (a list of a program and its arguments expected)", 0) end
  local reader <close>, low = sys.pipe2(sys.O_NONBLOCK) -- read when it has ended, whoever else holds a copy
  if not reader then return nil, low, 0 end
  local errors, message = sys.fcntl(low, sys.F_DUPFD_CLOEXEC, 3) -- not the standard stream that it becomes
  low:close()
  if not errors then return nil, message, 0 end
  local pid, errno
  pid, message, errno = start(argv, errors)
  errors:close()
  if not pid then return nil, message, NO_PROGRAM[errno] and errno or 0 end
  local waited, how, code = reap(pid)
  local text = (sys.read(reader, 4096) or ""):gsub("%s+$", "")
  if waited and code == 0 or not waited and text == "" then return true end -- a caller that ignores SIGCHLD is told no status
  if text == "" then text = ("%s: %s %d"):format(argv[1], how == "exit" and "exit status" or "killed by signal", code) end
  return nil, text, 0
end

return setmetatable(calls, { __index = sys })
