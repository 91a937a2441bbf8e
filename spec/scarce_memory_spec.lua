-- SPDX-License-Identifier: MIT
-- Memory runs out at each allocation in turn: a Lua error, and nothing is left open or running.
local casulo = require "casulo"
local named_support = require "named_support"
local scarce = require "scarce_support"
local support = require "support"
local sys = casulo.sys

local NOWHERE = "/nonexistent/casulo"
local FULL = os.getenv "CASULO_SWEEP" == "full" -- by make fuzz: what takes longer

-- A call of each function that changes nothing, and ends with its results or with its failure.
local calls = {}

local function of_a_path(...)
  for _, name in ipairs { ... } do calls[name] = function() return sys[name](NOWHERE) end end
end
of_a_path("chdir", "chroot", "lstat", "readlink", "rmdir", "scandir", "stat", "statfs", "unlink")
local function of_nothing(...)
  for _, name in ipairs { ... } do calls[name] = function() return sys[name]() end end
end
of_nothing("getegid", "geteuid", "getgid", "getgroups", "gethostname", "getpid", "getppid", "getresgid", "getresuid", "getuid", "uname")

local function with(values)
  for name, arguments in pairs(values) do
    calls[name] = function() return sys[name](table.unpack(arguments, 1, arguments.n or #arguments)) end
  end
end
local function long(bytes) return ("x"):rep(bytes) end
with {
  capget = { string.pack("I4i4", 0x20080522, 0) }, capset = { long(8), long(24) }, chmod = { NOWHERE, 0 }, chown = { NOWHERE, -1, -1 },
  clock_gettime = { 1 }, close = { -1 }, close_range = { 1, 0, 0 }, dup2 = { -1, 5 }, execve = { NOWHERE, { "a", "b" }, { "c=d" } },
  fchdir = { -1 }, fchown = { -1, -1, -1 }, fexecve = { -1, { "a" }, {} }, flock = { -1, 0 }, fsconfig = { -1, 0, "key", "value" },
  fsmount = { -1, 0, 0 }, fsopen = { "no such type", 0 }, fstat = { -1 }, getrlimit = { 0 }, getsid = { 0 },
  image_report = { string.pack("i4i4i4i4jj", 2, 0, 0, 1, 5, 6) }, ioctl = { -1, sys.SIOCGIFFLAGS, long(40) }, isatty = { -1 },
  keyctl = { sys.KEYCTL_JOIN_SESSION_KEYRING, long(5000) }, kill = { 1 << 30, 0 },
  landlock_add_rule = { -1, 1, { allowed_access = 1, parent_fd = 0 }, 0 },
  landlock_create_ruleset = { long(8), 0 }, landlock_restrict_self = { -1, 0 }, link = { NOWHERE, NOWHERE }, memfd_create = { "name", 0 },
  mkdir = { NOWHERE, 0 }, mkdirat = { -1, "x", 0 }, mknod = { NOWHERE, 0 }, mknodat = { -1, "x", 0 },
  mount = { NOWHERE, NOWHERE, NOWHERE, 0, NOWHERE, n = 5 }, mount_setattr = { -1, NOWHERE, 0, { 0, 0, 0, 0 } }, move_mount = { -1, "", -1, "", 0 },
  open = { "/dev/null", 0 }, open_tree = { -1, "x", 0 }, openat = { sys.AT_FDCWD, "/dev/null", 0 }, openat2 = { sys.AT_FDCWD, "/dev/null", long(24) },
  personality = { 0xffffffff }, pidfd_open = { sys.getpid() }, pidfd_send_signal = { -1, 0 }, pipe2 = {}, pivot_root = { NOWHERE, NOWHERE },
  prctl = { sys.PR_GET_DUMPABLE }, rename = { NOWHERE, NOWHERE }, seccomp = { sys.SECCOMP_SET_MODE_FILTER, 99, long(8) },
  sendmsg = { -1, "bytes", { 0 } }, setdomainname = { long(65) }, sethostname = { long(65) }, setns = { -1, 0 }, setpriority = { 9, 0, 0 },
  setrlimit = { 99, 0, 0 }, signal = { 99, 0 }, sigprocmask = { sys.SIG_BLOCK, {} }, signalfd = { -1, { sys.SIGUSR1 }, 0 },
  socket = { sys.AF_UNIX, sys.SOCK_STREAM, 0 }, socketpair = { sys.AF_UNIX, sys.SOCK_STREAM, 0 }, strerror = { 5 }, symlink = { "x", NOWHERE },
  symlinkat = { "x", -1, "x" }, umount2 = { NOWHERE, 0 }, unshare = { 1 }, waitid = { 99, 0, 0 }, waitpid = { 1 << 30 }, write = { -1, "x" },
}
function calls.fcntl() return sys.fcntl(0, sys.F_DUPFD_CLOEXEC, 0) end
function calls.umask() return sys.umask(sys.umask(18)) end
function calls.setgroups() return sys.setgroups(sys.getgroups()) end
function calls.setresuid() return sys.setresuid(-1, -1, -1) end
function calls.setresgid() return sys.setresgid(-1, -1, -1) end
function calls.poll()
  local list = { { fd = 0, events = 0 }, { fd = 1, events = 0 } }
  return sys.poll(list, 0)
end
function calls.read()
  local file <close> = sys.open("/dev/zero", 0)
  return sys.read(file, 5000)
end
-- A descriptor that has been sent and is taken up belongs to the one that came, or to none.
function calls.recvmsg()
  local here <close>, there = sys.socketpair(sys.AF_UNIX, sys.SOCK_STREAM, 0)
  local there_too <close> = there
  sys.sendmsg(there_too, "bytes", { here })
  return sys.recvmsg(here, 100)
end
local STEPS = {
  { "setsid" }, { "poll", { { fd = { ref = "in" }, events = 1 } }, 0 }, { "setgroups", { 1, 2 }, tolerate = { sys.EPERM } },
  { "sigprocmask", 0, { 1 }, as = "mask" }, { "execve", "/bin/true", { "true", "x" }, { "A=b" } },
}
function calls.program() return sys.program(STEPS) end
function calls.image() return sys.image(sys.program { { "chdir", "/" } }, { report = 3 }) end
-- Children of each kind; who is told a number waits for it, out of danger.
local reader, writer = sys.pipe2()
local PROGRAM, FAILING = sys.program(STEPS), sys.program { { "chdir", NOWHERE } }
local OPTIONS = { values = { ["in"] = reader } }
local BORN = { values = { ["in"] = writer }, born = function(pid) return #("%d"):format(pid) > 0 end }
local IN_COPY = { threads = true }
local function nothing() return 0 end
local children = {
  function() return sys.clone(sys.CLONE_PIDFD | sys.CLONE_FILES, PROGRAM, OPTIONS) end,
  function() return sys.clone(sys.CLONE_PIDFD, PROGRAM, BORN) end,
  function() return sys.clone(0, FAILING) end,
  function() return sys.clone(sys.CLONE_PIDFD, nothing, IN_COPY) end,
}
local function reap(pid)
  if math.type(pid) == "integer" then assert(sys.waitpid(pid)) end
end

-- Two that cannot be taken back, and allocate nothing but the message of a failure; and one that has a test of its own.
local LEFT_OUT = { _exit = true, setsid = true, clone = true }

teardown(function()
  reader:close()
  writer:close()
end)

describe("casulo.sys, while memory runs out,", function()
  it("raises, and leaves nothing open or running, in each of its functions", function()
    local count = 0
    for name, value in pairs(sys) do
      if type(value) == "function" and not LEFT_OUT[name] then
        assert(calls[name], name .. " is not called here")
        count = count + scarce.sweep(name, calls[name])
      end
    end
    assert.is_true(count > 500)
    if FULL then print(("casulo.sys: %d calls with an allocation that fails"):format(count)) end
  end)

  it("leaves no child that nobody knows", function()
    for i, child in ipairs(children) do assert.is_true(scarce.sweep("child " .. i, child, reap) > 1) end
  end)
end)

describe("a whole start, while memory runs out,", function()
  -- Copies that have no memory for their report say so on standard error.
  local function in_silence(body)
    local null <close> = assert(sys.open("/dev/null", sys.O_WRONLY))
    local aside <close> = assert(sys.fcntl(2, sys.F_DUPFD_CLOEXEC, 10))
    sys.dup2(null, 2)
    local ok, err = pcall(body)
    sys.dup2(aside, 2)
    if not ok then error(err, 0) end
  end

  local function sweeps(name, body, before)
    it("raises or returns the error, and leaves nothing: " .. name, function()
      if before then before() end
      local names, count = support.tmpdir(), nil
      assert(sys.chmod(names, 448))
      in_silence(function()
        named_support.with_runtime_directory(names, function() count = scarce.sweep(name, body, nil, not FULL and 11 or nil) end)
      end)
      assert.is_true(count > 10)
      if FULL then print(("%s: %d with an allocation that fails"):format(name, count)) end
    end)
  end

  local function described(more)
    local description = { rootfs = support.rootfs(), command = { "/bin/true" } }
    for field, value in pairs(more or {}) do description[field] = value end
    return description
  end

  local made
  sweeps("a container that is made before", function() return made:run() end, function() made = casulo.container(described()) end)
  sweeps("a container and its start", function() return casulo.container(described { stdout = "pipe" }):run() end)
  sweeps("with init and a terminal", function()
    local p <close>, err = casulo.container(described { init = true, tty = true, timeout = 10 }):start()
    if not p then return nil, err end
    return p:wait()
  end)
  sweeps("with a name, created first", function()
    local p <close>, err = casulo.container(described { name = "scarce" }):create()
    if not p then return nil, err end
    local ok, started = p:start()
    if not ok then return nil, started end
    return p:wait()
  end)
  sweeps("a command beside it", function()
    local p <close>, err = made:start { stdin = "pipe" }
    if not p then return nil, err end
    local q <close>, refused = p:exec { command = { "/bin/true" } }
    if not q then return nil, refused end
    return q:wait()
  end, function() made = casulo.container(described { command = { "/bin/cat" } }) end)
  local new = support.mount_namespaces()
  sweeps("a plan with a function", function()
    return casulo.unshared(new, { casulo.recipes.private_mounts(), nothing }, { stdout = "pipe", stderr = "null" })
  end)
  sweeps("a handle that is forgotten", function()
    local p, err = made:start { stdin = "pipe" }
    if not p then return nil, err end
    p = nil -- luacheck: ignore
    collectgarbage()
  end, function() made = casulo.container(described { command = { "/bin/cat" } }) end)
end)
