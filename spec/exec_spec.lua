-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local exec = require "casulo.exec"
local support = require "support"
local sys = casulo.sys

local FOREVER = { "/bin/sleep", "1000" }
local ALL = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }

local function box(fields)
  local description = { rootfs = support.rootfs(), command = FOREVER }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function sh(script) return { "/bin/sh", "-c", script } end

local function read_or_nil(path)
  local file <close> = io.open(path)
  return file and file:read "a"
end

-- The command of an `exec`, as the host sees it: the child of what stands for it.
local function command_of(process)
  return support.eventually(function() return tonumber(read_or_nil(("/proc/%d/task/%d/children"):format(process.pid, process.pid))) end)
end

local function status(pid, field) return (support.read_file(("/proc/%d/status"):format(pid)):match("\n" .. field .. ":[ \t]*([^\n]*)")) end

local function file_at(path)
  local found = assert(sys.stat(path))
  return ("%d:%d"):format(found.dev, found.ino)
end

local KINDS = { "user", "pid", "mnt", "uts", "ipc", "net", "cgroup", "time" }
local RIGHTS = { "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters" }

-- Where a process is and what it may do.
local function facts(pid)
  local found = { root = file_at(("/proc/%d/root"):format(pid)), cgroups = support.read_file(("/proc/%d/cgroup"):format(pid)) }
  for _, kind in ipairs(KINDS) do found[kind] = support.namespace(pid, kind) end
  for _, field in ipairs(RIGHTS) do found[field] = status(pid, field) end
  return found
end

local function descriptors(pid)
  local names = sys.scandir(("/proc/%d/fd"):format(pid))
  table.sort(names)
  return table.concat(names, " ")
end

local function is_gone(pid)
  local _, _, errno = sys.kill(pid, 0)
  return errno == sys.ESRCH
end

