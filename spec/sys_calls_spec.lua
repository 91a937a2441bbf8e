-- SPDX-License-Identifier: MIT
-- The calls of casulo.sys one by one: arguments, descriptors and paths.
local support = require "support"
local sys = require "casulo.sys"
local sys_support = require "sys_support"

local test_as_both = sys_support.test_as_both
local raises = sys_support.raises
local fails = sys_support.fails
local in_child = sys_support.in_child
local in_namespaces = sys_support.in_namespaces
local NOBODY = sys_support.NOBODY

local test = sys_support.test

describe("casulo.sys", function()
  test("adds no global", function()
    local status, out, err = support.sh [[$LUA -e '
      local before = {}
      for name in pairs(_G) do before[name] = true end
      require "casulo.sys"
      for name in pairs(_G) do if not before[name] then print(name) end end']]
    assert.are.same({ 0, "", "" }, { status, out, err })
  end)

  test("holds functions and integers only, and nil for a constant that does not exist", function()
    for name, value in pairs(sys) do
      assert.is_true(type(value) == "function" or math.type(value) == "integer", name)
    end
    assert.is_nil(sys.MS_NO_SUCH_FLAG)
    assert.are.equal(sys.strerror(sys.ENOENT), "No such file or directory")
  end)

  test("refuses a nil where a flag belongs", function()
    local here = sys.AT_FDCWD
    for name, arguments in pairs {
      open = { "/nope", n = 2 }, openat = { here, "/nope", n = 3 },
      mkdir = { "/nope/x", n = 2 }, mknod = { "/nope/x", 0, n = 3 }, chmod = { "/nope", n = 2 }, umask = { n = 1 },
      mount = { nil, "/nope", n = 4 }, umount2 = { "/nope", n = 2 }, open_tree = { here, "/nope", n = 3 },
      move_mount = { here, "/nope", here, "/nope", n = 5 }, fsopen = { "nope", n = 2 }, fsmount = { -1, 0, n = 3 },
      fsconfig = { -1, n = 2 }, mount_setattr = { here, "/nope", nil, ("\0"):rep(32), n = 4 },
      unshare = { n = 1 }, setns = { -1, n = 2 }, clone = { nil, function() end, n = 2 },
      prctl = { sys.PR_SET_DUMPABLE, n = 2 },
      waitpid = { NOBODY, n = 2 }, waitid = { sys.P_PID, NOBODY, n = 3 }, kill = { NOBODY, n = 2 },
      pidfd_open = { NOBODY, n = 2 },
      pidfd_send_signal = { -1, n = 2 }, poll = { {}, n = 2 }, pipe2 = { n = 1 }, fcntl = { -1, sys.F_SETFD, n = 3 }, flock = { -1, n = 2 },
      close_range = { 9999, 9999, n = 3 }, socket = { sys.AF_UNIX, nil, 0, n = 3 }, ioctl = { -1, nil, ("\0"):rep(40), n = 3 },
      sigprocmask = { nil, {}, n = 2 }, signal = { sys.SIGUSR1, n = 2 }, signalfd = { -1, {}, n = 3 },
      setresuid = { -1, -1, n = 3 },
      read = { -1, n = 2 }, clock_gettime = { n = 1 }, _exit = { n = 1 }, strerror = { n = 1 }, getsid = { n = 1 },
    } do
      raises("integer expected, got n", sys[name], table.unpack(arguments, 1, arguments.n)) -- nil or no value
    end
    raises("integer expected, got nil", sys.open, "/nope", 0, nil)
    raises("integer expected, got nil", sys.openat, here, "/nope", 0, nil)
    raises("integer expected, got no value", sys.mount, nil, "/nope", nil)
  end)

  test("refuses strings with an embedded NUL", function()
    local bad, here = "/nope\0/x", sys.AT_FDCWD
    for name, arguments in pairs {
      open = { bad, 0 }, openat = { here, bad, 0 }, openat2 = { here, bad, ("\0"):rep(24) }, mkdir = { bad, 0 },
      mkdirat = { here, bad, 0 },
      mknod = { bad, 0 }, mknodat = { here, bad, 0 }, symlink = { "x", bad }, symlinkat = { bad, here, "/nope/x" },
      readlink = { bad }, link = { bad, "/nope/x" }, rename = { "/nope/x", bad }, unlink = { bad }, rmdir = { bad },
      chmod = { bad, 0 },
      chown = { bad, -1, -1 }, stat = { bad }, lstat = { bad }, statfs = { bad }, scandir = { bad }, umount2 = { bad, 0 },
      mount = { "x", "/nope", bad, 0 }, pivot_root = { "/nope", bad }, open_tree = { here, bad, 0 },
      chroot = { bad }, chdir = { bad },
      move_mount = { here, "/nope", here, bad, 0 }, fsopen = { bad, 0 }, fsconfig = { -1, 0, "key", bad },
      sethostname = { bad },
      mount_setattr = { here, bad, 0, ("\0"):rep(32) }, setdomainname = { bad }, execve = { bad, {}, {} },
      fexecve = { -1, { bad }, {} },
    } do
      raises("NUL byte", sys[name], table.unpack(arguments))
    end
    raises("NUL byte", sys.execve, "/nope", { "x", bad }, {})
    raises("NUL byte", sys.execve, "/nope", {}, { bad })
    raises("NUL byte", sys.mount, "x", "/nope", "x", 0, bad)
  end)

  test("refuses integers that the C type cannot hold, fractions, and strings that look like numbers", function()
    for _, case in ipairs {
      { sys.open, "/nope", 1 << 31 }, { sys.open, "/nope", 0, -1 }, { sys.mkdir, "/nope/x", -1 },
      { sys.mkdir, "/nope/x", 1 << 32 },
      { sys.kill, 1 << 31, 0 }, { sys.kill, -1 - (1 << 31), 0 }, { sys.kill, NOBODY, 1 << 40 }, { sys.umask, 512 },
      { sys.umask, -1 },
      { sys.mount, nil, "/nope", nil, -1 }, { sys.unshare, 1 << 32 }, { sys.unshare, -1 }, { sys.setresuid, -2, -1, -1 },
      { sys.setresgid, -1, (1 << 32) - 1, -1 }, { sys.chown, "/nope", 1 << 32, -1 }, { sys.read, 0, -1 },
      { sys._exit, 256 }, { sys._exit, -1 },
      { sys.poll, {}, 1 << 31 }, { sys.prctl, sys.PR_SET_DUMPABLE, -1 }, { sys.close_range, -1, 0, 0 }, { sys.clone, -1, print },
      { sys.signal, sys.SIGUSR1, 2 },
    } do
      raises("is not between", table.unpack(case))
    end
    for _, wrong in ipairs { 1.5, math.huge, 0 / 0, 2 ^ 63 } do raises("no integer representation", sys.kill, NOBODY, wrong) end
    raises("expected, got", sys.read, 1.5, 1)
    raises("expected, got", sys.read, 1 << 31, 1)
    raises("expected, got", sys.kill, NOBODY, "0")
    raises("string expected, got number", sys.mkdir, 5, 0)
    raises("string expected, got number", sys.write, 1, 5)
    assert.is_true(sys.kill(sys.getpid(), 0.0)) -- a float without a fraction is that integer
  end)

  test("refuses lists with holes, other keys or wrong values", function()
    for _, bad in ipairs { { "a", nil, "c" }, { n = 1 }, { "a", x = 1 }, { [2] = "b" }, { "a", 5 }, { "a", false }, "a", 5 } do
      raises("expected", sys.execve, "/nope", bad, {})
      raises("expected", sys.execve, "/nope", {}, bad)
    end
    raises("list", sys.setgroups, { 1, nil, 3 })
    for _, bad in ipairs { { -1 }, { 1.5 }, { (1 << 32) - 1 }, { "1" }, 5 } do raises("list", sys.setgroups, bad) end
    for _, bad in ipairs { { 0 }, { -1 }, { 65 }, { 1.5 }, { "1" }, { sys.SIGUSR1, nil, 3 }, 5 } do
      raises("list", sys.sigprocmask, sys.SIG_BLOCK, bad)
    end
    raises("list", sys.poll, { { fd = 0, events = 1 }, 5 }, 0)
    raises("field fd", sys.poll, { { events = 1 } }, 0)
    for _, bad in ipairs { -1, 32768, 1.5, "1" } do raises("field events", sys.poll, { { fd = 0, events = bad } }, 0) end
  end)

  test("refuses more arguments than a call has", function()
    for name, call in pairs(sys) do
      if type(call) == "function" then
        local ok, message = pcall(call, table.unpack({}, 1, 12))
        assert.is_false(ok, name)
        assert.is_truthy(message:find "^too many arguments: %d at most, got 12$", name .. ": " .. message)
      end
    end
  end)

  test("returns nil, what failed on what, and the errno", function()
    fails("mount proc on /nope: No such file or directory", sys.ENOENT, sys.mount("proc", "/nope", "proc", 0))
    fails("mount on /nope: No such file or directory", sys.ENOENT, sys.mount(nil, "/nope", nil, sys.MS_BIND))
    fails("open /nope: No such file or directory", sys.ENOENT, sys.open("/nope", sys.O_RDONLY))
    fails("stat /etc/passwd/x: Not a directory", sys.ENOTDIR, sys.stat "/etc/passwd/x")
    fails("mkdir /etc: File exists", sys.EEXIST, sys.mkdir("/etc", 493))
    fails("readlink /etc: Invalid argument", sys.EINVAL, sys.readlink "/etc")
    fails("scandir /etc/passwd: Not a directory", sys.ENOTDIR, sys.scandir "/etc/passwd")
    fails("rename /nope/%s to /nope/%d: No such file or directory", sys.ENOENT, sys.rename("/nope/%s", "/nope/%d"))
    fails("execve /nope: No such file or directory", sys.ENOENT, sys.execve("/nope", { "nope" }, {}))
    fails("execve /etc/passwd: Permission denied", sys.EACCES, sys.execve("/etc/passwd", {}, {}))
    fails("close 9999: Bad file descriptor", sys.EBADF, sys.close(9999))
    fails("read 9999: Bad file descriptor", sys.EBADF, sys.read(9999, 1))
    fails("fcntl 9999: Bad file descriptor", sys.EBADF, sys.fcntl(9999, sys.F_GETFD))
  end)
end)

describe("a descriptor", function()
  local function is_open(fd) return sys.fcntl(fd, sys.F_GETFD) ~= nil end

  test("is close-on-exec, whatever opened it", function()
    local reader <close>, writer = sys.pipe2(0)
    local pid, pidfd = sys.clone(sys.CLONE_PIDFD, function() end)
    local opened = {
      reader, writer, pidfd, sys.open("/", sys.O_RDONLY), sys.openat(sys.AT_FDCWD, "/", sys.O_RDONLY), sys.pidfd_open(pid),
      sys.openat2(sys.AT_FDCWD, "/", string.pack("=I8I8I8", sys.O_RDONLY, 0, 0)), sys.open_tree(sys.AT_FDCWD, "/", 0), sys.signalfd(-1, {}, 0),
      sys.socket(sys.AF_UNIX, sys.SOCK_STREAM, 0), sys.fcntl(reader, sys.F_DUPFD_CLOEXEC, 0),
    }
    assert.are.equal(11, #opened)
    for i, fd in ipairs(opened) do
      assert.are.equal(sys.FD_CLOEXEC, sys.fcntl(fd, sys.F_GETFD), i)
      if i > 1 then fd:close() end
    end
    sys.waitpid(pid)
  end)

  test_as_both("is close-on-exec when it stands for a new mount", function()
    assert.are.equal("1 1", in_namespaces(sys.CLONE_NEWNS, function()
      local fs = assert(sys.fsopen("tmpfs", 0))
      assert(sys.fsconfig(fs, sys.FSCONFIG_CMD_CREATE))
      return sys.fcntl(fs, sys.F_GETFD) .. " " .. sys.fcntl(assert(sys.fsmount(fs, 0, 0)), sys.F_GETFD)
    end))
  end)

  test("closes when its scope ends, when it is collected, and when it is told to", function()
    local number
    do
      local fd <close> = assert(sys.open("/", sys.O_RDONLY))
      number = fd:fileno()
      assert.is_true(is_open(number))
    end
    assert.is_false(is_open(number))
    number = (function() return sys.open("/", sys.O_RDONLY):fileno() end)()
    collectgarbage()
    assert.is_false(is_open(number))
    for _, close in ipairs { sys.close, function(fd) return fd:close() end } do
      local fd = assert(sys.open("/", sys.O_RDONLY))
      number = fd:fileno()
      assert.are.equal(("descriptor (%d)"):format(number), tostring(fd))
      assert.is_true(close(fd))
      assert.is_false(is_open(number))
      assert.are.equal("descriptor (closed)", tostring(fd))
    end
  end)

  test("raises once it is closed, and closes nobody else's number", function()
    local fd = assert(sys.open("/", sys.O_RDONLY))
    fd:close()
    local heir <close> = assert(sys.open("/", sys.O_RDONLY)) -- has the number now
    for _, call in ipairs { fd.close, fd.fileno, sys.close, sys.fstat, sys.fchdir, sys.isatty } do
      raises("closed descriptor", call, fd)
    end
    raises("closed descriptor", sys.read, fd, 1)
    raises("closed descriptor", sys.dup2, heir, fd)
    raises("closed descriptor", sys.poll, { { fd = fd, events = sys.POLLIN } }, 0)
    fd = nil -- luacheck: ignore
    collectgarbage()
    assert.is_true(is_open(heir:fileno()))
  end)

  test("may be given as such, as a number or as a Lua file", function()
    local file = assert(io.open("/etc/passwd"))
    local fd <close> = assert(sys.open("/etc/passwd", sys.O_RDONLY))
    local inode = sys.stat("/etc/passwd").ino
    for _, form in ipairs { file, fd, fd:fileno() } do assert.are.equal(inode, sys.fstat(form).ino) end
    file:close()
    raises("closed file", sys.fstat, file)
    for _, wrong in ipairs { {}, "0", true, sys.program { { "setsid" } } } do
      raises("descriptor, file or integer", sys.fstat, wrong)
    end
  end)

  test("is not inherited by what is executed; the number that dup2 makes is", function()
    local number
    local listed = in_child(0, function()
      local fd = assert(sys.open("/", sys.O_RDONLY))
      number = assert(sys.dup2(fd, 77))
      local pipe <close> = assert(io.popen("exec ls /proc/self/fd"))
      return (" " .. pipe:read "a"):gsub("%s+", " ") .. ("/ %d %d "):format(fd:fileno(), number)
    end)
    local open, fd = listed:match "(.*)/ (%d+) 77 "
    assert.is_truthy(open:find " 77 ")
    assert.is_nil(open:find((" %s "):format(fd)))
  end)

  test("reads and writes bytes of every kind", function()
    local reader <close>, writer = sys.pipe2(sys.O_NONBLOCK)
    fails(("read %d: Resource temporarily unavailable"):format(reader:fileno()), sys.EAGAIN, sys.read(reader, 1))
    assert.are.equal(4, sys.write(writer, "a\0b\n"))
    assert.are.equal("a\0", sys.read(reader, 2))
    assert.are.equal("", sys.read(reader, 0))
    assert.are.equal("b\n", sys.read(reader, 100))
    assert.are.equal(sys.O_NONBLOCK, sys.fcntl(reader, sys.F_GETFL) & sys.O_NONBLOCK)
    writer:close()
    assert.are.equal("", sys.read(reader, 1)) -- the end
    assert.is_nil((sys.isatty(reader)))
    raises("expected F_DUPFD_CLOEXEC", sys.fcntl, reader, 9999)
  end)

  test("is locked until its last copy is closed, whoever holds that", function()
    local path = support.tmpdir()
    local one, other <close> = assert(sys.open(path, sys.O_RDONLY)), assert(sys.open(path, sys.O_RDONLY))
    assert(sys.flock(one, sys.LOCK_SH))
    assert(sys.flock(other, sys.LOCK_SH | sys.LOCK_NB))
    assert(sys.flock(other, sys.LOCK_UN))
    local pid, writer = sys_support.sleeper() -- it has a copy
    one:close()
    fails(("flock %d: Resource temporarily unavailable"):format(other:fileno()), sys.EAGAIN, sys.flock(other, sys.LOCK_EX | sys.LOCK_NB))
    writer:close()
    sys.waitpid(pid)
    assert.is_true(sys.flock(other, sys.LOCK_EX | sys.LOCK_NB))
    fails("flock 9999: Bad file descriptor", sys.EBADF, sys.flock(9999, sys.LOCK_UN))
  end)

  test("closes as one of a range", function()
    assert.are.equal("nil nil true", in_child(0, function()
      local first, last, other = sys.dup2(0, 70), sys.dup2(0, 72), sys.dup2(0, 73)
      assert(sys.close_range(70, 72, 0))
      return ("%s %s %s"):format(sys.fstat(first), sys.fstat(last), sys.fstat(other) ~= nil)
    end))
  end)
end)

describe("paths", function()
  test("are made, looked at and removed", function()
    local top = support.tmpdir()
    local dir <close> = assert(sys.open(top, sys.O_DIRECTORY))
    assert(sys.mkdirat(dir, "d", 448))
    assert(sys.symlink("file", top .. "/s"))
    assert(sys.symlinkat("d", dir, "t"))
    assert(sys.mknod(top .. "/p", sys.S_IFIFO | 384))
    assert(sys.mknodat(dir, "q", sys.S_IFIFO | 384, 0))
    local fd <close> = assert(sys.openat(dir, "file", sys.O_CREAT | sys.O_EXCL | sys.O_WRONLY, 384))
    assert(sys.write(fd, "hello"))
    assert(sys.link(top .. "/file", top .. "/b"))
    assert.are.same({ "b", "d", "file", "p", "q", "s", "t" }, sys.scandir(top))
    local file, link = sys.stat(top .. "/s"), sys.lstat(top .. "/s")
    assert.are.same({ sys.S_IFREG | 384, 5, 2, sys.geteuid(), sys.getegid() },
      { file.mode, file.size, file.nlink, file.uid, file.gid })
    assert.are.same(file, sys.fstat(fd))
    assert.are.equal(sys.S_IFLNK, link.mode & sys.S_IFMT)
    assert.are.equal(sys.S_IFIFO, sys.stat(top .. "/p").mode & sys.S_IFMT)
    assert.are.equal("d", sys.readlink(top .. "/t"))
    assert(sys.chmod(top .. "/file", 416))
    assert(sys.chown(top .. "/file", -1, -1))
    assert.are.equal(416, sys.fstat(fd).mode & 511)
    assert(sys.rename(top .. "/b", top .. "/d/c"))
    fails(("rmdir %s/d: Directory not empty"):format(top), sys.ENOTEMPTY, sys.rmdir(top .. "/d"))
    for _, name in ipairs { "d/c", "file", "p", "q", "s", "t" } do assert(sys.unlink(top .. "/" .. name)) end
    assert(sys.rmdir(top .. "/d"))
    assert.are.same({}, sys.scandir(top))
  end)

  test("stay below a directory where openat2 is told so", function()
    local top = support.tmpdir()
    assert(sys.symlink("/etc", top .. "/out"))
    local dir <close> = assert(sys.open(top, sys.O_PATH))
    fails("openat2 out/passwd: Invalid cross-device link", sys.EXDEV,
      sys.openat2(dir, "out/passwd", string.pack("=I8I8I8", sys.O_RDONLY, 0, sys.RESOLVE_BENEATH)))
    fails("openat2 out/passwd: No such file or directory", sys.ENOENT,
      sys.openat2(dir, "out/passwd", string.pack("=I8I8I8", sys.O_RDONLY, 0, sys.RESOLVE_IN_ROOT)))
  end)

  test("name their file system", function()
    assert.are.equal(sys.PROC_SUPER_MAGIC, sys.statfs("/proc").type)
    assert.is_true(sys.statfs("/").blocks > 0)
  end)

  test("get the bits that umask leaves", function()
    local top = support.tmpdir()
    assert.are.equal("63 63", in_child(0, function()
      sys.umask(63)
      assert(sys.mkdir(top .. "/x", 511))
      return ("%d %d"):format(sys.umask(0), 511 & ~(sys.stat(top .. "/x").mode & 511))
    end))
  end)

  test_as_both("are those of a new root after chroot, and of a directory after fchdir", function()
    local root = support.tmpdir()
    assert(sys.mkdir(root .. "/in", 493))
    local dir <close> = assert(sys.open(root, sys.O_PATH))
    assert.are.equal("in / ..", in_namespaces(sys.CLONE_NEWNS, function()
      assert(sys.fchdir(dir))
      assert(sys.stat "in")
      assert(sys.chroot(root))
      assert(sys.chdir "/in")
      local above = sys.stat("..").ino == sys.stat("/").ino and ".." or "elsewhere"
      return ("%s / %s"):format(sys.scandir("/")[1], above)
    end))
  end)
end)
