-- SPDX-License-Identifier: MIT
-- Mounts whose owners are mapped: an id inside is the same on disk, whatever it is on the host.
local casulo = require "casulo"
local description = require "casulo.description"
local hostile = require "hostile_support"
local support = require "support"
local sys = casulo.sys

local function box(script, fields)
  local raw = {
    rootfs = { support.rootfs(), ephemeral = true }, command = { "/bin/sh", "-c", script }, stdout = "pipe", stderr = "pipe", timeout = 60,
    namespaces = { "user", "pid", "mount" }, uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 200000, 65536 } },
  }
  for name, value in pairs(fields) do raw[name] = value end
  return casulo.container(raw)
end

local function output(script, fields) return support.output(box(script, fields)) end

local function owner(path)
  local found = assert(sys.lstat(path))
  return ("%d:%d"):format(found.uid, found.gid)
end

-- Whether the file system of a directory takes part; the kernel of this machine may be one that does not have it.
local function maps_owners(path)
  local result, err = box("true", { mounts = { { type = "bind", source = path, target = "/data", idmap = true } } }):run()
  if result then return true end
  return not tostring(err):find("whose owners cannot be mapped", 1, true)
end

describe("a bind with idmap", function()
  it("has the owners inside that are on disk, both ways", function()
    if not support.needs_root() then return end
    local data = support.tmpdir()
    if not maps_owners(data) then return support.cannot_run "the file system of /tmp cannot map owners" end
    for name, id in pairs { root = 0, seven = 7 } do
      support.write_file(("%s/%s"):format(data, name), name)
      assert(sys.chmod(("%s/%s"):format(data, name), 384))
      assert(sys.chown(("%s/%s"):format(data, name), id, id))
    end
    support.leaves_nothing(function()
      assert.are.equal("0:0\n7:7\nroot65534\n7\n100000", output("cd /data; stat -c %u:%g root seven; cat root; touch made; chown 8:9 made; "
        .. "touch own; stat -c %u /plain/root; (echo x >/ro/x) 2>/dev/null; stat -c %u /plain/../data/seven; awk '{ print $2 }' /proc/self/uid_map", {
        mounts = {
          { type = "bind", source = data, target = "/data", idmap = true }, { type = "bind", source = data, target = "/plain" },
          { type = "bind", source = data, target = "/ro", idmap = true, readonly = true },
        },
      }))
    end)
    assert.are.equal("8:9 0:0", ("%s %s"):format(owner(data .. "/made"), owner(data .. "/own")))
    assert.is_nil(sys.lstat(data .. "/x"))
  end)

  it("has them in what is mounted below, too", function()
    if not support.needs_root() then return end
    local data, other = support.tmpdir(), support.tmpdir()
    if not maps_owners(data) then return support.cannot_run "the file system of /tmp cannot map owners" end
    assert(sys.mkdir(data .. "/below", 493))
    support.write_file(other .. "/file", "")
    hostile.in_mount_namespace(function()
      assert(sys.mount(other, data .. "/below", nil, sys.MS_BIND))
      assert.are.equal("0", output("stat -c %u /data/below/file", { mounts = { { type = "bind", source = data, target = "/data", idmap = true } } }))
    end)
  end)

  it("is of the first user of the map where that is not root, and for one id, too", function()
    if not support.needs_root() then return end
    local data = support.tmpdir()
    if not maps_owners(data) then return support.cannot_run "the file system of /tmp cannot map owners" end
    assert(sys.chown(data, 1000, 1000))
    local mounts = { { type = "bind", source = data, target = "/data", idmap = true } }
    output("touch /data/one", { mounts = mounts, uid_map = { { 1000, 300000, 1 } }, gid_map = { { 1000, 300000, 1 } } })
    assert.are.equal("1000:1000", owner(data .. "/one"))
    assert(sys.chown(data, 0, 0))
    assert.are.equal("0", output("stat -c %u /data/zero", { mounts = { mounts[1], { type = "file", target = "/data/zero", content = "" } },
      uid_map = { { 0, 0, 1 } }, gid_map = { { 0, 0, 1 } } }))
  end)

  it("opens no device, leaves out what is mounted below, and hears of no mount of the host", function()
    if not support.needs_root() then return end
    local data, script = support.tmpdir(), support.tmpdir() .. "/start.lua"
    if not maps_owners(data) then return support.cannot_run "the file system of /tmp cannot map owners" end
    for _, name in ipairs { "late", "before" } do assert(sys.mkdir(("%s/%s"):format(data, name), 493)) end
    assert(sys.mknod(data .. "/zero", sys.S_IFCHR | 438, 1 << 8 | 5))
    support.write_file(script, ([[
      local casulo, data = require "casulo", %q
      local sys = casulo.sys
      assert(sys.mount(data, data, nil, sys.MS_BIND))
      assert(sys.mount(nil, data, nil, sys.MS_SHARED))
      assert(sys.mount("before", data .. "/before", "ramfs", 0))
      io.open(data .. "/before/file", "w"):close()
      local p <close> = assert(casulo.container { rootfs = { %q, ephemeral = true }, command = { "sh", "-c",
          "echo; read line; ls /data/late /data/before; head -c 1 /data/zero 2>&1; true" }, stdin = "pipe", stdout = "pipe",
        namespaces = { "user", "pid", "mount" }, uid_map = { { 0, 100000, 10 } }, gid_map = { { 0, 100000, 10 } },
        mounts = { { type = "bind", source = data, target = "/data", idmap = true, recursive = false } } }:start())
      assert(sys.read(p.stdout, 1))
      assert(sys.mount("late", data .. "/late", "tmpfs", 0))
      io.open(data .. "/late/file", "w"):close()
      sys.write(p.stdin, "go\n")
      io.write(p:wait().stdout)
    ]]):format(data, support.rootfs()))
    local status, out, err = support.sh("unshare -m $LUA " .. script)
    assert.are.same({ 0, "/data/before:\n\n/data/late:\nhead: /data/zero: Permission denied\n", "" }, { status, out, err })
  end)

  it("is an error where the file system cannot do it, which is named", function()
    if not support.needs_root() then return end
    local result, err
    support.leaves_nothing(function()
      result, err = box("true", { mounts = { { type = "bind", source = "/proc/sys", target = "/data", idmap = true } } }):run()
    end)
    assert.is_nil(result)
    assert.are.same({ "mount_setattr", sys.EINVAL }, { err.call, err.errno })
    assert.is_truthy(tostring(err):find("is of a file system whose owners cannot be mapped: proc", 1, true), tostring(err))
  end)

  it("is for root, and for a container with a user namespace", function()
    local none = { free = 100000 }
    local function message(fields, uid)
      local raw = { rootfs = "/x" }
      for name, value in pairs(fields) do raw[name] = value end
      local ok, text = pcall(description.check, raw, { uid = uid, gid = uid, login = "ana", subuid = none, subgid = none,
        last_capability = 40, capabilities = -1 })
      assert.is_false(ok)
      return text
    end
    local mounts = { { type = "bind", source = "/srv", target = "/srv", idmap = true } }
    assert.are.equal('container.mounts[1].idmap: there is no new user namespace to map for (add "user" to namespaces)',
      message({ mounts = mounts }, 0))
    assert.are.equal("container.mounts[1].idmap: only root may map the owners of a file system, for a container with uid_map",
      message({ mounts = mounts }, 1000))
    assert.are.equal("container.rootfs.idmap: only root may map the owners of a file system, for a container with uid_map",
      message({ rootfs = { "/x", idmap = true } }, 1000))
  end)

  it("is shown by explain, in the caller's part", function()
    if not support.needs_root() then return end
    local text = box("true", { mounts = { { type = "bind", source = "/srv", target = "/srv", idmap = true, readonly = true } } }):explain()
    assert.is_truthy(text:find('\nmount_setattr(mount 6 /srv, "", AT_EMPTY_PATH|AT_RECURSIVE, '
      .. "{attr_set=MOUNT_ATTR_RDONLY|MOUNT_ATTR_NODEV|MOUNT_ATTR_IDMAP, propagation=MS_PRIVATE, userns_fd=user namespace}, 32)", 1, true), text)
  end)
end)

