-- SPDX-License-Identifier: MIT
-- What a description may put into a root: devices, files, directories, links, and how binds follow the host's mounts.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(script, fields)
  local raw = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script }, stdout = "pipe", stderr = "pipe", timeout = 60 }
  for name, value in pairs(fields or {}) do raw[name] = value end
  return casulo.container(raw)
end

local function output(script, fields) return support.output(box(script, fields)) end

local function refused(expected, mount, fields)
  local whole = { mounts = { mount } }
  for name, value in pairs(fields or {}) do whole[name] = value end
  support.refused(expected, function() return (box("true", whole)) end)
end

-- A tree with a node of the device of /dev/zero in it, which everyone may read and write.
local function with_node()
  local directory = support.tmpdir()
  assert(sys.mknod(directory .. "/zero", sys.S_IFCHR | 438, 1 << 8 | 5))
  assert(sys.chmod(directory .. "/zero", 438))
  return directory
end

describe("a device node", function()
  it("opens nothing in a root, nor in a directory that is bound in, nor in what is mounted below", function()
    if not support.needs_root() then return end
    local root, data = casulo.rootfs.busybox(support.tmpdir() .. "/root"), with_node()
    for _, directory in ipairs { root, root .. "/tmp" } do
      assert(sys.mknod(directory .. "/zero", sys.S_IFCHR | 438, 1 << 8 | 5))
    end
    local read = "for f in /zero /tmp/zero /data/zero /data/below/zero; do head -c 1 $f | wc -c; done 2>&1 | grep -c denied"
    assert(sys.mkdir(data .. "/below", 493))
    local script = support.tmpdir() .. "/box.lua"
    support.write_file(script, ("return { rootfs = %q, command = { 'sh', '-c', %q }, "
      .. "mounts = { { type = 'bind', source = %q, target = '/data' } } }"):format(root, read, data))
    local other = with_node()
    support.leaves_nothing(function()
      local status, out, err = support.sh(("unshare -m sh -c 'mount -t tmpfs none %s/tmp && mknod %s/tmp/zero c 1 5 && mount --bind %s %s/below && "
        .. "%s run %s'"):format(root, root, other, data, support.command(), script))
      assert.are.same({ 0, "4\n", "" }, { status, out, err })
    end)
  end)

  it("opens where nodev = false says so", function()
    if not support.needs_root() then return end
    local mount = { type = "bind", source = with_node(), target = "/data", nodev = false }
    assert.are.equal("3", output("head -c 3 /data/zero | wc -c", { mounts = { mount } }))
    mount.readonly = true
    assert.are.equal("3", output("head -c 3 /data/zero | wc -c", { mounts = { mount } }))
  end)

  support.each_identity("of the host is there by name, and is not changed from inside", function()
    local before = sys.stat "/dev/zero"
    support.leaves_nothing(function()
      assert.are.equal("5\n5\nro\nrefused", output("head -c 5 /dev/other/zero | wc -c; head -c 5 /dev/full | wc -c; "
        .. "awk '$2 == \"/dev/other/zero\" { print substr($4, 1, 2) }' /proc/mounts; chmod 600 /dev/other/zero 2>/dev/null || echo refused",
        { mounts = { { type = "device", source = "/dev/zero", target = "/dev/other/zero" }, { type = "device", source = "/dev/full" } } }))
    end)
    assert.are.equal(before.mode, sys.stat("/dev/zero").mode)
  end)

  it("is a device, at a path on the host", function()
    refused("container.mounts[1].source: /etc/passwd is no device", { type = "device", source = "/etc/passwd" })
    refused("container.mounts[1].source: /dev is no device", { type = "device", source = "/dev" })
    refused('container.mounts[1].source: expected an absolute path, got "zero"', { type = "device", source = "zero" })
    refused("container.mounts[1].source: expected a string, got nil", { type = "device", target = "/x" })
    refused('container.mounts[1]: unknown field "readonly"', { type = "device", source = "/dev/zero", readonly = true })
    refused('container.mounts[1].source: /dev/zero is a device, which nobody could open there; take type = "device"',
      { type = "bind", source = "/dev/zero", target = "/zero" })
    local result, err = box("true", { mounts = { { type = "device", source = "/dev/no-such" } } }):run()
    assert.is_nil(result)
    assert.is_truthy(tostring(err):find("there is no /dev/no-such on this host", 1, true), tostring(err))
  end)
end)

