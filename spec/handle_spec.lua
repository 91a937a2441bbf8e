-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(script, fields)
  local description = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script } }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

local function is_gone(pid)
  local _, _, errno = sys.kill(pid, 0)
  return errno == sys.ESRCH
end

local function wait_for_end(process) assert(sys.poll({ { fd = process:pollfd(), events = sys.POLLIN } }, 30000) == 1) end

-- The children of this process, zombies among them.
local function count_children()
  return select(2, support.read_file(("/proc/self/task/%d/children"):format(sys.getpid())):gsub("%d+", ""))
end

-- A caller that starts a container and ends without a word. → pid of the container
local function started_by_another(options, prepare)
  local reader <close>, writer = sys.pipe2(0)
  local caller = assert(sys.clone(0, function()
    local p = assert(box "sleep 1000":start(options))
    if prepare then prepare(p) end
    sys.write(writer, tostring(p.pid))
    sys.kill(sys.getpid(), sys.SIGKILL)
  end, { threads = true }))
  writer:close()
  local pid = math.tointeger(sys.read(reader, 20))
  sys.waitpid(caller)
  return pid
end

local function kill_orphan(pid)
  sys.kill(pid, sys.SIGKILL)
  return select(3, sys.waitpid(pid, sys.__WALL))
end

describe("start", function()
  support.each_identity("returns at once", function()
    local p <close> = assert(box "sleep 1000":start())
    assert.are.equal("timeout", select(2, p:wait(0)))
  end)

  support.each_identity("tells a failed sandbox, a missing command and a status of 127 apart", function()
    support.leaves_nothing(function()
      local result, err = box("true", { cwd = "/nonexistent" }):start()
      assert.are.same({ nil, "setup", "openat2", sys.ENOENT }, { result, err.kind, err.call, err.errno })
      result, err = box("", { command = { "no-such-command" } }):start()
      assert.are.same({ nil, "not_found" }, { result, err.kind })
      result, err = box("", { command = { "/etc" } }):start()
      assert.are.same({ nil, "not_executable" }, { result, err.kind })
      assert.are.same({ exit_code = 127 }, box "exit 127":run())
      assert.are.same({ exit_code = 127 }, box "no-such-command":run { stderr = "null" })
    end)
  end)
end)

describe("a signal", function()
  support.each_identity("goes by name or by number", function()
    for _, signal in ipairs { "TERM", "SIGTERM", sys.SIGTERM } do
      for _, method in ipairs { "signal", "kill" } do
        local p <close> = assert(box "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done":start { stdout = "pipe" })
        assert.are.equal("ready\n", sys.read(p.stdout, 100)) -- PID 1 has its handler
        assert.is_true(p[method](p, signal))
        assert.are.equal(9, p:wait().exit_code)
      end
    end
  end)

  support.each_identity("after the end takes nothing of what there is to read", function()
    for _, call in ipairs { "signal", "kill" } do
      local p <close> = assert(box "echo out; echo err >&2":start { stdout = "pipe", stderr = "pipe" })
      wait_for_end(p)
      assert.are.equal(sys.ESRCH, select(3, p[call](p, "TERM")))
      assert.are.same({ exit_code = 0, stdout = "out\n", stderr = "err\n" }, p:wait())
    end
  end)

  support.each_identity("for a process that has ended is ESRCH, reaped or not", function()
    local p <close> = assert(box "exit 2":start())
    wait_for_end(p)
    for _ = 1, 2 do
      assert.are.same({ nil, "signal: the process has ended", sys.ESRCH }, { p:signal "TERM" })
      assert.are.same({ nil, "kill: the process has ended", sys.ESRCH }, { p:kill() })
      assert.are.same({ exit_code = 2 }, p:wait())
    end
  end)

  it("must be one, and must be said", function()
    local p <close> = assert(box "sleep 1000":start())
    for _, wrong in ipairs { "NOPE", "term", "SIG", "", "_DFL", 1.5, true, {} } do
      assert.error_matches(function() p:signal(wrong) end, "^signal: unknown signal ")
    end
    assert.error_matches(function() p:signal() end, "signal: unknown signal nil")
    assert.error_matches(function() p:kill "NOPE" end, "^kill: unknown signal NOPE")
    assert.error_matches(function() p:wait "soon" end, "^wait: expected seconds, got soon")
    assert.are.equal(sys.EINVAL, select(3, p:signal(999)))
    local _, message = pcall(function() p:signal "NOPE" end)
    assert.is_truthy(tostring(message):find "handle_spec.lua:%d+: signal") -- the line of the mistake
  end)
end)

