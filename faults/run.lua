-- SPDX-License-Identifier: MIT

--- Makes each system call of each scenario fail in turn, and judges what comes of it. Run by run.sh, in a sandbox, as one of several
-- workers that share the work:
--
--     run.lua TREE WORKER WORKERS [quick] [PATTERN]
--
-- A line of standard output for each exception; TREE/counts for the table.

local top = arg[0]:match "^(.*)run%.lua$"
package.path = top .. "?.lua;" .. package.path
local harmless = require "harmless"
local judge = require "judge"
local sys = require "casulo.sys"

local tree, worker, workers = arg[1], math.tointeger(arg[2]), math.tointeger(arg[3])
local quick, pattern = arg[4] == "quick", arg[5] or ""

local ERRNOS = { "EPERM", "EIO", "ENOMEM", "ENOSYS" }
local NAMES = {}
for name, number in pairs(require "casulo.syscalls".x86_64) do NAMES[number] = name end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function path_of(scenario) return ("%s/%d"):format(tree, scenario.uid) end

local function environment(scenario)
  return ("cd %s; export CASULO_FAULTS_TREE=%s XDG_RUNTIME_DIR=%s/runtime; "):format(path_of(scenario), path_of(scenario), path_of(scenario))
end

-- Runs a scenario with inject's arguments. → `calls` (those that it tells of), `out`, `err`, `ending`, `left`: a list
local function run(scenario, process, call, ordinal, errno)
  local line = scenario.action and ("lua5.4 %s %s"):format(quote(top .. "caller.lua"), scenario.action) or "casulo " .. scenario.line
  os.execute(("%s exec %s/inject %d %d %d %d %d %d %s </dev/null >%s/out 2>%s/err 3>%s/told"):format(environment(scenario), tree, scenario.uid,
    scenario.action and scenario.action ~= "load" and 0 or 1, process, call, ordinal, errno, line, tree, tree, tree))
  local ran = { calls = {}, left = {}, out = read(tree .. "/out"), err = read(tree .. "/err"), ending = "no end" }
  for what, rest in read(tree .. "/told"):gmatch "(%l+) ?([^\n]*)\n" do
    if what == "call" then ran.calls[#ran.calls + 1] = rest
    elseif what == "left" then ran.left[#ran.left + 1] = rest
    else ran.ending = rest end
  end
  return ran
end

local function listing(path)
  local names = sys.scandir(path) or {}
  table.sort(names)
  return table.concat(names, " ")
end

-- The cgroups that callers in this PID namespace have made; the other workers have the same tree.
local function cgroups()
  local own = sys.readlink "/proc/self/ns/pid":match "%d+"
  local left = {}
  for _, place in ipairs { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" } do
    for _, name in ipairs(sys.scandir(place) or {}) do
      local path = ("%s/%s"):format(place, name)
      if name:match "^casulo%-%d+%-(%d+)%-" == own then left[#left + 1] = ("%s: %s"):format(path, listing(path)) end
    end
  end
  return table.concat(left, "\n")
end

-- Of the host all that a start could leave behind.
local function host_state()
  local processes = {}
  for _, name in ipairs(sys.scandir "/proc") do
    if name:find "^%d+$" then processes[#processes + 1] = ("%s %s"):format(name, sys.readlink(("/proc/%s/exe"):format(name))) end
  end
  local state = { read "/proc/self/mountinfo", table.concat(processes, "\n"), sys.gethostname(), cgroups() }
  for path in ("/run /run/casulo /tmp /mnt /dev/shm"):gmatch "%S+" do state[#state + 1] = ("%s: %s"):format(path, listing(path)) end
  for _, uid in ipairs { 0, 61234 } do
    for _, name in ipairs { "", "root", "upper", "work", "runtime/casulo" } do
      state[#state + 1] = ("%d/%s: %s"):format(uid, name, listing(("%s/%d/%s"):format(tree, uid, name)))
    end
  end
  return table.concat(state, "\n")
end

-- A container that lives, for commands that find one by its name.
local function have_beside(scenario)
  if not scenario.beside then return end
  local line = ("%s setpriv --reuid %d --regid %d --clear-groups %s/beside.sh"):format(environment(scenario), scenario.uid, scenario.uid, top)
  assert(os.execute(line), line)
end

-- Which calls each process makes, and how often in each of some clean runs: a poll more or less is one of chance.
local function record(scenario)
  local fewest, order, clean = nil, {}, nil
  have_beside(scenario)
  run(scenario, 0, 0, 0, 0) -- what is different the first time only
  for i = 1, 3 do
    have_beside(scenario)
    local ran, counts = run(scenario, 0, 0, 0, 0), {}
    local parts = judge.parts(ran, scenario)
    if not parts or parts.first.how ~= "ok" or #ran.left > 0 or parts.second and judge.normal(parts.second.text) ~= judge.normal(parts.first.text)
      or clean and judge.normal(parts.first.text) ~= clean then
      local second = parts and parts.second and judge.difference(judge.normal(parts.first.text), judge.normal(parts.second.text)) or ran.out
      error(("%s: it does not run:\n%s\n%s\n%s%s"):format(scenario.name, ran.ending, second, ran.err, table.concat(ran.left, "\n")), 0)
    end
    clean = judge.normal(parts.first.text)
    for _, each in ipairs(ran.calls) do
      if not counts[each] and i == 1 then order[#order + 1] = each end
      counts[each] = (counts[each] or 0) + 1
    end
    for each, count in pairs(fewest or counts) do counts[each] = math.min(count, counts[each] or 0) end
    fewest = counts
  end
  local injections = {}
  for _, each in ipairs(order) do
    local process, number = each:match "^(%d+) (%d+)$"
    local call = NAMES[tonumber(number)] or number
    for ordinal = 1, harmless.cannot_fail[call] and 0 or fewest[each] do
      local one = scenario.further and ERRNOS[(ordinal + #injections) % #ERRNOS + 1]
      for _, errno in ipairs(one and { one } or ERRNOS) do
        injections[#injections + 1] = { process = tonumber(process), number = tonumber(number), ordinal = ordinal, errno = errno, call = call,
          is_only = one ~= nil }
      end
    end
  end
  return injections, clean
end

-- Of each call of each process the first, with one errno after another.
local function sample(injections)
  local chosen = {}
  for _, each in ipairs(injections) do
    if each.ordinal == 1 and (each.is_only or each.errno == ERRNOS[each.number % #ERRNOS + 1]) then chosen[#chosen + 1] = each end
  end
  return chosen
end

local before

-- → verdict; nil and what is wrong
local function try(scenario, each, clean)
  have_beside(scenario)
  local ran = run(scenario, each.process, each.number, each.ordinal, sys[each.errno])
  ran.hit = each
  if not ran.calls[1] then return "unreached" end
  if ran.ending == "hang" or ran.ending == "" then return nil, "it hangs" end
  if #ran.left > 0 then return nil, "left behind: " .. table.concat(ran.left, ", ") end
  local now = not scenario.beside and host_state()
  if now and now ~= before then
    local was = before
    before = now
    return nil, "the host is not what it was:\n" .. judge.difference(was, now)
  end
  local verdict, wrong = judge.judge(ran, scenario, clean)
  if verdict then return verdict end
  if harmless.reason(each.call, wrong) then return "harmless" end
  return nil, wrong
end

local function examine(scenario, counts)
  local injections, clean = record(scenario)
  if quick then injections = sample(injections) end
  before = host_state()
  for i = worker, #injections, workers do
    local each = injections[i]
    local verdict, wrong = try(scenario, each, clean)
    if verdict == "unreached" then verdict, wrong = try(scenario, each, clean) end
    if not verdict then
      print(("%s: process %d, %s no. %d, %s: %s"):format(scenario.name, each.process, each.call, each.ordinal, each.errno, wrong))
      io.stdout:flush()
    end
    verdict = verdict or "exception"
    counts[verdict] = (counts[verdict] or 0) + 1
  end
end

local file <close> = assert(io.open(tree .. "/counts", "w"))
for _, scenario in ipairs(require "scenarios") do
  if scenario.name:find(pattern, 1, true) then
    local counts = {}
    local ok, message = pcall(examine, scenario, counts)
    if not ok then
      print(message)
      counts.exception = (counts.exception or 0) + 1
    end
    file:write(scenario.name)
    for _, verdict in ipairs { "error", "success", "harmless", "unreached", "exception" } do file:write("\t", counts[verdict] or 0) end
    file:write "\n"
    file:flush()
  end
end
