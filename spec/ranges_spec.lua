-- SPDX-License-Identifier: MIT
-- Ranges of ids: which a caller may map, and containers of an ordinary user who has subordinate ids.
local casulo = require "casulo"
local description = require "casulo.description"
local support = require "support"
local sys = casulo.sys

local NONE = { free = 165536 }
local ROOT = { uid = 0, gid = 0, login = "root", subuid = NONE, subgid = NONE, last_capability = 40, capabilities = -1 }
local ANA = {
  uid = 1000, gid = 1001, login = "ana",
  subuid = { { 100000, 1000 }, { 200000, 65536 }, { 101000, 1000 }, free = 265536 }, subgid = { { 300000, 65536 }, free = 365536 },
  last_capability = 40,
}
local EVA = { uid = 1002, gid = 1002, login = "eva", subuid = NONE, subgid = NONE, last_capability = 40, capabilities = -1 }

local function check(fields, host)
  local raw = { rootfs = "/srv/root", namespaces = { "user", "mount" } }
  for name, value in pairs(fields) do raw[name] = value end
  return description.try(description.check, raw, host)
end

local function accepts(fields, host)
  local ok, checked = check(fields, host)
  assert.is_true(ok, checked)
  return checked
end

local function refuses(expected, fields, host)
  local ok, message = check(fields, host)
  assert.is_false(ok)
  assert.are.equal("container." .. expected, message)
end

describe("a map of ids", function()
  it("is refused where the kernel would, whoever asks for it", function()
    for _, case in ipairs {
      { { { 0, 5, 10 }, { 9, 50, 1 } }, "uid_map[2]: inside, it overlaps range 1" },
      { { { 0, 5, 10 }, { 100, 200, 3 }, { 50, 14, 2 } }, "uid_map[3]: outside, it overlaps range 1" },
      { { { 0, 4294967294, 2 } }, "uid_map[1]: it ends above the last id, 4294967294" },
      { { { 4294967290, 0, 6 } }, "uid_map[1]: it ends above the last id, 4294967294" },
    } do refuses(case[2], { uid_map = case[1] }, ROOT) end
    accepts({ uid_map = { { 0, 5, 10 }, { 10, 15, 4294967280 } }, gid_map = { { 4294967294, 4294967294, 1 } } }, ROOT)
  end)

  it("holds for an ordinary user its own id, and what is subordinate to it", function()
    for _, map in ipairs {
      { { 0, 1000, 1 } }, { { 7, 1000, 1 }, { 0, 100000, 1 } }, { { 0, 100500, 1500 } }, { { 0, 101999, 1 } }, { { 0, 200000, 65536 } },
    } do accepts({ uid_map = map }, ANA) end
    local allowed = "an ordinary user maps its own uid, 1000, and what /etc/subuid gives it, 100000 to 100999, 200000 to 265535, 101000 to 101999"
    for _, map in ipairs {
      { { 0, 1000, 2 } }, { { 0, 1001, 1 } }, { { 0, 99999, 2 } }, { { 0, 101500, 501 } }, { { 0, 200000, 65537 } }, { { 0, 0, 1 } },
    } do refuses("uid_map[1]: not the caller's to map: " .. allowed, { uid_map = map }, ANA) end
    refuses("gid_map[2]: not the caller's to map: an ordinary user maps its own gid, 1001, and what /etc/subgid gives it, 300000 to 365535",
      { gid_map = { { 0, 1001, 1 }, { 1, 100000, 1 } } }, ANA)
  end)

  it("says what to do for a user who has no subordinate ids", function()
    refuses("uid_map[2]: not the caller's to map: an ordinary user maps its own uid, 1002, and what /etc/subuid gives it, which is nothing; "
      .. "root can give some: usermod --add-subuids 165536-231071 eva", { uid_map = { { 0, 1002, 1 }, { 1, 100000, 65536 } } }, EVA)
    refuses('uid_map: "auto" takes the ids that /etc/subuid gives the caller, and there are none; '
      .. "root can give some: usermod --add-subuids 165536-231071 root", { uid_map = "auto" }, ROOT)
    refuses('gid_map: "auto" takes the ids that /etc/subgid gives the caller, and there are none; '
      .. "root can give some: usermod --add-subgids 165536-231071 eva", { gid_map = "auto" }, EVA)
    refuses('uid_map: "auto" takes the ids that /etc/subuid gives the caller, and there are none; '
      .. "it goes by names, and /etc/passwd has none for this uid", { uid_map = "auto" },
      { uid = 61235, gid = 61235, login = "61235", subuid = { partial = true, free = 9 }, subgid = NONE, last_capability = 40 })
  end)

  it("is left to newuidmap where files do not tell whose the ids are", function()
    local elsewhere = { partial = true, free = 100000 }
    accepts({ uid_map = { { 0, 500000, 9 } } }, {
      uid = 1000, gid = 1000, login = "1000", subuid = elsewhere, subgid = elsewhere, last_capability = 40,
    })
  end)

  it("is made of all that the caller has by auto", function()
    local checked = accepts({ uid_map = "auto" }, ANA)
    assert.are.same({ { 0, 1000, 1 }, { 1, 100000, 1000 }, { 1001, 200000, 65536 }, { 66537, 101000, 1000 } }, checked.uid_map)
    assert.are.same({ { 0, 1001, 1 }, { 1, 300000, 65536 } }, checked.gid_map)
    checked = accepts({ uid_map = "auto", gid_map = { { 0, 1001, 1 } } }, ANA)
    assert.are.same({ { 0, 1001, 1 } }, checked.gid_map)
    local twice = { { 100000, 10 }, { 100000, 10 }, { 100010, 10 }, free = 100020 }
    checked = accepts({ uid_map = "auto" }, { uid = 0, gid = 0, login = "root", subuid = twice, subgid = twice, last_capability = 40 })
    assert.are.same({ { 0, 100000, 10 }, { 10, 100010, 10 } }, checked.uid_map)
  end)

  it("allows groups where it maps others than the caller's", function()
    local user = { uid = 0, gid = 0, groups = { 5 } }
    accepts({ uid_map = "auto", user = user }, ANA)
    accepts({ uid_map = { { 0, 100000, 10 } }, user = user }, ROOT)
    refuses("user.groups: a user namespace whose only group is that of the caller has given up setgroups",
      { uid_map = "auto", gid_map = { { 0, 1001, 1 } }, user = user }, ANA)
  end)

  it("is written by newuidmap and newgidmap in the plan, which says so", function()
    local recorder = casulo.recorder()
    local steps = casulo.recipes.subordinate_id_maps({ { 0, 1000, 1 }, { 1, 100000, 65536 } }, { { 0, 300000, 5 } })
    local the_plan = casulo.plan(steps)
    assert(require "casulo.plan".run(the_plan:phase "born", recorder, { PID = 77 }))
    assert.are.same({
      { "spawn", { "newuidmap", 77, "0", "1000", "1", "1", "100000", "65536" }, n = 1 },
      { "spawn", { "newgidmap", 77, "0", "300000", "5" }, n = 1 },
    }, recorder.calls)
    assert.is_truthy(the_plan:explain():find('\nspawn(["newgidmap", PID, "0", "300000", "5"]) ', 1, true))
  end)
end)

