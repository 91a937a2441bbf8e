-- SPDX-License-Identifier: MIT
-- The capabilities of a command and of all that it executes, in each of the five sets; and that its caller keeps its own.
local casulo = require "casulo"
local exec = require "casulo.exec"
local hostile = require "hostile_support"
local json = require "dkjson"
local named = require "named_support"
local privileges = require "casulo.recipes.privileges"
local support = require "support"
local sys = casulo.sys

local ALL = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }
local SETS = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" }
local DEFAULT = 1 << sys.CAP_CHOWN | 1 << sys.CAP_DAC_OVERRIDE | 1 << sys.CAP_FOWNER | 1 << sys.CAP_FSETID | 1 << sys.CAP_KILL | 1 << sys.CAP_SETGID
  | 1 << sys.CAP_SETUID | 1 << sys.CAP_SETPCAP | 1 << sys.CAP_NET_BIND_SERVICE | 1 << sys.CAP_SYS_CHROOT
local PORTS = 1 << sys.CAP_NET_BIND_SERVICE
local KNOWN = (2 << math.tointeger(tonumber((support.read_file "/proc/sys/kernel/cap_last_cap")))) - 1
local STATUS = { "cat", "/proc/self/status" }

-- As root in its container, and as another user.
local function of_root(set) return { CapInh = 0, CapPrm = set, CapEff = set, CapBnd = set, CapAmb = 0 } end
local function of_user(set) return { CapInh = set, CapPrm = set, CapEff = set, CapBnd = set, CapAmb = set } end

local function sets_in(status)
  local sets = {}
  for _, name in ipairs(SETS) do sets[name] = tonumber(status:match(name .. ":%s*(%x+)"), 16) end
  return sets
end

local function own() return support.read_file "/proc/self/status":match "CapInh.-NoNewPrivs:%s*%d" end

local function box(fields, command)
  local description = { rootfs = support.rootfs(), command = command or STATUS, stderr = "pipe", timeout = 60 }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function output(fields, command)
  local result = assert(box(fields, command):run { stdout = "pipe" })
  assert.are.same({ 0, "" }, { result.exit_code, result.stderr })
  return result.stdout
end

local function over(base, fields)
  local merged = {}
  for name, value in pairs(base) do merged[name] = value end
  for name, value in pairs(fields or {}) do merged[name] = value end
  return merged
end

-- By each way to a command: at once, by PID 1 of casulo's own, in a terminal, when it is created, by exec, and by exec from a record.
local function each_way(fields, check)
  for _, init in ipairs { false, true } do
    local with = over(fields, { init = init })
    check(sets_in(output(with)))
    local terminal <close> = assert(box(over(with, { stderr = "inherit" })):start { tty = true })
    check(sets_in(terminal:wait().tty))
    local created <close> = assert(box(with):create { stdout = "pipe" })
    assert(created:start())
    check(sets_in(created:wait().stdout))
    local first = box(with, { "sleep", "1000" })
    local p <close> = assert(first:start())
    local q <close> = assert(p:exec { command = STATUS, stdout = "pipe" })
    check(sets_in(q:wait().stdout))
    local record = json.decode(json.encode(require "casulo.record".of(first)), 1, nil, nil, nil)
    record.pid, record.pidfd = p.pid, p.pidfd
    local r <close> = assert(exec.start(assert(require "casulo.record".target(record)), { command = STATUS, stdout = "pipe" }))
    check(sets_in(r:wait().stdout))
  end
end

local function test(name, body)
  support.each_identity(name, function()
    support.leaves_nothing(function()
      local before = own()
      body(support.is_root())
      assert.are.equal(before, own())
    end)
  end)
end

-- Containers whose command is root inside, and such in which it is not, by who can make them.
local RANGES = { namespaces = ALL, uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 100000, 65536 } } }
local function roots(is_root) return is_root and { {}, { namespaces = ALL }, RANGES } or { {} } end
local function users(is_root)
  local found = { { namespaces = ALL, uid_map = { { 5, sys.geteuid(), 1 } }, gid_map = { { 5, sys.getegid(), 1 } } } }
  if is_root then
    found[2], found[3] = { user = 1000 }, over(RANGES, { user = { uid = 7, gid = 8, groups = { 9 } } })
  end
  return found
