-- SPDX-License-Identifier: MIT
-- The command: run with limits, and what can be done by name with a container that has them.
local cgroup_support = require "cgroup_support"
local named_support = require "named_support"
local support = require "support"
local sys = require "casulo.sys"
local it, casulo = cgroup_support.it, named_support.casulo

local function says(expected, line)
  local status, out, err = casulo(line)
  assert.are.same({ expected, "" }, { status, err }, line)
  return out
end

-- Runs `casulo run` with a name in the background until the body is done. That gets the PID of PID 1.
local function while_runs(options, body)
  named_support.with_own_run(function()
    local pipe = named_support.popen(("%s run --name web --rootfs %s %s -- sh -c 'echo up; exec sleep 1000' </dev/null"):format(support.command(),
      support.rootfs(), options))
    assert.are.equal("up\n", pipe:read "L")
    local pid = support.eventually(function() return casulo("list --json") == 0 and says(0, "list --json"):match '"pid":(%d+)' end, "it is on record")
    local ok, message = pcall(body, math.tointeger(tonumber(pid)))
    casulo "kill web"
    pipe:close()
    if not ok then error(message, 0) end
  end)
end

describe("the command", function()
  it("runs with limits", function()
    local line = ("run -m 32m --pids 9 --cpus 0.5 --cpuset-cpus 0 --limit cpu_weight=7 --limit memory.low=8192 "
      .. "--mount type=cgroup2,target=/c --rootfs %s -- sh -c 'cd /c; cat memory.max pids.max cpu.max cpuset.cpus cpu.weight memory.low'")
    assert.are.equal("33554432\n9\n50000 100000\n0\n7\n8192\n", says(0, line:format(support.rootfs())))
  end)

  it("says that the kernel has killed for want of memory", function()
    local line = "run --memory 16m --limit swap=0 --rootfs %s -- dd if=/dev/zero of=/dev/null bs=64M count=1"
    local status, _, err = casulo(line:format(support.rootfs()))
    assert.are.same({ 137, "casulo: the kernel killed for want of memory (limits.memory)\n" }, { status, err })
  end)

  it("tells what a container uses, stops it, lets it go on, and changes its limits", function()
    while_runs("--memory 32m --pids 9", function(pid)
      local stats = says(0, "stats web")
      assert.is_truthy(stats:find "memory.max 33554432 bytes\n", stats)
      assert.is_truthy(stats:find "pids.current 1\n", stats)
      assert.is_truthy(says(0, "stats --json web"):find '"max":33554432')
      says(0, "freeze web")
      local status, _, err = casulo "exec web -- true"
      assert.are.same({ 125, "casulo: exec: the container is frozen; thaw lets it go on\n" }, { status, err })
      says(0, "thaw web")
      assert.are.equal("0::/\n", says(0, "exec web -- cat /proc/self/cgroup"))
      says(0, "update --pids 20 --memory 64m web")
      assert.are.equal("20\n", support.read_file(cgroup_support.directory_of(pid) .. "/pids.max"))
      assert.are.equal(125, (casulo "update web"))
      assert.are.equal(125, (casulo "update --memory lots web"))
      assert.are.equal(125, (casulo "stats nobody"))
    end)
  end)

  it("ends a container that is frozen", function()
    while_runs("--pids 9", function()
      says(0, "freeze web")
      says(0, "kill web")
    end)
  end)

  it("ends all that is in a container that shares the host's PID namespace", function()
    while_runs("--pids 9 --share pid", function(pid)
      local directory = cgroup_support.directory_of(pid)
      says(0, "exec web -- sh -c 'setsid sleep 1001 </dev/null >/dev/null 2>&1 &'")
      assert.is_truthy(support.read_file(directory .. "/cgroup.procs"):find "%d+\n%d+\n")
      says(0, "kill web")
      support.eventually(function() return not sys.stat(directory) end, "the cgroup is gone")
    end)
  end)
end)
