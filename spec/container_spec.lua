-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local hostile = require "hostile_support"
local support = require "support"
local sys = casulo.sys

local function sh(script, fields)
  local description = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script }, stdout = "pipe", stderr = "pipe",
    timeout = 60 }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function output(script, fields)
  local result = assert(sh(script, fields):run())
  assert.are.equal("", result.stderr)
  assert.are.equal(0, result.exit_code)
  return (result.stdout:gsub("\n$", ""))
end

describe("a container", function()
  support.each_identity("has PID 1, a name, a /proc and a mount table of its own", function()
    support.leaves_nothing(function()
      local text = output("echo $$; hostname; readlink /proc/self/ns/mnt; ls -d /proc/[0-9]* | wc -l", { hostname = "sag" })
      local pid, name, mount, processes = text:match "^(%S+)\n(%S+)\n(%S+)\n(%S+)$"
      assert.are.equal("1", pid)
      assert.are.equal("sag", name)
      assert.are_not.equal(support.namespace("self", "mnt"), mount)
      assert.is_true(tonumber(processes) <= 3)
    end)
  end)

  support.each_identity("has namespaces of its own, and shares those it is told to", function()
    local script = "for n in pid mnt uts ipc net cgroup user; do readlink /proc/self/ns/$n; done"
    local function inodes(fields)
      local found = {}
      for kind, inode in output(script, fields):gmatch "(%a+):%[(%d+)%]" do found[kind] = inode end
      return found
    end
    local all = inodes()
    local shared = inodes { namespaces = { net = "host", ipc = "host", cgroup = "host", uts = "host" } }
    for _, kind in ipairs { "pid", "mnt", "uts", "ipc", "net", "cgroup" } do
      local ours = support.namespace("self", kind):match "%d+"
      assert.are_not.equal(ours, all[kind], kind)
      if kind ~= "pid" and kind ~= "mnt" then assert.are.equal(ours, shared[kind], kind) end
    end
    local our_user = support.namespace("self", "user"):match "%d+"
    if support.is_root() then assert.are.equal(our_user, all.user) else assert.are_not.equal(our_user, all.user) end
  end)

  support.each_identity("shows nothing of the host's tree", function()
    local root = { rootfs = casulo.rootfs.busybox(support.tmpdir() .. "/root") }
    assert.are.equal("bin\ndev\netc\nproc\nroot\nsys\ntmp", output("ls /", root))
    local mounts = output("cat /proc/self/mountinfo", root)
    for line in mounts:gmatch "[^\n]+" do
      local target = line:match "^%d+ %d+ %S+ %S+ (%S+)"
      assert.is_truthy(target == "/" or target:find "^/proc" or target:find "^/sys" or target:find "^/dev", line)
    end
  end)

  support.each_identity("has a domain name of its own", function()
    local before = support.read_file "/proc/sys/kernel/domainname"
    assert.are.equal("of.its.own", output("cat /proc/sys/kernel/domainname", { domainname = "of.its.own" }))
    assert.are.equal(before, support.read_file "/proc/sys/kernel/domainname")
  end)

  support.each_identity("has a minimal /dev", function()
    assert.are.equal("fd full null ptmx pts random shm stderr stdin stdout tty urandom zero", (output("ls /dev"):gsub("\n", " ")))
    assert.are.equal("1777", output "stat -c %a /dev/shm")
    assert.are.equal("755", output "stat -c %a /dev")
    assert.are.equal("666", output "stat -c %a /dev/pts/ptmx")
    assert.are.equal("fine", output "echo x >/dev/null && head -c 3 /dev/zero | wc -c >/dev/null && [ -c /dev/urandom ] && echo fine")
    assert.are.equal("5", output "head -c 5 /dev/urandom | wc -c")
    assert.are.equal("ok", output "[ -e /dev/ptmx ] && [ -e /dev/fd/0 ] && echo ok")
  end)

  support.each_identity("cannot change the host's device nodes", function()
    local mode = sys.stat("/dev/null").mode
    local result = sh("chmod 600 /dev/null"):run()
    assert.are_not.equal(0, result.exit_code)
    assert.are.equal(mode, sys.stat("/dev/null").mode)
  end)

  -- Where a mistake would change the host's own, it is another one that changes.
  it("cannot change the host's /dev/null by a stream that is one", function()
    if not support.needs_root() then return end
    local change = "chmod 640 /proc/self/fd/0; chown 7 /proc/self/fd/1; chmod 600 /proc/self/fd/2; cat; echo unseen"
    hostile.in_mount_namespace(function()
      assert(os.execute [[mount -t tmpfs none /mnt && cd /dev && cp -a null zero full random urandom tty /mnt && mount --bind /mnt /dev]])
      for _, stream in ipairs { "null", "inherit" } do
        for _, standard_mounts in ipairs { true, false } do
          local box = casulo.container { rootfs = support.rootfs(), standard_mounts = standard_mounts,
            mounts = { { type = "proc", target = "/proc" } }, command = { "sh", "-c", change }, stdin = stream, stdout = stream, stderr = stream }
          local kept = {}
          for number = 0, 2 do
            kept[number] = assert(sys.fcntl(number, sys.F_DUPFD_CLOEXEC, 3))
            local null <close> = assert(sys.open("/dev/null", sys.O_RDWR))
            sys.dup2(null, number)
          end
          local p <close> = box:with { command = { "sleep", "1000" } }:start()
          local result, err = box:run()
          local of_exec = p and p:exec { command = { "sh", "-c", change }, stdin = stream, stdout = stream, stderr = stream }
          local exec_result = of_exec and of_exec:wait()
          for number = 0, 2 do sys.dup2(kept[number], number) end
          assert.are.same({ exit_code = 0 }, result, tostring(err))
          assert.are.same({ exit_code = 0 }, exec_result)
          local null = assert(sys.stat "/dev/null")
          assert.are.same({ 438, 0 }, { null.mode & 4095, null.uid })
        end
      end
    end)
  end)

  -- The options of each mount inside, by its place.
  local function mounts_in(fields)
    local found = {}
    for target, options in output("cat /proc/self/mounts", fields):gmatch "%S+ (%S+) %S+ (%S+)" do found[target] = options end
    return found
  end

  local SAFE = "nosuid,nodev,noexec,"

  support.each_identity("has file systems that give no setuid program rights, open no device, and execute nothing that is the kernel's", function()
    local found = mounts_in { mounts = {
      { type = "sysfs", target = "/more/sys" }, { type = "proc", target = "/more/proc" }, { type = "devpts", target = "/more/pts" },
      { type = "mqueue", target = "/more/queues" }, { type = "tmpfs", target = "/more/tmp" }, { type = "cgroup2", target = "/more/cgroups" },
      { type = "overlay", target = "/more/files", lower = { support.tmpdir() } },
      { type = "bind", target = "/more/bound", source = support.tmpdir(), nosuid = true, noexec = true },
    } }
    for target, expected in pairs {
      ["/sys"] = "ro," .. SAFE, ["/proc"] = "rw," .. SAFE, ["/dev"] = "rw,nosuid,nodev,", ["/dev/shm"] = "rw,nosuid,nodev,",
      ["/dev/pts"] = "rw,nosuid,noexec,", ["/more/sys"] = "ro," .. SAFE, ["/more/proc"] = "rw," .. SAFE, ["/more/pts"] = "rw,nosuid,noexec,",
      ["/more/bound"] = "rw," .. SAFE, ["/more/queues"] = "rw," .. SAFE, ["/more/tmp"] = "rw,nosuid,nodev,",
      ["/more/cgroups"] = "ro," .. SAFE, ["/more/files"] = "rw,nodev,",
    } do assert.are.equal(expected, found[target]:sub(1, #expected), target) end
  end)

  it("has the host's /sys and /proc just as safe, where it shares what they show", function()
    if not support.needs_root() then return end
    hostile.in_mount_namespace(function()
      for _, target in ipairs { "/sys", "/proc" } do assert(sys.mount(nil, target, nil, sys.MS_REMOUNT | sys.MS_BIND)) end
      for _, target in ipairs { "/sys/fs", "/proc/tty" } do assert(sys.mount("none", target, "tmpfs", 0)) end
      local found = mounts_in { namespaces = { "user", "mount" }, readonly_paths = {}, masked = {} }
      for target, access in pairs { ["/sys"] = "ro,", ["/sys/fs"] = "ro,", ["/proc"] = "rw,", ["/proc/tty"] = "rw," } do
        assert.are.equal(access .. SAFE, found[target]:sub(1, #access + #SAFE), target)
      end
    end)
  end)

  support.each_identity("has a /dev and a /dev/shm that cannot take the host's memory", function()
    assert.are.equal("64\n65536", output "df -k /dev /dev/shm | awk '/^[^F]/ { print $2 }'")
  end)

  support.each_identity("has its loopback up, and no other interface", function()
    assert.are.equal("lo", output "ls /sys/class/net")
    assert.is_truthy(output("ip addr show lo"):find("127.0.0.1/8", 1, true))
    assert.is_truthy(output("ping -c 1 127.0.0.1", { capabilities = { add = { "NET_RAW" } } }):find("1 packets received", 1, true))
  end)

  support.each_identity("runs in a session of its own with a fresh environment and mask", function()
    assert.are.equal("1 1", output "set -- $(cat /proc/1/stat); echo $5 $6") -- process group and session
    assert.are.equal("HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=" .. casulo.host.term
      .. " X=y", (output("/bin/busybox env -u PWD -u SHLVL | sort", { env = { X = "y" } }):gsub("\n", " ")))
    assert.are.equal("0022", output "umask")
    assert.are.equal("0077", output("umask", { umask = 63 }))
    assert.are.equal("/tmp", output("pwd", { cwd = "/tmp" }))
    local status = output "cat /proc/self/status"
    assert.are.equal("0000000000000000", status:match "SigBlk:%s*(%x+)")
  end)

  support.each_identity("inherits the named variables only", function()
    local home = os.getenv "HOME"
    assert.are.equal(home, output("echo $HOME", { inherit_env = { "HOME" } }))
  end)

  support.each_identity("passes no descriptor on but the standard streams", function()
    local extra <close> = assert(sys.open("/etc/passwd", sys.O_RDONLY))
    assert(sys.fcntl(extra, sys.F_SETFD, 0)) -- as a careless host program leaves them
    for _, fields in ipairs { { cwd = "/" }, { cwd = "/tmp" }, { init = true } } do -- 3 is how ls reads the directory
      assert.are.equal("0 1 2 3", (output("ls /proc/self/fd", fields):gsub("\n", " ")))
    end
  end)

  support.each_identity("resets signals that the caller ignores", function()
    local before = sys.signal(sys.SIGPIPE, sys.SIG_IGN)
    local status = output "cat /proc/self/status"
    sys.signal(sys.SIGPIPE, before)
    assert.are.equal(0, tonumber(status:match "SigIgn:%s*(%x+)", 16) & 1 << sys.SIGPIPE - 1)
  end)

  support.each_identity("binds directories and files, writable or not", function()
    local directory = support.tmpdir()
    support.write_file(directory .. "/file", "of the host")
    local text = output("cat /data/file /file; echo x >/data/new; (echo x >/ro/new) 2>/dev/null || echo refused", {
      mounts = {
        { type = "bind", source = directory, target = "/data" },
        { type = "bind", source = directory, target = "/ro", readonly = true },
        { type = "bind", source = directory .. "/file", target = "/file" },
      },
    })
    assert.are.equal("of the hostof the hostrefused", text)
    assert.are.equal("x\n", support.read_file(directory .. "/new"))
  end)

  support.each_identity("mounts tmpfs, mqueue and devpts where it is told", function()
    local mounts = output("cat /proc/self/mounts; df -k /scratch | tail -n 1", {
      mounts = {
        { type = "tmpfs", target = "/scratch", size = "1m", mode = "700" },
        { type = "mqueue", target = "/dev/mqueue" },
        { type = "tmpfs", target = "/scratch/deep/er", readonly = true },
      },
    })
    assert.is_truthy(mounts:find "/scratch tmpfs rw,nosuid,nodev,relatime,size=1024k,mode=700")
    assert.is_truthy(mounts:find "/dev/mqueue mqueue rw,nosuid,nodev,noexec")
    assert.is_truthy(mounts:find "/scratch/deep/er tmpfs ro,")
  end)

  support.each_identity("has a read-only root where it is told, with what is mounted on it writable", function()
    local text = output("(echo x >/etc/x) 2>/dev/null || echo refused; echo x >/dev/shm/x && cat /dev/shm/x", { readonly = true })
    assert.are.equal("refused\nx", text)
    assert.is_nil(sys.stat(support.rootfs() .. "/etc/x"))
  end)

  support.each_identity("makes what is mounted below a read-only root read-only, too", function()
    local inner = support.tmpdir()
    local script = ("mount -t tmpfs none %s/tmp && exec %s run --rootfs %s --readonly -- sh -c 'echo x >/tmp/x'"):format(
      support.rootfs(), support.command(), support.rootfs())
    local unshare = support.is_root() and "unshare -m" or "unshare -rm"
    local status, _, err = support.sh(("%s sh -c \"%s\""):format(unshare, script))
    assert.is_truthy(err:find "Read%-only file system", err)
    assert.are.equal(1, status)
    assert.are.same({}, sys.scandir(inner))
  end)

  support.each_identity("keeps a hostile root file system from leading its mounts outside", function()
    local root, trap = support.tmpdir(), support.tmpdir()
    assert(os.execute(("cp -a %s/. %s && rmdir %s/proc %s/dev"):format(support.rootfs(), root, root, root)))
    assert(sys.symlink(trap, root .. "/proc"))
    assert(sys.symlink("../../../../../.." .. trap, root .. "/dev"))
    local result, err = sh("true", { rootfs = root }):run()
    assert.is_nil(result)
    assert.are.equal("setup", err.kind)
    assert.are.same({}, sys.scandir(trap))
  end)

  support.each_identity("runs without the standard mounts", function()
    assert.are.equal("0", output("ls /proc | wc -l", { standard_mounts = false }))
  end)

  it("runs as a user with that user's groups only", function()
    if not support.needs_root() then return end
    assert.are.equal("uid=7 gid=8 groups=9", output("id", { user = { uid = 7, gid = 8, groups = { 9 } } }))
    assert.are.equal("uid=7 gid=7", output("id", { user = 7 }))
    assert.are.equal("uid=7 gid=9", output("id", { user = "7:9" }))
    assert.is_true(sys.prctl(sys.PR_GET_DUMPABLE) == 1)
  end)

  it("maps ranges of ids that root names, through a go-between", function()
    if not support.needs_root() then return end
    local root = support.tmpdir()
    local fields = {
      rootfs = support.rootfs(), namespaces = { "user", "pid", "mount", "uts", "ipc", "net" },
      uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 200000, 65536 } },
      mounts = { { type = "bind", source = root, target = "/data" } },
    }
    assert(sys.chmod(root, 511))
    support.leaves_nothing(function()
      assert.are.equal("uid=0(root) gid=0(root)", output("id", fields))
      fields.user = 5
      assert.are.equal("uid=5 gid=5(tty)", output("id; echo >/data/x", fields))
    end)
    local made = sys.stat(root .. "/x")
    assert.are.same({ 100005, 200005 }, { made.uid, made.gid })
    assert.are.equal(1, sys.prctl(sys.PR_GET_DUMPABLE))
  end)

  it("is root inside and the caller outside for an ordinary user", function()
    support.as_user(function()
      local directory = support.tmpdir()
      local text = output("id -u; cat /proc/self/uid_map /proc/self/setgroups; echo >/data/x", {
        mounts = { { type = "bind", source = directory, target = "/data" } },
      })
      assert.is_truthy(text:find(("^0\n%%s+0%%s+%d%%s+1\ndeny$"):format(sys.getuid())), text)
      assert.are.equal(sys.getuid(), sys.stat(directory .. "/x").uid)
    end)
  end)

  it("joins a network namespace by its path", function()
    if not support.needs_root() then return end
    local holder <close> = assert(sh("cat", { stdin = "pipe" }):start())
    local path = ("/proc/%d/ns/net"):format(holder.pid)
    local inode = support.namespace(holder.pid, "net")
    assert.are.equal(inode, output("readlink /proc/self/ns/net", { namespaces = { net = path } }))
  end)

  it("makes another container with other fields, and leaves the first as it was", function()
    local box = casulo.container { rootfs = support.rootfs(), command = { "true" } }
    local other = box:with { command = { "false" } }
    assert.are.equal(0, box:run().exit_code)
    assert.are.equal(1, other:run().exit_code)
    assert.are.equal(0, box:run().exit_code)
  end)

  it("makes no system call while a plan is made or explained", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    local trace = support.tmpdir() .. "/trace"
    local status = support.sh(([[strace -f -o %s $LUA -e '
      local casulo = require "casulo"
      local box = casulo.container { rootfs = "/nonexistent", hostname = "x", mounts = { { type = "bind", source = "/etc", target = "/etc" } } }
      collectgarbage "stop"
      box:explain() -- what is gathered once is gathered now
      io.stderr:write "begin\n"
      for _ = 1, 100 do box:explain() end
      io.stderr:write "end\n"']]):format(trace))
    assert.are.equal(0, status)
    local between = support.read_file(trace):match 'write%(2, "begin\\n".-\n(.-)%d+ +write%(2, "end\\n"'
    for line in between:gmatch "[^\n]+" do
      assert.is_truthy(line:find "brk%(" or line:find "mmap%(" or line:find "munmap%(" or line:find "mremap%(", line) -- memory for the text
    end
  end)

  support.each_identity("takes any target, also those that it uses names like", function()
    local mounts = {}
    for i, target in ipairs { "/root", "/socket", "/caller", "/tmp", "/tmp", "/dev/shm", "/a/b", "/a", "/a/b" } do
      mounts[i] = { type = "tmpfs", target = target, size = ("%dk"):format(4 * i) }
    end
    local text = output("for d in /root /socket /caller /tmp /dev/shm /a /a/b; do df -k $d | tail -n 1; done", { mounts = mounts })
    local sizes = {}
    for size in text:gmatch "none%s+(%d+)" do sizes[#sizes + 1] = size end
    assert.are.equal("4 8 12 20 24 32 36", table.concat(sizes, " "))
  end)

  support.each_identity("never mounts through a link of /proc, whoever made it", function()
    local data, victim = support.tmpdir(), support.tmpdir()
    local open <close> = assert(sys.open(victim, sys.O_RDONLY | sys.O_DIRECTORY))
    for name, target in pairs { fd = "/proc/self/fd/" .. open:fileno(), cwd = "/proc/self/cwd", root = "/proc/1/root" } do
      assert(sys.symlink(target, ("%s/%s"):format(data, name)))
      for _, kind in ipairs { "tmpfs", "bind", "directory" } do
        for _, below in ipairs { "/PWNED", "" } do
          local box = casulo.container { rootfs = support.rootfs(), command = { "/bin/true" }, mounts = {
            { type = "bind", source = data, target = "/data" },
            { type = kind, source = kind == "bind" and "/etc/passwd" or nil, target = ("/data/%s%s"):format(name, below) },
          } }
          local result, err = box:run()
          assert.is_nil(result)
          assert.are.same({ "openat2", sys.ELOOP }, { err.call, err.errno }, tostring(err))
        end
      end
    end
    assert.are.same({}, sys.scandir(victim))
  end)

  support.each_identity("is entered by chroot over an initramfs, from which nobody can pivot away", function()
    rawset(casulo.host, "root", "initramfs") -- the calls are as good on this host; only there they are needed
    local box = sh "cd /; cd ../../..; ls; ls -d /proc/[0-9]* | wc -l"
    local text, result = box:explain(), assert(box:run())
    rawset(casulo.host, "root", nil)
    assert.is_nil(text:find "pivot_root%(")
    assert.is_truthy(text:find("chroot(\".\")", 1, true))
    assert.is_truthy(result.stdout:find "^[%l\n]*bin\n" and not result.stdout:find "usr", result.stdout .. result.stderr)
  end)

  it("finds its root below a directory that only the caller may enter, with ranges of ids", function()
    if not support.needs_root() then return end
    local private = support.tmpdir()
    local root = casulo.rootfs.busybox(private .. "/root")
    assert(sys.chmod(private, 448))
    assert.are.equal("0", output("id -u", { rootfs = root, namespaces = { "user", "pid", "mount" },
      uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 100000, 65536 } } }))
  end)
end)
