-- SPDX-License-Identifier: MIT
-- What a description may mount: devices by name, and what no device node opens.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(script, fields)
  local raw = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script }, stdout = "pipe", stderr = "pipe", timeout = 60 }
  for name, value in pairs(fields or {}) do raw[name] = value end
  return casulo.container(raw)
end

local function output(script, fields)
  local result = assert(box(script, fields):run())
  return (result.stdout .. result.stderr):gsub("\n$", "")
end

local function refused(expected, mount, fields)
  local whole = { mounts = { mount } }
  for name, value in pairs(fields or {}) do whole[name] = value end
  local ok, message = pcall(function() return (box("true", whole)) end)
  assert.is_false(ok, "it was accepted")
  local text = tostring(message):gsub("^[^\n]*mounts_spec%.lua:%d+: ", "")
  assert.are.equal(expected, text:sub(1, #expected))
end

-- A tree with a node of the device of /dev/zero in it, which everyone may read and write.
local function with_node()
  local directory = support.tmpdir()
  assert(sys.mknod(directory .. "/zero", sys.S_IFCHR | 438, 1 << 8 | 5))
  assert(sys.chmod(directory .. "/zero", 438))
  return directory
end

describe("a device node", function()
  it("opens nothing in a root, nor in a directory that is bound in, nor in what is mounted below", function()
    if not support.needs_root() then return end
    local root, data = casulo.rootfs.busybox(support.tmpdir() .. "/root"), with_node()
    for _, directory in ipairs { root, root .. "/tmp" } do
      assert(sys.mknod(directory .. "/zero", sys.S_IFCHR | 438, 1 << 8 | 5))
    end
    local read = "for f in /zero /tmp/zero /data/zero /data/below/zero; do head -c 1 $f | wc -c; done 2>&1 | grep -c denied"
    assert(sys.mkdir(data .. "/below", 493))
    local script = support.tmpdir() .. "/box.lua"
    support.write_file(script, ("return { rootfs = %q, command = { 'sh', '-c', %q }, mounts = { { type = 'bind', source = %q, target = '/data' } } }")
      :format(root, read, data))
    local other = with_node()
    support.leaves_nothing(function()
      local status, out, err = support.sh(("unshare -m sh -c 'mount -t tmpfs none %s/tmp && mknod %s/tmp/zero c 1 5 && mount --bind %s %s/below && "
        .. "%s run %s'"):format(root, root, other, data, support.command(), script))
      assert.are.same({ 0, "4\n", "" }, { status, out, err })
    end)
  end)

  it("opens where nodev = false says so", function()
    if not support.needs_root() then return end
    local mount = { type = "bind", source = with_node(), target = "/data", nodev = false }
    assert.are.equal("3", output("head -c 3 /data/zero | wc -c", { mounts = { mount } }))
    mount.readonly = true
    assert.are.equal("3", output("head -c 3 /data/zero | wc -c", { mounts = { mount } }))
  end)

  support.each_identity("of the host is there by name, and is not changed from inside", function()
    local before = sys.stat "/dev/zero"
    support.leaves_nothing(function()
      assert.are.equal("5\n5\nro\nrefused", output("head -c 5 /dev/other/zero | wc -c; head -c 5 /dev/full | wc -c; "
        .. "awk '$2 == \"/dev/other/zero\" { print substr($4, 1, 2) }' /proc/mounts; chmod 600 /dev/other/zero 2>/dev/null || echo refused", { mounts = {
          { type = "device", source = "/dev/zero", target = "/dev/other/zero" }, { type = "device", source = "/dev/full" },
        } }))
    end)
    assert.are.equal(before.mode, sys.stat("/dev/zero").mode)
  end)

  it("is a device, at a path on the host", function()
    refused("container.mounts[1].source: /etc/passwd is no device", { type = "device", source = "/etc/passwd" })
    refused("container.mounts[1].source: /dev is no device", { type = "device", source = "/dev" })
    refused('container.mounts[1].source: expected an absolute path, got "zero"', { type = "device", source = "zero" })
    refused("container.mounts[1].source: expected a string, got nil", { type = "device", target = "/x" })
    refused('container.mounts[1]: unknown field "readonly"', { type = "device", source = "/dev/zero", readonly = true })
    refused('container.mounts[1].source: /dev/zero is a device, which nobody could open there; take type = "device"',
      { type = "bind", source = "/dev/zero", target = "/zero" })
    local result, err = box("true", { mounts = { { type = "device", source = "/dev/no-such" } } }):run()
    assert.is_nil(result)
    assert.is_truthy(tostring(err):find("there is no /dev/no-such on this host", 1, true), tostring(err))
  end)
end)
