-- SPDX-License-Identifier: MIT
-- Roots that are no directory: an empty one, an overlay.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(script, fields)
  local raw = { command = { "/bin/sh", "-c", script }, stdout = "pipe", stderr = "pipe", timeout = 60 }
  for name, value in pairs(fields) do raw[name] = value end
  return casulo.container(raw)
end

local function output(script, fields) return support.output(box(script, fields)) end

local function refused(expected, fields)
  support.refused(expected, function() return (box("true", fields)) end)
end

-- Every name in a tree with its inode, mode, owner, size, times and link: what must not change.
local function snapshot(path)
  local pipe <close> = assert(io.popen(("find '%s' -printf '%%p %%i %%m %%U %%G %%s %%T@ %%C@ %%l\\n' | sort"):format(path)))
  return pipe:read "a"
end

local function with_busybox(more)
  local mounts = {
    { type = "bind", source = "/bin/busybox", target = "/bin/busybox", readonly = true },
    { type = "symlink", target = "/bin/sh", to = "busybox" }, { type = "symlink", target = "/bin/ls", to = "busybox" },
  }
  return table.move(more or {}, 1, #(more or {}), #mounts + 1, mounts)
end

describe("an empty root", function()
  support.each_identity("holds what is put into it, and nothing else", function()
    support.leaves_nothing(function()
      local text = output("ls /; ls -l /bin | busybox wc -l; busybox stat -c '%a %u' /; busybox df -k / | busybox awk 'END { print $2 }'; "
        .. "echo x >/new && busybox cat /new /etc/motd; echo; busybox awk '$2 == \"/\" { print substr($4, 1, 16) }' /proc/mounts", {
        rootfs = casulo.rootfs.tmpfs { size = "64k", mode = "711" }, env = { PATH = "/bin" },
        mounts = with_busybox { { type = "file", target = "/etc/motd", content = "of the description" }, { type = "directory", target = "/srv" } },
      })
      assert.are.equal("bin\ndev\netc\nproc\nsrv\nsys\n4\n711 0\n64\nx\nof the description\nrw,nosuid,nodev,", text)
    end)
  end)

  support.each_identity("may be read-only, and without the standard mounts", function()
    assert.are.equal("bin\nrefused\nmkdir: can't create directory '/x': Read-only file system", output("ls /; busybox mkdir /x || echo refused",
      { rootfs = { type = "tmpfs" }, env = { PATH = "/bin" }, readonly = true, standard_mounts = false, mounts = with_busybox() }))
  end)

  it("belongs to root inside, where ids are mapped", function()
    if not support.needs_root() then return end
    assert.are.equal("0 0", output("busybox stat -c '%u %g' /bin", { rootfs = { type = "tmpfs" }, mounts = with_busybox(), env = { PATH = "/bin" },
      namespaces = { "user", "pid", "mount" }, uid_map = { { 0, 100000, 10 } }, gid_map = { { 0, 100000, 10 } } }))
  end)

  support.each_identity("is entered by chroot over an initramfs", function()
    rawset(casulo.host, "root", "initramfs") -- the calls are as good on this host; only there they are needed
    local text = output("cd /; cd ../../..; ls; busybox cat /etc/x; busybox awk '{ print $2 }' /proc/mounts | busybox grep -c '^/$'",
      { rootfs = { type = "tmpfs" }, env = { PATH = "/bin" }, mounts = with_busybox { { type = "file", target = "/etc/x", content = "x\n" } } })
    rawset(casulo.host, "root", nil)
    assert.are.equal("bin\ndev\netc\nproc\nsys\nx\n1", text)
  end)

  it("is refused where it cannot be made", function()
    refused('container.rootfs.size: expected bytes, or a string such as "64m", got "big"', { rootfs = casulo.rootfs.tmpfs { size = "big" } })
    refused("container.rootfs.size: expected less than 2^63 bytes", { rootfs = casulo.rootfs.tmpfs { size = "17179869184g" } })
    refused("container.rootfs.size: expected less than 2^63 bytes", { rootfs = { "/", ephemeral = true, size = "17179869184g" } })
    refused('container.rootfs: unknown field "sise"; did you mean size?', { rootfs = casulo.rootfs.tmpfs { sise = 1 } })
    refused('container.rootfs.type: unknown type of root "tmp"; did you mean tmpfs?', { rootfs = { type = "tmp" } })
    local ok, message = pcall(casulo.rootfs.tmpfs, "16m")
    assert.is_false(ok)
    assert.is_truthy(message:find("rootfs.tmpfs: expected a table of fields", 1, true))
  end)
end)

describe("an ephemeral root", function()
  support.each_identity("is written to in memory only, each container's its own", function()
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    support.write_file(root .. "/etc/own", "of the root\n")
    local before = snapshot(root)
    support.leaves_nothing(function()
      local fields = { rootfs = { root, ephemeral = true, size = "1m" }, stdin = "pipe", mounts = { { type = "tmpfs", target = "/new/place" } } }
      local other <close> = assert(box("echo; read line; cat /etc/own; ls /etc", fields):start())
      assert.are.equal("\n", sys.read(other.stdout, 1))
      fields.stdin = nil
      assert.are.equal("of the root\nchanged\ntmp\nfull\n755 0 0", output("cat /etc/own; echo changed >/etc/own; cat /etc/own; "
        .. "rm -r /root /etc/passwd; chmod 700 /tmp; cd /; ls -d tmp; head -c 2097152 /dev/zero 2>/dev/null >/big || echo full; "
        .. "rm /big; stat -c '%a %u %g' /", fields))
      sys.write(other.stdin, "go\n")
      assert.are.equal("of the root\ngroup\nhosts\nown\npasswd\n", other:wait().stdout)
    end)
    assert.are.equal(before, snapshot(root))
  end)

  support.each_identity("may be read-only, too", function()
    assert.are.equal("refused", output("(echo >/etc/x) 2>/dev/null || echo refused",
      { rootfs = { support.rootfs(), ephemeral = true }, readonly = true, mounts = { { type = "tmpfs", target = "/some/where/new" } } }))
    assert.is_nil(sys.lstat(support.rootfs() .. "/some"))
  end)

  it("opens no device of its tree, and has no place of the host in its mount table", function()
    if not support.needs_root() then return end
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    assert(sys.mknod(root .. "/zero", sys.S_IFCHR | 438, 1 << 8 | 5))
    local text = output("head -c 1 /zero 2>&1; awk '$5 == \"/\"' /proc/self/mountinfo", { rootfs = { root, ephemeral = true } })
    assert.is_truthy(text:find "^head: /zero: Permission denied\n", text)
    assert.is_truthy(text:find("nodev,relatime - overlay none rw,lowerdir=1,upperdir=upper,workdir=work", 1, true), text)
  end)

  support.each_identity("is entered by a command that comes later, and leaves the tree free", function()
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    local p <close> = assert(box("echo written >/etc/x; echo; read line", { rootfs = { root, ephemeral = true }, stdin = "pipe" }):start())
    assert(sys.read(p.stdout, 1))
    assert.are.equal("written\n", assert(p:exec { command = { "cat", "/etc/x" }, stdout = "pipe" }):wait().stdout)
    assert(os.rename(root, root .. "-moved"))
  end)

  local CHANGES = "rm /etc/*; echo x >/etc/x; chown 5:7 /etc/x; stat -c '%u %g' /etc/x; ls /etc"

  support.each_identity("loses a whole directory, where memory knows the attributes that this takes", function()
    local major, minor = support.read_file("/proc/sys/kernel/osrelease"):match "^(%d+)%.(%d+)"
    local knows_attributes = support.is_root() or tonumber(major) * 1000 + tonumber(minor) >= 6006
    local text = output("rm -r /etc && mkdir /etc; ls /etc", { rootfs = { support.rootfs(), ephemeral = true } })
    assert.are.equal(knows_attributes and "" or "rm: can't remove '/etc': Input/output error", text)
  end)

  it("has all ids of a user who has subordinate ones", function()
    support.as_user_with_ids(function()
      assert.are.equal("5 7\nx", output(CHANGES, { rootfs = { support.rootfs(), ephemeral = true }, uid_map = "auto" }))
    end)
  end)

  it("has the ids that root maps", function()
    if not support.needs_root() then return end
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    assert(os.execute(("chown -R --no-dereference 100000:100000 %s"):format(root)))
    local before = snapshot(root)
    assert.are.equal("5 7\nx", output(CHANGES, { rootfs = { root, ephemeral = true }, namespaces = { "user", "pid", "mount" },
      uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 100000, 65536 } } }))
    assert.are.equal(before, snapshot(root))
  end)