end

describe("the capabilities", function()
  test("of root are the ten that are documented, and no more, however it comes about", function(is_root)
    for _, fields in ipairs(roots(is_root)) do
      each_way(fields, function(sets) assert.are.same(of_root(DEFAULT), sets) end)
    end
  end)

  test("of another user are none, however it comes about", function(is_root)
    for _, fields in ipairs(users(is_root)) do
      each_way(fields, function(sets) assert.are.same(of_user(0), sets) end)
    end
  end)

  it("are as many with subordinate ids, mapped by newuidmap", function()
    support.as_user_with_ids(function()
      each_way({ uid_map = "auto" }, function(sets) assert.are.same(of_root(DEFAULT), sets) end)
      each_way({ uid_map = "auto", user = 7 }, function(sets) assert.are.same(of_user(0), sets) end)
      each_way({ uid_map = "auto", user = 7, capabilities = { add = { "CHOWN" } } }, function(sets) assert.are.same(of_user(1), sets) end)
    end)
  end)

  test("are those that are listed, added or dropped, by any form of their names", function(is_root)
    local chown_kill = 1 << sys.CAP_CHOWN | 1 << sys.CAP_KILL
    for _, fields in ipairs(roots(is_root)) do
      local all = fields.namespaces and KNOWN or not is_root and KNOWN or privileges.permitted()
      for _, case in ipairs {
        { { "CHOWN", "CAP_KILL" }, chown_kill }, { { "chown", "cap_kill" }, chown_kill }, { {}, 0 }, { { "ALL" }, all }, { { add = { "all" } }, all },
        { { drop = { "ALL" } }, 0 }, { { add = { "CHOWN" }, drop = { "ALL" } }, 0 }, { { add = { "NET_RAW" } }, DEFAULT | 1 << sys.CAP_NET_RAW },
        { { drop = { "CAP_CHOWN", "kill", "MKNOD" } }, DEFAULT & ~chown_kill },
        { { add = { "ALL" }, drop = { "SYS_ADMIN" } }, all & ~(1 << sys.CAP_SYS_ADMIN) },
        { { add = { "SYS_TIME" }, drop = { "CHOWN" } }, DEFAULT & ~1 | 1 << sys.CAP_SYS_TIME }, { { add = {} }, DEFAULT },
      } do assert.are.same(of_root(case[2]), sets_in(output(over(fields, { capabilities = case[1] })))) end
    end
  end)

  test("that are added for another user its command has, and what that executes, and no others", function(is_root)
    for _, fields in ipairs(users(is_root)) do
      for _, capabilities in ipairs { { "NET_BIND_SERVICE" }, { add = { "net_bind_service" } } } do
        each_way(over(fields, { capabilities = capabilities }), function(sets) assert.are.same(of_user(PORTS), sets) end)
      end
      local by_shell = output(over(fields, { capabilities = { "NET_BIND_SERVICE" } }), { "sh", "-c", "sh -c 'cat /proc/self/status'; true" })
      assert.are.same(of_user(PORTS), sets_in(by_shell))
    end
  end)

  test("are what they stand for: with NET_BIND_SERVICE another user than root binds to port 80, and cannot own files", function(is_root)
    local script = [[
      chown 0 /tmp 2>/dev/null && echo owned
      (nc -l -p 80 </dev/null >/dev/null 2>&1 || echo refused) &
      until nc 127.0.0.1 80 </dev/null 2>/dev/null || ! kill -0 $! 2>/dev/null; do :; done; wait]]
    local mounts = { { type = "tmpfs", target = "/tmp" } }
    for _, fields in ipairs(users(is_root)) do
      local with = over(fields, { mounts = mounts })
      assert.are.equal("refused\n", output(with, { "sh", "-c", script }))
      assert.are.equal("", output(over(with, { capabilities = { add = { "NET_BIND_SERVICE" } } }), { "sh", "-c", script }))
    end
  end)

  test("of the caller are not inherited, be they inheritable or ambient", function(is_root)
    if not is_root then return end
    local function prepare()
      local set = 1 << sys.CAP_SYS_TIME | PORTS
      local all = privileges.permitted()
      assert(sys.capset(string.pack("=I4i4", 0x20080522, 0), string.pack("=I4I4I4I4I4I4", all & 0xffffffff, all & 0xffffffff, set,
        all >> 32, all >> 32, 0)))
      for _, number in ipairs { sys.CAP_SYS_TIME, sys.CAP_NET_BIND_SERVICE } do
        assert(sys.prctl(sys.PR_CAP_AMBIENT, sys.PR_CAP_AMBIENT_RAISE, number, 0, 0))
      end
    end
    support.in_child(prepare, function()
      assert.are.equal(PORTS | 1 << sys.CAP_SYS_TIME, sets_in(own()).CapAmb)
      local before = own()
      each_way({}, function(sets) assert.are.same(of_root(DEFAULT), sets) end)
      each_way({ user = 1000 }, function(sets) assert.are.same(of_user(0), sets) end)
      each_way({ user = 1000, capabilities = { "NET_BIND_SERVICE" } }, function(sets) assert.are.same(of_user(PORTS), sets) end)
      assert.are.equal(before, own())
    end)
  end)

  test("are never more by exec than the container's, nor than the command's user may have", function(is_root)
    if not is_root then return end
    local p <close> = assert(box({ capabilities = { add = { "NET_RAW" } } }, { "sleep", "1000" }):start())
    local function seen(process, options)
      local q <close> = assert(process:exec(over({ command = STATUS, stdout = "pipe" }, options)))
      return sets_in(q:wait().stdout)
    end
    assert.are.same(of_root(DEFAULT | 1 << sys.CAP_NET_RAW), seen(p))
    assert.are.same(of_user(1 << sys.CAP_NET_RAW), seen(p, { user = 1000 }))
    local q <close> = assert(box({ user = 1000 }, { "sleep", "1000" }):start())
    assert.are.same(of_root(0), seen(q, { user = 0 }))
    assert.are.same(of_user(0), seen(q))
  end)
end)

