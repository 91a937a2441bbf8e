-- SPDX-License-Identifier: MIT
-- What a hostile container can do to whoever starts a command in it.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local FOREVER = { "/bin/sleep", "1000" }
local ALL = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }
local RANGES = { namespaces = ALL, uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 100000, 65536 } } }

-- A root of its own with static programs of spec/payload in it. → the directory
local function root_with(...)
  local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
  for _, name in ipairs { ... } do
    local how, _, err = support.sh(("gcc -O1 -Wall -Wextra -Werror -static %s -o '%s/%s' spec/payload/%s.c"):format(
      name == "loader" and "-nostdlib" or "", root, name, name))
    assert.are.equal(0, how, err)
  end
  return root
end

local function start(root, command, fields, options)
  local description = { rootfs = root, command = command }
  for name, value in pairs(fields or {}) do description[name] = value end
  return assert(casulo.container(description):start(options))
end

local function sh(script) return { "/bin/sh", "-c", script } end

-- → the two sides of a new terminal of the host
local function terminal()
  local master = assert(sys.open("/dev/ptmx", sys.O_RDWR | sys.O_NOCTTY))
  assert(sys.ioctl(master, sys.TIOCSPTLCK, string.pack("=i4", 0)))
  return master, assert(sys.ioctl(master, sys.TIOCGPTPEER, sys.O_RDWR | sys.O_NOCTTY))
end

-- What has been typed into a terminal and nobody has read.
local function typed(slave)
  support.sh(("stty -icanon min 0 time 0 <>/proc/%d/fd/%d >&0"):format(sys.getpid(), slave:fileno()))
  return assert(sys.read(slave, 100))
end

describe("typing into the caller's terminal", function()
  it("works where nothing refuses it, so that the tests below can fail", function()
    if not support.needs_root() then return end
    local program = root_with "typing" .. "/typing"
    local master <close>, slave = terminal()
    local pid = assert(sys.clone(0, function()
      sys.dup2(slave, 0)
      sys.execve("/bin/sh", { "sh", "-c", program .. " >/dev/null" }, {})
    end, { threads = true }))
    sys.waitpid(pid)
    assert.is_truthy(typed(slave):find "^xxx")
    slave:close()
    assert.is_true(master:is_open())
  end)

  local WAYS = {}

  function WAYS.start(root, fields, slave) return start(root, { "/typing" }, fields, { stdin = slave, stdout = "pipe" }):wait() end

  function WAYS.exec(root, fields, slave)
    local p <close> = start(root, FOREVER, fields)
    return assert(p:exec { command = { "/typing" }, stdin = slave, stdout = "pipe" }):wait()
  end

  function WAYS.exec_with_terminal(root, fields)
    local p <close> = start(root, FOREVER, fields)
    return assert(p:exec { command = { "/typing" }, tty = true }):wait()
  end

  local CONTAINERS = {
    { "a container", {} }, { "one with a PID 1 of casulo's own", { init = true } },
    { "one with a user namespace", { namespaces = ALL } }, { "one that shares PIDs", { namespaces = { pid = "host" } } },
  }
  for _, each in ipairs(CONTAINERS) do
    local name, fields = table.unpack(each)
    support.each_identity("is refused in " .. name .. ", however the call is made", function()
      local root = root_with "typing"
      for way, attempt in pairs(WAYS) do
        local master <close>, slave = terminal()
        local result = attempt(root, fields, slave)
        local count = 0
        for line in (result.stdout or result.tty):gmatch "[^\r\n]+" do
          count = count + 1
          assert.is_truthy(line:find "^64 .* %-1$" or line:find "^[xi]3.* %-38$", way .. ": " .. line) -- EPERM; ENOSYS
        end
        assert.are.equal(0, result.exit_code)
        assert.is_true(count == 14 or count == 6, tostring(count)) -- there are fewer ways on aarch64
        assert.are.equal("", typed(slave))
        slave:close()
        assert.is_true(master:is_open())
      end
    end)
  end

  support.each_identity("is refused to casulo-init, too, which one might make do it", function()
    local function filters(pid) return support.read_file(("/proc/%d/status"):format(pid)):match "\nSeccomp:%s*(%d)" end
    local p <close> = start(support.rootfs(), FOREVER, { init = true })
    assert.are.equal("2", filters(p.pid))
    local q <close> = assert(p:exec { command = FOREVER })
    assert.are.equal("2", filters(q.pid))
  end)
end)

