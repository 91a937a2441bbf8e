-- SPDX-License-Identifier: MIT
-- The gate: what is created is ready but for its command, and waits for Process:start.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(script, fields)
  local description = { rootfs = support.rootfs(), stderr = "null", command = { "/bin/sh", "-c", script } }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end
local function file(p, name) return support.read_file(("/proc/%d/%s"):format(p.pid, name)) end
local function is_gone(pid) return select(3, sys.kill(pid, 0)) == sys.ESRCH end

-- Declares a test with and without init, by both identities.
local function each(name, body)
  for _, init in ipairs { false, true } do
    support.each_identity(("%s %s init"):format(name, init and "with" or "without"), function() body(init) end)
  end
end

-- What a program without variables prints in the UTS namespace of a process.
local function hostname_of(p)
  local reader <close>, writer = sys.pipe2(0)
  local pid = assert(sys.clone(0, function()
    local flags = sys.CLONE_NEWUTS | (sys.geteuid() == 0 and 0 or sys.CLONE_NEWUSER)
    assert(sys.setns(p.pidfd, flags))
    sys.write(writer, sys.gethostname())
  end, { threads = true }))
  writer:close()
  local name = sys.read(reader, 100)
  sys.waitpid(pid)
  return name
end

describe("a created process", function()
  each("is ready but for its command,", function(init)
    support.leaves_nothing(function()
      local shared = support.tmpdir()
      local p <close> = assert(box("echo ran >/data/file; hostname", { init = init, hostname = "sag", stdout = "pipe",
        mounts = { { type = "bind", source = shared, target = "/data" }, { type = "tmpfs", target = "/own" } } }):create())
      support.eventually(function() return file(p, "comm") == "casulo-init\n" end, "casulo-init waits")
      for _, kind in ipairs { "pid_for_children", "mnt", "uts", "ipc", "net", "cgroup" } do
        assert.are_not.equal(support.namespace("self", kind), support.namespace(p.pid, kind), kind)
      end
      for _, target in ipairs { "/", "/data", "/own", "/proc", "/dev/pts" } do
        assert.is_truthy(file(p, "mountinfo"):find((" %s "):format(target), 1, true), target)
      end
      assert.are.equal("sag", hostname_of(p))
      assert.are.equal("", file(p, ("task/%d/children"):format(p.pid)))
      assert.are.same({}, sys.scandir(shared))
      assert.are.equal(p, p:start())
      assert.are.same({ exit_code = 0, stdout = "sag\n" }, p:wait())
      assert.are.equal("ran\n", support.read_file(shared .. "/file"))
    end)
  end)

  each("holds no descriptor but those that its command gets and two more,", function(init)
    local given <close> = assert(io.open "/etc/passwd")
    local p <close> = assert(box("true", { init = init }):create { stdin = "null", stdout = "null", fds = { [7] = given } })
    support.eventually(function()
      local numbers = sys.scandir(("/proc/%d/fd"):format(p.pid))
      table.sort(numbers)
      return table.concat(numbers, " ") == "0 1 2 7 8 9" and file(p, "cmdline") == "casulo-init\0" -- its exec may be on its way
    end, "casulo-init with 0, 1, 2, 7, and its own two")
    assert.are.equal("", file(p, "environ"))
  end)

  each("is executed in the end by the same process,", function(init)
    local p <close> = assert(box("echo $$ $PPID; cat /proc/1/comm; true", { init = init }):create { stdout = "pipe" })
    assert(p:start())
    assert.are.equal(init and "2 1\ncasulo-init\n" or "1 0\nsh\n", p:wait().stdout)
  end)

  each("has its streams, descriptors and text,", function(init)
    local directory = support.tmpdir()
    support.write_file(directory .. "/in", "from a file\n")
    local given <close> = assert(io.open(directory .. "/in"))
    local chunks = {}
    local p <close> = assert(box("cat; cat <&5; echo err >&2; exit 3", { init = init }):create {
      stdin = "a text\n", stdout = "pipe", stderr = function(chunk) chunks[#chunks + 1] = chunk end, fds = { [5] = given } })
    assert(p:start())
    assert.are.same({ exit_code = 3, stdout = "a text\nfrom a file\n" }, p:wait())
    assert.are.equal("err\n", table.concat(chunks))
  end)

  each("has its terminal,", function(init)
    local p <close> = assert(box("tty; stty size; exit 4", { init = init }):create { tty = { rows = 11, columns = 33 }, stderr = "inherit" })
    assert(p:start())
    local result = p:wait()
    assert.are.same({ 4, "/dev/pts/0\r\n11 33\r\n" }, { result.exit_code, result.tty })
  end)

  each("is told of an error as by start,", function(init)
    for _, case in ipairs {
      { command = { "/bin/nope" } }, { command = { "nope" } }, { command = { "/etc" } }, { command = { "/etc/passwd" } },
      { cwd = "/nope" }, { rootfs = "/nonexistent" }, { command = { "/bin/sh" }, cwd = "/bin/sh" },
    } do
      case.init = init
      local _, expected = box("true", case):start()
      local err
      support.leaves_nothing(function()
        local p, failure = box("true", case):create()
        err = failure
        if p then
          local started
          started, err = p:start()
          assert.is_nil(started)
          p:wait()
        end
      end)
      assert.are.same({ expected.kind, expected.errno, expected.call, tostring(expected) }, { err.kind, err.errno, err.call, tostring(err) })
    end
  end)

  each("has its time from the start on,", function(init)
    local p <close> = assert(box("sleep 1000", { init = init }):create { timeout = 0.3 })
    assert.are.equal("timeout", select(2, p:wait(0.4)))
    local start = now()
    assert(p:start())
    assert.are.same({ timed_out = true, signal = sys.SIGKILL }, p:wait())
    assert.is_true(now() - start >= 0.3)
  end)

  each("is started once,", function(init)
    local p <close> = assert(box("exit 2", { init = init }):create())
    assert(p:start())
    assert.error_matches(function() p:start() end, "start: it has been started already")
    assert.are.equal(2, p:wait().exit_code)
    assert.error_matches(function() p:start() end, "start: it has been started already")
    local q <close> = assert(box("true", { init = init }):start())
    assert.error_matches(function() q:start() end, "start: it has been started already")
    assert.error_matches(function() box("true"):create { stdot = "pipe" } end, 'create: unknown field "stdot"')
  end)

  each("that has ended before is not started,", function(init)
    for _, ended in ipairs { function(p) return p:wait() end, function(p) return p:close() end, function(p)
      assert.are.equal(1, sys.poll({ { fd = p:pollfd(), events = sys.POLLIN } }, 30000))
    end } do
      local p <close> = assert(box("true", { init = init }):create())
      assert(p:kill())
      ended(p)
      local started, err = p:start()
      assert.is_nil(started)
      assert.are.same({ "setup", "start: it has ended before" }, { err.kind, tostring(err) })
      assert.are.same({ signal = sys.SIGKILL }, p:wait())
    end
  end)

  each("ends when it is closed or collected,", function(init)
    support.leaves_nothing(function()
      local waiting = box("true", { init = init })
      local pid
      do
        local p <close> = assert(waiting:create { stdin = "pipe" })
        pid = p.pid
      end
      assert.is_true(is_gone(pid))
      pid = assert(waiting:create { stdin = "pipe" }).pid
      collectgarbage()
      collectgarbage()
      assert.is_true(is_gone(pid))
    end)
  end)

  each("ends with its caller, detached or not,", function(init)
    local waiting = box("true", { init = init })
    sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1)
    for _, detach in ipairs { "not", "option", "method" } do
      local reader <close>, writer = sys.pipe2(0)
      local caller = assert(sys.clone(0, function()
        local p = assert(waiting:create { stdout = writer, detach = detach == "option" })
        if detach == "method" then p:detach() end
        sys.write(writer, "x")
        sys.poll({}, -1)
      end, { threads = true }))
      writer:close()
      assert.are.equal("x", sys.read(reader, 1))
      sys.kill(caller, sys.SIGKILL)
      assert.are.equal("", sys.read(reader, 1)) -- the other end is nobody's
      support.eventually(function()
        local child
        repeat child = sys.waitpid(-1, sys.WNOHANG) until not child or child == 0
        return not child
      end, "it ended with its caller")
    end
    sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 0)
  end)

  each("may be one of two hundred,", function(init)
    support.leaves_nothing(function()
      local waiting, all = box("echo $$; exit 3", { init = init, stdout = "pipe" }), {}
      for i = 1, 200 do all[i] = assert(waiting:create()) end
      for _, p in ipairs(all) do assert(p:start()) end
      for _, p in ipairs(all) do assert.are.same({ exit_code = 3, stdout = init and "2\n" or "1\n" }, p:wait(60)) end
    end)
  end)

  it("is one of two programs of the same container", function()
    local both = box("exit 5")
    for _ = 1, 3 do
      local p <close> = assert(both:create())
      assert.are.equal(5, both:run().exit_code)
      assert(p:start())
      assert.are.equal(5, p:wait().exit_code)
    end
  end)
end)