local function box(script, fields)
  local raw = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script }, uid_map = "auto", stdout = "pipe", stderr = "pipe" }
  for name, value in pairs(fields or {}) do raw[name] = value end
  return casulo.container(raw)
end

local function output(script, fields)
  local result = assert(box(script, fields):run())
  return (result.stdout .. result.stderr):gsub("%s+", " "):gsub(" $", ""), result
end

describe("a container of a user with subordinate ids", function()
  it("has all of them, and what is the user's is root's inside", function()
    support.as_user_with_ids(function()
      local data, own = support.tmpdir(), sys.getuid()
      support.write_file(data .. "/file", "")
      support.leaves_nothing(function()
        local text = output("id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; stat -c %u:%g / /data/file /dev /tmp; "
          .. "touch /data/new; chown 5:7 /data/new; chown 65536 /dev/shm; stat -c %u /dev/shm; chown 65537 /dev/shm",
          { mounts = { { type = "bind", source = data, target = "/data" }, { type = "tmpfs", target = "/tmp" } } })
        assert.are.equal(("uid=0(root) gid=0(root) 0 %d 1 1 100000 65536 0 %d 1 1 200000 65536 allow 0:0 0:0 0:0 0:0 65536 "
          .. "chown: /dev/shm: Invalid argument"):format(own, own), text)
      end)
      local made = sys.stat(data .. "/new")
      assert.are.same({ 100004, 200006 }, { made.uid, made.gid })
    end)
  end)

  it("gives its terminals to group tty", function()
    support.as_user_with_ids(function()
      assert.are.equal("crw--w---- 0 5", output("exec 3<>/dev/ptmx; stat -c '%A %u %g' /dev/pts/0"))
    end)
  end)

  it("runs as one of them, with groups", function()
    support.as_user_with_ids(function()
      local data = support.tmpdir()
      assert(sys.chmod(data, 511))
      assert.are.equal("uid=1000 gid=1000 groups=7,8 0", output("id; touch /data/x; awk '/CapEff/ { print $2 + 0 }' /proc/self/status", {
        user = { uid = 1000, groups = { 7, 8 } }, mounts = { { type = "bind", source = data, target = "/data" } } }))
      assert.are.equal(100999, sys.stat(data .. "/x").uid)
    end)
  end)

  it("may leave the user out, whose directories it still comes from", function()
    support.as_user_with_ids(function()
      local private = support.tmpdir()
      local root = casulo.rootfs.busybox(private .. "/root")
      assert(sys.chmod(private, 448))
      local p <close> = assert(box("read line", { rootfs = root, uid_map = { { 0, 100000, 10 } }, gid_map = { { 0, 200000, 10 } },
        stdin = "pipe" }):start())
      assert.are.same({ 100000, 200000 }, { sys.stat(("/proc/%d"):format(p.pid)).uid, sys.stat(("/proc/%d"):format(p.pid)).gid })
      assert(p:kill())
      assert.are.equal(sys.SIGKILL, p:wait().signal)
      assert.are.equal(1, sys.prctl(sys.PR_GET_DUMPABLE))
    end)
  end)

  it("may not have what root of a user namespace lacks itself", function()
    support.as_user(function()
      local root = support.rootfs()
      local _, err = casulo.unshared({ "user" }, { function()
        local fields = { rootfs = root, namespaces = { "user", "mount" }, uid_map = { { 0, 0, 1 } }, gid_map = { { 0, 5, 1 } } }
        error(tostring(select(2, box("true", fields):run())), 0)
      end })
      assert.is_truthy(tostring(err):find("write(gid_map, \"0 5 1\\n\", 6): Operation not permitted (the caller lacks CAP_SETUID", 1, true),
        tostring(err))
    end)
  end)

  it("begins as root, wherever that stands in the map", function()
    support.as_user_with_ids(function()
      local map = { { 1000, sys.getuid(), 1 }, { 0, 100000, 10 } }
      assert.are.equal("0", output("id -u", { uid_map = map }))
      assert.are.equal("1000", output("id -u", { uid_map = map, user = { uid = 1000, gid = 0 } }))
    end)
  end)

  it("gives up setgroups where newgidmap maps no group but the user's", function()
    support.as_user_with_ids(function()
      assert.are.equal("deny 0", output("cat /proc/self/setgroups; id -u", { gid_map = { { 0, sys.getgid(), 1 } } }))
    end)
  end)

  it("starts from a caller that ignores SIGCHLD, or has no standard streams", function()
    support.as_user_with_ids(function()
      local ignored = sys.signal(sys.SIGCHLD, sys.SIG_IGN)
      local result, err = box("echo out"):run()
      sys.signal(sys.SIGCHLD, ignored)
      assert.are.equal("out\n", result and result.stdout, tostring(err))
      local script = support.tmpdir() .. "/box.lua"
      support.write_file(script, ("return { rootfs = %q, uid_map = 'auto', command = { 'true' } }"):format(support.rootfs()))
      assert.are.equal(0, (support.sh(("%s run %s <&- >&- 2>&-"):format(support.command(), script))))
    end)
  end)
end)

