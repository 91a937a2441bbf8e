-- SPDX-License-Identifier: MIT
-- sys.clone with a function, which runs in a copy of its caller.
local support = require "support"
local sys = require "casulo.sys"

local test = require "sys_support".test

-- Runs a function in a clone whose standard error is a pipe. → standard error, how it ended, code
local function run(body, flags)
  local reader <close>, writer = sys.pipe2(0)
  local own = sys.getpid()
  local ok, pid = pcall(sys.clone, flags or 0, function()
    sys.dup2(writer, 2)
    return body()
  end)
  if sys.getpid() ~= own then sys._exit(99) end -- a child that came back into its caller's code
  assert.is_true(ok, pid)
  writer:close()
  local text = sys.read(reader, 4096)
  return text, select(2, sys.waitpid(pid))
end

describe("a clone with a function", function()
  test("exits with what the function returns", function()
    for _, case in ipairs {
      { 0 }, { 0, 0 }, { 7, 7 }, { 255, 255 }, { 7, 7.0 }, { 0, true }, { 1, false }, { 1, 256 }, { 1, -1 }, { 1, 2.5 },
    } do
      assert.are.same({ "", "exit", case[1] }, { run(function() return case[2] end) })
    end
    assert.are.same({ "", "exit", 5 }, { run(function() os.exit(5) end) })
    assert.are.same({ "", "exit", 1 }, { run(function() os.exit(false, true) end) })
    assert.are.same({ "", "signal", sys.SIGKILL }, { run(function() sys.kill(sys.getpid(), sys.SIGKILL) end) })
    assert.are.same({ "x\n", "exit", 4 }, { run(function() sys.execve("/bin/sh", { "sh", "-c", "echo x >&2; exit 4" }, {}) end) })
  end)

  test("says on standard error what went wrong, exits with 1 and never comes back", function()
    local function object(to_string) return setmetatable({}, { __tostring = to_string }) end
    assert.are.same({ "oh no\n", "exit", 1 }, { run(function() error("oh no", 0) end) })
    assert.are.same({ "nil\n", "exit", 1 }, { run(function() error() end) })
    assert.are.same({ "an object\n", "exit", 1 }, { run(function() error(object(function() return "an object" end)) end) })
    local text, how, code
    coroutine.wrap(function() text, how, code = run(coroutine.yield) end)()
    assert.are.same({ "exit", 1 }, { how, code })
    assert.is_truthy(text:find "attempt to yield", text)
  end)

  test("never comes back, even when the error cannot be told", function()
    for _, to_string in ipairs { function() error "once more" end, function() return {} end } do
      local _, how, code = run(function() error(setmetatable({}, { __tostring = to_string })) end)
      assert.are.same({ "exit", 1 }, { how, code })
    end
  end)

  test("runs in a copy, and in the namespaces that are new", function()
    if not support.needs_root() then return end
    local seen = 0
    local uts <const> = support.namespace("self", "uts")
    assert.are.same({ "", "exit", 0 }, { run(function()
      seen = 1
      assert(sys.getpid() == 1, "not PID 1")
      assert(sys.sethostname "sag")
      return sys.gethostname() == "sag" and 0 or 2
    end, sys.CLONE_NEWPID | sys.CLONE_NEWUTS) })
    assert.are.equal(0, seen)
    assert.are.equal(uts, support.namespace("self", "uts"))
  end)

  test("writes what the caller had buffered once", function()
    local status, out, err = support.sh [[$LUA -e '
      local sys = require "casulo.sys"
      io.write "before "
      sys.waitpid((sys.clone(0, function() io.write "child " end)))
      sys.waitpid((sys.clone(0, function() io.write "exits " os.exit(0) end)))
      io.write "after"']]
    assert.are.same({ 0, "before child exits after", "" }, { status, out, err })
  end)

  test("leaves its caller's variables to be closed by the caller alone", function()
    local status, out = support.sh [[$LUA -e '
      local sys = require "casulo.sys"
      local mark <close> = setmetatable({}, { __close = function() print "closed" end })
      sys.waitpid((sys.clone(0, function() error "x" end)))']]
    assert.are.same({ 0, "closed\n" }, { status, out })
  end)

  test("is refused in a process with several threads, unless asked for", function()
    if not support.has "gcc" then return support.cannot_run "gcc is not installed" end
    local directory = support.tmpdir()
    support.write_file(directory .. "/thread.c", [[
      #include <pthread.h>
      #include <unistd.h>
      static void *wait(void *p) { for (;;) pause(); return p; }
      int start(void *L) { pthread_t t; (void)L; return pthread_create(&t, 0, wait, 0) != 0; }]])
    local status, out = support.sh(([[cd %s && gcc -shared -fPIC -o thread.so thread.c -lpthread && $LUA -e '
      local sys = require "casulo.sys"
      assert(package.loadlib("./thread.so", "start"))()
      print((select(2, pcall(sys.clone, 0, function() end)):match "several threads"))
      print(select(2, sys.waitpid((sys.clone(0, function() return 3 end, { threads = true })))))
      print(select(2, sys.waitpid((sys.clone(0, sys.program { { "setsid" } })))))']]):format(directory))
    assert.are.same({ 0, "several threads\nexit\t3\nexit\t0\n" }, { status, out })
  end)
end)