describe("a file of the description", function()
  support.each_identity("has its content and mode, and nothing of it is on the host", function()
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    support.write_file(root .. "/etc/hosts", "of the root")
    local long = ("0123456789abcdef"):rep(1 << 16)
    support.leaves_nothing(function()
      local text = output("cat /etc/hosts /etc/own; stat -c '%a %u %g' /etc/hosts /etc/own /opt/x/run /dev/empty; md5sum </etc/long; "
        .. "/opt/x/run; wc -c </dev/empty; echo more >>/etc/own; tail -n 1 /etc/own; (echo x >/etc/hosts) 2>/dev/null || echo refused; umask", {
        rootfs = root, mounts = {
          { type = "file", target = "/etc/hosts", content = "in memory\n", readonly = true },
          { type = "file", target = "/etc/own", content = "with \0 in it\n", mode = "0600" },
          { type = "file", target = "/opt/x/run", content = "#!/bin/sh\necho it ran\n", mode = 511 },
          { type = "file", target = "/etc/long", content = long }, { type = "file", target = "/dev/empty", content = "", mode = "2666" },
        },
      })
      local sum = io.popen("printf 0123456789abcdef%.0s $(seq 65536) | md5sum"):read "a"
      assert.are.equal("in memory\nwith \0 in it\n644 0 0\n600 0 0\n777 0 0\n2666 0 0\n" .. sum .. "it ran\n0\nmore\nrefused\n0022", text)
    end)
    assert.are.equal("of the root", support.read_file(root .. "/etc/hosts"))
    for _, place in ipairs { "/etc/own", "/opt/x/run", "/etc/long" } do assert.are.equal("", support.read_file(root .. place)) end
  end)

  it("is one of the container alone", function()
    if not support.needs_root() then return end
    local mount = { type = "file", target = "/etc/own", content = "first\n" }
    local one <close> = assert(box("echo >>/etc/own; echo; read line; cat /etc/own", { mounts = { mount }, stdin = "pipe" }):start())
    assert.are.equal("\n", sys.read(one.stdout, 1))
    assert.are.equal("first", output("cat /etc/own", { mounts = { mount } }))
  end)

  support.each_identity("shows no place of the host in the mount table", function()
    local mounts = output("cat /proc/self/mountinfo", { mounts = { { type = "file", target = "/etc/own", content = "x" } } })
    assert.is_truthy(mounts:find(" /1 /etc/own rw,nosuid,nodev,relatime - tmpfs none ", 1, true), mounts)
    local _, count = mounts:gsub("[^\n]+", "")
    local _, without = output("cat /proc/self/mountinfo"):gsub("[^\n]+", "")
    assert.are.equal(without + 1, count)
  end)
end)

describe("a proc of the description", function()
  it("hides the processes of others where it is told", function()
    if not support.needs_root() then return end
    assert.are.equal("/proc/1\n/other/2", output("for p in /proc/1 /other/1 /other/2; do [ ! -d $p ] || echo $p; done",
      { init = true, user = 1000, mounts = { { type = "proc", target = "/other", hidepid = 2 } } }))
  end)
end)

