-- SPDX-License-Identifier: MIT
-- How a child starts: callers with several threads, under a storm of signals, or not dumpable, and programs that do not execute.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local driver

setup(function()
  driver = support.base() .. "/threads"
  local status, _, err = support.sh(("gcc -O1 -Wall -Werror $(pkg-config --cflags lua5.4) -o %s spec/threads.c "
    .. "$(pkg-config --libs lua5.4) -lpthread"):format(driver))
  assert.are.equal(0, status, err)
end)

-- Runs a script in a number of threads of one process, which must end well.
local function in_threads(count, script, ...)
  local path = support.tmpdir() .. "/script.lua"
  support.write_file(path, script)
  local status, out, err = support.sh(("%s && exec timeout -s KILL 300 %s %d %s %s"):format(
    support.environment(), driver, count, path, table.concat({ ... }, " ")))
  assert.are.same({ 0, "", "" }, { status, out, err })
end

local function each_with_ids(name, body)
  support.each_identity(name, function() body "nil" end)
  it(name .. " (as a user with subordinate ids)", function()
    support.as_user_with_ids(function() body '"auto"' end)
  end)
end

describe("a start in one of several threads", function()
  -- While one child waits at a gate with ids of its own, others come and go. None of them may be in the memory when its start is
  -- over: where the flag was put back in that moment, another user read the memory hundreds of times.
  it("keeps the caller undumpable until the last child with other ids has executed, and no longer", function()
    if not support.needs_root() then return end
    local gate = support.tmpdir() .. "/gate"
    assert(sys.mknod(gate, sys.S_IFIFO | 438))
    in_threads(5, [[
      local gate, starts = ...
      local sys = require "casulo.sys"
      local undumpable = math.tointeger(io.open "/proc/sys/fs/suid_dumpable":read "n")
      local take_ids, execute = { "setresuid", 5, 5, 5 }, { "execve", "/bin/true", { "true" }, {} }
      local function dumpable() return sys.prctl(sys.PR_GET_DUMPABLE) end
      local function start(steps)
        local pid = assert(sys.clone(sys.CLONE_FILES, sys.program(steps)))
        assert(not driver.shares(pid), "the child is still in the memory")
        assert(select(3, sys.waitpid(pid)) == 0)
      end
      if driver.thread == 1 then
        local die_with_caller = { "prctl", sys.PR_SET_PDEATHSIG, sys.SIGKILL } -- nobody opens the gate when the test fails
        start { take_ids, die_with_caller, { "openat", sys.AT_FDCWD, gate, sys.O_RDONLY }, execute }
      else
        while dumpable() ~= undumpable do sys.poll({}, 1) end
        if driver.thread == 2 then driver.watch() end
        local steps = { take_ids }
        for i = 2, 20 do steps[i] = { "prctl", sys.PR_GET_DUMPABLE, 0, expect = undumpable } end
        steps[21] = execute
        for _ = 1, starts do
          start(steps)
          assert(dumpable() == undumpable, "put back too early")
        end
        if driver.count() == 4 then
          local seen, looks = driver.unwatch()
          assert(seen == 0 and looks > 100, ("dumpable %d times of %d"):format(seen, looks))
          assert(sys.open(gate, sys.O_WRONLY))
        end
      end
      driver.meet()
      assert(dumpable() == 1, "not put back")
    ]], gate, 150)
  end)

  -- Each kind of container undoes another's condition: one needs the maps in /proc to be its own, one makes them root's.
  it("gets through whatever the other threads start", function()
    support.as_user_with_ids(function()
      support.leaves_nothing(function()
        in_threads(6, [[
          local root, starts = ...
          local casulo = require "casulo"
          local kinds = { {}, { uid_map = "auto", user = 1000 }, { uid_map = { { 0, 100000, 9 } }, gid_map = { { 0, 200000, 9 } } } }
          local fields = kinds[driver.thread % 3 + 1]
          fields.rootfs, fields.command = root, { "/bin/true" }
          local box = casulo.container(fields)
          driver.meet()
          for _ = 1, starts do assert(assert(box:run()).exit_code == 0) end
          driver.meet()
          assert(casulo.sys.prctl(casulo.sys.PR_GET_DUMPABLE) == 1)
        ]], support.rootfs(), 25)
      end)
    end)
  end)

  each_with_ids("has its own errors, results and streams", function(map)
    in_threads(4, [[
      local root, starts, map = ...
      local casulo = require "casulo"
      map = map ~= "nil" and map or nil
      local own = tostring(driver.thread)
      local good = casulo.container { rootfs = root, command = { "echo", own }, uid_map = map, stdout = "pipe" }
      local bad = good:with { cwd = "/" .. own }
      for _ = 1, starts do
        assert(assert(good:run()).stdout == own .. "\n")
        local _, err = bad:run()
        assert(err.call == "openat2" and err.args[2] == "/" .. own, tostring(err))
      end
      driver.meet()
      local ok, message = pcall(casulo.unshared, {}, { function() end })
      assert(not ok and message:find "this process has several threads", message)
    ]], support.rootfs(), 20, map)
  end)
end)

