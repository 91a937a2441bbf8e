-- SPDX-License-Identifier: MIT
-- Each example is run as its header says, and what it prints is compared with the system.
local cgroup = require "casulo.cgroup"
local obstacles = require "casulo.obstacles"
local support = require "support"
local sys = require "casulo.sys"
local run = support.example

local function example(name, body)
  it(name, function()
    if not support.needs_root() then return end
    support.leaves_nothing(function() body(run(name)) end)
  end)
end

describe("example", function()
  example("01-fresh-proc", function(out)
    local first = out:find('mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)', 1, true)
    local second = out:find('umount2("/proc", MNT_DETACH)', 1, true)
    local third = out:find('mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL)', 1, true)
    assert.is_true(first < second and second < third)
    assert.is_truthy(out:find "ps sees only its own world")
    local rows = {}
    for pid, command in out:match "COMMAND\n(.*)":gmatch "(%d+) %S+%s+([^\n]+)" do rows[#rows + 1] = { pid, command:match "%S+" } end
    assert.are.same({ { "1", "lua5.4" }, { "2", "sh" }, { "3", "busybox" } }, rows)
  end)

  example("02-pid-namespace", function(out)
    local outside, inside = out:match "^(.-)(My pid is 1\n.*)$"
    assert.are_not.equal("1", outside:match "^My pid is (%d+)\n\nPIDS\nNAME                 PID\n")
    assert.is_true(select(2, outside:gsub("\n", "")) > 5)
    assert.are.equal("My pid is 1\n\nPIDS\nNAME                 PID\nlua5.4               1\n\n", inside)
  end)

  example("03-uts-namespace", function(out)
    local host = sys.gethostname()
    assert.are.equal(("the host before:       %s\ninside:                foo\nthe host meanwhile:    %s\nthe host afterwards:   %s\n")
      :format(host, host, host), out)
  end)

  example("04-busybox-container", function(out)
    local by_hand, described = out:match "^(.*)\nThe same as a description; its shell is PID 1:\n(.*)$"
    assert.is_truthy(by_hand:find("| lua (PID 1)    | new pid, new uts, new ipc, new mnt | /                      | 1 |", 1, true))
    assert.is_truthy(by_hand:find("| sh (chroot)    | new pid, new uts, new ipc, new mnt | build/demo             | 2 |", 1, true))
    for _, part in ipairs { by_hand, described } do
      assert.is_truthy(part:find("# ls /\nbin\ndev\netc\nproc\nroot\nsys\ntmp\n", 1, true))
    end
    assert.is_truthy(by_hand:find("# hostname sag\nsag\n", 1, true))
    assert.is_truthy(described:find("# hostname\nsag\n", 1, true))
    assert.are.equal("2", by_hand:match "# echo %$%$\n(%d+)\n")
    assert.are.equal("1", described:match "# echo %$%$\n(%d+)\n")
    assert.is_nil(described:find "lua5.4") -- its ps sees nothing of this program
    for line in described:match "# mount\n(.*)$":gmatch "[^\n]+" do
      local target = line:match " on (%S+) type"
      assert.is_truthy(target == "/" or target:find "^/proc" or target:find "^/dev" or target:find "^/sys", line)
    end
  end)

  example("05-mount-namespace", function(out)
    out = out:gsub(",inode64", "") -- an option that some kernels are built with
    assert.are.equal("on the host before: 0 lines\nMounted tmpfs at /mnt/test_mount\n"
      .. "tmpfs /mnt/test_mount tmpfs rw,nosuid,nodev,relatime 0 0\non the host after: 0 lines, directory removed\n", out)
    assert.is_nil(sys.stat "/mnt/test_mount")
    assert.is_nil(support.read_file "/proc/self/mounts":find("/mnt/test_mount", 1, true))
  end)

  example("06-two-views", function(out)
    local inner, parent = out:match "Michael: my PID is (%d+), my parent's is (%d+)"
    assert.are.same({ "1", "0" }, { inner, parent })
    assert.are.equal("1", out:match "Michael: I see (%d+) process")
    assert.is_truthy(out:find "Michael: can I signal Dwight, PID %d+%? kill %d+: No such process")
    local outer = out:match "Dwight:  his PID is (%d+)"
    assert.is_truthy(out:find(("both of his: %s 1\n"):format(outer), 1, true))
    assert.is_truthy(out:find "Dwight:  can I signal him%? yes\nDwight:  he ended by signal 9\n$")
    local _, _, errno = sys.kill(math.tointeger(outer), 0)
    assert.are.equal(sys.ESRCH, errno)
  end)

  it("07-user-namespace", function()
    support.command()
    support.as_user(function()
      local out = run "07-user-namespace"
      local uid, gid = sys.getuid(), sys.getgid()
      assert.is_truthy(out:find(("outside: uid %d, gid %d\ninside:  uid 0, gid 0\n"):format(uid, gid), 1, true), out)
      assert.is_truthy(out:find(("/proc/self/uid_map%%s+0 %d 1\n"):format(uid)))
      assert.is_truthy(out:find(("/proc/self/gid_map%%s+0 %d 1\n"):format(gid)))
      assert.is_truthy(out:find "/proc/self/setgroups%s+deny\n")
      assert.is_truthy(out:find "inside:  open /etc/shadow: Permission denied")
      assert.is_truthy(out:find(("outside: the file belongs to uid %d\n"):format(uid), 1, true))
    end)
  end)

  example("12-fewer-rights", function(out)
    local sections = {}
    for title, text in (out .. "\n"):gmatch "# ([^\n]+)\n(.-\n)\n" do sections[title] = text end
    local default = sections["by default"]
    local mask = tonumber(default:match "CapEff:%s(%x+)", 16)
    assert.are.equal(0, mask & (1 << sys.CAP_SYS_ADMIN | 1 << sys.CAP_SYS_PTRACE | 1 << sys.CAP_MKNOD | 1 << sys.CAP_NET_RAW))
    assert.is_truthy(default:find "NoNewPrivs:%s1\n")
    assert.is_nil(default:find "done\n")
    assert.is_truthy(default:find("core_pattern: Read-only file system", 1, true))
    assert.is_truthy(default:find "keys%s+0\n")
    assert.is_truthy(sections["with a capability more"]:find " done\n")
    assert.is_truthy(sections["without any"]:find "CapEff:%s0+\n")
    assert.is_truthy(sections["without any"]:find("Operation not permitted", 1, true))
    assert.is_truthy(sections["with a rule of one's own"]:find("can't create directory '/tmp/d': Permission denied", 1, true))
  end)

  support.each_identity("13-host-sandbox", function()
    local out = run "13-host-sandbox"
    assert.is_truthy(out:find("the Lua of the host runs here: " .. _VERSION, 1, true), out)
    assert.is_truthy(out:find "/home: 0 entries\n/usr:  /usr/x: ")
    assert.is_truthy(out:find "exit 0; the host finds in build/work: made inside\n")
    assert.is_nil(sys.stat "/usr/x")
  end)

  support.each_identity("14-limits", function()
    local own = cgroup.own()
    local found = obstacles.cgroup(own, nil, require "casulo.surroundings") or obstacles.controllers(own, { "cpu", "memory", "pids" })
    if not found then return end -- spec/cgroup has what it prints here
    assert.are.equal(("no limits here: %s\n"):format(obstacles.line(found)), run "14-limits")
  end)

  support.each_identity("08-network-namespace", function()
    local out = run "08-network-namespace"
    assert.is_truthy(out:find "^outside: interfaces: [^\n]*lo")
    assert.is_truthy(out:find "inside:  interfaces: lo; lo is down\ninside:  interfaces: lo; lo is up\n$", out)
  end)

  support.each_identity("09-ipc-namespace", function()
    local before, first, made, after = run "09-ipc-namespace":match
      "^outside before:%s+(%d+) .*inside at first:%s+(%d+) .*inside, one made:%s+(%d+) .*outside after:%s+(%d+) "
    assert.are.same({ "0", "1" }, { first, made })
    assert.are.equal(before, after)
  end)

  -- Those of event loops need their library.
  local function with_library(name, body)
    support.each_identity(name, function()
      if not package.searchpath(name:match "%d+%-(.*)", package.path .. ";" .. package.cpath) then
        return support.cannot_run(name .. " needs the Debian package lua-" .. name:match "%d+%-(.*)")
      end
      support.leaves_nothing(function() body(run(name)) end)
    end)
  end

  with_library("10-luv", function(out)
    for _, name in ipairs { "slow    ", "middling", "quick   " } do
      assert.is_truthy(out:find(("%s says 1\n.*%s says 2\n.*%s says 3\n.*%s ended, exit code "):format(name, name, name, name)), out)
    end
    assert.is_truthy(out:find "quick    ended, exit code 5\n.*middling ended, exit code 8\n.*slow     ended, exit code 4\nthe loop ticked on\n$", out)
  end)

  with_library("11-cqueues", function(out)
    assert.are.equal("quick    ended, exit code 5\nmiddling ended, exit code 8\nslow     ended, exit code 4\nthe count went on\n", out)
  end)

  it("headers say goal, how to run and what to expect, in under 60 lines", function()
    local files = sys.scandir "examples"
    assert.are.equal(14, #files)
    for _, name in ipairs(files) do
      local text = support.read_file("examples/" .. name)
      for _, word in ipairs { "-- Goal:", "-- Run:", "-- Expect:" } do assert.is_truthy(text:find(word, 1, true), name) end
      assert.is_true(select(2, text:gsub("\n", "")) < 60, name)
    end
  end)
end)
