-- SPDX-License-Identifier: MIT
-- Limits of what is read from a device and written to it, and what is told of that; on a loop device of the test's own.
local cgroup_support = require "cgroup_support"
local support = require "support"
local sys = require("casulo").sys
local box, it = cgroup_support.box, cgroup_support.it

local FOREVER = "exec sleep 1000"

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

local function output_of(line)
  local status, out, err = support.sh(line)
  assert.are.equal(0, status, err)
  return out:match "%S+"
end

-- Calls a function with the path of a block device of four megabytes, and its numbers.
local function with_device(body)
  os.execute "modprobe loop 2>/dev/null"
  if not sys.stat "/dev/loop-control" then return support.cannot_run "this host has no loop devices; a run in a machine that has covers it" end
  local image = support.tmpdir() .. "/image"
  support.write_file(image, ("\0"):rep(4 << 20))
  local device = output_of("losetup --find --show " .. image)
  local ok, message = pcall(body, device, output_of("lsblk --noheadings --nodeps --raw --output MAJ:MIN " .. device))
  assert(os.execute("losetup --detach " .. device))
  if not ok then error(message, 0) end
end

local function limit_of(p) return support.read_file(cgroup_support.directory_of(p.pid) .. "/io.max") end

describe("limits.io", function()
  it("slows down what is written to a device, which stats tell of", function()
    with_device(function(device, number)
      local script = ("dd if=/dev/zero of=%s bs=64k count=32 oflag=direct 2>&1 && echo done; "):format(device)
      local limits = { io = { [device] = { wbps = "1m" } } }
      local p <close> = assert(box(script .. FOREVER, limits, { mounts = { { type = "device", source = device } } }):start())
      local begin = now()
      assert.are.equal(number .. " rbps=max wbps=1048576 riops=max wiops=max\n", limit_of(p))
      local told = ""
      repeat told = told .. assert(sys.read(p.stdout, 4096)) until told:find "done\n$"
      assert.is_true(now() - begin > 1.5, now() - begin)
      assert.are.equal(2 << 20, p:stats().io[number].wbytes)
    end)
  end)

  it("is changed, and put back where another change fails", function()
    with_device(function(device, number)
      local p <close> = assert(box(FOREVER, { pids = 10 }):start())
      local function refused(settings)
        settings["zzz.max"] = "1"
        local ok, message = p:update(settings)
        assert.is_nil(ok)
        assert.is_truthy(message:find "^update: %[\"zzz.max\"%]: open ", message)
      end
      refused { io = { [device] = { rbps = "1m" } } }
      assert.are.equal("", limit_of(p))
      assert(p:update { io = { [number] = { rbps = "2m", wiops = 7 } } })
      local set = number .. " rbps=2097152 wbps=max riops=max wiops=7\n"
      assert.are.equal(set, limit_of(p))
      refused { io = { [device] = { rbps = "1m", wbps = "1m" } } }
      assert.are.equal(set, limit_of(p))
    end)
  end)
end)
