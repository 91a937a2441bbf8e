-- SPDX-License-Identifier: MIT
-- make faults, in short: each call of some starts fails once; and what it says of a casulo that takes no notice.
local support = require "support"

-- → exit status, what it printed
local function faults(top, only)
  local status, out, err = support.sh(("sh '%s/faults/run.sh' 2 quick '%s'"):format(top, only))
  return status, out .. err
end

local function tells_of_each(only)
  support.leaves_nothing(function()
    local status, text = faults(".", only)
    assert.are.equal(0, status, text)
    local injections, exceptions = text:match "\nfaults: (%d+) injections in 1 scenarios: .* (%d+) exceptions\n$"
    assert.is_true(tonumber(injections) >= 10, text)
    assert.are.equal("0", exceptions)
  end)
end

describe("make faults", function()
  for _, only in ipairs { "run, a user by the command", "copy, a user in process", "kill, root in process" } do
    it("finds that each failure is told, or does no harm: " .. only, function()
      if support.needs_root() then tells_of_each(only) end
    end)
  end

  it("fails where a look that failed counts as an answer", function()
    if not support.needs_root() then return end
    local top = support.tmpdir()
    assert(os.execute(("cp -r lua faults '%s/' && mkdir '%s/build' && cp -r build/bin build/casulo '%s/build/'"):format(top, top, top)))
    local path = top .. "/lua/casulo/look.lua"
    local text, count = support.read_file(path):gsub("if not result and not IS_NONE%[errno%] then error%(message, 0%) end", "")
    assert.are.equal(1, count)
    support.write_file(path, text)
    local status, out = faults(top, "run, root in process")
    assert.are.equal(1, status, out)
    assert.is_truthy(out:find("process 1, newfstatat no. 1, %u+: a success that is not the clean one:\n%- "), out)
  end)
end)
