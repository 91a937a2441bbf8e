-- SPDX-License-Identifier: MIT
-- The calls of casulo.sys one by one: processes, signals and waiting.
local support = require "support"
local sys = require "casulo.sys"
local sys_support = require "sys_support"

local test_as_both = sys_support.test_as_both
local raises = sys_support.raises
local fails = sys_support.fails
local read_all = sys_support.read_all
local in_child = sys_support.in_child
local in_namespaces = sys_support.in_namespaces
local sleeper = sys_support.sleeper

local test = sys_support.test

describe("a process", function()
  test_as_both("has names, a loopback and a PID of its own in new namespaces", function()
    local name, domain, node, long, before, after, pid = in_namespaces(sys.CLONE_NEWUTS | sys.CLONE_NEWNET, function()
      assert(sys.sethostname "sag" and sys.setdomainname "example")
      local names = sys.uname()
      local _, long = sys.sethostname(("x"):rep(65))
      local socket <close> = assert(sys.socket(sys.AF_INET, sys.SOCK_DGRAM, 0))
      local lo = string.pack("=c16I2c22", "lo", 0, "")
      local before = string.unpack("=I2", assert(sys.ioctl(socket, sys.SIOCGIFFLAGS, lo)), 17)
      assert(sys.ioctl(socket, sys.SIOCSIFFLAGS, string.pack("=c16I2c22", "lo", before | sys.IFF_UP, "")))
      local after = string.unpack("=I2", assert(sys.ioctl(socket, sys.SIOCGIFFLAGS, lo)), 17)
      assert(sys.unshare(sys.CLONE_NEWPID))
      local child = sys.clone(0, function() return sys.getpid() end)
      return sys.gethostname(), names.domainname, names.nodename, long, before & sys.IFF_UP, after & sys.IFF_UP,
        select(3, sys.waitpid(child))
    end)
    assert.are.same({ "sag", "example", "sag", "sethostname " .. ("x"):rep(65) .. ": Invalid argument", "0", tostring(sys.IFF_UP),
      "1" }, { name, domain, node, long, before, after, pid })
    assert.are.equal(sys.uname().nodename, sys.gethostname())
  end)

  test("gets an error for an interface that is not there, and only some requests of ioctl", function()
    local socket <close> = assert(sys.socket(sys.AF_INET, sys.SOCK_DGRAM, 0))
    fails("ioctl nope0: No such device", sys.ENODEV, sys.ioctl(socket, sys.SIOCGIFFLAGS, string.pack("=c40", "nope0")))
    raises("not a request of ioctl that casulo knows", sys.ioctl, socket, 0x89ff, ("\0"):rep(40))
    raises("40 bytes", sys.ioctl, socket, sys.SIOCGIFFLAGS, "lo")
  end)

  test("joins a namespace by descriptor, and comes back", function()
    if not support.needs_root() then return end
    local ours <close> = assert(sys.open("/proc/self/ns/uts", sys.O_RDONLY))
    local other, back = in_child(sys.CLONE_NEWUTS, function()
      local other = support.namespace("self", "uts")
      assert(sys.setns(ours, sys.CLONE_NEWUTS))
      return other, support.namespace("self", "uts")
    end)
    assert.are.equal(support.namespace("self", "uts"), back)
    assert.are_not.equal(other, back)
  end)

  test("has ids, which root can change one by one", function()
    if not support.needs_root() then return end
    local ids = in_child(0, function()
      assert(sys.setgroups { 5, 7 })
      assert(sys.setresgid(1, 2, 3))
      assert(sys.setresgid(-1, 4, -1))
      assert(sys.setresuid(5, 6, 7))
      local u1, u2, u3 = sys.getresuid()
      local g1, g2, g3 = sys.getresgid()
      assert(not sys.setresuid(0, 0, 0)) -- and there is no way back
      return table.concat({ u1, u2, u3, g1, g2, g3, sys.getuid(), sys.geteuid(), sys.getgid(), sys.getegid(),
        table.unpack(sys.getgroups()) }, " ")
    end)
    assert.are.equal("5 6 7 1 4 3 5 6 1 4 5 7", ids)
  end)

  test("cannot take another's ids as an ordinary user", function()
    support.as_user(function()
      fails("setresuid: Operation not permitted", sys.EPERM, sys.setresuid(0, 0, 0))
      fails("setgroups: Operation not permitted", sys.EPERM, sys.setgroups {})
      fails("unshare: Operation not permitted", sys.EPERM, sys.unshare(sys.CLONE_NEWNET))
      fails("clone: Operation not permitted", sys.EPERM, sys.clone(sys.CLONE_NEWNET, function() end))
    end)
  end)

  test("leads a session, and knows its parent", function()
    local session, own, parent = in_child(0, function()
      return sys.setsid(), sys.getpid(), sys.getppid() .. " " .. sys.getsid(0)
    end)
    assert.are.equal(session, own)
    assert.are.equal(("%d %s"):format(sys.getpid(), own), parent)
  end)

  test("sets attributes by prctl, and none that casulo does not know", function()
    assert.are.equal("0 1", in_child(0, function()
      local before = sys.prctl(sys.PR_GET_NO_NEW_PRIVS)
      assert(sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
      return before .. " " .. support.read_file("/proc/self/status"):match "NoNewPrivs:%s*(%d)"
    end))
    raises("option of prctl", sys.prctl, 9999)
    fails(("prctl %d: Invalid argument"):format(sys.PR_SET_NO_NEW_PRIVS), sys.EINVAL, sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 7))
  end)

  test("executes a path or a descriptor, with the arguments and variables given and no other", function()
    for _, execute in ipairs { sys.execve, function(path, ...) return sys.fexecve(sys.open(path, sys.O_PATH), ...) end } do
      local reader <close>, writer = sys.pipe2(0)
      local pid = sys.clone(0, function()
        sys.dup2(writer, 1)
        execute("/bin/sh", { "name", "-c", 'echo "$0 $1 $X ${HOME-none}"', "zero", "a b" }, { "X=y" })
      end)
      writer:close()
      assert.are.equal("zero a b y none\n", read_all(reader))
      assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
    end
  end)
end)

