-- SPDX-License-Identifier: MIT
-- What becomes of a container's cgroup: when its start fails, when its caller is killed, when it is detached; and who may have one.
local casulo = require "casulo"
local cgroup_support = require "cgroup_support"
local named_support = require "named_support"
local support = require "support"
local sys = casulo.sys
local box, it, tree = cgroup_support.box, cgroup_support.it, cgroup_support.tree

local FOREVER = "sleep 1000"

-- Runs a function in a child that is then killed. It tells its last words through the returned text.
local function in_killed_child(body)
  local reader <close>, writer = assert(sys.pipe2(0))
  local pid = assert(sys.clone(0, function()
    sys.write(writer, tostring(body() or ""))
    sys.poll({}, -1)
  end))
  writer:close()
  local text = sys.read(reader, 4096)
  sys.kill(pid, sys.SIGKILL)
  sys.waitpid(pid, sys.__WALL)
  return text
end

local function is_gone(pid)
  local file <close> = io.open(("/proc/%s/stat"):format(pid))
  local text = file and file:read "a"
  return not text or text:find "%) [ZX]"
end

describe("the cgroup of a container", function()
  it("is too small for a start with a clear error, and the caller lives", function()
    for _, more in ipairs {
      {}, { init = true }, { namespaces = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }, uid_map = { { 0, 0, 1000 } } },
    } do
      local ran, err = box("true", { memory = "64k" }, more):run()
      assert.is_nil(ran)
      assert.are.equal("setup", err.kind)
      assert.are.equal("limits.memory: it is too small for a start", err.hint)
    end
  end)

  it("may run out of memory at any step of a start", function()
    local outcomes = {}
    for kilobytes = 4, 640, 20 do
      local result, err = box("exit 7", { memory = kilobytes .. "k" }, { init = kilobytes % 8 == 0 }):run()
      local outcome = result and (result.oom_killed and "killed" or result.exit_code) or err.hint
      outcomes[outcome] = (outcomes[outcome] or 0) + 1
    end
    assert.are.same({ true, true }, { outcomes["limits.memory: it is too small for a start"] ~= nil, outcomes[7] ~= nil })
    outcomes.killed, outcomes[7], outcomes["limits.memory: it is too small for a start"] = nil, nil, nil
    assert.are.same({}, outcomes)
  end)

  it("goes when a step fails, wherever", function()
    for _, more in ipairs {
      { rootfs = "/nonexistent" }, { command = { "/nonexistent" } }, { command = { "/etc" } }, { cwd = "/nonexistent" },
      { mounts = { { type = "bind", source = "/etc/passwd", target = "/bin" } } }, { user = 5, command = { "/root/x" } },
    } do
      local ran, err = box("true", { pids = 10 }, more):run()
      assert.is_nil(ran)
      assert.is_nil(tostring(err):find "limits")
    end
    local p, err = box("true", { pids = 10 }, { name = "x", rootfs = "/nonexistent" }):start()
    assert.is_nil(p)
    assert.is_truthy(err)
  end)

  it("lets a start fail that wants more processes", function()
    local ran, err = box("true", { pids = 1 }, { init = true }):run()
    assert.is_nil(ran)
    assert.is_truthy(tostring(err):find("pids.max", 1, true), tostring(err))
    assert.are.equal(0, assert(box("true", { pids = 1 }):run()).exit_code)
  end)

  it("goes when the end of the container comes in whichever way", function()
    local before = tree()
    local with_limits = box(FOREVER, { pids = 10 })
    do
      local p <close> = assert(with_limits:start()) -- the scope
      assert.are_not.equal(before, tree(), p.pid)
    end
    assert.are.equal(before, tree())
    assert.is_true(with_limits:run { timeout = 1 }.timed_out)
    assert.are.equal(before, tree())
    local created = assert(with_limits:create())
    created:kill()
    created:wait()
    assert.are.equal(before, tree())
    local ended = assert(with_limits:create())
    ended:kill()
    sys.poll({ { fd = ended:pollfd(), events = sys.POLLIN } }, -1)
    assert.is_nil((ended:start()))
    assert.are.equal(before, tree())
  end)

  it("is removed with what was made in it", function()
    local script = "mkdir -p /c/a/b && echo 0 >/c/a/b/cgroup.procs && cat /proc/self/cgroup"
    local result = assert(box(script, { pids = 10 }, { mounts = { { type = "cgroup2", target = "/c", readonly = false } } }):run())
    assert.are.same({ "0::/a/b\n", "" }, { result.stdout, result.stderr })
  end)

  it("is removed by the next start when the caller was killed", function()
    local before = tree()
    local pid = in_killed_child(function() return assert(box(FOREVER, { pids = 10 }):start { stdout = "null", stderr = "null" }).pid end)
    support.eventually(function() return is_gone(pid) end, "the container is gone")
    assert.are_not.equal(before, tree())
    support.eventually(function()
      assert(box("true", { pids = 10 }):run())
      return tree() == before
    end, "the cgroup is gone")
  end)

  it("lasts as long as a detached container, and goes at a start after it", function()
    local before = tree()
    local p = assert(box(FOREVER, { pids = 10 }, { detach = true, stdout = "null", stderr = "null" }):start())
    local pid, pidfd <close> = p.pid, sys.pidfd_open(p.pid)
    p:close()
    assert(box("true", { pids = 10 }):run())
    assert.is_truthy(cgroup_support.directory_of(pid))
    assert.are_not.equal(before, tree())
    sys.pidfd_send_signal(pidfd, sys.SIGKILL)
    sys.poll({ { fd = pidfd, events = sys.POLLIN } }, -1)
    assert(box("true", { pids = 10 }):run())
    assert.are.equal(before, tree())
  end)

  it("of a detached container outlives its caller, and goes at a start of another one", function()
    local before = tree()
    support.as_subreaper(function()
      local pid = math.tointeger(tonumber(in_killed_child(function()
        return assert(box(FOREVER, { pids = 10 }, { detach = true, stdout = "null", stderr = "null" }):start()).pid
      end)))
      assert(box("true", { pids = 10 }):run())
      assert.are.equal("10\n", support.read_file(cgroup_support.directory_of(pid) .. "/pids.max"))
      sys.kill(pid, sys.SIGKILL)
      sys.waitpid(pid, sys.__WALL)
    end)
    assert(box("true", { pids = 10 }):run())
    assert.are.equal(before, tree())
  end)

  it("goes with a name, when that is met after the end of both", function()
    named_support.with_own_run(function()
      support.as_subreaper(function()
        local before = tree()
        local pid = math.tointeger(tonumber(in_killed_child(function()
          local options = { detach = true, stdout = "null", stderr = "null", name = "web" }
          return assert(box(FOREVER, { pids = 10 }):start(options)).pid
        end)))
        sys.kill(pid, sys.SIGKILL)
        sys.waitpid(pid, sys.__WALL)
        assert.are_not.equal(before, tree())
        assert.are.same({}, (require "casulo.state".list()))
        assert.are.equal(before, tree())
      end)
    end)
  end)

  it("is not touched by a copy of the process", function()
    local p <close> = assert(box(FOREVER, { pids = 10 }):start())
    local directory = cgroup_support.directory_of(p.pid)
    support.in_child(function() end, function()
      assert(box("true", { pids = 10 }):run())
      p:close()
      assert.is_truthy(sys.stat(directory))
    end)
    assert.are.equal("10\n", support.read_file(directory .. "/pids.max"))
  end)

  it("is the start's own, be there many at once", function()
    local processes = {}
    for i = 1, 20 do processes[i] = assert(box("exit " .. i, { pids = i }):start()) end
    for i, p in ipairs(processes) do assert.are.equal(i, p:wait().exit_code) end
  end)
