-- SPDX-License-Identifier: MIT
-- Callers of the library who give what nobody expects: an error that names the field, or the documented result.
local casulo = require "casulo"
local hostile = require "hostile_values"
local support = require "support"

-- Each field of a description, alone and where it is a table with what may be inside, in the place of `HERE`.
local HERE = {}
local FIELDS = {
  rootfs = { HERE, { HERE }, { HERE, ephemeral = true }, { "/", ephemeral = HERE }, { "/", size = HERE, ephemeral = true }, { "/", idmap = HERE } },
  command = { HERE, { HERE }, { "/bin/true", HERE } }, env = { HERE, { [HERE] = "x" }, { A = HERE } }, inherit_env = { HERE, { HERE } },
  cwd = { HERE }, umask = { HERE }, hostname = { HERE }, domainname = { HERE }, network = { HERE }, name = { HERE }, readonly = { HERE },
  user = { HERE, { uid = HERE }, { uid = 1, gid = HERE }, { uid = 1, groups = HERE }, { uid = 1, groups = { HERE } } },
  namespaces = { HERE, { HERE }, { net = HERE }, { "pid", user = HERE } }, standard_mounts = { HERE }, nesting = { HERE }, no_new_privs = { HERE },
  mounts = {
    HERE, { HERE }, { { type = HERE, target = "/mnt" } }, { { type = "tmpfs", target = HERE } }, { { type = "tmpfs", target = "/mnt", size = HERE } },
    { { type = "tmpfs", target = "/mnt", mode = HERE, uid = HERE } }, { { type = "bind", source = HERE, target = "/mnt" } },
    { { type = "bind", source = "/", target = "/mnt", propagation = HERE } }, { { type = "bind", source = "/", target = "/mnt", idmap = HERE } },
    { { type = "overlay", lower = HERE, target = "/mnt" } }, { { type = "overlay", lower = { HERE }, upper = HERE, work = HERE, target = "/mnt" } },
    { { type = "file", content = HERE, target = "/f" } }, { { type = "symlink", to = HERE, target = "/l" } }, { { type = "device", source = HERE } },
    { { type = "proc", hidepid = HERE, target = "/p" } }, { { type = "tmpfs", target = "/mnt", readonly = HERE } },
    { { type = "tmpfs", target = "/mnt", [HERE] = 1 } },
  },
  uid_map = { HERE, { HERE }, { { HERE, 0, 1 } }, { { 0, HERE, 1 } }, { { 0, 0, HERE } } }, gid_map = { HERE, { { 0, 0, HERE } } },
  capabilities = { HERE, { HERE }, { add = HERE }, { drop = { HERE } } },
  seccomp = { HERE, { HERE }, { { HERE, action = "allow" } }, { { "read", action = HERE } }, { { "read", action = "log", args = HERE } },
    { { "read", action = "log", args = { { index = HERE, op = "==", value = HERE } } } }, { default = HERE }, { compat = HERE },
    { { "read", action = "log", args = { { index = 0, op = HERE, value = 0, mask = HERE } } } } },
  masked = { HERE, { HERE }, { "/proc/kcore", optional = HERE } }, readonly_paths = { HERE, { HERE } },
  landlock = { HERE, { paths = HERE }, { paths = { [HERE] = "read" } }, { paths = { ["/"] = HERE } }, { bind_tcp = HERE }, { bind_tcp = { HERE } },
    { scope = HERE }, { scope = { HERE } }, { optional = HERE, scope = {} } },
  rlimits = { HERE, { nofile = HERE }, { [HERE] = 1 }, { nofile = { soft = HERE, hard = HERE } } },
  stdin = { HERE }, stdout = { HERE }, stderr = { HERE }, fds = { HERE, { [3] = HERE }, { [HERE] = 0 } }, timeout = { HERE }, detach = { HERE },
  init = { HERE, { grace = HERE } }, tty = { HERE, { rows = HERE, columns = 80 } },
}

-- A copy with a value in that place, as a key, too; nil where the value can be no key.
local function filled(pattern, value)
  if pattern == HERE then return value, true end
  if type(pattern) ~= "table" then return pattern, true end
  local copy = {}
  for key, inner in pairs(pattern) do
    if key == HERE then
      if value == nil or value ~= value then return nil, false end
      key = value
    end
    copy[key] = filled(inner, value)
  end
  return copy, true
end

-- Calls a function for each pattern and each value.
local function each_filled(patterns, body)
  for number, pattern in ipairs(patterns) do
    hostile.each(function(value, called)
      local whole, fits = filled(pattern, value)
      if fits then body(whole, ("%s in pattern %d"):format(called, number)) end
    end)
  end
end

