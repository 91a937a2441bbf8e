-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local busybox = casulo.rootfs.busybox

local function lines(command)
  local pipe <close> = assert(io.popen(command))
  local list = {}
  for line in pipe:lines() do list[#list + 1] = line end
  return list
end

-- Every name in a tree with its inode, mode, size, times and link: what must not change.
local function snapshot(path)
  return table.concat(lines(("find '%s' -printf '%%p %%i %%m %%s %%T@ %%C@ %%l\\n' | sort"):format(path)), "\n")
end

local function permissions(path) return ("%o"):format(assert(sys.lstat(path)).mode & 4095) end

-- The one line that a call raises, without the position, which must be that of the caller.
local function refused(...)
  local arguments = table.pack(...)
  local ok, message = pcall(function() return (busybox(table.unpack(arguments, 1, arguments.n))) end)
  assert.is_false(ok, "it was accepted")
  local text = tostring(message):match "^[^\n]*rootfs_spec%.lua:%d+: (rootfs%.busybox: [^\n]+)$"
  return text or error("no one line with the caller's position: " .. tostring(message), 2)
end

local function contains(text, part) assert.is_truthy(text:find(part, 1, true), text) end

local function assert_complete(path)
  local applets = 0
  for _, name in ipairs(lines "busybox --list") do
    if name ~= "busybox" then
      assert.are.equal("busybox", sys.readlink(("%s/bin/%s"):format(path, name)), name)
      applets = applets + 1
    end
  end
  assert.is_true(applets > 100)
  assert.are.equal(applets + 1, #sys.scandir(path .. "/bin"))
  assert.are.equal(support.read_file "/bin/busybox", support.read_file(path .. "/bin/busybox"))
  local names = sys.scandir(path)
  table.sort(names)
  assert.are.equal("bin dev etc proc root sys tmp", table.concat(names, " "))
  contains(support.read_file(path .. "/etc/passwd"), "root:x:0:0:")
  contains(support.read_file(path .. "/etc/group"), "root:x:0:")
end

-- A builder in a process of its own, which ends with the scope that holds it.
local Builder = {}
Builder.__index = Builder

local function builder(path)
  local pid = assert(sys.clone(0, function()
    busybox(path)
    return 0
  end, { threads = true }))
  return setmetatable({ pid = pid }, Builder)
end

function Builder:wait()
  local _, how, code = assert(sys.waitpid(self.pid))
  self.ended = true
  return how, code
end

function Builder:kill()
  assert(sys.kill(self.pid, sys.SIGKILL))
  return self:wait()
end

function Builder:__close()
  if not self.ended then self:kill() end
end

-- Stops it in the midst of its work. → whether it still worked
function Builder:stop(parent)
  local deadline = sys.clock_gettime(sys.CLOCK_MONOTONIC) + 10
  repeat until #sys.scandir(parent) > 0 or sys.clock_gettime(sys.CLOCK_MONOTONIC) > deadline
  assert(sys.kill(self.pid, sys.SIGSTOP))
  local _, how = assert(sys.waitpid(self.pid, sys.WUNTRACED))
  self.ended = how ~= "stop"
  return not self.ended and not sys.lstat(parent .. "/root")
end

-- → a builder that was stopped before its root was there, its directory
local function stopped_builder()
  for _ = 1, 50 do
    local parent = support.tmpdir()
    local one = builder(parent .. "/root")
    local ok, working = pcall(one.stop, one, parent)
    if ok and working then return one, parent end
    one:__close()
    assert(ok, working)
  end
  error "no builder could be stopped in time"
end

describe("a busybox root", function()
  support.each_identity("has busybox, a link for every applet, the places for mounts and a minimal /etc", function()
    local parent = support.tmpdir()
    support.leaves_nothing(function() assert.are.equal(parent .. "/root", busybox(parent .. "/root")) end)
    assert_complete(parent .. "/root")
    assert.are.same({ "root" }, sys.scandir(parent))
    for name, mode in pairs {
      ["."] = "755", bin = "755", proc = "555", sys = "555", dev = "755", tmp = "1777", etc = "755", root = "700",
      ["bin/busybox"] = "755", ["etc/passwd"] = "644", ["etc/group"] = "644", ["etc/hosts"] = "644",
    } do
      assert.are.equal(mode, permissions(("%s/root/%s"):format(parent, name)), name)
    end
    assert.are.same({}, lines(("find %s ! -uid %d -o ! -gid %d"):format(parent, sys.geteuid(), sys.getegid())))
  end)

  support.each_identity("has these modes whatever the umask", function()
    local usual = busybox(support.tmpdir() .. "/root")
    for _, mask in ipairs { 0, 63, 511 } do
      local path = support.tmpdir() .. "/root"
      local before = sys.umask(mask)
      local ok, message = pcall(busybox, path)
      sys.umask(before)
      assert.is_true(ok, message)
      local shown = "find '%s' ! -type l -printf '%%P %%m\\n' | sort"
      assert.are.same(lines(shown:format(usual)), lines(shown:format(path)))
    end
  end)

  support.each_identity("is made with the directories above it, by a relative path, with a slash at its end", function()
    local parent = support.tmpdir()
    busybox(parent .. "/a/b c/root/")
    assert_complete(parent .. "/a/b c/root")
    assert.are.same({ "root" }, sys.scandir(parent .. "/a/b c"))
    local _, out, err = support.sh(("cd %s && %s rootfs busybox rel && %s rootfs busybox ./x/y && ls -A . x"):format(
      parent, support.command(), support.command()))
    assert.are.same({ ".:\na\nrel\nx\n\nx:\ny\n", "" }, { out, err })
    assert_complete(parent .. "/rel")
  end)

  support.each_identity("stays as it is when it is made again, also through a symlink", function()
    local parent = support.tmpdir()
    busybox(parent .. "/root")
    support.write_file(parent .. "/root/etc/own", "kept")
    assert(sys.symlink("root", parent .. "/link"))
    local before = snapshot(parent)
    busybox(parent .. "/root")
    busybox(parent .. "/root/")
    busybox(parent .. "/link")
    assert.are.equal(before, snapshot(parent))
  end)

  support.each_identity("takes the static program that it is told", function()
    local parent = support.tmpdir()
    assert(os.execute(("cp /bin/busybox \"%s/busybox of 'mine'\""):format(parent)))
    busybox(parent .. "/root", { busybox = parent .. "/busybox of 'mine'" })
    assert_complete(parent .. "/root")
  end)

  support.each_identity("takes that program whatever its name is", function() -- busybox itself looks at its argv[0]
    local parent = support.tmpdir()
    assert(os.execute(("cp /bin/busybox %s/bb"):format(parent)))
    busybox(parent .. "/root", { busybox = parent .. "/bb" })
    assert_complete(parent .. "/root")
  end)
end)

describe("a busybox root that cannot be made", function()
  support.each_identity("leaves what is there untouched", function()
    local parent = support.tmpdir()
    support.write_file(parent .. "/file", "x")
    for _, name in ipairs { "empty", "full", "half" } do assert(sys.mkdir(("%s/%s"):format(parent, name), 493)) end
    support.write_file(parent .. "/full/file", "x")
    assert(os.execute(("mkdir %s/half/bin && cp /bin/busybox %s/half/bin/ && mkfifo %s/fifo"):format(parent, parent, parent)))
    assert(sys.symlink("nowhere", parent .. "/dangling"))
    local before = snapshot(parent)
    support.leaves_nothing(function()
      for _, name in ipairs { "file", "empty", "full", "half", "fifo", "dangling", "empty/", "." } do
        local text = refused(("%s/%s"):format(parent, name))
        contains(text, ("%s/%s exists and is not a root file system"):format(parent, (name:gsub("/$", ""))))
      end
    end)
    assert.are.equal(before, snapshot(parent))
  end)

  support.each_identity("names a program that is not static, missing, no ELF file, or no busybox", function()
    local parent = support.tmpdir()
    local path = parent .. "/root"
    support.write_file(parent .. "/script", "#!/bin/sh\necho sh\n")
    contains(refused(path, { busybox = "/bin/ls" }), "/bin/ls is not static: it needs a loader and libraries")
    contains(refused(path, { busybox = "/bin/ls" }), "apt-get install busybox-static")
    contains(refused(path, { busybox = parent .. "/nope" }), parent .. "/nope: No such file or directory")
    contains(refused(path, { busybox = parent .. "/script" }), parent .. "/script is no ELF program")
    assert.are.same({ "script" }, sys.scandir(parent))
  end)

  support.each_identity("names a directory that is given for the program", function()
    local parent = support.tmpdir()
    contains(refused(parent .. "/root", { busybox = parent }), parent .. ": ")
  end)

  support.each_identity("names a program that is cut off", function()
    local parent = support.tmpdir()
    for _, length in ipairs { 5, 40, 64, 100 } do -- in the identity, in the header, and in the table that it points to
      support.write_file(parent .. "/cut", support.read_file("/bin/busybox"):sub(1, length))
      local text = refused(parent .. "/root", { busybox = parent .. "/cut" })
      contains(text, parent .. "/cut")
      assert.is_nil(text:find "rootfs%.lua", text)
    end
  end)

  it("says what is wrong with its arguments", function()
    for _,
    path in ipairs { "", 5, {}, "a\0b", false } do contains(refused(path), "rootfs.busybox: expected the path of a directory") end
    contains(refused(), "rootfs.busybox: expected the path of a directory")
    contains(refused("/tmp/x", { busbox = "/bin/busybox" }), "unknown option busbox; known: busybox")
  end)

  it("says what is wrong with options of another type", function()
    local path = support.tmpdir() .. "/root"
    contains(refused(path, 5), "rootfs.busybox: ")
    assert.is_nil(refused(path, { busybox = {} }):find "rootfs%.lua")
  end)

  support.each_identity("names the place above it", function()
    contains(refused "/etc/passwd/root", "/etc/passwd")
    assert.is_truthy(refused("/proc/1/casulo/root"):find "mkdir /proc/1/casulo: ")
  end)

  it("names the place that its caller may not change", function()
    support.as_user(function() contains(refused "/etc/casulo-root", "Permission denied") end)
    assert.is_nil(sys.lstat "/etc/casulo-root")
  end)

  -- In a mount namespace of its own, where the host can be as it seldom is. → status, stdout, stderr
  local function elsewhere(script)
    return support.sh(("unshare %s sh -c '%s'"):format(support.is_root() and "-m" or "-rm", script))
  end

  support.each_identity("says how to install a busybox where there is none", function()
    local parent = support.tmpdir()
    local script = "mount --bind /dev/null /usr/bin/busybox && PATH=/nonexistent %s rootfs busybox %s/root"
    local status, out, err = elsewhere(script:format(support.command(), parent))
    assert.are.same({ 125, "" }, { status, out })
    assert.is_truthy(err:find "^casulo: [^\n]*no busybox in PATH; install it with: apt%-get install busybox%-static\n$", err)
    assert.are.same({}, sys.scandir(parent))
  end)

  support.each_identity("leaves nothing on a full disk", function()
    local parent = support.tmpdir()
    local script = "mount -t tmpfs -o size=64k none %s && { %s rootfs busybox %s/root; echo $?; ls -A %s; }"
    local status, out, err = elsewhere(script:format(parent, support.command(), parent, parent))
    assert.are.same({ 0, "125\n" }, { status, out })
    assert.is_truthy(err:find "^casulo: [^\n]*/bin/busybox: [^\n]*No space left on device %(the file system is full[^\n]*%)\n$", err)
  end)
end)

describe("what was left beside a busybox root", function()
  support.each_identity("is removed without following links, and only if it is the caller's", function()
    local parent, victim = support.tmpdir(), support.tmpdir()
    support.write_file(victim .. "/kept", "")
    local prefix = (".root.casulo-%s-"):format(sys.readlink "/proc/self/ns/pid":match "%d+")
    assert(sys.symlink(victim, ("%s/%s4000000-0a"):format(parent, prefix)))
    assert(sys.mkdir(("%s/%s4000001-0b"):format(parent, prefix), 493))
    assert(sys.symlink(victim, ("%s/%s4000001-0b/inner"):format(parent, prefix)))
    support.write_file(("%s/%s99999999999-0c"):format(parent, prefix), "no PID")
    busybox(parent .. "/root")
    assert.are.same({ prefix .. "99999999999-0c", "root" }, sys.scandir(parent))
    assert.are.same({ "kept" }, sys.scandir(victim))
  end)
end)

describe("a busybox root whose builder is killed", function()
  support.each_identity("is whole or is not there, whenever that is", function()
    local parent = support.tmpdir()
    support.leaves_nothing(function()
      local seen = {}
      for round = 1, 60 do
        local path = ("%s/%d"):format(parent, round)
        local one <close> = builder(path)
        for _ = 1, math.random(0, 12000) do
          if sys.lstat(path) then break end
        end
        local how = one:kill()
        local made = sys.lstat(path) ~= nil
        seen[("%s, %s"):format(how, made)] = true
        if made then assert_complete(path) end
        busybox(path)
        assert_complete(path)
        assert.are.same({ tostring(round) }, sys.scandir(parent)) -- nothing of the killed one is left
        assert(os.execute("rm -r " .. path))
      end
      assert.is_true(seen["signal, false"])
    end)
  end)

  support.each_identity("is made by the next call, which clears away what was left", function()
    support.leaves_nothing(function()
      local one <close>, parent = stopped_builder()
      one:kill()
      assert.are.equal(1, #sys.scandir(parent))
      assert.is_nil(sys.lstat(parent .. "/root"))
      busybox(parent .. "/root")
      assert.are.same({ "root" }, sys.scandir(parent))
      assert_complete(parent .. "/root")
    end)
  end)

  support.each_identity("leaves nothing for good where another made the root meanwhile", function()
    local one <close>, parent = stopped_builder()
    busybox(parent .. "/root")
    assert.are.equal(2, #sys.scandir(parent)) -- that of a living builder is not touched
    one:kill()
    busybox(parent .. "/root")
    assert.are.same({ "root" }, sys.scandir(parent))
  end)
end)

describe("builders of one busybox root", function()
  support.each_identity("all succeed at the same time, and leave one tree", function()
    support.leaves_nothing(function()
      for _ = 1, 10 do
        local parent = support.tmpdir()
        local builders = {}
        for i = 1, 4 do builders[i] = builder(parent .. "/a/root") end
        local ends = {}
        for i, one in ipairs(builders) do ends[i] = ("%s %d"):format(one:wait()) end
        assert.are.same({ "exit 0", "exit 0", "exit 0", "exit 0" }, ends)
        assert.are.same({ "root" }, sys.scandir(parent .. "/a"))
        assert_complete(parent .. "/a/root")
      end
    end)
  end)

  support.each_identity("both succeed when one was faster while the other was stopped", function()
    local one <close>, parent = stopped_builder()
    busybox(parent .. "/root")
    local before = snapshot(parent .. "/root")
    assert(sys.kill(one.pid, sys.SIGCONT))
    assert.are.same({ "exit", 0 }, { one:wait() })
    assert.are.same({ "root" }, sys.scandir(parent))
    assert.are.equal(before, snapshot(parent .. "/root"))
  end)
end)
