-- SPDX-License-Identifier: MIT
-- A command inherits nothing of the state of its caller, however odd that is: casulo sets all of it.
local casulo = require "casulo"
local exec = require "casulo.exec"
local hostile = require "hostile_support"
local json = require "dkjson"
local support = require "support"
local sys = casulo.sys

local RANGE = { { 0, 100000, 65536 } }
local MAPPED = { namespaces = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }, uid_map = RANGE, gid_map = RANGE }
local ADDR_NO_RANDOMIZE = 0x40000
local IGNORED = { sys.SIGHUP, sys.SIGINT, sys.SIGPIPE, sys.SIGUSR1, sys.SIGTSTP, sys.SIGRTMIN + 3, sys.SIGRTMAX }

local root_of_user = {}
local function root()
  local uid = sys.geteuid()
  if not root_of_user[uid] then
    root_of_user[uid] = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    assert(os.execute(("cp '%s' '%s/'"):format(hostile.compile("payload/state.c", "-static"), root_of_user[uid])))
  end
  return root_of_user[uid]
end

local function box(fields, command)
  local description = { rootfs = root(), command = command or { "/state" }, seccomp = false, timeout = 60 }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

-- What the program prints, by the first word of its lines; variables in a list.
local function state_in(text)
  local found = { variables = {} }
  for name, value in text:gsub("\r", ""):gmatch "([^ \n]+) ?([^\n]*)\n" do
    if name == "variable" then table.insert(found.variables, value:match "^[^=]*") else found[name] = value end
  end
  table.sort(found.variables)
  return found
end

-- The state of a caller that does all it can to be felt.
local function be_odd(is_root)
  for _, number in ipairs(IGNORED) do assert(sys.signal(number, sys.SIG_IGN)) end
  assert(sys.sigprocmask(sys.SIG_BLOCK, { sys.SIGUSR2, sys.SIGTERM, sys.SIGRTMIN }))
  assert(sys.setpriority(sys.PRIO_PROCESS, 0, 5))
  assert(sys.personality(ADDR_NO_RANDOMIZE))
  support.write_file("/proc/self/oom_score_adj", "300")
  assert(sys.umask(63))
  assert(sys.chdir "/usr")
  assert(sys.keyctl(sys.KEYCTL_JOIN_SESSION_KEYRING, "of-the-caller"))
  local file = assert(sys.open("/etc/passwd", sys.O_RDONLY))
  assert(sys.dup2(file, 77)) -- not close-on-exec
  if is_root then assert(sys.prctl(sys.PR_SET_DUMPABLE, 0)) end
end

local function expected(is_root, changes)
  local state = {
    ignored = "0", handled = "0", blocked = "0", nice = is_root and "0" or "5", personality = "0", ["/proc/self/oom_score_adj"] = "0", umask = "22",
    groups = is_root and "" or nil, variables = { "HOME", "PATH", "TERM" }, descriptors = "0 1 2", directory = "/", dumpable = "1",
    terminal = "no", session = "1", keep = "0", securebits = "0", key = "none",
  }
  for name, value in pairs(changes or {}) do state[name] = value end
  return state
end

local function check(want, text)
  local found = state_in(text)
  assert.is_truthy(found.keyring:find "^keyring;%d+;%d+;%x+;_ses$", found.keyring) -- without a name of the caller's, and its own
  found.keyring = nil
  if not want.groups then found.groups = nil end
  assert.are.same(want, found)
end

