-- SPDX-License-Identifier: MIT
-- The command with a file and options beside it; and where it lacks memory, or somebody who reads what it shows.
local support = require "support"

local function file_of(fields)
  local path = support.tmpdir() .. "/box.lua"
  support.write_file(path, ("return { rootfs = %q, %s }"):format(support.rootfs(), fields))
  return path
end

describe("options beside a file", function()
  support.each_identity("are added to its variables and mounts, and take the place of the rest", function()
    local file = file_of "hostname = 'file', env = { A = '1', B = '2' }, mounts = { { type = 'tmpfs', target = '/one' } }"
    local status, out, err = support.casulo { "run", "--env", "B=3", "--env", "C=4", "--tmpfs", "/two", "--hostname", "line", file, "--",
      "sh", "-c", "echo $A$B$C; hostname; grep -c -e ' /one ' -e ' /two ' /proc/mounts" }
    assert.are.same({ 0, "134\nline\n2\n", "" }, { status, out, err })
  end)

  it("are added to its limits", function()
    local function written(words)
      local _, text, err = support.casulo(words)
      assert.are.equal("", err)
      local found = {}
      for file, value in text:gmatch 'write%(([%w_.]+), "([^"]+)"' do found[file] = value end
      return found
    end
    local found = written { "explain", "--pids", "9", "-m", "8m", "--cpus", "0.5", "--limit", "cpu_weight=7", "--limit", "memory.low=4k",
      file_of "limits = { pids = 5, swap = 0 }" }
    assert.are.same({ "9", "8388608", "50000 100000", "7", "4k", "0" }, { found["pids.max"], found["memory.max"], found["cpu.max"],
      found["cpu.weight"], found["memory.low"], found["memory.swap.max"] })
    assert.are.same({ 125, "", 'casulo: --limit: expected NAME=VALUE, got "pids"\n' },
      { support.casulo { "explain", "--limit", "pids", "--host" } })
  end)

  it("leave a field that is no table to the check", function()
    local status, _, err = support.casulo { "explain", "--env", "A=1", file_of "env = 5" }
    assert.are.equal(125, status)
    assert.is_truthy(err:find("container.env: ", 1, true), err)
  end)
end)

describe("the command", function()
  it("says that there is too little memory for it to begin", function()
    local status, out, err = support.sh(("ulimit -d 300; exec %s explain --host -- true"):format(support.command()))
    assert.are.same({ 125, "", "casulo: not enough memory\n" }, { status, out, err })
  end)

  support.each_identity("ends with its command where nobody reads what a terminal shows", function()
    local status = support.tmpdir() .. "/status"
    -- more than the terminal, the pipe and the command hold
    local line = "trap '' PIPE; { timeout 60 %s run -t --rootfs %s -- sh -c 'yes | head -c 500000; exit 3'; echo $? >%s; } | :"
    support.leaves_nothing(function() support.sh(line:format(support.command(), support.rootfs(), status)) end)
    assert.are.equal("3\n", support.read_file(status))
  end)
end)
