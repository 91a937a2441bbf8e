-- SPDX-License-Identifier: MIT
-- The limits of resources that a command has, and that its caller keeps its own.
local casulo = require "casulo"
local exec = require "casulo.exec"
local json = require "dkjson"
local support = require "support"
local sys = casulo.sys

-- As /proc/PID/limits calls them, with limits that every caller may have and every command can live with.
local ALL = {
  as = { "Max address space", 1 << 30 }, core = { "Max core file size", 0 }, cpu = { "Max cpu time", 50 }, data = { "Max data size", 1 << 29 },
  fsize = { "Max file size", 1 << 20 }, locks = { "Max file locks", 5 }, memlock = { "Max locked memory", 4096 },
  msgqueue = { "Max msgqueue size", 7 }, nice = { "Max nice priority", 0 }, nofile = { "Max open files", 64 }, nproc = { "Max processes", 500 },
  rss = { "Max resident set", 8192 }, rtprio = { "Max realtime priority", 0 }, rttime = { "Max realtime timeout", 9 },
  sigpending = { "Max pending signals", 11 }, stack = { "Max stack size", 1 << 22 },
}
local LIMITS = {}
for name, entry in pairs(ALL) do LIMITS[name] = { soft = entry[2] // 2, hard = entry[2] } end

local function box(fields, command)
  local description = { rootfs = support.rootfs(), command = command or { "cat", "/proc/self/limits" }, timeout = 60 }
  for name, value in pairs(fields) do description[name] = value end
  return casulo.container(description)
end

local function limit(text, label)
  local soft, hard = text:match(label .. "%s+(%w+)%s+(%w+)")
  return soft .. " " .. hard
end

local function has_all(text)
  for name, entry in pairs(ALL) do
    assert.are.equal(("%d %d"):format(entry[2] // 2, entry[2]), limit(text, entry[1]), name)
  end
end

local function output(fields, options)
  local p <close> = assert(box(fields):start(options or { stdout = "pipe" }))
  local result = p:wait()
  assert.are.equal(0, result.exit_code)
  return result.stdout or result.tty
end

local function own() return support.read_file "/proc/self/limits" end

local function test(name, body)
  support.each_identity(name, function()
    support.leaves_nothing(function()
      local before = own()
      body()
      assert.are.equal(before, own())
    end)
  end)
end

describe("rlimits", function()
  test("are those of the command, each of them", function() has_all(output { rlimits = LIMITS }) end)

  test("are those of the command, whoever starts it and however it is begun", function()
    local uid, gid = sys.geteuid(), sys.getegid()
    local namespaces = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }
    for _, fields in ipairs {
      { init = true }, { namespaces = namespaces, uid_map = { { 0, uid, 1 } }, gid_map = { { 0, gid, 1 } } },
      { init = true, namespaces = namespaces, uid_map = { { 5, uid, 1 } }, gid_map = { { 5, gid, 1 } } },
      support.is_root() and { user = 7 } or {},
      support.is_root() and { namespaces = namespaces, uid_map = { { 0, 100000, 9 } }, gid_map = { { 0, 100000, 9 } }, user = 7 } or {},
    } do
      fields.rlimits = LIMITS
      has_all(output(fields))
      has_all(output(fields, { tty = true }))
      local p <close> = assert(box(fields):create { stdout = "pipe" })
      assert(p:start())
      has_all(p:wait().stdout)
    end
  end)

  test("are those of a command of exec, by handle and by record, and not those of casulo-init", function()
    for _, init in ipairs { false, true } do
      local limits = { nofile = 64, stack = { soft = 1 << 20, hard = 1 << 21 }, rss = { soft = 0, hard = "unlimited" } }
      local first = box({ init = init, rlimits = limits }, { "sleep", "1000" })
      local p <close> = assert(first:start())
      local function is_limited(text)
        assert.are.same({ "64 64", "1048576 2097152" }, { limit(text, "Max open files"), limit(text, "Max stack size") })
      end
      if init then assert.are.equal(own(), support.read_file(("/proc/%d/limits"):format(p.pid)))
      else is_limited(support.read_file(("/proc/%d/limits"):format(p.pid))) end
      local q <close> = assert(p:exec { command = { "cat", "/proc/self/limits" }, stdout = "pipe" })
      is_limited(q:wait().stdout)
      local record = json.decode(json.encode(require "casulo.record".of(first)), 1, nil, nil, nil)
      limits.nofile = { soft = 64, hard = 64 }
      assert.are.same(limits, record.rlimits)
      record.pid, record.pidfd = p.pid, p.pidfd
      local target = assert(require "casulo.record".target(record))
      local r <close> = assert(exec.start(target, { command = { "cat", "/proc/self/limits" }, stdout = "pipe" }))
      is_limited(r:wait().stdout)
    end
  end)

  test("may be lifted as far as the caller's own", function()
    local _, hard = sys.getrlimit(sys.RLIMIT_NOFILE)
    assert.are.equal(("%d %d"):format(hard, hard), limit(output { rlimits = { nofile = hard } }, "Max open files"))
    if select(2, sys.getrlimit(sys.RLIMIT_CPU)) ~= sys.RLIM_INFINITY then return end
    assert.are.equal("5 unlimited", limit(output { rlimits = { cpu = { soft = 5, hard = "unlimited" } } }, "Max cpu time"))
    assert.are.equal("unlimited unlimited", limit(output { rlimits = { cpu = "unlimited" } }, "Max cpu time"))
  end)

  test("are raised above those by whoever may, and an error says what that takes", function()
    local _, hard = sys.getrlimit(sys.RLIMIT_MEMLOCK)
    if hard == sys.RLIM_INFINITY then return support.cannot_run "the caller has no limit to raise" end
    local raised = { memlock = { soft = hard, hard = hard + 4096 } }
    for _, fields in ipairs { {}, { init = true }, support.is_root() and { user = 7 } or {} } do
      fields.rlimits = raised
      local result, err = box(fields):run { stdout = "pipe" }
      if support.has_capability(sys.CAP_SYS_RESOURCE) then
        assert.are.equal(("%d %d"):format(hard, hard + 4096), limit(result.stdout, "Max locked memory"))
      else
        assert.are.same({ "nil", "setup", "setrlimit", sys.EPERM }, { tostring(result), err.kind, err.call, err.errno })
        assert.are.equal(("setrlimit(RLIMIT_MEMLOCK, {rlim_cur=%d, rlim_max=%d}): Operation not permitted (rlimits: to raise a hard limit "
          .. "above the caller's takes CAP_SYS_RESOURCE outside of any user namespace)"):format(sys.getrlimit(sys.RLIMIT_MEMLOCK),
          hard + 4096), tostring(err))
      end
    end
    local most = math.tointeger(tonumber(support.read_file "/proc/sys/fs/nr_open"))
    local _, err = box({ rlimits = { nofile = most + 1 } }):run()
    assert.is_truthy(tostring(err):find(("(rlimits.nofile: sysctl fs.nr_open allows %d at most)"):format(most), 1, true), tostring(err))
  end)

  test("keep the command from what is beyond them", function()
    local result = box({ rlimits = { fsize = 4096 }, mounts = { { type = "tmpfs", target = "/tmp" } } },
      { "sh", "-c", "trap '' XFSZ; head -c 5000 /dev/zero >/tmp/file; stat -c %s /tmp/file" }):run { stdout = "pipe", stderr = "null" }
    assert.are.same({ exit_code = 0, stdout = "4096\n" }, result)
    result = box({ rlimits = { nofile = 4 } }, { "sh", "-c", "cat /etc/passwd >/tmp/x 3</etc/passwd 4</etc/passwd" }):run { stderr = "null" }
    assert.are_not.equal(0, result.exit_code)
  end)
end)
