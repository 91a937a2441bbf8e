-- SPDX-License-Identifier: MIT
-- The harness of `make soak`, in short, and that it notices what it is there for.
local casulo = require "casulo"
local death = require "soak.death"
local host = require "soak.host"
local support = require "support"
local sys = casulo.sys

describe("soak", function()
  it("finds nothing left behind by callers that are killed, and nothing lost where something is scarce", function()
    if not support.needs_root() then return end
    support.leaves_nothing(function()
      local status, out, err = support.sh "make -s --no-print-directory soak QUICK=1"
      assert.are.equal(0, status, out .. err)
      local tried, exceptions = out:match "soak: (%d+) tried, (%d+) exceptions\n$"
      assert.are.equal("0", exceptions)
      assert.is_true(tonumber(tried) > 400)
    end)
  end)

  it("notices a container that outlives its caller", function()
    if not support.needs_root() then return end
    local root = support.rootfs()
    support.in_child(function() assert(sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1)) end, function()
      local outliving = { seconds = 0.05, prepare = function()
        assert(casulo.container { rootfs = root, command = { "/bin/sleep", "1000" }, stdin = "null" }:start { detach = true })
        return function() sys.poll({}, 1000) end
      end }
      local problems
      for _ = 1, 50 do -- where a start takes long, the caller is killed before it
        problems = death.of_callers(outliving, { directories = {} }, "KILL", 1)
        if problems[1] then break end
      end
      local child = host.children(sys.getpid())
      sys.kill(math.tointeger(child), sys.SIGKILL)
      assert.is_nil(host.wait_for_none(10))
      assert.is_truthy(problems[1]:find("left a second later: %d+ %(/bin/sleep 1000"))
    end)
  end)
end)
