-- SPDX-License-Identifier: MIT
-- What keeps a container from starting is named in one line, and nothing is left behind.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

describe("a container that cannot start", function()
  local function failing(fields)
    local box = casulo.container(fields)
    local result, err
    support.leaves_nothing(function() result, err = box:run() end)
    assert.is_nil(result)
    return err, tostring(err)
  end

  support.each_identity("names a root that does not exist", function()
    local err, text = failing { rootfs = "/nonexistent/root" }
    assert.are.same({ "setup", "open_tree", sys.ENOENT }, { err.kind, err.call, err.errno })
    assert.is_truthy(text:find("/nonexistent/root", 1, true) and text:find "No such file or directory", text)
    assert.is_nil(text:find "\n")
  end)

  support.each_identity("names a root that is a file", function()
    local err, text = failing { rootfs = "/etc/passwd" }
    assert.are.same({ "setup", sys.ENOTDIR }, { err.kind, err.errno })
    assert.is_truthy(text:find("expected a directory", 1, true), text)
  end)

  support.each_identity("tells a command that is not found from one that cannot be executed", function()
    for _, case in ipairs {
      { "/bin/nope", "not_found", sys.ENOENT }, { "nope", "not_found", sys.ENOENT, "no directory of PATH has nope" },
      { "/etc/passwd", "not_executable", sys.EACCES }, { "/tmp", "not_executable", sys.EACCES },
      { "/etc/passwd/x", "not_found", sys.ENOTDIR },
    } do
      local err, text = failing { rootfs = support.rootfs(), command = { case[1] } }
      assert.are.same({ case[2], case[3] }, { err.kind, err.errno }, text)
      assert.are.equal("execve", err.call)
      assert.is_truthy(text:find(case[4] or "", 1, true), text)
    end
  end)

  support.each_identity("says of a file without the right to execute in PATH that it is there", function()
    local root = support.tmpdir()
    support.write_file(root .. "/tool", "#!/bin/sh\n")
    local err = failing {
      rootfs = support.rootfs(), command = { "tool" }, env = { PATH = "/data:/nowhere" },
      mounts = { { type = "bind", source = root, target = "/data" } },
    }
    assert.are.same({ "not_executable", sys.EACCES }, { err.kind, err.errno })
    assert.are.equal("/data/tool", err.args[1])
  end)

  support.each_identity("says that a script lacks #!", function()
    local root = support.tmpdir()
    support.write_file(root .. "/tool", "echo\n")
    assert(sys.chmod(root .. "/tool", 493))
    local err = failing {
      rootfs = support.rootfs(), command = { "/data/tool" }, mounts = { { type = "bind", source = root, target = "/data" } },
    }
    assert.are.same({ "not_executable", sys.ENOEXEC }, { err.kind, err.errno })
  end)

  support.each_identity("names a bind source that does not exist, and a working directory", function()
    local err, text = failing { rootfs = support.rootfs(), mounts = { { type = "bind", source = "/nope", target = "/x" } } }
    assert.are.equal("open_tree", err.call)
    assert.is_truthy(text:find "there is no /nope on this host", text)
    err, text = failing { rootfs = support.rootfs(), cwd = "/nope" }
    assert.are.equal("openat2", err.call)
    assert.is_truthy(text:find "cwd", text)
  end)

  it("names the sysctl that forbids user namespaces", function()
    support.as_user(function()
      -- in a user namespace of its own, whose limit is its own to set
      local report = casulo.plan { function()
        support.write_file("/proc/sys/user/max_user_namespaces", "0")
        local box = casulo.container { rootfs = support.rootfs(), namespaces = { "user", "pid", "mount" } }
        local _, err = box:run()
        error(tostring(err), 0)
      end }
      local result, err = casulo.unshared({ "user" }, report)
      assert.is_nil(result)
      assert.is_truthy(tostring(err):find "sysctl user.max_user_namespaces is 0", tostring(err))
    end)
  end)

  it("says what an ordinary user lacks for namespaces without a user namespace", function()
    support.as_user(function()
      local err, text = failing { rootfs = support.rootfs(), namespaces = { "pid", "mount" } }
      assert.are.same({ "setup", "clone", sys.EPERM }, { err.kind, err.call, err.errno })
      assert.is_truthy(text:find "sudo" and text:find '"user"', text)
    end)
  end)

  support.each_identity("says what a kernel lacks, whichever call it is", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    for _, call in ipairs { "clone3", "mount_setattr", "open_tree", "fsopen", "close_range" } do
      local status, _, err = support.sh(("strace -f -o /dev/null -e inject=%s:error=ENOSYS %s run --rootfs %s -- true"):format(
        call, support.command(), support.rootfs()))
      assert.are.equal(125, status, call)
      assert.is_truthy(err:find("^casulo: [^\n]*Function not implemented %([^\n]*Linux 5.12[^\n]*%)\n$"), err)
    end
  end)

  it("says that it cannot leave a chroot", function()
    if not support.needs_root() then return end
    local err
    local result, failure = casulo.unshared({ "mount" }, { function()
      local box = casulo.container { rootfs = "/" }
      assert(sys.chroot(support.rootfs()))
      assert(sys.chdir "/")
      local _, inner = box:run()
      error(tostring(inner), 0)
    end })
    err = tostring(failure)
    assert.is_nil(result)
    assert.is_truthy(err:find "in a chroot", err)
  end)
end)

describe("a plan with a function", function()
  it("tells that no copy could be made", function()
    if not support.needs_root() then return end
    support.as_user(function()
      local job = require "casulo.process".job(casulo.plan { function() end })
      job.flags = 0
      assert(sys.setrlimit(sys.RLIMIT_NPROC, 0, 0))
      local process, err = require "casulo.process".start { job = job }
      assert.are.same({ "nil", "setup", "clone", sys.EAGAIN }, { tostring(process), err.kind, err.call, err.errno })
    end)
  end)
end)

describe("a start by whom the child's ids are written", function()
  it("fails where there is no /proc to find the child in", function()
    if not support.needs_root() then return end
    local box = casulo.container { rootfs = support.rootfs(), command = { "/bin/true" }, namespaces = { "user", "pid", "mount" },
      uid_map = { { 0, 100000, 65536 } }, standard_mounts = false }
    require "sys_support".in_namespaces(sys.CLONE_NEWNS, function()
      assert(sys.mount("none", "/proc", "tmpfs", 0))
      local process, err = box:start()
      assert.are.same({ "nil", "setup", sys.ENOENT }, { tostring(process), err.kind, err.errno })
      assert.is_truthy(tostring(err):find "^open /proc/%d+: No such file or directory", tostring(err))
      assert.are.same({ nil, "waitpid -1: No child processes", sys.ECHILD }, { sys.waitpid(-1, sys.__WALL) })
    end)
  end)
end)
