-- SPDX-License-Identifier: MIT
-- What doctor makes of facts that this host does not have: tables stand for those of another one.
local casulo = require "casulo"
local doctor = require "casulo.doctor"
local failure = require "casulo.failure"
local hint = require "casulo.hint"
local obstacles = require "casulo.obstacles"
local sys = casulo.sys

local ALL = (1 << 41) - 1

-- A table in which nothing is missing: another one's fields take the place of its own.
local function over(base, changes)
  return setmetatable(changes or {}, { __index = base })
end

local USER = {
  uid = 1000, gid = 1000, login = "ana", release = "6.8.0-31-generic", status = { Seccomp = 0, NoNewPrivs = 0, CapEff = 0 },
  sysctls = { ["kernel.seccomp.actions_avail"] = "kill errno allow" }, is_chroot = false, root = "mount", is_inner = false,
  covered = { proc = {}, sys = {} }, subuid = { { 100000, 65536 }, free = 165536 }, subgid = { { 100000, 65536 }, free = 165536 },
  overlay = "loaded", has_systemd = true, names = true, process_limits = { { name = "sysctl kernel.pid_max", left = 4000000 } },
  cgroup = {
    layout = "2", version1 = {}, top = "/sys/fs/cgroup", path = "/sys/fs/cgroup/ana/shell", place = "/sys/fs/cgroup/ana", stands = "free",
    has = { cpu = true, memory = true, pids = true }, passed_on = {}, withheld = {},
  },
}
local ROOT = over(USER, { uid = 0, gid = 0, login = "root", status = { Seccomp = 0, NoNewPrivs = 0, CapEff = ALL } })

local WELL = {
  calls = true, user = true, pid = true, mount = true, uts = true, ipc = true, net = true, cgroup = true, time = true, proc = true,
  sys = true, container = true, ranges = true, init = true, overlay = true, idmap = true, landlock = 4,
}

-- What one examination finds.
local function finding(name, host, trials)
  for _, each in ipairs(doctor.examine(host, getmetatable(trials) and trials or over(WELL, trials))) do
    if each.name == name then return each end
  end
end

-- The error of a run, as a trial gives it.
local function failed(facts)
  facts.message = facts.message or facts.call or facts.step[1]
  return failure.new(facts)
end

local function refused_clone(flags, errno) return failed { call = "clone", args = { flags }, errno = errno } end

local function finds(state, what, cure, each)
  assert.are.same({ state, cure }, { each.state, each.cure }, each.what)
  assert.is_truthy(each.what:find(what, 1, true), each.what)
end

