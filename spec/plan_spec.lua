-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local plan = require "casulo.plan"
local recipes, ref = casulo.recipes, casulo.ref
local support = require "support"
local sys = casulo.sys

describe("a plan", function()
  it("lays lists and plans out flat and keeps the order", function()
    local inner = casulo.plan { { "chdir", "/b" } }
    local steps = casulo.plan { { "chdir", "/a" }, inner, { { { "chdir", "/c" } }, {} } }.steps
    assert.are.same({ "/a", "/b", "/c" }, { steps[1][2], steps[2][2], steps[3][2] })
    assert.are.equal(3, #steps)
  end)

  it("refuses what is no step, naming it", function()
    assert.has_error(function() casulo.plan { 5 } end, "plan: item 1: expected a step, a list of steps or a function, got number")
    assert.has_error(function() casulo.plan { { "chdir", "/", wy = "x" } } end, "plan: step 1 (chdir): unknown field wy")
    assert.has_error(function() casulo.plan { { "chdir", "/", phase = "later" } } end, "plan: step 1 (chdir): unknown phase later")
  end)

  it("sorts its steps into phases", function()
    local p = casulo.plan { { "chdir", "/", phase = "before" }, { "chroot", "/" }, { "close", 3, phase = "after" } }
    assert.are.equal("chdir", p:phase "before"[1][1])
    assert.are.equal("chroot", p:phase "child"[1][1])
    assert.are.equal("close", p:phase "after"[1][1])
    assert.are.same({}, p:phase "born")
  end)

  it("runs against a recorder without any system call", function()
    local recorder = casulo.recorder { fsopen = function() return 77 end }
    local p = casulo.plan { { "fsopen", "proc", 0, as = "context" }, { "fsmount", ref "context", 0, 0 }, recipes.hostname "x" }
    assert.is_true(plan.run(p.steps, recorder, {}))
    assert.are.same({
      { "fsopen", "proc", 0, n = 2 }, { "fsmount", 77, 0, 0, n = 3 }, { "sethostname", "x", n = 1 },
    }, recorder.calls)
  end)

  it("stops at the first failure and undoes the steps before it, last first", function()
    local directory = support.tmpdir()
    local a, b = directory .. "/a", directory .. "/a/b"
    local p = casulo.plan {
      { "mkdir", a, 493, undo = { "rmdir", a } }, { "mkdir", b, 493, undo = { "rmdir", b } },
      { "chdir", "/nonexistent" }, { "mkdir", directory .. "/never", 493 },
    }
    local ok, failure = plan.run(p.steps, sys, {})
    assert.is_nil(ok)
    assert.are.equal(sys.ENOENT, failure.errno)
    assert.are.equal(p.steps[3], failure.step)
    assert.are.same({}, sys.scandir(directory))
  end)

  it("tolerates the errnos that a step names and no others", function()
    local steps = { { "mkdir", "/", 493, tolerate = { sys.EEXIST } } }
    assert.is_true(plan.run(steps, sys, {}))
    assert.is_nil(plan.run({ { "mkdir", "/", 493, tolerate = { sys.EROFS } } }, sys, {}))
  end)

  it("takes a result other than the expected one for a failure", function()
    local _, failure = plan.run({ { "umask", sys.umask(sys.umask(18)), expect = 4095 } }, sys, {})
    assert.is_truthy(failure.message:find "umask: returned")
  end)

  it("names a ref that nothing gave a value", function()
    local ok, failure = plan.run({ { "close", ref "nobody" } }, sys, {})
    assert.is_nil(ok)
    assert.are.equal('no value for ref "nobody"', failure.message)
  end)
end)

describe("the recipes", function()
  local function calls(steps)
    local names = {}
    for _, step in ipairs(casulo.plan(steps).steps) do names[#names + 1] = step[1] end
    return table.concat(names, " ")
  end

  it("make the calls of the tutorials in their order, each with a reason", function()
    local all = { recipes.private_mounts(), recipes.fresh_proc { hidepid = 2 }, recipes.sysfs(), recipes.minimal_dev(),
      recipes.tmpfs("/t", { size = "1m" }), recipes.bind("/a", "/b", { readonly = true }), recipes.hostname "h",
      recipes.domainname "d", recipes.chroot "/r", recipes.pivot_root "/r", recipes.own_id_maps({ { 0, 1, 1 } }, { { 0, 1, 1 } }) }
    assert.are.equal("mount", calls { all[1] })
    assert.are.equal("umount2 mount", calls { all[2] })
    assert.are.equal("inode64,size=1m", recipes.tmpfs("/t", { size = "1m", inode64 = true, nr_inodes = false })[1][6])
    for mode, data in pairs { [511] = "mode=777", [493] = "mode=755", ["1777"] = "mode=1777" } do
      assert.are.equal(data, recipes.tmpfs("/t", { mode = mode })[1][6])
    end
    assert.are.equal("openat write close openat write close openat write close", calls { all[11] })
    assert.are.equal("/proc/self/setgroups", casulo.plan { all[11] }.steps[1][3])
    for _, step in ipairs(casulo.plan(all).steps) do assert.is_truthy(step.why and #step.why > 5, step[1]) end
  end)

  it("give a container's layout steps that a check would pass", function()
    local mounts = {
      { type = "bind", source = "/etc/passwd", target = "/a/file" }, { type = "bind", source = "/etc", target = "/a/etc", readonly = true },
    }
    for _, kind in ipairs { "tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup2" } do
      mounts[#mounts + 1] = { type = kind, target = "/dev/shm/" .. kind }
    end
    local box = casulo.container { rootfs = "/r", readonly = true, mounts = mounts }
    local steps = require "casulo.layout".steps(box.checked, box.host, { recipes.become { uid = 1, gid = 1, groups = {} }, {} }).steps
    assert.are.same(steps, casulo.plan { table.unpack(steps) }.steps)
    assert.is_true(#steps > 90)
  end)

  it("do in the kernel what they say", function()
    if not support.needs_root() then return end
    local dir = support.tmpdir()
    for _, name in ipairs { "t", "b", "dev" } do assert(sys.mkdir(("%s/%s"):format(dir, name), 493)) end
    local result
    support.leaves_nothing(function()
      result = assert(casulo.unshared({ "mount", "pid", "uts", "net" }, {
        recipes.private_mounts(), recipes.fresh_proc { hidepid = 2 }, recipes.sysfs(), recipes.loopback(),
        recipes.tmpfs(dir .. "/t", { nosuid = true, nodev = true, size = "64k", mode = "700" }),
        recipes.bind(dir, dir .. "/b", { readonly = true, noexec = true }),
        recipes.minimal_dev(dir .. "/dev"),
        recipes.hostname "inside", recipes.domainname "domain",
        function()
          local mounts = support.read_file "/proc/self/mounts"
          local function has(text) if not mounts:find(text, 1, true) then error(text .. " is not in\n" .. mounts, 0) end end
          has "proc /proc proc rw,nosuid,nodev,noexec,relatime,hidepid=invisible"
          has "sysfs /sys sysfs ro,nosuid,nodev,noexec"
          has(("tmpfs %s/t tmpfs rw,nosuid,nodev,relatime,size=64k,mode=700"):format(dir))
          assert(mounts:find(dir:gsub("%p", "%%%0") .. "/b %S+ ro,noexec"), mounts)
          assert(sys.getpid() == 1 and sys.uname().nodename == "inside" and sys.uname().domainname == "domain")
          assert(sys.stat(dir .. "/dev/null").mode & sys.S_IFMT == sys.S_IFCHR)
          assert(sys.readlink(dir .. "/dev/ptmx") == "pts/ptmx")
          assert(not io.open(dir .. "/b/x", "w"))
        end,
      }))
    end)
    assert.are.equal(0, result.exit_code)
  end)

  it("enter a root by chroot and by pivot_root", function()
    if not support.needs_root() then return end
    for _, recipe in ipairs { "chroot", "pivot_root" } do
      local result = assert(casulo.unshared({ "mount" }, {
        recipes.private_mounts(), recipes[recipe](support.rootfs()),
        { "execve", "/bin/sh", { "sh", "-c", "[ -x /bin/busybox ] && [ ! -e /usr ] && [ \"$(pwd)\" = / ] && exit 7" }, {}, why = "look" },
      }))
      assert.are.equal(7, result.exit_code, recipe)
    end
  end)
end)

describe("unshared", function()
  support.each_identity("runs a plan in new namespaces and leaves nothing", function()
    local namespaces = support.is_root() and { "mount", "pid", "uts" } or { "user", "mount", "pid", "uts" }
    support.leaves_nothing(function()
      local result = assert(casulo.unshared(namespaces, {
        recipes.private_mounts(), recipes.hostname "elsewhere",
        function()
          assert(sys.getpid() == 1 and sys.gethostname() == "elsewhere" and sys.geteuid() == 0)
          return 3
        end,
      }))
      assert.are.same({ exit_code = 0 }, result)
    end)
  end)

  support.each_identity("runs a plan without functions in a child that shares memory", function()
    local namespaces = support.is_root() and { "uts" } or { "user", "uts" }
    local result = assert(casulo.unshared(namespaces, {
      recipes.hostname "elsewhere", { "execve", "/bin/sh", { "sh", "-c", "hostname 2>/dev/null || uname -n" }, { "PATH=/usr/bin:/bin" } },
    }, { stdout = "pipe" }))
    assert.are.same({ exit_code = 0, stdout = "elsewhere\n" }, result)
    assert.are.same({ exit_code = 0 }, casulo.unshared(namespaces, { recipes.hostname "nowhere" }))
  end)

  it("brings the error of a function back, with its message and position", function()
    local result, err = casulo.unshared({}, { function() error "out of luck" end })
    assert.is_nil(result)
    assert.are.equal("setup", err.kind)
    assert.is_truthy(tostring(err):find "plan_spec.lua:%d+: out of luck", tostring(err))
    local _, long = casulo.unshared({}, { function() error(("x"):rep(100000)) end })
    assert.is_truthy(tostring(long):find "xxxx")
  end)

  it("brings every failure back, wherever the child is by then", function()
    if not support.needs_root() then return end
    for _, case in ipairs {
      { { recipes.private_mounts(), recipes.pivot_root(support.rootfs()), function() error "boom" end }, "boom" },
      { { function() end, { "mount", nil, nil, nil, nil } }, "^mount%(.*%): bad argument #2 to 'mount' %(" },
      { { { "umount2", "/mnt" }, function() end }, "^umount2%(\"/mnt\"%): bad argument #2 to 'umount2' %(an integer expected" },
      { { { "poll", { {} }, 0, phase = "before" } }, "^poll%(.*%): bad argument #1 to 'poll' %(field fd" },
      { { { "execve", "/bin/true" }, function() end }, "^execve%(\"/bin/true\"%): bad argument #2 to 'execve' %(" },
      { { { "clone" }, function() end }, "^clone%(%): bad argument #1 to 'clone' %(" },
      { { { "spawn", 5, phase = "born" }, { "getpid" } }, "^spawn%(5%): bad argument #1 to 'spawn' %(a list" },
      { { { "openat", sys.AT_FDCWD, "/nonexistent", 0, phase = "before" } }, "^openat%(.*%): No such file or directory$" },
      { { function() end, { "frob" } }, "no such call" },
      { { recipes.private_mounts }, "meant to be called" },
    } do
      local result, err = casulo.unshared({ "mount" }, case[1], { stdin = "null" })
      assert.is_nil(result)
      assert.is_truthy(tostring(err):find(case[2]), tostring(err))
    end
    assert.error_matches(function() casulo.unshared({}, { recipes.private_mounts(), nil, { "chdir", "/" } }) end, "item 2.*got nil")
    assert.error_matches(function() casulo.unshared({}, { function() end, { "setsid", phase = "born" } }) end, "no phase born")
  end)

  it("undoes what was done before the child, and what the child says how to, when a later step fails", function()
    local path = support.tmpdir() .. "/made"
    for _, phase in ipairs { "before", "child" } do
      local result = casulo.unshared({}, { { "mkdir", path, 493, phase = phase, undo = { "rmdir", path } }, { "chdir", "/nope" } })
      assert.is_nil(result)
      assert.is_nil(sys.stat(path), phase)
    end
    local result = casulo.unshared({}, { { "mkdir", path, 493, phase = "before", undo = { "rmdir", path } },
      { "setsid" }, { "chdir", "/nope", phase = "after" } })
    assert.is_nil(result)
    assert.is_nil(sys.stat(path))
  end)

  it("names the step of a ref that nothing gave a value, and leaves nothing behind", function()
    local path = support.tmpdir() .. "/made"
    for _, made in ipairs { { "mkdir", path, 493, phase = "before", undo = { "rmdir", path } }, function() end } do
      local result, err = casulo.unshared({}, { made, { "setsid" }, { "fchdir", ref "nobody" } })
      assert.is_nil(result)
      assert.are.equal('fchdir(nobody): no value for ref "nobody"', tostring(err))
      assert.is_nil(sys.stat(path))
    end
    local _, err = casulo.unshared({}, { { "poll", { { fd = ref "nobody", events = sys.POLLIN } }, 0 } })
    assert.are.equal('poll([{nobody, POLLIN}], 1, 0): no value for ref "nobody"', tostring(err))
    local ok, message = pcall(function() return (casulo.unshared({}, { { "setsid" }, { "chdir", ref "nobody" } })) end)
    assert.is_false(ok)
    local expected = 'plan_spec.lua:%d+: program: step 2, chdir, argument 1: expected a string, got the reference "nobody"$'
    assert.is_truthy(message:find(expected), message)
  end)

  it("brings back which call failed, whoever ran it", function()
    for _, extra in ipairs { { function() end }, {} } do
      local result, err = casulo.unshared({}, { { "chdir", "/nonexistent" }, extra })
      assert.is_nil(result)
      assert.are.same({ "chdir", sys.ENOENT }, { err.call, err.errno })
      assert.is_truthy(tostring(err):find('chdir("/nonexistent"): No such file or directory', 1, true), tostring(err))
    end
  end)

  it("raises for a bad namespace or step", function()
    assert.error_matches(function() casulo.unshared({ "mnt" }, {}) end, "unknown namespace \"mnt\"; did you mean")
    assert.error_matches(function() casulo.unshared({}, { { "frobnicate" } }) end, "frobnicate is no call of a program")
  end)
end)
