-- SPDX-License-Identifier: MIT
-- sys.image: a program moves into the file of casulo-init, and does there what it does elsewhere.
local support = require "support"
local sys = require "casulo.sys"
local sys_support = require "sys_support"

local raises, test_as_both = sys_support.raises, sys_support.test_as_both
local function ref(name) return { ref = name } end
local test = sys_support.test

local HERE = sys.AT_FDCWD
local REPORT, CONTROL, OUT = 20, 21, 22

-- Executes casulo-init with these steps, in new namespaces, where the caller is no root also of its own: `child` are the steps that
-- its child walks. → what image_report returns, what was written to OUT, how and with which code casulo-init ended
local function run(steps, settings, child, flags)
  local all = table.move(steps, 1, #steps, 1, {})
  for _, step in ipairs(child or { { "_exit", 0 } }) do all[#all + 1] = step end
  settings = settings or {}
  settings.report, settings.fork = REPORT, settings.fork or #steps
  local file <close> = assert(sys.memfd_create("image", 0))
  local image = sys.image(sys.program(all), settings)
  assert.are.equal(#image, sys.write(file, image))
  local reader <close>, writer = sys.pipe2(0)
  local out <close>, out_writer = sys.pipe2(0)
  local ours, theirs = sys.socketpair(sys.AF_UNIX, sys.SOCK_STREAM, 0)
  flags = flags or 0
  local before = {}
  if flags & sys.CLONE_NEWUSER ~= 0 then
    local maps = require "casulo.recipes.users".own_id_maps({ { 0, sys.geteuid(), 1 } }, { { 0, sys.getegid(), 1 } })
    before = require "casulo.plan".new(maps).steps
  end
  for _, step in ipairs {
    { "dup2", writer, REPORT }, { "dup2", theirs, CONTROL }, { "dup2", out_writer, OUT }, { "fexecve", file, { "casulo-init" }, { "A=b" } },
  } do before[#before + 1] = step end
  local pid = assert(sys.clone(flags, sys.program(before)))
  writer:close()
  theirs:close()
  out_writer:close()
  local record, text = sys_support.read_all(reader), sys_support.read_all(out)
  local _, how, code = sys.waitpid(pid)
  local report = record ~= "" and table.pack(sys.image_report(record)) or {}
  return { failed = report[1], errno = report[2], results = report[3], out = text, how = how, code = code, ours = ours }
end

-- The results of steps that must all succeed.
local function results(steps, flags, child)
  local ended = run(steps, nil, child, flags)
  assert.are.same({ nil, "exit", 0 }, { ended.failed, ended.how, ended.code }, "step " .. tostring(ended.failed))
  return ended.results, ended.out
end

local NEW = sys.CLONE_NEWNS | sys.CLONE_NEWUTS | sys.CLONE_NEWNET | sys.CLONE_NEWIPC
local function namespaces() return NEW | (sys.geteuid() == 0 and 0 or sys.CLONE_NEWUSER) end

-- Refuses a call with an errno, from this step on.
local function refuse(call, errno)
  local LOAD, IF_EQUAL, RETURN, ERRNO, ALLOW = 0x20, 0x15, 0x06, 0x00050000, 0x7fff0000
  return { "seccomp", sys.SECCOMP_SET_MODE_FILTER, 0, string.pack("=" .. ("I2I1I1I4"):rep(4), LOAD, 0, 0, 0, IF_EQUAL, 0, 1, call,
    RETURN, 0, 0, ERRNO | errno, RETURN, 0, 0, ALLOW) }
end

describe("an image", function()
  test("is refused where its arguments are wrong", function()
    local program = sys.program { { "setsid" } }
    raises("got no value", sys.image, program)
    raises("program expected", sys.image, {}, { report = 3 })
    raises("too many arguments", sys.image, program, { report = 3 }, 1)
    raises("report: expected an integer", sys.image, program, {})
    for _, case in ipairs {
      { "fork", -1 }, { "fork", 2 }, { "fork", "x" }, { "fork", 0.5 }, { "report", -1 }, { "report", 0x7fffffff }, { "grace", -1 },
      { "grace", 1 << 31 }, { "grace", {} },
    } do
      local settings = { report = 3 }
      settings[case[1]] = case[2]
      raises(("#2 to 'image' %%(%s: "):format(case[1]):gsub("to 'image'", "to '.-'"), sys.image, program, settings)
    end
    raises("without inputs", sys.image, sys.program { { "close", ref "x" } }, { report = 3 })
    assert.are.equal("\127ELF", sys.image(program, { report = 0 }):sub(1, 4))
    assert.are.equal(sys.image(program, { report = 3 }), sys.image(program, { report = 3 })) -- nothing in it but what was given
  end)

  test("holds no address and no name of the process that made it", function()
    local image = sys.image(sys.program { { "chdir", "/" }, { "execve", "/x", { "a", "b" }, { "C=d" } } }, { report = 3 })
    local bases = {}
    for line in io.lines "/proc/self/maps" do
      local first, last = line:match "^(%x+)%-(%x+) .* [/%[]"
      if first then bases[#bases + 1] = { tonumber(first, 16), tonumber(last, 16), line } end
    end
    for offset = 1, #image - 7, 8 do
      local word = string.unpack("<I8", image, offset)
      for _, base in ipairs(bases) do
        assert.is_false(math.ult(base[1], word) and math.ult(word, base[2]), ("%x at %d: %s"):format(word, offset, base[3]))
      end
    end
  end)

  test("is a report only when it is whole", function()
    local record = string.pack("=i4i4i4i4jjj", 3, 2, sys.EPERM, 0, 7, -1, 9)
    for size = 0, 15 do assert.are.equal(0, (sys.image_report(record:sub(1, size)))) end
    for size = 16, #record + 5 do
      local failed, errno, values = sys.image_report((record .. "12345"):sub(1, size))
      local expected = table.move({ 7, -1, 9 }, 1, math.min(3, (size - 16) // 8), 1, {})
      assert.are.same({ 2, sys.EPERM, expected }, { failed, errno, values })
    end
    for _, at in ipairs { -1, -1 << 31, 0 } do
      assert.are.same({}, (select(3, sys.image_report(string.pack("=i4i4i4i4j", at, 0, 0, 0, 5)))))
    end
    assert.are.same({ 5 }, (select(3, sys.image_report(string.pack("=i4i4i4i4j", 0x7fffffff, 0, 0, 0, 5)))))
    assert.are.same({ nil, 0, {} }, { sys.image_report(string.pack("=i4i4i4i4", 0, 0, 0, 0)) })
    raises("string expected", sys.image_report, 5)
    raises("too many", sys.image_report, record, 1)
  end)
end)

describe("a program in an image finds", function()
  test_as_both("its strings", function()
    local values = results { { "chdir", "/etc" }, { "openat", HERE, "passwd", sys.O_RDONLY, as = "file" },
      { "fchdir", ref "file", tolerate = { sys.ENOTDIR } },
      { "openat2", HERE, "passwd", string.pack("=I8I8I8", sys.O_RDONLY, 0, 0) }, { "chdir", "", tolerate = { sys.ENOENT } } }
    assert.are.same({ 0, -sys.ENOTDIR, -sys.ENOENT }, { values[1], values[3], values[5] })
    assert.is_true(values[2] > 2 and values[4] > values[2])
  end)

  test_as_both("what it writes, and room for what it reads", function()
    local long = ("0123456789"):rep(3000)
    local values, out = results { { "write", OUT, "one\0two\n" }, { "write", OUT, long, expect = #long },
      { "openat", HERE, "/etc/passwd", 0, as = "file" },
      { "read", ref "file", 9, expect = 9 }, { "read", ref "file", 4096 }, { "write", OUT, "" } }
    assert.are.equal("one\0two\n" .. long, out)
    assert.is_true(values[5] > 0)
  end)

  test_as_both("the strings of mounts, and structures", function()
    local target = support.tmpdir()
    local attributes = string.pack("=I8I8I8I8", sys.MOUNT_ATTR_RDONLY, 0, 0, 0)
    local mountinfo = { { "openat", HERE, "/proc/self/mounts", 0, as = "mounts" }, { "dup2", ref "mounts", 0 }, { "dup2", OUT, 1 },
      { "execve", "/bin/sh", { "sh", "-c", "grep " .. target .. "; hostname; cat /proc/sys/kernel/domainname" }, { "PATH=/bin:/usr/bin" } } }
    local _, out = results({
      { "mount", nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE }, { "mount", "one", target, "tmpfs", sys.MS_NODEV, "size=64k,mode=711" },
      { "fsopen", "tmpfs", 0, as = "fs" }, { "fsconfig", ref "fs", sys.FSCONFIG_SET_STRING, "size", "32k" },
      { "fsconfig", ref "fs", sys.FSCONFIG_SET_STRING, "source", "two" },
      { "fsconfig", ref "fs", sys.FSCONFIG_CMD_CREATE }, { "fsmount", ref "fs", 0, 0, as = "mount" },
      { "mount_setattr", ref "mount", "", sys.AT_EMPTY_PATH, attributes }, { "mkdirat", HERE, target .. "/in", 493 },
      { "move_mount", ref "mount", "", HERE, target .. "/in", sys.MOVE_MOUNT_F_EMPTY_PATH },
      { "symlinkat", "nowhere", HERE, target .. "/link" }, { "sethostname", "sag" }, { "setdomainname", "a.domain" },
    }, namespaces(), mountinfo)
    target = target:gsub("%-", "%%-")
    assert.is_truthy(out:find(("^one %s tmpfs rw,nodev,relatime,size=64k,mode=711.-\ntwo %s/in tmpfs ro,relatime,size=32k.-\n"):format(
      target, target)) and out:find "\nsag\na.domain\n$", out)
  end)

  test_as_both("lists of strings, also long ones", function()
    local words = { "sh", "-c", 'echo $#; echo "$1|$2|${20000}"; env', "sh" }
    for i = 1, 20000 do words[i + 4] = "word " .. i end
    local _, out = results({ { "dup2", OUT, 1 } }, 0, { { "execve", "/bin/sh", words, { "PATH=/bin:/usr/bin", "ONE=1", "TWO=zwei" } } })
    assert.are.equal("20000\nword 1|word 2|word 20000\nONE=1\nPATH=/bin:/usr/bin\nPWD=", (out:gsub("TWO=zwei\n", ""):match "^.*PWD="))
    assert.is_truthy(out:find "\nTWO=zwei\n")
  end)

  test("lists of groups", function()
    if not support.needs_root() then return end
    local _, out = results({ { "dup2", OUT, 1 }, { "setgroups", { 7, 70000, 8 } } }, 0, { { "execve", "/usr/bin/id", { "id", "-G" }, {} } })
    assert.are.equal("0 7 8 70000\n", out)
  end)

  test_as_both("sets of signals and what is done with one", function()
    local _, out = results({ { "dup2", OUT, 1 } }, 0, {
      { "signal", sys.SIGHUP, sys.SIG_IGN }, { "sigprocmask", sys.SIG_SETMASK, { sys.SIGUSR1, 64 } },
      { "execve", "/bin/cat", { "cat", "/proc/self/status" }, {} },
    })
    assert.are.equal(1 << sys.SIGUSR1 - 1 | 1 << 63, tonumber(out:match "SigBlk:%s*(%x+)", 16))
    assert.are.equal(1, tonumber(out:match "SigIgn:%s*(%x+)", 16) & 1 << sys.SIGHUP - 1)
  end)

  test_as_both("lists for poll, with a descriptor that is known only now, and times", function()
    local values = results {
      { "openat", HERE, "/etc/passwd", 0, as = "file" },
      { "poll", { { fd = 9999, events = sys.POLLIN }, { fd = ref "file", events = sys.POLLIN } }, 0, expect = 2 },
      { "poll", { { fd = REPORT, events = sys.POLLIN } }, 0, expect = 0 }, { "poll", { { fd = REPORT, events = sys.POLLOUT } }, -1, expect = 1 },
      { "poll", {}, 0, expect = 0 },
    }
    assert.are.equal(5, #table.move(values, 1, 5, 1, {}))
  end)

  test_as_both("structures of ioctl", function()
    local function interface(flags) return string.pack("=z", "lo") .. ("\0"):rep(13) .. string.pack("=I2", flags) .. ("\0"):rep(22) end
    local _, out = results({
      { "dup2", OUT, 1 }, { "socket", sys.AF_INET, sys.SOCK_DGRAM, 0, as = "socket" },
      { "ioctl", ref "socket", sys.SIOCSIFFLAGS, interface(sys.IFF_UP) },
      { "openat", HERE, "/dev/ptmx", sys.O_RDWR | sys.O_NOCTTY, as = "master" },
      { "ioctl", ref "master", sys.TIOCSPTLCK, string.pack("=i4", 0) },
      { "ioctl", ref "master", sys.TIOCSWINSZ, string.pack("=I2I2I2I2", 11, 33, 0, 0) },
      { "ioctl", ref "master", sys.TIOCGPTPEER, sys.O_RDWR | sys.O_NOCTTY, as = "terminal" },
      { "dup2", ref "terminal", 0 }, { "dup2", ref "master", 9 },
    }, namespaces(), { { "execve", "/bin/sh", { "sh", "-c", "ip -o link show lo | grep -o LOOPBACK,UP; stty size" },
      { "PATH=/bin:/sbin:/usr/bin:/usr/sbin" } } })
    assert.are.equal("LOOPBACK,UP\n11 33\n", out)
  end)

  test_as_both("filters of seccomp", function()
    local umask = { x86_64 = 95, aarch64 = 166 }
    local values = results { { "prctl", sys.PR_SET_NO_NEW_PRIVS, 1 }, { "umask", 18 }, refuse(umask[sys.uname().machine], 99),
      { "umask", 18, tolerate = { 99 } } }
    assert.are.equal(-99, values[4])
  end)

  test_as_both("what it sends, with a descriptor", function()
    local ended = run {
      { "openat", HERE, "/etc/passwd", 0, as = "file" }, { "sendmsg", CONTROL, "passwd", { ref "file" } },
      { "dup2", ref "file", 50 }, { "sendmsg", CONTROL, "again", { 50 } },
    }
    assert.are.same({ 0, 6, 5 }, { ended.errno, ended.results[2], ended.results[4] })
    local text, descriptor <close> = sys.recvmsg(ended.ours, 6)
    assert.are.same({ "passwd", support.read_file "/etc/passwd" }, { text, sys_support.read_all(descriptor) })
    local again, copy <close> = sys.recvmsg(ended.ours, 100)
    assert.are.same({ "again", "" }, { again, sys.read(copy, 1) }) -- the same open file, at its end
  end)

  test_as_both("results of earlier steps", function()
    local values = results { { "openat", HERE, "/etc", sys.O_PATH, as = "etc" }, { "openat", ref "etc", "passwd", 0, as = "file" },
      { "dup2", ref "file", 77 }, { "close", 77 }, { "getpid", as = "self" }, { "pidfd_open", ref "self" }, { "fcntl", ref "file", sys.F_GETFD } }
    assert.are.same({ 77, 0, sys.FD_CLOEXEC }, { values[3], values[4], values[7] })
  end)
end)

describe("casulo-init", function()
  test("names the step that fails, of its own and of its child's", function()
    for _, fork in ipairs { 0, 1, 2, 3 } do
      local ended = run({ { "umask", 18 }, { "chdir", "/nope" } }, { fork = fork })
      assert.are.same({ 2, sys.ENOENT, "exit", 125 }, { ended.failed, ended.errno, ended.how, ended.code })
      assert.are.same({ "number", -sys.ENOENT }, { type(ended.results[1]), ended.results[2] })
    end
    local ended = run { { "poll", {}, 0, expect = 1 } }
    assert.are.same({ 1, 0 }, { ended.failed, ended.errno })
    ended = run({}, nil, { { "execve", "/nope", {}, {}, tolerate = { sys.ENOENT } }, { "execve", "/etc/passwd", {}, {} } })
    assert.are.same({ 2, sys.EACCES, { -sys.ENOENT, -sys.EACCES } }, { ended.failed, ended.errno, ended.results })
  end)

  local CALLS = { x86_64 = { clone = 56, signalfd4 = 289 }, aarch64 = { clone = 220, signalfd4 = 74 } }

  test_as_both("counts what it does itself after the steps", function()
    local calls = CALLS[sys.uname().machine]
    for i, name in ipairs { "clone", "signalfd4" } do
      local ended = run { { "prctl", sys.PR_SET_NO_NEW_PRIVS, 1 }, refuse(calls[name], sys.EAGAIN) }
      assert.are.same({ 3 + i, sys.EAGAIN, "exit", 125 }, { ended.failed, ended.errno, ended.how, ended.code }, name)
    end
  end)

  test("tells of a child that is killed on the way, and leaves no zombie", function()
    local ended = run({ { "umask", 18 } }, nil, { { "sigprocmask", sys.SIG_SETMASK, {} }, { "getpid", as = "self" },
      { "prctl", sys.PR_SET_NO_NEW_PRIVS, 1 },
      { "seccomp", sys.SECCOMP_SET_MODE_FILTER, 0, string.pack("=I2I1I1I4", 0x06, 0, 0, 0x80000000) }, -- each further call kills
      { "umask", 18 }, { "_exit", 0 } })
    assert.are.same({ 6, sys.ECANCELED, "exit", 125 }, { ended.failed, ended.errno, ended.how, ended.code })
    assert.is_nil((sys.waitpid(-1, sys.WNOHANG)))
  end)

  test("ends as its command does: PID 1 with 128+n, another by the same signal", function()
    for _, signal in ipairs { sys.SIGTERM, sys.SIGKILL, sys.SIGUSR1, 34, 64 } do
      local command = { { "sigprocmask", sys.SIG_SETMASK, {} }, { "execve", "/bin/sh", { "sh", "-c", ("kill -%d $$"):format(signal) }, {} } }
      local ended = run({}, {}, command)
      assert.are.same({ "signal", signal }, { ended.how, ended.code })
      ended = run({}, { is_init = true }, command, sys.CLONE_NEWPID | namespaces())
      assert.are.same({ "exit", 128 + signal }, { ended.how, ended.code })
    end
    local ended = run({}, {}, { { "execve", "/bin/sh", { "sh", "-c", "exit 77" }, {} } })
    assert.are.same({ "exit", 77 }, { ended.how, ended.code })
  end)

  test("ends by the signal of its command although another one is pending", function()
    -- while casulo-init is stopped it gets them, and goes on when its command has ended
    local script = "kill -STOP $PPID; kill -USR1 $PPID; kill -TERM $PPID; "
      .. "(until grep -q '^State:.Z' /proc/$$/status; do :; done; kill -CONT $PPID) & "
      .. "kill -HUP $$"
    local ended = run({}, {}, {
      { "sigprocmask", sys.SIG_SETMASK, {} }, { "execve", "/bin/sh", { "sh", "-c", script }, { "PATH=/bin:/usr/bin" } } })
    assert.are.same({ "signal", sys.SIGHUP }, { ended.how, ended.code })
  end)

  test("becomes the command where no child is to walk the steps", function()
    local ended = run({ { "dup2", OUT, 1 }, { "execve", "/bin/sh", { "sh", "-c", "echo $PPID; exit 8" }, {} } }, nil, {})
    assert.are.same({ ("%d\n"):format(sys.getpid()), "exit", 8, nil }, { ended.out, ended.how, ended.code, ended.failed })
    ended = run({ { "umask", 18 } }, nil, {}) -- nothing to become
    assert.are.same({ "exit", 125 }, { ended.how, ended.code })
  end)
end)