describe("doctor", function()
  it("finds nothing where nothing is wrong", function()
    for _, host in ipairs { USER, ROOT } do
      local list = doctor.examine(host, WELL)
      assert.is_true(doctor.can_run(list))
      for _, each in ipairs(list) do assert.are.same({ "ok" }, { each.state, each.cure }, each.what) end
    end
  end)

  it("asks for a later kernel", function()
    for release, call in pairs { ["5.10.0-46-amd64"] = "mount_setattr", ["4.19.0"] = "clone3", ["5.11.22"] = "mount_setattr" } do
      finds("problem", ("this is Linux %s, and casulo needs Linux 5.12 or later"):format(release), "boot a later kernel; Debian 12 has 6.1",
        finding("kernel", over(USER, { release = release }), { calls = { call } }))
    end
    for _, release in ipairs { "5.12.0", "5.15.0-generic", "6.1.0", "10.0" } do
      assert.are.equal("ok", finding("kernel", over(USER, { release = release })).state)
    end
    assert.are.equal("problem", finding("kernel", over(USER, { release = "5.10.0" })).state) -- whatever it has been given since
  end)

  it("knows the settings of a host that keep its users from user namespaces", function()
    local apparmor = over(USER, { sysctls = { ["kernel.apparmor_restrict_unprivileged_userns"] = 1 } })
    local what = "sysctl kernel.apparmor_restrict_unprivileged_userns is 1: AppArmor leaves a program without a profile for it no rights in "
      .. "a user namespace"
    local cure = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    for _, err in ipairs {
      refused_clone(sys.CLONE_NEWUSER, sys.EACCES), refused_clone(sys.CLONE_NEWUSER | sys.CLONE_NEWPID, sys.EPERM),
      failed { step = { "write", { ref = "uid_map" }, "0 1000 1\n" }, errno = sys.EPERM },
      failed { step = casulo.recipes.private_mounts()[1], errno = sys.EACCES },
      failed { step = { "fsopen", "proc", 1 }, errno = sys.EPERM },
    } do finds("problem", what, cure, finding("user namespace", apparmor, { user = err })) end

    local debian = over(USER, { sysctls = { ["kernel.unprivileged_userns_clone"] = 0 } })
    finds("problem", "sysctl kernel.unprivileged_userns_clone is 0: only root makes user namespaces", "sysctl -w kernel.unprivileged_userns_clone=1",
      finding("user namespace", debian, { user = refused_clone(sys.CLONE_NEWUSER, sys.EPERM) }))
  end)

  it("does not blame a setting that spares root, or for another errno", function()
    local sysctls = { ["kernel.unprivileged_userns_clone"] = 0, ["kernel.apparmor_restrict_unprivileged_userns"] = 1 }
    local err = refused_clone(sys.CLONE_NEWUSER, sys.EPERM)
    assert.is_falsy(finding("user namespace", over(ROOT, { sysctls = sysctls }), { user = err }).what:find("sysctl", 1, true))
    local limit = finding("user namespace", over(USER, { sysctls = sysctls }), { user = refused_clone(sys.CLONE_NEWUSER, sys.ENOSPC) })
    finds("problem", "a limit of namespaces is reached", nil, limit)
  end)

  it("takes nothing for a problem of root that only a user namespace needs", function()
    for _, name in ipairs { "user", "proc", "sys" } do
      local examination = ({ user = "user namespace", proc = "/proc", sys = "/sys" })[name]
      local trials = { [name] = refused_clone(sys.CLONE_NEWUSER, sys.ENOSPC) }
      assert.are.equal("warning", finding(examination, ROOT, trials).state)
      assert.are.equal("problem", finding(examination, USER, trials).state)
    end
  end)

  it("names every kind of namespace that cannot be made, and each cure once", function()
    local limited = over(USER, { sysctls = { ["user.max_net_namespaces"] = 0, ["user.max_time_namespaces"] = 0 } })
    local function of(host, ...)
      local trials = {}
      for _, kind in ipairs { ... } do
        trials[kind] = refused_clone(sys["CLONE_NEW" .. kind:upper()] | sys.CLONE_NEWUSER, sys.ENOSPC)
      end
      return finding("namespaces", host, trials)
    end
    local none = " is 0: no namespace of this kind can be made"
    finds("problem", "net: sysctl user.max_net_namespaces" .. none .. "; time: sysctl user.max_time_namespaces" .. none,
      "sysctl -w user.max_net_namespaces=15000; sysctl -w user.max_time_namespaces=15000", of(limited, "net", "time"))
    finds("warning", "time: sysctl user.max_time_namespaces", "sysctl -w user.max_time_namespaces=15000", of(limited, "time"))
    local users = over(USER, { sysctls = { ["user.max_user_namespaces"] = 0 } })
    finds("problem", "ipc net: sysctl user.max_user_namespaces is 0: no user", "sysctl -w user.max_user_namespaces=15000", of(users, "net", "ipc"))
  end)

  it("says of what it does not know what the kernel said", function()
    finds("problem", 'it does not start: pivot_root(".", "."): Device or resource busy', nil,
      finding("container", USER, { container = failed { step = { "pivot_root", ".", "." }, errno = sys.EBUSY } }))
    finds("warning", "it ended with signal 31", nil, finding("ids", USER, { ranges = "it ended with signal 31" }))
  end)

  it("has a cure for no whole /proc being in sight only where it knows one", function()
    local err = failed { step = { "fsmount", { ref = "proc context" }, 1, 0 }, errno = sys.EPERM }
    finds("problem", "only while a whole one is in sight, and there is none here", nil, finding("/proc", USER, { proc = err }))
  end)

  it("has no cure for a caller without an account and without subordinate ids", function()
    local unknown = over(USER, { login = "1000", subuid = { partial = true, free = 100000 } })
    finds("warning", "/etc/subuid gives 1000 no ids: it goes by names, and /etc/passwd has none for this uid", nil, finding("ids", unknown))
  end)

  it("knows what else of a kernel a container may ask for", function()
    finds("problem", "no filters of system calls", "boot a kernel with CONFIG_SECCOMP_FILTER", finding("seccomp", over(USER, { sysctls = {} })))
    finds("warning", "no overlay file system", "modprobe overlay", finding("overlay", over(USER, { overlay = false })))
    local untried = setmetatable({}, { __index = function(_, name) return name == "overlay" and error "it was tried" or WELL[name] end })
    finds("ok", "the kernel loads that file system when one is mounted", nil, finding("overlay", over(USER, { overlay = "module" }), untried))
    assert.is_nil(finding("overlay", over(USER, { release = "5.10.0" })))
    finds("ok", "version 4 of its ABI", nil, finding("landlock", USER))
    finds("warning", "Operation not supported", "boot a kernel with CONFIG_SECURITY_LANDLOCK, and landlock in its list lsm=",
      finding("landlock", USER, { landlock = "landlock_create_ruleset: Operation not supported" }))
    finds("warning", "cannot be mounted with other ids: mount_setattr : Invalid argument", nil,
      finding("idmapped mounts", ROOT, { idmap = "mount_setattr : Invalid argument" }))
    assert.is_nil(finding("idmapped mounts", USER))
    finds("ok", "/ is the initramfs", nil, finding("root", over(ROOT, { root = "initramfs" })))
    finds("problem", "casulo runs in a chroot", "start it outside", finding("root", over(ROOT, { is_chroot = true })))
  end)

  it("tells whose the cgroup is, and what it lacks", function()
    local function of(own, more) return finding("cgroup", over(over(USER, { cgroup = over(USER.cgroup, own) }), more)) end
    local boot = "boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"
    finds("warning", "no cgroups are mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup", finding("cgroup", over(USER, { cgroup = {} })))
    finds("warning", "cgroups are those of version 1", boot, of { layout = "1" })
    finds("warning", "the controller memory is in cgroups of version 1", boot, of { layout = "hybrid", version1 = { memory = true }, has = {} })
    finds("warning", "out of sight", nil, finding("cgroup", over(USER, { cgroup = { layout = "2" } })))
    finds("warning", "threaded", "choose another one by cgroup_parent", of { stands = "threaded" })
    finds("warning", "/sys/fs/cgroup/a lacks the controller memory, which /sys/fs/cgroup does not pass on",
      "echo +memory >/sys/fs/cgroup/cgroup.subtree_control", of { place = "/sys/fs/cgroup/a", has = {}, withheld = { memory = "/sys/fs/cgroup" } })
    finds("warning", "app.slice lacks the controller cpu, which /sys/fs/cgroup/user.slice/user-1000.slice does not pass on",
      "mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' "
      .. ">/etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload; then log in again", of {
        place = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice", has = { memory = true, pids = true },
        withheld = { cpu = "/sys/fs/cgroup/user.slice/user-1000.slice" },
      })
    finds("warning", "this kernel has no cgroup controller pids", "boot a kernel that has it; some have memory only with cgroup_enable=memory",
      of { has = { memory = true } })
    finds("warning", "the cgroup /sys/fs/cgroup/ana has processes of its own", "mkdir /sys/fs/cgroup/ana/main && for pid in "
      .. "$(cat /sys/fs/cgroup/ana/cgroup.procs); do echo $pid >/sys/fs/cgroup/ana/main/cgroup.procs; done", of { stands = "busy" })

    local foreign = { stands = "forbidden", path = "/sys/fs/cgroup/a" }
    finds("warning", "/sys/fs/cgroup/a, is not its own to divide", "systemd-run --user --scope -p Delegate=yes casulo …", of(foreign))
    local service = { stands = "forbidden", path = "/sys/fs/cgroup/system.slice/system-ana.slice/ana@1.service" }
    finds("warning", "/ana@1.service, is not its own to divide", "mkdir -p /etc/systemd/system/ana@1.service.d && printf '[Service]\\n"
      .. "Delegate=yes\\nDelegateSubgroup=main\\n' >/etc/systemd/system/ana@1.service.d/delegate.conf && systemctl daemon-reload "
      .. "&& systemctl restart ana@1.service", of(service))
    finds("warning", "is not its own", "mkdir -p /sys/fs/cgroup/a/ana/shell && chown -R ana /sys/fs/cgroup/a/ana "
      .. "&& echo $$ >/sys/fs/cgroup/a/ana/shell/cgroup.procs", of(foreign, { has_systemd = false }))
    finds("warning", "is not its own", "mount -o remount,rw /sys/fs/cgroup", of(foreign, { uid = 0 }))
    finds("ok", "/sys/fs/cgroup/ana is the caller's to divide, with the controllers cpu memory pids", nil, finding("cgroup", USER))
  end)

  it("takes the limit of processes that is reached first", function()
    local function of(...) return finding("processes", over(USER, { process_limits = { ... } })) end
    finds("warning", "only 7 more can be made, by b", "raise b", of({ name = "a", left = 5000 }, { name = "b", left = 7, cure = "raise b" }))
    finds("ok", "100 more can be made, by a", nil, of { name = "a", left = 100, cure = "raise a" })
    finds("ok", "nothing limits their number", nil, of())
  end)

  it("names the package that names need", function()
    finds("warning", "dkjson", "apt-get install lua-dkjson", finding("names", over(USER, { names = "names need the Lua module dkjson" })))
  end)
end)

describe("an error of a run", function()
  it("has the words of doctor for its hint", function()
    local host = over(USER, { sysctls = { ["kernel.unprivileged_userns_clone"] = 0 } })
    local err = refused_clone(sys.CLONE_NEWUSER, sys.EPERM)
    local each = finding("user namespace", host, { user = err })
    assert.are.equal(("%s; cure: %s"):format(each.what, each.cure), obstacles.line(hint.obstacle(err, host)))
  end)

  it("leads to doctor where it has no other", function()
    assert.are.equal("casulo doctor looks for what is in the way", failed { step = { "fsopen", "proc", 1 }, errno = sys.EPERM }.hint)
    assert.is_nil(failed { step = { "fsopen", "proc", 1 }, errno = sys.EBUSY }.hint)
    assert.is_nil(failed { step = { "socket", 1, 1, 0 }, errno = sys.EPERM }.hint)
  end)
end)
