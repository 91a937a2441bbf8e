-- SPDX-License-Identifier: MIT
-- Why a command cannot be executed: each cause is real, and the line is as doc/errors.md has it. A test is called as its row.
local casulo = require "casulo"
local errors_support = require "errors_support"
local support = require "support"
local sys = casulo.sys

local run, tells = errors_support.run, errors_support.tells

-- A directory with a file of this text, which a container sees as /data/tool. → its path
local function directory_with(text, mode)
  local directory = support.tmpdir()
  support.write_file(directory .. "/tool", text)
  assert(sys.chmod(directory .. "/tool", mode or 493))
  return directory
end

local function bound(directory, options)
  local mount = { type = "bind", source = directory, target = "/data" }
  for name, value in pairs(options or {}) do mount[name] = value end
  return { command = { "/data/tool" }, mounts = { mount } }
end

-- The error of a file as the command.
local function of_file(text, mode, fields)
  local description = bound(directory_with(text, mode))
  for name, value in pairs(fields or {}) do description[name] = value end
  return run(description)
end

local function busybox() return support.read_file "/bin/busybox" end
local function other_machine()
  local bytes = busybox()
  local own = string.unpack("<I2", bytes, 19)
  return bytes:sub(1, 18) .. string.pack("<I2", own == 62 and 183 or 62) .. bytes:sub(21)
end
local function loader() return require "casulo.executable".elf(support.read_file "/bin/ls").loader end

describe("a command that is not executed:", function()
  tells("a command that no directory of PATH has", function() return run { command = { "nope" } } end)
  tells("a command that is not there", function() return run { command = { "/bin/nope" } } end)
  tells("a script whose interpreter is missing", function() return of_file "#!/usr/bin/perl -w\n" end)
  tells("a script with the line ends of Windows", function() return of_file "#!/bin/sh\r\necho\r\n" end)
  tells("a dynamic program without its loader", function() return of_file(support.read_file "/bin/ls") end)
  tells("a program of another machine", function() return of_file(other_machine()) end)
  tells("a program that is cut off", function() return of_file(busybox():sub(1, 20)) end)
  tells("a script without #!", function() return of_file "echo\n" end)
  tells("a script whose #! names nothing", function() return of_file "#! \n" end)
  tells("an empty file", function() return of_file "" end)
  tells("a directory as the command", function() return run { command = { "/bin" } } end)
  tells("a FIFO as the command", function()
    local directory = support.tmpdir()
    assert(sys.mknod(directory .. "/tool", sys.S_IFIFO | 511, 0))
    return run(bound(directory))
  end)
  tells("a file without the right to execute", function() return of_file("#!/bin/sh\n", 420) end)
  tells("a file that only another user may execute", function() return of_file(busybox(), 448, { user = 5 }) end, "root")
  tells("a directory that the command's user may not pass", function()
    local directory = support.tmpdir()
    assert(sys.mkdir(directory .. "/tool", 448))
    local description = bound(directory)
    description.command, description.user = { "/data/tool/inner" }, 5
    return run(description)
  end, "root")
  tells("a program on a file system that is mounted noexec", function() return run(bound(directory_with(busybox()), { noexec = true })) end)
  tells("a script whose interpreter may not be executed", function() return of_file "#!/etc/passwd\n" end)
  tells("a loader that may not be executed", function()
    local description = bound(directory_with(support.read_file "/bin/ls"))
    table.insert(description.mounts, { type = "file", target = loader(), content = "" })
    description.rootfs = casulo.rootfs.busybox(support.tmpdir() .. "/root") -- in which the place of the loader is made
    return run(description)
  end)
  tells("a directory that PID 1 of `init` may pass, and the command's user may not", function()
    local directory = support.tmpdir()
    assert(sys.mkdir(directory .. "/tool", 448))
    support.write_file(directory .. "/tool/inner", "#!\n")
    assert(sys.chmod(directory .. "/tool/inner", 493))
    local description = bound(directory)
    description.command, description.user, description.init = { "/data/tool/inner" }, 5, true
    return run(description)
  end, "root")
  tells("links that lead in a circle", function()
    local directory = support.tmpdir()
    assert(sys.symlink("tool", directory .. "/tool"))
    return run(bound(directory))
  end)
  tells("a program that somebody writes to", function()
    local directory = directory_with(busybox())
    local writer <close> = assert(sys.open(directory .. "/tool", sys.O_WRONLY))
    return run(bound(directory)), writer
  end)
  tells("arguments or variables that are too long", function() return run { env = { A = ("a"):rep(140000) } } end)
  tells("a user with all the processes that it may have", function()
    local box = casulo.container { rootfs = support.rootfs(), command = { "/bin/sleep", "1000" }, user = 61233 }
    local first <close> = assert(box:start())
    return support.limited(sys.RLIMIT_NPROC, 0, function() return run { user = 61233 } end), first
  end, "root")
  tells("a script that its user may not read, and whose interpreter is missing", function() return of_file("#!/nope\n", 73, { user = 5 }) end, "root")
end)

