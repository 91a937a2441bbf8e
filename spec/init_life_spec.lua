-- SPDX-License-Identifier: MIT
-- A container with init lives as long as its caller wants it to, whoever is killed when.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(script, fields)
  local description = { rootfs = support.rootfs(), init = true, stderr = "null", command = { "/bin/sh", "-c", script } }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local RANGES = { { 0, 100000, 65536 } }
local WITH_RANGES = { namespaces = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }, uid_map = RANGES, gid_map = RANGES }

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

-- It is the randomness that is tested: a moment, not a state.
local function spin(seconds)
  local moment = now() + seconds
  while now() < moment do end
end

-- A copy of this process that runs a function; what of its children outlives it becomes a child of this process.
local function caller(body)
  return assert(sys.clone(0, function()
    body()
    sys._exit(0)
  end, { threads = true }))
end

local function adopting(body)
  sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1)
  local ok, err = pcall(body)
  sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 0)
  if not ok then error(err, 0) end
end

local function no_child_lives()
  local pid, _, errno
  repeat pid, _, errno = sys.waitpid(-1, sys.WNOHANG | sys.__WALL) until not pid or pid == 0
  return not pid and errno == sys.ECHILD
end

-- Starts as a caller that is killed when the script has said that it is ready. All must end.
local function dies_with_caller(script, fields)
  adopting(function()
    local described = box(script, fields) -- here: what a copy makes in the file system, nobody removes
    local reader <close>, writer = sys.pipe2(0)
    local pid = caller(function()
      local p = assert(described:start { stdout = writer })
      sys.waitpid(p.pid)
    end)
    writer:close()
    assert.are.equal("ready\n", sys.read(reader, 100))
    assert.are.equal(0, sys.waitpid(pid, sys.WNOHANG))
    sys.kill(pid, sys.SIGKILL)
    assert.are.equal("", sys.read(reader, 100)) -- nobody has the other end any longer
    support.eventually(no_child_lives, "all ended with their caller")
  end)
end

describe("a container with init dies with its caller", function()
  support.each_identity("whatever signals it ignores or blocks", function()
    dies_with_caller "n=1; while [ $n -le 64 ]; do trap '' $n; n=$((n+1)); done; setsid sh -c 'sleep 1000 & echo ready; sleep 1000'"
    dies_with_caller "kill -KILL 1; kill -STOP 1; kill -STOP -1; (while :; do kill -STOP 1; kill -KILL 1; done) & echo ready; sleep 1000"
    dies_with_caller "echo ready; kill -STOP $$"
  end)

  it("although its command takes other ids", function()
    if not support.needs_root() then return end
    for _, fields in ipairs { {}, WITH_RANGES } do
      local host = { rootfs = "/", namespaces = fields.namespaces, uid_map = fields.uid_map, gid_map = fields.gid_map }
      dies_with_caller("exec setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'echo ready; sleep 1000'", host)
      host.user = 1000
      dies_with_caller("echo ready; sleep 1000", host)
    end
    -- a setuid program: without init that would be PID 1, of which the kernel forgets with whom it is to die
    local root = support.tmpdir()
    assert(os.execute(("cp '%s/bin/busybox' '%s/sh' && chmod 4755 '%s/sh'"):format(support.rootfs(), root, root)))
    dies_with_caller("/data/sh -c 'echo ready; sleep 1000'", { user = 1000, mounts = { { type = "bind", source = root, target = "/data" } } })
  end)

  support.each_identity("although it tries to trace PID 1", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    dies_with_caller("strace -f -p 1 2>/dev/null; unshare -Ur strace -p 1 2>/dev/null; echo ready; sleep 1000", { rootfs = "/" })
  end)

  -- Kills callers at random moments of their starts.
  local function kill_callers(count, fields)
    adopting(function()
      local sleeper = box("sleep 1000 & sleep 1000", fields)
      assert(sleeper:start()):close()
      local started, longest = 0, 0.004
      for _ = 1, count do
        local reader <close>, writer = sys.pipe2(0)
        local pid = caller(function()
          sys.write(writer, "x")
          local p = assert(sleeper:start())
          sys.write(writer, "y")
          sys.waitpid(p.pid)
        end)
        writer:close()
        sys.read(reader, 1)
        spin(math.random() * longest)
        sys.kill(pid, sys.SIGKILL)
        local is_started = sys.read(reader, 1) == "y"
        longest = longest * (is_started and 0.9 or 1.06) -- so that it is killed before, in the midst of it and after
        started = started + (is_started and 1 or 0)
      end
      support.eventually(no_child_lives, "all ended with their callers")
      assert.is_true(started > 5 and started < count - 5, "killed after the start: " .. started)
    end)
  end

  support.each_identity("at whatever moment of its start that is killed", function() kill_callers(200) end)

  it("with ranges of ids, too", function()
    if support.needs_root() then kill_callers(100, WITH_RANGES) end
  end)
end)

