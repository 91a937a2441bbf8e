-- SPDX-License-Identifier: MIT

--- A process that uses casulo, for run.lua. With a state that no container may inherit it does what an argument names, tells how that
-- went, does it once more, when nothing fails any longer, and tells whether it is itself as it was.

local top = arg[0]:match "^(.*)caller%.lua$"
local name, sys = arg[1], nil

-- What of this process a start may not change.
local function state()
  local lines = {}
  collectgarbage()
  collectgarbage()
  for _, fd in ipairs(sys.scandir "/proc/self/fd") do
    local target = sys.readlink("/proc/self/fd/" .. fd)
    if target and not target:find "^/proc/%d+/fd$" then lines[#lines + 1] = ("fd %s -> %s"):format(fd, (target:gsub("%[%d+%]", ""))) end
  end
  for _, kind in ipairs(sys.scandir "/proc/self/ns") do lines[#lines + 1] = sys.readlink("/proc/self/ns/" .. kind) end
  for line in io.lines "/proc/self/status" do
    local field = line:match "^(%w+):"
    if (" Uid Gid Groups NoNewPrivs Seccomp Umask SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb "):find((" %s "):format(field)) then
      lines[#lines + 1] = line
    end
  end
  for _, path in ipairs { "/proc/self/limits", "/proc/self/oom_score_adj", "/proc/thread-self/children" } do
    for line in io.lines(path) do lines[#lines + 1] = ("%s: %s"):format(path, line) end
  end
  lines[#lines + 1] = ("cwd %s, dumpable %d"):format(sys.readlink "/proc/self/cwd", sys.prctl(sys.PR_GET_DUMPABLE))
  return table.concat(lines, "\n")
end

local before
local function prepare(casulo)
  if before then return end
  sys = casulo.sys
  for _, signal in ipairs { "SIGPIPE", "SIGUSR1", "SIGHUP" } do assert(sys.signal(sys[signal], sys.SIG_IGN)) end
  assert(sys.sigprocmask(sys.SIG_BLOCK, { sys.SIGUSR2 }))
  sys.umask(63)
  assert(sys.setpriority(sys.PRIO_PROCESS, 0, 5))
  local score <close> = assert(io.open("/proc/self/oom_score_adj", "w"))
  assert(score:write "500")
  score:close()
  before = state()
end

local function act()
  if name == "load" then os.remove "/faults+" end
  local casulo = require "casulo"
  if name == "load" then os.remove "/faults-" end
  prepare(casulo)
  return dofile(top .. "actions.lua")(casulo)[name == "load" and "run" or name]()
end

local function tell(which)
  local ok, text, err = pcall(act)
  if name ~= "load" and sys then sys.kill(sys.getpid(), sys.SIGURG) end
  if ok and text then print(("@%s ok\n%s"):format(which, text))
  else print(("@%s error\n%s"):format(which, tostring(not ok and text or err))) end
end

tell "first"
tell "second"
local after = state()
print(before == after and "@caller whole" or ("@caller changed\n%s\n--- now\n%s"):format(before, after))