named.each_identity("the capabilities of a command by name are those of the container", function()
  local container = box({ capabilities = { add = { "NET_RAW" }, drop = { "CHOWN" } }, name = "rights" }, { "sleep", "1000" })
  local p <close> = assert(container:start())
  local status, text = named.casulo "exec rights -- cat /proc/self/status"
  assert.are.equal(0, status)
  assert.are.same(of_root(DEFAULT & ~1 | 1 << sys.CAP_NET_RAW), sets_in(text))
  assert.is_truthy(p.pid)
end)

describe("a description of capabilities", function()
  local function refuses(expected, fields)
    local ok, message = pcall(box, fields)
    assert.is_false(ok)
    assert.are.equal("container." .. expected, (message:gsub("^[^:]*:%d+: ", "")))
  end

  test("is checked before anything runs, and errors name the place and the nearest name", function()
    refuses('capabilities[2]: unknown capability "NET_ADMN"; did you mean NET_ADMIN?', { capabilities = { "CHOWN", "net_admn" } })
    refuses('capabilities.add[1]: unknown capability "SYS_PTRCE"; did you mean SYS_PTRACE?', { capabilities = { add = { "CAP_SYS_PTRCE" } } })
    refuses('capabilities.drop[1]: expected a string, got 7', { capabilities = { drop = { 7 } } })
    refuses('capabilities: unknown field "ad"; did you mean add?', { capabilities = { ad = { "CHOWN" } } })
    refuses("capabilities: expected a list without holes or names", { capabilities = { "CHOWN", add = { "KILL" } } })
    refuses('capabilities: expected a list of names, or { add = {…}, drop = {…} }, got "CHOWN"', { capabilities = "CHOWN" })
    refuses('capabilities.add: expected a list, got "CHOWN"', { capabilities = { add = "CHOWN" } })
    refuses('no_new_privs: expected true or false, got 1', { no_new_privs = 1 })
  end)

  test("is refused where PID 1 is to be casulo's own and may be traced", function()
    for _, capabilities in ipairs { { "SYS_PTRACE" }, { add = { "ALL" } } } do
      refuses('capabilities: who may trace PID 1 can make it outlive its caller; with init, drop "SYS_PTRACE"',
        { capabilities = capabilities, init = true, namespaces = ALL })
    end
    box { capabilities = { add = { "ALL" }, drop = { "SYS_PTRACE" } }, init = true, namespaces = ALL }
  end)

  test("is refused where the caller itself lacks one, by its name, and not where a user namespace gives it", function(is_root)
    if not is_root then return end
    local without = privileges.permitted() & ~(1 << sys.CAP_SYS_TIME)
    for _, prepare in ipairs {
      function() assert(sys.prctl(sys.PR_CAPBSET_DROP, sys.CAP_SYS_TIME)) end,
      function()
        assert(sys.capset(string.pack("=I4i4", 0x20080522, 0), string.pack("=I4I4I4I4I4I4", without & 0xffffffff, without & 0xffffffff, 0,
          without >> 32, without >> 32, 0)))
      end,
    } do
      support.in_child(prepare, function()
        for _, fields in ipairs { {}, { user = 1000 } } do
          for _, capabilities in ipairs { { "SYS_TIME" }, { add = { "SYS_TIME" } } } do
            refuses("capabilities: the caller itself has no CAP_SYS_TIME", over(fields, { capabilities = capabilities }))
          end
          local set = sets_in(output(over(fields, { capabilities = { "ALL" } }))).CapEff
          assert.are.equal(without, set)
        end
        assert.are.same(of_root(DEFAULT), sets_in(output()))
        assert.are.same(of_root(1 << sys.CAP_SYS_TIME), sets_in(output { namespaces = ALL, capabilities = { "SYS_TIME" } }))
      end)
    end
  end)
end)