-- A container in which a process looks at each newcomer, while commands are started in it.
-- → how often each outcome came, and what that process has printed, numbers left out, likewise
local SECRET = "what only " .. "the caller knows"
local function watched(fields, count, strike)
  local root, path = root_with "watcher", support.tmpdir() .. "/found"
  local output <close> = assert(io.open(path, "w"))
  local shifted = SECRET:gsub(".", function(letter) return string.char(letter:byte() + 1) end)
  local outcomes, found = {}, {}
  do
    local p <close> = start(root, { "/watcher", shifted, strike }, fields, { stdout = output })
    support.eventually(function() return support.read_file(path):find "ready" end)
    for _ = 1, count do
      local q, err = p:exec { command = { "true" }, stdin = "null", stdout = "null", stderr = "null" }
      local result = q and q:wait()
      local outcome = not q and err.message or result.exit_code and "exit " .. result.exit_code or "signal " .. result.signal
      outcomes[outcome] = (outcomes[outcome] or 0) + 1
    end
  end
  for line in support.read_file(path):gmatch "[^\n]+" do
    line = line:gsub("%[%d+%]", "[]"):gsub(" $", "")
    found[line] = (found[line] or 0) + 1
  end
  return outcomes, found
end

local KILLED = "the child of casulo-init was killed at this step"

describe("whoever watches for newcomers in a container", function()
  -- What may be found: the command as it is, and its streams, which were "null".
  local INNOCENT = {
    ready = true, memory = true, ["exe /bin/busybox"] = true, ["fd /dev/null"] = true, ["fd opened /dev/null"] = true,
    ["fd /null"] = true, ["fd opened /null"] = true, -- in a copy of the host's /dev, which has no place
  }
  -- What root of a container without a user namespace, who may trace everything, can find beside that: a process on its way to
  -- become the command, with its program, which nobody can change, and ends of pipes that it is about to close; and by its pidfd of
  -- casulo-init what that one has open.
  local ON_THE_WAY = {
    ["exe /memfd:casulo-init (deleted)"] = true, ["exe opened /memfd:casulo-init (deleted)"] = true,
    ["fd pipe:[]"] = true, ["fd opened pipe:[]"] = true, ["fd socket:[]"] = true, ["fd anon_inode:[pidfd]"] = true,
    ["fd opened anon_inode:[pidfd]"] = true, ["fd anon_inode:[signalfd]"] = true, ["fd opened anon_inode:[signalfd]"] = true,
    ["fd stolen pipe:[]"] = true, ["fd stolen socket:[]"] = true, ["fd stolen anon_inode:[pidfd]"] = true,
    ["fd stolen anon_inode:[signalfd]"] = true, ["fd stolen /memfd:casulo-init (deleted)"] = true, ["fd stolen /dev/null"] = true,
    ["fd stolen /null"] = true,
  }

  local function finds_nothing(fields, tolerated)
    local outcomes, found = watched(fields, 300)
    for line in pairs(found) do assert.is_true(INNOCENT[line] or tolerated and tolerated[line] or false, line) end
    for outcome in pairs(outcomes) do
      assert.is_true(outcome == "exit 0" or tolerated ~= nil and (outcome == "signal 9" or outcome == KILLED), outcome)
    end
  end

  local MAY_TRACE = { capabilities = { add = { "SYS_PTRACE" } } }

  support.each_identity("finds nothing of the host", function() finds_nothing {} end)

  support.each_identity("finds nothing of the host where it may trace", function()
    finds_nothing(MAY_TRACE, support.is_root() and ON_THE_WAY or nil)
  end)

  it("finds nothing of the host (root, a user namespace of one id)", function()
    if support.needs_root() then finds_nothing { namespaces = ALL } end
  end)

  it("finds nothing of the host (root, ranges of ids)", function()
    if support.needs_root() then finds_nothing(RANGES) end
  end)

  support.each_identity("can end a command at most, not what stands for it", function()
    local outcomes, found = watched(MAY_TRACE, 200, "strike")
    for outcome in pairs(outcomes) do
      assert.is_true(outcome == "exit 0" or outcome == "signal 9" or outcome == KILLED, outcome)
    end
    if support.is_root() then assert.is_true((found.struck or 0) > 0, "it has overwritten some") end
  end)
end)

