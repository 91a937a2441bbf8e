-- SPDX-License-Identifier: MIT
--- Kills callers and loads the host, again and again, and says what of it went wrong. As root.
--
-- usage: run.lua COMMAND DIRECTORY quick|whole [TEXT]

local command, directory, quick, pattern = arg[1], arg[2], arg[3] == "quick", arg[4] or ""

local casulo = require "casulo"
local death = require "soak.death"
local load = require "soak.load"
local sys = casulo.sys

local MOST = 2000 -- deaths of a kind
local seed = math.tointeger(tonumber(os.getenv "CASULO_SOAK_SEED")) or os.time()
math.randomseed(seed)

-- Names, mounts and orphans are this process's own; mounts propagate, as on most hosts.
local function settle()
  assert(sys.unshare(sys.CLONE_NEWNS))
  assert(sys.mount(nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE))
  assert(sys.mount("run", "/run", "tmpfs", 0, "mode=755"))
  assert(sys.mount(nil, "/", nil, sys.MS_REC | sys.MS_SHARED))
  assert(sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1))
end

local counts = { done = 0, exceptions = 0 }

local function row(name, count, problems, remark)
  counts.done, counts.exceptions = counts.done + count, counts.exceptions + #problems
  print(("%-60s %6d  %d exceptions%s"):format(name, count, #problems, remark and "; " .. remark or ""))
  for _, problem in ipairs(problems) do print("    " .. problem) end
  io.flush()
end

local function wanted(name) return name:find(pattern, 1, true) ~= nil end

local function deaths(place)
  local most = quick and MOST // 100 or MOST
  for _, case in ipairs(death.CASES) do
    for i, signal in ipairs(death.SIGNALS) do
      local name = ("caller killed by %s: %s"):format(signal, case.name)
      local count = math.ceil(most * case.share / (i == 1 and 1 or 8))
      if wanted(name) then row(name, count, death.of_callers(case, place, signal, count)) end
    end
  end
  for _, fields in ipairs { {}, { init = true } } do
    local name = "first process killed" .. (fields.init and ", with init" or "")
    if wanted(name) then
      local problems, early = death.of_first_processes(fields, place, most)
      row(name, most, problems, ("%d before the command ran"):format(early))
    end
  end
end

settle()
local root = casulo.rootfs.busybox(directory .. "/root")
local place = { root = root, built = directory .. "/built/root", command = command, null = assert(sys.open("/dev/null", sys.O_WRONLY)),
  directories = { directory, directory .. "/built", "/run/casulo" } }
assert(sys.mkdir(directory .. "/built", 493))
print("seed " .. seed)
assert(sys.mkdir("/run/casulo", 448))
deaths(place)
for _, case in ipairs(load.CASES) do
  if wanted(case.name) then row(case.name, case.run(place, quick)) end
end
print(("soak: %d tried, %d exceptions"):format(counts.done, counts.exceptions))
os.exit(counts.exceptions == 0)
