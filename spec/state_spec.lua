-- SPDX-License-Identifier: MIT
-- Who has a name: at most one process that lives, whatever becomes of those that want it.
local named_support = require "named_support"
local state = require "casulo.state"
local support = require "support"
local sys = require "casulo.sys"
local sys_support = require "sys_support"

local each_identity = named_support.each_identity

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

local function record_of(pid, more)
  local record = { pid = pid, command = { "sleep", "1000" }, rootfs = "/root of it", namespaces = { "mount", "pid" } }
  for name, value in pairs(more or {}) do record[name] = value end
  return record
end

-- Asserts a nil and a message that has a text in it.
local function refused(text, result, message)
  assert.is_nil(result)
  assert.is_truthy(tostring(message):find(text, 1, true), message)
end

local function names()
  local found, records, problems = {}, state.list()
  assert(records, problems)
  for i, record in ipairs(records) do found[i] = record.name end
  return table.concat(found, " "), problems
end

-- A process that has a name. → pid, and what `ended` wants
local function holder(name)
  local pid, leave = sys_support.sleeper()
  assert(assert(state.claim(name)):complete(record_of(pid)))
  return pid, leave
end

local function ended(pid, leave)
  sys.kill(pid, sys.SIGKILL)
  leave:close()
  sys.waitpid(pid)
end

local function rewritten(path, pattern, replacement)
  local text, count = support.read_file(path):gsub(pattern, replacement)
  assert.are.equal(1, count)
  support.write_file(path, text)
end

