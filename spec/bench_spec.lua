-- SPDX-License-Identifier: MIT
local support = require "support"
local sys = require "casulo.sys"

-- Without what is another number each time: descriptors, addresses. Octal modes and numbers in strings stay.
local function normal(call)
  call = call:gsub(" += .*", ""):gsub("sa_flags=SA_RESTORER, sa_restorer=0x%x+", "sa_flags=0")
  return (call:gsub("0x%x+", "N"):gsub('([^%w"])[1-9]%d*', "%1N"))
end

-- The calls of a trace in the order in which they begin. One that another process comes between is told in two parts.
local function calls_in(trace)
  local list, unfinished = {}, {}
  for pid, text in trace:gmatch "(%d+) +([^\n]*)" do
    local rest = text:match "^<%.%.%. [%w_]+ resumed>(.*)"
    if rest then unfinished[pid].call = unfinished[pid].call .. rest
    elseif text:find "^[%a_][%w_]*%(" then
      list[#list + 1] = { pid = pid, call = text:gsub(" <unfinished %.%.%.>$", "") }
      unfinished[pid] = list[#list]
    end
  end
  return list
end

-- The calls of each child that shares memory, from its birth to its exec.
local function calls_of_children(trace)
  local children, by_pid, callers, expected = {}, {}, {}, false
  for _, begun in ipairs(calls_in(trace)) do
    local pid, call = begun.pid, begun.call
    if call:find "^clone3?%(.*CLONE_VFORK" then
      callers[pid], expected = true, true
    elseif expected and not callers[pid] then
      by_pid[pid], expected = {}, false
      children[#children + 1] = by_pid[pid]
    end
    local calls = by_pid[pid]
    if calls and not calls.ended then
      calls[#calls + 1] = normal(call)
      calls.ended = call:find "^execve%(" ~= nil
    end
  end
  return children
end

-- What the second container of a kind does, started by a command that takes "KIND COUNT".
local function calls(command, kind)
  local trace = support.tmpdir() .. "/trace"
  local status, _, err = support.sh(("echo %s 2 | strace -f -o %s %s"):format(kind, trace, command))
  assert.are.equal(0, status, err)
  local children = calls_of_children(support.read_file(trace))
  assert.are.equal(2, #children)
  assert.is_true(children[2].ended)
  return children[2]
end

-- The way through casulo-init, by which C goes only where it is told to.
local HAND_OVER = { "dup3", "execveat", "prctl", "prctl", "rt_sigprocmask", "fcntl" }

local function without_hand_over(list)
  local rest, position = {}, 1
  while list[position] and not list[position]:find "^dup3" do position = position + 1 end
  for i, name in ipairs(HAND_OVER) do assert.are.equal(name, list[position + i - 1]:match "^[%w_]+") end
  table.move(list, 1, position - 1, 1, rest)
  return table.move(list, position + #HAND_OVER, #list, position, rest)
end

local function make(target) assert.are.equal(0, (support.sh("make -s --no-print-directory " .. target))) end

local function line_of(text, beginning)
  for line in text:gmatch "[^\n]+" do
    if line:find(beginning, 1, true) then return line end
  end
  error(("no line with %q in: %s"):format(beginning, text), 2)
end

local function assert_same_calls(expected, calls_made)
  for i, call in ipairs(expected) do assert.are.equal(call, calls_made[i]) end
  assert.are.equal(#expected, #calls_made)
end

describe("bench", function()
  for _, kind in ipairs { "four", "six", "whole" } do
    it("compares with C that makes the same system calls in the same order: " .. kind, function()
      if not support.needs_root() then return end
      make "build/bench/by_hand"
      local root = support.rootfs()
      local ours = calls(("env LUA_PATH='./?.lua;%s' LUA_CPATH='%s' lua5.4 bench/in_process.lua %s"):format(
        package.path, package.cpath, root), kind)
      local images = dofile "bench/images.lua"(support.tmpdir(), root, { "/bin/true" })
      local direct = calls(("build/bench/by_hand %s/ /bin/true"):format(root), kind)
      local through = calls(("build/bench/by_hand --through %s %s/ /bin/true"):format(images, root), kind)
      assert_same_calls(ours, through)
      assert_same_calls(without_hand_over(ours), direct)
    end)
  end

  it("prints what it measures, writes it as JSON, and leaves nothing behind", function()
    if not support.needs_root() then return end
    support.leaves_nothing(function()
      local status, out, err = support.sh "make -s --no-print-directory bench QUICK=1"
      assert.are.equal(0, status, err)
      for _, row in ipairs { "PID, mount, UTS, IPC; /proc and /dev", "the full default container", "One after another", "Alive at once" } do
        line_of(out, row)
      end
    end)
    local report = assert(require "dkjson".decode(support.read_file "build/bench.json"))
    local rows = {}
    for _, section in ipairs(report.sections) do rows[section.name] = section.rows end
    assert.are.equal(3, #rows["in process"])
    for _, row in ipairs(rows["in process"]) do assert.is_true(row.casulo > 0 and row["by hand"] > 0 and row.through > 0 and row.ratio > 0) end
    assert.are.equal(4, #rows.commands)
    assert.are.equal(0, rows.sequence[1].descriptors + rows.sequence[1].processes + rows.sequence[1].mounts)
    for _, row in ipairs(rows.alive) do assert.are.equal(1, row.processes) end
  end)

  it("measures nothing beside a revision that there is none of", function()
    if not support.needs_root() then return end
    local status, out, err = support.sh "make -s --no-print-directory bench QUICK=1 ONLY=revision REVISION=none-such"
    assert.are_not.equal(0, status)
    assert.are.equal("", out)
    assert.is_truthy(err:find "^fatal: ")
  end)

  it("leaves nothing behind when it is interrupted", function()
    if not support.needs_root() then return end
    make "bench-packages build/bench/by_hand build/bench/pause"
    support.leaves_nothing(function()
      local out = support.tmpdir() .. "/out"
      support.write_file(out, "")
      local pid = assert(sys.clone(0, function()
        local file = assert(io.open(out, "w"))
        sys.dup2(file, 1)
        sys.dup2(file, 2)
        sys.execve("/bin/sh", { "sh", "bench/run.sh", "quick" },
          { "PATH=" .. os.getenv "PATH", "LUA_PATH=" .. package.path, "LUA_CPATH=" .. package.cpath })
      end, { threads = true }))
      support.eventually(function() return support.read_file(out):find "C by hand" end, "the first section")
      assert(sys.kill(pid, sys.SIGINT))
      local _, how, code = sys.waitpid(pid)
      assert.are.same({ "exit", 130 }, { how, code })
    end)
    assert.is_nil(sys.stat "build/bench/state")
  end)

  it("says of each target whether it is reached", function()
    local text_of, figures = dofile "bench/table.lua", dofile "bench/figures.lua"
    local text = text_of {
      title = "Title", notes = { "a note" }, columns = { { "name", "%s" }, { "time", "%.1f", "time, s" } },
      rows = {
        { name = "short", time = 2.25, targets = { figures.target("of C", 2.25, 1.5), figures.target("kB", 1, 1) } },
        { name = "reached", targets = { figures.target("of C", 1.5, 1.5) } },
        { name = "none", time = "not installed" },
      },
    }
    assert.are.equal(table.concat({
      "Title", "",
      "  name           time, s  target",
      "  short              2.2  of C > 1.5: SHORT, kB ≤ 1",
      "  reached              –  PASS: of C ≤ 1.5",
      "  none     not installed",
      "  a note", "",
    }, "\n"), text)
  end)
end)
