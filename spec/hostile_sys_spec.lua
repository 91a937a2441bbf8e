-- SPDX-License-Identifier: MIT
-- Callers of casulo.sys who give what nobody expects: a Lua error or the documented result, never a crash.
local hostile = require "hostile_values"
local support = require "support"
local sys_support = require "sys_support"
local sys = require "casulo.sys"

local NOWHERE, NONE = "/nonexistent/casulo", 9999
local EXEC = { { "execve", "/bin/true", { "true" }, {} } }

-- Arguments for each function with which it does nothing, and does no harm whichever of them is replaced.
local ARGUMENTS = {
  capget = { ("x"):rep(8) }, capset = { ("x"):rep(8), ("x"):rep(24) }, chdir = { NOWHERE }, chmod = { NOWHERE, 0 }, chown = { NOWHERE, -1, -1 },
  chroot = { NOWHERE }, clock_gettime = { 1 }, clone = { 0, sys.program(EXEC), { values = {} } }, close = { NONE }, close_range = { 1, 0, 4 },
  dup2 = { NONE, 50 }, execve = { NOWHERE, { "a" }, { "b=c" } }, fchdir = { NONE }, fchown = { NONE, -1, -1 }, fcntl = { NONE, sys.F_GETFD, 0 },
  fexecve = { NONE, { "a" }, {} }, flock = { NONE, 99 }, fsconfig = { NONE, 0, "key", "value", 0 }, fsmount = { NONE, 0, 0 }, fsopen = { "none", 0 },
  fstat = { NONE }, getegid = {}, geteuid = {}, getgid = {}, getgroups = {}, gethostname = {}, getpid = {}, getppid = {}, getresgid = {},
  getresuid = {}, getrlimit = { 99 }, getsid = { 0 }, getuid = {}, image = { sys.program { { "chdir", "/" } }, { report = 3, fork = 1, grace = 0 } },
  image_report = { ("x"):rep(40) }, ioctl = { NONE, sys.TIOCGWINSZ, ("x"):rep(8) }, isatty = { NONE }, keyctl = { 1, "name" }, kill = { 1 << 30, 0 },
  landlock_add_rule = { NONE, 1, { allowed_access = 1, parent_fd = 0 }, 0 }, landlock_create_ruleset = { ("x"):rep(8), 0 },
  landlock_restrict_self = { NONE, 0 }, link = { NOWHERE, NOWHERE }, lstat = { NOWHERE }, memfd_create = { "x", 0 }, mkdir = { NOWHERE, 0 },
  mkdirat = { NONE, "x", 0 }, mknod = { NOWHERE, 0, 0 }, mknodat = { NONE, "x", 0, 0 }, mount = { NOWHERE, NOWHERE, "none", 0, "data" },
  mount_setattr = { NONE, "x", 0, { 0, 0, 0, 0 } }, move_mount = { NONE, "x", NONE, "x", 0 }, open = { NOWHERE, 0, 0 }, open_tree = { NONE, "x", 0 },
  openat = { NONE, "x", 0, 0 }, openat2 = { NONE, "x", ("\0"):rep(24) }, personality = { 0xffffffff }, pidfd_open = { 1 << 30, 0 },
  pidfd_send_signal = { NONE, 0 }, pipe2 = { 0 }, pivot_root = { NOWHERE, NOWHERE }, poll = { { { fd = NONE, events = 1 } }, 0 },
  prctl = { sys.PR_GET_DUMPABLE, 0, 0, 0, 0 }, program = { EXEC }, read = { NONE, 5 }, readlink = { NOWHERE }, recvmsg = { NONE, 5, 0 },
  rename = { NOWHERE, NOWHERE }, rmdir = { NOWHERE }, scandir = { NOWHERE }, seccomp = { 1, 0, ("\0"):rep(8) }, sendmsg = { NONE, "x", { 0 }, 0 },
  setdomainname = { "x" }, setgroups = { {} }, sethostname = { "x" }, setns = { NONE, 0 }, setpriority = { 9, 0, 0 }, setresgid = { -1, -1, -1 },
  setresuid = { -1, -1, -1 }, setrlimit = { 99, -1, -1 }, setsid = {}, signal = { 99, 0 }, signalfd = { -1, { 10 }, 0 }, sigprocmask = { 0, {} },
  socket = { 1, 1, 0 }, socketpair = { 1, 1, 0 }, stat = { NOWHERE }, statfs = { NOWHERE }, strerror = { 5 }, symlink = { "x", NOWHERE },
  symlinkat = { "x", NONE, "x" }, umask = { 18 }, umount2 = { NOWHERE, 0 }, uname = {}, unlink = { NOWHERE }, unshare = { 0 }, waitid = { 99, 0, 0 },
  waitpid = { 1 << 30, 1 }, write = { NONE, "x" },
}

-- What a function returned is documented: a failure has its message and its errno.
local function check(what, ok, result, message, errno)
  if not ok or result ~= nil or what:find("image_report", 1, true) then return end
  assert.are.same({ "string", "integer" }, { type(message), math.type(errno) }, what)
  assert.is_nil(message:find "[\n\0]", what)
end

local function try(name, arguments, count, what)
  check(what, hostile.call(what, sys[name], table.unpack(arguments, 1, count)))
  while sys.waitpid(-1, sys.WNOHANG) do end -- what a clone has started
end

local function try_all(name, arguments)
  local count = 0
  for position = 1, #arguments + 1 do
    hostile.each(function(value, called)
      local changed = table.move(arguments, 1, #arguments, 1, {})
      changed[position] = value
      try(name, changed, math.max(#arguments, position), ("%s: %s as argument %d"):format(name, called, position))
      count = count + 1
    end)
  end
  return count
end

-- In order, so that chroot comes before mkdir has made a place for it.
local function functions()
  local names = {}
  for name, value in pairs(sys) do
    if type(value) == "function" and name ~= "_exit" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

describe("casulo.sys, with values that nobody expects,", function()
  it("answers each function's with an error or its failure, whatever argument it is", function()
    local directory = support.tmpdir()
    local count = tonumber((sys_support.in_namespaces(sys.CLONE_NEWNS | sys.CLONE_NEWUTS | sys.CLONE_NEWPID | sys.CLONE_NEWNET, function()
      local count = 0
      assert(sys.chdir(directory)) -- one of the values is a good name for a file
      for _, name in ipairs(functions()) do
        count = count + try_all(name, (assert(ARGUMENTS[name], name .. " is not called here")))
      end
      return count
    end)))
    assert.is_true(count > 5000, count)
  end)

  it("notices that a finalizer has changed the steps of a program while it packed them", function()
    local path = support.tmpdir() .. "/change.lua"
    support.write_file(path, [[
      local sys = require "casulo.sys"
      collectgarbage "generational" -- a young object goes when a little memory is asked for, as between the two looks at the steps
      for _, step in ipairs { { "chdir", ("/"):rep(100) }, { "execve", "/", { "a", "b" }, {} }, { "umask", { ref = "x" } } } do
        local ok, message
        for try = 1, 50 do -- which of them it is that finds the moment depends on what is free
          local steps, _ = {}, ("x"):rep(try * 1000)
          for i = 1, 2000 do steps[i] = { "chdir", "/" } end
          collectgarbage()
          setmetatable({}, { __gc = function() steps[7] = step end })
          ok, message = pcall(sys.program, steps)
          if not ok then break end
        end
        print(message)
      end]])
    assert.are.same({ 0, ("program: the steps changed while they were packed\n"):rep(3), "" }, { support.sh("$LUA " .. path) })
  end)
end)
