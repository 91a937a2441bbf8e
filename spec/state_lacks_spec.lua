-- SPDX-License-Identifier: MIT
-- Names where something is lacking: the module for JSON, a lock, a descriptor, a process, what /proc tells of it.
local living = require "casulo.living"
local named_support = require "named_support"
local state = require "casulo.state"
local support = require "support"
local sys = require "casulo.sys"
local sys_support = require "sys_support"

local each_identity = named_support.each_identity

local function record_of(pid) return { pid = pid, command = { "sleep", "1000" }, rootfs = "/root", namespaces = { "mount" } } end

-- What a process of its own prints.
local function printed(script, line)
  local path = support.tmpdir() .. "/script.lua"
  support.write_file(path, script)
  return select(2, named_support.sh(("%s; %s lua5.4 %s"):format(support.environment(), line or "", path)))
end

describe("a name", function()
  each_identity("takes a module for JSON, and says which package has it", function(directory)
    local needs = "nil\tthe names of containers need the Lua module dkjson"
    assert.are.equal(needs .. "; install the package lua-dkjson\n", printed [[
      package.path, package.cpath = package.path:gsub("/usr/[^;]*", ""), package.cpath:gsub("/usr/[^;]*", "")
      print(require "casulo.state".claim "web")]])
    local text = printed [[package.preload.dkjson = function() error("broken", 0) end print(require "casulo.state".claim "web")]]
    assert.are.equal(needs .. ": broken\n", text)
    assert.is_nil(sys.stat(directory .. "/web.json"))
  end)

  each_identity("is not to be had without the lock", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    local text = printed([[print(require "casulo.state".claim "web")]], "strace -o /dev/null -e inject=flock:error=ENOLCK")
    assert.is_truthy(text:find "^nil\tflock %d+: No locks available", text)
    assert.are.same({}, (assert(state.list())))
  end)

  each_identity("is no more needed by a process that has ended", function(directory)
    local pid = assert(sys.clone(0, function() end))
    sys.waitpid(pid)
    local claim <close> = assert(state.claim "web")
    local before = support.read_file(directory .. "/web.json")
    assert.is_true(claim:complete(record_of(pid)))
    assert.are.equal(before, support.read_file(directory .. "/web.json"))
  end)

  it("is neither given nor taken where /proc hides when its process started", function()
    if not support.needs_root() then return end
    named_support.with_own_run(function()
      local pid, leave = sys_support.sleeper()
      assert(assert(state.claim "web"):complete(record_of(pid)))
      local stat = ("/proc/%d/stat"):format(pid)
      assert(sys.mount("/dev/null", stat, nil, sys.MS_BIND))
      local unreadable = stat .. " cannot be read, so it cannot be told when that process started"
      assert.are.same({ nil, "web: " .. unreadable }, { state.find "web" })
      assert.are.equal(('the name "web" is taken, and %s; if that is gone, remove /run/casulo/web.json'):format(unreadable),
        (select(2, state.claim "web")))
      local claim <close> = assert(state.claim "other")
      assert.are.same({ nil, unreadable }, { claim:complete(record_of(pid)) })
      sys.kill(pid, sys.SIGKILL)
      leave:close()
      sys.waitpid(pid)
      assert.are.equal('no container is called "web"', select(2, state.find "web"))
    end)
  end)

  support.each_identity("is not believed dead for the want of a descriptor", function()
    support.in_child(function() end, function()
      local record = { pid = sys.getpid(), start_time = living.start_time(sys.getpid()), seen_from = living.seen_from() }
      assert.is_true(living.lives(record))
      assert(sys.setrlimit(sys.RLIMIT_NOFILE, 3, 3))
      local found, message, errno = living.process(record)
      assert.are.same({ nil, ("pidfd_open %d: Too many open files"):format(record.pid), sys.EMFILE }, { found, message, errno })
    end)
  end)

  each_identity("stands beside the whole path of a root that was given from the working directory", function()
    local above, root = support.rootfs():match "^(.*)/([^/]+)$"
    local pipe = named_support.popen(("cd %s; exec %s run --timeout 60 --name web --rootfs %s -- sh -c 'echo up; exec sleep 1000'"):format(
      above, support.command(), root))
    assert.are.equal("up", pipe:read "l")
    local record = assert(state.find "web")
    record.pidfd:close()
    assert.are.equal(support.rootfs(), record.rootfs)
    assert.are.equal(0, (named_support.casulo "kill web"))
    pipe:close()
  end)
end)
