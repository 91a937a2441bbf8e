-- SPDX-License-Identifier: MIT
-- What is in the way of containers is named by doctor, and by a run in the same words. These obstacles are real.
local casulo = require "casulo"
local dkjson = require "dkjson"
local support = require "support"
local sys = casulo.sys

-- What doctor finds, by the name of the examination. It leaves nothing. `setting` stands before the command, in a line of a shell.
local function examined(setting)
  local status, out, err
  local command = support.command():gsub("bin/casulo$", "build/bin/casulo") -- which needs no other program
  support.leaves_nothing(function() status, out, err = support.sh(("%s %s doctor --json"):format(setting or "", command)) end)
  assert.are.equal("", err)
  local found, worst = {}, 0
  for _, each in ipairs((assert(dkjson.decode(out)))) do
    found[each.name] = each
    if each.state == "problem" then worst = 1 end
  end
  assert.are.equal(worst, status)
  return found
end

-- The names of the examinations that found a problem, in one line.
local function problems(found)
  local names = {}
  for name, each in pairs(found) do
    if each.state == "problem" then names[#names + 1] = name end
  end
  table.sort(names)
  return table.concat(names, ", ")
end

local function finds(each, state, what, cure)
  assert.are.same({ state, cure }, { each.state, each.cure }, each.what)
  assert.is_truthy(each.what:find(what, 1, true), each.what)
end

-- Asserts that a run fails with just the words that doctor has.
local function agrees(each, ...)
  local status, _, err = support.casulo { "run", ... }
  assert.are.equal(125, status)
  local words = ("(%s%s)\n"):format(each.what, each.cure and "; cure: " .. each.cure or "")
  assert.are.equal(words, err:sub(-#words))
end

local function default() return "--rootfs", support.rootfs(), "--", "/bin/true" end

-- A container that differs from the default one in some fields.
local function with(fields)
  local path = support.tmpdir() .. "/box.lua"
  support.write_file(path, ("return { rootfs = %q, command = { '/bin/true' }, %s }"):format(support.rootfs(), fields))
  return path
end

local function in_user_namespace() return with "namespaces = { 'user', 'pid', 'mount', 'net' }" end

-- Runs a function in a child, with namespaces of its own.
local function inside(namespaces, body)
  support.rootfs()
  support.command()
  local result, err = casulo.unshared(namespaces, { function() body() end })
  assert(result, tostring(err))
  assert.are.same({ exit_code = 0 }, result)
end

local function private_mounts() assert(sys.mount(nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE)) end

describe("doctor", function()
  support.each_identity("finds that containers run where they do", function()
    local found = examined()
    assert.are.equal("", problems(found))
    assert.are.equal("ok", found.container.state)
    assert.is_truthy(found.kernel.what:find(sys.uname().release, 1, true))
    assert.are.equal(0, (support.casulo { "run", default() }))
    local list
    support.leaves_nothing(function() list = casulo.doctor() end)
    for _, each in ipairs(list) do assert.are.equal(found[each.name].state, each.state) end
    assert.are.equal("kernel", list[1].name)
  end)

  support.each_identity("prints what it found, and what cures it", function()
    local status, out, err = support.casulo { "doctor" }
    assert.are.same({ 0, "" }, { status, err })
    assert.is_truthy(out:find("\nok       container: ", 1, true) and out:find "\ncontainers can run here\n$", out)
    inside({ "user" }, function()
      support.write_file("/proc/sys/user/max_mnt_namespaces", "0")
      status, out = support.casulo { "doctor" }
      assert.are.equal(1, status)
      assert.is_truthy(out:find("\nproblem  namespaces: mount: sysctl user.max_mnt_namespaces is 0: no namespace of this kind can be made\n"
        .. "         cure: sysctl -w user.max_mnt_namespaces=15000\n", 1, true), out)
      assert.is_truthy(out:find "\nno container can run here, as long as there is a problem\n$", out)
    end)
  end)

  it("takes no other words", function()
    for _, words in ipairs { { "doctor", "now" }, { "doctor", "--", "ls" } } do
      local status, out, err = support.casulo(words)
      assert.are.same({ 125, "" }, { status, out })
      assert.is_truthy(err:find("doctor takes no arguments but --json", 1, true), err)
    end
  end)

  it("makes no directory for names, and says what they lack", function()
    support.as_user(function()
      local path = support.tmpdir()
      assert(sys.chmod(path, 448))
      assert.are.equal("ok", examined("XDG_RUNTIME_DIR=" .. path).names.state)
      assert.are.same({}, sys.scandir(path))
      local names = examined "env -u XDG_RUNTIME_DIR".names
      finds(names, "warning", "it is not set", ("install -d -m 700 -o %d /run/user/%d (as root), and export XDG_RUNTIME_DIR=/run/user/%d")
        :format(sys.getuid(), sys.getuid(), sys.getuid()))
      local _, _, err = support.sh(("env -u XDG_RUNTIME_DIR %s run --name x --rootfs %s -- true"):format(support.command(), support.rootfs()))
      assert.are.equal(("casulo: %s\n"):format(names.what), err)
    end)
  end)

  it("counts the processes that can still be made", function()
    support.as_user(function()
      finds(examined "prlimit --nproc=90".processes, "warning", " more can be made, by ulimit -u", "ulimit -u unlimited")
    end)
  end)
end)

describe("doctor names the setting", function()
  it("that forbids user namespaces", function()
    support.as_user(function()
      inside({ "user" }, function()
        support.write_file("/proc/sys/user/max_user_namespaces", "0")
        local found = examined()
        assert.are.equal("", problems(found)) -- for root inside, who needs none
        finds(found["user namespace"], "warning", "sysctl user.max_user_namespaces is 0: no user namespace can be made",
          "sysctl -w user.max_user_namespaces=15000")
        agrees(found["user namespace"], in_user_namespace())
        for _, name in ipairs { "/proc", "/sys", "overlay" } do assert.are.equal(found["user namespace"].what, found[name].what) end
      end)
    end)
  end)

  it("that forbids a kind of namespace", function()
    support.as_user(function()
      for kind, name in pairs { pid = "pid", mount = "mnt", uts = "uts", ipc = "ipc", net = "net", cgroup = "cgroup" } do
        inside({ "user" }, function()
          support.write_file(("/proc/sys/user/max_%s_namespaces"):format(name), "0")
          local each = examined().namespaces
          finds(each, "problem", ("%s: sysctl user.max_%s_namespaces is 0: no namespace of this kind can be made"):format(kind, name),
            ("sysctl -w user.max_%s_namespaces=15000"):format(name))
          each.what = each.what:gsub("^%w+: ", "")
          agrees(each, default())
        end)
      end
    end)
  end)

  it("that forbids to execute what is in memory", function()
    if not support.needs_root() then return end
    if not sys.stat "/proc/sys/vm/memfd_noexec" then return support.cannot_run "this kernel has no sysctl vm.memfd_noexec" end
    inside({ "pid", "mount" }, function() -- a PID namespace has a setting of its own
      private_mounts()
      assert(sys.mount("proc", "/proc", "proc", 0))
      support.write_file("/proc/sys/vm/memfd_noexec", "2")
      local found = examined()
      assert.are.equal("container, init", problems(found))
      finds(found.init, "problem", "sysctl vm.memfd_noexec = 2", "sysctl -w vm.memfd_noexec=1")
      agrees(found.init, default())
    end)
  end)
end)

describe("doctor names what covers", function()
  it("/proc, and what uncovers it", function()
    support.as_user(function()
      inside({ "user", "mount" }, function()
        private_mounts()
        assert(sys.mount("/dev/null", "/proc/version", nil, sys.MS_BIND))
        assert(sys.mount("none", "/proc/fs", "tmpfs", 0))
        local found = examined()
        assert.are.equal("", problems(found))
        finds(found["/proc"], "warning", "the kernel lets a user namespace mount a /proc only while a whole one is in sight, and here "
          .. "something is mounted on /proc/fs /proc/version", "umount /proc/fs /proc/version")
        agrees(found["/proc"], in_user_namespace())
        assert(os.execute(found["/proc"].cure))
        assert.are.equal("ok", examined()["/proc"].state)
      end)
    end)
  end)

  it("/sys, in a container", function()
    support.as_user(function()
      inside({ "user", "mount", "pid" }, function()
        private_mounts()
        assert(sys.mount("proc", "/proc", "proc", 0))
        assert(sys.mount("none", "/sys/module", "tmpfs", 0))
        local found = examined()
        assert.are.equal("ok", found["/proc"].state)
        finds(found["/sys"], "warning", "something is mounted on /sys/module",
          "docker run --security-opt systempaths=unconfined, or what does the same for the container around casulo"
            .. "; nesting = true, in the description of one of casulo's")
        agrees(found["/sys"], in_user_namespace())
      end)
    end)
  end)

  it("/proc for an ordinary user, who can then run none", function()
    if not support.needs_root() then return end
    inside({ "mount" }, function()
      private_mounts()
      assert(sys.mount("none", "/proc/fs", "tmpfs", 0))
      assert.are.equal("", problems(examined())) -- for root
      support.as_user(function()
        local found = examined()
        assert.are.equal("/proc, container", problems(found))
        finds(found["/proc"], "problem", "something is mounted on /proc/fs", "umount /proc/fs")
        agrees(found["/proc"], default())
        assert.are.equal(0, (support.casulo { "run", "--share", "pid", default() })) -- as the only namespace that it needs is the host's
      end)
    end)
  end)

  it("or that there is none", function()
    if not support.needs_root() then return end
    inside({ "mount" }, function()
      private_mounts()
      assert(sys.mount("none", "/proc", "tmpfs", 0))
      support.as_user(function()
        local _, out = support.sh(support.command():gsub("bin/casulo$", "build/bin/casulo") .. " doctor --json")
        for _, each in ipairs((assert(dkjson.decode(out)))) do
          if each.name == "user namespace" then
            return finds(each, "problem", "there is no /proc here that shows this process", "mount -t proc proc /proc")
          end
        end
      end)
    end)
  end)
end)

local UNCONFINED = "docker run --security-opt seccomp=unconfined, or what does the same for the container around casulo; nesting = true, "
  .. "in the description of one of casulo's"

describe("doctor names the call that a filter around casulo", function()
  -- as of x86-64 and aarch64
  local MOUNT, CLONE3, FSOPEN = table.unpack(sys.uname().machine == "aarch64" and { 40, 435, 430 } or { 165, 435, 430 })

  -- Runs a function in a child that is refused a call.
  local function below_filter(call, errno, body)
    local LOAD, IF_EQUAL, RETURN, ERRNO, ALLOW = 0x20, 0x15, 0x06, 0x00050000, 0x7fff0000
    local text = string.pack("=" .. ("I2I1I1I4"):rep(4), LOAD, 0, 0, 0, IF_EQUAL, 0, 1, call, RETURN, 0, 0, ERRNO | errno, RETURN, 0, 0, ALLOW)
    inside({}, function()
      assert(sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1))
      assert(sys.seccomp(sys.SECCOMP_SET_MODE_FILTER, 0, text))
      body()
    end)
  end

  support.each_identity("hides, as Docker's hides clone3", function()
    below_filter(CLONE3, sys.ENOSYS, function()
      local found = examined()
      finds(found.kernel, "problem", "Linux 5.12 and later have clone3, which a seccomp filter hides here", UNCONFINED)
      agrees(found.kernel, default())
      finds(found.filter, "warning", "the seccomp filter around casulo", UNCONFINED)
    end)
  end)

  support.each_identity("refuses", function()
    for call, number in pairs { mount = MOUNT, fsopen = FSOPEN } do
      below_filter(number, sys.EPERM, function()
        local what = ("the seccomp filter around casulo, or a security module, refuses %s"):format(call)
        finds(examined().container, "problem", what, UNCONFINED)
        agrees({ what = what, cure = UNCONFINED }, default())
      end)
    end
  end)

  support.each_identity("does not mind one that leaves alone what a container needs", function()
    below_filter(0x3fffffff, sys.EPERM, function()
      local found = examined()
      assert.are.equal("", problems(found))
      finds(found.filter, "ok", "the seccomp filter around casulo lets a container start")
    end)
  end)
end)

describe("doctor names what keeps root", function()
  it("in a chroot from containers", function()
    if not support.needs_root() then return end
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    assert(os.execute(("cp %s %s/bin/casulo"):format(support.command():gsub("bin/casulo$", "build/bin/casulo"), root)))
    inside({ "mount" }, function()
      private_mounts()
      assert(sys.mount("proc", root .. "/proc", "proc", 0))
      local words = "/ is no mount point here: casulo runs in a chroot, which pivot_root cannot leave and in which no user namespace can be made"
      for _, user in ipairs { "0:0", "61234:61234" } do
        local within = ("chroot --userspec=%s %s casulo "):format(user, root)
        local status, out = support.sh(within .. "doctor")
        assert.are.equal(1, status)
        assert.is_truthy(out:find(("\nproblem  root: %s\n         cure: start it outside\n"):format(words), 1, true), out)
        local _, _, err = support.sh(within .. "run --rootfs / --readonly -- /bin/true")
        assert.is_truthy(err:find(("(%s; cure: start it outside)\n"):format(words), 1, true), err)
      end
    end)
  end)

  it("without CAP_SYS_ADMIN from containers", function()
    if not support.needs_root() then return end
    local found = examined "setpriv --bounding-set=-sys_admin"
    local what, cure = "this root lacks CAP_SYS_ADMIN, as in a container, and new namespaces and mounts need it",
      'docker run --cap-add SYS_ADMIN, or "user" among the new namespaces'
    finds(found.namespaces, "problem", "pid mount uts ipc net cgroup time: " .. what, cure)
    assert.are.equal("ok", found["user namespace"].state)
    local _, _, err = support.sh(("setpriv --bounding-set=-sys_admin %s run --rootfs %s -- /bin/true"):format(support.command(), support.rootfs()))
    assert.is_truthy(err:find(("(%s; cure: %s)\n"):format(what, cure), 1, true), err)
    assert.are.equal(0, (support.sh(("setpriv --bounding-set=-sys_admin %s run %s"):format(support.command(), in_user_namespace()))))
  end)
end)

describe("doctor looks at the ids of a user:", function()
  local function auto() return with "uid_map = 'auto'" end

  it("they can be mapped", function()
    support.as_user_with_ids(function()
      finds(examined().ids, "ok", 'the caller can map 65536 uids and 65536 gids more (uid_map = "auto")')
      assert.are.equal(0, (support.casulo { "run", auto() }))
    end)
  end)

  it("there are none", function()
    support.as_user_with_ids(function()
      local each = examined().ids
      finds(each, "warning", "/etc/subuid gives spec no ids", "usermod --add-subuids 365536-431071 spec")
      local _, _, err = support.casulo { "run", auto() }
      assert.is_truthy(err:find(each.cure, 1, true), err)
    end, { subuid = "other:300000:65536\n" })
  end)

  it("newuidmap is not installed", function()
    support.as_user_with_ids(function()
      local each = examined "PATH=/nonexistent".ids
      finds(each, "warning", "newuidmap is not installed", "apt-get install uidmap")
      local _, _, err = support.sh(("PATH=/nonexistent %s run %s"):format(support.command():gsub("bin/casulo$", "build/bin/casulo"), auto()))
      assert.is_truthy(err:find("(newuidmap is not installed; cure: apt-get install uidmap)\n", 1, true), err)
    end)
  end)

  it("newgidmap has lost its setuid bit", function()
    support.as_user_with_ids(function()
      local each = examined().ids
      finds(each, "warning", "newgidmap lacks the rights: it is not setuid", "chmod u+s $(command -v newgidmap)")
      agrees(each, auto())
    end, nil, function()
      local copy = support.tmpdir() .. "/newgidmap"
      assert(os.execute(("cp /usr/bin/newgidmap %s && mount --bind %s /usr/bin/newgidmap"):format(copy, copy)))
    end)
  end)

  it("newuidmap is on a file system that is mounted nosuid", function()
    support.as_user_with_ids(function()
      local each = examined().ids
      finds(each, "warning", "newuidmap lacks the rights: its file system is mounted nosuid", "mount -o remount,suid /usr/bin")
      agrees(each, auto())
    end, nil, function()
      assert(os.execute "mount --bind /usr/bin /usr/bin && mount -o remount,bind,nosuid /usr/bin")
    end)
  end)

  it("the caller has set no_new_privs", function()
    support.as_user_with_ids(function()
      assert(sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1))
      local each = examined().ids
      finds(each, "warning", "the caller has set no_new_privs: setuid programs get no rights from it")
      agrees(each, auto())
    end)
  end)
end)