describe("a container with init that is detached", function()
  support.each_identity("outlives its caller, however soon that ends", function()
    adopting(function()
      local sleeper = box "sleep 1000"
      for i = 1, 200 do
        local reader <close>, writer = sys.pipe2(0)
        local pid = caller(function()
          local p = assert(i % 2 == 0 and sleeper:start() or sleeper:create())
          if i % 4 > 1 then assert(p:detach()) end
          assert(i % 2 == 0 or p:start())
          if i % 4 <= 1 then assert(p:detach()) end
          sys.write(writer, tostring(p.pid))
          sys._exit(0)
        end)
        writer:close()
        local init = math.tointeger(sys.read(reader, 20))
        assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
        assert.are.equal(0, sys.waitpid(init, sys.WNOHANG), "it has ended with its caller")
        sys.kill(init, sys.SIGKILL)
        assert.are.same({ init, "signal", sys.SIGKILL }, { sys.waitpid(init) })
      end
    end)
  end)

  support.each_identity("goes on as before", function()
    local p = assert(box "echo ready; read line; exit 5":start { stdin = "pipe", stdout = "pipe" })
    assert.are.equal("ready\n", sys.read(p.stdout, 100))
    assert.is_true(p:detach())
    assert.is_true(p:detach()) -- as often as one likes
    sys.write(p.stdin, "go\n")
    assert.are.equal(5, p:wait().exit_code)
    assert.is_true(p:detach())
  end)

  support.each_identity("has no socket any longer", function()
    local p <close> = assert(box "sleep 1000":start())
    local fds = ("/proc/%d/fd"):format(p.pid)
    assert(p:detach())
    p.detached = false -- so that it ends here
    support.eventually(function() return #sys.scandir(fds) == 1 end, "the signalfd alone")
  end)

  support.each_identity("lets no signal of a report that nobody reads come to its command", function()
    adopting(function()
      local fifo = support.tmpdir() .. "/fifo"
      assert(sys.mknod(fifo, sys.S_IFIFO | 438))
      -- the command opens a pipe that nobody writes to as soon as it runs; so it tells that it came that far
      local sleeper = box("read line </data/fifo; exit 6", { mounts = { { type = "bind", source = fifo, target = "/data/fifo" } } })
      for _ = 1, 40 do
        local reader <close>, writer = sys.pipe2(0)
        local pid = caller(function()
          local p = assert(sleeper:create { detach = true })
          sys.write(writer, tostring(p.pid))
          sys.sendmsg(p.control, "s", {}) -- as p:start does, but does not wait
          sys._exit(0)
        end)
        writer:close()
        local init = math.tointeger(sys.read(reader, 20))
        sys.waitpid(pid)
        local file = assert(io.open(fifo, "w")) -- when the command has it open, too
        file:write "go\n"
        file:close()
        local ended, how, code = sys.waitpid(init)
        assert.are.same({ init, "exit", 6 }, { ended, how, code })
      end
    end)
  end)
end)

describe("a start with init that is interrupted", function()
  -- Whoever is killed, the caller gets an error or a process that was killed; what is left is counted in the end.
  support.each_identity("by kills of casulo-init or its child leaves its caller whole", function()
    local sleeper, own = box "exit 0", sys.getpid()
    assert.are.equal(0, sleeper:run().exit_code)
    support.leaves_nothing(function()
      local killer = caller(function()
        local function children(pid)
          local file = io.open(("/proc/%d/task/%d/children"):format(pid, pid))
          local text = file and file:read "a" or ""
          if file then file:close() end
          return text:gmatch "%d+"
        end
        while sys.getppid() == own do
          for pid in children(own) do
            pid = math.tointeger(pid)
            if pid ~= sys.getpid() then
              spin(math.random() * (math.random(2) == 1 and 0.002 or 0.02))
              local child = math.random(2) == 1 and children(pid)()
              sys.kill(child and math.tointeger(child) or pid, sys.SIGKILL)
            end
          end
        end
      end)
      local outcomes = { error = 0, killed = 0, command = 0, whole = 0 }
      for _ = 1, 400 do
        local result, err = sleeper:run()
        if err then
          assert.are.same({ "setup", sys.ECANCELED }, { err.kind, err.errno }, tostring(err))
          outcomes.error = outcomes.error + 1
        elseif result.signal then
          assert.are.equal(sys.SIGKILL, result.signal)
          outcomes.killed = outcomes.killed + 1
        elseif result.exit_code == 137 then outcomes.command = outcomes.command + 1
        else
          assert.are.equal(0, result.exit_code)
          outcomes.whole = outcomes.whole + 1
        end
      end
      sys.kill(killer, sys.SIGKILL)
      sys.waitpid(killer)
      assert.is_true(outcomes.error > 20, "too few kills came early: " .. outcomes.error)
    end)
  end)
end)

describe("of starts with init", function()
  local function resident() return tonumber(support.read_file "/proc/self/status":match "VmRSS:%s+(%d+)") end

  support.each_identity("a thousand leave nothing", function()
    local good, bad = box("exit 0", { stdout = "pipe" }), box("exit 0", { cwd = "/nonexistent" })
    local function some(count)
      for _ = 1, count do
        assert.are.equal(0, good:run().exit_code)
        assert.is_nil((bad:run()))
      end
      collectgarbage()
    end
    some(100)
    local least = math.huge
    for _ = 1, 3 do -- the heap has its ups and downs; what leaks grows each time
      local before = resident()
      support.leaves_nothing(function() some(200) end)
      least = math.min(least, resident() - before)
    end
    assert.is_true(least < 400, ("%d kB more each time"):format(least))
  end)

  support.each_identity("two hundred live side by side, each with its output", function()
    support.leaves_nothing(function()
      local all = {}
      local sleeper = box "echo ready; read line; echo $line; exit 3"
      for i = 1, 200 do all[i] = assert(sleeper:start { stdin = "pipe", stdout = "pipe" }) end
      for i, p in ipairs(all) do sys.write(p.stdin, i .. "\n") end
      for i, p in ipairs(all) do assert.are.same({ exit_code = 3, stdout = ("ready\n%d\n"):format(i) }, p:wait(60)) end
    end)
  end)
end)