describe("a command of a plan of one's own that is not executed:", function()
  local function executed(path, name)
    local result, err = casulo.unshared({}, { { "execve", path, { name or path }, {} } })
    assert.is_nil(result)
    return err
  end
  tells("a name that a plan of one's own cannot find", function() return executed("/bin/nope", "nope") end)
  tells("a file that a plan of one's own cannot find", function() return executed "/bin/nope" end)
  tells("a file that a plan of one's own may not execute", function() return executed "/etc/passwd" end)
  tells("a file that is no program, in a plan of one's own", function() return executed(directory_with "echo\n" .. "/tool") end)
end)

describe("what is said of a command", function()
  support.each_identity("is of the first in PATH that is there, whatever starts it", function()
    local directory = directory_with "#!/nope\n"
    for _, fields in ipairs { {}, { init = true } } do
      local description = bound(directory)
      description.command, description.env, description.init = { "tool" }, { PATH = "/nope:/data:/bin" }, fields.init
      local err = run(description)
      assert.are.same({ "not_found", "/data/tool" }, { err.kind, err.args[1] })
      errors_support.is_as_documented("a script whose interpreter is missing", err)
    end
  end)

  support.each_identity("holds for one of exec, too", function()
    local directory = directory_with "#!/nope\n"
    local description = bound(directory)
    description.rootfs, description.command = support.rootfs(), { "/bin/sleep", "1000" }
    local box <close> = assert(casulo.container(description):start())
    local process, err = box:exec { command = { "/data/tool" } }
    assert.is_nil(process)
    errors_support.is_as_documented("a script whose interpreter is missing", err)
  end)

  support.each_identity("shows nothing that a terminal would obey", function()
    local text = tostring(of_file "#!/\27[31mred\7\n")
    assert.is_truthy(text:find("it is a script for /?[31mred?, which", 1, true), text)
  end)

  it("can be told of whatever bytes a file has", function()
    local executable, obstacles = require "casulo.executable", require "casulo.obstacles"
    local whole = support.read_file("/bin/ls"):sub(1, 2048)
    for round = 1, 3000 do
      local head = whole:sub(1, round % 3 == 0 and math.random(0, #whole) or #whole)
      for _ = 1, math.random(0, 6) do
        local place = math.random(5, 64 + 8 * 56)
        head = head:sub(1, place - 1) .. string.char(math.random(0, 255)) .. head:sub(place + 1)
      end
      for _, errno in ipairs { sys.ENOENT, sys.ENOEXEC, sys.EACCES } do
        local found = { errno = 0, mode = sys.S_IFREG | 493, uid = 0, gid = 0, size = 5, head = head }
        local words = obstacles.line(executable.fault(errno, "/tool", found)) or ""
        assert.is_nil(words:find "%c", words)
        assert.is_true(#words < 600, words)
      end
    end
  end)

  support.each_identity("is the kernel's errno alone where a filter kills whoever looks", function()
    for _, action in ipairs { "kill", "EPERM" } do
      local err = of_file("#!/nope\n", 493, { seccomp = { { "statx", action = action } } })
      assert.are.same({ "not_found", "execve", sys.ENOENT }, { err.kind, err.call, err.errno })
      errors_support.is_as_documented("a file that a plan of one's own cannot find", err)
    end
  end)

  support.each_identity("does not keep the caller waiting where what is there does not answer", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    local started = sys.clock_gettime(sys.CLOCK_MONOTONIC)
    local status, _, err = support.sh(("strace -f -o /dev/null -e inject=statx:signal=STOP %s run --share pid --rootfs %s -- nope"):format(
      support.command(), support.rootfs()))
    assert.are.equal(127, status)
    assert.is_truthy(err:find("No such file or directory (no directory of PATH has nope in the container, or", 1, true), err)
    assert.is_true(sys.clock_gettime(sys.CLOCK_MONOTONIC) - started < 20)
  end)
end)
