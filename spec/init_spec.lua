-- SPDX-License-Identifier: MIT
-- casulo-init as PID 1: what can be seen of it, the signals that it passes on, whom it reaps and whom it ends.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(script, fields)
  local description = { rootfs = support.rootfs(), init = true, timeout = 300, stderr = "null", command = { "/bin/sh", "-c", script } }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function output(...)
  local result = assert(box(...):run { stdout = "pipe" })
  assert.are.same({ exit_code = 0, stdout = result.stdout }, result)
  return result.stdout
end

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

-- Reads from a pipe until a text has come.
local function expect(pipe, text)
  local got = ""
  while not got:find(text, 1, true) do
    local part = assert(sys.read(pipe, 4096))
    assert(part ~= "", "the stream ended with " .. got)
    got = got .. part
  end
  return got
end

describe("a container with init", function()
  support.each_identity("has casulo-init for its PID 1, and the command for its child", function()
    assert.are.equal("casulo-init\n1 2\n2 ", output "cat /proc/1/comm; echo $PPID $$; cat /proc/1/task/1/children")
    assert.are.equal("sh\n", output("cat /proc/1/comm; true", { init = false }))
  end)

  support.each_identity("needs nothing in its root", function()
    local root = support.tmpdir()
    assert(os.execute(("cp '%s/bin/busybox' '%s'"):format(support.rootfs(), root)))
    local bare = casulo.container { rootfs = root, init = true, standard_mounts = false, command = { "/busybox", "ls", "/" } }
    assert.are.same({ exit_code = 0, stdout = "busybox\n" }, bare:run { stdout = "pipe" })
  end)

  support.each_identity("runs as the ids that its maps have, and as any user of them", function()
    local uid, gid = sys.geteuid(), sys.getegid()
    local list = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }
    local cases = { { { { 0, uid, 1 } }, { { 0, gid, 1 } }, nil, 0 }, { { { 5, uid, 1 } }, { { 5, gid, 1 } }, nil, 5 } }
    if uid == 0 then
      local from_0, from_5 = { { 0, 100000, 65536 } }, { { 5, 100000, 65536 } }
      for _, case in ipairs { { from_0, from_0, nil, 0 }, { from_0, from_0, 7, 7 }, { from_5, from_5, nil, 5 }, { from_5, from_5, 7, 7 } } do
        cases[#cases + 1] = case
      end
    end
    for _, case in ipairs(cases) do
      local text = output("echo $(id -u) $PPID; umask; pwd", { namespaces = list, uid_map = case[1], gid_map = case[2], user = case[3],
        umask = 63, cwd = "/bin" })
      assert.are.equal(("%d 1\n0077\n/bin\n"):format(case[4]), text)
    end
  end)

  it("raises what its description gets wrong", function()
    for field, value in pairs { ["init.grace"] = { grace = -1 }, ["init.grac"] = { grac = 1 }, init = "yes" } do
      assert.error_matches(function() box("true", { init = value }) end, "container%." .. field:gsub("%.grac$", "") .. ": .*")
    end
    assert.error_matches(function() box("true", { namespaces = { "mount" } }) end, "init: a PID 1 needs a PID namespace of its own")
  end)

  support.each_identity("explains what casulo-init does", function()
    local text = box("true"):explain()
    for _, line in ipairs { 'memfd_create%("casulo%-init", MFD_ALLOW_SEALING', "F_ADD_SEALS, .*F_SEAL_WRITE", "\n  fexecve%(",
      "\n      setsid", "\n      prctl%(PR_CAPBSET_DROP, CAP_SYS_PTRACE", '\n      execve%("/bin/sh"' } do
      assert.is_truthy(text:find(line), line)
    end
  end)
end)