describe("a container in which a command is started", function()
  support.each_identity("sees no joiner, and reaches none", function()
    local p <close> = start(support.rootfs(), FOREVER)
    local q <close> = assert(p:exec { command = FOREVER })
    local seen = assert(p:exec { command = sh "echo /proc/[0-9]*; kill -STOP -1; kill -KILL -1", stdout = "pipe" }):wait()
    assert.are.equal("/proc/1 /proc/2 /proc/3\n", seen.stdout)
    assert.are.same({ signal = sys.SIGKILL }, q:wait(20)) -- what stands for it was neither stopped nor killed, and tells so
  end)

  support.each_identity("cannot look into the joiner where it sees it, sharing the host's PIDs but not its user namespace", function()
    local p <close> = start(support.rootfs(), FOREVER, { namespaces = { "user", "mount", "uts", "ipc", "net", "cgroup" } })
    local q <close> = assert(p:exec { command = FOREVER })
    local look = "cd /proc/%d && grep -q casulo-init comm && echo seen; for i in exe root cwd fd/3; do readlink $i; done; cat fd/3 maps mem"
    local result = assert(p:exec { command = sh(look:format(q.pid)), stdout = "pipe", stderr = "null" }):wait()
    assert.are.equal("seen\n", result.stdout)
  end)

  support.each_identity("may have a shell that is a script for /proc/self/exe", function()
    local root = root_with()
    assert(sys.unlink(root .. "/bin/sh"))
    support.write_file(root .. "/bin/sh", "#!/proc/self/exe\n")
    assert(sys.chmod(root .. "/bin/sh", 493))
    local p <close> = start(root, FOREVER)
    for _ = 1, 20 do
      local q, err = p:exec { command = { "/bin/sh" } } -- what runs is casulo-init, and can do nothing
      assert.is_true(q and q:wait().exit_code == 125 or not q and err.kind == "not_executable", tostring(err))
      assert.are.equal(0, assert(p:exec { command = { "true" } }):wait().exit_code)
    end
  end)

  support.each_identity("may have a loader of its own", function()
    local root = root_with "loader"
    support.write_file(root .. "/program.c", "int main(void) { return 0; }\n")
    support.write_file(root .. "/hostile",
      "for fd in /proc/self/fd/*; do readlink $fd; done; readlink -f /proc/self/root; grep PPid /proc/$$/status\n")
    assert.are.equal(0, (support.sh(("gcc -o '%s/program' -Wl,--dynamic-linker=/loader '%s/program.c'"):format(root, root))))
    local p <close> = start(root, FOREVER)
    local result = assert(p:exec { command = { "/program" }, stdin = "null", stdout = "pipe", stderr = "null" }):wait()
    local null = support.is_root() and "/null" or "/dev/null" -- in a copy of the host's /dev, which has no place
    assert.are.equal(("%s\npipe:[]\n%s\n/\nPPid:\t0\n"):format(null, null), (result.stdout:gsub("%[%d+%]", "[]")))
  end)

  it("may have file systems that never answer", function()
    if not support.needs_root() then return end
    if not sys.stat "/dev/fuse" then return support.cannot_run "this kernel has no FUSE" end
    support.leaves_nothing(function()
      local root = root_with "silent"
      local p <close> = start(root, { "/silent", "/tmp", "/dev/pts" }, {
        mounts = { { type = "device", source = "/dev/fuse" }, { type = "tmpfs", target = "/tmp" } },
        capabilities = { add = { "SYS_ADMIN" } },
      }, { stdout = "pipe" })
      assert.are.equal("ready\n", sys.read(p.stdout, 100))
      for _, options in ipairs { { cwd = "/tmp/x" }, { tty = true }, { command = { "/tmp/true" } } } do
        options.command, options.timeout = options.command or { "true" }, 0.2
        local before = sys.clock_gettime(sys.CLOCK_MONOTONIC)
        local q, err = p:exec(options)
        assert.are.same({ "nil", sys.ETIMEDOUT, "setup" }, { tostring(q), err.errno, err.kind })
        assert.is_true(sys.clock_gettime(sys.CLOCK_MONOTONIC) - before < 10)
      end
      p:close()
      support.eventually(function() -- what stood for the commands that could not be killed has ended with them
        require "casulo.handle".reap_detached()
        return support.host_state().children == ""
      end)
    end)
  end)

  it("may be frozen", function()
    if not support.needs_root() then return end
    require "exec_support".with_cgroups("cgroup2", function(made)
      local directory = made[1]
      local p <close> = start(support.rootfs(), FOREVER)
      support.write_file(directory .. "/cgroup.procs", tostring(p.pid))
      local q <close> = assert(p:exec { command = FOREVER })
      support.write_file(directory .. "/cgroup.freeze", "1")
      local r, err = p:exec { command = FOREVER, timeout = 0.2 }
      assert.are.same({ "nil", sys.ETIMEDOUT }, { tostring(r), err.errno })
      sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1) -- the command is left to this process, for what stood for it was frozen, and killed
      q:close()
      support.write_file(directory .. "/cgroup.freeze", "0")
      assert.are.equal(0, assert(p:exec { command = { "true" } }):wait().exit_code)
      support.eventually(function()
        while (sys.waitpid(-1, sys.WNOHANG) or 0) ~= 0 do end
        return support.host_state().children == tostring(p.pid)
      end)
      sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 0)
    end)
  end)
end)