-- The processes in a container, by the numbers that they have there.
local function inside(process)
  local found = {}
  for _, name in ipairs(sys.scandir(("/proc/%d/root/proc"):format(process.pid))) do found[#found + 1] = name:match "^%d+$" end
  return table.concat(found, " ")
end

local function children() return (support.read_file(("/proc/self/task/%d/children"):format(sys.getpid())):gsub(" $", "")) end

-- As root only: containers that an ordinary user cannot make.
local RANGES = { namespaces = ALL, uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 100000, 65536 } } }
local CONTAINERS = {
  { "as it is by default", {} },
  { "with a PID 1 of casulo's own", { init = true } },
  { "that shares the host's PID namespace", { namespaces = { pid = "host" } } },
  { "that shares all it can", { namespaces = { pid = "host", uts = "host", ipc = "host", net = "host", cgroup = "host" } } },
  { "with its own clocks", { namespaces = { "user", "pid", "mount", "time" } } },
  { "with ranges of ids", RANGES, true },
  { "with ranges of ids and a user", { namespaces = ALL, uid_map = RANGES.uid_map, gid_map = RANGES.gid_map, user = { uid = 7, gid = 8, groups = { 9 } } }, true },
  { "of root with a user namespace of one id", { namespaces = ALL }, true },
  { "of another user", { user = { uid = 1000, gid = 1001, groups = { 5, 6 } } }, true },
  { "that has joined other namespaces", { namespaces = { net = "/proc/self/ns/net", uts = "/proc/self/ns/uts", ipc = "/proc/self/ns/ipc" } }, true },
}

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
    local name, made = ("casulo-spec-%d"):format(sys.getpid()), {}
    for line in io.lines "/proc/self/mountinfo" do
      local place, fstype, options = line:match "^%d+ %d+ %S+ / (%S+) .- %- (cgroup2?) %S+ (%S+)"
      if fstype and not options:find "cpuset" then made[#made + 1] = ("%s/%s"):format(place, name) end
    end
    if not made[1] then return support.cannot_run "no cgroups are mounted" end
    local p <close> = assert(box():start())
    for _, directory in ipairs(made) do
      assert(sys.mkdir(directory, 493))
      support.write_file(directory .. "/cgroup.procs", tostring(p.pid))
    end
    do
      local q <close> = assert(p:exec { command = FOREVER })
      assert.are.equal(support.read_file(("/proc/%d/cgroup"):format(p.pid)), support.read_file(("/proc/%d/cgroup"):format(command_of(q))))
      assert.is_truthy(support.read_file(("/proc/%d/cgroup"):format(command_of(q))):find(name, 1, true))
    end
    p:close()
    for _, directory in ipairs(made) do
      support.eventually(function() return sys.rmdir(directory) end, directory .. " is empty")
    end
  end)

  it("has no more rights than the container, whoever asks", function()
    if not support.needs_root() then return end
    local CAP_SYS_ADMIN, CAP_SYS_TIME, CAP_MKNOD = 21, 25, 27
    local reader <close>, writer = assert(sys.pipe2(0))
    local inner
    local pid = assert(sys.clone(0, function() -- one with fewer rights starts it
      reader:close()
      for _, number in ipairs { CAP_SYS_TIME, CAP_MKNOD } do assert(sys.prctl(sys.PR_CAPBSET_DROP, number)) end
      assert(sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1))
      local p = assert(box { detach = true }:start())
      p:detach()
      sys.write(writer, tostring(p.pid))
    end))
    writer:close()
    inner = tonumber((sys.read(reader, 20)))
    sys.waitpid(pid)
    local pidfd <close> = assert(sys.pidfd_open(inner))
    local record = exec.record(box())
    record.pid, record.pidfd = inner, pidfd
    do
      local q <close> = assert(exec.start(assert(exec.target(record)), { command = FOREVER }))
      local found = facts(command_of(q))
      assert.are.equal("1", found.NoNewPrivs)
      for _, number in ipairs { CAP_SYS_TIME, CAP_MKNOD } do
        for _, field in ipairs { "CapPrm", "CapEff", "CapBnd" } do assert.are.equal(0, tonumber(found[field], 16) >> number & 1, field) end
      end
      assert.are.equal(1, tonumber(found.CapEff, 16) >> CAP_SYS_ADMIN & 1)
      assert.are.same(facts(inner), found)
    end
    sys.pidfd_send_signal(pidfd, sys.SIGKILL)
    support.eventually(function() return is_gone(inner) end)
  end)

  support.each_identity("takes the container's settings, and the given ones over them", function()
    local root = support.rootfs()
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
    assert.is_nil(sys.stat(root .. "/x"))
  end)

  support.each_identity("gives the command the descriptors that were named, and no other", function()
    support.leaves_nothing(function()
      local p <close> = assert(box():start())
      local reader, writer = assert(sys.pipe2(0))
      for _, options in ipairs { {}, { detach = true }, { fds = { [3] = writer, [9] = reader } }, { tty = true }, { tty = true, fds = { [4] = writer } } } do
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

  support.each_identity("has a session and the signals of a new process", function()
    assert(sys.signal(sys.SIGPIPE, sys.SIG_IGN))
    local p <close> = assert(box():start())
    local q <close> = assert(p:exec { command = FOREVER })
    assert(sys.signal(sys.SIGPIPE, sys.SIG_DFL))
    local pid = command_of(q)
    local ignored = tonumber(status(pid, "SigIgn"), 16)
    assert.are.equal("0000000000000000", status(pid, "SigBlk"))
    assert.are.equal(0, ignored & (1 << sys.SIGPIPE - 1 | 1 << sys.SIGCHLD - 1))
    local group, session = support.read_file(("/proc/%d/stat"):format(pid)):match "^%d+ %(.*%) %S %d+ (%d+) (%d+)"
    assert.are.same({ tostring(pid), tostring(pid) }, { group, session })
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
      local p <close> = assert(box():start())
      assert.are.same({ timed_out = true, signal = sys.SIGKILL }, assert(p:exec { command = FOREVER, timeout = 0.1 }):wait())
      local pid
      do
        local q <close> = assert(p:exec { command = FOREVER })
        pid = command_of(q)
      end
      support.eventually(function() return is_gone(pid) end, "the command dies with what stands for it")
      assert.are.equal("timeout", select(2, p:wait(0)))
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
      refused({ command = FOREVER, user = { uid = 0, groups = { 0 } } }, "exec.user.groups: a user namespace whose map its own process wrote")
    end
    local bare <close> = assert(box { standard_mounts = false }:start())
    assert.is_truthy(tostring(select(2, pcall(bare.exec, bare, { command = FOREVER, tty = true }))):find("no devpts", 1, true))
    local q <close> = assert(p:exec { command = FOREVER })
    assert.is_truthy(tostring(select(2, pcall(q.exec, q, { command = FOREVER }))):find("this process is no container", 1, true))
  end)
end)

describe("a record of a container", function()
  local json = require "dkjson"

  local function through_json(record) return json.decode(json.encode(record), 1, nil, nil, nil) end

  support.each_identity("is all that another process needs to start a command in it", function()
    support.leaves_nothing(function()
      local description = box { env = { A = "1", B = "\xff\n" }, inherit_env = { "PATH" }, cwd = "/bin", umask = 23, init = true }
      local p <close> = assert(description:start())
      local record = through_json(exec.record(description))
      record.pid = p.pid
      local found
      package.loaded["casulo.state"] = { find = function(name)
        if name ~= "web" then return nil, "no container is called " .. name end
        found, record.pidfd = record, assert(sys.pidfd_open(record.pid))
        return found
      end }
      local q = assert(exec.by_name("web", { command = sh "echo $A $PATH $PWD $(umask); printf %s \"$B\"; cat", stdout = "pipe", stdin = "!" }))
      assert.are.equal(("1 %s /bin 0027\n\xff\n!"):format(os.getenv "PATH"), q:wait().stdout)
      assert.is_false(record.pidfd:is_open())
      local same <close> = assert(exec.by_name("web", { command = FOREVER }))
      assert.are.same(facts(command_of(p)), facts(command_of(same)))
      local shell <close> = assert(exec.by_name("web", { command = { "tty" }, tty = true }))
      assert.are.equal("/dev/pts/0\r\n", shell:wait().tty)
      assert.are.equal("no container is called db", tostring(select(2, exec.by_name("db", { command = FOREVER }))))
      local pidfd = record.pidfd
      p:close()
      package.loaded["casulo.state"] = { find = function()
        record.pidfd = pidfd
        return record
      end }
      package.loaded["casulo.state"] = nil
    end)
  end)

  it("is refused where it is damaged, whatever the damage", function()
    local good = through_json(exec.record(box { namespaces = ALL, user = { uid = 0, gid = 0 }, env = { A = "1" }, joined = nil }))
    good.pid = sys.getpid()
    local pidfd <close> = assert(sys.pidfd_open(good.pid))
    good.pidfd = pidfd
    assert(exec.target(good))
    local DAMAGE = { "", "x", -1, 1.5, 1 << 40, true, {}, { 1 }, { "x" }, { a = 1 }, { { 1 } }, { { 0, 0, 0 } }, { uid = "x" } }
    local refused = 0
    for _, field in ipairs { "command", "cwd", "umask", "user", "env", "namespaces", "joined", "uid_map", "gid_map", "own_maps", "has_devpts", "pid" } do
      for i = 0, #DAMAGE do
        local record = {}
        for name, value in pairs(good) do record[name] = value end
        record[field] = DAMAGE[i]
        local target, err = exec.target(record)
        if not target then
          refused = refused + 1
          assert.is_truthy(tostring(err):find("exec: record." .. field, 1, true), tostring(err))
        end
      end
    end
    assert.is_true(refused > 120, tostring(refused))
  end)

  it("leads nowhere when its process has ended, though another has the number", function()
    local record = exec.record(box())
    local pid = assert(sys.clone(0, function() end))
    record.pid, record.pidfd = sys.getpid(), assert(sys.pidfd_open(pid))
    sys.waitpid(pid)
    local q, err = exec.start(assert(exec.target(record)), { command = FOREVER })
    assert.are.same({ "nil", "exec: the container has ended" }, { tostring(q), tostring(err) })
    record.pidfd:close()
  end)
end)

describe("exec and death", function()
  support.each_identity("what stands for a command takes it along", function()
    support.leaves_nothing(function()
      local p <close> = assert(box():start())
      for _ = 1, 20 do
        local q <close> = assert(p:exec { command = FOREVER })
        assert(sys.kill(q.pid, sys.SIGKILL))
        assert.are.same({ signal = sys.SIGKILL }, q:wait(20))
        support.eventually(function() return inside(p) == "1" end)
      end
    end)
  end)

  -- A copy of this process that does nothing but start commands, until it is killed.
  local function die_at_random(p, options)
    local pid = assert(sys.clone(0, function()
      while true do
        local q = p:exec(options)
        if q then q:close() end
      end
    end, { threads = true }))
    sys.poll({}, math.random(0, 12))
    sys.kill(pid, sys.SIGKILL)
    sys.waitpid(pid)
  end

  support.each_identity("nothing stays when the caller is killed, and the container is unharmed", function()
    local p <close> = assert(box { init = true }:start())
    assert(sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1)) -- what loses its parent becomes a child of this process
    for i = 1, 150 do
      die_at_random(p, i % 3 == 0 and { command = FOREVER, tty = true } or { command = FOREVER })
      support.eventually(function()
        while children() ~= tostring(p.pid) and (sys.waitpid(-1, sys.WNOHANG) or 0) ~= 0 do end
        return children() == tostring(p.pid)
      end, "what stood for the command is gone")
      support.eventually(function() return inside(p) == "1 2" end, "the command is gone")
    end
    assert(sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 0))
    assert.are.equal(0, assert(p:exec { command = { "true" } }):wait().exit_code)
  end)

  support.each_identity("a container that ends in the middle is a result or a clear error", function()
    support.leaves_nothing(function()
      for i = 1, 60 do
        local p <close> = assert(box():start())
        local killer = assert(sys.clone(0, function()
          sys.poll({}, i % 6)
          sys.kill(p.pid, sys.SIGKILL)
        end, { threads = true }))
        while true do
          local q, err = p:exec { command = FOREVER, timeout = 5 }
          if not q then
            assert.are.equal("exec: the container has ended", tostring(err))
            break
          end
          local result = q:wait(0)
          assert.is_true(result == nil or result.signal == sys.SIGKILL)
          q:close()
        end
        sys.waitpid(killer)
      end
    end)
  end)
end)
