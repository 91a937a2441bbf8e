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

local Screen = {}
Screen.__index = Screen

-- A terminal of 33 rows and 101 columns, in which a command runs as a shell would start it.
local function screen(...)
  local words, environment = { ... }, {}
  for _, name in ipairs { "PATH", "TERM" } do environment[#environment + 1] = ("%s=%s"):format(name, os.getenv(name) or "dumb") end
  local master = assert(sys.open("/dev/ptmx", sys.O_RDWR | sys.O_NOCTTY))
  assert(sys.ioctl(master, sys.TIOCSPTLCK, string.pack("=i4", 0)))
  assert(sys.ioctl(master, sys.TIOCSWINSZ, string.pack("=I2I2I2I2", 33, 101, 0, 0)))
  local slave = assert(sys.ioctl(master, sys.TIOCGPTPEER, sys.O_RDWR | sys.O_NOCTTY))
  local self = setmetatable({ master = master, slave = slave, text = "", settings = assert(sys.ioctl(slave, sys.TCGETS, TERMIOS)) }, Screen)
  self.pid = assert(sys.clone(0, function()
    assert(sys.setsid())
    assert(sys.ioctl(slave, sys.TIOCSCTTY, 0))
    for number = 0, 2 do sys.dup2(slave, number) end
    sys.close_range(3, 0xffffffff, 0)
    sys.execve(words[1], words, environment)
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