describe("a program that is run to its end", function()
  local calls = require "casulo.calls"
  local function spawn(script) return calls.spawn { "sh", "-c", script } end

  it("is told by what it says, or by how it ended", function()
    support.leaves_nothing(function()
      assert.is_true(spawn "echo a warning >&2")
      assert.are.same({ nil, "what is wrong\nhere", 0 }, { spawn "echo what is wrong >&2; echo here >&2; exit 3" })
      assert.are.same({ nil, "sh: exit status 3", 0 }, { spawn "exit 3" })
      assert.are.same({ nil, "sh: killed by signal 9", 0 }, { spawn "kill -9 $$" })
      assert.are.same({ sys.ENOENT }, { select(3, calls.spawn { "/no/such/program" }) })
      assert.is_true(calls.spawn { "test", 7, "-eq", "7" })
    end)
  end)

  it("is a success for a caller that ignores SIGCHLD, where it says nothing", function()
    local ignored = sys.signal(sys.SIGCHLD, sys.SIG_IGN)
    local quiet, loud = spawn "exit 3", spawn "echo wrong >&2"
    sys.signal(sys.SIGCHLD, ignored)
    assert.is_true(quiet)
    assert.is_nil(loud)
  end)

  it("has no signal blocked, no variable but its own and no descriptor of the caller", function()
    local mask = sys.sigprocmask(sys.SIG_BLOCK, { sys.SIGTERM })
    local extra = sys.fcntl(0, sys.F_DUPFD_CLOEXEC, 50)
    sys.fcntl(extra, sys.F_SETFD, 0)
    local _, text = spawn "{ grep SigBlk /proc/self/status; ls /proc/self/fd; env | grep -v ^PWD= | grep -v ^_; } >&2; exit 1"
    extra:close()
    sys.sigprocmask(sys.SIG_SETMASK, mask)
    assert.are.equal("SigBlk: 0000000000000000 0 1 2 3", (text:gsub("%s+", " ")))
  end)
end)

