-- SPDX-License-Identifier: MIT
-- The calls of casulo.sys that mount.
local support = require "support"
local sys = require "casulo.sys"
local sys_support = require "sys_support"

local test_as_both = sys_support.test_as_both
local raises = sys_support.raises
local fails = sys_support.fails
local in_namespaces = sys_support.in_namespaces

local test = sys_support.test

describe("mounts", function()
  test_as_both("appear and go in the namespace of their own only", function()
    local top = support.tmpdir()
    local type, during, after, table = in_namespaces(sys.CLONE_NEWNS, function()
      assert(sys.mount("casulo", top, "tmpfs", sys.MS_NOSUID | sys.MS_NODEV, "size=64k,mode=700"))
      local type, table = sys.statfs(top).type, support.read_file "/proc/self/mounts"
      support.write_file(top .. "/x", "x")
      local during = #sys.scandir(top)
      assert(sys.umount2(top, sys.MNT_DETACH))
      return type, during, #sys.scandir(top), table
    end)
    assert.are.same({ tostring(sys.TMPFS_MAGIC), "1", "0" }, { type, during, after })
    assert.is_truthy(table:find(("casulo %s tmpfs rw,nosuid,nodev,relatime,size=64k,mode=700"):format(top), 1, true))
    assert.is_nil(support.read_file("/proc/self/mounts"):find(top, 1, true))
  end)

  test_as_both("are made detached, changed and attached by descriptor", function()
    local top = support.tmpdir()
    local line, errno, cloned = in_namespaces(sys.CLONE_NEWNS, function()
      local fs <close> = assert(sys.fsopen("tmpfs", 0))
      assert(sys.fsconfig(fs, sys.FSCONFIG_SET_STRING, "size", "64k"))
      assert(sys.fsconfig(fs, sys.FSCONFIG_CMD_CREATE, nil, nil, nil))
      local mount <close> = assert(sys.fsmount(fs, 0, sys.MOUNT_ATTR_NOEXEC))
      assert(sys.mkdirat(mount, "inside", 493))
      assert(sys.mount_setattr(mount, "", sys.AT_EMPTY_PATH, string.pack("=I8I8I8I8", sys.MOUNT_ATTR_RDONLY, 0, 0, 0)))
      assert(sys.move_mount(mount, "", sys.AT_FDCWD, top, sys.MOVE_MOUNT_F_EMPTY_PATH))
      local copy <close> = assert(sys.open_tree(sys.AT_FDCWD, top, sys.OPEN_TREE_CLONE))
      assert(sys.umount2(top, sys.MNT_DETACH))
      local gone = sys.scandir(top)[1] == nil
      assert(sys.move_mount(copy, "", sys.AT_FDCWD, top, sys.MOVE_MOUNT_F_EMPTY_PATH))
      local _, _, number = sys.mkdir(top .. "/more", 493)
      return support.read_file("/proc/self/mounts"):match("(%S+ %S+) [^\n]+\n$"), number, gone and sys.scandir(top)[1]
    end)
    assert.are.same({ "none " .. top, tostring(sys.EROFS), "inside" }, { line, errno, cloned })
  end)

  test_as_both("form a new root after pivot_root", function()
    local top = support.tmpdir()
    assert.are.equal("new", in_namespaces(sys.CLONE_NEWNS, function()
      assert(sys.mount("none", top, "tmpfs", 0))
      assert(sys.mkdir(top .. "/new", 493))
      assert(sys.chdir(top))
      assert(sys.pivot_root(".", "."))
      assert(sys.umount2(".", sys.MNT_DETACH))
      return table.concat(sys.scandir "/", " ")
    end))
  end)

  test("are refused where they do not fit", function()
    raises("32 bytes", sys.mount_setattr, sys.AT_FDCWD, "/nope", 0, "short")
    raises("string or table expected", sys.mount_setattr, sys.AT_FDCWD, "/nope", 0, 5)
    raises("userns_fd: expected a descriptor", sys.mount_setattr, sys.AT_FDCWD, "/nope", 0, { 0, 0, 0 })
    raises("expected an integer", sys.mount_setattr, sys.AT_FDCWD, "/nope", 0, { 0, "x", 0, 0 })
    local refused = support.is_root() and sys.ENOENT or sys.EPERM
    fails("move_mount a descriptor to /nope: " .. sys.strerror(refused), refused,
      sys.move_mount(0, "", sys.AT_FDCWD, "/nope", sys.MOVE_MOUNT_F_EMPTY_PATH))
    fails("fsconfig size=1: Bad file descriptor", sys.EBADF, sys.fsconfig(9999, sys.FSCONFIG_SET_STRING, "size", "1"))
    local file <close> = assert(io.open "/etc/passwd")
    assert.are.same({ sys.EINVAL }, { select(3, sys.setns(file, 0)) })
  end)
end)