-- `inside` is what exec gives, where that is another.
local function each_way(fields, want, inside)
  for _, init in ipairs { false, true } do
    local with = { init = init }
    for name, value in pairs(fields) do with[name] = value end
    check(want, assert(box(with):run { stdout = "pipe" }).stdout)
    local created <close> = assert(box(with):create { stdout = "pipe" })
    assert(created:start())
    check(want, created:wait().stdout)
    local first = box(with, { "sleep", "1000" })
    local p <close> = assert(first:start())
    local q <close> = assert(p:exec { command = { "/state" }, stdout = "pipe" })
    check(inside or want, q:wait().stdout)
    local record = json.decode(json.encode(require "casulo.record".of(first)), 1, nil, nil, nil)
    record.pid, record.pidfd = p.pid, p.pidfd
    local r <close> = assert(exec.start(assert(require "casulo.record".target(record)), { command = { "/state" }, stdout = "pipe" }))
    check(inside or want, r:wait().stdout)
  end
end

local function in_odd_caller(is_root, groups, body)
  root() -- made by the test's own process, for a usual umask
  support.in_child(function()
    if groups then assert(sys.setgroups(groups)) end
    be_odd(is_root)
  end, body)
end

describe("what a caller has set", function()
  it("would be inherited, so that the tests below can fail", function()
    local program = hostile.compile("payload/state.c", "-static")
    local path = support.tmpdir() .. "/out"
    support.in_child(function() be_odd(support.is_root()) end, function()
      local file = assert(sys.open(path, sys.O_WRONLY | sys.O_CREAT, 384))
      local pid = assert(sys.clone(0, function()
        sys.dup2(file, 1)
        sys.execve(program, { program }, { "ODD=1" })
      end, { threads = true }))
      sys.waitpid(pid)
    end)
    local found, ignored = state_in(support.read_file(path)), 0
    for _, number in ipairs(IGNORED) do ignored = ignored | 1 << number - 1 end
    assert.are.equal(ignored, tonumber(found.ignored, 16) & ignored)
    assert.are_not.equal("0", found.blocked)
    assert.are.same({ "5", "40000", "300", "77", "/usr", "0", { "ODD" } },
      { found.nice, found.personality, found["/proc/self/oom_score_adj"], found.umask, found.directory, found.session, found.variables })
    assert.is_truthy(found.descriptors:find(" 77", 1, true))
    assert.is_truthy(found.keyring:find("of-the-caller", 1, true))
  end)

  it("is nothing to a command of root's, at the start and by exec", function()
    if not support.needs_root() then return end
    in_odd_caller(true, { 7, 8, 9 }, function()
      each_way({}, expected(true))
      -- A score that was raised with this right is lowered with it only: not from a new user namespace, but by exec, from outside.
      local score = support.has_capability(sys.CAP_SYS_RESOURCE) and "300" or "0"
      each_way(MAPPED, expected(true, { ["/proc/self/oom_score_adj"] = score }), expected(true))
      each_way({ user = { uid = 7, gid = 8, groups = { 9, 10 } } }, expected(true, { groups = "9 10" }))
      each_way({ cwd = "/bin", umask = 1, env = { A = "1" } },
        expected(true, { directory = "/bin", umask = "1", variables = { "A", "HOME", "PATH", "TERM" } }))
    end)
  end)

  it("is nothing to a container that was made before", function()
    if not support.needs_root() then return end
    local container = box()
    support.in_child(function() assert(container:run { stdout = "pipe" }) end, function()
      for _, score in ipairs { "300", "0", "200" } do
        support.write_file("/proc/self/oom_score_adj", score)
        check(expected(true), assert(container:run { stdout = "pipe" }).stdout)
      end
    end)
  end)

  -- To lower a nice value takes a right that is had outside of user namespaces only.
  it("is nothing to a command of an ordinary user's, but for a nice value that was raised", function()
    support.as_user(function()
      in_odd_caller(false, nil, function()
        each_way({}, expected(false))
        each_way({ uid_map = { { 5, sys.geteuid(), 1 } }, gid_map = { { 5, sys.getegid(), 1 } } }, expected(false))
      end)
    end)
  end)

  it("is nothing to one with subordinate ids, whose groups are its own, too", function()
    support.as_user_with_ids(function()
      in_odd_caller(false, nil, function()
        each_way({ uid_map = "auto" }, expected(false, { groups = "" }))
        each_way({ uid_map = "auto", user = { uid = 7, gid = 8, groups = { 9 } } }, expected(false, { groups = "9" }))
      end)
    end)
  end)

  support.each_identity("is as it was, when its container has ended", function()
    in_odd_caller(support.is_root(), nil, function()
      local function own()
        local status = support.read_file "/proc/self/status"
        return { status:match "SigBlk:.-SigCgt:[^\n]*", status:match "Umask:[^\n]*", support.read_file "/proc/self/oom_score_adj",
          support.read_file "/proc/self/stat":match "%) %S+ (.*)":match(("%S+ "):rep(15) .. "(%S+)"), sys.personality(0xffffffff),
          sys.readlink "/proc/self/cwd", sys.prctl(sys.PR_GET_DUMPABLE), #sys.scandir "/proc/self/fd" }
      end
      for _, fields in ipairs { {}, { init = true }, support.is_root() and MAPPED or nil } do
        local before = own()
        local p <close> = assert(box(fields):start { stdout = "null" })
        p:wait()
        assert.are.same(before, own())
      end
    end)
  end)
end)

describe("a key of the caller's", function()
  support.each_identity("is in no keyring of a command, though no filter keeps that from keys", function()
    local keys, state, directory = hostile.compile("payload/keys.c", "-static"), hostile.compile("payload/state.c", "-static"), support.tmpdir()
    local status, text = support.sh(("%s hold %s"):format(keys, state))
    assert.are.same({ 0, "found" }, { status, state_in(text).key }) -- so that this test can fail
    for _, init in ipairs { "false", "true" } do
      local file = directory .. "/box.lua"
      support.write_file(file, ("return { rootfs = %q, command = { '/state' }, seccomp = false, init = %s }"):format(root(), init))
      status, text = support.sh(("%s hold %s run %s"):format(keys, support.command(), file))
      assert.are.same({ 0, "none" }, { status, state_in(text).key })
    end
  end)

  it("stays where no keyring can be had only in a command whose filter denies it all that uses keys", function()
    local container = require "casulo.container"
    local function goes_on(seccomp)
      local made = container.new { rootfs = "/nonexistent", seccomp = seccomp }
      local record = json.decode(json.encode(require "casulo.record".of(made)), 1, nil, nil, nil)
      record.pid = 1
      assert.are.equal(made.checked.denies_keys, require "casulo.record".target(record).checked.denies_keys) -- for commands that come later
      for _, step in ipairs(container.plan(made.checked, made.host, {}).steps) do
        if step[1] == "keyctl" then
          for _, errno in ipairs(step.tolerate) do
            if errno == sys.EDQUOT then return true end
          end
          return false
        end
      end
    end
    for _, seccomp in ipairs { { compat = true }, {} } do assert.is_true(goes_on(seccomp)) end
    for _, seccomp in ipairs { { { "keyctl", action = "allow" } }, { default = "allow" }, false } do assert.is_false(goes_on(seccomp)) end
  end)
end)

describe("a terminal of the caller's", function()
  support.each_identity("is not the command's to control", function()
    if not support.has "script" then return support.cannot_run "script is not installed" end
    local file = support.tmpdir() .. "/box.lua"
    support.write_file(file, ("return { rootfs = %q, command = { '/state' }, seccomp = false }"):format(root()))
    local function seen(line)
      local _, text = support.sh(("script -qec %q /dev/null"):format(line))
      return state_in(text)
    end
    assert.are.equal("yes", seen(hostile.compile("payload/state.c", "-static")).terminal) -- so that this test can fail
    local found = seen(("%s run %s"):format(support.command(), file))
    assert.are.same({ "no", "1" }, { found.terminal, found.session })
    found = seen(("%s run -t %s"):format(support.command(), file))
    assert.are.same({ "yes", "1" }, { found.terminal, found.session })
  end)
end)