describe("a timeout", function()
  support.each_identity("ends a container that ignores TERM, with functions for its streams", function()
    support.leaves_nothing(function()
      local text = ""
      local result = assert(box "trap '' TERM HUP INT; echo one; (trap '' TERM; sleep 1000) & while :; do sleep 1; done":run {
        timeout = 1, stdout = function(chunk) text = text .. chunk end })
      assert.are.same({ timed_out = true, signal = sys.SIGKILL }, result)
      assert.are.equal("one\n", text)
    end)
  end)

  support.each_identity("is kept while output never stops", function()
    support.leaves_nothing(function()
      local start = now()
      local result = assert(box "while :; do echo x; done":run { timeout = 1, stdout = function() end })
      assert.are.same({ timed_out = true, signal = sys.SIGKILL }, result)
      assert.is_true(now() - start < 20)
    end)
  end)

  support.each_identity("does not wait for a survivor that holds the pipes open", function()
    local survivor = [[setsid sleep 1000 & echo $!; ]]
    local start = now()
    local shared = { namespaces = { pid = "host" } }
    for _, case in ipairs { { "sleep 1000", { timeout = 1, stdout = "pipe" } }, { "exit 4", { stdout = "pipe" } } } do
      local result = assert(box(survivor .. case[1], shared):run(case[2]))
      assert.are.equal(case[2].timeout and sys.SIGKILL or 4, result.signal or result.exit_code)
      assert.are.equal(case[2].timeout and true or nil, result.timed_out)
      assert(sys.kill(math.tointeger(result.stdout:match "%d+"), sys.SIGKILL))
    end
    assert.is_true(now() - start < 20)
  end)

  support.each_identity("that is not reached leaves no trace", function()
    assert.are.same({ exit_code = 0 }, box "exit 0":run { timeout = 1000 })
    local p <close> = assert(box "sleep 1000":start { timeout = 1 })
    assert.are.equal("timeout", select(2, p:wait(0.01)))
    assert.are.same({ timed_out = true, signal = sys.SIGKILL }, p:wait(30))
  end)
end)

describe("a handle", function()
  support.each_identity("ends and reaps its process when an error leaves the scope", function()
    support.leaves_nothing(function()
      local pid
      assert.is_false((pcall(function()
        local p <close> = assert(box "sleep 1000":start { stdin = "pipe", stdout = "pipe" })
        pid = p.pid
        error "anything"
      end)))
      assert.is_true(is_gone(pid))
    end)
  end)

  -- As libuv does to what it polls; waitid then no longer waits.
  support.each_identity("waits and ends although an event loop made its descriptor O_NONBLOCK", function()
    support.leaves_nothing(function()
      local p = assert(box "read line; exit 3":start { stdin = "pipe" })
      assert(sys.fcntl(p:pollfd(), sys.F_SETFL, sys.O_NONBLOCK))
      sys.write(p.stdin, "go\n")
      assert.are.same({ exit_code = 3 }, p:wait())
      local q = assert(box "sleep 1000":start())
      assert(sys.fcntl(q:pollfd(), sys.F_SETFL, sys.O_NONBLOCK))
      q:close()
      assert.are.same({ signal = sys.SIGKILL }, q:wait())
      assert.is_true(is_gone(q.pid))
    end)
  end)

  support.each_identity("takes a stream that its owner has closed for ended", function()
    local p <close> = assert(box "read line; echo x; exit 4":start { stdin = "pipe", stdout = "pipe", stderr = "pipe" })
    p.stderr:close()
    assert.are.equal("timeout", select(2, p:wait(0)))
    p.stdout:close()
    sys.write(p.stdin, "go\n")
    assert.are.same({ exit_code = 4, stdout = "" }, p:wait(30))
  end)
end)