end)

describe("an overlay", function()
  local NAME = "a: odd,name\\ with 'all'" -- what the options of a mount would be torn apart by

  support.each_identity("has its directories one over the other, whatever their names", function()
    local parent, lower = support.tmpdir() .. "/" .. NAME, {}
    assert(sys.mkdir(parent, 493))
    for i = 1, 20 do
      lower[i] = ("%s/%d %s"):format(parent, i, ("x"):rep(200))
      assert(sys.mkdir(lower[i], 493))
      support.write_file(lower[i] .. "/same", tostring(i))
      support.write_file(("%s/%d"):format(lower[i], i), "")
    end
    support.leaves_nothing(function()
      assert.are.equal("1\n21\n22", output("cat /data/same; echo; ls /data | wc -l; touch /data/new; ls /data | wc -l",
        { rootfs = support.rootfs(), mounts = { { type = "overlay", target = "/data", lower = lower, size = "1m" } } }))
    end)
    assert.are.same({ 2, 2 }, { #sys.scandir(lower[1]), #sys.scandir(lower[20]) })
  end)

  support.each_identity("keeps what is written in the directory that is named for it", function()
    local root, parent = casulo.rootfs.busybox(support.tmpdir() .. "/root"), support.tmpdir()
    local kept = parent .. "/" .. NAME
    assert(sys.mkdir(kept, 493))
    for _, name in ipairs { "upper, the", "work" } do assert(sys.mkdir(("%s/%s"):format(kept, name), 493)) end
    local before = snapshot(root)
    local fields = { rootfs = casulo.rootfs.overlay { lower = { root }, upper = kept .. "/upper, the", work = kept .. "/work" } }
    support.leaves_nothing(function()
      assert.are.equal("", output("echo first >/etc/kept; rm /etc/passwd; mkdir /made", fields))
      assert.are.equal("first\ngroup\nhosts\nkept", output("cat /etc/kept; ls /etc", fields))
    end)
    assert.are.equal(before, snapshot(root))
    assert.are.equal("first\n", support.read_file(kept .. "/upper, the/etc/kept"))
    assert.is_truthy(sys.stat(kept .. "/upper, the/made"))
  end)

  support.each_identity("takes paths that are relative, from where its caller stands", function()
    local top = support.tmpdir()
    casulo.rootfs.busybox(top .. "/root")
    for _, name in ipairs { "upper", "work" } do assert(sys.mkdir(("%s/%s"):format(top, name), 493)) end
    support.write_file(top .. "/box.lua", [[return { command = { "touch", "/etc/kept" },
      rootfs = { type = "overlay", lower = { "root" }, upper = "./upper", work = "work/" } }]])
    local status, _, err = support.sh(("cd %s && %s run box.lua"):format(top, support.command()))
    assert.are.same({ 0, "" }, { status, err })
    assert.is_truthy(sys.stat(top .. "/upper/etc/kept"))
  end)

  support.each_identity("says what is wrong with its directories", function()
    local top = support.tmpdir()
    for _, name in ipairs { "upper", "work" } do assert(sys.mkdir(("%s/%s"):format(top, name), 493)) end
    local function failing(root)
      local result, err
      support.leaves_nothing(function() result, err = box("true", { rootfs = root }):run() end)
      assert.is_nil(result)
      return tostring(err)
    end
    assert.is_truthy(failing({ type = "overlay", lower = { top .. "/no" } }):find("there is no " .. top .. "/no/ on this host", 1, true))
    assert.is_truthy(failing({ type = "overlay", lower = { support.rootfs(), support.rootfs() } })
      :find("a directory of the overlay is there twice, or lies in another of them", 1, true))
    local text = failing { type = "overlay", lower = { support.rootfs() }, upper = top .. "/upper", work = top .. "/upper" }
    assert.is_truthy(failing { type = "overlay", lower = { support.rootfs() }, upper = top .. "/upper", work = top .. "/no" }
      :find("upper or work: there is no such directory", 1, true))
    assert.is_truthy(text:find "fsconfig" and text:find("two directories of one file system, neither in the other", 1, true), text)
  end)

  it("is refused where it cannot be made", function()
    local overlay = casulo.rootfs.overlay
    for _, case in ipairs {
      { ".lower: expected a list of directories, got nil", overlay {} }, { ".lower: expected at least one directory", overlay { lower = {} } },
      { ".lower[2]: expected a string, got 5", overlay { lower = { "/x", 5 } } },
      { ".work: required with upper", overlay { lower = { "/x" }, upper = "/u" } },
      { ".upper: required with work", overlay { lower = { "/x" }, work = "/u" } },
      { ".upper: expected a path without ..", overlay { lower = { "/x" }, upper = "../u", work = "w" } },
      { ".work: expected an absolute path, as the other is", overlay { lower = { "/x" }, upper = "/u", work = "w" } },
      { ".size: it is for what is thrown away", overlay { lower = { "/x" }, upper = "/u", work = "/w", size = 1 } },
      { ".size: it is for what is thrown away", { "/x", size = 1 } }, { ".idmap: an overlay has", { "/x", ephemeral = true, idmap = true } },
      { "[1]: expected a directory, as in", { ephemeral = true } }, { ".ephemeral: expected true or false", { "/x", ephemeral = 1 } },
    } do refused("container.rootfs" .. case[1], { rootfs = case[2] }) end
    refused("container.mounts[1].lower: expected a list of directories", { rootfs = "/x", mounts = { { type = "overlay", target = "/x" } } })
    local many = {}
    for i = 1, 65 do many[i] = "/x" end
    refused("container.rootfs.lower: expected at most 64 directories, got 65", { rootfs = overlay { lower = many } })
  end)
end)