describe("no_new_privs", function()
  -- A setuid program of root's prints its effective uid and what it may.
  local function root_with_setuid()
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    local program = hostile.compile("payload/status.c", "-static")
    assert(os.execute(("cp '%s' '%s/status' && chmod 4755 '%s/status'"):format(program, root, root)))
    return root
  end

  local function uids(status) return status:match "\nUid:%s*(%d+)%s+(%d+)" end

  test("is set, so that a setuid program gives nothing", function(is_root)
    for _, fields in ipairs(users(is_root)) do
      local text = output(over(fields, { rootfs = root_with_setuid() }), { "/status" })
      local real, effective = uids(text)
      assert.are.same({ real, "1" }, { effective, text:match "NoNewPrivs:%s*(%d)" })
    end
    for _, fields in ipairs(roots(is_root)) do assert.are.equal("1", output(fields):match "NoNewPrivs:%s*(%d)") end
  end)

  it("is false where that is asked for: a setuid program gives what root inside would have, and no more", function()
    if not support.needs_root() then return end
    for _, init in ipairs { false, true } do
      local fields = { rootfs = root_with_setuid(), user = 1000, no_new_privs = false, init = init }
      local function check(text, gained)
        assert.are.same({ "1000", "0" }, { uids(text) })
        assert.are.equal("0", text:match "NoNewPrivs:%s*(%d)")
        local sets = sets_in(text)
        assert.are.same({ gained, gained, gained }, { sets.CapPrm, sets.CapEff, sets.CapBnd })
      end
      check(output(fields, { "/status" }), DEFAULT)
      check(output(over(fields, { capabilities = { drop = { "CHOWN" } } }), { "/status" }), DEFAULT & ~1)
      check(output(over(fields, { capabilities = {} }), { "/status" }), 0)
      local p <close> = assert(box(fields, { "sleep", "1000" }):start())
      local q <close> = assert(p:exec { command = { "/status" }, stdout = "pipe" })
      check(q:wait().stdout, DEFAULT)
      assert.are.same({ CapInh = 0, CapPrm = 0, CapEff = 0, CapBnd = DEFAULT, CapAmb = 0 }, sets_in(output(fields)))
    end
  end)
end)