describe("a directory of the description", function()
  support.each_identity("is made with its mode where it is missing", function()
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    assert(sys.mkdir(root .. "/there", 448))
    local text = output("stat -c '%n %a' /there /new /new/open /scratch/own /bin/../tmp/link/; readlink /tmp/link; readlink /scratch/sh; "
      .. "/scratch/sh -c 'echo it runs'", {
      rootfs = root, readonly = true, umask = 63, mounts = {
        { type = "directory", target = "/there", mode = "777" }, { type = "directory", target = "/new/open", mode = "1777" },
        { type = "tmpfs", target = "/scratch" }, { type = "directory", target = "/scratch/own", mode = "0700" },
        { type = "symlink", target = "/tmp/link", to = "../new/open" }, { type = "symlink", target = "/scratch/sh", to = "/bin/sh" },
        { type = "symlink", target = "/bin/sh", to = "/nowhere" },
      },
    })
    assert.are.equal("/there 700\n/new 755\n/new/open 1777\n/scratch/own 700\n/bin/../tmp/link/ 1777\n../new/open\n/bin/sh\nit runs", text)
    assert.are.equal("../new/open", sys.readlink(root .. "/tmp/link"))
    assert.are.equal("0022", output("umask", { rootfs = root, mounts = { { type = "directory", target = "/another", mode = "1777" } } }))
  end)

  support.each_identity("is a failure where something else has its name", function()
    local result, err = box("true", { mounts = { { type = "directory", target = "/etc/passwd" } } }):run()
    assert.is_nil(result)
    assert.are.same({ "openat2", sys.ENOTDIR }, { err.call, err.errno })
  end)

  support.each_identity("is not made outside, nor is a link, whatever links the root has", function()
    local victim = support.tmpdir()
    local open <close> = assert(sys.open(victim, sys.O_RDONLY | sys.O_DIRECTORY))
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    for name, to in pairs {
      absolute = victim, up = ("../"):rep(20) .. victim, fd = "/proc/self/fd/" .. open:fileno(), top = "/proc/1/root" .. victim,
    } do
      assert(sys.symlink(to, ("%s/%s"):format(root, name)))
      for _, mount in ipairs { { type = "directory" }, { type = "symlink", to = "/x" }, { type = "file", content = "x" } } do
        mount.target = ("/%s/PWNED"):format(name)
        for _, mounts in ipairs { { mount }, { { type = "bind", source = root, target = "/again" }, mount } } do
          if mounts[2] then mount.target = ("/again/%s/PWNED"):format(name) end
          box("true", { rootfs = root, mounts = mounts }):run()
        end
      end
    end
    assert.are.same({}, sys.scandir(victim))
  end)
end)

-- A shell line in a mount namespace of its own; run by root, or by root of a user namespace.
local function with_own_mounts(line)
  return support.sh(("unshare %s sh -c %s"):format(support.is_root() and "-m" or "-rm", ("%q"):format(line)))
end

local function script_of(description)
  local path = support.tmpdir() .. "/box.lua"
  support.write_file(path, "return " .. description)
  return path
end

