-- SPDX-License-Identifier: MIT
-- make mutate itself: what it says of a protection that is taken out, and of a step that nobody misses.
local casulo = require "casulo"
local support = require "support"

-- All that is mutated must run.
local function can_mutate()
  if not support.needs_root() then return end
  if casulo.host.landlock_abi < 6 then return support.cannot_run "this takes the Landlock of Linux 6.12" end
  return true
end

local function mutate(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = ("'%s'"):format(word) end
  local status, out, err = support.sh("sh mutate/run.sh 1 " .. table.concat(words, " "))
  assert.are.equal("", err)
  return status, out
end

describe("make mutate", function()
  local function count(outcome)
    return ("\n1 mutations: %d noticed, %d needed, 0 harmless, %d UNNOTICED, in %%d+ seconds\n$"):format(
      outcome == "noticed" and 1 or 0, outcome == "needed" and 1 or 0, outcome == "UNNOTICED" and 1 or 0)
  end

  it("names the test that notices a step or a flag that is missing", function()
    if not can_mutate() then return end
    local status, text = mutate("clone: CLONE_NEWUTS", "container")
    assert.are.equal(0, status, text)
    assert.is_truthy(text:find("^noticed +clone: CLONE_NEWUTS\n +container_spec%.lua: has PID 1, a name, .* %(as root%)" .. count "noticed"), text)
    status, text = mutate("start, child: fsmount(proc context, attributes)  a mount of it, which has no place yet and no one can see, "
      .. "without MOUNT_ATTR_NOSUID", "container")
    assert.are.equal(0, status, text)
    assert.is_truthy(text:find "^noticed .*, without MOUNT_ATTR_NOSUID\n +container_spec%.lua: has file systems that give no", text)
  end)

  it("reaches the plans of the command, too", function()
    if not can_mutate() then return end
    local status, text = mutate('start, child: mount_setattr(root, "", AT_EMPTY_PATH|AT_RECURSIVE, attributes), without AT_RECURSIVE', "mounts")
    assert.are.equal(0, status, text)
    assert.is_truthy(text:find "\n +mounts_spec%.lua: opens nothing in a root, nor in a directory that is bound in", text)
  end)

  it("says so when nothing starts without a step", function()
    if not can_mutate() then return end
    local status, text = mutate("start, before: getpid", "container")
    assert.are.equal(0, status, text)
    assert.is_truthy(text:find("^needed .*getpid.*\n +cannot start: pidfd_open.*" .. count "needed"), text)
  end)

  it("fails when no test notices", function()
    if not can_mutate() then return end
    local status, text = mutate("--exactly", "start, child: a step of no plan", "container")
    assert.are.equal(1, status, text)
    assert.is_truthy(text:find("^UNNOTICED  start, child: a step of no plan\n +" .. count "UNNOTICED"), text)
    status, text = mutate("clone: CLONE_NEWUTS", "container: has its loopback up, and no other interface") -- of that spec, this test alone
    assert.are.equal(1, status, text)
    assert.is_truthy(text:find("^UNNOTICED  clone: CLONE_NEWUTS\n +" .. count "UNNOTICED"), text)
  end)

  it("leaves the host as it was", function()
    if not can_mutate() then return end
    support.leaves_nothing(function() mutate("clone: CLONE_NEWNS", "container") end)
  end)
end)
