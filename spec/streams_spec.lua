-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local handle = require "casulo.handle"
local support = require "support"
local sys = casulo.sys

local function box(script, fields)
  local description = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script } }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function is_gone(pid)
  local _, _, errno = sys.kill(pid, 0)
  return errno == sys.ESRCH
end

-- As a program that does not ignore SIGPIPE: it would end this one.
local function with_default_sigpipe(body)
  local before = sys.signal(sys.SIGPIPE, sys.SIG_DFL)
  local ok, message = pcall(body)
  sys.signal(sys.SIGPIPE, before)
  if not ok then error(message, 0) end
end

local HUGE = ("0123456789abcdef"):rep(6553600) -- 100 MB

describe("a text for standard input", function()
  support.each_identity("is what the command reads, of any size", function()
    support.leaves_nothing(function()
      for _, size in ipairs { 0, 1, 4096, 65535, 65536, 65537, 1000000 } do
        local text = HUGE:sub(1, size)
        assert.are.same({ exit_code = 0, stdout = text }, box "cat":run { stdin = text, stdout = "pipe" })
      end
      local bytes = "line\n\0\255 null"
      assert.are.equal(bytes, box("cat", { stdin = bytes }):run { stdout = "pipe" }.stdout)
      assert.are.equal("104857600\n", box "wc -c":run { stdin = HUGE, stdout = "pipe" }.stdout)
    end)
  end)

  support.each_identity("goes out and comes back, 100 MB of it", function()
    local result = assert(box "cat":run { stdin = HUGE, stdout = "pipe", timeout = 120 })
    assert.are.equal(0, result.exit_code)
    assert.is_true(result.stdout == HUGE)
  end)

  support.each_identity("harms nobody when the command does not read it, or closes it early", function()
    with_default_sigpipe(function()
      support.leaves_nothing(function()
        for _, script in ipairs { "exit 3", "head -c 10 >/dev/null; exit 3", "exec <&-; sleep 0.05; exit 3",
          "head -c 200000 >/dev/null; exec <&-; head -c 300000 /dev/zero; exit 3" } do
          local result = assert(box(script):run { stdin = HUGE, stdout = "pipe", timeout = 60 })
          assert.are.equal(3, result.exit_code)
        end
      end)
    end)
  end)

  support.each_identity("blocks nobody while the command does not read it", function()
    support.leaves_nothing(function()
      local p <close> = assert(box "sleep 1000":start { stdin = HUGE })
      assert.are.equal("timeout", select(2, p:wait(0.05)))
      assert.are.equal("timeout", select(2, p:wait(0)))
      p:kill()
      assert.are.same({ signal = sys.SIGKILL }, p:wait())
    end)
  end)

  support.each_identity("leaves nothing behind where the command never runs", function()
    support.leaves_nothing(function()
      for _, text in ipairs { "short", HUGE } do
        assert.are.equal("not_found", select(2, box("", { command = { "nope" } }):run { stdin = text }).kind)
        assert.are.equal("setup", select(2, box("", { cwd = "/nope" }):run { stdin = text, stdout = print }).kind)
      end
    end)
  end)

  it("reaches the command of a plan, and of the command line", function()
    if not support.needs_root() then return end
    local text = HUGE:sub(1, 200000)
    local result = assert(casulo.unshared({ "uts" }, { { "execve", "/usr/bin/wc", { "wc", "-c" }, {} } },
      { stdin = text, stdout = "pipe" }))
    assert.are.equal("200000\n", result.stdout)
    local path = support.tmpdir() .. "/box.lua"
    support.write_file(path, ([[return { rootfs = %q, command = { "sh", "-c", "sleep 0.1; wc -c; head -c 300000 /dev/zero >&2" },
      stdin = ("x"):rep(200000), stderr = function(chunk) ERRORS = (ERRORS or 0) + #chunk end }]]):format(support.rootfs()))
    assert.are.same({ 0, "200000\n", "" }, { support.casulo { "run", path } })
  end)
end)

describe("a function for output", function()
  support.each_identity("gets every chunk, in order and whole, and the result has no text", function()
    support.leaves_nothing(function()
      local out, err = {}, {}
      local result = assert(box("head -c 20000000 /dev/zero & i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; wait"):run {
        stdout = function(chunk) out[#out + 1] = chunk end,
        stderr = function(chunk) err[#err + 1] = chunk end,
      })
      assert.are.same({ exit_code = 0 }, result)
      assert.are.equal(20000000, #table.concat(out))
      for _, chunk in ipairs(out) do assert(chunk ~= "") end
      local expected = {}
      for i = 0, 2999 do expected[i + 1] = ("line %d\n"):format(i) end
      assert.are.equal(table.concat(expected), table.concat(err))
    end)
  end)

  support.each_identity("is called while the command runs", function()
    local p
    local seen = {}
    p = assert(box "echo ready; read line; echo $line":start { stdin = "pipe", stdout = function(chunk)
      seen[#seen + 1] = chunk
      if #seen == 1 then sys.write(p.stdin, "answer\n") end
    end })
    assert.are.same({ exit_code = 0 }, p:wait(30))
    assert.are.same({ "ready\n", "answer\n" }, seen)
  end)

  support.each_identity("ends the container when it raises, and the error comes out as it is", function()
    support.leaves_nothing(function()
      local thrown = setmetatable({}, { __tostring = function() error "never asked" end })
      for _, err in ipairs { "a text", thrown, 5, false } do
        local pid
        local ok, got = pcall(function()
          local p <close> = assert(box "echo x; sleep 1000":start { stdout = function() error(err, 0) end, stderr = "pipe" })
          pid = p.pid
          p:wait()
        end)
        assert.is_false(ok)
        assert.are.equal(err, got)
        assert.is_true(is_gone(pid))
        ok, got = pcall(function() box "echo x; sleep 1000":run { stderr = "pipe", stdout = function() error(err, 0) end } end)
        assert.is_true(not ok and got == err)
      end
      local ok, got = pcall(function() return box "echo x":run { stdout = function() error() end } end)
      assert.are.same({ false }, { ok, got })
    end)
  end)

  support.each_identity("that raises leaves a handle that knows the end, outside of any scope", function()
    support.leaves_nothing(function()
      local p = assert(box "echo x; sleep 1000":start { stdout = function() error "mine" end })
      local ok, message = pcall(p.wait, p)
      assert.is_truthy(not ok and message:find "mine")
      assert.are.same({ signal = sys.SIGKILL }, p:wait())
      assert.is_true(is_gone(p.pid))
      local last = assert(box "echo x":start { stdout = function() error "mine" end }) -- raised after the end
      support.eventually(function() return sys.poll({ { fd = last:pollfd(), events = sys.POLLIN } }, 0) == 1 end)
      assert.is_false((pcall(last.wait, last)))
      assert.are.same({ exit_code = 0 }, last:wait())
    end)
  end)

  support.each_identity("may wait for its own process, end it, close it or run another", function()
    support.leaves_nothing(function()
      local p
      local chunks, inner = {}, nil
      p = assert(box "echo one; sleep 0.05; echo two; echo err >&2; exit 7":start { stderr = "pipe", stdout = function(chunk)
        chunks[#chunks + 1] = chunk
        if #chunks == 1 then inner = p:wait() end
      end })
      assert.are.same({ exit_code = 7, stderr = "err\n" }, p:wait())
      assert.are.same({ exit_code = 7, stderr = "err\n" }, inner)
      assert.are.same({ "one\n", "two\n" }, chunks)
      p = assert(box "echo x; sleep 1000":start { stdout = function() assert(p:kill()) end })
      assert.are.same({ signal = sys.SIGKILL }, p:wait())
      p = assert(box "echo x; echo y >&2; sleep 1000":start { stdout = function() p:close() end, stderr = "pipe" })
      assert.are.equal(sys.SIGKILL, p:wait().signal)
      local other
      assert(box "echo x":run { stdout = function() other = box "echo z":run { stdout = "pipe" } end })
      assert.are.same({ exit_code = 0, stdout = "z\n" }, other)
    end)
  end)

  support.each_identity("may wait a little for its own process", function()
    local p
    local out, err = 0, 0
    p = assert(box "head -c 3000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait":start {
      stdout = function(chunk) out = out + #chunk; p:wait(0) end,
      stderr = function(chunk) err = err + #chunk; p:wait(0.001) end })
    assert.are.same({ exit_code = 0 }, p:wait())
    assert.are.same({ 3000000, 3000000 }, { out, err })
  end)

  support.each_identity("may yield out of the wait", function()
    support.leaves_nothing(function()
      local count = 0
      local waiting = coroutine.wrap(function()
        return box "echo one; sleep 0.02; echo two":run { stdout = function(chunk) coroutine.yield(chunk) end }
      end)
      local last
      repeat
        last = waiting()
        count = count + 1
      until type(last) == "table"
      assert.are.same({ exit_code = 0 }, last)
      assert.are.equal(3, count)
      local dropped = coroutine.create(function() box "echo x; sleep 1000":run { stdout = coroutine.yield } end)
      assert.are.same({ true, "x\n" }, { coroutine.resume(dropped) })
      assert.is_true(coroutine.close(dropped))
    end)
  end)
end)

describe("the streams of a container", function()
  support.each_identity("are exactly those that it is given, by number", function()
    support.leaves_nothing(function()
      local directory = support.tmpdir()
      local file <close> = assert(io.open(directory .. "/out", "w"))
      local extra <close> = assert(sys.open("/etc/passwd", sys.O_RDONLY))
      assert(sys.fcntl(extra, sys.F_SETFD, 0)) -- as a careless host program leaves them
      local reader <close>, writer = sys.pipe2(0)
      local result = assert(box("exec ls /proc/self/fd", { fds = { [3] = file, [7] = extra } }):run {
        fds = { [3] = extra, [5] = writer, [200] = writer:fileno(), [255] = file }, stdout = "pipe" })
      assert.are.equal("0\n1\n2\n200\n255\n3\n4\n5\n", result.stdout) -- 4 is how ls reads the directory
      assert(box("echo three >&3; echo seven >&7; echo err >&2; echo out"):run { stdout = file, stderr = file, fds = { [3] = file, [7] = writer } })
      assert.are.equal("three\nerr\nout\n", support.read_file(directory .. "/out"))
      writer:close()
      assert.are.equal("seven\n", sys.read(reader, 100))
    end)
  end)

  -- Whatever a step of the start needs has one of these numbers.
  support.each_identity("may take every number that the start uses itself", function()
    support.leaves_nothing(function()
      local file <close> = assert(sys.open("/etc/passwd", sys.O_RDONLY))
      local fds, list = {}, { 0, 1, 2 }
      for number = 3, 255 do fds[number], list[#list + 1] = file, number end
      local result = assert(box('cd /proc/self/fd; echo *', { user = 0, mounts = { { type = "bind", source = "/etc", target = "/e" } } })
        :run { stdin = "null", stdout = "pipe", stderr = "null", fds = fds })
      local numbers = {}
      for number in result.stdout:gmatch "%d+" do numbers[#numbers + 1] = math.tointeger(number) end
      table.sort(numbers)
      while numbers[#numbers] > 255 do numbers[#numbers] = nil end -- how the shell reads the directory
      assert.are.same(list, numbers)
    end)
  end)

  support.each_identity("may be swapped among each other", function()
    local a, b = sys.pipe2(0)
    local c, d = sys.pipe2(0)
    -- the sources have each other's numbers
    assert(sys.dup2(b, 230)); assert(sys.dup2(d, 231)); b:close(); d:close()
    assert(box "echo 230 >&230; echo 231 >&231":run { fds = { [230] = 231, [231] = 230 } })
    sys.close(230); sys.close(231)
    assert.are.same({ "231\n", "230\n" }, { sys.read(a, 10), sys.read(c, 10) })
    a:close(); c:close()
  end)

  support.each_identity("are refused, by name, when they are closed before the start", function()
    support.leaves_nothing(function()
      local file, descriptor = assert(io.open "/dev/null"), assert(sys.open("/dev/null", sys.O_RDONLY))
      local boxes = { [box("true", { stdin = file })] = "stdin", [box("true", { stderr = descriptor })] = "stderr",
        [box("true", { fds = { [9] = file } })] = "fds[9]" }
      file:close()
      descriptor:close()
      for each, name in pairs(boxes) do
        local result, err = each:run { stdout = "pipe" }
        assert.is_nil(result)
        assert.are.same({ "setup", sys.EBADF, name .. ": it has been closed" }, { err.kind, err.errno, err.message })
      end
      local _, err = box "true":run { fds = { [3] = 99999 } }
      assert.are.same({ "setup", sys.EBADF, "fds[3]: fcntl 99999: Bad file descriptor" }, { err.kind, err.errno, err.message })
    end)
  end)

  support.each_identity("are the right ones where the caller has none itself", function()
    local directory = support.tmpdir()
    support.write_file(directory .. "/none.lua", ([[local casulo = require "casulo"
      local err, file = "", io.open("/etc/passwd")
      local result, why = casulo.container { rootfs = %q, command = { "/bin/sh", "-c", "wc -c; echo err >&2; wc -c <&3; ls /proc/self/fd" } }
        :run { stdin = ("x"):rep(200000), stdout = "pipe", stderr = function(chunk) err = err .. chunk end, fds = { [3] = file } }
      local out = io.open(%q, "w")
      out:write(result and result.stdout or tostring(why), err)
      out:close()]]):format(support.rootfs(), directory .. "/out"))
    support.sh(("$LUA %s/none.lua <&- >&- 2>&-"):format(directory))
    assert.are.equal(("200000\n%d\n0\n1\n2\n3\n4\nerr\n"):format(sys.stat("/etc/passwd").size), support.read_file(directory .. "/out"))
  end)

  it("of a plan of one's own have no further numbers", function()
    assert.error_matches(function() casulo.unshared({}, {}, { fds = { [3] = 0 } }) end, "unshared: fds is for containers")
    assert.error_matches(function() casulo.unshared({}, {}, { detach = true }) end, "unshared: detach is for containers")
  end)
end)

-- What a read would wait for comes late, so that no test waits for ever.
describe("output of which poll has told", function()
  local LATE = "sleep 10; echo late; echo late >&2"

  local function is_blocking(descriptor) return sys.fcntl(descriptor, sys.F_GETFL) & sys.O_NONBLOCK == 0 end

  -- Moves what poll is said to have found in all streams. → what came
  local function moved(process)
    local chunks = {}
    for _, flow in ipairs(process:entries()) do
      if flow.move then flow.revents = sys.POLLIN end
    end
    handle.move(process)
    for _, flow in ipairs(process.flows) do
      assert.are_not.equal(-1, flow.fd) -- it is looked at still
      for _, chunk in ipairs(flow.chunks or {}) do chunks[#chunks + 1] = chunk end
    end
    return chunks
  end

  support.each_identity("is not waited for when the command has taken it back", function()
    support.leaves_nothing(function()
      local given = {}
      local p <close> = assert(box("echo out; echo err >&2; " .. LATE):start {
        stdout = "pipe", stderr = function(chunk) given[#given + 1] = chunk end })
      assert.is_true(is_blocking(p.stdout)) -- the user's own to read
      for _, flow in ipairs(p:entries()) do
        if flow.move then
          assert.are.equal(1, sys.poll({ flow }, 30000))
          local again <close> = assert(sys.open("/proc/self/fd/" .. flow.fd:fileno(), sys.O_RDONLY)) -- as a command opens its stdout
          assert.is_truthy(sys.read(again, 100))
        end
      end
      assert.are.same({}, moved(p))
      assert.are.same({}, given)
      assert.are.same({ nil, "timeout" }, { p:wait(0) })
    end)
  end)

  support.each_identity("is not waited for in a terminal that has none", function()
    support.leaves_nothing(function()
      local p <close> = assert(box(LATE, { tty = true }):start())
      assert.is_true(is_blocking(p.tty))
      assert.are.same({}, moved(p))
    end)
  end)
end)

describe("a stream that fails", function()
  support.each_identity("is an error of the wait, which names it", function()
    support.leaves_nothing(function()
      local directory <close> = assert(sys.open("/", sys.O_RDONLY))
      local full <close> = assert(sys.open("/dev/full", sys.O_WRONLY))
      local p <close> = assert(box "read line; exit 5":start { stdin = "pipe", stdout = "pipe" })
      assert(sys.dup2(directory, p.stdout)) -- as by a caller that lost count of its numbers
      sys.write(p.stdin, "go\n")
      local result, err = p:wait()
      assert.is_nil(result)
      assert.is_truthy(tostring(err):find "^stdout: read %d+: Is a directory", tostring(err))
      local q <close> = assert(box "exec sleep 1000":start { stdin = HUGE })
      assert(sys.dup2(full, q.flows[1].descriptor))
      assert.are.same({ nil, "timeout" }, { q:wait(0.01) })
      q:kill()
      assert.is_truthy(tostring(select(2, q:wait())):find "^stdin: write %d+: No space left on device")
    end)
  end)

  support.each_identity("before the start keeps the command from it", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    local path = support.tmpdir() .. "/start.lua"
    support.write_file(path, ([[
      print(require "casulo".container { rootfs = %q, command = { "/bin/true" } }:run { stdin = "text" })]]):format(support.rootfs()))
    local _, out = support.sh(("%s && strace -f -o /dev/null -e inject=fcntl:error=EINVAL lua5.4 %s"):format(support.environment(), path))
    assert.is_truthy(out:find "^nil\tstdin: fcntl %d+: Invalid argument\n$", out)
  end)

  support.each_identity("to end is read no longer than the largest pipe holds", function()
    support.leaves_nothing(function()
      local p <close> = assert(box "exec sleep 1000":start())
      local q <close> = assert(p:exec { command = { "/bin/sh", "-c", "setsid yes & exec sleep 0.2" }, stdout = "pipe", timeout = 60 })
      support.eventually(function() return sys.poll({ { fd = q:pollfd(), events = sys.POLLIN } }, 0) == 1 end, "it has ended")
      local result = assert(q:wait())
      local handed = #result.stdout
      assert.are.equal(0, result.exit_code)
      assert.is_true(handed > 0 and handed <= 1048576 + 65536, handed)
    end)
  end)
end)