describe("a start under 10,000 signals a second", function()
  each_with_ids("succeeds, and each signal is handled once, by the caller", function(map)
    in_threads(1, [[
      local root, starts, map = ...
      local casulo = require "casulo"
      local sys = casulo.sys
      local box = casulo.container { rootfs = root, command = { "/bin/true" }, uid_map = map ~= "nil" and map or nil }
      local own, signal = sys.getpid(), sys.SIGRTMIN -- of a real-time signal every one is delivered
      driver.handle(signal)
      driver.handle(sys.SIGURG) -- which does no harm to a process that does not handle it
      local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end
      local function has_room() -- in the queue, which overflows while a slow machine starts a container
        local file <close> = assert(io.open(("/proc/%d/status"):format(own)))
        local queued, limit = file:read "a":match "SigQ:%s*(%d+)/(%d+)"
        return queued * 2 < limit + 0
      end
      local stopped, stop = sys.pipe2(0)
      local told, tell = sys.pipe2(0)
      local sender = assert(sys.clone(0, function()
        local start, sent = now(), 0
        while sys.poll({ { fd = stopped, events = sys.POLLIN } }, 0) == 0 do -- a slow machine never catches up
          if sent < (now() - start) * 10000 and (sent % 100 ~= 0 or has_room()) then
            assert(sys.kill(own, signal))
            assert(sys.kill(0, sys.SIGURG)) -- the whole group gets this one, a child that starts among it
            sent = sent + 1
          end
        end
        sys.write(tell, tostring(sent))
      end))
      for _ = 1, starts do
        local result, err = box:run()
        assert(result and result.exit_code == 0, tostring(err))
      end
      sys.write(stop, "x")
      local pid
      repeat pid = sys.waitpid(sender) until pid
      local sent, handled, strange = math.tointeger(sys.read(told, 20)), driver.handled(signal)
      assert(sent > 0 and handled == sent and strange == 0, ("%d sent, %d handled, %d of them elsewhere"):format(sent, handled, strange))
    ]], support.rootfs(), 100, map)
  end)
end)

describe("a caller that is not dumpable", function()
  local function undumpable(body)
    return function()
      assert(sys.prctl(sys.PR_SET_DUMPABLE, 0))
      local ok, message = pcall(support.leaves_nothing, body)
      local after = sys.prctl(sys.PR_GET_DUMPABLE)
      assert(sys.prctl(sys.PR_SET_DUMPABLE, 1))
      assert(ok, message)
      assert.are.equal(0, after)
    end
  end
  local function run(fields)
    fields.rootfs, fields.command, fields.stdout = support.rootfs(), { "id", "-u" }, "pipe"
    local result, err = casulo.container(fields):run()
    return result and result.stdout, err
  end

  it("cannot write its own maps, and is told why", function()
    support.as_user(undumpable(function()
      local out, err = run {}
      assert.is_nil(out)
      assert.are.same({ "setup", "openat", sys.EACCES }, { err.kind, err.call, err.errno })
      assert.are.equal('openat(AT_FDCWD, "/proc/self/setgroups", O_WRONLY|O_CLOEXEC): Permission denied (the caller is not dumpable '
        .. "(PR_SET_DUMPABLE, or it has changed its ids), so the kernel keeps its id maps from it)", tostring(err))
    end))
  end)

  it("starts with maps that others write, and stays as it is", function()
    support.as_user_with_ids(undumpable(function() assert.are.equal("0\n", run { uid_map = "auto" }) end))
  end)

  it("starts as root, and stays as it is", function()
    if not support.needs_root() then return end
    undumpable(function()
      assert.are.equal("0\n", run {})
      assert.are.equal("7\n", run { user = 7 })
      local namespaces = { "user", "pid", "mount" }
      assert.are.equal("0\n", run { namespaces = namespaces, uid_map = { { 0, 0, 1 } } })
      assert.are.equal("7\n", run { namespaces = namespaces, user = 7, uid_map = { { 0, 100000, 9 } }, gid_map = { { 0, 100000, 9 } } })
    end)()
  end)
end)

describe("a command that does not execute", function()
  local function failing(fields)
    local box, result, err = casulo.container(fields), nil, nil
    support.leaves_nothing(function() result, err = box:run { stdin = "null", stdout = "pipe" } end)
    assert.is_nil(result)
    assert.are.equal("execve", err.call)
    return { err.kind, err.errno }, tostring(err)
  end

  each_with_ids("is told by the kind of the error, and nothing is left", function(map)
    local data = support.tmpdir()
    support.write_file(data .. "/script", "#!/no/such/shell\n")
    support.write_file(data .. "/self", "#!/data/self\n")
    support.write_file(data .. "/true", support.read_file(support.rootfs() .. "/bin/busybox"))
    for _, name in ipairs { "script", "self", "true" } do assert(sys.chmod(data .. "/" .. name, 493)) end
    local bind = { type = "bind", source = data, target = "/data" }
    local function with(command)
      return { rootfs = support.rootfs(), command = { command }, mounts = { bind }, uid_map = map ~= "nil" and "auto" or nil }
    end
    local kind, text = failing(with "/data/script")
    assert.are.same({ "not_found", sys.ENOENT }, kind)
    assert.is_truthy(text:find("it is a script for /no/such/shell, which the container lacks", 1, true), text)
    assert.are.same({ "not_executable", sys.ELOOP }, (failing(with "/data/self")))
    bind.noexec = true
    kind, text = failing(with "/data/true")
    assert.are.same({ "not_executable", sys.EACCES }, kind)
    assert.is_truthy(text:find("the file system that it is on is mounted noexec", 1, true), text)
    bind.noexec = false
    assert.are.same({ exit_code = 0 }, casulo.container(with "/data/true"):run())
  end)

  each_with_ids("holds no descriptor until the collector comes", function(map)
    local box = casulo.container { rootfs = support.rootfs(), command = { "/nope" }, uid_map = map ~= "nil" and "auto" or nil }
    box:run()
    collectgarbage()
    collectgarbage "stop"
    local before = #sys.scandir "/proc/self/fd"
    for _ = 1, 20 do box:run() end
    local after = #sys.scandir "/proc/self/fd"
    collectgarbage "restart"
    assert.are.equal(before, after)
  end)
end)
