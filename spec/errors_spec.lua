-- SPDX-License-Identifier: MIT
-- Why a container cannot start: each cause is real, and the line is as doc/errors.md has it. A test is called as its row.
local casulo = require "casulo"
local errors_support = require "errors_support"
local named_support = require "named_support"
local support = require "support"
local sys = casulo.sys
local sys_support = require "sys_support"

local run, tells = errors_support.run, errors_support.tells

local function bind(source, target, options)
  local mount = { type = "bind", source = source, target = target }
  for name, value in pairs(options or {}) do mount[name] = value end
  return { mounts = { mount } }
end

local function overlay(fields)
  fields.type, fields.target = "overlay", "/x"
  return { mounts = { fields } }
end

-- A tree of the caller's own, to be made what no container can begin with.
local function tree()
  local path = support.tmpdir() .. "/root"
  return casulo.rootfs.busybox(path)
end

-- The error of steps of one's own.
local function of_plan(namespaces, steps)
  local result, err = casulo.unshared(namespaces, steps)
  assert.is_nil(result)
  return err
end

-- What a function returns in a mount namespace of its own, with a tmpfs on a new directory; as a text.
local function on_tmpfs(options, body, flags)
  support.command()
  support.rootfs()
  local directory = support.tmpdir()
  return (sys_support.in_namespaces(sys.CLONE_NEWNS, function()
    assert(sys.mount("none", directory, "tmpfs", flags or 0, options))
    return body(directory)
  end))
end

-- What a function raises, without the place in the code.
local function raised(body)
  local ok, message = pcall(body)
  assert.is_false(ok)
  return (message:gsub("^[^ ]+:%d+: ", ""))
end

local ROOT = { landlock = { paths = { ["/"] = "read execute" }, optional = true } }
local function restricted(place, right)
  return { landlock = { paths = { ["/"] = ROOT.landlock.paths["/"], [place] = right or "read" }, optional = true } }
end

describe("a root that cannot be one:", function()
  tells("a root that is not there", function() return run { rootfs = "/nonexistent/root" } end)
  tells("a root that is relative, and not where casulo was started", function() return run { rootfs = "nonexistent" } end)
  tells("a root that is a file", function() return run { rootfs = "/etc/passwd" } end)
  -- The error of an ordinary user for a directory of root's.
  local function tells_user(when, mode, below)
    it(when, function()
      if not support.needs_root() then return end
      local directory = support.tmpdir()
      assert(sys.chmod(directory, mode))
      support.as_user(function() errors_support.is_as_documented(when, run { rootfs = directory .. below }) end)
    end)
  end
  tells_user("a directory above the root that the caller may not pass", 448, "/root")
  tells_user("a root that the caller may not enter", 448, "")
  tells_user("a root of another user, without a place to mount on", 493, "")
  tells("a file system that is read-only, and lacks a place to mount on", function()
    return on_tmpfs(nil, function(directory) return run { rootfs = directory } end, sys.MS_RDONLY)
  end, "root")
end)

