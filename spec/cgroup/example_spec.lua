-- SPDX-License-Identifier: MIT
-- The example of limits, where the kernel keeps them.
local cgroup_support = require "cgroup_support"
local support = require "support"

local function numbers(text, pattern)
  local found = table.pack(text:match(pattern))
  for i, number in ipairs(found) do found[i] = tonumber(number) end
  return table.unpack(found)
end

describe("example", function()
  cgroup_support.it("14-limits", function()
    local out = support.example "14-limits"
    assert.is_truthy(out:find("memory:  64 MB of 32: dd has status 137, oom_killed is true\n", 1, true), out)
    assert.is_truthy(out:find "\npids:    12 more of 10: [^\n]*can't fork", out)
    assert.are.same({ 32 << 20, 1, 10 }, { numbers(out, "\nstats:   %d+ of (%d+) bytes, (%d+) of (%d+) processes; ") })
    local held, periods = numbers(out, "held back in (%d+) of (%d+) periods\n")
    assert.is_true(0 < held and held <= periods, out)
    local before = numbers(out, "\ncpu:     ([%d.]+) of a processor, of 0.2\n")
    local after = numbers(out, "\nupdate:  ([%d.]+) of a processor, of 0.6; 20 processes at most\n")
    assert.is_true(0 < before and before < after, out)
    assert.are.equal(0, numbers(out, "\nfreeze:  ([%d.]+) of a processor\n"))
    assert.is_true(numbers(out, "\nthaw:    ([%d.]+) of a processor\n$") > 0, out)
  end)
end)
