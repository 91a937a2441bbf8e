-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local support = require "support"

-- How the C library's name in a plan reads in the kernel's own.
local KERNEL_NAMES = {
  poll = "ppoll", setrlimit = "prlimit64", signal = "rt_sigaction", sigprocmask = "rt_sigprocmask", dup2 = "dup3", _exit = "exit_group",
  fexecve = "execveat",
}
-- What is not compared: the lock that tells when a child with other ids has left its caller's memory, which is no step, is made by this.
local LEFT_OUT = { fcntl = true }
-- Nor are these a step: what casulo-init does first, for itself.
local FIRST_OF_INIT = 3

-- What the strace of Debian 12 shows as numbers, or calls otherwise.
local NEWER = {
  LANDLOCK_ACCESS_FS_TRUNCATE = true, LANDLOCK_ACCESS_FS_IOCTL_DEV = true, LANDLOCK_ACCESS_NET_BIND_TCP = true,
  LANDLOCK_ACCESS_NET_CONNECT_TCP = true, LANDLOCK_SCOPE_SIGNAL = true, LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = true,
  LANDLOCK_RULE_NET_PORT = true, RLIM_INFINITY = true, RLIM64_INFINITY = true,
}

-- The names of constants, in any order; strace and casulo list flags differently.
local function constants_of(text)
  local found = {}
  for name in text:gsub('"[^"]*"', ""):gmatch "%f[%w_]%u[%u%d]+_?[%u%d_]*%f[^%w_]" do
    if name ~= "NULL" and name ~= "O_RDONLY" and not NEWER[name] then found[#found + 1] = name end
  end
  table.sort(found)
  return table.concat(found, " ")
end

local function strings_of(text)
  local found = {}
  for inner in text:gmatch '"([^"]*)"' do found[#found + 1] = inner end
  return table.concat(found, " ")
end

-- The calls that explain prints below the clone: their kernel names and, where they show the same, their strings.
local function explained(text)
  local calls = {}
  for line in text:gmatch "[^\n]+" do
    local name, arguments, rest = line:match "^  +([%w_]+)(%b())(.*)"
    for _ = 0, rest and tonumber(rest:match "^, and (%d+) more") or 0 do
      if name and not LEFT_OUT[name] then calls[#calls + 1] = { KERNEL_NAMES[name] or name, strings_of(arguments), constants_of(arguments) } end
    end
  end
  return calls
end

-- The calls of the process that the traced one cloned, up to its first successful exec.
local function traced(trace)
  local pid, calls, passed = nil, {}, 0
  for line in trace:gmatch "[^\n]+" do
    pid = line:match "clone3 resumed.* = (%d+)$" or line:match "clone3%(.* = (%d+)$" or pid -- the last: a go-between comes first
  end
  for line in trace:gmatch "[^\n]+" do
    local own, name, rest = line:match "^(%d+)%s+([%w_]+)(%(.*)$"
    if own == pid and passed > 0 then
      passed = passed - 1
    elseif own == pid and not LEFT_OUT[name] then
      local arguments = (rest:match "^%b()" or rest):gsub("/%*.-%*/", "") -- strace's own remarks
      calls[#calls + 1] = { name, strings_of(arguments), constants_of(arguments) }
      if name == "execve" and not rest:find "= %-1" then break end
      if name == "execveat" then passed = FIRST_OF_INIT end
    end
  end
  return calls
end

-- The strings of these read differently in strace, which prints structures and environments in its own way; so do the constants
-- of these.
local STRUCTURES = { ioctl = true, execve = true, execveat = true, ppoll = true, write = true }
local OTHER_CONSTANTS = { ioctl = true, execve = true, execveat = true, rt_sigaction = true, ppoll = true, socket = true }

describe("explain", function()
  support.each_identity("prints the calls that strace sees of the child, in their order", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    local root = support.rootfs()
    local data = support.tmpdir()
    support.write_file(data .. "/file", "")
    local ranges = data .. "/ranges.lua"
    support.write_file(ranges, [[return { rootfs = "/none", namespaces = { "user", "pid", "mount", "uts" }, user = 5,
      uid_map = { { 0, 100000, 65536 } }, gid_map = { { 0, 100000, 65536 } } }]])
    local limited = data .. "/limited.lua"
    support.write_file(limited, [[return { rootfs = "/none", landlock = { paths = { ["/"] = "read execute", ["/tmp"] = "write" }, bind_tcp = { 80 },
      scope = { "signal" }, optional = true }, rlimits = { core = 0, nofile = { soft = 64, hard = 128 } } }]])
    local files = data .. "/files.lua"
    support.write_file(files, ([[return { rootfs = "/none", mounts = { { type = "file", target = "/etc/x", content = "text", mode = 511 },
      { type = "directory", target = "/new/d", mode = "1777" }, { type = "symlink", target = "/new/l", to = "d" },
      { type = "device", source = "/dev/full", target = "/dev/f" }, { type = "bind", source = %q, target = "/s", nosuid = true } } }]]):format(data))
    for _, options in ipairs {
      limited,
      support.is_root() and ranges or "--cwd /", "--hostname sag",
      ("--readonly --bind %s:/data:ro --bind %s/file:/deep/er/file --tmpfs /scratch --user 0 --cwd /tmp"):format(data, data),
      "--share net,ipc,cgroup --net host", files,
    } do
      local arguments = ("--rootfs %s %s -- sh -c true"):format(root, options)
      local status, text = support.sh(("%s explain %s"):format(support.command(), arguments))
      assert.are.equal(0, status)
      local trace_file = support.tmpdir() .. "/trace"
      -- a standard input that is no /dev/null, for which another one is opened
      local _, _, err = support.sh((": | strace -f -s 200 -o %s %s run %s"):format(trace_file, support.command(), arguments))
      assert.are.equal("", err)
      local expected, seen = explained(text), traced(support.read_file(trace_file))
      assert.is_true(#seen > 40)
      -- explain shows every place of PATH in which the command may be; the child stops at the one that has it
      while #expected > #seen and expected[#expected][1] == "execve" do table.remove(expected) end
      for i = 1, math.max(#expected, #seen) do
        local want, got = expected[i] or {}, seen[i] or {}
        assert.are.equal(want[1], got[1], ("call %d of: %s"):format(i, options))
        local where = ("%s, call %d of: %s"):format(got[1], i, options)
        if not STRUCTURES[got[1]] then assert.are.equal(want[2], got[2], where) end
        if not OTHER_CONSTANTS[got[1]] then assert.are.equal(want[3], got[3], where) end
      end
    end
  end)

  it("gives every step a reason", function()
    if not support.needs_root() then return end -- to map a range of ids
    rawset(casulo.host, "propagates", function() return "shared" end)
    local text = casulo.container {
      rootfs = "/r", hostname = "a", domainname = "b", user = { uid = 1, groups = { 2 } }, umask = 0, readonly = true,
      namespaces = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup", "time" },
      uid_map = { { 0, 1000, 10 } }, gid_map = { { 0, 1000, 10 } },
      mounts = {
        { type = "bind", source = "/etc/passwd", target = "/p", readonly = true }, { type = "proc", target = "/q", hidepid = 2 },
        { type = "tmpfs", target = "/t", size = 5 }, { type = "mqueue", target = "/m" }, { type = "cgroup2", target = "/c" },
        { type = "sysfs", target = "/y" }, { type = "devpts", target = "/d" }, { type = "device", source = "/dev/full", target = "/f" },
        { type = "overlay", target = "/o", lower = { "/1", "/2" }, upper = "/u", work = "/w" }, { type = "symlink", target = "/l", to = "x" },
        { type = "file", target = "/t/file", content = "x", mode = 511, readonly = true }, { type = "directory", target = "/t/d", mode = "777" },
        { type = "bind", source = "/etc", target = "/e", propagation = "slave", nodev = false },
      },
      stdin = "null", stdout = "null", stderr = "null",
    }
    rawset(casulo.host, "propagates", nil)
    for line in text:explain():gmatch "[^\n]+" do assert.is_truthy(line:find "%S%s%s+%S", line) end
  end)

  it("decodes flags, modes, structures and results", function()
    local text = casulo.container { rootfs = "/r", hostname = "sag" }:explain()
    for _, part in ipairs {
      'mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)',
      'open_tree(AT_FDCWD, "/r/", OPEN_TREE_CLONE|AT_RECURSIVE|OPEN_TREE_CLOEXEC) → root',
      "{attr_set=MOUNT_ATTR_RDONLY}", 'fsopen("proc", FSOPEN_CLOEXEC) → proc context',
      "fsconfig(proc context, FSCONFIG_CMD_CREATE, NULL, NULL, 0)", 'mkdirat(AT_FDCWD, "/proc", 0755)',
      'sethostname("sag", 3)', "poll([{caller, POLLIN}], 1, 0) = 0", "prctl(PR_SET_PDEATHSIG, SIGKILL)",
      '{ifr_name="lo", ifr_flags=IFF_UP|IFF_RUNNING}', 'pivot_root(".", ".")', 'umount2(".", MNT_DETACH)',
    } do
      assert.is_truthy(text:find(part, 1, true), part)
    end
  end)

  it("shows functions of one's own by where they are", function()
    local text = casulo.plan { function() end }:explain()
    assert.is_truthy(text:find "function at .*explain_spec.lua:%d+")
  end)
end)
