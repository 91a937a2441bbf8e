-- SPDX-License-Identifier: MIT
-- Whatever lies in a root file system, nothing on the host is written, made, mounted over or opened.
local casulo = require "casulo"
local hostile = require "hostile_support"
local support = require "support"
local sys = casulo.sys

local function run(root, fields)
  local description = { rootfs = root, command = { "/bin/true" }, timeout = 10 }
  if not fields.tty then description.stdin, description.stdout, description.stderr = "null", "null", "null" end
  for name, value in pairs(fields) do description[name] = value end
  local result, err = casulo.container(description):run()
  if result then assert.are.equal(0, result.exit_code) else assert.are.equal("setup", err.kind, tostring(err)) end
  return result
end

-- Calls a function with a root and the paths of a victim, which afterwards is as it was, as is the host; and nothing of it was opened
-- meanwhile.
local function spares(body)
  local paths = hostile.victim()
  local _ <close> = hostile.prepare(paths)
  local before, root = hostile.snapshot(paths.base), hostile.small_root()
  support.leaves_nothing(function()
    local witness <close> = hostile.witness(paths.base)
    body(root, paths)
    assert.are.equal("", witness:finish())
  end)
  assert.are.equal(before, hostile.snapshot(paths.base))
end

local function remove(path)
  if sys.lstat(path).mode & sys.S_IFMT ~= sys.S_IFDIR then return assert(sys.unlink(path)) end
  for _, name in ipairs(sys.scandir(path)) do remove(("%s/%s"):format(path, name)) end
  assert(sys.rmdir(path))
end

-- A place, and what lies beside it with a name that begins so.
local function clear(place)
  local directory, name = place:match "^(.*)/(.-)$"
  for _, found in ipairs(sys.scandir(directory)) do
    if found:sub(1, #name) == name then remove(("%s/%s"):format(directory, found)) end
  end
end

-- Plants each shape in a place, in turn, and calls a function; where the shape fits, it returns something.
local function attack(place, paths, shapes, fits, body)
  for _, shape in ipairs(shapes) do
    local name, plant, needs_root = table.unpack(shape)
    if support.is_root() or not needs_root then
      assert(plant(place, paths))
      local ok, result = pcall(body)
      assert(ok, ("%s in the place of %s: %s"):format(name, place, result))
      if name == fits then assert(result, place) end
      clear(place)
    end
  end
end

-- In the place of the last part of a target, and in that of the one above it.
local function attack_target(top, paths, shapes, fits, body)
  assert(sys.mkdir(top .. "/in", 493))
  attack(top .. "/in/target", paths, shapes, fits, body)
  assert(sys.rmdir(top .. "/in"))
  attack(top .. "/in", paths, shapes, "a directory", body)
end

local function at(make, paths, target)
  local mount = make(paths)
  mount.target = target
  return mount
end

describe("who watches the victim of a hostile root", function()
  support.each_identity("sees what happens to it in another mount namespace, so that the tests below can fail", function()
    local paths = hostile.victim()
    local _ <close> = hostile.prepare(paths)
    local before = hostile.snapshot(paths.base)
    local witness <close> = hostile.witness(paths.base)
    assert.are.equal(0, (support.sh(("unshare %s sh -c 'cd %s && : <victim/file && mkdir victim/new && : <>beside/pipe'"):format(
      support.is_root() and "-m" or "-rm", paths.base))))
    local seen = witness:finish()
    for _, line in ipairs { "open " .. paths.file, ("create %s/new"):format(paths.victim), "open " .. paths.pipe } do
      assert.is_truthy(seen:find(line .. "\n", 1, true), seen)
    end
    assert.are_not.equal(before, hostile.snapshot(paths.base))
  end)
end)

describe("a hostile root leads nothing outside:", function()
  for _, kind in ipairs(hostile.MOUNTS) do
    local name, make, fits = table.unpack(kind)
    support.each_identity("not " .. name, function()
      spares(function(root, paths)
        attack_target(root, paths, hostile.SHAPES, fits or "a directory", function()
          return run(root, { mounts = { at(make, paths, "/in/target") } })
        end)
      end)
    end)

    support.each_identity(("not %s in a directory that is bound in"):format(name), function()
      spares(function(root, paths)
        local data = support.tmpdir()
        attack(data .. "/target", paths, hostile.SHAPES, fits or "a directory", function()
          return run(root, { mounts = { { type = "bind", source = data, target = "/data" }, at(make, paths, "/data/target") } })
        end)
        attack(data .. "/in", paths, hostile.shapes_by "/proc", "a directory", function()
          return run(root, { mounts = { { type = "bind", source = data, target = "/data" }, at(make, paths, "/data/in/target") } })
        end)
      end)
    end)

    it(("not %s, where the host's /proc is mounted in it (as root)"):format(name), function()
      if not support.needs_root() then return end
      hostile.in_mount_namespace(function()
        spares(function(root, paths)
          assert(sys.mkdir(root .. "/host", 493))
          assert(sys.mount("/proc", root .. "/host", nil, sys.MS_BIND))
          attack_target(root, paths, hostile.shapes_by "/host", "a directory", function()
            return run(root, { mounts = { at(make, paths, "/in/target/and/more") } })
          end)
          assert(sys.umount2(root .. "/host", 0))
        end)
      end)
    end)
  end
end)

describe("a hostile root with anything in place of what is standard leads nothing outside:", function()
  local BY_HAND = { standard_mounts = false, mounts = {
    { type = "proc", target = "/proc" }, { type = "sysfs", target = "/sys" }, { type = "devpts", target = "/dev/pts" },
    { type = "bind", source = "/etc/hostname", target = "/dev/null" }, { type = "bind", source = "/etc/hostname", target = "/dev/console" },
    { type = "bind", source = "/etc/hostname", target = "/etc/hostname" },
  } }
  local PLACES = { "/proc", "/sys", "/dev", "/etc", "/tmp", "/bin/sh", "/dev/null", "/dev/console", "/dev/pts", "/dev/pts/ptmx", "/dev/ptmx",
    "/dev/shm", "/dev/fd", "/dev/tty", "/etc/hostname" }
  for _, place in ipairs(PLACES) do
    support.each_identity(place, function()
      spares(function(root, paths)
        assert(sys.mkdir(root .. "/dev", 493))
        assert(sys.mkdir(root .. "/dev/pts", 493))
        assert(sys.mkdir(root .. "/etc", 493))
        if sys.lstat(root .. place) then clear(root .. place) end
        attack(root .. place, paths, hostile.SHAPES, nil, function()
          run(root, { init = true, tty = true })
          run(root, BY_HAND)
        end)
      end)
    end)
  end
end)
