-- SPDX-License-Identifier: MIT
-- Terminals of containers, through the library.
local casulo = require "casulo"
local hostile = require "hostile_support"
local shared = require "exec_support"
local support = require "support"
local sys = casulo.sys

local FOREVER = { "/bin/sleep", "1000" }
local SHELL = { "/bin/sh", "-i" }

local box, sh = shared.box, shared.sh

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

-- Somebody at the terminal of a process: types, and reads until something is shown.
local function person(process)
  local self = { shown = "", from = 1 }
  function self.type(text) assert(sys.write(process.tty, text)) end
  function self.expect(pattern)
    local deadline = now() + 20
    while true do
      local first, last = self.shown:find(pattern, self.from)
      if first then
        self.from = last + 1
        return
      end
      local ready = sys.poll({ { fd = process.tty, events = sys.POLLIN } }, math.max(0, math.ceil((deadline - now()) * 1000)))
      local text, message = nil, "nothing came"
      if ready == 1 then text, message = sys.read(process.tty, 4096) end
      if not text then error(("expected %q: %s; was shown: %q"):format(pattern, message, self.shown), 2) end
      self.shown = self.shown .. text
    end
  end
  function self.run(line, pattern)
    self.type(line .. "\n")
    return self.expect(pattern)
  end
  return self
end

local function split(options, fields)
  fields.command, fields.user = options.command, options.user
  options.command, options.user = nil, nil
  return box(fields)
end

-- The ways to a command with a terminal, in a container with some fields. → process, and what is to be closed after it
local WAYS = {
  start = function(options, fields) return assert(split(options, fields):start(options)) end,
  create = function(options, fields) return assert(assert(split(options, fields):create(options)):start()) end,
  exec = function(options, fields)
    local p = assert(box(fields):start())
    return assert(p:exec(options)), p
  end,
}

local function each_way(name, body)
  for way, start in pairs(WAYS) do
    for _, init in ipairs { false, true } do
      support.each_identity(("%s (%s%s)"):format(name, way, init and ", init" or ""), function()
        support.leaves_nothing(function()
          local p, outer
          local ok, err = pcall(body, function(options)
            p, outer = start(options, { init = init })
            return p
          end)
          p:close()
          if outer then outer:close() end
          if not ok then error(err, 0) end
        end)
      end)
    end
  end
end

