-- SPDX-License-Identifier: MIT
-- Starts through a go-between in which somebody is killed at a random moment. The caller shares its memory with those.
local casulo = require "casulo"
local killer = require "soak.killer"
local support = require "support"
local sys = casulo.sys

local MAP = { { 0, 100000, 65536 } }

local function each_with_ids(name, body)
  it(name .. " (as root)", function()
    if support.needs_root() then body { namespaces = { "user", "pid", "mount" }, uid_map = MAP, gid_map = MAP } end
  end)
  it(name .. " (as a user with subordinate ids)", function()
    support.as_user_with_ids(function() body { uid_map = "auto" } end)
  end)
end

local function sleeper(fields, argument)
  local raw = { rootfs = support.rootfs(), command = { "/bin/sleep", argument } }
  for name, value in pairs(fields) do raw[name] = value end
  return casulo.container(raw)
end

-- Whom the killer met, by what the error says.
local MET = {
  ["the go%-between was killed by signal 9$"] = "go-between",
  ["the child was killed by signal 9 at step"] = "child",
  ["new[ug]idmap: killed by signal 9$"] = "helper",
}

local function met(err)
  for pattern, who in pairs(MET) do
    if tostring(err):find(pattern) then return who end
  end
  error("an error that nobody understands: " .. tostring(err), 0)
end

describe("a start with ranges of ids", function()
  each_with_ids("whose go-between, helper or child is killed leaves the caller's heap whole, and nothing else", function(fields)
    local heap, count = {}, { ["go-between"] = 0, helper = 0, child = 0, command = 0 }
    for i = 1, 20000 do heap[i] = { name = "entry " .. i, i } end
    local box = sleeper(fields, "1000")
    assert(box:start()):close()
    support.leaves_nothing(function()
      local stop = killer.of_children(fields.namespaces and 0.001 or 0.006)
      local starts = 0
      repeat
        local p, err = box:start()
        local who = p and "command" or met(err)
        if p then assert.are.same({ signal = sys.SIGKILL }, p:wait()) else assert.are.equal("setup", err.kind) end
        count[who], starts = count[who] + 1, starts + 1
      until starts >= 300 and count["go-between"] >= 20 or starts == 20000
      stop()
    end)
    assert.is_true(count["go-between"] >= 20, "too few kills met the go-between: " .. count["go-between"])
    for i = 1, 20000 do assert(heap[i].name == "entry " .. i and heap[i][1] == i) end
    local clean = box:with { command = { "/bin/true" } }
    for _ = 1, 20 do assert.are.same({ exit_code = 0 }, clean:run()) end
    assert.are.equal(1, sys.prctl(sys.PR_GET_DUMPABLE))
  end)

  each_with_ids("whose caller is killed leaves neither go-between nor child", function(fields)
    local marker = ("%d%d"):format(sys.getpid(), 9200)
    local command = support.command():gsub("bin/casulo$", "build/bin/casulo")
    local script = ("%s/%s.lua"):format(support.tmpdir(), marker)
    support.write_file(script, ([[return { rootfs = %q, command = { "sleep", %q }, uid_map = %s, gid_map = %s, namespaces = %s }]]):format(
      support.rootfs(), marker, fields.namespaces and "{ { 0, 100000, 9 } }" or '"auto"',
      fields.namespaces and "{ { 0, 100000, 9 } }" or "nil", fields.namespaces and '{ "user", "pid", "mount" }' or "nil"))
    -- A go-between has its caller's arguments, as it has its memory.
    local function are_gone()
      for _, name in ipairs(sys.scandir "/proc") do
        local file = name:find "^%d+$" and io.open(("/proc/%s/cmdline"):format(name))
        local ok, text = pcall(function() return file:read "a" end)
        if file then file:close() end
        if ok and text and text:find(marker, 1, true) then return false end
      end
      return true
    end
    for _ = 1, 60 do
      local pid = assert(sys.clone(0, function()
        local null = sys.open("/dev/null", sys.O_RDWR)
        for stream = 0, 2 do sys.dup2(null, stream) end
        sys.execve(command, { command, "run", script }, { "PATH=/bin:/usr/bin" })
      end, { threads = true }))
      killer.pass(fields.namespaces and 0.008 or 0.02)
      sys.kill(pid, sys.SIGKILL)
      sys.waitpid(pid)
    end
    support.eventually(are_gone, "all processes gone with their callers")
  end)
end)
