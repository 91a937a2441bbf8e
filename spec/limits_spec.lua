-- SPDX-License-Identifier: MIT
-- The field `limits`: what it takes, what is refused, and what is said where the host cannot. What the kernel does about it is in spec/cgroup.
local casulo = require "casulo"
local cgroup = require "casulo.cgroup"
local cgroup_support = require "cgroup_support"
local limit_fields = require "casulo.limit_fields"
local obstacles = require "casulo.obstacles"
local support = require "support"
local sys = require "casulo.sys"

local function described(limits, more)
  local fields = { rootfs = "/", limits = limits }
  for name, value in pairs(more or {}) do fields[name] = value end
  return casulo.container(fields)
end

-- "file=value", of a field.
local function written(limits)
  local texts = {}
  for i, setting in ipairs(limit_fields.check(limits, "limits")) do texts[i] = ("%s=%s"):format(setting.file, setting.value) end
  return table.concat(texts, "; ")
end

local function may_make_cgroups()
  if not obstacles.cgroup(cgroup.own(), nil, require "casulo.surroundings") then return true end
  support.cannot_run "the caller may make no cgroup of version 2 here"
end

describe("limits", function()
  it("are texts for the files of a cgroup", function()
    for expected, limits in pairs {
      ["memory.max=67108864"] = { memory = "64m" }, ["memory.max=1024"] = { memory = "1K" }, ["memory.max=3221225472"] = { memory = "3g" },
      ["memory.max=5000"] = { memory = 5000 }, ["memory.high=max"] = { memory_high = "max" }, ["memory.swap.max=0"] = { swap = 0 },
      ["pids.max=7"] = { pids = 7 }, ["cpu.max=50000 100000"] = { cpu = 0.5 }, ["cpu.max=200000 100000"] = { cpu = 2 },
      ["cpu.max=max 100000"] = { cpu = "max" }, ["cpu.weight=10000"] = { cpu_weight = 10000 }, ["cpuset.cpus=0-1,3"] = { cpus = "0-1,3" },
      ["cpuset.cpus=1"] = { cpus = 1 }, ["hugetlb.2MB.max=4194304"] = { hugetlb = { ["2MB"] = "4m" } },
      ["io.max=8:0 rbps=1048576 wiops=max"] = { io = { ["8:0"] = { rbps = "1m", wiops = "max" } } },
      ["memory.oom.group=1"] = { ["memory.oom.group"] = 1 }, ["io.weight=default 50"] = { ["io.weight"] = "default 50" }, [""] = {},
    } do assert.are.equal(expected, written(limits)) end
    assert.are.equal("memory.max=4096; pids.max=1", written { pids = 1, memory = 4096 })
  end)

  it("that are wrong are refused by their path", function()
    local size = 'expected bytes, a string such as "64m", or "max", got '
    for _, case in ipairs {
      { 7, "container.limits: expected a table of limits, got 7" },
      { { memroy = "1m" }, 'container.limits: unknown limit "memroy"; did you mean memory?' },
      { { 1 }, "container.limits: unknown limit 1; known: cpu cpu_weight cpus hugetlb io memory memory_high pids swap" },
      { { memory = "64mb" }, "container.limits.memory: " .. size .. '"64mb"' }, { { memory = -1 }, "container.limits.memory: " .. size .. "-1" },
      { { memory = 0 }, "container.limits.memory: " .. size .. "0" }, { { memory = 1.5 }, "container.limits.memory: " .. size .. "1.5" },
      { { memory = "99999999999999999999" }, "container.limits.memory: " .. size .. '"99999999999999999999"' },
      { { memory = "9999999999g" }, "container.limits.memory: " .. size .. '"9999999999g"' },
      { { swap = {} }, "container.limits.swap: " .. size .. "a table" },
      { { pids = 0 }, 'container.limits.pids: expected an integer from 1 on, or "max", got 0' },
      { { cpu = 0 }, 'container.limits.cpu: expected cores, from 0.01 on: 0.5 is half of one; or "max", got 0' },
      { { cpu = "1" }, 'container.limits.cpu: expected cores, from 0.01 on: 0.5 is half of one; or "max", got "1"' },
      { { cpu_weight = 10001 }, "container.limits.cpu_weight: expected an integer from 1 to 10000, got 10001" },
      { { cpus = "3-1" }, 'container.limits.cpus: expected numbers of processors, such as "0-1,3", got "3-1"' },
      { { cpus = "0," }, 'container.limits.cpus: expected numbers of processors, such as "0-1,3", got "0,"' },
      { { io = { sda = {} } }, 'container.limits.io: expected devices such as "/dev/sda" or "8:0", got "sda"' },
      { { io = { ["8:0"] = { rpbs = 1 } } }, 'container.limits.io["8:0"]: unknown field "rpbs"; did you mean rbps?' },
      { { io = { ["8:0"] = { rbps = "x" } } }, 'container.limits.io["8:0"].rbps: ' .. size .. '"x"' },
      { { io = { ["8:0"] = {} } }, 'container.limits.io["8:0"]: expected rbps, wbps, riops or wiops' },
      { { io = { ["/dev/null"] = { rbps = 1 } } }, 'container.limits.io["/dev/null"]: it is no block device of this host' },
      { { io = { ["/nonexistent"] = { rbps = 1 } } }, 'container.limits.io["/nonexistent"]: it is no block device of this host' },
      { { hugetlb = { big = 1 } }, 'container.limits.hugetlb: expected sizes of pages such as "2MB", got "big"' },
      { { ["memory.max"] = true }, 'container.limits["memory.max"]: expected a string, got true' },
      { { ["memory.max"] = "1", memory = "1m" }, "container.limits.memory: it sets memory.max, which is given by its name, too" },
      { { ["cgroup.procs"] = "0" }, 'container.limits["cgroup.procs"]: that file sets no limit, and casulo writes it itself' },
      { { ["../memory.max"] = 1 },
        'container.limits: unknown limit "../memory.max"; known: cpu cpu_weight cpus hugetlb io memory memory_high pids swap' },
    } do
      assert.has_error(function() described(case[1]) end, case[2])
    end
  end)

  it("go with a cgroup of the container's own", function()
    assert.has_error(function() described({ pids = 1 }, { cgroup = false }) end,
      "container.limits: without a cgroup of its own (cgroup = false)")
    assert.has_error(function() described(nil, { cgroup = false, cgroup_parent = "/a" }) end,
      "container.cgroup_parent: without a cgroup of its own (cgroup = false)")
    assert.has_error(function() described(nil, { cgroup_parent = "a" }) end, 'container.cgroup_parent: expected an absolute path, got "a"')
    assert.has_error(function() described(nil, { cgroup_parent = "/sys/fs/cgroup/a" }) end,
      'container.cgroup_parent: expected a path as in /proc/PID/cgroup: "/a"')
  end)

  it("are shown by explain, step by step, before the clone", function()
    local text = described({ pids = 7 }):explain()
    local clone = assert(text:find("|CLONE_INTO_CGROUP, cgroup)", 1, true), text)
    for _, call in ipairs { "mkdir(the container's cgroup, 0755)", 'openat(cgroup, "pids.max", O_WRONLY|O_CLOEXEC)', 'write(pids.max, "7", 1)' } do
      assert.is_true((text:find(call, 1, true) or math.huge) < clone, call)
    end
    assert.is_true(text:find("unshare(CLONE_NEWCGROUP)", 1, true) > clone)
    local line = text:sub(clone - 120, clone):match "clone%(.*$"
    assert.is_nil(line:find("CLONE_NEWCGROUP", 1, true))
    assert.is_nil(described(nil):explain():find("CGROUP, cgroup", 1, true))
  end)

  it("are refused before the start where there is no place for them, with a cure", function()
    local host = require "casulo.surroundings"
    for _, parent in ipairs { "/nonexistent", false } do
      local own = cgroup.own(parent or nil)
      local found = obstacles.cgroup(own, parent or nil, host) or obstacles.controllers(own, { "memory" })
      assert.is_truthy(found or not parent)
      support.leaves_nothing(function()
        if not found then return end -- spec/cgroup has what is so here
        local ran, err = described({ memory = "1g" }, { rootfs = support.rootfs(), cgroup_parent = parent or nil }):run()
        assert.is_nil(ran)
        assert.are.equal("setup", err.kind)
        assert.are.equal(obstacles.line(found), tostring(err))
      end)
    end
  end)

  it("are refused where the cgroup above is another user's", function()
    local top = cgroup.own().top
    if not support.needs_root() or not may_make_cgroups() then return end
    support.as_user(function()
      local ran, err = described({ pids = 5 }, { rootfs = support.rootfs(), cgroup_parent = "/" }):run()
      assert.are.same({ "nil", ("cgroup_parent: the cgroup %s is not the caller's to divide; cure: chown -R %d %s"):format(top, support.USER, top) },
        { tostring(ran), tostring(err) })
    end)
  end)

  it("hold from the birth of the first process, whoever starts it", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    if not may_make_cgroups() then return end
    local ranges = "namespaces = { 'user', 'pid', 'mount' }, uid_map = { { 0, 100000, 65536 } }, standard_mounts = false,"
    for _, more in ipairs { "", support.is_root() and ranges or nil } do
      local directory = support.tmpdir()
      support.write_file(directory .. "/box.lua", ("return { rootfs = %q, cgroup = true, %s }"):format(support.rootfs(), more))
      local line = "strace -f -e trace=clone3,write,unshare -o %s/trace %s run %s/box.lua -- sh -c 'exit 7'"
      assert.are.equal(7, (support.sh(line:format(directory, support.command(), directory))))
      local born = {}
      for call in support.read_file(directory .. "/trace"):gmatch "clone3%(([^\n]*CLONE_INTO_CGROUP[^\n]*)" do born[#born + 1] = call end
      assert.are.equal(1, #born)
      assert.is_truthy(born[1]:find "CLONE_VFORK")
      assert.is_nil(born[1]:find "CLONE_NEWCGROUP")
    end
  end)

  it("are changed all or none, also those that take no controller", function()
    if not may_make_cgroups() then return end
    support.leaves_nothing(function()
      local p <close> = assert(described(nil, { rootfs = support.rootfs(), cgroup = true, command = { "/bin/sleep", "1000" } }):start())
      local directory = cgroup_support.directory_of(p.pid)
      local function depth() return support.read_file(directory .. "/cgroup.max.depth") end
      assert.is_true(p:update { ["cgroup.max.depth"] = 3 })
      assert.are.equal("3\n", depth())
      local ok, message, errno = p:update { ["cgroup.max.depth"] = 2, ["cgroup.max.descendants"] = "many" } -- written in this order
      assert.are.same({ nil, 'update: ["cgroup.max.descendants"]: write ', sys.EINVAL }, { ok, message:match "^.-: write ", errno })
      assert.are.equal("3\n", depth())
      assert.has_error(function() p:update { pids = 0 } end, 'update.pids: expected an integer from 1 on, or "max", got 0')
      p:kill()
      p:wait()
      assert.are.same({ nil, "update: the container has ended", sys.ENOENT }, { p:update { ["cgroup.max.depth"] = 3 } })
    end)
  end)

  it("let what was made in the cgroup, and what still runs there, go with it", function()
    if not may_make_cgroups() then return end
    local box = described(nil, { rootfs = support.rootfs(), cgroup = true, namespaces = { "user", "mount", "cgroup", pid = "host" },
      command = { "/bin/sh", "-c", "setsid sleep 1001 >/dev/null & echo $!; read line" } })
    cgroup_support.leaves_nothing(function()
      local p <close> = assert(box:start { stdin = "pipe", stdout = "pipe" })
      local left = math.tointeger(tonumber(sys.read(p.stdout, 100)))
      local directory = cgroup_support.directory_of(p.pid)
      assert(sys.mkdir(directory .. "/a", 493))
      assert(sys.mkdir(directory .. "/a/b", 493))
      p.stdin:close()
      p:wait()
      assert.is_nil(sys.stat(directory))
      support.eventually(function() return select(3, sys.kill(left, 0)) == sys.ESRCH end, "it has ended")
    end)
  end)

  it("leave no cgroup behind for long where the caller was killed", function()
    if not may_make_cgroups() then return end
    local box = described(nil, { rootfs = support.rootfs(), cgroup = true, command = { "/bin/sleep", "1000" } })
    local reader <close>, writer = assert(sys.pipe2())
    local pid = assert(sys.clone(0, function()
      sys.write(writer, cgroup_support.directory_of(assert(box:start()).pid))
      sys.poll({}, -1)
    end))
    writer:close()
    local directory = sys.read(reader, 4096)
    assert.is_truthy(sys.stat(directory))
    sys.kill(pid, sys.SIGKILL)
    sys.waitpid(pid)
    support.eventually(function()
      return not support.read_file(directory .. "/cgroup.events"):find "populated 1"
    end, "its processes are gone")
    assert(described(nil, { rootfs = support.rootfs(), cgroup = true, command = { "/bin/true" } }):run())
    assert.is_nil(sys.stat(directory:match "^(.*)/"))
  end)

  it("are out of reach for a command where their cgroup is hidden", function()
    if not may_make_cgroups() or not support.needs_root() then return end
    local p <close> = assert(described(nil, { rootfs = support.rootfs(), cgroup = true, command = { "/bin/sleep", "1000" } }):start())
    local directory = cgroup_support.directory_of(p.pid)
    require "sys_support".in_namespaces(sys.CLONE_NEWNS, function()
      assert(sys.mount("none", directory, "tmpfs", 0))
      local descriptors = #sys.scandir "/proc/self/fd"
      local q, err = p:exec { command = { "/bin/true" } }
      assert.are.same({ "nil", ("open %s/cgroup.procs: No such file or directory"):format(directory), descriptors },
        { tostring(q), tostring(err), #sys.scandir "/proc/self/fd" })
    end)
  end)

  it("are not needed for a cgroup of its own", function()
    local own = cgroup.own()
    if not may_make_cgroups() then return end
    support.leaves_nothing(function()
      local box = described(nil, { rootfs = support.rootfs(), cgroup = true, command = { "/bin/sh", "-c", "while :; do :; done" } })
      local p <close> = assert(box:start())
      assert.are_not.equal(support.namespace("self", "cgroup"), support.namespace(p.pid, "cgroup"))
      local directory = cgroup_support.directory_of(p.pid)
      assert.are.equal(own.place, directory:match "^(.*)/casulo%-[^/]+/%d+$")
      assert.is_true(p:freeze())
      assert.are.equal("exec: the container is frozen; thaw lets it go on", tostring(select(2, p:exec { command = { "/bin/true" } })))
      local used = p:stats().cpu.usage
      assert.is_true(used > 0)
      assert.are.equal(used, p:stats().cpu.usage)
      assert.is_true(p:thaw() and p:kill())
      assert.are.equal(9, p:wait().signal)
      assert.is_nil(sys.stat(directory:match "^(.*)/"))
    end)
  end)
end)
