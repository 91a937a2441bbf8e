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

describe("a process", function()
  support.each_identity("ends in its exit status or its signal", function()
    assert.are.same({ exit_code = 0 }, box("exit 0"):run())
    assert.are.same({ exit_code = 255 }, box("exit 255"):run())
    local p <close> = assert(box("cat", { stdin = "pipe" }):start())
    assert(p:kill "KILL")
    assert.are.same({ signal = sys.SIGKILL }, p:wait())
    assert.are.same({ signal = sys.SIGKILL }, p:wait()) -- as often as one asks
  end)

  support.each_identity("gives up waiting after a time and can be waited for again", function()
    support.leaves_nothing(function()
      local p <close> = assert(box("read line; exit 4", { stdin = "pipe" }):start())
      local start = now()
      local result, why = p:wait(0.05)
      assert.is_nil(result)
      assert.are.equal("timeout", why)
      assert.is_true(now() - start >= 0.05)
      assert.are.equal("timeout", select(2, p:wait(0)))
      assert.are.equal(3, sys.write(p.stdin, "go\n"))
      assert.are.same({ exit_code = 4 }, p:wait(30))
    end)
  end)

  support.each_identity("is ended with everything in it when its time is over", function()
    support.leaves_nothing(function()
      local start = now()
      local result = assert(box("sleep 1000 & sleep 1000"):run { timeout = 0.2 })
      assert.are.same({ timed_out = true, signal = sys.SIGKILL }, result)
      assert.is_true(now() - start < 20)
    end)
  end)

  support.each_identity("has both streams captured whole, 100 MB each at once", function()
    local result = assert(box("head -c 104857600 /dev/zero & head -c 104857600 /dev/zero >&2; wait"):run {
      stdout = "pipe", stderr = "pipe", timeout = 120 })
    assert.are.equal(0, result.exit_code)
    assert.are.equal(104857600, #result.stdout)
    assert.are.equal(104857600, #result.stderr)
  end)

  support.each_identity("is reaped with its streams when its scope is left, or it is collected", function()
    support.leaves_nothing(function()
      local pid
      do
        local p <close> = assert(box("cat", { stdin = "pipe", stdout = "pipe" }):start())
        pid = p.pid
        assert.is_false(is_gone(pid))
      end
      assert.is_true(is_gone(pid))
      pid = assert(box("cat", { stdin = "pipe" }):start()).pid
      collectgarbage()
      collectgarbage()
      assert.is_true(is_gone(pid))
    end)
  end)

  support.each_identity("reads and writes through pipes while it runs", function()
    local p <close> = assert(box("while read line; do echo \"<$line>\"; done"):start { stdin = "pipe", stdout = "pipe" })
    sys.write(p.stdin, "one\n")
    assert.are.equal("<one>\n", sys.read(p.stdout, 100))
    sys.write(p.stdin, "two\n")
    p.stdin:close()
    assert.are.same({ exit_code = 0, stdout = "<two>\n" }, p:wait())
  end)

  support.each_identity("takes files, descriptors and numbers for its streams", function()
    local path = support.tmpdir() .. "/out"
    local file = assert(io.open(path, "w"))
    local input <close> = assert(sys.open("/etc/passwd", sys.O_RDONLY))
    assert.are.equal(0, box("cat | wc -c; echo err >&2"):run { stdin = input, stdout = file, stderr = file }.exit_code)
    file:close()
    assert.are.equal(("%d\nerr\n"):format(sys.stat("/etc/passwd").size), support.read_file(path))
    local reader <close>, writer = sys.pipe2(0)
    assert(box("echo to a number"):run { stdout = writer:fileno(), stderr = "null", stdin = "null" })
    writer:close()
    assert.are.equal("to a number\n", sys.read(reader, 100))
  end)

  support.each_identity("can have streams that are swapped", function()
    local path = support.tmpdir()
    local script = ([[local casulo = require "casulo"
      assert(casulo.container { rootfs = %q, command = { "/bin/sh", "-c", "echo out; echo err >&2" } }:run { stdout = 2, stderr = 1 })
    ]]):format(support.rootfs())
    support.write_file(path .. "/swap.lua", script)
    local _, out, err = support.sh(("%s && lua5.4 %s/swap.lua"):format(support.environment(), path))
    assert.are.same({ "err\n", "out\n" }, { out, err })
  end)

  support.each_identity("has a descriptor that becomes readable when it ends", function()
    local p <close> = assert(box("read line", { stdin = "pipe" }):start())
    local entry = { fd = p:pollfd(), events = sys.POLLIN }
    assert.are.equal(0, sys.poll({ entry }, 0))
    p.stdin:close()
    assert.are.equal(1, sys.poll({ entry }, 30000))
    assert.are.same({ exit_code = 1 }, p:wait())
    assert.error_matches(function() p:pollfd() end, "pollfd: the process has ended")
  end)

  local function dies_with_caller(fields)
    local reader <close>, writer = sys.pipe2(0)
    local caller = assert(sys.clone(0, function()
      local p = assert(box("sleep 1000", fields):start())
      sys.write(writer, tostring(p.pid))
      while true do sys.poll({}, 1000) end
    end, { threads = true }))
    writer:close()
    local pid = math.tointeger(sys.read(reader, 20))
    local pidfd <close> = assert(sys.pidfd_open(pid))
    sys.kill(caller, sys.SIGKILL)
    sys.waitpid(caller)
    if sys.poll({ { fd = pidfd, events = sys.POLLIN } }, 10000) == 1 then return end
    sys.pidfd_send_signal(pidfd, sys.SIGKILL)
    error("it lives on", 2)
  end

  support.each_identity("dies with its caller", function() dies_with_caller {} end)

  it("dies with its caller, whatever its ids are", function()
    if not support.needs_root() then return end
    local map = { { 0, 100000, 65536 } }
    local mapped = { namespaces = { "user", "pid", "mount" }, uid_map = map, gid_map = map }
    dies_with_caller { user = 1000 }
    dies_with_caller(mapped)
    mapped.user = 7
    dies_with_caller(mapped)
  end)

  it("is not ended by a copy of its caller that ends", function()
    local p <close> = assert(box("read line; exit 6", { stdin = "pipe" }):start())
    local copy = assert(sys.clone(0, function()
      p:close()
    end, { threads = true }))
    sys.waitpid(copy)
    sys.write(p.stdin, "go\n")
    assert.are.same({ exit_code = 6 }, p:wait())
  end)

  it("raises for signals and options that there are not", function()
    local p <close> = assert(box("cat", { stdin = "pipe" }):start())
    assert.error_matches(function() p:kill "NOPE" end, "kill: unknown signal NOPE")
    assert.error_matches(function() box("true"):start { stdot = "pipe" } end, 'start: unknown field "stdot"; did you mean stdout?')
    assert.error_matches(function() box("true"):run(5) end, "^run: expected a table, got 5$")
    assert.error_matches(function() box("true"):run { stdin = "pipe" } end, "^run: stdin: nobody could write")
    assert.error_matches(function() box("true"):run { timeout = -1 } end, "^run.timeout: expected seconds above 0")
  end)

  it("leaves nothing after 300 starts, successful and not", function()
    local good, bad = box "exit 0", box("exit 0", { cwd = "/nonexistent" })
    good:run()
    bad:run()
    support.leaves_nothing(function()
      for _ = 1, 150 do
        assert.are.equal(0, good:run { stdout = "pipe", stdin = "null" }.exit_code)
        assert.is_nil((bad:run { stdout = "pipe" }))
      end
    end)
  end)
end)

describe("a start that is interrupted", function()
  -- The caller's memory is shared with a child that may be killed at any instant of its start.
  support.each_identity("by 2,000 kills at random moments leaves the caller's heap whole", function()
    local heap = {}
    for i = 1, 50000 do heap[i] = { name = "entry " .. i, i } end
    local sleeper = casulo.container { rootfs = support.rootfs(), command = { "/bin/sleep", "1000" } }
    assert(sleeper:start()):close()
    local caller = sys.getpid()
    local killer = assert(sys.clone(0, function()
      local path = ("/proc/%d/task/%d/children"):format(caller, caller)
      local own = sys.getpid()
      while sys.getppid() == caller do
        for pid in support.read_file(path):gmatch "%d+" do
          if math.tointeger(pid) ~= own then
            local moment = now() + math.random() * 0.0012
            while now() < moment do end -- a moment, not a state: it is the randomness that is tested
            sys.kill(math.tointeger(pid), sys.SIGKILL)
          end
        end
      end
    end, { threads = true }))
    local early, killed = 0, 0
    while killed < 2000 do
      local p, err = sleeper:start()
      if p then
        assert.are.same({ signal = sys.SIGKILL }, p:wait())
      else
        assert.are.same({ "setup", sys.ECANCELED }, { err.kind, err.errno }, tostring(err))
        early = early + 1
      end
      killed = killed + 1
    end
    sys.kill(killer, sys.SIGKILL)
    sys.waitpid(killer)
    collectgarbage()
    assert.is_true(early > 200, "too few kills came early: " .. early)
    for i = 1, 50000 do assert(heap[i].name == "entry " .. i and heap[i][1] == i) end
    local clean = sleeper:with { command = { "/bin/true" } }
    for _ = 1, 1000 do assert.are.same({ exit_code = 0 }, clean:run()) end
  end)

  support.each_identity("by the caller's own death leaves no orphan", function()
    local marker = ("%d%d"):format(sys.getpid(), 9100)
    local root, command = support.rootfs(), support.command()
    local function orphans()
      local found = {}
      for _, name in ipairs(sys.scandir "/proc") do
        local file = name:find "^%d+$" and io.open(("/proc/%s/cmdline"):format(name))
        if file then
          local ok, text = pcall(file.read, file, "a")
          file:close()
          if ok and text and text:find("sleep\0" .. marker, 1, true) then found[#found + 1] = name end
        end
      end
      return #found == 0
    end
    for _ = 1, 60 do
      local pid = assert(sys.clone(0, function()
        sys.execve(command, { command, "run", "--rootfs", root, "--", "sleep", marker }, { "PATH=/bin:/usr/bin" })
      end, { threads = true }))
      local moment = now() + math.random() * 0.012
      while now() < moment do end -- as above
      sys.kill(pid, sys.SIGKILL)
      sys.waitpid(pid)
    end
    support.eventually(orphans, "all containers gone with their callers")
  end)
end)