describe("a root with idmap", function()
  it("is root's inside, as it is on disk, and what is made in it is, too", function()
    if not support.needs_root() then return end
    local private = support.tmpdir()
    local root = casulo.rootfs.busybox(private .. "/root")
    if not maps_owners(root) then return support.cannot_run "the file system of /tmp cannot map owners" end
    assert(sys.chmod(private, 448))
    support.leaves_nothing(function()
      assert.are.equal("0:0\n0:0\n5:6", output("stat -c %u:%g / /bin/busybox; echo >/etc/new; chown 5:6 /etc/new; stat -c %u:%g /etc/new",
        { rootfs = { root, idmap = true }, mounts = { { type = "tmpfs", target = "/new/place" } } }))
      assert.are.equal("written", output("cat /etc/new", { rootfs = { root, idmap = true },
        mounts = { { type = "file", target = "/etc/new", content = "written" } } }))
    end)
    assert.are.equal("5:6 0:0", ("%s %s"):format(owner(root .. "/etc/new"), owner(root .. "/new/place")))
  end)

  it("is entered by a command that comes later, and may be waited for", function()
    if not support.needs_root() then return end
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    if not maps_owners(root) then return support.cannot_run "the file system of /tmp cannot map owners" end
    local p <close> = assert(box("read line", { rootfs = { root, idmap = true }, stdin = "pipe" }):create())
    assert.are.equal("0\n", assert(p:exec { command = { "stat", "-c", "%u", "/bin" }, stdout = "pipe" }):wait().stdout)
    assert(p:start())
  end)
end)
