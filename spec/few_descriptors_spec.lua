-- SPDX-License-Identifier: MIT
-- A caller with many descriptors: its children copy few of them.
local casulo = require "casulo"
local support = require "support"
local sys = require "casulo.sys"

local MANY, HIGH, SURVIVOR = 300, 600, 500
local FOREVER = { "sleep", "1000" }

-- Calls a function while this process has many descriptors, with high numbers, and one, SURVIVOR, that an exec leaves open.
local function with_many(body)
  support.leaves_nothing(function()
    local list, file <close> = {}, assert(sys.open("/dev/null", sys.O_RDONLY))
    local _ <close> = setmetatable(list, { __close = function()
      for _, fd in ipairs(list) do fd:close() end
      sys.close(SURVIVOR)
    end })
    for i = 1, MANY do list[i] = assert(sys.fcntl(file, sys.F_DUPFD_CLOEXEC, HIGH)) end
    assert(sys.dup2(file, SURVIVOR))
    body(list)
  end)
end

-- The numbers of a process's descriptors, as a set.
local function numbers_of(pid)
  local numbers = {}
  for _, name in ipairs(assert(sys.scandir(("/proc/%d/fd"):format(pid)))) do numbers[math.tointeger(tonumber(name))] = true end
  return numbers
end

local function table_size(pid) return tonumber(support.read_file(("/proc/%d/status"):format(pid)):match "FDSize:%s+(%d+)") end

