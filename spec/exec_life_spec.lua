-- SPDX-License-Identifier: MIT
-- Records of containers, through which another process starts a command in one; and who dies with whom.
local exec = require "casulo.exec"
local shared = require "exec_support"
local support = require "support"
local sys = require "casulo.sys"

local FOREVER, ALL, box, sh, command_of, facts, inside, children, only_child_is = shared.FOREVER, shared.ALL, shared.box, shared.sh,
  shared.command_of, shared.facts, shared.inside, shared.children, shared.only_child_is

describe("a record of a container", function()
  local json = require "dkjson"

  local function through_json(record) return json.decode(json.encode(record), 1, nil, nil, nil) end

  support.each_identity("is all that another process needs to start a command in it", function()
    support.leaves_nothing(function()
      local description = box { env = { A = "1", B = "\xff\n" }, inherit_env = { "PATH" }, cwd = "/bin", umask = 23, init = true }
      local p <close> = assert(description:start())
      local record = through_json(require "casulo.record".of(description))
      record.pid = p.pid
      package.loaded["casulo.state"] = { find = function(name)
        if name ~= "web" then return nil, "no container is called " .. name end
        record.pidfd = assert(sys.pidfd_open(record.pid))
        return record
      end }
      local q = assert(exec.by_name("web", { command = sh "echo $A $PATH $PWD $(umask); printf %s \"$B\"; cat", stdout = "pipe", stdin = "!" }))
      assert.are.equal(("1 %s /bin 0027\n\xff\n!"):format(os.getenv "PATH"), q:wait().stdout)
      assert.is_false(record.pidfd:is_open())
      local same <close> = assert(exec.by_name("web", { command = FOREVER }))
      assert.are.same(facts(command_of(p)), facts(command_of(same)))
      local shell <close> = assert(exec.by_name("web", { command = { "tty" }, tty = true }))
      assert.are.equal("/dev/pts/0\r\n", shell:wait().tty)
      assert.are.equal("no container is called db", tostring(select(2, exec.by_name("db", { command = FOREVER }))))
      package.loaded["casulo.state"] = nil
    end)
  end)

  it("is refused where it is damaged, whatever the damage", function()
    local good = through_json(require "casulo.record".of(box { namespaces = ALL, user = { uid = 0, gid = 0 }, env = { A = "1" }, joined = nil }))
    good.pid = sys.getpid()
    local pidfd <close> = assert(sys.pidfd_open(good.pid))
    good.pidfd = pidfd
    assert(require "casulo.record".target(good))
    local DAMAGE = { "", "x", -1, 1.5, 1 << 40, true, {}, { 1 }, { "x" }, { a = 1 }, { { 1 } }, { { 0, 0, 0 } }, { uid = "x" } }
    local refused = 0
    for _, field in ipairs {
      "command", "cwd", "umask", "user", "env", "namespaces", "joined", "uid_map", "gid_map", "own_maps", "denies_setgroups", "init", "has_devpts",
      "landlock", "rlimits", "pid",
    } do
      for i = 0, #DAMAGE do
        local record = {}
        for name, value in pairs(good) do record[name] = value end
        record[field] = DAMAGE[i]
        local target, err = require "casulo.record".target(record)
        if not target then
          refused = refused + 1
          assert.is_truthy(tostring(err):find("exec: record." .. field, 1, true), tostring(err))
        end
      end
    end
    assert.is_true(refused > 120, tostring(refused))
  end)

  it("leads nowhere when its process has ended, though another has the number", function()
    local record = require "casulo.record".of(box())
    local pid = assert(sys.clone(0, function() end))
    record.pid, record.pidfd = sys.getpid(), assert(sys.pidfd_open(pid))
    sys.waitpid(pid)
    local q, err = exec.start(assert(require "casulo.record".target(record)), { command = FOREVER })
    assert.are.same({ "nil", "exec: the container has ended" }, { tostring(q), tostring(err) })
    record.pidfd:close()
  end)
end)

