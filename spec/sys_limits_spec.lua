-- SPDX-License-Identifier: MIT
-- The calls by which a process gives something up: Landlock's and setrlimit, from Lua and in programs.
local support = require "support"
local sys = require "casulo.sys"
local sys_support = require "sys_support"

local fails, in_child, raises, test_as_both = sys_support.fails, sys_support.in_child, sys_support.raises, sys_support.test_as_both

local BENEATH, PORT = sys.LANDLOCK_RULE_PATH_BENEATH, sys.LANDLOCK_RULE_NET_PORT
local READ, WRITE, EXECUTE = sys.LANDLOCK_ACCESS_FS_READ_FILE, sys.LANDLOCK_ACCESS_FS_WRITE_FILE, sys.LANDLOCK_ACCESS_FS_EXECUTE
local RULESET = string.pack("=I8", READ | WRITE)

local abi = sys.landlock_create_ruleset(nil, sys.LANDLOCK_CREATE_RULESET_VERSION)
local function has_landlock()
  if not abi then support.cannot_run "this kernel has no Landlock, or it is off" end
  return abi ~= nil
end

-- Runs a program in a child. → how it ended, code; or nil, message, errno, step
local function walk(steps)
  local pid, message, errno, step = sys.clone(0, sys.program(steps))
  if not pid then return nil, message, errno, step end
  return select(2, sys.waitpid(pid))
end

describe("sys.clone", function()
  -- In a new process: one that has started a child keeps its stack for the next.
  local function started(before, line)
    local path = support.tmpdir() .. "/start.lua"
    support.write_file(path, ([[local sys = require "casulo.sys"
      local program = sys.program { { "_exit", 0 } }
      %s
      print(sys.clone(0, program))]]):format(before))
    return (select(2, support.sh(("%s && %s lua5.4 %s"):format(support.environment(), line or "", path))))
  end

  test_as_both("fails where there is no memory for the stack of a child", function()
    assert.are.equal(("nil\tclone: mmap: Cannot allocate memory\t%d\n"):format(sys.ENOMEM),
      started "assert(sys.setrlimit(sys.RLIMIT_AS, 4096, 4096))")
  end)

  test_as_both("fails where signals cannot be blocked", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    assert.are.equal(("nil\tclone: rt_sigprocmask: Operation not permitted\t%d\n"):format(sys.EPERM),
      started("", "strace -o /dev/null -e inject=rt_sigprocmask:error=EPERM"))
  end)
end)