describe("a mount that cannot be made:", function()
  tells("a source of a bind, or a device, that is not there", function() return run(bind("/nonexistent", "/x")) end)
  tells("a tree with mounts below it, bound with `recursive = false` in a user namespace, or in an overlay", function()
    return run(bind("/", "/x", { recursive = false }))
  end, "user")
  tells("a directory to be mounted on a file, or a file on a directory", function() return run(bind("/etc", "/etc/passwd")) end)
  tells("a file on the way to a place to mount on", function() return run(bind("/etc", "/etc/passwd/x")) end)
  tells("a target that is a link of /proc, or leads in a circle", function()
    local root = tree()
    assert(sys.symlink("circle", root .. "/circle"))
    return run { rootfs = root, mounts = { { type = "tmpfs", target = "/circle" } } }
  end)
  local function tells_link(when, target)
    tells(when, function()
      local root, err = tree(), nil
      assert(sys.symlink("nowhere", root .. "/resolv"))
      for _, mount in ipairs {
        { type = "file", content = "x" }, { type = "bind", source = "/etc" }, { type = "bind", source = "/etc/passwd" }, { type = "directory" },
        { type = "tmpfs" },
      } do
        mount.target = target
        err = run { rootfs = root, mounts = { mount } }
        errors_support.is_as_documented(when, err)
      end
      return err
    end)
  end
  tells_link("a target that is a link to what is not there", "/resolv")
  tells_link("a link to what is not there on the way to a target", "/resolv/x")
  tells("a `directory` where something else has its name", function()
    return run { mounts = { { type = "directory", target = "/etc/passwd" } } }
  end)
  tells("a file on the way to a `symlink`", function() return run { mounts = { { type = "symlink", target = "/etc/passwd/x", to = "/" } } } end)
  tells("an upper or work directory that is not there", function()
    return run(overlay { lower = { "/etc" }, upper = "/etc/nonexistent", work = "/etc/nonexistent too" })
  end)
  tells("layers that hold each other", function() return run(overlay { lower = { "/etc", "/etc" } }) end)
  tells("an upper directory on a file system that cannot be one", function()
    return run(overlay { lower = { "/etc" }, upper = "/proc", work = "/proc" })
  end)
  tells("a kernel without a file system", function()
    return of_plan(support.mount_namespaces(), { { "fsopen", "nonexistentfs", sys.FSOPEN_CLOEXEC } })
  end)
end)

describe("a place inside that cannot be reached:", function()
  tells("a working directory that is not there", function() return run { cwd = "/nonexistent" } end)
  tells("a working directory that is a file", function() return run { cwd = "/etc/passwd" } end)
  tells("a working directory that the command's user may not enter", function() return run { cwd = "/root", user = 5 } end, "root")
  tells("a place in `masked` or `readonly_paths` that is not there", function() return run { masked = { "/nonexistent" } } end)
  tells("a place in `landlock.paths` that is not there", function() return run(restricted "/nonexistent") end)
  tells("a place in `landlock.paths` that the command's user may not reach", function()
    local fields = restricted "/root/x"
    fields.user = 5
    return run(fields)
  end, "root")
  tells("rights of a directory for a file", function() return run(restricted("/etc/passwd", "make_dir")) end)
end)