describe("a bind", function()
  support.each_identity("is read-only with all that is mounted below it, or leaves that out", function()
    local data = support.tmpdir()
    assert(sys.mkdir(data .. "/below", 493))
    local script = script_of(([[{ rootfs = %q, command = { "sh", "-c",
      "ls /a /b/below; for d in /a /a/below /b /b/below; do (echo x >$d/x) 2>/dev/null && echo $d; done; true" }, mounts = {
      { type = "bind", source = %q, target = "/a", readonly = true },
      { type = "bind", source = %q, target = "/b", recursive = false } } }]]):format(support.rootfs(), data, data))
    local status, out, err = with_own_mounts(("mount -t tmpfs none %s/below && echo >%s/below/file && %s run %s"):format(
      data, data, support.command(), script))
    assert.are.same({ 0, "/a:\nbelow\n\n/b/below:\n/b\n/b/below\n", "" }, { status, out:gsub("/a/below:\nfile\n", ""), err })
    assert.are.same({ "x" }, sys.scandir(data .. "/below"))
  end)

  -- In a mount namespace of its own: a container with a shared mount bound in, in which both sides mount something later.
  -- → what is seen inside of what came outside, how many of what came inside are seen outside
  local function later_mounts(propagation, namespaces)
    local data, script = support.tmpdir(), support.tmpdir() .. "/start.lua"
    for _, name in ipairs { "late", "inner" } do assert(sys.mkdir(("%s/%s"):format(data, name), 493)) end
    support.write_file(script, ([[
      local casulo, data = require "casulo", %q
      local sys = casulo.sys
      assert(sys.mount(data, data, nil, sys.MS_BIND))
      assert(sys.mount(nil, data, nil, sys.MS_SHARED))
      local p <close> = assert(casulo.container { rootfs = %q, command = { "sh", "-c", "echo; read line; ls /data/late" }, stdin = "pipe",
        stdout = "pipe", namespaces = %s, mounts = { { type = "bind", source = data, target = "/data", propagation = %q } } }:start())
      assert(sys.read(p.stdout, 1))
      assert(sys.mount("late", data .. "/late", "tmpfs", 0))
      io.open(data .. "/late/file", "w"):close()
      assert(os.execute(("nsenter -t %%d -m %%s mount -t tmpfs inside /data/inner"):format(p.pid, %q)))
      local count = io.open("/proc/self/mounts"):read "a":find("inside " .. data, 1, true) and 1 or 0
      sys.write(p.stdin, "go\n")
      io.write(p:wait().stdout:gsub("\n", " "), count)
    ]]):format(data, support.rootfs(), namespaces or "nil", propagation, namespaces and "-U --preserve-credentials" or ""))
    local status, out, err = support.sh("unshare -m $LUA " .. script)
    assert.are.same({ 0, "" }, { status, err })
    assert.are.same({}, sys.scandir(data .. "/late"))
    return out
  end

  it("has the later mounts of the other side as its propagation says", function()
    if not support.needs_root() then return end
    support.leaves_nothing(function()
      assert.are.equal("0", later_mounts "private")
      assert.are.equal("file 0", later_mounts "slave")
      assert.are.equal("file 1", later_mounts "shared")
      local own_user = '{ "user", "pid", "mount" }'
      assert.are.equal("0", later_mounts("private", own_user))
      assert.are.equal("file 0", later_mounts("slave", own_user))
      assert.are.equal("file 0", later_mounts("shared", own_user)) -- the kernel lets no user namespace reach back
    end)
  end)

  it("hears of nothing where the host shares nothing, which is told", function()
    if not support.needs_root() then return end
    local data = support.tmpdir()
    for _, case in ipairs {
      { "private", "slave", "no mount at %s is ever heard of elsewhere, for it lies in a private one (mount --make-shared changes that)" },
      { "private", "shared", "no mount at %s is ever heard of elsewhere, for it lies in a private one (mount --make-shared changes that)" },
      { "slave", "shared", "%s lies in a mount that only hears of others (a slave), so the host would not hear of the container's" },
      { "slave", "slave" }, { "shared", "slave" }, { "shared", "shared" }, { "private", "private" },
    } do
      local script = script_of(([[{ rootfs = "/none", mounts = { { type = "bind", source = %q, target = "/data", propagation = %q } } }]]):format(
        data, case[2]))
      local _, _, err = support.sh(("unshare -m sh -c 'mount --bind %s %s && mount --make-shared %s && %s %s explain %s'"):format(
        data, data, data, case[1] == "slave" and "unshare -m --propagation slave" or "mount --make-" .. case[1] .. " " .. data .. " &&",
        support.command(), script))
      assert.are.equal(case[3] and ("casulo: container.mounts[1].propagation: %s\n"):format(case[3]:format(data)) or "", err)
    end
  end)

  it("that is shared takes no mount of the container on it, which the host would get, too", function()
    local shared = { type = "bind", source = "/srv", target = "/data", propagation = "shared" }
    local ok, message = pcall(function() return (box("true", { mounts = { shared, { type = "tmpfs", target = "/data/x" } } })) end)
    assert.is_false(ok)
    assert.is_truthy(message:find("container.mounts[2].target: it lies in that of mounts[1], which is shared with the host", 1, true), message)
    refused('container.mounts[1].propagation: expected "private", "slave" or "shared", got "rslave"',
      { type = "bind", source = "/srv", target = "/data", propagation = "rslave" })
    refused("container.mounts[1].recursive: expected true or false, got 1", { type = "bind", source = "/srv", target = "/data", recursive = 1 })
  end)
end)