describe("of casulo-init from inside", function()
  local look = [[
    for each in $MORE mem io stack syscall personality exe; do
      dd if=/proc/1/$each bs=4096 skip=$([ $each = mem ] && echo 1024 || echo 0) count=1 >/dev/null 2>&1 && echo read $each
    done
    for each in cwd root exe fd/0 fd/3 fd/4 ns/mnt; do readlink /proc/1/$each && echo looked at $each; done
    ls /proc/1/fd/0 /proc/1/map_files/* /proc/1/root/ /proc/1/cwd/ 2>/dev/null]]
  local script = look .. [[

    for each in exe mem; do dd if=/dev/zero of=/proc/1/$each bs=1 count=1 conv=notrunc 2>/dev/null && echo wrote $each; done
    ( : >>/proc/1/exe ) 2>/dev/null && echo opened it
    truncate -s 0 /proc/1/exe 2>/dev/null && echo truncated it
    chmod 0 /proc/1/exe 2>/dev/null && echo changed its mode
    nsenter -t 1 -p true 2>/dev/null && echo entered it
    echo done]]

  support.each_identity("nothing can be seen or written, as root neither", function()
    local without = output(look .. "; true", { init = false })
    for _, text in ipairs { "read mem", "read exe", "looked at exe", "looked at fd/0" } do
      assert.is_truthy(without:find(text, 1, true), text) -- so the script can do it
    end
    for _, user in ipairs(support.is_root() and { 0, 1000 } or { 0 }) do assert.are.equal("done\n", output(script, { user = user })) end
    local map = support.is_root() and { { 0, 100000, 65536 } } or nil
    -- in a user namespace nobody has CAP_PERFMON, with which the kernel shows these, which hold nothing of the host
    local fields = { namespaces = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }, uid_map = map, gid_map = map,
      env = { MORE = "environ auxv maps smaps pagemap" } }
    for _, user in ipairs(map and { 0, 1000 } or { 0 }) do
      fields.user = user
      assert.are.equal("done\n", output(script, fields))
      local p <close> = assert(box("sleep 1000", fields):start())
      local q <close> = assert(p:exec { command = { "/bin/sh", "-c", script }, stdout = "pipe", stderr = "null" })
      assert.are.equal("done\n", q:wait().stdout)
    end
  end)

  support.each_identity("nothing can be traced", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    local host = casulo.container { rootfs = "/", init = true, command = { "strace", "-p", "1" } }
    local result = assert(host:run { stderr = "pipe", timeout = 20 })
    assert.are.equal(1, result.exit_code)
    assert.is_truthy(result.stderr:find("Operation not permitted", 1, true), result.stderr)
  end)

  support.each_identity("no signal ends it or stops it", function()
    local p <close> = assert(box "kill -KILL 1; kill -STOP 1; kill -CHLD 1; echo sent; read line; exit 7":start {
      stdin = "pipe", stdout = "pipe" })
    expect(p.stdout, "sent")
    sys.write(p.stdin, "go\n")
    assert.are.same({ exit_code = 7, stdout = "" }, p:wait())
  end)
end)

describe("of casulo-init from outside", function()
  local function running(fields)
    local p = assert(box("echo ready; exec cat", fields):start { stdin = "pipe", stdout = "pipe" })
    expect(p.stdout, "ready")
    return p
  end
  local function file(p, name) return ("/proc/%d/%s"):format(p.pid, name) end

  support.each_identity("its program is a sealed file in memory", function()
    local p <close> = running()
    support.leaves_nothing(function()
      assert.is_truthy(sys.readlink(file(p, "exe")):find("^/memfd:casulo%-init"))
      local fd <close> = assert(sys.open(file(p, "exe"), sys.O_RDONLY))
      local seals = sys.F_SEAL_SEAL | sys.F_SEAL_SHRINK | sys.F_SEAL_GROW | sys.F_SEAL_WRITE
      assert.are.equal(seals, sys.fcntl(fd, sys.F_GET_SEALS) & seals)
      for _, mode in ipairs { sys.O_WRONLY, sys.O_RDWR, sys.O_RDONLY | sys.O_TRUNC } do
        local opened, _, errno = sys.open(file(p, "exe"), mode)
        assert.are.same({ nil, sys.ETXTBSY }, { opened, errno }) -- and when it has ended, the seals forbid it
      end
      if casulo.host.has_memfd_exec then -- the kernel knows F_SEAL_EXEC
        assert.are.equal(sys.EPERM, select(3, sys.chmod(file(p, "exe"), 0)))
      end
    end)
  end)

  support.each_identity("it has two descriptors, no environment, and the container's root", function()
    local file_of_ours <close> = assert(io.open "/etc/passwd")
    local p <close> = running { fds = { [3] = file_of_ours, [9] = file_of_ours } }
    local function kinds()
      local list = {}
      for i, number in ipairs(sys.scandir(file(p, "fd"))) do list[i] = tostring(sys.readlink(file(p, "fd/" .. number))):match "^%a+" or "a file" end
      table.sort(list)
      return table.concat(list, " ")
    end
    support.eventually(function() return kinds() == "anon socket" end, "a signalfd and the socket to its caller")
    assert.are.same({ "", "casulo-init\0" }, { support.read_file(file(p, "environ")), support.read_file(file(p, "cmdline")) })
    local root = sys.stat(support.rootfs())
    for _, name in ipairs { "root", "cwd" } do
      local found = sys.stat(file(p, name))
      assert.are.same({ root.dev, root.ino }, { found.dev, found.ino }, name)
    end
  end)

  support.each_identity("its memory holds its own program, and nothing of its caller", function()
    local p <close> = running()
    local text = {}
    support.eventually(function() return not support.read_file(file(p, "maps")):find("/dev/zero", 1, true) end, "it shares nothing with its child")
    local mem <close> = assert(io.open(file(p, "mem"), "rb"))
    for line in io.lines(file(p, "maps")) do
      local first, last, name = line:match "^(%x+)%-(%x+) %S+ %S+ %S+ %S+%s*(.*)$"
      assert.is_truthy(name:find "^/memfd:casulo%-init" or name:find "^%[[sv]", line)
      if name:find "memfd" or name == "[stack]" then
        assert(mem:seek("set", tonumber(first, 16)))
        text[#text + 1] = mem:read(tonumber(last, 16) - tonumber(first, 16))
      end
    end
    text = table.concat(text)
    assert.is_truthy(text:find("exec cat", 1, true)) -- what it executes
    assert.is_nil(text:find(support.rootfs(), 1, true))
    for _, name in ipairs { "PWD", "LUA_PATH", "PATH" } do
      local value = os.getenv(name)
      assert.is_nil(value and #value > 3 and text:find(("%s=%s\0"):format(name, value), 1, true), name)
    end
    assert.is_true(#text < 200 * 1024)
  end)

  support.each_identity("it takes less than 64 kB", function()
    local p <close> = running()
    local sizes = support.read_file(file(p, "smaps_rollup"))
    for _, name in ipairs { "Rss", "Pss" } do
      local size = tonumber(sizes:match(("\n%s:%%s+(%%d+) kB"):format(name)))
      assert.is_true(size > 0 and size < 64, sizes)
    end
  end)

  support.each_identity("the command's output ends when the command has closed it", function()
    local p <close> = assert(box "exec >&- 2>&-; read line; exit 4":start { stdin = "pipe", stdout = "pipe", stderr = "pipe" })
    for _, pipe in ipairs { p.stdout, p.stderr } do assert.are.equal("", sys.read(pipe, 100)) end
    sys.write(p.stdin, "go\n")
    assert.are.equal(4, p:wait().exit_code)
  end)
end)

describe("casulo-init passes on", function()
  local OWN = { [sys.SIGKILL] = true, [sys.SIGSTOP] = true, [sys.SIGCHLD] = true }
  local HELD = { [32] = true, [33] = true } -- the C library's: it lets nobody handle them
  local TRAPS = "n=1; while [ $n -le 64 ]; do trap \"echo got $n.; got=$n\" $n; n=$((n+1)); done; trap - CHLD; "

  support.each_identity("every signal that can be caught, from its caller", function()
    local script = TRAPS .. "echo ready; until [ \"$line\" = go ]; do read line; done; exit 6"
    local p <close> = assert(box(script):start { stdin = "pipe", stdout = "pipe" })
    expect(p.stdout, "ready")
    for number = 1, 64 do
      if not OWN[number] and not HELD[number] then
        assert(p:signal(number))
        -- the shell sleeps on where the signal comes just before it reads, until it gets a line
        repeat sys.write(p.stdin, "\n") until sys.poll({ { fd = p.stdout, events = sys.POLLIN } }, 100) == 1
        expect(p.stdout, ("got %d."):format(number))
      end
    end
    sys.write(p.stdin, "go\n")
    assert.are.same({ exit_code = 6, stdout = "" }, p:wait())
  end)

  support.each_identity("every one from inside", function()
    local text = output(TRAPS .. [[ n=1; while [ $n -le 64 ]; do
      case $n in 9|17|19|32|33) ;; *) kill -$n 1; until [ "$got" = $n ]; do :; done;; esac; n=$((n+1)); done]])
    assert.are.equal(59, select(2, text:gsub("got %d+%.\n", "")))
  end)

  support.each_identity("those of the C library, too", function()
    local function status(p) return support.read_file(("/proc/%d/status"):format(p.pid)) end
    for number in pairs(HELD) do
      local p <close> = assert(box("echo ready; exec cat"):start { stdin = "pipe", stdout = "pipe" })
      expect(p.stdout, "ready")
      local is_ignored = tonumber(status(p):match "SigIgn:%s+(%x+)", 16) & 1 << number - 1 ~= 0 -- by who was started by system(3)
      assert(p:signal(number))
      support.eventually(function() return status(p):find "ShdPnd:%s+0+\n" end, "the signal was taken")
      if not is_ignored then assert.are.equal(128 + number, p:wait().exit_code) end
    end
  end)

  support.each_identity("one that comes before the command is there to it", function()
    local p <close> = assert(box "read line":create { stdin = "pipe" })
    assert(p:signal "TERM")
    assert(p:start())
    assert.are.equal(128 + sys.SIGTERM, p:wait().exit_code)
  end)

  support.each_identity("what a terminal sends to all in its foreground", function()
    for _, name in ipairs { "INT", "QUIT" } do
      local script = ("trap 'echo command; exit 8' %s; sh -c \"trap 'echo child; exit' %s; echo ready; while :; do sleep 0.02; done\"; :"):format(
        name, name)
      local p <close> = assert(box(script):start { stdout = "pipe" })
      expect(p.stdout, "ready")
      assert(p:signal(name))
      assert.are.same({ exit_code = 8, stdout = "child\ncommand\n" }, p:wait())
    end
  end)

  support.each_identity("queued ones one by one, in a storm of others", function()
    local top = support.command():match "^(.*)/bin/casulo$"
    local host = casulo.container { rootfs = "/", init = true, timeout = 60, command = { "lua5.4", "-e", [[
      local sys = require "casulo".sys
      sys.sigprocmask(sys.SIG_BLOCK, { sys.SIGUSR1, sys.SIGHUP, 40 })
      local signals, seen = sys.signalfd(-1, { sys.SIGUSR1, sys.SIGHUP, 40 }, 0), { [sys.SIGUSR1] = 0, [sys.SIGHUP] = 0, [40] = 0 }
      print "ready"
      io.flush()
      while seen[40] < 500 or seen[sys.SIGUSR1] == 0 or seen[sys.SIGHUP] == 0 do
        local number = string.unpack("=I4", assert(sys.read(signals, 128)))
        seen[number] = seen[number] + 1
      end
      os.exit(seen[40] == 500 and 0 or 1)]] },
      env = { LUA_PATH = ("%s/lua/?.lua;%s/lua/?/init.lua"):format(top, top), LUA_CPATH = top .. "/build/?.so" } }
    local p <close> = assert(host:start { stdout = "pipe" })
    expect(p.stdout, "ready")
    for _ = 1, 500 do
      for _ = 1, 5 do assert(p:signal "USR1") end
      assert(p:signal "HUP")
      assert(p:signal(40)) -- the last of all: with that the command ends
    end
    assert.are.same({ exit_code = 0, stdout = "" }, p:wait())
  end)
end)

describe("casulo-init reaps", function()
  support.each_identity("every orphan, of thousands", function()
    local script = [[i=0; while [ $i -lt 3000 ]; do ( : & ) & i=$((i+1)); [ $((i % 100)) = 0 ] && wait; done; wait
      set --; until [ $# = 2 ]; do set -- /proc/[0-9]*; done
      for process in /proc/[0-9]*; do read name <$process/comm; echo $name; done]]
    assert.are.equal("casulo-init\nsh\n", output(script))
  end)

  support.each_identity("those that it was left by a command that came by exec", function()
    local p <close> = assert(box "echo ready; exec cat":start { stdin = "pipe", stdout = "pipe" })
    expect(p.stdout, "ready")
    local q <close> = assert(p:exec { command = { "/bin/sh", "-c", "( sleep 0.01 & ) ; ( sleep 0.02 & )" } })
    assert.are.equal(0, q:wait().exit_code)
    support.eventually(function()
      return support.read_file(("/proc/%d/task/%d/children"):format(p.pid, p.pid)):match "^%d+ $"
    end, "no child but the command")
  end)
end)

describe("casulo-init ends", function()
  support.each_identity("with the status of the command, 128+n for signal n", function()
    for _, status in ipairs { 0, 3, 125, 255 } do assert.are.same({ exit_code = status }, box("exit " .. status):run()) end
    for _, signal in ipairs { sys.SIGHUP, sys.SIGTERM, sys.SIGKILL, sys.SIGSEGV, sys.SIGABRT, 64 } do
      assert.are.same({ exit_code = 128 + signal }, box(("ulimit -c 0; kill -%d $$"):format(signal)):run())
    end
  end)

  support.each_identity("as the command of casulo does", function()
    local path = support.tmpdir()
    for script, status in pairs { ["exit 5"] = 5, ["kill -TERM $$"] = 143, ["kill -KILL $$"] = 137 } do
      support.write_file(path .. "/box.lua", ("return { rootfs = %q, init = true, command = { '/bin/sh', '-c', %q } }"):format(
        support.rootfs(), script))
      assert.are.equal(status, (support.casulo { "run", path .. "/box.lua" }))
    end
  end)

  local ASKED = "(trap 'echo asked; exit' TERM; echo ready; while :; do sleep 0.02; done) & "
  local DEAF = "(trap '' TERM; echo ready; while :; do sleep 1; done) & "
  -- Starts a script, lets it end when all it started is ready. → result, and how long it took from there
  local function ended(script, grace)
    local p <close> = assert(box(script .. "read line; exit 3", { init = grace and { grace = grace } or true }):start {
      stdin = "pipe", stdout = "pipe" })
    for _ in script:gmatch "echo ready" do expect(p.stdout, "ready") end
    local start = now()
    sys.write(p.stdin, "go\n")
    return p:wait(), now() - start
  end

  support.each_identity("the others first, with SIGTERM", function()
    support.leaves_nothing(function()
      assert.are.same({ exit_code = 3, stdout = "asked\n" }, (ended(ASKED, 1000)))
    end)
  end)

  support.each_identity("those that do not listen after a time of grace, 2 seconds where none is said", function()
    for grace, least in pairs { [0] = 0, [0.3] = 0.3, [false] = 2 } do
      local result, time = ended(DEAF, grace)
      assert.are.equal(3, result.exit_code)
      assert.is_true(time >= least and time < least + 20, tostring(time))
    end
  end)

  support.each_identity("those that are stopped, too: they go on, and are asked", function()
    local script = [[sh -c "trap 'echo asked; exit' TERM; kill -STOP \$\$; while :; do sleep 0.02; done" &
      until grep -q '^State:.T' /proc/$!/status; do :; done; echo ready; ]]
    assert.are.same({ exit_code = 3, stdout = "asked\n" }, (ended(script, 1000)))
  end)

  support.each_identity("at once where nobody is left", function()
    for _, script in ipairs { "", "sleep 0 & ", "( sleep 0 & ) ; " } do
      local result, time = ended(script, 1000)
      assert.are.equal(3, result.exit_code)
      assert.is_true(time < 30)
    end
  end)

  support.each_identity("commands that came by exec", function()
    for grace, expected in pairs { [1000] = { exit_code = 9, stdout = "asked\n" }, [0.1] = { signal = sys.SIGKILL, stdout = "" } } do
      local p <close> = assert(box("echo ready; read line", { init = { grace = grace } }):start { stdin = "pipe", stdout = "pipe" })
      expect(p.stdout, "ready")
      local trap = grace == 1000 and "'echo asked; exit 9'" or "''"
      local q <close> = assert(p:exec { command = { "/bin/sh", "-c", ("trap %s TERM; echo ready; while :; do sleep 0.02; done"):format(trap) },
        stdout = "pipe", stderr = "null" })
      expect(q.stdout, "ready")
      sys.write(p.stdin, "go\n")
      assert.are.equal(0, p:wait().exit_code)
      assert.are.same(expected, q:wait())
    end
  end)
end)
