-- SPDX-License-Identifier: MIT
-- The command with a terminal of its own, driven through a real one.
local support = require "support"
local sys = require "casulo.sys"

local TERMIOS = ("\0"):rep(36)

local function script_file(fields)
  local path = support.tmpdir() .. "/box.lua"
  support.write_file(path, ("return { rootfs = %q, tty = true, hostname = 'inner', %s }"):format(support.rootfs(), fields))
  return path
end

local function environment()
  local list = {}
  for _, name in ipairs { "PATH", "TERM" } do list[#list + 1] = ("%s=%s"):format(name, os.getenv(name) or "dumb") end
  return list
end

-- A terminal of 33 rows and 101 columns. → the side of who looks at it, and the other
local function open_terminal()
  local master = assert(sys.open("/dev/ptmx", sys.O_RDWR | sys.O_NOCTTY))
  assert(sys.ioctl(master, sys.TIOCSPTLCK, string.pack("=i4", 0)))
  assert(sys.ioctl(master, sys.TIOCSWINSZ, string.pack("=I2I2I2I2", 33, 101, 0, 0)))
  return master, assert(sys.ioctl(master, sys.TIOCGPTPEER, sys.O_RDWR | sys.O_NOCTTY))
end

local Screen = {}
Screen.__index = Screen

-- A terminal in which a command runs as a shell would start it.
local function screen(...)
  local words = { ... }
  local master, slave = open_terminal()
  local self = setmetatable({ master = master, slave = slave, text = "", settings = assert(sys.ioctl(slave, sys.TCGETS, TERMIOS)) }, Screen)
  self.pid = assert(sys.clone(0, function()
    assert(sys.setsid())
    assert(sys.ioctl(slave, sys.TIOCSCTTY, 0))
    for number = 0, 2 do sys.dup2(slave, number) end
    sys.close_range(3, 0xffffffff, 0)
    sys.execve(words[1], words, environment())
  end, { threads = true }))
  return self
end

-- What is shown until a pattern appears in it; it is not looked at again. A text is typed until then: a shell forgets what
-- was typed too early.
function Screen:expect(pattern, typed)
  local deadline = sys.clock_gettime(sys.CLOCK_MONOTONIC) + 20
  while true do
    local first, last = self.text:find(pattern)
    if first then
      local shown = self.text:sub(first, last)
      self.text = self.text:sub(last + 1)
      return shown
    end
    local left = deadline - sys.clock_gettime(sys.CLOCK_MONOTONIC)
    if left <= 0 then error(("%q never appeared; on the screen is %q"):format(pattern, self.text), 2) end
    if typed then self:type(typed) end
    if sys.poll({ { fd = self.master, events = sys.POLLIN } }, typed and 200 or math.ceil(left * 1000)) == 1 then
      self.text = self.text .. (sys.read(self.master, 65536) or "")
    end
  end
end

function Screen:type(text) assert(sys.write(self.master, text)) end

-- → how the command ended, for which a text is typed until then; the terminal must be as it was
function Screen:ended(typed)
  local how, code
  support.eventually(function()
    if typed then self:type(typed) end
    how, code = select(2, sys.waitpid(self.pid, sys.WNOHANG))
    return how
  end, "the end of the command")
  support.eventually(function() return sys.ioctl(self.slave, sys.TCGETS, TERMIOS) == self.settings end, "the terminal is as it was")
  self.slave:close()
  self.master:close()
  return how, code
end

-- The shell's prompt, and what busybox asks the terminal for behind it.
local PROMPT = "/ [#$] "

local function shell(fields)
  local it = screen(support.command(), "run", script_file(fields or ""))
  it:expect(PROMPT)
  return it
end

describe("a terminal of its own", function()
  support.each_identity("has the size of the caller's, follows it, and gives the command's status", function()
    support.leaves_nothing(function()
      local it = shell()
      it:type "tty; hostname; stty size; readlink /proc/self/fd/0; echo $PPID\n"
      it:expect "/dev/pts/0\r\ninner\r\n33 101\r\n/dev/pts/0\r\n"
      assert(sys.ioctl(it.master, sys.TIOCSWINSZ, string.pack("=I2I2I2I2", 50, 132, 0, 0)))
      it:type "until [ \"$(stty size)\" = '50 132' ]; do :; done; echo it has foll''owed\n"
      it:expect "it has followed"
      it:type "exit 9\n"
      assert.are.same({ "exit", 9 }, { it:ended() })
    end)
  end)

  support.each_identity("has job control", function()
    support.leaves_nothing(function()
      for _, fields in ipairs { "", "init = true" } do
        local it = shell(fields)
        assert.is_nil(it.text:find "job control turned off")
        it:type "sh -c 'echo now; exec cat'\n"
        it:expect "\nnow\r\n"
        it:type "\26" -- Ctrl-Z
        it:expect "Stopped"
        it:expect(PROMPT)
        it:type "jobs\n"
        it:expect "Stopped"
        it:type "fg\n"
        it:expect("to cat\r\nto cat\r\n", "to cat\n")
        it:type "\3" -- Ctrl-C
        it:expect("status 130", "echo status $?\n")
        local how = it:ended "\4" -- Ctrl-D
        assert.are.equal("exit", how)
      end
    end)
  end)

  support.each_identity("passes every byte on, and shows none twice", function()
    support.leaves_nothing(function()
      local it = screen(support.command(), "run",
        script_file [[command = { "/bin/sh", "-c", "stty raw -echo; echo ready; dd bs=1 count=8 2>/dev/null | od -An -tx1" }]])
      it:expect "ready"
      it:type "\3\26\4\17\19\28\13\255"
      it:expect "^\r?\n 03 1a 04 11 13 1c 0d ff"
      assert.are.same({ "exit", 0 }, { it:ended() })
    end)
  end)

  support.each_identity("shows all that was written before the end", function()
    support.leaves_nothing(function()
      local it = screen(support.command(), "run", script_file [[command = { "/bin/sh", "-c", "seq 100000; echo the end" }]])
      it:expect "\n99999\r\n100000\r\nthe end\r\n"
      assert.are.same({ "exit", 0 }, { it:ended() })
    end)
  end)

  support.each_identity("gives the caller's back whatever happens", function()
    support.leaves_nothing(function()
      local it = screen(support.command(), "run", script_file [[command = { "nope" }]])
      it:expect "casulo: execve.-No such file or directory"
      assert.are.same({ "exit", 127 }, { it:ended() })
      it = screen(support.command(), "run", script_file [[command = { "sleep", "1000" }, timeout = 0.3]])
      it:expect "casulo: ended after 0.3 seconds"
      assert.are.same({ "exit", 137 }, { it:ended() })
      for name, status in pairs { SIGTERM = { "exit", 143 }, SIGHUP = { "exit", 129 }, SIGKILL = { "signal", sys.SIGKILL } } do
        it = shell()
        assert(sys.kill(it.pid, sys[name]))
        assert.are.same(status, { it:ended() }, name)
      end
    end)
  end)

  support.each_identity("takes what is typed from a pipe, to its end", function()
    local status, out = support.sh(("{ echo tty; echo exit 6; } | %s run %s"):format(support.command(), script_file ""))
    assert.are.equal(6, status)
    assert.is_truthy(out:find("\n/dev/pts/0\r\n", 1, true), out)
    status, out = support.sh(("echo a word | %s run %s"):format(support.command(), script_file [[command = { "cat" }]]))
    assert.are.same({ 0, "a word\r\na word\r\n" }, { status, out })
  end)
end)

local Piped = {}
Piped.__index = Piped

-- Runs casulo with further words, which types what the test writes to `typing`, and shows in a descriptor.
local function typed_to(output, ...)
  local words = { support.command(), "run", "-t", "--rootfs", support.rootfs(), ... }
  local stdin <close>, typing = assert(sys.pipe2())
  local pid = assert(sys.clone(0, function()
    for name in pairs(Piped.SIGNALS) do sys.signal(sys["SIG" .. name], sys.SIG_DFL) end
    local null = sys.open("/dev/null", sys.O_WRONLY)
    for number, descriptor in pairs { [0] = stdin, output, null } do sys.dup2(descriptor, number) end
    sys.close_range(3, 0xffffffff, 0)
    sys.execve(words[1], words, environment())
  end, { threads = true }))
  return setmetatable({ pid = pid, typing = typing }, Piped)
end

Piped.SIGNALS = { HUP = true, INT = true, QUIT = true, TERM = true, USR1 = true }

-- → whether it has ended; `status` tells how
function Piped:has_ended()
  if not self.status then
    local _, how, code = sys.waitpid(self.pid, sys.WNOHANG)
    self.status = how and { how, code }
  end
  return self.status ~= nil
end

function Piped:ended()
  support.eventually(function() return self:has_ended() end, "the end of casulo")
  return self.status
end

function Piped:__close()
  self.typing:close()
  if not self:has_ended() then
    sys.kill(self.pid, sys.SIGKILL)
    sys.waitpid(self.pid)
  end
end

-- A pipe that is full already. → its ends, and what it holds
local function full_pipe()
  local reader, writer = assert(sys.pipe2())
  assert(sys.fcntl(reader, sys.F_SETFL, sys.O_NONBLOCK))
  local filling <close> = assert(sys.open("/proc/self/fd/" .. writer:fileno(), sys.O_WRONLY | sys.O_NONBLOCK))
  return reader, writer, assert(sys.write(filling, ("."):rep(2097152)))
end

local function is_full(descriptor) return sys.poll({ { fd = descriptor, events = sys.POLLOUT } }, 0) == 0 end

local function children(pid) return support.read_file(("/proc/%d/task/%d/children"):format(pid, pid)) end

describe("output that nobody reads", function()
  -- What a script writes goes to a full pipe. It makes the file /mark/MARK when it has begun, or is about to end.
  local function unread(script, ...)
    local directory = support.tmpdir()
    local reader, writer, held = full_pipe()
    local words = { "--bind", directory .. ":/mark", ... }
    table.move({ "--", "/bin/sh", "-c", script }, 1, 4, #words + 1, words)
    local it = typed_to(writer, table.unpack(words))
    it.reader, it.writer, it.held = reader, writer, held
    support.eventually(function() return it:has_ended() or sys.stat(directory .. "/MARK") end, "the mark of the script")
    return it
  end

  -- Is about to end when a terminal, and casulo, hold what it has written.
  local ALL_BUT_LOST = "seq 1000; : >/mark/MARK"

  local function leave(it)
    it.reader:close()
    it.writer:close()
  end

  local function wait_for_command(it)
    support.eventually(function() return children(it.pid) == "" end, "the end of the command")
  end

  -- No multiple of them is what a terminal has room for, so one does not fit that poll has asked for.
  local LINES = [[command = { "/bin/sh", "-c", "yes $(seq 300)" }]]

  support.each_identity("in a terminal lets the timeout be kept, and a signal end the command", function()
    support.leaves_nothing(function()
      local it = screen(support.command(), "run", script_file(LINES .. ", timeout = 1"))
      assert.are.same({ "exit", 137 }, { it:ended() })
      it = screen(support.command(), "run", script_file(LINES))
      support.eventually(function() return is_full(it.slave) end, "the terminal is full")
      assert(sys.kill(it.pid, sys.SIGTERM))
      assert.are.same({ "exit", 143 }, { it:ended() })
    end)
  end)

  support.each_identity("in a pipe lets the timeout be kept, and a signal end the command", function()
    support.leaves_nothing(function()
      local it <close> = unread(": >/mark/MARK; exec yes", "--timeout", "1")
      assert.are.same({ "exit", 137 }, it:ended())
      leave(it)
      for _, name in ipairs { "TERM", "USR1" } do
        local other <close> = unread ": >/mark/MARK; exec yes"
        assert(sys.kill(other.pid, sys["SIG" .. name]))
        assert.are.same({ "exit", 128 + sys["SIG" .. name] }, other:ended(), name)
        leave(other)
      end
    end)
  end)

  support.each_identity("after the command's end is waited for until the timeout, or a signal", function()
    support.leaves_nothing(function()
      local it <close> = unread(ALL_BUT_LOST .. "; exit 3", "--timeout", "1")
      assert.are.same({ "exit", 3 }, it:ended())
      leave(it)
      for _, name in ipairs { "HUP", "INT", "QUIT", "TERM" } do
        local other <close> = unread(ALL_BUT_LOST .. "; exit 3")
        wait_for_command(other)
        assert(sys.kill(other.pid, sys.SIGWINCH))
        assert(sys.kill(other.pid, sys["SIG" .. name]))
        assert.are.same({ "exit", 3 }, other:ended(), name)
        leave(other)
      end
    end)
  end)

  support.each_identity("before the command's end is shown whole to who reads at last, and slowly", function()
    support.leaves_nothing(function()
      local expected = {}
      for i = 1, 1000 do expected[i] = i .. "\r\n" end
      for _, script in ipairs { ALL_BUT_LOST, "trap '" .. ALL_BUT_LOST .. "; exit 0' TERM; : >/mark/MARK; while :; do sleep 0.01; done" } do
        local it <close> = unread(script)
        if script:find "TERM" then assert(sys.kill(it.pid, sys.SIGTERM)) end
        wait_for_command(it)
        assert.is_false(it:has_ended())
        local shown = {}
        support.eventually(function()
          local text = sys.read(it.reader, 1000)
          shown[#shown + 1] = text
          return not text and it:has_ended()
        end, "the end of casulo")
        assert.are.equal(table.concat(expected), table.concat(shown):sub(it.held + 1))
        assert.are.same({ "exit", 0 }, it.status)
        leave(it)
      end
    end)
  end)

  support.each_identity("may come for ever from another process when the command has ended", function()
    support.leaves_nothing(function()
      local it <close> = unread([[
        t=$(tty)
        (trap "" HUP; head -c 10000 /dev/zero >$t; : >/mark/MARK; while [ -e $t ]; do cat /dev/zero >$t; done 2>/dev/null) &
        read line; exit 3]], "--share", "pid")
      assert(sys.write(it.typing, "go\n"))
      wait_for_command(it)
      local count = 0
      support.eventually(function() -- slower than that process writes
        local text = sys.read(it.reader, 4096)
        count = count + #(text or "")
        return not text and it:has_ended()
      end, "the end of casulo")
      assert.are.same({ "exit", 3 }, it.status)
      assert.is_true(count > it.held and count < it.held + 65536 + 4096, count)
      leave(it)
    end)
  end)
end)

describe("standard output for a terminal's content", function()
  support.each_identity("is written where others write, too", function()
    support.leaves_nothing(function()
      local file = script_file [[command = { "echo", "inside" }]]
      local status, out = support.sh(("echo before; %s run %s; echo after"):format(support.command(), file))
      assert.are.same({ 0, "before\ninside\r\nafter\n" }, { status, out })
    end)
  end)

  support.each_identity("may be what cannot be opened again: a socket, or the master of a terminal", function()
    support.leaves_nothing(function()
      for _, open in ipairs { function() return sys.socketpair(sys.AF_UNIX, sys.SOCK_STREAM, 0) end, open_terminal } do
        local a <close>, b = assert(open())
        local it <close> = typed_to(a, "--", "echo", "inside")
        assert.are.same({ "exit", 0 }, it:ended())
        assert.are.equal(1, sys.poll({ { fd = b, events = sys.POLLIN } }, 0))
        assert.are.equal("inside", sys.read(b, 100):match "%a+")
        b:close()
      end
    end)
  end)
end)
