-- SPDX-License-Identifier: MIT
--- A process that holds many containers at once and says what that took, as a line of JSON.
--
-- usage: alive.lua ROOT casulo|bwrap|bare four|six|whole COUNT SECONDS COMMAND [ARGUMENT…]
-- For `bare` nothing but the command is started, without a container. After SECONDS no more are started.

local casulo = require "casulo"
local json = require "dkjson"
local kinds = require "bench.kinds"
local peer = require "bench.peer"
local tools = require "bench.tools"
local sys = casulo.sys

local root, tool, kind, count, patience = arg[1], arg[2], arg[3], math.tointeger(tonumber(arg[4])), tonumber(arg[5])
local command = { table.unpack(arg, 6) }

local KERNEL = { "SReclaimable", "SUnreclaim", "VmallocUsed", "PageTables", "Percpu" } -- stacks are among what is vmalloced

local function now() return sys.clock_gettime(sys.CLOCK_MONOTONIC) end

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

-- What the kernel itself holds, in kB, as it books it. Not how far MemAvailable fell: freed pages come back to that seconds
-- later, on a virtual machine that reports them to its host first.
local function kernel_memory()
  local text, sum = read "/proc/meminfo", 0
  for _, field in ipairs(KERNEL) do sum = sum + tonumber(text:match(field .. ":%s+(%d+)")) end
  return sum
end

-- When two looks find the same, within 0.1 %, or after some seconds.
local function settled()
  local last, deadline = kernel_memory(), now() + 1 + count / 1000
  while true do
    sys.poll({}, 200)
    local this = kernel_memory()
    if math.abs(this - last) < 1e-3 * this or now() > deadline then return this end
    last = this
  end
end

-- The processes that descend from this one: how many run the command, and what they hold beside the files, in kB.
local function descendants()
  local parents, processes, running, held = {}, 0, 0, 0
  local own, name = tostring(sys.getpid()), command[1]:match "[^/]+$"
  for _, pid in ipairs(sys.scandir "/proc") do
    local status = pid:find "^%d" and read(("/proc/%s/status"):format(pid)) or ""
    parents[pid] = status:match "PPid:%s+(%d+)" and { status:match "PPid:%s+(%d+)", status }
  end
  for _, entry in pairs(parents) do
    local ancestor = entry[1]
    while parents[ancestor] and ancestor ~= own do ancestor = parents[ancestor][1] end
    if ancestor == own then
      processes = processes + 1
      if entry[2]:match "Name:%s+([^\n]*)" == name then running = running + 1 end
      held = held + tonumber(entry[2]:match "RssAnon:%s+(%d+)" or 0) + tonumber(entry[2]:match "RssShmem:%s+(%d+)" or 0)
    end
  end
  return processes, running, held
end

local Box = {}

-- Each tool: a function that returns a function that starts one, and that returns how to end and how to reap it.
function Box.casulo()
  local box = casulo.container(kinds.describe(kind, root, command))
  return function()
    local process, err = box:start()
    if not process then return nil, tostring(err) end
    return { kill = function() process:kill() end, wait = function() process:wait() end }
  end
end

local function by_program(words)
  local program, null = peer.program(words), assert(sys.open("/dev/null", sys.O_RDWR))
  return function()
    local pid, message = sys.clone(0, program, { values = { input = null, output = null } })
    if not pid then return nil, message end
    return { kill = function() sys.kill(pid, sys.SIGKILL) end, wait = function() sys.waitpid(pid) end }
  end
end

function Box.bare() return by_program { root .. command[1], table.unpack(command, 2) } end

function Box.bwrap()
  for _, each in ipairs(tools.LIST) do
    if each[1] == "bwrap" then return by_program(each[2](kind, root, command)) end
  end
end

-- A tool of several processes is ready later than its start returns.
local function wait_until_running(number)
  while tool == "bwrap" and select(2, descendants()) < number do sys.poll({}, 20) end
end

-- As the subreaper of all that a tool's first process leaves behind.
local function reap_others()
  while sys.waitpid(-1) do end
end

assert(sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1))
local answer, boxes = {}, {}
local start = Box[tool]()
local before, moment = settled(), now()
for i = 1, count do
  local box, message = start()
  boxes[i] = box
  answer.stopped = message or now() - moment > patience and ("%d s were over"):format(patience) or nil
  if answer.stopped then break end
end
wait_until_running(#boxes)
answer.alive, answer.start = #boxes, now() - moment
local held = settled()
local processes, _, user = descendants()
answer.processes, answer.user, answer.kernel = processes / #boxes, user / #boxes, (held - before) / #boxes
moment = now()
for _, box in ipairs(boxes) do box.kill() end
for _, box in ipairs(boxes) do box.wait() end
reap_others()
answer.reap = now() - moment
repeat -- what the kernel takes down after the last process is gone, network namespaces above all
  local freed = held - kernel_memory() > 0.8 * (held - before)
  answer.freed = now() - moment
until freed or answer.freed > 1 + count / 200 or not sys.poll({}, 50)
print(json.encode(answer))
