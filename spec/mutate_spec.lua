-- SPDX-License-Identifier: MIT
-- make mutate itself: what it says of a protection that is taken out, and of a step that nobody misses.
local support = require "support"

local function mutate(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = ("'%s'"):format(word) end
  local status, out, err = support.sh("sh mutate/run.sh 1 " .. table.concat(words, " "))
  assert.are.equal("", err)
  return status, out
end

describe("make mutate", function()
  it("names the test that notices a step or a flag that is missing", function()
    if not support.needs_root() then return end
    local status, text = mutate("clone: CLONE_NEWUTS", "container")
    assert.are.same({ 0, "noticed        clone: CLONE_NEWUTS\n               has PID 1, a name, a /proc and a mount table of its own (as root)\n" },
      { status, text })
    status, text = mutate("fsmount(proc context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC)  a mount of it, "
      .. "which has no place yet and no one can see, without MOUNT_ATTR_NOSUID", "container")
    assert.are.equal(0, status, text)
    assert.is_truthy(text:find "^noticed .*, without MOUNT_ATTR_NOSUID\n +has a read%-only /sys and a safe /proc %(as root%)\n$", text)
  end)

  it("says so when nothing starts without a step", function()
    if not support.needs_root() then return end
    local status, text = mutate("child: pivot_root", "container")
    assert.are.equal(0, status, text)
    assert.is_truthy(text:find "^needed .* pivot_root.*\n +cannot start: ", text)
  end)

  it("fails when no test notices", function()
    if not support.needs_root() then return end
    local status, text = mutate("--exactly", "start, child: a step of no plan", "container")
    assert.are.same({ 1, "UNNOTICED      start, child: a step of no plan\n               \n" }, { status, text })
  end)

  it("leaves the host as it was", function()
    if not support.needs_root() then return end
    support.leaves_nothing(function() mutate("clone: CLONE_NEWNS", "container") end)
  end)
end)
