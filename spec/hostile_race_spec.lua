-- SPDX-License-Identifier: MIT
-- A host process changes a hostile root while containers start in it.
local casulo = require "casulo"
local hostile = require "hostile_support"
local support = require "support"
local sys = require "casulo.sys"

local STARTS = 1000

-- In a root, and in a directory that is bound in: what is exchanged with what. Where `in` leads to the victim, `in/directory` and
-- `in/file` are the victim's.
local function prepare(top, paths)
  local pairs_of = {}
  local function exchange(name, other)
    pairs_of[#pairs_of + 1] = ("%s/%s"):format(top, name)
    pairs_of[#pairs_of + 1] = other:sub(1, 1) == "/" and other or ("%s/%s"):format(top, other)
  end
  local up = ("../"):rep(24)
  assert(os.execute(([[
    cd '%s' && mkdir -p target parent/directory above/directory moved/deep outside-in work bin && touch parent/file above/file file
    ln -s '%s' target-link; ln -s '%s' parent-link; ln -s '%s' above-link; ln -s '%s' file-link; ln -s /proc/self/fd/%s work-link
    ln -s 'moved/deep/../../%s' climb; cp /bin/busybox bin/true; cp bin/true bin/sh
    printf '#!/bin/true\n' >bin/race; chmod 755 bin/race; ln -s /proc/self/exe race-link]]):format(
    top, paths.directory, paths.victim, up .. paths.victim:sub(2), up .. paths.file:sub(2), paths.open, "victim/directory")))
  exchange("target", "target-link")
  exchange("parent", "parent-link")
  exchange("above", "above-link")
  exchange("file", "file-link")
  exchange("work", "work-link")
  exchange("bin/race", "race-link")
  exchange("moved/deep", paths.base .. "/outside/deep") -- from there, where it has come to lie beside the victim, .. leads to it
  return pairs_of
end

-- What is started, in turn: a target of each kind of mount.
local function targets(prefix)
  local list = {}
  for _, target in ipairs { "/target", "/target/below", "/parent/directory", "/above/directory", "/climb", "/climb/below" } do
    for _, kind in ipairs(hostile.MOUNTS) do
      if not kind[3] then list[#list + 1] = { kind[2], prefix .. target } end
    end
  end
  for _, target in ipairs { "/file", "/parent/file", "/above/file", "/target/file" } do
    for _, kind in ipairs(hostile.MOUNTS) do
      if kind[3] then list[#list + 1] = { kind[2], prefix .. target } end
    end
  end
  return list
end

local function boxes(root, data, paths)
  local list = {}
  local base = casulo.container { rootfs = root, command = { "/bin/true" }, stdin = "null", stdout = "null", stderr = "null", timeout = 10 }
  for _, each in ipairs(targets "") do
    local mount = each[1](paths)
    mount.target = each[2]
    list[#list + 1] = base:with { mounts = { mount } }
  end
  for _, each in ipairs(targets "/data") do
    local mount = each[1](paths)
    mount.target = each[2]
    list[#list + 1] = base:with { mounts = { { type = "bind", source = data, target = "/data" }, mount } }
  end
  for _ = 1, 10 do
    for _, cwd in ipairs { "/work", "/climb" } do list[#list + 1] = base:with { cwd = cwd, command = { "/bin/sh", "-c", "echo >mark" } } end
    list[#list + 1] = base:with { command = { "/bin/race" } }
  end
  return list
end

describe("a root that changes while containers start in it", function()
  support.each_identity("leads nothing outside", function()
    local paths, root, data = hostile.victim(), hostile.small_root(), support.tmpdir()
    assert(os.execute(("mkdir -p '%s/outside/deep'"):format(paths.base)))
    local _ <close> = hostile.prepare(paths)
    local exchanged = table.move(prepare(data, paths), 1, 12, 15, prepare(root, paths)) -- all but the last, which leads outside
    local before = { hostile.snapshot(paths.victim), hostile.snapshot(paths.source) }
    local list, ran, refused = boxes(root, data, paths), 0, 0
    support.leaves_nothing(function()
      local witness <close> = hostile.witness(paths.victim, paths.source)
      local swapper <close> = hostile.companion { hostile.compile "swapper.c", table.unpack(exchanged) }
      for i = 1, STARTS do
        local result, err = list[i % #list + 1]:run()
        if result then
          ran = ran + 1
          assert.is_true(result.exit_code == 0 or result.exit_code == 125, result.exit_code) -- casulo-init, where it is its own command
        else
          refused = refused + 1
          assert.is_true(err.errno ~= 0, tostring(err))
        end
      end
      assert.are.equal("", swapper:finish())
      assert.are.equal("", witness:finish())
    end)
    assert.are.same(before, { hostile.snapshot(paths.victim), hostile.snapshot(paths.source) })
    assert.is_true(ran > STARTS / 10 and refused > STARTS / 10, ("%d ran, %d were refused"):format(ran, refused))
  end)

  -- Through the host's /proc a link of the root leads to the root of any process of the host's.
  it("leads nothing outside in the places of casulo's own mounts, where the host's /proc is in it", function()
    if not support.needs_root() then return end
    local paths, root = hostile.victim(), hostile.small_root()
    local before = hostile.snapshot(paths.victim)
    hostile.in_mount_namespace(function()
      assert(os.execute(("cd '%s' && mkdir proc dev && mount --rbind /proc proc && ln -s /proc/%d/root%s dev-link"):format(
        root, sys.getpid(), paths.victim)))
      local box = casulo.container { rootfs = root, command = { "/bin/true" }, stdin = "null", stdout = "null", stderr = "null", timeout = 10 }
      local swapper <close> = hostile.companion { hostile.compile "swapper.c", root .. "/dev", root .. "/dev-link" }
      local ran = 0
      for _ = 1, 500 do
        if box:run() then ran = ran + 1 end
      end
      assert.are.equal("", swapper:finish())
      assert.is_true(ran > 0 and ran < 500, ran)
    end)
    assert.are.equal(before, hostile.snapshot(paths.victim))
  end)
end)
