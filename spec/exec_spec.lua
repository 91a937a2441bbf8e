-- SPDX-License-Identifier: MIT
local exec = require "casulo.exec"
local shared = require "exec_support"
local support = require "support"
local sys = require "casulo.sys"

local FOREVER, CONTAINERS, box, sh, command_of, status, file_at, facts, descriptors, is_gone, inside =
  shared.FOREVER, shared.CONTAINERS, shared.box, shared.sh, shared.command_of,
  shared.status, shared.file_at, shared.facts, shared.descriptors, shared.is_gone, shared.inside

describe("exec", function()
  for _, each in ipairs(CONTAINERS) do
    local name, fields, needs_root = table.unpack(each)
    local function test()
      support.leaves_nothing(function()
        local p <close> = assert(box(fields):start())
        local q <close> = assert(p:exec { command = FOREVER })
        local first = fields.init and command_of(p) or p.pid
        assert.are.same(facts(first), facts(command_of(q)))
        assert.are.equal(file_at(("/proc/%d/root"):format(p.pid)), file_at(("/proc/%d/cwd"):format(command_of(q))))
      end)
    end
    if needs_root then it("enters a container " .. name .. " (as root)", function() return support.needs_root() and test() end)
    else support.each_identity("enters a container " .. name, test) end
  end

  it("is in the container's cgroups, in both versions of them", function()
    if not support.needs_root() then return end
    shared.with_cgroups("cgroup2?", function(made)
      local p <close> = assert(box():start())
      for _, directory in ipairs(made) do support.write_file(directory .. "/cgroup.procs", tostring(p.pid)) end
      local q <close> = assert(p:exec { command = FOREVER })
      assert.are.equal(support.read_file(("/proc/%d/cgroup"):format(p.pid)), support.read_file(("/proc/%d/cgroup"):format(command_of(q))))
      assert.is_truthy(support.read_file(("/proc/%d/cgroup"):format(command_of(q))):find(made[1]:match "[^/]*$", 1, true))
    end)
  end)

  it("has no more rights than the container, whoever asks", function()
    if not support.needs_root() then return end
    local MORE = { "SYS_TIME", "MKNOD" }
    local reader <close>, writer = assert(sys.pipe2(0))
    local inner
    local pid = assert(sys.clone(0, function() -- one with fewer rights starts it
      reader:close()
      assert(sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1))
      local p = assert(box { detach = true }:start())
      p:detach()
      sys.write(writer, tostring(p.pid))
    end))
    writer:close()
    inner = tonumber((sys.read(reader, 20)))
    sys.waitpid(pid)
    local pidfd <close> = assert(sys.pidfd_open(inner))
    local record = require "casulo.record".of(box { capabilities = { add = MORE }, no_new_privs = false })
    record.pid, record.pidfd = inner, pidfd
    do
      local q <close> = assert(exec.start(assert(require "casulo.record".target(record)), { command = FOREVER }))
      local found = facts(command_of(q))
      assert.are.equal("1", found.NoNewPrivs)
      for _, number in ipairs { sys.CAP_SYS_TIME, sys.CAP_MKNOD } do
        for _, field in ipairs { "CapPrm", "CapEff", "CapBnd" } do assert.are.equal(0, tonumber(found[field], 16) >> number & 1, field) end
      end
      assert.are.equal(1, tonumber(found.CapEff, 16) >> sys.CAP_CHOWN & 1)
      assert.are.same(facts(inner), found)
    end
    sys.pidfd_send_signal(pidfd, sys.SIGKILL)
    support.eventually(function() return is_gone(inner) end)
  end)

  support.each_identity("takes the container's settings, and the given ones over them", function()
    local p <close> = assert(box { env = { A = "1", B = "2" }, cwd = "/bin", umask = 23, inherit_env = { "PATH" } }:start())
    local function run(options)
      options.stdout = "pipe"
      local result = assert(assert(p:exec(options)):wait())
      assert.are.equal(0, result.exit_code)
      return result.stdout
    end
    local user = sys.geteuid() == 0 and "7:8" or nil
    assert.are.equal("1 2 /bin 0027\n", run { command = sh "echo $A $B $PWD $(umask)" })
    assert.are.equal("1 3 4 /dev\n", run { command = sh "echo $A $B $C $PWD", env = { B = "3", C = "4" }, cwd = "/dev" })
    local variables = run { command = { "env" }, env = { HOME = "/x", TERM = "y" } }
    assert.are.equal(("A=1\nB=2\nHOME=/x\nPATH=%s\nTERM=y\n"):format(os.getenv "PATH"), (variables:gsub("SHLVL=%d+\n", ""):gsub("PWD=[^\n]*\n", "")))
    assert.are.equal(user and "7 8 8 /\n" or "0 0 0 /root\n", run { command = sh "echo $(id -u) $(id -g) $(id -G) $HOME", user = user })
  end)

  support.each_identity("gives the command the descriptors that were named, and no other", function()
    support.leaves_nothing(function()
      local p <close> = assert(box():start())
      local reader, writer = assert(sys.pipe2(0))
      for _, options in ipairs {
        {}, { cwd = "/tmp" }, { detach = true }, { fds = { [3] = writer, [9] = reader } }, { tty = true }, { tty = true, fds = { [4] = writer } },
      } do
        local extra = options.fds and (options.tty and " 4" or " 3 9") or ""
        options.command = FOREVER
        local q <close> = assert(p:exec(options))
        -- its parent goes on while the kernel closes what is close-on-exec
        support.eventually(function() return descriptors(command_of(q)) == "0 1 2" .. extra end, "0 1 2" .. extra)
        q.detached = false -- for the end of this scope
      end
      local q <close> = assert(p:exec { command = sh "echo to three >&3", fds = { [3] = writer } })
      assert.are.equal(0, q:wait().exit_code)
      assert.are.equal("to three\n", sys.read(reader, 100))
      reader:close()
      writer:close()
    end)
  end)

  support.each_identity("has the signals of a new process", function()
    assert(sys.signal(sys.SIGPIPE, sys.SIG_IGN))
    local p <close> = assert(box():start())
    local q <close> = assert(p:exec { command = FOREVER })
    assert(sys.signal(sys.SIGPIPE, sys.SIG_DFL))
    local pid = command_of(q)
    local ignored = tonumber(status(pid, "SigIgn"), 16)
    assert.are.equal("0000000000000000", status(pid, "SigBlk"))
    assert.are.equal(0, ignored & (1 << sys.SIGPIPE - 1 | 1 << sys.SIGCHLD - 1))
  end)

  support.each_identity("is out of reach of what the caller's terminal signals, as is what stands for it", function()
    local p <close> = assert(box():start())
    local q <close> = assert(p:exec { command = FOREVER })
    for _, pid in ipairs { q.pid, command_of(q) } do
      local group, session = support.read_file(("/proc/%d/stat"):format(pid)):match "^.*%) %S %d+ (%d+) (%d+) "
      assert.are.same({ pid, pid }, { tonumber(group), tonumber(session) })
    end
  end)

  it("leaves what stands for the command no id of the caller's", function()
    if not support.needs_root() then return end
    local map = { { 0, 100000, 65536 } }
    local p <close> = assert(box({ namespaces = shared.ALL, uid_map = map, gid_map = map }):start())
    local q <close> = assert(p:exec { command = FOREVER })
    for _, field in ipairs { "Uid", "Gid" } do assert.are.equal("100000\t100000\t100000\t100000", status(q.pid, field)) end
  end)

  support.each_identity("leaves what stands for the command the container's capabilities at most, and those that it takes on the way", function()
    local ON_THE_WAY = 1 << sys.CAP_SETUID | 1 << sys.CAP_SETGID | 1 << sys.CAP_SETPCAP | 1 << sys.CAP_CHOWN
    local function set_of(pid, field) return tonumber(status(pid, field), 16) end
    local p <close> = assert(box { capabilities = { "KILL" } }:start())
    local q <close> = assert(p:exec { command = FOREVER })
    assert.are.equal(set_of(p.pid, "CapBnd") | ON_THE_WAY, set_of(q.pid, "CapPrm"))
    assert.are.equal(set_of(q.pid, "CapPrm"), set_of(q.pid, "CapEff"))
  end)

  support.each_identity("captures streams, feeds text, and ends as the command ends", function()
    support.leaves_nothing(function()
      for _, init in ipairs { false, true } do
        local p <close> = assert(box { init = init }:start())
        local text = ("x"):rep(300000)
        local q <close> = assert(p:exec { command = sh "cat; echo wrong >&2; exit 7", stdin = text, stdout = "pipe", stderr = "pipe" })
        assert.are.same({ exit_code = 7, stdout = text, stderr = "wrong\n" }, q:wait())
        assert.are.same({ signal = sys.SIGUSR1 }, assert(p:exec { command = sh "kill -USR1 $$" }):wait())
        assert.are.equal("timeout", select(2, p:wait(0))) -- none of which the container noticed
      end
    end)
  end)

  support.each_identity("passes signals on to the command", function()
    local p <close> = assert(box():start())
    local q <close> = assert(p:exec { command = sh "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.01; done", stdout = "pipe" })
    assert.are.equal("ready\n", sys.read(q.stdout, 100))
    local pid = command_of(q)
    assert(q:signal "STOP")
    support.eventually(function() return status(pid, "State"):sub(1, 1) == "T" end, "it stops")
    assert(q:signal "CONT")
    assert(q:signal "TERM")
    assert.are.same({ exit_code = 3, stdout = "caught\n" }, q:wait(20))
  end)

  support.each_identity("tells a command that cannot run from one that failed", function()
    support.leaves_nothing(function()
      local p <close> = assert(box():start())
      local function kind(options)
        local q, err = p:exec(options)
        return q == nil and err.kind, err and err.errno
      end
      assert.are.same({ "not_found", sys.ENOENT }, { kind { command = { "/no/such" } } })
      assert.are.same({ "not_found", sys.ENOENT }, { kind { command = { "nosuch" } } })
      assert.are.same({ "not_executable", sys.EACCES }, { kind { command = { "/bin" } } })
      assert.are.same({ "setup", sys.ENOENT }, { kind { command = FOREVER, cwd = "/no/such" } })
      assert.are.equal(127, assert(p:exec { command = sh "exit 127" }):wait().exit_code)
    end)
  end)

  support.each_identity("ends with its time, and with its caller's hand", function()
    support.leaves_nothing(function()
      local p <close> = assert(box { init = true }:start())
      local command = sh "sleep 1000 & sleep 1000 & wait"
      assert.are.same({ timed_out = true, signal = sys.SIGKILL }, assert(p:exec { command = command, timeout = 1 }):wait())
      support.eventually(function() return inside(p) == "1 2" end, "its process group ends with it")
      do
        local q <close> = assert(p:exec { command = command })
        assert.are.equal("timeout", select(2, q:wait(0.05)))
      end
      support.eventually(function() return inside(p) == "1 2" end, "and at the end of its scope")
    end)
  end)

  support.each_identity("enters a container that has been created and not started", function()
    for _, init in ipairs { false, true } do
      local p <close> = assert(box { init = init, command = sh "test -e /dev/shm/made && exit 5" }:create())
      assert.are.equal(0, assert(p:exec { command = sh "echo > /dev/shm/made" }):wait().exit_code)
      assert(p:start())
      assert.are.same({ exit_code = 5 }, p:wait(20))
    end
  end)

  support.each_identity("says that the container has ended", function()
    support.leaves_nothing(function()
      local p <close> = assert(box { command = sh "exit 0" }:start())
      support.eventually(function() return sys.poll({ { fd = p:pollfd(), events = sys.POLLIN } }, 0) == 1 end)
      local q, err = p:exec { command = FOREVER } -- it has ended, and nobody knows yet
      assert.are.same({ "nil", "exec: the container has ended", sys.ESRCH, "setup" }, { tostring(q), err.message, err.errno, err.kind })
      p:wait()
      q, err = p:exec { command = FOREVER }
      assert.are.same({ "nil", "exec: the container has ended" }, { tostring(q), err.message })
    end)
  end)

  support.each_identity("refuses what makes no sense, naming the field", function()
    local p <close> = assert(box():start())
    local function refused(options, expected)
      local ok, message = pcall(p.exec, p, options)
      assert.is_false(ok)
      assert.is_truthy(tostring(message):find(expected, 1, true), message)
    end
    refused({}, "exec.command: required")
    refused(nil, "exec: expected a table")
    refused({ command = FOREVER, hostname = "x" }, "exec: unknown field \"hostname\"")
    refused({ command = FOREVER, cwd = "x" }, "exec.cwd: expected an absolute path")
    refused({ command = FOREVER, user = "root" }, "exec.user: expected numbers")
    refused({ command = FOREVER, tty = true, stdout = "pipe" }, "exec.stdout: the command's terminal is its stdout")
    refused({ command = FOREVER, env = { ["A=B"] = "" } }, "exec.env: expected names without =")
    if sys.geteuid() ~= 0 then
      refused({ command = FOREVER, user = 5 }, "exec.user.uid: 5 stands for nobody outside")
      refused({ command = FOREVER, user = { uid = 0, groups = { 0 } } }, "exec.user.groups: a user namespace whose only group is that of the caller")
    end
    local bare <close> = assert(box { standard_mounts = false }:start())
    assert.is_truthy(tostring(select(2, pcall(bare.exec, bare, { command = FOREVER, tty = true }))):find("no devpts", 1, true))
    local q <close> = assert(p:exec { command = FOREVER })
    assert.is_truthy(tostring(select(2, pcall(q.exec, q, { command = FOREVER }))):find("this process is no container", 1, true))
  end)
end)