describe("a detached container", function()
  support.each_identity("outlives its handle's scope, and the collector", function()
    support.leaves_nothing(function()
      local pids
      do
        local p <close> = assert(box "sleep 1000":start { detach = true, stdout = "pipe" })
        local q <close> = assert(box("sleep 1000", { detach = true }):start())
        local r <close> = assert(box "sleep 1000":start())
        assert.is_true(r:detach())
        pids = { p.pid, q.pid, r.pid, assert(box "sleep 1000":start { detach = true }).pid }
        assert.are.equal("timeout", select(2, p:wait(0)))
      end
      collectgarbage()
      for _, pid in ipairs(pids) do
        assert.is_false(is_gone(pid))
        assert(sys.kill(pid, sys.SIGKILL))
      end
      support.eventually(function()
        box "true":run()
        return count_children() == 0
      end, "all reaped by later starts")
    end)
  end)

  support.each_identity("is waited for, ended and timed as another, while it has its handle", function()
    support.leaves_nothing(function()
      local p <close> = assert(box "echo x; read line; exit 3":start { detach = true, stdin = "pipe", stdout = "pipe" })
      sys.write(p.stdin, "go\n")
      assert.are.same({ exit_code = 3, stdout = "x\n" }, p:wait())
      local q <close> = assert(box "sleep 1000":start { detach = true })
      q:kill()
      assert.are.same({ signal = sys.SIGKILL }, q:wait())
      assert.are.same({ timed_out = true, signal = sys.SIGKILL }, box "sleep 1000":run { detach = true, timeout = 1 })
      assert.is_false((pcall(function() box "echo x; sleep 1000":run { detach = true, stdout = error } end)))
    end)
  end)

  support.each_identity("whose handle is closed has a lost result, and no signals", function()
    local p = assert(box "sleep 1000":start { detach = true })
    p:close()
    assert.are.same({ lost = "the process is detached, and its handle closed" }, p:wait())
    assert.are.equal(sys.ESRCH, select(3, p:signal "KILL"))
    assert(sys.kill(p.pid, sys.SIGKILL))
    support.eventually(function()
      box "true":run()
      return is_gone(p.pid)
    end)
  end)

  support.each_identity("outlives its caller when it was started so, and else dies with it", function()
    support.as_subreaper(function()
      local pid = started_by_another({ detach = true })
      assert.are.equal(0, sys.waitpid(pid, sys.WNOHANG | sys.__WALL)) -- it runs, and is this process's child now
      assert.are.equal(sys.SIGKILL, kill_orphan(pid))
      pid = started_by_another(nil, function(p) p:detach() end)
      assert.are.same({ pid, "signal", sys.SIGKILL }, { sys.waitpid(pid, sys.__WALL) })
    end)
  end)

  support.each_identity("asks for no death with its caller, whoever it runs as", function()
    for _, fields in ipairs { {}, { user = 0 } } do
      local plan = box("true", fields):with { detach = true }:explain()
      assert.is_nil(plan:find "PR_SET_PDEATHSIG")
      assert.is_nil(plan:find "pidfd_open")
      assert.is_truthy(box("true", fields):explain():find "PR_SET_PDEATHSIG")
    end
  end)

  support.each_identity("leaves no zombies behind, a thousand of them", function()
    support.leaves_nothing(function()
      local sleeper, brief = box "read line", box("", { command = { "/bin/true" } })
      local alive = {}
      for i = 1, 20 do
        alive[i] = assert(sleeper:start { detach = true, stdin = "pipe" })
        alive[i]:detach()
      end
      for _ = 1, 1000 do
        local p = assert(brief:start { detach = true })
        p:close()
      end
      -- 20 that run, whose handles are here; as many zombies at most as there ran of the others at a time
      assert.is_true(count_children() <= 60, tostring(count_children()))
      for i = 1, 20 do
        alive[i].stdin:close()
        assert.are.equal(1, alive[i]:wait().exit_code)
      end
      support.eventually(function()
        box "true":run()
        return count_children() == 0
      end)
    end)
  end)
end)
