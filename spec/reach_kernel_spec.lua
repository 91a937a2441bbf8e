-- SPDX-License-Identifier: MIT
-- With the rights that a container has by default nothing of the host's kernel can be changed, and nothing of the host be read by its means.
local casulo = require "casulo"
local hostile = require "hostile_support"
local support = require "support"

local ALL = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }

local function root_with(name)
  local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
  assert(os.execute(("cp '%s' '%s/'"):format(hostile.compile(("payload/%s.c"):format(name), "-static"), root)))
  return root
end

local function output(root, command, fields)
  local description = { rootfs = root, command = command, stdin = "null", stdout = "pipe", stderr = "pipe", timeout = 60 }
  for name, value in pairs(fields or {}) do description[name] = value end
  local result = assert(casulo.container(description):run())
  assert.are.same({ "", 0 }, { result.stderr, result.exit_code })
  return result.stdout
end

local function each_kind(name, body)
  support.each_identity(name, function() body {} end)
  it(name .. " (root, a user namespace)", function()
    if support.needs_root() then body { namespaces = ALL } end
  end)
end

describe("a file of the kernel", function()
  -- By namespace: what is set there holds for the container only. And what everyone on the host may open, to be told of its state.
  local OWN = { "^/proc/sys/net/", "^/proc/sys/fs/mqueue/", "^/proc/sys/kernel/[a-z_]*msg", "^/proc/sys/kernel/sem", "^/proc/sys/kernel/shm",
    "^/proc/sys/kernel/ns_last_pid$", "^/proc/sys/kernel/pid_max$", "^/proc/sys/kernel/hostname$", "^/proc/sys/kernel/domainname$",
    "^/proc/sys/user/", "^/proc/pressure/" }

  local function opens_only_its_own(fields)
    for path in output(root_with "writable", { "/writable", "/proc", "/sys" }, fields):gmatch "[^\n]+" do
      local is_own = false
      for _, pattern in ipairs(OWN) do is_own = is_own or path:find(pattern) end
      assert.is_truthy(is_own, path)
    end
  end

  each_kind("cannot be opened for writing, where it is the host's", opens_only_its_own)

  support.each_identity("is as safe where nesting takes the masks away", function()
    local mapped = support.is_root() and { { 0, 100000, 65536 } } or nil
    opens_only_its_own { nesting = true, namespaces = ALL, uid_map = mapped, gid_map = mapped }
  end)

  each_kind("stays covered for root of a user namespace inside, where no call is refused", function(fields)
    local settings = { seccomp = false }
    for name, value in pairs(fields) do settings[name] = value end
    assert.are.equal("tried\n", output(root_with "unmask", { "/unmask" }, settings))
  end)

  each_kind("that makes the host execute something, or end, cannot be opened for writing", function(fields)
    local script = [[
      for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/poweroff_cmd /proc/sys/kernel/hotplug \
        /proc/sys/vm/panic_on_oom /proc/sys/kernel/panic /proc/sysrq-trigger /proc/sys/kernel/sysrq /sys/kernel/uevent_helper \
        /proc/sys/fs/binfmt_misc/register /sys/kernel/kexec_crash_size /sys/power/state /sys/fs/cgroup/release_agent /proc/kcore /proc/kmem \
        /proc/1/oom_adj/../../sysrq-trigger; do
        (: >>$file) 2>/dev/null && [ "$(stat -c %t:%T $file)" != 1:3 ] && echo $file # the null device hides some
      done; true]]
    assert.are.equal("", output(support.rootfs(), { "/bin/sh", "-c", script }, fields))
  end)
end)

describe("a way out of the root", function()
  for _, way in ipairs { "handle", "device", "mount" } do
    each_kind("is not found by the disk: " .. way, function(fields)
      local marker = support.tmpdir() .. "/marker"
      support.write_file(marker, "")
      assert.are.equal("in\n", output(root_with "escape", { "/escape", way, marker }, fields))
    end)
  end
end)

describe("a key of the caller's", function()
  it("can be read by who has its keyring, so that the test below can fail", function()
    local keys = hostile.compile("payload/keys.c", "-static")
    local status, text = support.sh(("%s hold %s seek KEY"):format(keys, keys))
    assert.are.equal(0, status)
    assert.is_truthy(text:find "secret")
  end)

  local function look(options)
    local keys, root = hostile.compile("payload/keys.c", "-static"), root_with "keys"
    return support.sh(("%s hold %s run %s --rootfs %s -- /keys seek KEY"):format(keys, support.command(), options, root))
  end

  support.each_identity("is in no keyring inside", function()
    for _, options in ipairs { "", "--init" } do assert.are.same({ 0, "none\n", "" }, { look(options) }) end
  end)
end)

describe("whoever shares the PIDs of its caller, as root without a user namespace", function()
  local SECRET = "known to the " .. "caller only"
  -- Of the commands of other containers, with the same rights: of their callers, and of those on their way, nothing.
  local SEEN = { ready = true, memory = true, ["exe /bin/busybox"] = true, ["fd /dev/null"] = true, ["fd opened /dev/null"] = true,
    ["fd stolen /dev/null"] = true, ["secret in cmdline"] = true,
    ["fd /null"] = true, ["fd opened /null"] = true, ["fd stolen /null"] = true } -- of a /dev that is not the watcher's

  it("looks into no process but commands of its like", function()
    if not support.needs_root() then return end
    local line = "timeout -s KILL 60 unshare -pmf --mount-proc env SECRET='%s' $LUA spec/reach_out_caller.lua '%s' beside '%s' '%s'"
    local status, text, err = support.sh(line:format(SECRET, root_with "watcher", '{ namespaces = { pid = "host" } }', SECRET))
    assert.are.same({ 0, "" }, { status, err })
    for found in text:gmatch "[^\n]+" do assert.is_true(SEEN[found:gsub("%[%d+%]", "[]"):gsub(" $", "")] or false, found) end
  end)
end)