describe("a name", function()
  it("is what a file may safely be called", function()
    for _, good in ipairs { "a", "7", "web-1.example_com", ("x"):rep(64) } do assert.are.equal(good, state.check(good, "name")) end
    for _, bad in ipairs { "", ".", "..", ".a", "-a", "_a", "a/b", "/a", "a b", "a\n", "a\0", "\0", "é", ("x"):rep(65), 5, true, {} } do
      for _, call in ipairs { state.claim, state.find } do assert.error_matches(function() call(bad) end, "^name: expected 1 to 64 letters") end
      assert.error_matches(function() state.check(bad, "container.name") end, "^container%.name: expected")
    end
    assert.error_matches(function() state.check(nil, "name") end, "got nil$")
  end)

  each_identity("has a record, which says what its maker says", function(directory)
    assert.are.equal("", names())
    assert.is_nil(sys.lstat(directory)) -- to look makes nothing
    local pid, leave = sys_support.sleeper()
    local any = {}
    for byte = 1, 255 do any[byte] = string.char(byte) end
    local claim = assert(state.claim "web")
    local facts = record_of(pid, { env = { "A=b" }, cwd = "/", umask = 18, user = { uid = 5, gid = 6 } })
    facts.command = { "sh", table.concat(any), "\u{200b}\u{fffe}\xed\xa0\x80" }
    assert(claim:complete(facts))
    local record = assert(state.find "web")
    assert.are.equal(("Pid:\t%d"):format(pid), support.read_file(("/proc/self/fdinfo/%d"):format(record.pidfd:fileno())):match "Pid:[^\n]*")
    record.pidfd:close()
    for name, value in pairs(facts) do assert.are.same(value, record[name], name) end
    assert.are.equal("web", record.name)
    assert.is_true(math.abs(record.started - os.time()) < 60)
    assert.are.same({ sys.S_IFDIR | 448, sys.geteuid() }, { sys.lstat(directory).mode, sys.lstat(directory).uid })
    assert.are.same({ sys.S_IFREG | 384, sys.geteuid() }, { sys.lstat(directory .. "/web.json").mode, sys.lstat(directory .. "/web.json").uid })
    assert(claim:release())
    refused('the name "web" is not this claim\'s any more', claim:release())
    assert.are.same({}, sys.scandir(directory))
    ended(pid, leave)
  end)

  each_identity("is one process's at a time", function(directory)
    local claim = assert(state.claim "web")
    refused(('the name "web" is taken: PID %d is starting its container'):format(sys.getpid()), state.claim "web")
    refused('the container "web" is being started', state.find "web")
    assert.are.equal("", names())
    local pid, leave = sys_support.sleeper()
    assert(claim:complete(record_of(pid)))
    refused(('the name "web" is taken: its container runs as PID %d; casulo kill web ends it'):format(pid), state.claim "web")
    do
      local _ <close> = assert(state.claim "Web") -- another name
      assert.are.same({ "Web.json", "web.json" }, sys.scandir(directory))
    end
    assert.are.same({ "web.json" }, sys.scandir(directory)) -- a claim that was not completed ends with its scope
    ended(pid, leave)
    local heir = assert(state.claim "web")
    assert.are.same({ nil }, { (claim:release()) }) -- it has lost the name
    assert.are.same({ nil }, { (claim:complete(record_of(sys.getpid()))) })
    refused("is starting its container", state.claim "web")
    assert(heir:release())
  end)

  each_identity("is found, or the nearest one named", function()
    refused('no container is called "web"', state.find "web")
    local pid, leave = holder "web"
    local other, leave_too = holder "a.b"
    assert.are.equal("a.b web", names())
    local _, message = state.find "wbe"
    assert.are.equal('no container is called "wbe"; did you mean web?', message)
    ended(pid, leave)
    assert.are.equal('no container is called "wbe"', (select(2, state.find "wbe"))) -- that one is gone
    assert.are.equal("a.b", names())
    ended(other, leave_too)
    assert.are.equal("", names())
  end)

  each_identity("outlives no process that is killed", function(directory)
    for _, call in ipairs {
      function() assert(state.claim "web"):release() end, function() assert.are.equal("", names()) end,
      function() refused("no container is called", state.find "web") end,
    } do
      for _, complete in ipairs { true, false } do
        local reader <close>, writer = sys.pipe2(0)
        local pid, leave = sys_support.sleeper(0, function()
          local claim = assert(state.claim "web")
          if complete then assert(claim:complete(record_of(sys.getpid()))) end
          support.write_file(directory .. "/.new", "half a rec")
          sys.write(writer, ".")
          sys.poll({}, -1)
        end)
        leave:close()
        sys.read(reader, 1)
        refused('the name "web" is taken', state.claim "web")
        local pidfd <close> = assert(sys.pidfd_open(pid))
        sys.kill(pid, sys.SIGKILL)
        sys.poll({ { fd = pidfd, events = sys.POLLIN } }, -1)
        call() -- while it is a zombie
        sys.waitpid(pid)
        assert.are.same({}, sys.scandir(directory))
      end
    end
  end)

  each_identity("is not a process's that has got the PID of another", function(directory)
    local file = directory .. "/web.json"
    local pid, leave = holder "web"
    for _, call in ipairs {
      function() assert(state.claim "web"):release() end, function() assert.are.equal("", names()) end,
      function() refused("no container is called", state.find "web") end,
    } do
      assert(state.claim "web" == nil)
      local text = support.read_file(file)
      rewritten(file, '"start_time":(%d+)', function(ticks) return ('"start_time":%d'):format(ticks - 1) end)
      call()
      assert.are.same({}, sys.scandir(directory))
      support.write_file(file, text)
    end
    assert.are.equal("web", names())
    local thread_or_nobody = support.is_root() and 2 or (1 << 22) + 1
    rewritten(file, '"pid":%d+', ('"pid":%d'):format(thread_or_nobody))
    assert.are.equal("", names())
    assert.is_nil(sys.lstat(file))
    ended(pid, leave)
  end)

  each_identity("of another PID namespace is neither believed nor removed", function(directory)
    local pid, leave = holder "web"
    rewritten(directory .. "/web.json", "pid:%[%d+%]", "pid:[1]")
    local found, problems = names()
    assert.are.same({ "", { "web: its process was started from another PID or time namespace" } }, { found, problems })
    refused("web: its process was started from another PID", state.find "web")
    refused(("is taken, and its process was started from another PID or time namespace; if that is gone, remove %s/web.json"):format(directory),
      state.claim "web")
    ended(pid, leave)
    assert(sys.unlink(directory .. "/web.json"))
    if support.is_root() then
      pid, leave = holder "web"
      for _, flag in ipairs { sys.CLONE_NEWPID, sys.CLONE_NEWTIME } do
        assert.are.equal("1", sys_support.in_child(flag, function() return #select(2, state.list()) end))
      end
      assert.are.equal("web", names())
      ended(pid, leave)
      assert.are.equal("", names())
    end
  end)
end)

describe("a record", function()
  local RECORD = '{"name":"x","pid":7,"start_time":5,"seen_from":"a","started":5,"command":["a"],"rootfs":"/","namespaces":[]}'

  each_identity("that is none is reported and not believed, and gives its name to the next", function(directory)
    local real, leave = holder "real"
    local garbage = { "", "\0", "{", "[]", "5", "null", "{}", ("["):rep(1000000), ('{"a":'):rep(100000), RECORD:sub(1, -2), (RECORD:gsub("x", "y")) }
    for _, change in ipairs {
      { '"pid":%d+', '"pid":0' }, { '"pid":%d+', '"pid":-1' }, { '"pid":%d+', '"pid":1e99' }, { '"pid":%d+', '"pid":"7"' },
      { '"pid":%d+', '"pid":99999999999' }, { '"start_time":5', '"start_time":5.5' }, { '"start_time":5', '"start_time":null' },
      { '"started":5', '"started":1e30' }, { '"started":5', '"started":4611686018427387904' }, { '%["a"%]', '[1]' }, { '%["a"%]', '"a"' },
      { '"/"', "{}" }, { "%[%]", "5" }, { '"seen_from":"a"', '"seen_from":[]' },
    } do garbage[#garbage + 1] = (RECORD:gsub(change[1], change[2])) end
    for _, text in ipairs(garbage) do
      support.write_file(directory .. "/x.json", text)
      local found, problems = names()
      assert.are.same({ "real", { ("x: %s/x.json is no record of a container"):format(directory) } }, { found, problems }, text:sub(1, 80))
      refused("is no record", state.find "x")
      assert(assert(state.claim "x"):release())
    end
    ended(real, leave)
    names()
  end)

  each_identity("that is no regular file, or cannot be read, keeps nobody waiting", function(directory)
    assert(state.claim "x"):release()
    for _, case in ipairs {
      { "no record", function(path) assert(sys.mknod(path, sys.S_IFIFO | 384)) end },
      { "no record", function(path) assert(sys.mkdir(path, 448)) end },
      { "symbolic links", function(path) assert(sys.symlink("/etc/passwd", path)) end },
      { "no record", function(path) assert(os.execute(("truncate -s 4T '%s'"):format(path))) end },
      { "Permission denied", function(path) support.write_file(path, RECORD) assert(sys.chmod(path, 0)) end },
    } do
      local expected, make = table.unpack(case)
      make(directory .. "/x.json")
      if expected ~= "Permission denied" or not support.is_root() then -- whom no mode keeps out
        local found, problems = names()
        assert.are.same({ "", 1 }, { found, #problems })
        assert.is_truthy(problems[1]:find(directory .. "/x.json", 1, true) and problems[1]:find(expected, 1, true), problems[1])
        refused(expected, state.find "x")
      end
      assert(os.execute(("rm -rf '%s/x.json'"):format(directory)))
    end
    for _, name in ipairs { "x", ".x.json", "x.json~", "-.json", (("x"):rep(65) .. ".json") } do -- not its business
      support.write_file(directory .. "/" .. name, "garbage")
      assert.are.same({ "", {} }, { names() })
      assert(sys.unlink(directory .. "/" .. name))
    end
  end)

  it("that finds no room leaves nothing", function()
    if not support.needs_root() then return end
    named_support.with_own_run(function()
      assert(state.claim "x"):release()
      local pid, leave = sys_support.sleeper()
      local claim = assert(state.claim "web")
      support.write_file("/run/filler", ("x"):rep(12288))
      refused("No space left on device", state.claim "x")
      refused("No space left on device", claim:complete(record_of(pid, { env = { ("x"):rep(10000) } })))
      assert.are.same({ "web.json" }, sys.scandir "/run/casulo")
      assert(claim:release())
      ended(pid, leave)
    end, "mode=755,size=16k")
  end)
end)

describe("the directory of names", function()
  it("of a user is in XDG_RUNTIME_DIR, which must be the user's own", function()
    named_support.as_user(function(path)
      local expected = "XDG_RUNTIME_DIR: expected a directory of uid %d with mode 0700, for the names of containers: %s"
      local function refuses(runtime, why)
        named_support.with_runtime_directory(runtime, function()
          local message = expected:format(sys.geteuid(), why)
          assert.are.same({ nil, message }, { state.claim "x" })
          assert.are.same({ nil, message }, { state.find "x" })
          assert.are.same({ nil, message }, { state.list() })
        end)
      end
      refuses(nil, "it is not set")
      refuses("", '"" is no absolute path')
      refuses("run", '"run" is no absolute path')
      refuses("/nonexistent/run", "open /nonexistent/run: No such file or directory")
      refuses("/etc/passwd", "open /etc/passwd: Not a directory")
      refuses("/", "it has uid 0 and mode 0755")
      for mode, shown in pairs { [511] = "0777", [449] = "0701", [456] = "0710", [493] = "0755" } do
        assert(sys.chmod(path, mode))
        refuses(path, ("it has uid %d and mode %s"):format(sys.geteuid(), shown))
      end
      assert(sys.chmod(path, 448))
      assert(state.claim "x")
    end)
  end)

  each_identity("is refused when it is a link, a file, another's or open to others", function(directory)
    local function refuses(why)
      local message = ("%s: expected a directory of uid %d with mode 0700, for the names of containers: %s"):format(directory, sys.geteuid(), why)
      assert.are.same({ nil, message }, { state.claim "x" })
      assert.are.same({ nil, message }, { state.find "x" })
      assert.are.same({ nil, message }, { state.list() })
    end
    local elsewhere = support.tmpdir()
    assert(sys.chmod(elsewhere, 448))
    assert(sys.symlink(elsewhere, directory))
    refuses "open casulo: Not a directory"
    assert.are.same({}, sys.scandir(elsewhere))
    assert(sys.unlink(directory))
    support.write_file(directory, "")
    refuses "open casulo: Not a directory"
    assert(sys.unlink(directory))
    assert(sys.mkdir(directory, 448))
    for mode, shown in pairs { [504] = "0770", [455] = "0707", [493] = "0755" } do
      assert(sys.chmod(directory, mode))
      refuses(("it has uid %d and mode %s"):format(sys.geteuid(), shown))
    end
    assert(sys.chmod(directory, 448))
    if support.is_root() then
      assert(sys.chown(directory, 61234, 61234))
      refuses "it has uid 61234 and mode 0700"
    end
  end)

  it("is /run/casulo for root of a user namespace, too", function()
    support.as_user(function()
      named_support.with_own_run(function()
        local _ <close> = assert(state.claim "x")
        assert.are.same({ "x.json" }, sys.scandir "/run/casulo")
      end)
      sys_support.in_namespaces(sys.CLONE_NEWUSER, function() refused(" casulo: Permission denied", state.claim "x") end)
    end)
  end)
end)

describe("of fifty processes that want one name", function()
  -- Starts them; each runs a function once the barrier falls. → pids, the barrier
  local function racers(count, body)
    local reader <close>, barrier = sys.pipe2(0)
    local pids = {}
    for i = 1, count do
      pids[i] = assert(sys.clone(0, function()
        barrier:close()
        sys.read(reader, 1)
        body()
      end, { threads = true }))
    end
    return pids, barrier
  end

  local function letters(reader, count)
    local text = ""
    while #text < count do text = text .. assert(sys.read(reader, count)) end
    return text
  end

  each_identity("exactly one gets it", function()
    for _ = 1, 12 do
      local reports <close>, report = sys.pipe2(0)
      local waiting <close>, leave = sys.pipe2(0)
      local pids, barrier = racers(50, function()
        leave:close()
        local ok, claim = pcall(state.claim, "web")
        sys.write(report, not ok and "E" or claim and "W" or "L")
        sys.read(waiting, 1) -- it keeps the name until all have tried
      end)
      barrier:close()
      local text = letters(reports, 50)
      report:close()
      leave:close()
      for _, pid in ipairs(pids) do sys.waitpid(pid) end
      assert.are.same({ 1, 49 }, { select(2, text:gsub("W", "")), select(2, text:gsub("L", "")) }, text)
    end
    assert.are.equal("", names())
  end)

  each_identity("never two have it, though they are killed at random moments, nor does a dead one keep it", function(directory)
    local reports <close>, report = sys.pipe2(sys.O_NONBLOCK)
    local path = support.tmpdir()
    local pids, barrier = racers(50, function()
      local mutex <close> = assert(sys.open(path, sys.O_RDONLY))
      math.randomseed(sys.getpid())
      while true do
        local claim, message = state.claim "web"
        if claim then -- the kernel has freed the lock of a holder that was killed before anybody can see that it has ended
          if not sys.flock(mutex, sys.LOCK_EX | sys.LOCK_NB) then sys.write(report, "two have it\n") end
          if math.random(2) == 1 then assert(claim:complete(record_of(sys.getpid()))) end
          sys.flock(mutex, sys.LOCK_UN)
          assert(claim:release())
          sys.write(report, ".")
        elseif not message:find "is taken" then sys.write(report, message .. "\n")
        elseif math.random(2) == 1 then state.list() end -- which removes what is stale
      end
    end)
    barrier:close()
    local text = ""
    for _, pid in ipairs(pids) do
      local moment = now() + math.random() * 0.02
      while now() < moment do sys.poll({}, 1) end -- a moment, not a state: it is the randomness that is tested
      text = text .. (sys.read(reports, 65536) or "")
      sys.kill(pid, sys.SIGKILL)
      sys.waitpid(pid)
    end
    text = text .. (sys.read(reports, 65536) or "")
    report:close()
    assert.is_truthy(text:find "^%.+$", text:gsub("%.", ""))
    assert(assert(state.claim "web"):release())
    assert.are.equal("", names())
    assert.are.same({}, sys.scandir(directory))
  end)
end)
