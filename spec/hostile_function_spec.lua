-- SPDX-License-Identifier: MIT
-- What a caller's function does in a child, or the collector at a bad moment: the caller's code runs once, and nothing is left.
local casulo = require "casulo"
local hostile = require "hostile_values"
local named_support = require "named_support"
local support = require "support"
local sys_support = require "sys_support"
local sys = casulo.sys

-- Runs a function as a step of a plan. → the result or nil, the error as a string, how often the caller came out of it, in all processes
local function as_step(body)
  local path = support.tmpdir() .. "/times"
  local result, err = casulo.unshared(support.mount_namespaces(), { body }, { stderr = "null" })
  local file = assert(io.open(path, "a"))
  file:write "x"
  file:close()
  return result, err and tostring(err), #support.read_file(path)
end

local function fails(pattern, body)
  support.leaves_nothing(function()
    local result, err, times = as_step(body)
    assert.is_nil(result)
    assert.is_truthy(err:find(pattern), err)
    assert.is_nil(err:find "\n")
    assert.are.equal(1, times)
  end)
end

local function ends(expected, body)
  support.leaves_nothing(function()
    local result, err, times = as_step(body)
    assert.are.same({ expected, 1 }, { result and (result.exit_code or result.signal), times }, err)
  end)
end

describe("a function in a child", function()
  it("may raise anything", function()
    fails("nil", function() error() end)
    fails("a table", function() error(setmetatable({}, { __tostring = function() return "a table\nof two lines" end })) end)
    fails("an error that cannot be told", function() error(hostile.raising()) end)
    fails("^table: ", function() error {} end)
    fails("stack overflow", function()
      local function deeper() return 1 + deeper() end
      deeper()
    end)
    fails("attempt to yield", function() coroutine.yield() end)
  end)

  it("may end its process by itself", function()
    ends(3, function() os.exit(3) end)
    ends(4, function() os.exit(4, true) end)
    ends(5, function() sys._exit(5) end)
    ends(0, function() return hostile.raising() and nil end)
    ends(9, function() sys.kill(sys.getpid(), 9) end)
    ends(6, function() coroutine.wrap(function() os.exit(6, true) end)() end)
    ends(0, function() setmetatable({}, { __gc = function() error "in a finalizer" end }) collectgarbage() end)
  end)

  it("ends it whatever it returns or raises, called by clone", function()
    support.leaves_nothing(function()
      for _, case in ipairs {
        { 7, function() return 7 end }, { 1, function() return 256 end }, { 1, function() return -1 end }, { 1, function() return 0.5 end },
        { 0, function() return true end }, { 1, function() return false end }, { 0, function() return {} end },
        { 8, function() os.exit(8, true) end }, { 0, function() local _ <close> = setmetatable({}, { __close = function() end }) end },
      } do
        local pid = assert(sys.clone(0, case[2], { threads = true }))
        assert.are.same({ pid, "exit", case[1] }, { sys.waitpid(pid) })
      end
    end)
  end)

  it("may be called in a coroutine, and start containers itself", function()
    local rootfs = support.rootfs()
    local inner = function()
      local box = casulo.container { rootfs = rootfs, command = { "/bin/true" } }
      assert(box:run())
      assert(casulo.unshared({ "mount" }, { function() assert(box:run()) end }))
    end
    ends(0, inner)
    local result
    coroutine.wrap(function() result = as_step(inner) end)()
    assert.are.equal(0, result.exit_code)
  end)

  it("cannot run again in the caller what stands behind its start", function()
    support.leaves_nothing(function()
      local path = support.tmpdir() .. "/lines"
      local code = ([[
        local casulo = require "casulo"
        local function note(text)
          local file <close> = io.open(%q, "a")
          file:write(text)
        end
        local closing <close> = setmetatable({}, { __close = function() note "closed " end })
        casulo.unshared({ "mount" }, { function() error { } end }, { stderr = "null" })
        pcall(casulo.unshared, { "mount" }, { function() os.exit(0, true) end })
        note "after "
      ]]):format(path)
      local script = support.tmpdir() .. "/script.lua"
      support.write_file(script, code)
      assert.are.equal(0, (support.sh("$LUA " .. script)))
      assert.are.equal("after closed ", support.read_file(path))
    end)
  end)
end)

describe("metamethods of a caller", function()
  local program
  before_each(function() program = sys.program { { "fcntl", { ref = "fd" }, sys.F_GETFD }, { "_exit", 0 } } end)

  local function started(pid, ...)
    if pid then sys.waitpid(pid) end
    return pid, ...
  end

  it("cannot mix two starts of one program", function()
    support.leaves_nothing(function()
      local options = setmetatable({ values = { fd = 0 } }, { __index = function(_, name)
        if name == "cgroup" then started(sys.clone(0, program, { values = { fd = 9999 } })) end
      end })
      assert.is_truthy(started(sys.clone(0, program, options)))
      local inner = { sys.clone(0, program, { values = { fd = 9999 } }) }
      assert.are.same({ sys.EBADF, 1 }, { inner[3], inner[4] })
    end)
  end)

  it("give no values to a program", function()
    local values = setmetatable({}, { __index = function() return 0 end })
    sys_support.raises('clone: no value for ref "fd"', sys.clone, 0, program, { values = values })
  end)

  it("hide no unknown option, nor another call, behind a NUL", function()
    sys_support.raises("unknown option", sys.clone, 0, program, { ["values\0"] = {} })
    sys_support.raises("expected the name of a call first", sys.program, { { "chdir\0x", "/" } })
    local named = sys.program { { "fcntl", { ref = "fd\0x" }, sys.F_GETFD } }
    sys_support.raises("clone: no value for ref", sys.clone, 0, named, { values = { fd = 0 } })
  end)
end)

named_support.each_identity("the collector gives up a name although the lock for another one is held", function()
  local box = casulo.container { rootfs = support.rootfs(), command = { "/bin/cat" }, stdin = "pipe" }
  local rename, first = sys.rename, assert(box:start { name = "hostile-first" })
  local _ <close> = setmetatable({}, { __close = function() sys.rename = rename end })
  sys.rename = function(...)
    first = nil
    collectgarbage()
    return rename(...)
  end
  assert.is_truthy(first)
  local second <close> = assert(box:start { name = "hostile-second" })
  assert.is_nil(first)
  assert.is_nil(require "casulo.state".find "hostile-first")
  assert.are.equal(second.pid, require "casulo.state".find "hostile-second".pid)
end)

it("of two descriptors that another program sends at once, one comes, and none is left behind", function()
  local sender = require "hostile_support".compile "payload/two_descriptors.c"
  support.leaves_nothing(function()
    local here <close>, there = sys.socketpair(sys.AF_UNIX, sys.SOCK_STREAM, 0)
    local pid = assert(sys.clone(0, sys.program { { "dup2", there, 0 }, { "execve", sender, { "sender" }, {} } }))
    assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
    there:close()
    local bytes, descriptor = sys.recvmsg(here, 5)
    assert.are.equal("x", bytes)
    descriptor:close()
  end)
end)

it("a terminal that ioctl opens is close-on-exec", function()
  support.leaves_nothing(function()
    local master <close> = assert(sys.open("/dev/ptmx", sys.O_RDWR | sys.O_NOCTTY))
    assert(sys.ioctl(master, sys.TIOCSPTLCK, string.pack("i", 0)))
    local slave <close> = assert(sys.ioctl(master, sys.TIOCGPTPEER, sys.O_RDWR | sys.O_NOCTTY))
    assert.are.equal(sys.FD_CLOEXEC, sys.fcntl(slave, sys.F_GETFD))
  end)
end)
