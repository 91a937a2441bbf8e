-- SPDX-License-Identifier: MIT
-- Containers that were made ahead.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(fields)
  local description = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", "echo $$; readlink /proc/self/ns/net" } }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function children()
  local list = {}
  for pid in support.read_file(("/proc/self/task/%d/children"):format(sys.getpid())):gmatch "%d+" do list[#list + 1] = math.tointeger(pid) end
  return list
end

local function kill(pid)
  sys.kill(pid, sys.SIGKILL)
  support.eventually(function() return support.read_file(("/proc/%d/stat"):format(pid)):find "%) Z" end, "a zombie")
end

describe("a pool", function()
  support.each_identity("hands out containers that were ready, each once, and then new ones", function()
    support.leaves_nothing(function()
      local pool <close> = assert(casulo.pool { box(), size = 3, stdout = "pipe" })
      local ready, found = children(), {}
      assert.are.equal(3, #ready)
      local spaces = {}
      for i = 1, 3 do spaces[i] = support.namespace(ready[i], "net") end
      for i = 1, 4 do
        local process <close> = assert(pool:start())
        local result = process:wait()
        found[i] = { process.pid, result.stdout:match "^(1)\n(net:%S+)\n$" }
      end
      for i = 1, 3 do assert.are.same({ ready[i], "1", spaces[i] }, found[i]) end
      assert.are.equal("1", found[4][2])
      assert.are.same({}, children())
      assert(pool:fill())
      assert.are.equal(3, #children())
    end)
  end)

  support.each_identity("makes others in place of those that were killed while they waited", function()
    support.leaves_nothing(function()
      local pool <close> = assert(casulo.pool { box(), size = 2, stdout = "pipe" })
      local first = children()
      kill(first[1])
      local process <close> = assert(pool:start())
      assert.are.equal(first[2], process.pid)
      assert.are.equal(0, process:wait().exit_code)
      assert(pool:fill())
      local second = children()
      for _, pid in ipairs(second) do kill(pid) end
      assert(pool:fill())
      local third = children()
      assert.are.equal(2, #third)
      for _, pid in ipairs(third) do assert.is_true(pid ~= second[1] and pid ~= second[2]) end
    end)
  end)

  it("says why a command cannot be executed, and why it cannot be filled", function()
    if not support.needs_root() then return end
    support.leaves_nothing(function()
      local pool <close> = assert(casulo.pool { box { command = { "/bin/nothing" } }, size = 1 })
      local process, err = pool:start()
      assert.is_nil(process)
      assert.are.equal("not_found", err.kind)
      local none, why = casulo.pool { box { rootfs = support.tmpdir() .. "/none" }, size = 2 }
      assert.is_nil(none)
      assert.are.equal("setup", why.kind)
    end)
  end)

  it("checks what it is made of", function()
    for message, settings in pairs {
      ["pool: expected a table, got 7"] = 7,
      ["pool[1]: expected a container, got nil"] = { size = 1 },
      ["pool.size: expected an integer from 1 to 65536, got 0"] = { box(), size = 0 },
      ["pool.name: a name is one container's, and a pool has many"] = { box { name = "one" }, size = 1 },
      ['pool: unknown field "sdtout"; did you mean stdout?'] = { box(), size = 1, sdtout = "pipe" },
      ['pool.timeout: expected seconds above 0, got "x\\ny"'] = { box(), size = 1, timeout = "x\ny" },
      ["pool.stdout: the command's terminal is its stdout; leave out one of tty and stdout"] = { box { tty = true }, size = 1, stdout = "pipe" },
    } do
      local ok, err = pcall(function() return (casulo.pool(settings)) end)
      assert.is_false(ok)
      local line = debug.getinfo(1, "l").currentline - 2
      assert.are.equal(("spec/pool_spec.lua:%d: %s"):format(line, message), (tostring(err):gsub("^.*spec/pool", "spec/pool")))
    end
  end)
end)