describe("signals", function()
  test("are blocked and let through again, and what was blocked is told", function()
    local before = sys.sigprocmask(sys.SIG_SETMASK, { sys.SIGUSR1, sys.SIGRTMAX })
    assert.are.same({ sys.SIGUSR1, sys.SIGRTMAX }, sys.sigprocmask(sys.SIG_BLOCK, nil))
    assert.is_truthy(support.read_file("/proc/self/status"):find "SigBlk:%s*8000000000000200")
    assert.are.same({ sys.SIGUSR1, sys.SIGRTMAX }, sys.sigprocmask(sys.SIG_UNBLOCK, { sys.SIGUSR1 }))
    assert.are.same({ sys.SIGRTMAX }, sys.sigprocmask(sys.SIG_SETMASK, before))
    assert.are.same(before, sys.sigprocmask(sys.SIG_BLOCK))
    fails("sigprocmask: Invalid argument", sys.EINVAL, sys.sigprocmask(99, {}))
  end)

  test("are ignored or not", function()
    assert.are.equal(sys.SIG_DFL, sys.signal(sys.SIGUSR2, sys.SIG_IGN))
    sys.kill(sys.getpid(), sys.SIGUSR2)
    assert.are.equal(sys.SIG_IGN, sys.signal(sys.SIGUSR2, sys.SIG_DFL))
    fails("signal 9: Invalid argument", sys.EINVAL, sys.signal(sys.SIGKILL, sys.SIG_IGN))
  end)

  test("are read from a descriptor", function()
    local before = sys.sigprocmask(sys.SIG_BLOCK, { sys.SIGUSR1, sys.SIGUSR2 })
    local fd <close> = assert(sys.signalfd(-1, { sys.SIGUSR1 }, sys.SFD_NONBLOCK))
    assert.are.equal(fd:fileno(), sys.signalfd(fd, { sys.SIGUSR2 }, sys.SFD_NONBLOCK)) -- another set, the same descriptor
    fails(("read %d: Resource temporarily unavailable"):format(fd:fileno()), sys.EAGAIN, sys.read(fd, 128))
    sys.kill(sys.getpid(), sys.SIGUSR2)
    assert.are.equal(sys.SIGUSR2, (string.unpack("=I4", sys.read(fd, 128))))
    sys.sigprocmask(sys.SIG_SETMASK, before)
  end)
end)