describe("a program that is started with CLONE_FILES", function()
  -- Starts a child that waits until it may end. → the numbers of its descriptors
  local function in_child(flags, steps, values)
    local reader <close>, writer = sys.pipe2()
    local told <close>, tells = sys.pipe2()
    local _ <close> = tells
    local program = table.move(steps, 1, #steps, 1, {})
    for _, step in ipairs { { "dup2", reader, 0 }, { "dup2", tells, 1 }, { "execve", "/bin/cat", { "cat" }, {} } } do program[#program + 1] = step end
    local pid = assert(sys.clone(flags, sys.program(program), { values = values }))
    assert(sys.write(writer, "it runs"))
    assert.are.equal("it runs", sys.read(told, 10)) -- so the loader has closed what it opened
    local numbers, size = numbers_of(pid), table_size(pid)
    writer:close()
    assert.are.same({ pid, "exit", 0 }, { sys.waitpid(pid) })
    return numbers, size
  end

  it("has only the descriptors up to the highest that it needs", function()
    with_many(function()
      local inherited, size = in_child(0, {})
      assert.is_true(inherited[SURVIVOR])
      assert.is_true(size > HIGH)
      local few, small = in_child(sys.CLONE_FILES, {})
      assert.is_true(few[0] and few[1] and few[2])
      assert.is_nil(few[SURVIVOR])
      assert.is_true(small < SURVIVOR, small)
    end)
  end)

  it("has those that its steps and its inputs name", function()
    with_many(function(list)
      local numbers = in_child(sys.CLONE_FILES, { { "dup2", list[MANY], 70 }, { "dup2", { ref = "first" }, 71 } }, { first = list[1] })
      assert.is_true(numbers[70] and numbers[71] and numbers[SURVIVOR])
      assert.is_true((in_child(sys.CLONE_FILES, { { "fcntl", SURVIVOR, sys.F_GETFD } }))[SURVIVOR])
      assert.is_true((in_child(sys.CLONE_FILES, { { "fcntl", 0x7fffffff, sys.F_GETFD, tolerate = { sys.EBADF } } }))[SURVIVOR])
      assert.is_true((in_child(sys.CLONE_FILES, { { "fcntl", { ref = "it" }, sys.F_GETFD } }, { it = SURVIVOR }))[SURVIVOR])
    end)
  end)

  it("leaves the caller's as they are, also when it fails or is another user's", function()
    with_many(function()
      local before = numbers_of(sys.getpid())
      for _, steps in ipairs {
        { { "close_range", 0, 0xffffffff, 0 }, { "_exit", 0 } }, { { "chdir", "/nowhere" } }, { { "setresuid", -1, 5, -1 }, { "_exit", 0 } },
      } do
        local pid = sys.clone(sys.CLONE_FILES, sys.program(steps))
        if pid then sys.waitpid(pid) end
        assert.are.same(before, numbers_of(sys.getpid()))
      end
    end)
  end)

  it("is no function", function()
    assert.has_error(function() sys.clone(sys.CLONE_FILES, function() end) end)
  end)
end)

describe("a container of a caller with many descriptors", function()
  support.each_identity("has a table for few", function()
    with_many(function()
      local box = casulo.container { rootfs = support.rootfs(), command = FOREVER, stdin = "null", stdout = "null" }
      for _, options in ipairs { {}, { init = true } } do
        local p <close> = assert(box:with(options):start())
        local size = table_size(p.pid)
        assert.is_true(size < SURVIVOR, size)
        local q <close> = assert(p:exec { command = FOREVER })
        size = table_size(q.pid)
        assert.is_true(size < SURVIVOR, size)
      end
    end)
  end)

  it("is told of a table that could not be made", function()
    if not support.needs_root() or not support.has "strace" then return support.cannot_run "strace is not installed" end
    local script = support.tmpdir() .. "/start.lua"
    support.write_file(script, ([[
      local casulo = require "casulo"
      local process, err = casulo.container { rootfs = %q, command = { "true" } }:start()
      print(process, err.kind, err.call, err.errno, err)]]):format(support.rootfs()))
    local _, out = support.sh(("strace -f -o /dev/null -e inject=close_range:error=ENOMEM:when=1 lua5.4 %s"):format(script))
    local told = ("nil\tsetup\tclose_range\t%d\t"):format(sys.ENOMEM)
      .. "close_range(the first that is not needed, 4294967295, CLOSE_RANGE_UNSHARE): Cannot allocate memory"
    assert.are.equal(told, out:sub(1, #told))
  end)
end)

describe("a child with ids of its own", function()
  it("is given no descriptor in place of the one by which it locks", function()
    if not support.needs_root() or not support.has "strace" then return support.cannot_run "strace is not installed" end
    local script, trace = support.tmpdir() .. "/start.lua", support.tmpdir() .. "/trace"
    support.write_file(script, ([[
      local casulo = require "casulo"
      local fds, file = {}, io.open "/dev/null"
      for number = 3, 20 do fds[number] = file end
      assert(casulo.container { rootfs = %q, command = { "true" }, user = 7, fds = fds }:run().exit_code == 0)]]):format(support.rootfs()))
    local status, _, err = support.sh(("strace -f -o %s -e fcntl,dup3 lua5.4 %s"):format(trace, script))
    assert.are.equal(0, status, err)
    local text = support.read_file(trace)
    local number = text:match "fcntl%((%d+), F_SETLK,"
    assert.is_truthy(number and text:find "dup3%(%d+, 20, 0%) += 20", text)
    assert.is_nil(text:find(("dup3%%(%%d+, %s, "):format(number)))
  end)
end)

describe("many containers at once", function()
  it("leave the low numbers to what the next one needs", function()
    if not support.needs_root() then return end
    support.leaves_nothing(function()
      local box = casulo.container { rootfs = support.rootfs(), command = FOREVER, stdin = "null", stdout = "pipe", stderr = "pipe" }
      local list = {}
      support.limited(sys.RLIMIT_NOFILE, select(2, sys.getrlimit(sys.RLIMIT_NOFILE)), function() -- more than 1,024
        for i = 1, 50 do list[i] = assert(box:start()) end
        assert.is_true(table_size(list[50].pid) <= 256) -- as its own steps need: 128; some kernels double that
        assert.is_true(list[50]:pollfd() >= 1024 and list[50].stdout:fileno() >= 1024)
        for i = 1, 50 do list[i]:close() end
      end)
    end)
  end)
end)