describe("exec and death", function()
  support.each_identity("what stands for a command takes it along", function()
    support.leaves_nothing(function()
      support.as_subreaper(function()
        local p <close> = assert(box():start())
        for _ = 1, 20 do
          local q <close> = assert(p:exec { command = FOREVER })
          assert(sys.kill(q.pid, sys.SIGKILL))
          assert.are.same({ signal = sys.SIGKILL }, q:wait(20))
          only_child_is(p)
          assert.are.equal("1", inside(p))
        end
      end)
    end)
  end)

  support.each_identity("nothing is left for others to reap, which would keep the container from ending", function()
    support.leaves_nothing(function()
      assert(sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1)) -- it would be for this process, which does not
      local p <close> = assert(box():start())
      assert.is_true(assert(p:exec { command = FOREVER, timeout = 0.05 }):wait().timed_out)
      local q = assert(p:exec { command = FOREVER })
      q:close()
      q = assert(p:exec { command = FOREVER })
      assert(q:kill())
      assert.are.same({ signal = sys.SIGKILL }, q:wait(20))
      assert.is_nil(p:exec { command = { "/no/such" } })
      assert.is_nil(p:exec { command = FOREVER, cwd = "/no/such" })
      local r = assert(p:exec { command = FOREVER })
      assert.are.equal(("%d %d"):format(p.pid, r.pid), children())
      p:close()
      assert.are.same({ signal = sys.SIGKILL }, r:wait(20))
      assert.are.equal("", children())
      assert(sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 0))
    end)
  end)

  -- A copy of this process that does nothing but start commands, until it is killed.
  local function die_at_random(p, options)
    local pid = assert(sys.clone(0, function()
      while true do
        local q = p:exec(options)
        if q then q:close() end
      end
    end, { threads = true }))
    sys.poll({}, math.random(0, 12))
    sys.kill(pid, sys.SIGKILL)
    sys.waitpid(pid)
  end

  support.each_identity("nothing stays when the caller is killed, and the container is unharmed", function()
    support.as_subreaper(function()
      local p <close> = assert(box { init = true }:start())
      for i = 1, 150 do
        die_at_random(p, i % 3 == 0 and { command = FOREVER, tty = true } or { command = FOREVER })
        only_child_is(p)
        assert.are.equal("1 2", inside(p))
      end
      assert.are.equal(0, assert(p:exec { command = { "true" } }):wait().exit_code)
    end)
  end)

  support.each_identity("a command that is detached, then or later, lives on without its caller", function()
    support.as_subreaper(function()
      local p <close> = assert(box { init = true }:start())
      for _, options in ipairs { { command = FOREVER, detach = true }, { command = FOREVER } } do
        local pid = assert(sys.clone(0, function()
          assert(p:exec(options)):detach()
        end, { threads = true }))
        sys.waitpid(pid)
      end
      sys.poll({}, 50) -- milliseconds in which nothing is to happen
      assert.are.equal(4, select(2, inside(p):gsub("%d+", "")))
    end)
    support.eventually(function()
      while (sys.waitpid(-1, sys.WNOHANG) or 0) ~= 0 do end
      return children() == ""
    end, "they have ended with the container")
  end)

  support.each_identity("a container that ends in the middle is a result or a clear error", function()
    support.leaves_nothing(function()
      for i = 1, 30 do
        local p <close> = assert(box():start())
        local killer = assert(sys.clone(0, function()
          sys.poll({}, i % 6)
          sys.kill(p.pid, sys.SIGKILL)
        end, { threads = true }))
        while true do
          local q, err = p:exec { command = FOREVER, timeout = 5 }
          if not q then
            assert.are.equal("exec: the container has ended", tostring(err))
            break
          end
          local result = q:wait(0)
          assert.is_true(result == nil or result.signal == sys.SIGKILL)
          q:close()
        end
        sys.waitpid(killer)
      end
    end)
  end)

  it("a container whose rights /proc hides is a clear error", function()
    if not support.needs_root() then return end
    local p <close> = assert(box():start())
    require "sys_support".in_namespaces(sys.CLONE_NEWNS, function()
      assert(sys.mount("/dev/null", ("/proc/%d/status"):format(p.pid), nil, sys.MS_BIND))
      local q, err = p:exec { command = FOREVER }
      assert.are.same({ "nil", ("exec: /proc/%d/status cannot be read"):format(p.pid) }, { tostring(q), tostring(err) })
    end)
  end)
end)
