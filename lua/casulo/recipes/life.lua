-- SPDX-License-Identifier: MIT

--- A process's life: dying with its caller, its session, its streams, what it inherits, its program.
-- @module casulo.recipes.life

local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local life = {}

--- A descriptor that stands for the caller, opened before the clone. `die_with_caller` looks at it.
-- @treturn table steps
-- @see pidfd_open(2)
function life.caller()
  return {
    { "getpid", as = "self", phase = "before", why = "who starts the container" },
    { "pidfd_open", ref "self", as = "caller", phase = "before",
      why = "a descriptor for the caller: unlike a PID it can never come to mean another process" },
  }
end

--- The kernel kills this process when its caller dies.
-- @tparam[opt] string again why it is asked a second time
-- @treturn table steps
-- @see PR_SET_PDEATHSIG(2const), poll(2)
function life.die_with_caller(again) return life.die_with(ref "caller", again) end

--- The kernel kills this process when another one, its parent, dies.
-- @param pidfd of that process: a number, or a ref
-- @tparam[opt] string again why it is asked a second time
-- @treturn table steps
-- @see PR_SET_PDEATHSIG(2const), poll(2)
function life.die_with(pidfd, again)
  return {
    { "prctl", sys.PR_SET_PDEATHSIG, sys.SIGKILL,
      why = again or "when the caller dies, the kernel kills this process too" },
    { "poll", { { fd = pidfd, events = sys.POLLIN } }, 0, expect = 0,
      why = "a caller that died before that request is never noticed: so look, and stop if it has" },
  }
end

--- The kernel kills this process when its parent dies. Where its number is known no descriptor is needed, which a child would have a
-- copy of, and whoever looks into that.
-- @tparam integer pid of the parent, in this process's PID namespace
-- @tparam[opt] string again why it is asked a second time
-- @treturn table steps
-- @see PR_SET_PDEATHSIG(2const), getppid(2)
function life.die_with_parent(pid, again)
  return {
    { "prctl", sys.PR_SET_PDEATHSIG, sys.SIGKILL,
      why = again or "when the parent dies, the kernel kills this process too" },
    { "getppid", expect = pid, why = "one that died before that request is no longer the parent: so look, and stop if it is not" },
  }
end

--- What a child begins with, in words: `sys.clone` itself does it.
-- @treturn table steps
-- @see close_range(2), signal(7)
function life.birth()
  local steps = {
    { "close_range", ref "the first that is not needed", 0xffffffff, sys.CLOSE_RANGE_UNSHARE,
      why = "the table of descriptors, shared so far, becomes its own: a copy of all that the caller has would take time and memory" },
  }
  for number = 1, sys.SIGRTMAX do
    if number ~= sys.SIGKILL and number ~= sys.SIGSTOP then
      steps[#steps + 1] = { "signal", number, sys.SIG_DFL, alike = number > 1,
        why = "a signal that the caller ignores, as servers do SIGPIPE, must not be ignored by the command" }
    end
  end
  return steps
end

--- A session of its own.
-- @treturn table steps
-- @see setsid(2)
function life.session()
  return {
    { "setsid", why = "a session of its own: the caller's terminal is no longer this process's to control" },
  }
end

--- The mode bits that files made from here on lack.
-- @tparam integer mask
-- @tparam string why
-- @treturn table steps
-- @see umask(2)
function life.umask(mask, why)
  return { { "umask", mask, why = why or "the mode bits that new files lack" } }
end

local DIRECTORY = string.pack("=I8I8I8", sys.O_PATH | sys.O_DIRECTORY | sys.O_CLOEXEC, 0, sys.RESOLVE_NO_MAGICLINKS)

--- The working directory. A hostile root may hold a link in its place to /proc/self/fd, where descriptors of the host's
-- directories may still be open: from one of those .. leads on to the host's root.
-- @tparam string path
-- @treturn table steps
-- @see openat2(2), fchdir(2)
function life.cwd(path)
  if path == "/" then return { { "chdir", path, why = "the working directory of the command" } } end
  return {
    { "openat2", sys.AT_FDCWD, path, DIRECTORY, as = "working directory",
      why = "the working directory of the command; no link of /proc may lead out of the root, to what is still open" },
    { "fchdir", ref "working directory", why = "and into it, by descriptor" },
  }
end

local STREAMS = { [0] = "stdin", "stdout", "stderr" }

--- Opens what is given as "null", for `streams`: not the host's /dev/null, whose mode root inside could change by it.
-- @tparam table variant `stdin`, `stdout`, `stderr`: "null" where it is that
-- @tparam string dev the value that holds a /dev
-- @treturn table steps
-- @see null(4)
function life.nulls(variant, dev)
  local steps = {}
  for number = 0, 2 do
    if variant[STREAMS[number]] == "null" then
      steps[#steps + 1] = { "openat", ref(dev), "null", (number == 0 and sys.O_RDONLY or sys.O_WRONLY) | sys.O_CLOEXEC, as = STREAMS[number],
        why = "the container's own /dev/null: it is read-only, and the host's mode and owner cannot be changed by it" }
    end
  end
  return steps
end

