-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local support = require "support"
local sys, wait_any = casulo.sys, casulo.wait_any

local function box(script, fields)
  local description = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script } }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function remove(list, process)
  for i, each in ipairs(list) do
    if each == process then return table.remove(list, i) end
  end
  error "it was not in the list"
end

describe("wait_any", function()
  support.each_identity("gives the process that ended first, and its result", function()
    support.leaves_nothing(function()
      local first <close> = assert(box "read line; exit 1":start { stdin = "pipe" })
      local second <close> = assert(box "read line; echo x; exit 2":start { stdin = "pipe", stdout = "pipe" })
      assert.are.same({ nil, "timeout" }, { wait_any({ first, second }, 0.05) })
      second.stdin:close()
      local process, result, err = wait_any { first, second }
      assert.are.equal(second, process)
      assert.are.same({ exit_code = 2, stdout = "x\n" }, result)
      assert.is_nil(err)
      assert.are.equal(second, (wait_any { first, second })) -- until it is taken out
      first.stdin:close()
      assert.are.same({ exit_code = 1 }, select(2, wait_any { first }))
      assert.are.same({ exit_code = 1 }, first:wait())
    end)
  end)

  support.each_identity("serves 200 containers side by side from one loop, their output whole", function()
    support.leaves_nothing(function()
      local list, names = {}, {}
      for i = 1, 200 do
        -- 1 MB of a pattern of its own each, then the end of its standard error
        list[i] = assert(box(("yes 'container %d' | head -c 1048576; echo done %d >&2; exit %d"):format(i, i, i % 256))
          :start { stdout = "pipe", stderr = "pipe" })
        names[list[i]] = i
      end
      local seen = 0
      while #list > 0 do
        local process, result = wait_any(list, 100)
        assert(process, result)
        remove(list, process)
        local i = names[process]
        assert.are.equal(i % 256, result.exit_code)
        assert.are.equal(("done %d\n"):format(i), result.stderr)
        local line = ("container %d\n"):format(i)
        assert.is_true(result.stdout == line:rep(1048576 // #line + 1):sub(1, 1048576))
        seen = seen + 1
      end
      assert.are.equal(200, seen)
    end)
  end)

  support.each_identity("keeps every timeout, calls every function, writes every text", function()
    support.leaves_nothing(function()
      local text, out = ("x"):rep(1000000), {}
      local list = {
        assert(box "trap '' TERM; sleep 1000":start { timeout = 0.4 }),
        assert(box "while :; do echo x; done":start { timeout = 0.2, stdout = function() end }),
        assert(box "cat":start { stdin = text, stdout = function(chunk) out[#out + 1] = chunk end }),
      }
      local cat = list[3]
      while #list > 0 do
        local process, result = wait_any(list)
        assert.are.same(process == cat and { exit_code = 0 } or { timed_out = true, signal = sys.SIGKILL }, result)
        remove(list, process)
      end
      assert.is_true(table.concat(out) == text)
    end)
  end)

  support.each_identity("gives up in time although output never stops", function()
    local p <close> = assert(box "while :; do echo x; done":start { stdout = function() end })
    assert.are.same({ nil, "timeout" }, { wait_any({ p }, 0.1) })
  end)

  support.each_identity("passes an error of a function on, which ends that process alone", function()
    support.leaves_nothing(function()
      local other <close> = assert(box "read line; exit 6":start { stdin = "pipe" })
      local bad <close> = assert(box "echo x; sleep 1000":start { stdout = function() error({ mine = true }, 0) end })
      local ok, err = pcall(wait_any, { other, bad })
      assert.are.same({ false, { mine = true } }, { ok, err })
      assert.are.equal(bad, (wait_any { other, bad }))
      assert.are.same({ signal = sys.SIGKILL }, bad:wait())
      other.stdin:close()
      assert.are.same({ exit_code = 6 }, select(2, wait_any { other }))
    end)
  end)

  support.each_identity("may be called by a function that it calls", function()
    support.leaves_nothing(function()
      local inner
      local p <close> = assert(box "exit 5":start())
      local q <close> = assert(box "echo x; exit 6":start { stdout = function() inner = wait_any { p } end })
      local list, codes = { p, q }, {}
      while #list > 0 do
        local process, result = wait_any(list)
        codes[#codes + 1] = result.exit_code
        remove(list, process)
      end
      table.sort(codes)
      assert.are.same({ 5, 6 }, codes)
      assert.are.equal(p, inner)
    end)
  end)

  it("gives the error where a function of a plan failed", function()
    if not support.needs_root() then return end
    local job = require "casulo.process".job(casulo.plan { function() error "of the plan" end })
    job.flags = 0
    local p <close> = assert(require "casulo.process".start { job = job })
    local process, result, err = wait_any { p }
    assert.are.equal(p, process)
    assert.is_nil(result)
    assert.is_truthy(tostring(err):find "of the plan")
  end)

  it("raises for what is no list of processes", function()
    assert.error_matches(function() wait_any {} end, "^wait_any: expected a list of processes, got an empty one")
    assert.error_matches(function() wait_any() end, "wait_any: expected a list of processes, got nil")
    assert.error_matches(function() wait_any { 5 } end, "wait_any: item 1 is no process")
    local p <close> = assert(box "sleep 1000":start())
    assert.error_matches(function() wait_any { p, {} } end, "wait_any: item 2 is no process")
    assert.error_matches(function() wait_any(p) end, "wait_any: expected a list of processes, got an empty one")
    assert.error_matches(function() wait_any({ p }, "x") end, "^wait_any: expected seconds, got x")
  end)
end)
