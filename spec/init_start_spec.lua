-- SPDX-License-Identifier: MIT
-- What comes of a start through casulo-init: the same errors as without it, and those of its own.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(fields)
  local description = { rootfs = support.rootfs(), init = true, timeout = 60, stderr = "null", command = { "/bin/true" } }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

describe("a start with init that fails", function()
  local function failing(fields)
    local result, err
    support.leaves_nothing(function() result, err = box(fields):run() end)
    assert.is_nil(result)
    return { kind = err.kind, call = err.call, args = err.args, errno = err.errno, hint = err.hint, text = tostring(err) }
  end

  support.each_identity("is the same failure as without init", function()
    local tool = support.tmpdir()
    support.write_file(tool .. "/tool", "#!/bin/sh\n")
    support.write_file(tool .. "/script", "echo\n")
    assert(sys.chmod(tool .. "/script", 493))
    local mounts = { { type = "bind", source = tool, target = "/data" } }
    local long = {}
    for i = 1, 40 do long[i] = ("x"):rep(130000) end -- more than the kernel takes
    for _, case in ipairs {
      { command = { "/bin/nope" } }, { command = { "nope" } }, { command = { "/etc/passwd/x" } }, { command = { "/tmp" } },
      { command = { "/data/tool" }, mounts = mounts }, { command = { "tool" }, env = { PATH = "/data:/nowhere" }, mounts = mounts },
      { command = { "/data/script" }, mounts = mounts }, { command = { "/bin/echo", table.unpack(long) } },
      { cwd = "/nope" }, { cwd = "/bin/sh" }, { rootfs = "/nonexistent" },
      { mounts = { { type = "bind", source = "/nope", target = "/x" } } },
    } do
      local with = failing(case)
      case.init = false
      assert.are.same(failing(case), with)
    end
    for _, user in ipairs(support.is_root() and {} or { 5, "0:7" }) do
      for _, init in ipairs { true, false } do
        assert.error_matches(function() box { user = user, init = init } end, "container.user.[ug]id: %d stands for nobody outside")
      end
    end
  end)

  -- A start in a process of its own, in which one system call fails. → what it wrote
  local function injected(call, errno)
    local path = support.tmpdir()
    support.write_file(path .. "/start.lua", ([[
      local box = require "casulo".container { rootfs = %q, init = true, command = { "/bin/true" } }
      local result, err = box:run()
      if result then print("ran", result.exit_code) else print(err.kind, err.call, err) end]]):format(support.rootfs()))
    local _, out = support.sh(("%s && strace -f -o /dev/null -e inject=%s:error=%s lua5.4 %s/start.lua"):format(
      support.environment(), call, errno, path))
    return out
  end

  support.each_identity("names what casulo-init is executed by, and what is in its way", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    local memory = " %(casulo%-init is executed from memory, which a security module or a filter of this host forbids%)\n$"
    assert.is_truthy(injected("memfd_create", "EPERM"):find("^setup\tmemfd_create\tmemfd_create%(.*: Operation not permitted" .. memory))
    assert.is_truthy(injected("execveat", "EACCES"):find("^setup\tfexecve\tfexecve%(.*: Permission denied" .. memory))
    assert.is_truthy(injected("execveat", "ENOENT"):find "^setup\tfexecve\tfexecve%(.*: No such file or directory\n$")
    assert.are.equal("setup\tsignalfd\tcasulo-init: signalfd: Too many open files in system (the host has as many files open as sysctl "
      .. "fs.file-max allows; cure: sysctl -w fs.file-max=1000000)\n", injected("signalfd4", "ENFILE"))
  end)

  it("names the sysctl that forbids to execute what is in memory", function()
    if not support.needs_root() then return end
    if not sys.stat "/proc/sys/vm/memfd_noexec" then return support.cannot_run "this kernel has no sysctl vm.memfd_noexec" end
    local root = support.rootfs()
    local result, err = casulo.unshared({ "pid", "mount" }, { -- a PID namespace has a setting of its own
      casulo.recipes.private_mounts(),
      { "mount", "proc", "/proc", "proc", 0 },
      function()
        support.write_file("/proc/sys/vm/memfd_noexec", "2")
        local _, failure = casulo.container { rootfs = root, init = true, command = { "/bin/true" } }:run()
        error(("%s %s"):format(failure.kind, failure), 0)
      end,
    })
    assert.is_nil(result)
    assert.is_truthy(tostring(err):find "setup memfd_create%(.*sysctl vm.memfd_noexec = 2 forbids; cure: sysctl %-w", tostring(err))
  end)
end)

