-- SPDX-License-Identifier: MIT
-- An exec that strace holds at one call: who dies with whom there, and what can be seen of it from inside.
local privileges = require "casulo.recipes.privileges"
local shared = require "exec_support"
local support = require "support"
local sys = require "casulo.sys"

local ALL, box, child_of, status, inside, only_child_is =
  shared.ALL, shared.box, shared.child_of, shared.status, shared.inside, shared.only_child_is

local NUMBERS = require "casulo.syscalls"[sys.AUDIT_ARCH_NATIVE == sys.AUDIT_ARCH_X86_64 and "x86_64" or "aarch64"]
local IDS = { { 0, 100000, 10 } }
local RANGES = { namespaces = ALL, uid_map = IDS, gid_map = IDS }

-- What strace does to a call. In a second somebody else can be killed; and a process that this kills, too, is gone when that is over.
-- One that goes on, and comes to where it is held for long, outlasts the test.
local BEFORE, AFTER, FOR_LONG = "delay_enter=1000000", "delay_exit=1000000", "delay_enter=35000000"

local function options_of_strace(delays)
  local calls, options = {}, {}
  for call, how in pairs(delays) do calls[#calls + 1], options[#options + 1] = call, ("-e inject=%s:%s"):format(call, how) end
  return ("-e trace=%s %s"):format(table.concat(calls, ","), table.concat(options, " "))
end

local function is_at(pid, call)
  local file <close> = pid and io.open(("/proc/%d/syscall"):format(pid))
  return file and (file:read "l" or ""):match "^%d+ " == NUMBERS[call] .. " "
end

-- Has a copy of this process start a command in a container, while strace delays calls of all that take part, and calls a function with
-- the copy's PID. Then nothing is left in the container but its first process, and nothing outside.
-- `settings`: `fields` of the container; `user`, `tty` of exec; `delays`, by call; `prepare`, for the copy
local function hold(settings, body)
  if not support.needs_root() then return end
  if not support.has "strace" then return support.cannot_run "strace is not installed" end
  support.as_subreaper(function()
    local p <close> = assert(box(settings.fields):start())
    local reader <close>, writer = sys.pipe2(0)
    local caller = assert(sys.clone(0, function()
      if settings.prepare then settings.prepare() end
      sys.read(reader, 1)
      p:exec { command = { "/bin/sleep", "35" }, user = settings.user, tty = settings.tty }
    end, { threads = true }))
    local strace <close> = assert(io.popen(("exec strace -f %s -p %d 2>&1"):format(options_of_strace(settings.delays), caller)))
    assert.is_truthy(strace:read():find "attached")
    sys.write(writer, "x")
    writer:close()
    local ok, message = pcall(function()
      body(caller)
      only_child_is(p)
      assert.are.equal("1", inside(p))
    end)
    strace:read "a" -- were it closed before it ends, it would wait for one that waits for one whom it holds
    while (sys.waitpid(-1, sys.WNOHANG) or 0) ~= 0 do end -- and the container does not end before whoever is left in it is reaped
    if not ok then error(message, 0) end
  end)
end

-- Kills the process that a function finds, when somebody is held.
local function kill(find) sys.kill(support.eventually(find, "somebody is held"), sys.SIGKILL) end

-- → a process's child, and the child of that
local function grandchild_of(pid)
  local child = child_of(pid)
  return child, child and child_of(child)
end

describe("nothing stays of an exec when the caller is killed", function()
  -- Where the child of the caller, which is casulo-init from some point on, is at a call.
  local function kills_at(call, settings)
    settings.delays = settings.delays or {}
    settings.delays[call] = BEFORE .. ":when=1"
    hold(settings, function(caller)
      kill(function() return is_at(child_of(caller), call) and caller end)
    end)
  end

  it("before the kernel was told that its child is to die with it", function()
    kills_at("close_range", { delays = { setsid = FOR_LONG } })
  end)

  it("when its child is not casulo-init yet", function()
    kills_at("setsid", { delays = { umask = FOR_LONG } })
  end)

  -- Root that executes a program has what it had given up, and the kernel forgets the request.
  it("when casulo-init has more rights than the caller", function()
    kills_at("seccomp", { prepare = function()
      local step = privileges.have(privileges.permitted() & ~(1 << sys.CAP_SYS_TIME), 0, "")[1]
      assert(sys.capset(step[2], step[3]))
    end })
  end)

  it("when casulo-init has the container's ids", function()
    kills_at("seccomp", { fields = RANGES })
  end)

  it("before the kernel was told again that casulo-init, with those ids, is to die with it", function()
    hold({ fields = RANGES, delays = { setresuid = AFTER } }, function(caller)
      kill(function()
        local joiner = child_of(caller)
        return joiner and status(joiner, "Uid"):find "^100000\t" and caller
      end)
    end)
  end)
end)

describe("nothing stays of an exec when casulo-init is killed", function()
  it("before the kernel was told again that the command, with other ids, is to die with it", function()
    hold({ fields = RANGES, user = 7, delays = { setresuid = AFTER } }, function(caller)
      kill(function()
        local joiner, command = grandchild_of(caller)
        return command and status(command, "Uid"):find "^100007\t" and joiner
      end)
    end)
  end)

  it("when the command has its user's ids", function()
    hold({ fields = RANGES, user = 7, delays = { chdir = BEFORE } }, function(caller)
      kill(function()
        local joiner, command = grandchild_of(caller)
        return is_at(command, "chdir") and joiner
      end)
    end)
  end)
end)

describe("a process that is to become the command", function()
  it("has no stream of the caller's, where it opens a terminal", function()
    hold({ tty = true, delays = { openat2 = BEFORE } }, function(caller)
      local command = support.eventually(function()
        local _, found = grandchild_of(caller)
        return is_at(found, "openat2") and found
      end, "somebody is held")
      for number = 0, 2 do assert.is_truthy(sys.readlink(("/proc/%d/fd/%d"):format(command, number)):find "^socket:") end
      sys.kill(caller, sys.SIGKILL)
    end)
  end)
end)
