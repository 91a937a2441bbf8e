-- SPDX-License-Identifier: MIT
--- Other processes: such as do measured work on demand, a line of question and a line of answer; and such as just run.

local sys = require "casulo.sys"

local peer = {}
local Peer = {}
Peer.__index = Peer

-- What a process of this benchmark needs of the environment.
local function environment()
  local list = {}
  for _, name in ipairs { "PATH", "HOME", "TERM", "LUA_PATH", "LUA_CPATH" } do
    list[#list + 1] = ("%s=%s"):format(name, os.getenv(name) or "")
  end
  return list
end

--- The path of a program in PATH.
-- @tparam string name
-- @treturn ?string
function peer.find(name)
  for directory in os.getenv "PATH":gmatch "[^:]+" do
    local path = ("%s/%s"):format(directory, name)
    if sys.stat(path) then return path end
  end
end

--- A packed start of a program that dies with this process; it wants the values `input` and `output`.
-- @tparam {string,...} command a path, or a name in PATH, and arguments
-- @tparam[opt] boolean silent whether `output` is standard error, too
-- @treturn program for `clone`
function peer.program(command, silent)
  local path = command[1]:find "/" and command[1] or peer.find(command[1]) or error(command[1] .. ": not found", 0)
  return sys.program {
    { "prctl", sys.PR_SET_PDEATHSIG, sys.SIGKILL },
    { "dup2", { ref = "input" }, 0 },
    { "dup2", { ref = "output" }, 1 },
    silent and { "dup2", { ref = "output" }, 2 } or { "umask", 18 },
    { "sigprocmask", sys.SIG_SETMASK, {} },
    { "execve", path, command, environment() },
  }
end

--- Runs a program to its end.
-- @tparam {string,...} command
-- @tparam string log the file that gets what it says
function peer.run(command, log)
  local input <close> = assert(sys.open("/dev/null", sys.O_RDONLY))
  local output <close> = assert(io.open(log, "w"))
  local pid = assert(sys.clone(0, peer.program(command, true), { values = { input = input, output = output } }))
  local _, how, code = sys.waitpid(pid)
  if how ~= "exit" or code ~= 0 then error(("%s failed: %s %d; see %s"):format(command[1], how, code, log), 0) end
end

--- Starts a process that answers.
-- @tparam {string,...} command
-- @treturn peer
function peer.start(command)
  local input <close>, questions = assert(sys.pipe2(sys.O_CLOEXEC))
  local answers, output <close> = assert(sys.pipe2(sys.O_CLOEXEC))
  local pid = assert(sys.clone(0, peer.program(command), { values = { input = input, output = output } }))
  return setmetatable({ pid = pid, questions = questions, answers = answers, name = table.concat(command, " ") }, Peer)
end

--- Waits for a line of answer.
-- @treturn string
function Peer:answer()
  local chunks = {}
  repeat
    local chunk = assert(sys.read(self.answers, 65536))
    if chunk == "" then error(self.name .. ": it ended without an answer", 0) end
    chunks[#chunks + 1] = chunk
  until chunk:sub(-1) == "\n"
  return table.concat(chunks):sub(1, -2)
end

--- Asks for starts of a kind.
-- @tparam string kind
-- @tparam integer count
-- @tparam table times microseconds; grows
function Peer:measure(kind, count, times)
  assert(sys.write(self.questions, ("%s %d\n"):format(kind, count)))
  for time in self:answer():gmatch "%S+" do times[#times + 1] = tonumber(time) end
end

--- Ends the process and reaps it.
function Peer:close()
  self.questions:close()
  self.answers:close()
  sys.kill(self.pid, sys.SIGKILL)
  sys.waitpid(self.pid)
end
Peer.__close = Peer.close

return peer
