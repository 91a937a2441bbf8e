-- SPDX-License-Identifier: MIT
-- Containers inside containers: casulo, bound into one that is made for that, makes others there, and what is in the way elsewhere is said.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local ALL = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }
local BASE = 1 << sys.CAP_CHOWN | 1 << sys.CAP_DAC_OVERRIDE | 1 << sys.CAP_FOWNER | 1 << sys.CAP_FSETID | 1 << sys.CAP_KILL | 1 << sys.CAP_SETGID
  | 1 << sys.CAP_SETUID | 1 << sys.CAP_SETPCAP | 1 << sys.CAP_NET_BIND_SERVICE | 1 << sys.CAP_SYS_CHROOT
local NESTING = BASE | 1 << sys.CAP_SYS_ADMIN | 1 << sys.CAP_NET_ADMIN | 1 << sys.CAP_SETFCAP

-- What each level is, in words for a description that is loaded there.
local INNER = "return { rootfs = '/', hostname = %q, nesting = %s, namespaces = { 'user', 'pid', 'mount', 'uts', 'ipc', 'net', 'cgroup' } %s }"

-- Each level says what it is, and starts the next one.
local SCRIPT = [[
  echo $(hostname) $$ $(readlink /proc/self/ns/user) $(readlink /proc/self/ns/pid) $(readlink /proc/self/ns/mnt) \
    $(sed -n 's/CapBnd:.//p' /proc/self/status)
  case $(hostname) in
    first) casulo run /second.lua -- sh /deep.sh;;
    second) casulo run /third.lua -- sh /deep.sh;;
  esac
]]
local DEEP = { "sh", "/deep.sh" }

local function tree(more)
  local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
  support.write_file(root .. "/bin/casulo", "")
  support.write_file(root .. "/deep.sh", SCRIPT)
  support.write_file(root .. "/second.lua", INNER:format("second", "true", more or ""))
  support.write_file(root .. "/third.lua", INNER:format("third", "false", more or ""))
  return root
end

local function box(fields, command)
  local description = { rootfs = tree(), nesting = true, namespaces = ALL, hostname = "first", stderr = "pipe", stdin = "null", timeout = 60,
    command = command, mounts = { { type = "bind", source = support.command():gsub("/bin/casulo$", "/build/bin/casulo"), target = "/bin/casulo",
      readonly = true } },
    uid_map = sys.geteuid() == 0 and { { 0, 100000, 65536 } } or nil } -- not the owner of the kernel's files
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function run(fields, command)
  local result = assert(box(fields, command):run { stdout = "pipe" })
  assert.are.same({ 0, "" }, { result.exit_code, result.stderr })
  return result.stdout
end

local function levels(text)
  local found = {}
  for name, pid, user, pids, mounts, set in text:gmatch "(%S+) (%d+) (%S+) (%S+) (%S+) (%x+)\n" do
    found[#found + 1] = { name = name, pid = pid, user = user, pids = pids, mounts = mounts, set = tonumber(set, 16) }
  end
  return found
end

local function is_three_deep(text)
  local found = levels(text)
  assert.are.equal(3, #found, text)
  local seen = { [sys.readlink "/proc/self/ns/user"] = true, [sys.readlink "/proc/self/ns/pid"] = true, [sys.readlink "/proc/self/ns/mnt"] = true }
  for i, level in ipairs(found) do
    assert.are.same({ ({ "first", "second", "third" })[i], i < 3 and NESTING or BASE }, { level.name, level.set })
    for _, namespace in ipairs { level.user, level.pids, level.mounts } do
      assert.is_nil(seen[namespace], namespace)
      seen[namespace] = true
    end
  end
end

local RANGES = { uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 100000, 65536 } } }

describe("nesting", function()
  support.each_identity("lets casulo run inside casulo inside casulo", function()
    support.leaves_nothing(function()
      for _, init in ipairs { false, true } do is_three_deep(run({ init = init }, DEEP)) end
    end)
  end)

  it("does so where ids are mapped, which the containers inside hand on", function()
    if not support.needs_root() then return end
    support.leaves_nothing(function()
      for _, init in ipairs { false, true } do
        local more = ", uid_map = { { 0, 0, 65536 } }, gid_map = { { 0, 0, 65536 } }"
        is_three_deep(run({ init = init, rootfs = tree(more), uid_map = RANGES.uid_map, gid_map = RANGES.gid_map }, DEEP))
        local maps = run({ rootfs = tree(more), uid_map = RANGES.uid_map, gid_map = RANGES.gid_map },
          { "casulo", "run", "/second.lua", "--", "casulo", "run", "/third.lua", "--", "cat", "/proc/self/uid_map" })
        assert.is_truthy(maps:find "^%s*0%s+0%s+65536\n$", maps)
      end
    end)
  end)

  it("does so for a user with subordinate ids", function()
    support.as_user_with_ids(function() is_three_deep(run({ uid_map = "auto" }, DEEP)) end)
  end)

  support.each_identity("does so for a command of exec, too", function()
    local p <close> = assert(box({}, { "sleep", "1000" }):start())
    local q <close> = assert(p:exec { command = DEEP, stdout = "pipe", stderr = "pipe" })
    local result = q:wait()
    assert.are.same({ 0, "" }, { result.exit_code, result.stderr })
    is_three_deep(result.stdout)
  end)

  support.each_identity("is all that doctor asks for inside", function()
    local result = assert(box({}, { "casulo", "doctor" }):run { stdout = "pipe" })
    assert.are.same({ 0, "containers can run here\n" }, { result.exit_code, result.stdout:match "[^\n]*\n$" })
  end)

  support.each_identity("is missing where it was not asked for: that is said, with what cures it", function()
    for _, init in ipairs { false, true } do
      for _, line in ipairs { "casulo run /second.lua", "casulo run --rootfs / --readonly" } do
        local result = assert(box({ nesting = false, init = init }, { "sh", "-c", line .. " -- true" }):run { stdout = "pipe" })
        assert.are.same({ 125, "" }, { result.exit_code, result.stdout })
        assert.is_truthy(result.stderr:find("^casulo: clone%(.*Function not implemented %(.* which a seccomp filter hides here; cure: .*; "
          .. "nesting = true, in the description of one of casulo's%)\n$"), result.stderr)
      end
      local result = assert(box({ nesting = false, init = init }, { "casulo", "doctor" }):run { stdout = "pipe" })
      assert.are.equal(1, result.exit_code)
      assert.is_truthy(result.stdout:find("nesting = true, in the description of one of casulo's", 1, true), result.stdout)
    end
  end)

  it("is refused without a user namespace", function()
    local namespaces = { "pid", "mount", "uts" }
    local ok, message = pcall(box, { namespaces = namespaces }, { "true" })
    assert.are.same({ false, 'container.nesting: containers inside would have the rights of the host\'s root; add "user" to namespaces' },
      { ok, (message:gsub("^[^:]*:%d+: ", "")) })
    ok, message = pcall(box, { nesting = "yes" }, { "true" })
    assert.are.same({ false, 'container.nesting: expected true or false, got "yes"' }, { ok, (message:gsub("^[^:]*:%d+: ", "")) })
  end)
end)