end)

describe("a place for cgroups", function()
  it("is a subtree that is delegated to an ordinary user", function()
    cgroup_support.as_delegated_user(function(path)
      local p <close> = assert(box(FOREVER, { memory = "32m", pids = 10, cpu = 0.5, cpus = "0" }):start())
      local directory = cgroup_support.directory_of(p.pid)
      assert.are.equal(path, directory:match "^(.*)/casulo%-[^/]*/%d+$")
      assert.are.equal("10\n", support.read_file(directory .. "/pids.max"))
      assert.is_true(p:freeze() and p:thaw())
      local q <close> = assert(p:exec { command = { "/bin/cat", "/proc/self/cgroup" }, stdout = "pipe" })
      assert.are.equal("0::/\n", q:wait().stdout)
      local result = assert(box("dd if=/dev/zero of=/dev/null bs=64M count=1", { memory = "16m", swap = 0 }):run())
      assert.is_true(result.oom_killed)
    end)
  end)

  it("is none where nothing is delegated, with a cure", function()
    support.as_user(function()
      local ran, err = box("true", { pids = 10 }):run()
      assert.is_nil(ran)
      assert.are.equal("setup", err.kind)
      assert.is_truthy(tostring(err):find "is not its own to divide; cure: ", tostring(err))
      for _, each in ipairs(casulo.doctor()) do
        if each.name == "cgroup" then assert.are.equal(tostring(err), ("%s; cure: %s"):format(each.what, each.cure)) end
      end
      assert.are.equal(0, assert(box("true"):run()).exit_code)
    end)
  end)

  it("is above a cgroup that has processes, and is found", function()
    cgroup_support.with_cgroup(function(path)
      support.in_child(function() support.write_file(path .. "/cgroup.procs", "0") end, function()
        local p <close> = assert(box(FOREVER, { pids = 10 }):start())
        assert.are_not.equal(path, cgroup_support.directory_of(p.pid):sub(1, #path))
      end)
    end)
  end)

  it("cannot have processes of its own, with a cure that works", function()
    cgroup_support.with_cgroup(function(path)
      local parent = path:match "[^/]*$"
      support.in_child(function() support.write_file(path .. "/cgroup.procs", "0") end, function()
        local limited = box("true", { pids = 10 }, { cgroup_parent = "/" .. parent })
        local ran, err = limited:run()
        assert.is_nil(ran)
        local what, cure = tostring(err):match "^the cgroup (%S+) has processes of its own, .-; cure: (.*)$"
        assert.are.equal(path, what, tostring(err))
        assert.are.equal(0, assert(box("true", nil, { cgroup_parent = "/" .. parent }):run()).exit_code)
        os.execute(("(%s) 2>/dev/null"):format(cure)) -- the shell is among them, and has ended when it is its turn
        assert.are.equal(0, assert(limited:run()).exit_code)
      end)
      support.eventually(function() return sys.rmdir(path .. "/main") end, "what the cure made is empty")
    end)
  end)

  it("gets what the cgroups above are yet to pass on, at a start and at an update", function()
    cgroup_support.with_cgroup(function(path)
      local outer, inner = path .. "/outer", path .. "/outer/inner"
      assert(sys.mkdir(outer, 493) and sys.mkdir(inner, 493))
      local function passed_on(place) return (support.read_file(place .. "/cgroup.subtree_control"):gsub("\n", "")) end
      support.write_file(path .. "/cgroup.subtree_control", "+cpu")
      local p <close> = assert(box(FOREVER, { pids = 10, cpu = 0.5 }, { cgroup_parent = inner:match "/[^/]*/[^/]*/[^/]*$" }):start())
      assert.are.equal("10\n", support.read_file(cgroup_support.directory_of(p.pid) .. "/pids.max"))
      assert.are.same({ "cpu pids", "cpu pids", "cpu pids" }, { passed_on(path), passed_on(outer), passed_on(inner) })
      assert.is_true(p:update { memory = "32m" })
      assert.are.equal("33554432\n", support.read_file(cgroup_support.directory_of(p.pid) .. "/memory.max"))
      p:close()
      support.eventually(function() return sys.rmdir(inner) and sys.rmdir(outer) end, "the places are empty")
    end)
  end)

  it("may lack a controller that one above has, which is not the caller's to pass on, with a cure that works", function()
    cgroup_support.with_cgroup(function(path)
      local inner = path .. "/inner"
      assert(sys.mkdir(inner, 493))
      local function run() return box("cat /proc/self/cgroup", { pids = 10 }):run() end
      local told <close>, words = assert(sys.pipe2(0))
      cgroup_support.as_user_of(inner, function()
        local ran, err = run()
        assert.is_nil(ran)
        sys.write(words, tostring(err))
      end)
      words:close()
      local message = sys.read(told, 4096)
      local cure = message:match "^the cgroup %S+ lacks the controller pids, which %S+ does not pass on; cure: (.*)$"
      assert.is_truthy(cure, message)
      assert(os.execute(cure))
      cgroup_support.as_user_of(inner, function() assert.are.equal("0::/\n", assert(run()).stdout) end)
      assert(sys.rmdir(inner))
    end)
  end)

  it("is chosen by cgroup_parent, which must be there and the caller's", function()
    local before = tree()
    local ran, err = box("true", { pids = 10 }, { cgroup_parent = "/nonexistent" }):run()
    assert.is_nil(ran)
    assert.is_truthy(tostring(err):find("cgroup_parent: there is no cgroup /sys/fs/cgroup/nonexistent; cure: mkdir /sys", 1, true), tostring(err))
    cgroup_support.with_cgroup(function(path)
      local parent = "/" .. path:match "[^/]*$"
      local p <close> = assert(box(FOREVER, { pids = 10 }, { cgroup_parent = parent }):start())
      assert.are.equal(path, cgroup_support.directory_of(p.pid):match "^(.*)/casulo%-")
      p:close()
      support.as_user(function()
        local refused, why = box("true", { pids = 10 }, { cgroup_parent = parent }):run()
        assert.is_nil(refused)
        assert.is_truthy(tostring(why):find "cgroup_parent: the cgroup %S+ is not the caller's to divide; cure: chown ", tostring(why))
      end)
    end)
    assert.are.equal(before, tree())
  end)

  it("is none where the caller may not go, though it is its own", function()
    cgroup_support.with_cgroup(function(other)
      cgroup_support.as_delegated_user(function()
        local ran, err = box("true", { pids = 10 }, { cgroup_parent = "/" .. other:match "[^/]*$" }):run()
        assert.is_nil(ran)
        local border = other:match "^(.*)/"
        assert.is_truthy(tostring(err):find(("who may not write to %s/cgroup.procs"):format(border), 1, true), tostring(err))
      end, other)
    end)
  end)
end)
