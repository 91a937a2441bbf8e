-- SPDX-License-Identifier: MIT

--- What a step of the caller may name: every call of `casulo.sys`, and `spawn`, a program that does what the caller may not.
-- @module casulo.calls

local life = require "casulo.recipes.life"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local calls = {}

local function start(argv, errors)
  local words = {}
  for i, word in ipairs(argv) do words[i] = tostring(word) end -- a PID among them is a number
  return sys.clone(0, sys.program(plan.new {
    { "dup2", errors, 2 }, life.clean(), life.exec(words, {}, os.getenv "PATH" or "/usr/bin:/bin"),
  }.steps))
end

local function read_all(descriptor)
  local text = ""
  while true do
    local part, _, errno = sys.read(descriptor, 4096)
    if part == "" or not part and errno ~= sys.EINTR then return (text:gsub("%s+$", "")) end
    text = text .. (part or "")
  end
end

-- Whether it did what it was asked, and how it ended if not.
local function reap(pid, text)
  local waited, how, code
  repeat waited, how, code = sys.waitpid(pid, sys.__WALL) until waited or code ~= sys.EINTR
  if not waited then return text == "" end -- the caller ignores SIGCHLD, and the kernel kept no status
  if how == "signal" then return false, ("killed by signal %d"):format(code) end
  return code == 0, ("exit status %d"):format(code)
end

--- Runs a program to its end: looked up in PATH, without an environment, and with the caller's standard input and output.
-- @tparam {string|integer,...} argv
-- @return true when it exits with 0; or nil, what it wrote to standard error, and 0; or nil, a message and errno when it
--   could not be executed
-- @see execvp(3), waitpid(2)
function calls.spawn(argv)
  local reader <close>, low, errno = sys.pipe2(sys.O_CLOEXEC)
  if not reader then return nil, low, errno end
  local errors, message, pid
  errors, message, errno = sys.fcntl(low, sys.F_DUPFD_CLOEXEC, 3) -- not the standard stream that it becomes
  low:close()
  if not errors then return nil, message, errno end
  pid, message, errno = start(argv, errors)
  errors:close()
  if not pid then return nil, message, errno end
  local text = read_all(reader)
  local ok, how = reap(pid, text)
  if ok then return true end
  return nil, text ~= "" and text or ("%s: %s"):format(argv[1], how), 0
end

return setmetatable(calls, { __index = sys })
