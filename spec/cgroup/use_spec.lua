-- SPDX-License-Identifier: MIT
-- What a container with limits is kept to, and what is told of it, as the kernel does it.
local casulo = require "casulo"
local cgroup_support = require "cgroup_support"
local support = require "support"
local sys = casulo.sys
local box, it = cgroup_support.box, cgroup_support.it

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end
local function pause(seconds) sys.poll({}, math.floor(seconds * 1000)) end

local ALLOCATE = "dd if=/dev/zero of=/dev/null bs=64M count=1"
local FOREVER = "sleep 1000"

describe("limits", function()
  it("keep a container in a cgroup of its own, with a namespace that begins there", function()
    local p <close> = assert(box("cat /proc/self/cgroup; " .. FOREVER, { pids = 10 }):start())
    local directory = cgroup_support.directory_of(p.pid)
    assert.are.equal("0::/\n", sys.read(p.stdout, 4096))
    assert.are_not.equal(cgroup_support.directory_of "self", directory)
    assert.are_not.equal(support.namespace("self", "cgroup"), support.namespace(p.pid, "cgroup"))
    assert.are.equal("10\n", support.read_file(directory .. "/pids.max"))
    assert.is_truthy(("\n" .. support.read_file(directory .. "/cgroup.procs")):find(("\n%d\n"):format(p.pid)))
    local q <close> = assert(box(FOREVER, { pids = 10 }):start())
    assert.are.equal(directory:match "^.*/", cgroup_support.directory_of(q.pid):match "^.*/")
    assert.are_not.equal(directory, cgroup_support.directory_of(q.pid))
  end)

  it("can be had without any, and then tell as much", function()
    local p <close> = assert(box(FOREVER, nil, { cgroup = true }):start())
    assert.are_not.equal(cgroup_support.directory_of "self", cgroup_support.directory_of(p.pid))
    local stats = assert(p:stats())
    assert.is_nil(stats.memory.max)
    assert.is_true(stats.memory.current > 0 and stats.pids.current >= 1 and stats.cpu.usage > 0)
  end)

  it("kill what takes more memory, say so, and leave the others alone", function()
    local sibling <close> = assert(box(FOREVER, { memory = "16m" }):start())
    local plain <close> = assert(box(FOREVER):start())
    local result = assert(box("exec " .. ALLOCATE, { memory = "16m", swap = 0 }):run())
    assert.are.same({ 9, true }, { result.signal, result.oom_killed })
    local parent = assert(box(ALLOCATE .. "; echo $?", { memory = "16m", swap = 0 }):run())
    assert.are.same({ 0, true, "137\n" }, { parent.exit_code, parent.oom_killed, parent.stdout })
    for _, p in ipairs { sibling, plain } do
      local waited, why = p:wait(0)
      assert.are.same({ nil, "timeout" }, { waited, why })
    end
    assert.are.equal(0, sibling:stats().memory.oom_kills)
    local enough = assert(box(ALLOCATE, { memory = "200m" }):run())
    assert.are.same({ 0 }, { enough.exit_code, enough.oom_killed })
  end)

  it("kill all at once where memory.oom.group says so", function()
    local result = assert(box(ALLOCATE .. "; echo $?", { memory = "16m", swap = 0, ["memory.oom.group"] = 1 }):run())
    assert.are.same({ 9, true, "" }, { result.signal, result.oom_killed, result.stdout })
  end)

  it("stop a fork bomb", function()
    local bomb = "f() { f | f & f; }; f & exec sleep 1000"
    local p <close> = assert(box(bomb, { pids = 30 }, { stdout = "null", stderr = "null" }):start())
    local directory = cgroup_support.directory_of(p.pid)
    support.eventually(function() return support.read_file(directory .. "/pids.events"):match "max ([1-9]%d*)" end, "a fork was refused")
    for _ = 1, 20 do assert.is_true(p:stats().pids.current <= 30) end
    assert.are.equal(30, p:stats().pids.max)
    assert(p:kill())
    assert.are.equal(9, p:wait().signal)
  end)

  it("give a busy loop its share of a processor", function()
    for _, share in ipairs { 0.1, 0.25 } do
      local p <close> = assert(box("while :; do :; done", { cpu = share }):start())
      pause(0.3) -- past the start, into whole periods
      local got, is_right
      for _ = 1, 5 do -- the host of a virtual machine may keep its processor from all for a while, which is nobody's time, or counts as the loop's
        local from, before = now(), p:stats().cpu.usage
        pause(2)
        got = (p:stats().cpu.usage - before) / (now() - from)
        is_right = math.abs(got - share) <= share * 0.1
        if is_right then break end
      end
      assert.is_true(is_right, ("%g of a processor in place of %g"):format(got, share))
      local cpu = p:stats().cpu
      assert.is_true(cpu.throttled > 0 and cpu.throttled_periods > 0 and cpu.periods >= cpu.throttled_periods)
    end
  end)

  it("set what else is asked for, by field and by file", function()
    local limits = {
      memory = "64m", memory_high = "32m", swap = "8m", pids = 100, cpu_weight = 50, cpus = "0", cpu = "max", ["memory.low"] = "4096",
      ["cgroup.max.depth"] = 3, ["cpu.max.burst"] = 1000,
    }
    local p <close> = assert(box(FOREVER, limits):start())
    local directory = cgroup_support.directory_of(p.pid)
    for file, text in pairs {
      ["memory.max"] = "67108864", ["memory.high"] = "33554432", ["memory.swap.max"] = "8388608", ["pids.max"] = "100", ["cpu.weight"] = "50",
      ["cpuset.cpus"] = "0", ["cpu.max"] = "max 100000", ["memory.low"] = "4096", ["cgroup.max.depth"] = "3", ["cpu.max.burst"] = "1000",
    } do assert.are.equal(text .. "\n", support.read_file(("%s/%s"):format(directory, file))) end
  end)

  it("that the kernel refuses are errors before the start, and name the file", function()
    local value, file = "limits: the kernel takes no such value", "limits: the cgroups of this kernel, or of this host, have no such file"
    for _, case in ipairs {
      { { cpus = "4000" }, 'write(cpuset.cpus, "4000", 4): ', value }, { { ["memory.nonsense"] = 1 }, 'openat(cgroup, "memory.nonsense", ', file },
      { { ["cpu.weight"] = 0 }, 'write(cpu.weight, "0", 1): ', value }, { { hugetlb = { ["3MB"] = 1 } }, 'openat(cgroup, "hugetlb.3MB.max"', file },
      { { io = { ["259:4095"] = { rbps = "1m" } } }, 'write(io.max, "259:4095 rbps=1048576", 21): ', value },
    } do
      local ran, err = box(FOREVER, case[1]):run()
      assert.is_nil(ran)
      assert.are.equal(case[2], tostring(err):sub(1, #case[2]))
      assert.are.equal(case[3], err.hint)
    end
  end)

  it("are seen inside by a mount of cgroup2, which cannot change them", function()
    local mount = { mounts = { { type = "cgroup2", target = "/sys/fs/cgroup" } } }
    local script = "cat /sys/fs/cgroup/pids.max; echo max >/sys/fs/cgroup/pids.max"
    local result = assert(box(script, { pids = 7 }, mount):run())
    assert.are.equal("7\n", result.stdout)
    assert.is_truthy(result.stderr:find "Read%-only file system")
  end)
end)

describe("a container with a cgroup of its own", function()
  it("stands still while it is frozen", function()
    local p <close> = assert(box("while :; do :; done", { cpu = 0.5 }):start())
    assert.is_true(p:freeze())
    local before = p:stats().cpu.usage
    pause(0.3)
    assert.are.equal(before, p:stats().cpu.usage)
    assert.is_true(p:freeze()) -- it is already
    local q, err = p:exec { command = { "/bin/true" }, timeout = 2 }
    assert.is_nil(q)
    assert.are.equal("exec: the container is frozen; thaw lets it go on", tostring(err))
    assert.is_true(p:thaw())
    support.eventually(function() return p:stats().cpu.usage > before end, "it goes on")
  end)

  it("can be ended while it is frozen, by a word, a timeout and the end of its scope", function()
    local p <close> = assert(box(FOREVER, { pids = 10 }, { timeout = 0.3 }):start())
    assert.is_true(p:freeze())
    assert.are.same({ timed_out = true, signal = 9, stdout = "", stderr = "" }, p:wait())
    local q = assert(box(FOREVER, { pids = 10 }):start())
    assert.is_true(q:freeze())
    assert.is_true(q:kill())
    assert.are.equal(9, q:wait().signal)
    do
      local r <close> = assert(box(FOREVER, { pids = 10 }):start())
      assert.is_true(r:freeze())
    end
  end)

  it("takes other limits, all or none", function()
    local p <close> = assert(box(FOREVER, { pids = 10, memory = "64m" }):start())
    local directory = cgroup_support.directory_of(p.pid)
    local function limits() return support.read_file(directory .. "/pids.max") .. support.read_file(directory .. "/memory.max") end
    assert.is_true(p:update { pids = 20, memory = "32m", cpu = 0.5 })
    assert.are.equal("20\n33554432\n", limits())
    local ok, message, errno = p:update { pids = 30, memory = "16m", ["zzz.max"] = 1 }
    assert.are.same({ nil, sys.ENOENT }, { ok, errno })
    assert.is_truthy(message:find "^update: %[\"zzz.max\"%]: open ", message)
    assert.are.equal("20\n33554432\n", limits())
    assert.has_error(function() p:update { memory = "lots" } end)
    assert.has_error(function() p:update { memroy = "1m" } end, 'update: unknown limit "memroy"; did you mean memory?')
  end)

  it("tells what it uses", function()
    local script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=8 2>/dev/null; echo done; " .. FOREVER
    local p <close> = assert(box(script, { memory = "64m", pids = 10 }):start())
    sys.read(p.stdout, 10)
    local stats = assert(p:stats())
    assert.is_true(stats.memory.current >= 8 << 20 and stats.memory.current <= 64 << 20)
    assert.is_true(not stats.memory.peak or stats.memory.peak >= stats.memory.current) -- since Linux 5.19
    assert.are.same({ 64 << 20, 0, 10 }, { stats.memory.max, stats.memory.oom_kills, stats.pids.max })
    assert.is_true(stats.cpu.usage > 0 and stats.cpu.usage < 60 and stats.cpu.usage >= stats.cpu.system)
    assert.are.equal("table", type(stats.io))
    if sys.stat "/proc/pressure" then
      for _, name in ipairs { "cpu", "memory", "io" } do
        assert.is_true(stats.pressure[name].some.total >= 0 and stats.pressure[name].some.avg10 >= 0)
      end
    end
  end)

  it("tells nothing, and takes nothing, when it has ended", function()
    local p = assert(box("true", { pids = 10 }):start())
    p:wait()
    for _, call in ipairs { "stats", "freeze", "thaw" } do
      assert.are.same({ nil, call .. ": the container has ended", sys.ENOENT }, { p[call](p) })
    end
    assert.are.same({ nil, "update: the container has ended", sys.ENOENT }, { p:update { pids = 1 } })
  end)

  it("keeps a further command to its limits, too", function()
    local p <close> = assert(box(FOREVER, { memory = "16m", swap = 0, pids = 20 }):start())
    local q <close> = assert(p:exec { command = { "/bin/cat", "/proc/self/cgroup" }, stdout = "pipe" })
    assert.are.equal("0::/\n", q:wait().stdout)
    local r <close> = assert(p:exec { command = { "/bin/sh", "-c", ALLOCATE }, stderr = "null" })
    local result = r:wait()
    assert.are.equal(137, result.exit_code or 128 + result.signal)
    assert.is_true(p:stats().memory.oom_kills >= 1)
  end)

  it("is ended as a whole where it shares the host's PID namespace", function()
    local shared = { namespaces = { pid = "host" } }
    local script = "setsid sleep 1001 </dev/null >/dev/null 2>&1 & echo $!; "
    local function has_ended(pid)
      local pidfd <close> = assert(sys.pidfd_open(pid))
      local ended = sys.poll({ { fd = pidfd, events = sys.POLLIN } }, 10000) == 1
      sys.kill(pid, sys.SIGKILL)
      sys.waitpid(pid, sys.__WALL)
      return ended
    end
    support.as_subreaper(function()
      local p <close> = assert(box(script .. FOREVER, { pids = 10 }, shared):start())
      local other = math.tointeger(tonumber(sys.read(p.stdout, 20)))
      assert(p:kill())
      assert.are.equal(9, p:wait().signal)
      assert.is_true(has_ended(other))
      local ended = assert(box(script, { pids = 10 }, shared):run())
      assert.is_true(has_ended(math.tointeger(tonumber(ended.stdout))))
    end)
  end)
end)