describe("landlock", function()
  test_as_both("has a version, and descriptors that an exec closes", function()
    if not has_landlock() then return end
    assert.is_true(abi >= 1)
    local ruleset <close> = assert(sys.landlock_create_ruleset(RULESET, 0))
    assert.are.equal(sys.FD_CLOEXEC, sys.fcntl(ruleset, sys.F_GETFD))
    fails("landlock_create_ruleset: Invalid argument", sys.EINVAL, sys.landlock_create_ruleset(string.pack("=I8", 1 << 40), 0))
    fails("landlock_create_ruleset: Invalid argument", sys.EINVAL, sys.landlock_create_ruleset(RULESET, sys.LANDLOCK_CREATE_RULESET_VERSION))
    fails("landlock_create_ruleset: Bad address", sys.EFAULT, sys.landlock_create_ruleset(nil, 0))
    assert.are.equal("landlock_restrict_self 9999: Bad file descriptor", (select(2, in_child(0, function()
      assert(sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1))
      return sys.landlock_restrict_self(9999, 0)
    end))))
  end)

  test_as_both("denies what is handled and not allowed, from the next call on", function()
    if not has_landlock() then return end
    local top = support.tmpdir()
    support.write_file(top .. "/file", "text")
    local reading, writing, elsewhere = in_child(0, function()
      local ruleset <close> = assert(sys.landlock_create_ruleset(RULESET, 0))
      local directory <close> = assert(sys.open(top, sys.O_PATH))
      assert(sys.landlock_add_rule(ruleset, BENEATH, { allowed_access = READ, parent_fd = directory }, 0))
      assert(sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1))
      assert(sys.landlock_restrict_self(ruleset, 0))
      local _, _, writing = sys.open(top .. "/file", sys.O_WRONLY)
      local _, _, elsewhere = sys.open("/etc/passwd", sys.O_RDONLY)
      return support.read_file(top .. "/file"), writing, elsewhere
    end)
    assert.are.same({ "text", tostring(sys.EACCES), tostring(sys.EACCES) }, { reading, writing, elsewhere })
    support.write_file(top .. "/file", "here it may still")
  end)

  it("takes a rule as the type says", function()
    if not has_landlock() then return end
    local ruleset <close> = assert(sys.landlock_create_ruleset(RULESET, 0))
    local port = string.pack("=I8I8", 1, 80)
    raises("not the structure of this type of rule", sys.landlock_add_rule, ruleset, BENEATH, port, 0)
    raises("not the structure of this type of rule", sys.landlock_add_rule, ruleset, PORT, { allowed_access = 1, parent_fd = 0 }, 0)
    raises("expected 16 bytes", sys.landlock_add_rule, ruleset, PORT, "short", 0)
    raises("table expected", sys.landlock_add_rule, ruleset, PORT, nil, 0)
    raises("allowed_access: expected an integer", sys.landlock_add_rule, ruleset, BENEATH, { parent_fd = 0 }, 0)
    raises("parent_fd: expected a descriptor", sys.landlock_add_rule, ruleset, BENEATH, { allowed_access = 1 }, 0)
    fails(("landlock_add_rule %d: Invalid argument"):format(ruleset:fileno()), sys.EINVAL,
      sys.landlock_add_rule(ruleset, BENEATH, { allowed_access = EXECUTE, parent_fd = 0 }, 0))
    fails("landlock_add_rule 9999: Bad file descriptor", sys.EBADF,
      sys.landlock_add_rule(9999, BENEATH, { allowed_access = READ, parent_fd = 0 }, 0))
  end)

  test_as_both("is for programs, too, with descriptors that are known only then", function()
    if not has_landlock() then return end
    local top = support.tmpdir()
    support.write_file(top .. "/file", "text")
    local function steps(path, allowed)
      return {
        { "prctl", sys.PR_SET_NO_NEW_PRIVS, 1 },
        { "landlock_create_ruleset", RULESET, 0, as = "ruleset" },
        { "openat", sys.AT_FDCWD, top, sys.O_PATH, as = "top" },
        { "landlock_add_rule", { ref = "ruleset" }, BENEATH, { allowed_access = allowed, parent_fd = { ref = "top" } }, 0 },
        { "landlock_restrict_self", { ref = "ruleset" }, 0 },
        { "openat", sys.AT_FDCWD, path, sys.O_RDONLY },
        { "_exit", 7 },
      }
    end
    assert.are.same({ "exit", 7 }, { walk(steps(top .. "/file", READ)) })
    assert.are.same({ "clone: step 6, openat: Permission denied", sys.EACCES, 6 }, { select(2, walk(steps("/etc/passwd", READ))) })
    assert.are.same({ "clone: step 6, openat: Permission denied", sys.EACCES, 6 }, { select(2, walk(steps(top .. "/file", WRITE))) })
    assert.are.same({ sys.EINVAL, 4 }, { select(3, walk(steps(top, EXECUTE))) })
  end)

  it("is refused in programs where an argument does not fit", function()
    local function step(...) return { { "landlock_add_rule", 0, ... } } end
    raises("step 1, landlock_add_rule, argument 3: expected a string of 16 bytes", sys.program, step(PORT, "short", 0))
    raises("argument 3: expected a string, or { allowed_access", sys.program, step(BENEATH, 5, 0))
    raises("argument 3: field allowed_access: expected an integer", sys.program, step(BENEATH, { parent_fd = 0 }, 0))
    raises("argument 3: expected a descriptor", sys.program, step(BENEATH, { allowed_access = 1 }, 0))
    raises("argument 3: ref needs a name", sys.program, step(BENEATH, { allowed_access = 1, parent_fd = { ref = 1 } }, 0))
    for _, rule in ipairs { { PORT, { allowed_access = 1, parent_fd = 0 } }, { BENEATH, ("x"):rep(16) }, { { ref = "type" }, ("x"):rep(16) } } do
      raises("argument 3: not the structure of this type of rule", sys.program, step(rule[1], rule[2], 0))
    end
    raises("argument 4: expected an integer", sys.program, step(BENEATH, { allowed_access = 1, parent_fd = 0 }))
  end)