describe("a tmpfs", function()
  support.each_identity("has the owner, size and mode that it is told", function()
    assert.are.equal("750 0 0\n64", output("stat -c '%a %u %g' /scratch; df -k /scratch | awk 'END { print $2 }'", {
      mounts = { { type = "tmpfs", target = "/scratch", uid = 0, gid = 0, mode = "750", size = "64k" } } }))
  end)

  it("may be another user's", function()
    if not support.needs_root() then return end
    local mounts = { { type = "tmpfs", target = "/scratch", uid = 7, gid = 8, mode = 448 } }
    assert.are.equal("7 8\nmine", output("stat -c '%u %g' /scratch; echo mine >/scratch/x; cat /scratch/x", { mounts = mounts, user = "7:8" }))
    local mapped = { namespaces = { "user", "pid", "mount" }, uid_map = { { 0, 100000, 10 } }, gid_map = { { 0, 200000, 10 } } }
    assert.are.equal("7 8", output("stat -c '%u %g' /scratch", { mounts = mounts, namespaces = mapped.namespaces, uid_map = mapped.uid_map,
      gid_map = mapped.gid_map }))
    mounts[2] = { type = "file", target = "/etc/secret", content = "for one only", mode = "400", uid = 7, gid = 8 }
    assert.are.equal("400 7 8\nfor one only", output("stat -c '%a %u %g' /etc/secret; cat /etc/secret", { mounts = mounts, user = "7:9" }))
    mounts[1].gid = 10
    refused("container.mounts[1].gid: 10 stands for nobody outside (see gid_map)", mounts[1], mapped)
  end)
end)

describe("every kind of entry", function()
  local function all(fields)
    local data, other = support.tmpdir(), support.tmpdir()
    support.write_file(data .. "/file", "of the host\n")
    fields.rootfs = { support.rootfs(), ephemeral = true }
    fields.mounts = {
      { type = "file", target = "/etc/own", content = "own\n" }, { type = "directory", target = "/made/dir", mode = "1777" },
      { type = "symlink", target = "/made/link", to = "dir" }, { type = "tmpfs", target = "/scratch", uid = 5, gid = 6 },
      { type = "overlay", target = "/both", lower = { other, data } }, { type = "device", source = "/dev/full", target = "/scratch/full" },
      { type = "bind", source = data, target = "/scratch/data", readonly = true }, { type = "file", target = "/scratch/x", content = "nested\n" },
    }
    support.leaves_nothing(function()
      assert.are.equal("own\nof the host\nof the host\nnested\n0 0 /etc/own\n0 0 /made/dir\n5 6 /scratch\n0 0 /scratch/x\ndir\nno space", output(
        "cat /etc/own /both/file /scratch/data/file /scratch/x; stat -c '%u %g %n' /etc/own /made/dir /scratch /scratch/x; readlink /made/link; "
        .. "(echo x >/scratch/full) 2>/dev/null || echo no space", fields))
    end)
  end

  it("is there where root maps ids", function()
    if not support.needs_root() then return end
    all { namespaces = { "user", "pid", "mount" }, uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 200000, 65536 } } }
  end)

  it("is there for a user with subordinate ids", function()
    support.as_user_with_ids(function() all { uid_map = "auto" } end)
  end)
end)

describe("an entry that is no mount", function()
  it("is refused where it cannot be made", function()
    for _, case in ipairs {
      { "content: expected a string, got nil", { type = "file", target = "/x" } },
      { "content: expected at most 1048576 bytes, got 1048577", { type = "file", target = "/x", content = ("x"):rep(1048577) } },
      { "mode: expected permission bits, or", { type = "file", target = "/x", content = "", mode = "rw" } },
      { 'mode: expected permission bits up to "1777", got "2755"', { type = "directory", target = "/x", mode = "2755" } },
      { "to: expected a string, got nil", { type = "symlink", target = "/x" } },
      { "to: expected a path", { type = "symlink", target = "/x", to = "" } },
      { "target: / is the root itself", { type = "directory", target = "/" } },
      { "target: expected an absolute path", { type = "symlink", target = "x", to = "y" } },
    } do refused("container.mounts[1]." .. case[1], case[2]) end
    refused('container.mounts[1]: unknown field "source"', { type = "file", target = "/x", source = "/y" })
  end)
end)