describe("a description with values that nobody expects", function()
  it("is refused, and the field named; or is a container that can be explained", function()
    support.leaves_nothing(function()
      for field, patterns in pairs(FIELDS) do
        each_filled(patterns, function(value, called)
          local description = { rootfs = "/", command = { "/bin/true" } }
          description[field] = value
          local what = ("%s: %s"):format(field, called)
          local ok, box = hostile.call(what, casulo.container, description)
          if ok then hostile.call(what, box.explain, box)
          else assert.is_truthy(box:find("container.", 1, true) or box:find("raised", 1, true), what .. ": " .. box) end
        end)
      end
      hostile.each(function(value, called)
        hostile.call(called, casulo.container, value)
        hostile.call(called, casulo.container, { rootfs = "/", [value ~= nil and value == value and value or 1] = 1 })
      end)
    end)
  end)
end)

describe("a call with values that nobody expects", function()
  local box
  setup(function()
    box = casulo.container { rootfs = support.rootfs(), command = { "/bin/cat" }, stdin = "null", stdout = "null", stderr = "null" }
  end)

  -- What a start or a wait returned: a result, or nil and an error that is one line.
  local function check(what, ok, result, err)
    if not ok or result then return end
    if type(err) == "table" then err = tostring(err) end
    assert.are.equal("string", type(err), what)
    assert.is_nil(err:find "\n", what)
  end

  local OPTIONS = { "stdin", "stdout", "stderr", "fds", "timeout", "detach", "tty", "name" }

  it("runs with what it has understood, or raises: options of a run", function()
    support.leaves_nothing(function()
      hostile.each(function(value, called)
        check(called, hostile.call(called, box.run, box, value))
        for _, name in ipairs(OPTIONS) do
          local what = ("%s: %s"):format(name, called)
          if not (name == "name" and type(value) == "string") then check(what, hostile.call(what, box.run, box, { [name] = value })) end
          local ok, other = hostile.call(what, box.with, box, { [name] = value })
          if ok then assert.is_truthy(other) end
        end
      end)
    end)
  end)

  it("keeps the process whole: methods of a handle", function()
    support.leaves_nothing(function()
      local p <close> = assert(box:start { stdin = "pipe", stdout = "pipe" })
      hostile.each(function(value, called)
        if type(value) ~= "nil" and value ~= math.huge and value ~= 1 << 40 and value ~= math.maxinteger then
          check(called, hostile.call("wait: " .. called, p.wait, p, math.type(value) == "float" and value == value and value / 100 or value))
        end
        if value ~= 9 and value ~= nil then
          check(called, hostile.call("signal: " .. called, p.signal, p, value))
          check(called, hostile.call("kill: " .. called, p.kill, p, value))
        end
        hostile.call("resize: " .. called, p.resize, p, value, value)
        check(called, hostile.call("exec: " .. called, p.exec, p, value))
        for _, name in ipairs { "command", "env", "cwd", "user", "timeout", "stdin" } do
          local what = ("exec, %s: %s"):format(name, called)
          local options = { command = { "/bin/true" }, [name] = value }
          local ok, q, err = hostile.call(what, p.exec, p, options)
          check(what, ok, q, err)
          if ok and q then q:close() end
        end
        hostile.call("wait_any: " .. called, casulo.wait_any, value, 0)
        hostile.call("wait_any: " .. called, casulo.wait_any, { p, value }, 0)
      end)
      p.stdin:close()
      assert.are.equal(0, p:wait().exit_code)
    end)
  end)

  it("is refused before anything is started: plans", function()
    support.leaves_nothing(function()
      hostile.each(function(value, called)
        hostile.call("plan: " .. called, casulo.plan, value)
        hostile.call("plan: " .. called, casulo.plan, { value })
        hostile.call("ref: " .. called, casulo.ref, value)
        for _, field in ipairs { 1, 2, "as", "tolerate", "expect", "undo", "phase", "why" } do
          local step = { "chdir", "/", why = "it must be somewhere" }
          step[field] = value
          local what = ("step, %s: %s"):format(field, called)
          local ok, plan = hostile.call(what, casulo.plan, { step })
          if ok then hostile.call(what, plan.explain, plan) end
          check(what, hostile.call(what, casulo.unshared, { "mount" }, { step }, { stderr = "null" }))
        end
        check(called, hostile.call("unshared: " .. called, casulo.unshared, value, {}))
        check(called, hostile.call("unshared: " .. called, casulo.unshared, { "mount" }, { { "_exit", 0 } }, value))
      end)
    end)
  end)

  it("is refused: recipes and roots", function()
    for name, recipe in pairs(casulo.recipes) do
      if type(recipe) == "function" then
        hostile.each(function(value, called)
          for _, arguments in ipairs { { value }, { "/mnt", value }, { "/mnt", { nosuid = value } } } do
            hostile.call(("%s: %s"):format(name, called), recipe, table.unpack(arguments, 1, 2))
          end
        end)
      end
    end
    for _, name in ipairs { "overlay", "tmpfs", "host" } do
      hostile.each(function(value, called)
        hostile.call(("%s: %s"):format(name, called), casulo.rootfs[name], value)
        hostile.call(("%s: %s"):format(name, called), casulo.rootfs[name], { lower = value, size = value, writable = value })
      end)
    end
  end)
end)