--- Streams other than the caller's, and descriptors by number, given as values: "stdin", "fds[3]". They come after
-- `clean`, and after the last use of any other descriptor, which may have one of these numbers.
-- @tparam table variant `stdin`, `stdout`, `stderr`: true or "null" where it is given; `fds`: a list of the other numbers
-- @treturn table steps
-- @see dup2(2)
function life.streams(variant)
  local steps = {}
  for number = 0, 2 do
    local name = STREAMS[number]
    if variant.tty then
      steps[#steps + 1] = { "dup2", ref "terminal", number, why = ("the terminal is %s of the command"):format(name) }
    elseif variant[name] then
      steps[#steps + 1] = { "dup2", ref(name), number, why = ("%s of the command"):format(name) }
    end
  end
  for _, number in ipairs(variant.fds or {}) do
    steps[#steps + 1] = { "dup2", ref(("fds[%d]"):format(number)), number, why = "a descriptor that the command is given" }
  end
  return steps
end

-- The place in the OOM killer's list that nobody has asked for.
local function usual_score()
  return {
    { "openat", sys.AT_FDCWD, "/proc/self/oom_score_adj", sys.O_WRONLY | sys.O_CLOEXEC, as = "oom_score_adj",
      tolerate = { sys.EACCES, sys.ENOENT }, why = "how willingly the kernel kills it when memory is short: the caller is spared, or offered" },
    { "write", ref "oom_score_adj", "0", tolerate = { sys.EACCES, sys.EBADF }, why = "this process is neither" },
    { "close", ref "oom_score_adj", tolerate = { sys.EBADF }, why = "done with it" },
  }
end

--- What else is the caller's, and would be inherited: its nice value, how its memory is laid out, its place in the OOM killer's
-- list, its keys. What an ordinary user may not change stays as it is; and, in a new user namespace, a nice value that was raised: to
-- lower it takes CAP_SYS_NICE outside.
-- @tparam boolean denies_keys whether calls that use keys are refused later: then it may go on where no keyring can be had
-- @tparam boolean has_usual_score whether the caller's place in the OOM killer's list is the usual one
-- @tparam table host facts: `may_lack_keys`
-- @treturn table steps
-- @see setpriority(2), personality(2), proc_pid_oom_score_adj(5), KEYCTL_JOIN_SESSION_KEYRING(2const)
function life.usual(denies_keys, has_usual_score, host)
  local tolerated = host.may_lack_keys and { sys.ENOSYS, sys.EPERM } or {}
  if denies_keys then tolerated[#tolerated + 1] = sys.EDQUOT end
  return {
    { "setpriority", sys.PRIO_PROCESS, 0, 0, tolerate = { sys.EACCES },
      why = "the usual share of the processor, whatever the caller's is" },
    { "personality", sys.PER_LINUX, why = "memory laid out at random, and no other mode of old that the caller may be in" },
    has_usual_score and {} or usual_score(),
    { "keyctl", sys.KEYCTL_JOIN_SESSION_KEYRING, nil, tolerate = tolerated,
      why = "a keyring of its own, and empty: the caller's keys are not for what runs inside" },
  }
end

--- The usual nice value for a child that is born in a user namespace, where it has no right to it: its caller may have that. The child
-- waits meanwhile. Its place in the OOM killer's list is not set so: as long as it shares the caller's memory, that would be the caller's.
-- @treturn table steps of phase `born`
-- @see setpriority(2)
function life.usual_for_child()
  return {
    { "setpriority", sys.PRIO_PROCESS, ref "PID", 0, tolerate = { sys.EACCES }, phase = "born",
      why = "the usual share of the processor: a right that nobody has in a new user namespace" },
  }
end

--- What the command does not inherit: descriptors.
-- @treturn table steps
-- @see close_range(2)
function life.clean()
  return {
    { "close_range", 3, 0xffffffff, sys.CLOSE_RANGE_CLOEXEC,
      why = "of the caller's descriptors only the standard streams survive the exec" },
  }
end

--- No signal is blocked any longer.
-- @treturn table steps
-- @see sigprocmask(2)
function life.unblock()
  return {
    { "sigprocmask", sys.SIG_SETMASK, {}, why = "all signals were blocked around the clone; the command gets them" },
  }
end

--- Executes a command. A name without a slash is looked up in PATH, inside the root of this process.
-- @tparam {string,...} command the argument vector
-- @tparam {string,...} environment `NAME=value`
-- @tparam string path directories to look in, separated by colons
-- @treturn table steps
-- @see execve(2), execvp(3)
function life.exec(command, environment, path)
  local name = command[1]
  if name:find "/" then
    return { { "execve", name, command, environment, why = "this process becomes the command" } }
  end
  local steps = {}
  for directory in path:gmatch "[^:]+" do
    steps[#steps + 1] = {
      "execve", ("%s/%s"):format(directory, name), command, environment,
      tolerate = { sys.ENOENT, sys.ENOTDIR, sys.EACCES },
      why = #steps == 0 and "this process becomes the command: the first of that name in PATH" or "or the next",
    }
  end
  if #steps == 0 then error("exec: PATH is empty", 0) end
  steps[#steps].tolerate = nil
  return steps
end

return life