describe("newuidmap", function()
  local function failing(fields)
    local container, result, err = box("true", fields), nil, nil
    support.leaves_nothing(function() result, err = container:run() end)
    assert.is_nil(result)
    assert.are.same({ "setup", "spawn" }, { err.kind, err.call })
    return (tostring(err):gsub("%d%d%d%d%d+", "N"))
  end
  local argv = ', PID, "0", "N", "1", "1", "N", "N"'

  it("that is not installed is named, with its package", function()
    support.as_user_with_ids(function()
      local script = support.tmpdir() .. "/box.lua"
      support.write_file(script, ("return { rootfs = %q, uid_map = 'auto', command = { 'true' } }"):format(support.rootfs()))
      local _, _, err = support.sh(("PATH=/nonexistent %s run %s"):format(support.command():gsub("bin/casulo$", "build/bin/casulo"), script))
      assert.are.equal(('casulo: spawn(["newuidmap"%s]): No such file or directory (newuidmap is not installed; cure: apt-get install uidmap)\n')
        :format(argv), (err:gsub("%d%d%d%d%d+", "N")))
    end)
  end)

  it("without its setuid bit, or newgidmap without, is told", function()
    for name, map in pairs { newuidmap = "uid_map", newgidmap = "gid_map" } do
      support.as_user_with_ids(function()
        assert.are.equal(('spawn(["%s"%s]): %s: write to %s failed: Operation not permitted '
          .. "(%s lacks the rights: it is not setuid; cure: chmod u+s $(command -v %s))"):format(name, argv, name, map, name, name),
          failing())
      end, nil, function()
        local copy = support.tmpdir() .. "/" .. name
        assert(os.execute(("cp /usr/bin/%s %s && mount --bind %s /usr/bin/%s"):format(name, copy, copy, name)))
      end)
    end
  end)

  it("that no_new_privs makes powerless is told", function()
    support.as_user_with_ids(function()
      assert(sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1))
      assert.is_truthy(failing():find("(the caller has set no_new_privs: setuid programs get no rights from it)", 1, true))
    end)
  end)

  it("says what only it can know", function()
    support.as_user_with_ids(function()
      assert.are.equal('spawn(["newuidmap", PID, "0", "N", "N"]): newuidmap: Cannot determine your user name. '
        .. "(it goes by names, and /etc/passwd has none for this uid)", failing { uid_map = { { 0, 100000, 65536 } } })
    end, { passwd = support.read_file "/etc/passwd" })
    support.as_user_with_ids(function()
      assert.are.equal('spawn(["newuidmap", PID, "0", "N", "N"]): newuidmap: uid range [0-N) -> [N-N) not allowed '
        .. "(no line of /etc/subuid gives the caller these ids)", failing { uid_map = { { 0, 400000, 65536 } } })
    end, { subuid = "spec:1:1\n", ["nsswitch.conf"] = "subid: files\n" }) -- which could have named another source
  end)

  it("and newgidmap want the caller to be who the account says", function()
    support.as_user_with_ids(function()
      assert.is_truthy(failing():find("is owned by a different user: .*%(the caller's ids are not those of its entry in /etc/passwd"))
    end, { passwd = support.read_file "/etc/passwd" .. "spec:x:61234:5::/nonexistent:/bin/sh\n" })
  end)

  it("is not asked for what /etc/subuid does not give", function()
    support.as_user_with_ids(function()
      assert.has_error(function() box("true", { uid_map = { { 0, 300000, 2 } } }) end, "container.uid_map[1]: not the caller's to map: "
        .. ("an ordinary user maps its own uid, %d, and what /etc/subuid gives it, 100000 to 165535"):format(sys.getuid()))
    end)
    support.as_user_with_ids(function()
      assert.has_error(function() box "true" end, 'container.uid_map: "auto" takes the ids that /etc/subuid gives the caller, '
        .. "and there are none; root can give some: usermod --add-subuids 365536-431071 spec")
    end, { subuid = "other:300000:65536\n" })
  end)
end)
