-- SPDX-License-Identifier: MIT
--- Very many containers, and too little of something: each start is right, or one clear error, and all that was taken comes back.

local casulo = require "casulo"
local host = require "soak.host"
local sys = casulo.sys

local load = {}

local function box(place, fields)
  local description = { rootfs = place.root, command = { "/bin/true" }, stdin = "null" }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function kilobytes(field) return math.tointeger(tonumber(host.read "/proc/self/status":match(field .. ":%s+(%d+) kB"))) end

-- Runs a function, which returns a list of problems, in a copy of this process, which may be limited or become somebody else.
local function in_copy(body)
  local out <close>, into = assert(sys.pipe2(0))
  local pid = host.fork(function()
    local ok, problems = pcall(body)
    assert(sys.write(into, table.concat(ok and problems or { tostring(problems) }, "\n")))
  end)
  into:close()
  local text = ""
  repeat
    local part = assert(sys.read(out, 65536))
    text = text .. part
  until part == ""
  local _, how, code = sys.waitpid(pid)
  local problems = {}
  for line in text:gmatch "[^\n]+" do problems[#problems + 1] = line end
  if how ~= "exit" or code ~= 0 then problems[#problems + 1] = ("the caller: %s %d"):format(how, code) end
  return problems
end

-- Calls a function; what it returns that is another than before is a problem, too.
local function unchanged(place, body)
  local before = host.look(place.directories)
  local problems = body()
  problems[#problems + 1] = host.wait_for_none(1)
  problems[#problems + 1] = host.difference(before, host.look(place.directories))
  return problems
end

local GROWTH = 2048 -- kB: what an allocator may keep

local function in_sequence(place, quick)
  local count = quick and 200 or 10000
  local container = box(place)
  return count, unchanged(place, function()
    local wrong = {}
    for _ = 1, 100 do container:run() end -- what is made once is made now
    collectgarbage()
    local before = kilobytes "VmRSS"
    for i = 1, count do
      local result, err = container:run()
      if not result or result.exit_code ~= 0 then wrong[#wrong + 1] = ("run %d: %s"):format(i, err or result.signal or result.exit_code) end
    end
    collectgarbage()
    local growth = kilobytes "VmRSS" - before
    if growth > GROWTH then wrong[#wrong + 1] = ("it has grown by %d kB"):format(growth) end
    return wrong
  end)
end

local TALKER = 'echo "out $0"; echo "err $0" >&2; read line; echo "$line"'

local function start_talker(place, number)
  return assert(box(place, { command = { "/bin/sh", "-c", TALKER, tostring(number) }, stdin = "pipe", stdout = "pipe", stderr = "pipe" }):start())
end

local function end_talker(process, number)
  assert(sys.write(process.stdin, ("answer %d\n"):format(number)))
  process.stdin:close()
  local result = assert(process:wait())
  local expected = ("out %d\nanswer %d\n"):format(number, number)
  if result.exit_code == 0 and result.stdout == expected and result.stderr == ("err %d\n"):format(number) then return nil end
  return ("container %d: %s %q %q"):format(number, result.exit_code or result.signal, result.stdout, result.stderr)
end

local HUNGER = 512 -- MB

local function alive(place, quick)
  local count = quick and 40 or 2000
  return count, unchanged(place, function()
    local heap, processes, wrong = {}, {}, {}
    for i = 1, quick and 16 or HUNGER do heap[i] = ("x"):rep(1 << 20) end
    for i = 1, count do processes[i] = start_talker(place, i) end
    for i = 1, count do wrong[#wrong + 1] = end_talker(processes[i], i) end
    assert(heap[1]:byte() == 120)
    return wrong
  end)
end

-- Starts until that fails. → what was started, and the error
local function start_all(container, most)
  local started = {}
  for i = 1, most do
    local process, err = container:start()
    if not process then return started, err end
    started[i] = process
  end
  return started
end

-- Whether the error says so; then all is ended, and there is room again.
local function fills_up(container, words, least)
  local wrong = {}
  local started, err = start_all(container, 1000)
  if #started < least then wrong[#wrong + 1] = ("only %d were started"):format(#started) end
  if not tostring(err):find(words) or tostring(err):find "\n" then wrong[#wrong + 1] = "no clear error: " .. tostring(err) end
  for i, process in ipairs(started) do
    if process:wait(0) then wrong[#wrong + 1] = ("container %d has not lived on"):format(i) end
    process:close()
  end
  local process, why = container:start()
  if process then process:close() else wrong[#wrong + 1] = "when all had ended: " .. tostring(why) end
  return wrong
end

local function few_descriptors(place)
  return 64, unchanged(place, function()
    return in_copy(function()
      local open = #sys.scandir "/proc/self/fd"
      assert(sys.setrlimit(sys.RLIMIT_NOFILE, open + 64, open + 64))
      return fills_up(box(place, { command = { "/bin/sleep", "1000" }, stdout = "pipe", stderr = "pipe" }), "Too many open files", 8)
    end)
  end)
end

local PROCESSES = 40

local function few_processes(place)
  return PROCESSES, unchanged(place, function()
    return in_copy(function()
      assert(sys.setrlimit(sys.RLIMIT_NPROC, PROCESSES, PROCESSES))
      host.become_user()
      return fills_up(box(place, { command = { "/bin/sleep", "1000" } }), "Resource temporarily unavailable", PROCESSES // 2)
    end)
  end)
end

-- A disk with no room left, at a path, for the copy of this process that calls it.
local function full_disk(path)
  assert(sys.unshare(sys.CLONE_NEWNS))
  assert(sys.mount(nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE))
  assert(sys.mount("disk", path, "tmpfs", 0, "mode=700,size=64k,nr_inodes=4"))
  local file <close> = assert(sys.open(path .. "/filling", sys.O_WRONLY | sys.O_CREAT, 384))
  repeat until not sys.write(file, ("x"):rep(4096))
end

local function full_state(place)
  return 3, in_copy(function()
    local wrong = {}
    full_disk "/run/casulo"
    local before = host.look { "/run/casulo" }
    for _ = 1, 3 do
      local process, err = box(place, { name = "soak" }):start()
      if process or not tostring(err):find "No space left on device" then wrong[#wrong + 1] = "a full state directory: " .. tostring(err) end
    end
    wrong[#wrong + 1] = host.wait_for_none(1)
    wrong[#wrong + 1] = host.difference(before, host.look { "/run/casulo" })
    return wrong
  end)
end

local function full_root(place)
  return 2, in_copy(function()
    local wrong, root = {}, place.built .. "-disk"
    assert(sys.mkdir(root, 448))
    full_disk(root)
    local ok, err = pcall(casulo.rootfs.busybox, root .. "/tree")
    if ok or not tostring(err):find "No space left on device" then wrong[#wrong + 1] = "a tree on a full disk: " .. tostring(err) end
    local left = host.listed(root)
    if left ~= "filling" then wrong[#wrong + 1] = "left on a full disk: " .. left end
    local result, why = casulo.container { rootfs = root, command = { "/bin/true" } }:run()
    if result or why.errno ~= sys.ENOSPC then wrong[#wrong + 1] = "a root on a full disk: " .. tostring(why) end
    wrong[#wrong + 1] = host.wait_for_none(1)
    return wrong
  end)
end

--- Each: `name`, and `run`, which returns how many were tried, and what was wrong.
load.CASES = {
  { name = "one after another", run = in_sequence },
  { name = "alive at once, under a memory-hungry caller", run = alive },
  { name = "64 descriptors are free", run = few_descriptors },
  { name = "an ordinary user's processes are limited", run = few_processes },
  { name = "the disk of the names is full", run = full_state },
  { name = "the disk of the root is full", run = full_root },
}

return load