describe("a start with init", function()
  support.each_identity("takes as many and as long words as the kernel does", function()
    local words, env = { "/bin/sh", "-c", 'echo $#; echo "${#1} ${#14}"; echo ${#LONG}; env | grep -c ^WORD', "sh" }, { LONG = ("y"):rep(120000) }
    for i = 1, 14 do words[i + 4] = ("x"):rep(100000 + i) end
    for i = 1, 1000 do env["WORD" .. i] = ("z"):rep(100) end
    local result = assert(box { command = words, env = env }:run { stdout = "pipe" })
    assert.are.same({ exit_code = 0, stdout = "14\n100001 100014\n120000\n1000\n" }, result)
    words = { "/bin/sh", "-c", "echo $#", "sh" }
    for i = 1, 50000 do words[i + 4] = tostring(i) end
    assert.are.equal("50000\n", box { command = words }:run { stdout = "pipe" }.stdout)
  end)

  support.each_identity("gives the command 253 descriptors, and no other", function()
    local file <close> = assert(io.open "/etc/passwd")
    local fds = {}
    for number = 3, 255 do fds[number] = file end
    for _, init in ipairs { true, false } do
      local script = "set -- /proc/self/fd/*; echo $#; readlink /proc/$$/fd/255" -- one more: the directory that it looks at
      local result = assert(box { init = init, command = { "/bin/sh", "-c", script } }:run { stdout = "pipe", fds = fds })
      assert.are.same({ exit_code = 0, stdout = "257\n/etc/passwd\n" }, result)
    end
  end)

  support.each_identity("looks for the command in a PATH of a thousand directories", function()
    local path = {}
    for i = 1, 1000 do path[i] = "/nowhere/" .. i end
    local text = table.concat(path, ":")
    local _, err = box { command = { "tool" }, env = { PATH = text } }:run()
    assert.are.same({ "not_found", "/nowhere/1000/tool" }, { err.kind, err.args[1] })
    assert.are.equal(0, box { command = { "true" }, env = { PATH = text .. ":/bin" } }:run().exit_code)
  end)

  support.each_identity("works where the caller ignores or blocks signals, and its streams are closed", function()
    local ignored = {}
    for _, name in ipairs { "SIGCHLD", "SIGPIPE", "SIGHUP" } do ignored[name] = sys.signal(sys[name], sys.SIG_IGN) end
    local mask = sys.sigprocmask(sys.SIG_BLOCK, { sys.SIGTERM, sys.SIGCHLD, sys.SIGUSR1 })
    local script = "trap 'exit 3' TERM; (sleep 0 & ); kill -TERM 1; while :; do :; done"
    local p = assert(box { command = { "/bin/sh", "-c", script } }:start { stdout = "pipe" })
    local output = sys.read(p.stdout, 100) -- until it has ended: who ignores SIGCHLD is not told its status
    local lost = p:wait().lost
    sys.sigprocmask(sys.SIG_SETMASK, mask)
    for name, handler in pairs(ignored) do sys.signal(sys[name], handler) end
    assert.are.same({ "", "string" }, { output, type(lost) })
    assert.are.equal(3, box { command = { "/bin/sh", "-c", script } }:run().exit_code)
    local path = support.tmpdir()
    support.write_file(path .. "/start.lua", ([[
      local box = require "casulo".container { rootfs = %q, init = true, command = { "/bin/sh", "-c", "exit 7" } }
      os.exit(box:run().exit_code)]]):format(support.rootfs()))
    assert.are.equal(7, (support.sh(("%s && exec lua5.4 %s/start.lua <&- >&- 2>&-"):format(support.environment(), path))))
  end)

  support.each_identity("fits in whatever namespaces it is given", function()
    local user = support.is_root() and {} or { "user" }
    for _, list in ipairs { { "pid", "mount" }, { "pid", "mount", "uts", "ipc", "net", "cgroup", "time" } } do
      for _, kind in ipairs(user) do table.insert(list, kind) end
      local result = assert(box { namespaces = list, command = { "/bin/sh", "-c", "exit $PPID" } }:run())
      assert.are.same({ exit_code = 1 }, result)
    end
  end)
end)