describe("waiting", function()
  test("tells an exit, a signal, a stop and a continuation apart", function()
    local pid, writer = sleeper(0, function() return 7 end)
    assert.are.same({ 0 }, { sys.waitpid(pid, sys.WNOHANG) })
    sys.kill(pid, sys.SIGSTOP)
    assert.are.same({ pid, "stop", sys.SIGSTOP }, { sys.waitpid(pid, sys.WUNTRACED) })
    sys.kill(pid, sys.SIGCONT)
    assert.are.same({ pid, "continue", sys.SIGCONT }, { sys.waitpid(pid, sys.WCONTINUED) })
    writer:close()
    assert.are.same({ pid, "exit", 7 }, { sys.waitpid(-1) })
    pid, writer = sleeper()
    sys.kill(pid, sys.SIGKILL)
    assert.are.same({ pid, "signal", sys.SIGKILL }, { sys.waitpid(pid) })
    writer:close()
    fails(("waitpid %d: No child processes"):format(pid), sys.ECHILD, sys.waitpid(pid))
    fails("waitpid -1: No child processes", sys.ECHILD, sys.waitpid(-1, sys.WNOHANG))
    fails(("kill %d: No such process"):format(pid), sys.ESRCH, sys.kill(pid, 0))
    fails(("pidfd_open %d: No such process"):format(pid), sys.ESRCH, sys.pidfd_open(pid))
  end)

  test("goes by pidfd, and can leave the child for later", function()
    local pid, writer, pidfd = sleeper(sys.CLONE_PIDFD)
    local poll = { { fd = pidfd, events = sys.POLLIN } }
    assert.are.equal(0, sys.poll(poll, 0))
    assert.are.equal(0, poll[1].revents)
    assert.are.same({ 0 }, { sys.waitid(sys.P_PIDFD, pidfd, sys.WEXITED | sys.WNOHANG) })
    assert(sys.pidfd_send_signal(pidfd, sys.SIGTERM))
    assert.are.equal(1, sys.poll(poll, 10000))
    assert.are.equal(sys.POLLIN, poll[1].revents)
    for _, options in ipairs { sys.WEXITED | sys.WNOWAIT, sys.WEXITED } do
      assert.are.same({ pid, "signal", sys.SIGTERM }, { sys.waitid(sys.P_PIDFD, pidfd, options) })
    end
    fails("waitid 0: No child processes", sys.ECHILD, sys.waitid(sys.P_ALL, 0, sys.WEXITED))
    fails("pidfd_send_signal: No such process", sys.ESRCH, sys.pidfd_send_signal(pidfd, 0))
    writer:close()
    pidfd:close()
  end)

  test("on descriptors tells which are ready, and how", function()
    local reader <close>, writer = sys.pipe2(0)
    local file <close> = assert(io.open "/etc/passwd")
    local list = { { fd = reader, events = sys.POLLIN }, { fd = writer, events = sys.POLLOUT }, { fd = 9999, events = 0 },
      { fd = file, events = sys.POLLIN }, { fd = -1, events = sys.POLLIN } }
    local function poll()
      local revents = { sys.poll(list, 0) }
      for i, entry in ipairs(list) do revents[i + 1] = entry.revents end
      return revents
    end
    assert.are.same({ 3, 0, sys.POLLOUT, sys.POLLNVAL, sys.POLLIN, 0 }, poll())
    sys.write(writer, "x")
    assert.are.same({ 4, sys.POLLIN, sys.POLLOUT, sys.POLLNVAL, sys.POLLIN, 0 }, poll())
    table.remove(list, 2)
    writer:close()
    assert.are.same({ 3, sys.POLLIN | sys.POLLHUP, sys.POLLNVAL, sys.POLLIN, 0 }, poll())
    local before = sys.clock_gettime(sys.CLOCK_MONOTONIC)
    assert.are.equal(0, sys.poll({}, 2))
    assert.is_true(sys.clock_gettime(sys.CLOCK_MONOTONIC) - before >= 0.002)
    fails("clock_gettime: Invalid argument", sys.EINVAL, sys.clock_gettime(9999))
  end)
end)
