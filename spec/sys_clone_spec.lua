-- SPDX-License-Identifier: MIT
-- sys.program and sys.clone: what a program may hold, and what becomes of the children that walk one.
local support = require "support"
local sys = require "casulo.sys"
local sys_support = require "sys_support"

local test_as_both, raises, fails = sys_support.test_as_both, sys_support.raises, sys_support.fails_at

local HERE, NUL = sys.AT_FDCWD, "a\0b"
local function ref(name) return { ref = name } end

local test = sys_support.test

-- Clones with a pipe as the child's standard output; `steps` come before the command. → output, pid, how, code
local function output(flags, steps, command, options)
  local reader <close>, writer = sys.pipe2(0)
  local program = {}
  table.move(steps, 1, #steps, 1, program)
  program[#program + 1] = { "dup2", writer, 1 }
  program[#program + 1] = { "execve", command[1], command, { "PATH=/bin:/usr/bin" } }
  local pid = assert(sys.clone(flags, sys.program(program), options))
  writer:close()
  local text = ""
  repeat
    local part = assert(sys.read(reader, 65536))
    text = text .. part
  until part == ""
  return text:gsub("\n$", ""), pid, select(2, sys.waitpid(pid))
end

describe("a program", function()
  test("refuses what is no step", function()
    for _, case in ipairs {
      { "no steps" }, { "list without holes", { "setsid" }, nil, { "setsid" } }, { "list without holes", x = { "setsid" } },
      { "step 1: expected a table", 5 }, { "step 1: expected the name", {} }, { "step 1: expected the name", { 5 } },
      { "step 2: fork is no call", { "setsid" }, { "fork" } }, { "step 1: set", { "set" } },
    } do
      local pattern = table.remove(case, 1)
      raises(pattern, sys.program, case)
    end
    raises("expected", sys.program, nil)
    raises("too many arguments", sys.program, { { "setsid" } }, 1)
    local many = {}
    for i = 1, 20000 do many[i] = { "setsid" } end
    raises("too many", sys.program, many)
  end)

  test("refuses an argument that does not fit, and names step and argument", function()
    local closed = sys.open("/", sys.O_RDONLY)
    closed:close()
    raises("closed descriptor", sys.program, { { "fchdir", closed } })
    local entries = {}
    for i = 1, 17 do entries[i] = { fd = 0, events = 0 } end
    for _, case in ipairs {
      { 1, { "chdir" } }, { 1, { "chdir", 5 } }, { 1, { "chdir", NUL } }, { 1, { "chdir", ref "x" } },
      { 2, { "chdir", "/", 5 } },
      { 1, { "mount", 5, "/", nil, 0 } }, { 3, { "mount", nil, "/", NUL, 0 } }, { 4, { "mount", nil, "/", nil, nil } },
      { 4, { "mount", nil, "/", nil, -1 } }, { 4, { "mount", nil, "/", nil, 1.5 } }, { 5, { "mount", nil, "/", nil, 0, 5 } },
      { 6, { "mount", nil, "/", nil, 0, nil, 5 } }, { 1, { "sethostname" } }, { 1, { "setdomainname", NUL } },
      { 3, { "openat", HERE, "/", nil } }, { 3, { "openat", HERE, "/", 1 << 31 } }, { 4, { "openat", HERE, "/", 0, -1 } },
      { 1, { "unshare" } }, { 1, { "unshare", -1 } }, { 1, { "unshare", 1 << 32 } }, { 1, { "unshare", 0.5 } },
      { 1, { "unshare", "0" } }, { 1, { "unshare", {} } },
      { 1, { "setresuid", -2, 0, 0 } }, { 3, { "setresuid", 0, 0, (1 << 32) - 1 } }, { 2, { "setresgid", 0, nil, 0 } },
      { 1, { "fchdir" } }, { 1, { "fchdir", "0" } }, { 1, { "fchdir", 1.5 } },
      { 1, { "fchdir", sys.program { { "setsid" } } } },
      { 1, { "fchdir", { ref = 5 } } }, { 5, { "fsconfig", 3, 0, nil, nil, "x" } }, { 2, { "write", 1 } },
      { 2, { "write", 1, 5 } },
      { 2, { "execve", "/", { "a", nil, "c" }, {} } }, { 2, { "execve", "/", { NUL }, {} } }, { 3, { "execve", "/", {}, { 5 } } },
      { 3, { "execve", "/", {} } }, { 2, { "fexecve", 3, { x = 1 }, {} } }, { 1, { "setgroups", { -1 } } },
      { 1, { "setgroups", { 1, nil, 3 } } },
      { 2, { "sigprocmask", 0, { 0 } } }, { 2, { "sigprocmask", 0, { 65 } } }, { 2, { "sigprocmask", 0 } },
      { 2, { "signal", 1, 2 } }, { 2, { "signal", 1 } }, { 1, { "poll", 5, 0 } },
      { 1, { "poll", { 5 }, 0 } }, { 1, { "poll", { { fd = 0 } }, 0 } },
      { 1, { "poll", { { events = 1 } }, 0 } }, { 1, { "poll", { { fd = 0, events = 1 << 15 } }, 0 } },
      { 1, { "poll", entries, 0 } },
      { 2, { "poll", {} } }, { 2, { "poll", {}, -2 } }, { 1, { "prctl" } }, { 2, { "prctl", 1, -1 } }, { 1, { "setsid", 5 } },
      { 2, { "read", 0, 4097 } }, { 3, { "seccomp", 1, 0, "short" } }, { 3, { "seccomp", 1, 0, "" } },
      { 2, { "sendmsg", 0, "", { 0 } } }, { 3, { "sendmsg", 0, "x", { 0, 1 } } }, { 3, { "sendmsg", 0, "x" } },
      { 3, { "ioctl", 0, sys.TIOCSWINSZ, "1" } }, { 2, { "ioctl", 0, 1, 0 } }, { 3, { "ioctl", 0, sys.TIOCSCTTY, "" } },
    } do
      raises(("program: step 2, %s, argument %d: ."):format(case[2][1], case[1]), sys.program, { { "setsid" }, case[2] })
    end
    raises("argument 1: only one ref can stand inside", sys.program, {
      { "poll", { { fd = ref "a", events = 1 }, { fd = ref "b", events = 1 } }, 0 } })
  end)

  test("refuses a nil that stands before another argument; it never counts as 0", function()
    raises("argument 2", sys.program, { { "prctl", sys.PR_CAPBSET_DROP, nil, 0 } })
    raises("argument 3: expected an integer", sys.program, { { "prctl", sys.PR_CAPBSET_DROP, 0, nil, 0 } })
  end)

  test("refuses a structure that is too short for the kernel", function()
    raises("argument 3", sys.program, { { "ioctl", 3, sys.SIOCGIFFLAGS, "short" } })
  end)

  test("refuses outcomes that no call has", function()
    for _, bad in ipairs { 5, { "x" }, { 0 }, { 4096 }, { -2 }, { 1, nil, 3 }, { 1, 2, 3, 4, 5 }, { 1.5 } } do
      raises("step 1, tolerate: .", sys.program, { { "setsid", tolerate = bad } })
    end
    for _, bad in ipairs { "x", -1, 1.5, {} } do raises("step 1, expect: .", sys.program, { { "setsid", expect = bad } }) end
    raises("step 1, as: expected a string", sys.program, { { "setsid", as = 5 } })
    raises("step 2, as: x is a value already", sys.program, { { "setsid", as = "x" }, { "setsid", as = "x" } })
    raises("step 2, as: x is a value already", sys.program, { { "fchdir", ref "x" }, { "openat", HERE, "/", 0, as = "x" } })
  end)
end)

describe("a clone with a program", function()
  test("is the process that did the steps, and their results can be read", function()
    local program = sys.program {
      { "setsid" }, { "umask", 63 }, { "mkdirat", HERE, "/etc", 493, tolerate = { sys.EEXIST } }, { "umask", 0 },
    }
    assert.are.same({}, program:results())
    local umask = sys.umask(18)
    for _ = 1, 2 do
      local pid = assert(sys.clone(0, program))
      assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
      assert.are.same({ pid, 18, -sys.EEXIST, 63 }, program:results())
    end
    assert.are.equal(18, sys.umask(umask)) -- ours is as it was
  end)

  test("passes results on to later steps", function()
    local cwd = sys.readlink "/proc/self/cwd"
    assert.are.equal("passwd", (output(0, {
      { "openat", HERE, "/etc", sys.O_PATH | sys.O_DIRECTORY, as = "dir" }, { "fchdir", ref "dir" },
      { "openat", ref "dir", "passwd", sys.O_RDONLY, as = "file" }, { "dup2", ref "file", 0 }, { "close", ref "file" },
    }, { "/bin/sh", "-c", "basename $(readlink /proc/self/fd/0)" })))
    assert.are.equal(cwd, sys.readlink "/proc/self/cwd")
  end)

  test("takes inputs as descriptor, number or Lua file, anew for each start", function()
    local fd <close> = assert(sys.open("/etc", sys.O_DIRECTORY))
    local file <close> = assert(io.open "/etc/passwd")
    local program = sys.program { { "dup2", ref "in", 70 }, { "poll", { { fd = ref "in", events = 0 } }, 0, expect = 0 } }
    for _, value in ipairs { fd, fd:fileno(), file } do
      local pid = assert(sys.clone(0, program, { values = { ["in"] = value, other = 5 } }))
      assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
      assert.are.same({ 70, 0 }, program:results())
    end
    fails("clone: step 1, dup2: Bad file descriptor", sys.EBADF, 1, sys.clone(0, program, { values = { ["in"] = 9999 } }))
    for _, options in ipairs { { values = {} }, {}, { values = { ["in"] = "5" } }, { values = { ["in"] = 1 << 31 } } } do
      raises('no value for ref "in"', sys.clone, 0, program, options)
    end
    raises("table for values", sys.clone, 0, program, { values = 5 })
  end)

  test_as_both("is PID 1 in namespaces that are not its caller's", function()
    local kinds = { pid = "PID", mnt = "NS", uts = "UTS", ipc = "IPC", net = "NET", cgroup = "CGROUP", user = "USER" }
    local flags = 0
    for _, flag in pairs(kinds) do flags = flags | sys["CLONE_NEW" .. flag] end
    assert.are.equal("1 sag", (output(flags, { { "sethostname", "sag" } }, { "/bin/sh", "-c", "echo $$ $(uname -n)" })))
    local reader <close>, writer = sys.pipe2(0)
    local pid = assert(sys.clone(flags, sys.program { { "dup2", reader, 0 }, { "execve", "/bin/cat", { "cat" }, {} } }))
    for kind in pairs(kinds) do
      assert.are_not.equal(support.namespace("self", kind), support.namespace(pid, kind), kind)
    end
    writer:close() -- and so ends cat
    assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
  end)

  test("comes with a pidfd where that is asked for", function()
    for _, born in ipairs { false, function() return true end } do
      local program = sys.program { { "execve", "/bin/sh", { "sh", "-c", "exit 3" }, {} } }
      local pid, pidfd = sys.clone(sys.CLONE_PIDFD, program, { born = born or nil })
      assert.are.equal(sys.FD_CLOEXEC, sys.fcntl(pidfd, sys.F_GETFD))
      assert.are.equal(1, sys.poll({ { fd = pidfd, events = sys.POLLIN } }, 10000))
      assert.are.same({ pid, "exit", 3 }, { sys.waitid(sys.P_PIDFD, pidfd, sys.WEXITED) })
      pidfd:close()
    end
    local pid, none = sys.clone(0, sys.program { { "setsid" } })
    assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
    assert.is_nil(none)
  end)

  test("reports the step that failed with its errno, and leaves no child", function()
    fails("clone: step 2, chdir: No such file or directory", sys.ENOENT, 2,
      sys.clone(sys.CLONE_PIDFD, sys.program { { "setsid" }, { "chdir", "/nope" }, { "setsid" } }))
    fails("clone: step 1, execve: Permission denied", sys.EACCES, 1,
      sys.clone(0, sys.program { { "execve", "/etc/passwd", {}, {} } }))
    local program = sys.program { { "mkdirat", HERE, "/etc", 493, tolerate = { sys.EEXIST } },
      { "chdir", "/nope", tolerate = { sys.EEXIST, sys.EACCES } } }
    fails("clone: step 2, chdir: No such file or directory", sys.ENOENT, 2, sys.clone(0, program))
    assert.are.same({ -sys.EEXIST, -sys.ENOENT }, program:results())
    fails("waitpid -1: No child processes", sys.ECHILD, nil, sys.waitpid(-1))
  end)

  test("reports a result that is not the expected", function()
    fails("clone: step 1, poll: returned 0", 0, 1, sys.clone(0, sys.program { { "poll", {}, 0, expect = 1 } }))
    fails("clone: step 1, chdir: No such file or directory", sys.ENOENT, 1,
      sys.clone(0, sys.program { { "chdir", "/nope", expect = 0 } }))
  end)

  test("reports a clone that the kernel refuses, without a step", function()
    support.as_user(function()
      fails("clone: Operation not permitted", sys.EPERM, nil, sys.clone(sys.CLONE_NEWNET, sys.program { { "setsid" } }))
      fails("clone: Operation not permitted", sys.EPERM, nil,
        sys.clone(sys.CLONE_NEWNET, sys.program { { "setsid" } }, { born = function() return true end }))
    end)
    local fd <close> = assert(sys.open("/etc", sys.O_PATH))
    for _, body in ipairs { sys.program { { "setsid" } }, function() end } do
      fails("clone: Bad file descriptor", sys.EBADF, nil, sys.clone(0, body, { cgroup = fd })) -- no cgroup
      raises("cgroup: expected a descriptor", sys.clone, 0, body, { cgroup = "x" })
      raises('unknown option "x"', sys.clone, 0, body, { x = 1 })
      raises("unknown option", sys.clone, 0, body, { 1 })
      raises("table expected", sys.clone, 0, body, 5)
      for _, flags in ipairs { 0x100, 0x4000, 0x8000, sys.SIGCHLD, 1 << 33 } do -- CLONE_VM, CLONE_VFORK, CLONE_PARENT …
        raises("expected CLONE_NEW", sys.clone, flags, body)
      end
    end
    raises("program or function expected", sys.clone, 0, 5)
    raises("program or function expected", sys.clone, 0, fd)
  end)

  test("exits as a step _exit says", function()
    local pid, message = sys.clone(0, sys.program { { "_exit", 3 } })
    assert.is_truthy(pid, message)
    assert.are.same({ pid, "exit", 3 }, { sys.waitpid(pid) })
  end)

  test("is refused when its steps change while they are packed", function()
    local steps, looked = {}, 0
    for i = 1, 4 do steps[i] = { "chdir", "/" } end
    -- a finalizer, as it may run at any allocation
    local function change() steps[3][2] = ("/"):rep(1 << 16) end
    for _ = 1, 200 do
      steps[3][2] = "/"
      setmetatable({}, { __gc = function() looked = looked + 1 change() end })
      collectgarbage("step", 0)
      pcall(sys.program, steps)
      collectgarbage()
    end
    assert.is_true(looked > 0)
    raises("not an option of prctl", sys.program, { { "prctl", 16, 4096 } }) -- PR_GET_NAME writes where it is told
    raises("numbers are equal", sys.program, { { "dup2", 1, 1 } })
  end)

  test("waits in poll not at all or for ever, for the kernel would count the time down where the program keeps it", function()
    local message = select(2, pcall(sys.program, { { "poll", {}, 100 } }))
    assert.is_truthy(message:find("step 1, poll, argument 2: 100 is not between -1 and 0", 1, true), message)
    local program = sys.program { { "poll", {}, 0, expect = 0 } }
    for _ = 1, 2 do sys.waitpid((assert(sys.clone(0, program)))) end
  end)

  test("that is killed before it executes is an error also to a caller that ignores SIGCHLD", function()
    local reader, broken <close> = sys.pipe2(0)
    reader:close()
    local before = sys.signal(sys.SIGCHLD, sys.SIG_IGN) -- the kernel keeps no status
    local result = table.pack(sys.clone(0, sys.program { { "sigprocmask", sys.SIG_SETMASK, {} }, { "write", broken, "x" } }))
    sys.signal(sys.SIGCHLD, before)
    fails("clone: the child ended at step 2, write", sys.ECANCELED, 2, table.unpack(result, 1, result.n))
  end)

  test("that is killed before it executes is an error, and its caller goes on", function()
    local reader, broken <close> = sys.pipe2(0)
    reader:close()
    fails(("clone: the child was killed by signal %d at step 2, write"):format(sys.SIGPIPE), sys.ECANCELED, 2,
      sys.clone(0, sys.program { { "sigprocmask", sys.SIG_SETMASK, {} }, { "write", broken, "x" }, { "setsid" } }))
    local own, ready, go = sys.getpid(), sys.pipe2(0)
    local fifo = support.tmpdir() .. "/fifo" -- which nobody else opens: whoever does waits
    assert(sys.mknod(fifo, sys.S_IFIFO | 384))
    local function sleeping_sibling()
      for _, name in ipairs(sys.scandir "/proc") do
        local ok, stat = pcall(support.read_file, ("/proc/%s/stat"):format(name))
        local state, parent = (ok and stat or ""):match "^%d+ %(.*%) (%S) (%d+)"
        if state == "S" and tonumber(parent) == own then return math.tointeger(tonumber(name)) end -- we run, and so are not it
      end
    end
    local killer = sys.clone(0, function()
      sys.read(ready, 1)
      return sys.kill(support.eventually(sleeping_sibling, "a child that waits"), sys.SIGKILL)
    end)
    fails(("clone: the child was killed by signal %d at step 2, openat"):format(sys.SIGKILL), sys.ECANCELED, 2,
      sys.clone(0, sys.program { { "write", go, "x" }, { "openat", HERE, fifo, sys.O_WRONLY }, { "setsid" } }))
    assert.are.same({ killer, "exit", 0 }, { sys.waitpid(killer) })
    ready:close()
    go:close()
    assert.are.equal("fine", (output(0, {}, { "/bin/echo", "fine" })))
  end)

  test("ignores and blocks the signals that its steps say; the caller keeps its own", function()
    local ignored = sys.signal(sys.SIGUSR1, sys.SIG_IGN)
    local mask = sys.sigprocmask(sys.SIG_BLOCK, { sys.SIGUSR2 })
    local status = output(0, {
      { "signal", sys.SIGHUP, sys.SIG_IGN }, { "signal", sys.SIGUSR1, sys.SIG_DFL },
      { "sigprocmask", sys.SIG_SETMASK, { sys.SIGTERM } },
    }, { "/bin/cat", "/proc/self/status" })
    local kept = sys.sigprocmask(sys.SIG_SETMASK, mask)
    assert.are.equal(sys.SIG_IGN, sys.signal(sys.SIGUSR1, ignored))
    table.insert(mask, sys.SIGUSR2)
    assert.are.same(mask, kept)
    local function bits(field) return tonumber(status:match(field .. ":%s*(%x+)"), 16) end
    local both = 1 << sys.SIGHUP - 1 | 1 << sys.SIGUSR1 - 1
    assert.are.same({ 1 << sys.SIGHUP - 1, 1 << sys.SIGTERM - 1 }, { bits "SigIgn" & both, bits "SigBlk" })
  end)

  test("takes other ids, and leaves its caller as it was", function()
    if not support.needs_root() then return end
    local ids = output(0, { { "setgroups", { 7 } }, { "setresgid", 5, 5, 5 }, { "setresuid", 6, 6, 6 } }, { "/usr/bin/id" })
    assert.are.same({ "6", "5", "7" }, { ids:match "^uid=(%d+).- gid=(%d+).-groups=.-(%d+)[^%d]*$" }, ids)
    assert.are.same({ 0, 0, 1 }, { sys.geteuid(), sys.getegid(), sys.prctl(sys.PR_GET_DUMPABLE) })
  end)
end)

describe("a clone with a go-between", function()
  test_as_both("gets its id maps from its caller", function()
    local between
    local uid, gid = sys.geteuid(), sys.getegid()
    local text, pid = output(sys.CLONE_NEWUSER | sys.CLONE_NEWPID, {}, { "/bin/sh", "-c", "id -u; id -g; echo $$" }, {
      born = function(child)
        between = child
        assert.are_not.equal(support.namespace("self", "user"), support.namespace(child, "user"))
        support.write_file(("/proc/%d/setgroups"):format(child), "deny")
        support.write_file(("/proc/%d/uid_map"):format(child), ("3 %d 1"):format(uid))
        support.write_file(("/proc/%d/gid_map"):format(child), ("4 %d 1"):format(gid))
        return true
      end,
    })
    assert.are.equal("3\n4\n1", text)
    assert.are_not.equal(between, pid)
    fails("waitpid -1: No child processes", sys.ECHILD, nil, sys.waitpid(-1, sys.__WALL))
  end)

  test("does not start when the caller says no or raises", function()
    local program = sys.program { { "setsid" } }
    for _, answer in ipairs { false, "nothing" } do
      fails("clone: Operation canceled", sys.ECANCELED, nil,
        sys.clone(sys.CLONE_PIDFD, program, { born = function() return answer ~= "nothing" and answer or nil end }))
    end
    raises("^on purpose$", sys.clone, 0, program, { born = function() error("on purpose", 0) end })
    raises("yield", coroutine.wrap(function() sys.clone(0, program, { born = coroutine.yield }) end))
    raises("attempt to call", sys.clone, 0, program, { born = 5 })
    fails("clone: the go-between was killed by signal 9", sys.ECANCELED, nil, sys.clone(0, program, {
      born = function(between)
        sys.kill(between, sys.SIGKILL)
        return true
      end,
    }))
    assert.are.same({}, program:results())
  end)

  test("lets the caller start others meanwhile, with and without a go-between, but not the same again", function()
    local own = sys.program { { "prctl", sys.PR_SET_DUMPABLE, 0 }, { "setsid" } }
    local other = sys.program { { "setresuid", -1, -1, -1 } }
    local function start(options)
      local pid = assert(sys.clone(0, other, options))
      assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
    end
    local pid = assert(sys.clone(0, own, {
      born = function()
        start()
        start { born = function()
          local ok, message = pcall(sys.clone, 0, own)
          return not ok and message:find "being started already" ~= nil
        end }
        return true
      end,
    }))
    assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
    assert.are.same({ 1, {} }, { sys.prctl(sys.PR_GET_DUMPABLE), sys.sigprocmask(sys.SIG_BLOCK) })
  end)

  test("reports the step that failed", function()
    local function born() return true end
    fails("clone: step 1, chdir: No such file or directory", sys.ENOENT, 1,
      sys.clone(sys.CLONE_PIDFD, sys.program { { "chdir", "/nope" } }, { born = born }))
    local fd <close> = assert(sys.open("/etc", sys.O_PATH))
    fails("clone: Bad file descriptor", sys.EBADF, nil, sys.clone(0, sys.program { { "setsid" } }, { born = born, cgroup = fd }))
  end)

  test("can be waited for like any child, even when it executes nothing", function()
    local pid = assert(sys.clone(0, sys.program { { "setsid" } }, { born = function() return true end }))
    local waited, how, code = sys.waitpid(pid)
    if not waited then sys.waitpid(pid, sys.__WALL) end
    assert.are.same({ pid, "exit", 0 }, { waited, how, code })
  end)
end)