describe("a terminal", function()
  each_way("is the command's streams and controls its session", function(run)
    local p = run {
      command = sh "tty; tty <&1; tty <&2; stty size; : >/dev/tty && echo controls; stat -c %u $(tty); exit 4",
      tty = { rows = 7, columns = 90 },
    }
    assert.are.same({ exit_code = 4, tty = "/dev/pts/0\r\n/dev/pts/0\r\n/dev/pts/0\r\n7 90\r\ncontrols\r\n0\r\n" }, p:wait(20))
  end)

  each_way("has job control in a shell, and Ctrl-C reaches the job only", function(run)
    local p = run { command = SHELL, tty = true }
    local user = person(p)
    user.expect "# "
    assert.is_nil(user.shown:find "job control")
    user.run([[sh -c 'trap "echo ba""ck" CONT; echo r""uns; while :; do sleep 0.01; done']], "runs\r\n")
    user.type "\26" -- Ctrl-Z
    user.expect "Stopped.-# "
    user.run("fg", "back\r\n")
    user.type "\3" -- Ctrl-C
    user.expect "# "
    user.run("echo $((1+1))living", "2living")
    user.run("sleep 1000 & jobs", "Running")
    user.run("kill %1; exit 5", "exit 5")
    assert.are.equal(5, p:wait(20).exit_code)
  end)

  each_way("changes its size, and what runs in it hears of it", function(run)
    local p = run { command = sh "trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.01; done", tty = true }
    local user = person(p)
    user.expect "ready\r\n"
    assert.is_true(p:resize(50, 132))
    user.expect "50 132\r\n"
    assert.are.equal(6, p:wait(20).exit_code)
  end)

  each_way("that is closed hangs up", function(run)
    local p = run { command = sh "trap 'exit 7' HUP; echo ready; while :; do sleep 0.01; done", tty = true }
    person(p).expect "ready\r\n"
    p.tty:close()
    assert.are.same({ exit_code = 7 }, p:wait(20))
  end)

  it("is the user's whom the command runs as, and the group of terminals may write to it", function()
    if not support.needs_root() then return end
    for _, start in pairs(WAYS) do
      local p, outer = start({ command = sh "stat -c %u:%g:%a $(tty)", tty = true, user = "1000:1001" }, {})
      assert.are.equal("1000:5:620\r\n", p:wait(20).tty)
      if outer then outer:close() end
    end
  end)

  support.each_identity("can be read and written before the end; what nobody read is in the result", function()
    local p <close> = assert(box { command = sh "stty -echo; echo ready; read line; echo got $line", tty = true }:start())
    local user = person(p)
    user.expect "ready\r\n"
    user.type "some\n"
    assert.are.same({ exit_code = 0, tty = "got some\r\n" }, p:wait(20))
  end)

  support.each_identity("is there for fifty containers at once", function()
    support.leaves_nothing(function()
      local all = {}
      for i = 1, 50 do all[i] = assert(box { command = SHELL, tty = true, init = i % 2 == 0 }:start()) end
      for i, p in ipairs(all) do sys.write(p.tty, ("echo $((%d * 1000)); exit %d\n"):format(i, i)) end
      for i, p in ipairs(all) do
        local result = p:wait(60)
        assert.are.equal(i, result.exit_code)
        assert.is_truthy(result.tty:find(("\r\n%d000\r\n"):format(i), 1, true), result.tty)
      end
    end)
  end)

  support.each_identity("is whole where its caller has no standard streams", function()
    local reader <close>, writer = assert(sys.pipe2(0))
    local pid = assert(sys.clone(0, function()
      local high = assert(sys.fcntl(writer, sys.F_DUPFD_CLOEXEC, 20))
      local description = box { command = sh "tty; tty <&1; tty <&2", tty = true }
      assert(sys.close_range(0, 2, 0))
      local p <close>, err = description:start()
      sys.write(high, p and p:wait(20).tty or tostring(err))
      local outer <close> = assert(box():start())
      local q <close>, why = outer:exec { command = sh "tty", tty = true }
      sys.write(high, q and q:wait(20).tty or tostring(why))
    end, { threads = true }))
    writer:close()
    local shown = {}
    repeat shown[#shown + 1] = assert(sys.read(reader, 4096)) until shown[#shown] == ""
    sys.waitpid(pid)
    assert.are.equal(("/dev/pts/0\r\n"):rep(4), table.concat(shown))
  end)

  support.each_identity("is resized only where there is one", function()
    local p <close> = assert(box():start())
    local function refused(pattern, ...)
      local ok, message = pcall(p.resize, ...)
      assert.is_false(ok)
      assert.is_truthy(tostring(message):find(pattern, 1, true), message)
    end
    refused("resize: this process has no terminal", p, 1, 1)
    local q <close> = assert(p:exec { command = FOREVER, tty = true })
    refused("resize: rows: expected an integer from 0 to 65535, got -1", q, -1, 1)
    refused("resize: columns: expected an integer from 0 to 65535, got nil", q, 1)
    q.tty:close()
    assert.are.same({ "nil", sys.EBADF }, { tostring(q:resize(1, 1)), select(3, q:resize(1, 1)) })
  end)
end)

describe("a terminal of a hostile container", function()
  -- What its root has put where terminals are made.
  local REPLACED = {
    ["a fifo"] = "mkfifo /tmp/x; mount -o bind /tmp/x /dev/pts/ptmx",
    ["a file"] = "echo > /tmp/x; mount -o bind /tmp/x /dev/pts/ptmx",
    ["a directory"] = "umount /dev/pts; mkdir /dev/pts/ptmx",
    ["a link to a descriptor"] = "umount /dev/pts; ln -s /proc/self/fd/0 /dev/pts/ptmx",
    ["a link to another device"] = "umount /dev/pts; ln -s /dev/zero /dev/pts/ptmx",
    ["a link in the way"] = "umount /dev/pts; rmdir /dev/pts; mkdir /tmp/p; ln -s /tmp/p /dev/pts",
    ["another device"] = "mount -o bind /dev/zero /dev/pts/ptmx",
    ["a device of random bytes"] = "mount -o bind /dev/urandom /dev/pts/ptmx",
    ["a terminal that is in use"] = "mkdir /tmp/d; mount -t devpts none /tmp/d; exec 5<>/tmp/d/ptmx; mount -o bind /tmp/d/0 /dev/pts/ptmx",
    ["nothing"] = "umount /dev/pts",
  }
  for name, script in pairs(REPLACED) do
    support.each_identity("is refused where there is " .. name, function()
      support.leaves_nothing(function()
        local p <close> = assert(box { command = sh(("{ %s; } || exit; echo ready; sleep 1000"):format(script)), stdout = "pipe", stderr = "null",
          mounts = { { type = "tmpfs", target = "/tmp" } }, capabilities = { add = { "SYS_ADMIN" } } }:start())
        assert.are.equal("ready\n", sys.read(p.stdout, 100))
        local q, err = p:exec { command = FOREVER, tty = true, timeout = 20 }
        assert.is_nil(q)
        assert.is_truthy(err.call == "openat2" or err.call == "ioctl", tostring(err))
        assert.are.equal(0, assert(p:exec { command = { "true" } }):wait().exit_code)
      end)
    end)
  end

  -- The errors of the first command and of a later one that are to have a terminal, in a container with this mount.
  local function errors(mount)
    local _, first = box({ mounts = { mount } }):start { tty = true }
    local p <close> = assert(box({ mounts = { mount } }):start())
    local _, later = p:exec { command = FOREVER, tty = true }
    return { assert(first), assert(later) }
  end

  support.each_identity("is looked for behind no link, and not waited for", function()
    local directory = support.tmpdir()
    local mount = { type = "bind", source = directory, target = "/dev/pts" }
    assert(sys.symlink("/dev/zero", directory .. "/ptmx"))
    for _, err in ipairs(errors(mount)) do assert.are.same({ "openat2", sys.ELOOP }, { err.call, err.errno }) end
    assert(os.remove(directory .. "/ptmx"))
    support.write_file(directory .. "/ptmx", "")
    local holder <close> = hostile.companion { hostile.compile "lease.c", directory .. "/ptmx" }
    for _, err in ipairs(errors(mount)) do assert.are.same({ "openat2", sys.EAGAIN }, { err.call, err.errno }) end
    holder:finish()
  end)

  it("is none that others use, which would hang up", function()
    if not support.needs_root() then return end
    local path = support.tmpdir() .. "/tty"
    assert(sys.mknod(path, sys.S_IFCHR | 384, 4 << 8 | 63)) -- the last virtual console, on which nothing is shown
    local console <close>, message = sys.open(path, sys.O_RDWR | sys.O_NOCTTY)
    if not console then return support.cannot_run(message) end
    for _, err in ipairs(errors { type = "bind", source = path, target = "/dev/pts/ptmx", nodev = false }) do assert.are.equal("ioctl", err.call) end
    assert.are.equal(1, sys.write(console, "\r"))
  end)

  it("that is none is refused by the caller", function()
    local terminal = require "casulo.recipes.terminal"
    local ours <close>, theirs = assert(sys.socketpair(sys.AF_UNIX, sys.SOCK_STREAM, 0))
    local null <close> = assert(sys.open("/dev/null", sys.O_RDWR))
    assert(sys.sendmsg(theirs, "t", { null }))
    local count = #sys.scandir "/proc/self/fd"
    local master, message, errno = terminal.receive(ours)
    assert.are.same({ "nil", sys.ENOTTY }, { tostring(master), errno })
    assert.is_truthy(message:find("what arrived is no terminal", 1, true), message)
    assert(sys.sendmsg(theirs, "t", {}))
    assert.are.equal("the terminal did not arrive", select(2, terminal.receive(ours)))
    assert.are.equal(count, #sys.scandir "/proc/self/fd")
    theirs:close()
  end)
end)