describe("rights that are lacking:", function()
  tells("too many namespaces, or too deep", function()
    return (sys_support.in_namespaces(sys.CLONE_NEWUSER, function()
      support.write_file("/proc/sys/user/max_uts_namespaces", "1")
      local fields = { rootfs = support.rootfs(), command = { "/bin/sleep", "1000" }, namespaces = { "user", "pid", "mount", "uts" } }
      local first <close> = assert(casulo.container(fields):start())
      local _, err = casulo.container(fields):run()
      return err, first
    end))
  end, "user")
  tells("an ordinary user, without a user namespace", function() return run { namespaces = { "pid", "mount" } } end, "user")
  tells("the same, by something else", function() return errors_support.said_with("memfd_create:error=EPERM") end, "root")
  tells("ids that the caller may not map", function()
    local path = support.tmpdir() .. "/box.lua"
    local text = "return { rootfs = %q, namespaces = { 'user', 'pid', 'mount' }, uid_map = { { 0, 1000, 9 } } }"
    support.write_file(path, text:format(support.rootfs()))
    return errors_support.said_by_command("run " .. path, "setpriv --bounding-set=-setuid")
  end, "root")
  tells("a user that the map lacks", function() return of_plan({ "user" }, { { "setresuid", 5, 5, 5 } }) end, "user")
  tells("a namespace to join that is not there", function() return run { namespaces = { net = "/nonexistent" } } end)
  tells("a namespace of a process that the caller may not trace", function() return run { namespaces = { net = "/proc/1/ns/net" } } end, "user")
  tells("a file that is no namespace", function() return run { namespaces = { net = "/etc/passwd" } } end)

  local NO_NEW_PRIVS = { "prctl", sys.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0 }
  local function rules(count)
    local steps = {}
    for i = 1, count do
      local name = "rules " .. i
      steps[#steps + 1] = { "landlock_create_ruleset", string.pack("=I8", sys.LANDLOCK_ACCESS_FS_MAKE_SOCK), 0, as = name }
      steps[#steps + 1] = { "landlock_restrict_self", casulo.ref(name), 0 }
    end
    return steps
  end
  tells("sets of rules of Landlock, one inside another", function() return of_plan({}, { NO_NEW_PRIVS, rules(17) }) end)
  tells("rules of Landlock in a plan of one's own, without no_new_privs", function() return of_plan({}, rules(1)) end, "user")
end)

describe("too little", function()
  tells("too many processes", function()
    return support.limited(sys.RLIMIT_NPROC, 0, function() return run {} end)
  end, "user")
  tells("too few descriptors", function()
    local box, err = casulo.container { rootfs = support.rootfs() }, nil
    support.leaves_nothing(function()
      local highest <close> = assert(sys.open("/dev/null", sys.O_RDONLY))
      err = support.limited(sys.RLIMIT_NOFILE, highest:fileno() + 2, function() return select(2, box:run()) end)
    end)
    return err
  end)
  tells("a disk that is full, under the root", function()
    return on_tmpfs("nr_inodes=2", function(directory) return run { rootfs = directory } end)
  end, "root")
  tells("a disk that is full, under a root that is being made", function()
    return on_tmpfs("size=64k", function(directory)
      local message = raised(function() casulo.rootfs.busybox(directory .. "/root") end)
      assert.are.same({}, sys.scandir(directory))
      return message
    end)
  end)
  it("a disk that is full, under the names", function()
    if not support.needs_root() then return end
    named_support.with_own_run(function()
      errors_support.is_as_documented("a disk that is full, under the names", run { name = "web" })
    end, "mode=755,nr_inodes=2")
  end)
  it("a file system that has become read-only", function()
    if not support.needs_root() then return end
    named_support.with_own_run(function()
      assert(sys.mount(nil, "/run", nil, sys.MS_REMOUNT | sys.MS_RDONLY))
      errors_support.is_as_documented("a file system that has become read-only", run { name = "web" })
    end)
  end)
  tells("a limit on the size of files", function()
    local _, text = support.sh(("(ulimit -f 0; %s run --rootfs %s -- true) 2>&1 | cat"):format(support.command(), support.rootfs()))
    return (text:match "^casulo: ([^\n]*)\n$")
  end)
  tells("a name that is too long", function() return run(bind("/etc", "/" .. ("a"):rep(256))) end)
  tells("too little time", function() return errors_support.said_with("capset:signal=STOP", "--share pid --timeout 0.3") end)
end)

describe("what is not there, or taken:", function()
  named_support.each_identity("a name that another container has", function()
    local box = casulo.container { rootfs = support.rootfs(), command = { "/bin/sleep", "1000" }, name = "web" }
    local first <close> = assert(box:start())
    local second, err = box:start()
    assert.is_nil(second)
    errors_support.is_as_documented("a name that another container has", err)
    first:kill()
  end)
  tells("a user without a directory for names", function()
    local err
    named_support.with_runtime_directory(nil, function() err = run { name = "web" } end)
    return err
  end, "user")
  tells("a container that has ended, for `exec`", function()
    local process <close> = assert(casulo.container { rootfs = support.rootfs(), command = { "/bin/true" } }:start())
    process:wait()
    local second, err = process:exec { command = { "/bin/true" } }
    assert.is_nil(second)
    return err
  end)
  tells("a terminal without devpts", function()
    local box = casulo.container { rootfs = support.rootfs(), standard_mounts = false }
    return raised(function() box:start { tty = true } end)
  end)
  tells("a place for a root that is the caller's not to change", function()
    return raised(function() casulo.rootfs.busybox "/nonexistent/root" end)
  end, "user")
end)