end)

describe("limits of resources", function()
  test_as_both("are set for a process and those that it starts", function()
    local soft, hard, inherited = in_child(0, function()
      assert(sys.setrlimit(sys.RLIMIT_NOFILE, 100, 200))
      local text = sys_support.in_child(0, function() return (support.read_file("/proc/self/limits"):match "Max open files%s+(%d+%s+%d+)") end)
      local soft, hard = sys.getrlimit(sys.RLIMIT_NOFILE)
      return soft, hard, (text:gsub("%s+", " "))
    end)
    assert.are.same({ "100", "200", "100 200" }, { soft, hard, inherited })
  end)

  test_as_both("have a value for none, and for each resource", function()
    assert.are.same({ tostring(sys.RLIM_INFINITY), tostring(sys.RLIM_INFINITY) }, { in_child(0, function()
      assert(sys.setrlimit(sys.RLIMIT_RSS, sys.RLIM_INFINITY, sys.RLIM_INFINITY))
      return sys.getrlimit(sys.RLIMIT_RSS)
    end) })
    for number, name in pairs { [0] = "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS",
      "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME" } do assert.are.equal(number, sys["RLIMIT_" .. name]) end
  end)

  it("are refused where they do not fit", function()
    fails("getrlimit 99: Invalid argument", sys.EINVAL, sys.getrlimit(99))
    fails("setrlimit 4: Invalid argument", sys.EINVAL, sys.setrlimit(sys.RLIMIT_CORE, 2, 1))
    fails("setrlimit 4: Invalid argument", sys.EINVAL, sys.setrlimit(sys.RLIMIT_CORE, sys.RLIM_INFINITY, 1))
    raises("expected an integer, or RLIM_INFINITY", sys.setrlimit, sys.RLIMIT_CORE, -2, 1)
    raises("expected an integer, or RLIM_INFINITY", sys.setrlimit, sys.RLIMIT_CORE, 1)
    raises("expected an integer, or RLIM_INFINITY", sys.setrlimit, sys.RLIMIT_CORE, 1, "2")
    raises("too many arguments", sys.setrlimit, sys.RLIMIT_CORE, 1, 2, 3)
    raises("argument 2: expected an integer, or RLIM_INFINITY", sys.program, { { "setrlimit", sys.RLIMIT_CORE, -2, 1 } })
    raises("argument 3: expected an integer, or RLIM_INFINITY", sys.program, { { "setrlimit", sys.RLIMIT_CORE, 1 } })
    raises("argument 4: too many arguments", sys.program, { { "setrlimit", sys.RLIMIT_CORE, 1, 2, 3 } })
  end)

  test_as_both("are for programs, too, and only for what these become", function()
    local before = { sys.getrlimit(sys.RLIMIT_AS) }
    local reader <close>, writer = sys.pipe2(0)
    local _ <close> = writer
    assert.are.same({ "exit", 0 }, { walk {
      { "setrlimit", sys.RLIMIT_AS, 1 << 26, 1 << 27 },
      { "setrlimit", sys.RLIMIT_CPU, sys.RLIM_INFINITY, sys.RLIM_INFINITY, tolerate = { sys.EPERM } },
      { "dup2", writer, 1 }, { "execve", "/bin/cat", { "cat", "/proc/self/limits" }, {} },
    } })
    assert.are.equal("67108864 134217728", (sys.read(reader, 4096):match "Max address space%s+(%d+%s+%d+)":gsub("%s+", " ")))
    assert.are.same(before, { sys.getrlimit(sys.RLIMIT_AS) })
    assert.are.same({ "clone: step 1, setrlimit: Invalid argument", sys.EINVAL, 1 }, { select(2, walk { { "setrlimit", sys.RLIMIT_CORE, 2, 1 } }) })
  end)
end)
