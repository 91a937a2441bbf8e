-- SPDX-License-Identifier: MIT
-- The filter of system calls, as the command meets it: which calls are refused, what rules say of them, and that programs work.
local casulo = require "casulo"
local exec = require "casulo.exec"
local filter_support = require "filter_support"
local hostile = require "hostile_support"
local json = require "dkjson"
local named = require "named_support"
local support = require "support"
local syscalls = require "casulo.syscalls"
local sys = casulo.sys

local ALL = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }
local IS_X86 = sys.AUDIT_ARCH_NATIVE == sys.AUDIT_ARCH_X86_64
local NUMBERS = syscalls[IS_X86 and "x86_64" or "aarch64"]

-- Refused to every container that asks for nothing.
local REFUSED = [[
  mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr setns unshare sethostname setdomainname swapon
  swapoff quotactl quotactl_fd fanotify_init lookup_dcookie reboot kexec_load kexec_file_load init_module finit_module delete_module
  create_module query_module get_kernel_syms kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev settimeofday clock_settime
  get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages ioperm iopl acct vhangup syslog bpf perf_event_open
  open_by_handle_at add_key request_key keyctl userfaultfd io_uring_setup io_uring_enter io_uring_register nfsservctl sysfs _sysctl uselib
  ustat afs_syscall getpmsg putpmsg security tuxcall vserver]]

local function call(name, ...)
  local words = { ("%d"):format(type(name) == "string" and NUMBERS[name] or name) }
  for i, argument in ipairs { ... } do words[i + 1] = ("0x%x"):format(argument) end
  return table.concat(words, ":")
end

-- Every refused call with no sensible argument, and those whose arguments decide.
local function refused_calls()
  local words = {}
  for name in REFUSED:gmatch "%S+" do
    if NUMBERS[name] then words[#words + 1] = call(name) end -- not each machine has each
  end
  for _, flag in ipairs { "NEWNS", "NEWUTS", "NEWIPC", "NEWUSER", "NEWPID", "NEWNET", "NEWCGROUP" } do
    words[#words + 1] = call("clone", sys["CLONE_" .. flag] | sys.SIGCHLD, 0, 0, 0, 0)
  end
  for _, upper in ipairs { 0, 1 << 32, 0xffffffff00000000 } do
    words[#words + 1] = call("socket", 40 | upper, 1, 0)
    for _, request in ipairs { sys.TIOCSTI, sys.TIOCLINUX } do words[#words + 1] = call("ioctl", 0, request | upper, 0) end
  end
  for _, mode in ipairs { 0x40000, 0x400000, 1, 6 } do words[#words + 1] = call("personality", mode) end
  return words
end

local function missing_calls()
  local words = { call "clone3" }
  for _, number in ipairs { 451, 462, 500, 1000, 0x7fffffff, 0x40000000, 0x40000000 | NUMBERS.getpid } do words[#words + 1] = call(number) end
  if IS_X86 then -- getpid, mount and ioctl of i386
    for _, word in ipairs { "i20", "i21", "i54:0:0x5412:0" } do words[#words + 1] = word end
  end
  return words
end

local root_of_user = {}
local function root_with_programs()
  local uid = sys.geteuid()
  if not root_of_user[uid] then
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    for name, flags in pairs { calls = "-static", parallel = "-static -pthread" } do
      assert(os.execute(("cp '%s' '%s/'"):format(hostile.compile(("payload/%s.c"):format(name), flags), root)))
    end
    root_of_user[uid] = root
  end
  return root_of_user[uid]
end

local function box(fields, command)
  local description = { rootfs = root_with_programs(), command = command, stderr = "pipe", stdin = "null", timeout = 60 }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function run(fields, command)
  local result = assert(box(fields, command):run { stdout = "pipe" })
  assert.are.same({ 0, "" }, { result.exit_code, result.stderr })
  return result.stdout
end

local function command_of(words) return table.move(words, 1, #words, 2, { "/calls" }) end

-- The errno of each call by its word.
local function errnos(text)
  local found = {}
  for word, errno in text:gmatch "(%S+) (%d+)" do found[word] = tonumber(errno) end
  return found
end

local function made(fields, words) return errnos(run(fields, command_of(words))) end

local function all_are(errno, words, found)
  for _, word in ipairs(words) do assert.are.equal(errno, found[word], word) end
end

local function test(name, body)
  support.each_identity(name, function() support.leaves_nothing(function() body(support.is_root()) end) end)
end

local function kinds(is_root)
  local found = { {}, { init = true } }
  if is_root then
    found[3], found[4] = { user = 1000 }, { namespaces = ALL }
    found[5] = { namespaces = ALL, uid_map = { { 0, 100000, 9 } }, gid_map = { { 0, 100000, 9 } }, user = 7 }
  end
  return found
end

describe("the filter of system calls", function()
  test("refuses what reaches the whole kernel, and knows no others than its list, whoever the command runs as", function(is_root)
    local refused, missing = refused_calls(), missing_calls()
    for _, fields in ipairs(kinds(is_root)) do
      all_are(sys.EPERM, refused, made(fields, refused))
      all_are(sys.ENOSYS, missing, made(fields, missing))
    end
  end)

  -- Most of them fail without a capability, too, and with the same errno.
  it("refuses them whatever the capabilities are, as the kernel holds it", function()
    if not support.needs_root() then return end
    local p <close> = assert(box({}, { "sleep", "1000" }):start())
    local status, text, err = support.sh(("%s %d"):format(hostile.compile "held_filter.c", p.pid))
    if status == 2 then return support.cannot_run("this kernel shows no filters: " .. err) end
    assert.are.same({ 0, "" }, { status, err })
    local held = filter_support.program(text)
    for name in REFUSED:gmatch "%S+" do
      if NUMBERS[name] then
        assert.are.equal(0x50000 | sys.EPERM, filter_support.run(held, sys.AUDIT_ARCH_NATIVE, NUMBERS[name]), name)
      end
    end
  end)

  it("holds with subordinate ids", function()
    support.as_user_with_ids(function()
      local refused = refused_calls()
      all_are(sys.EPERM, refused, made({ uid_map = "auto" }, refused))
    end)
  end)

  test("is there for commands in a terminal, of exec, and of exec from a record", function()
    local words = { call "keyctl", call "clone3", call("unshare", sys.CLONE_NEWUSER) }
    local function check(text)
      local found = errnos(text)
      assert.are.same({ sys.EPERM, sys.ENOSYS, sys.EPERM }, { found[words[1]], found[words[2]], found[words[3]] })
    end
    for _, init in ipairs { false, true } do
      local terminal <close> = assert(box({ init = init, stdin = "inherit", stderr = "inherit" }, command_of(words)):start { tty = true })
      check(terminal:wait().tty)
      local first = box({ init = init }, { "sleep", "1000" })
      local p <close> = assert(first:start())
      local q <close> = assert(p:exec { command = command_of(words), stdout = "pipe" })
      check(q:wait().stdout)
      local record = json.decode(json.encode(require "casulo.record".of(first)), 1, nil, nil, nil)
      record.pid, record.pidfd = p.pid, p.pidfd
      local r <close> = assert(exec.start(assert(require "casulo.record".target(record)), { command = command_of(words), stdout = "pipe" }))
      check(r:wait().stdout)
      assert.are.equal("2", support.read_file(("/proc/%d/status"):format(p.pid)):match "Seccomp:%s*(%d)")
    end
    assert.are.equal("0", support.read_file "/proc/self/status":match "Seccomp:%s*(%d)") -- the caller has none
  end)

  test("lets programs work: threads, fork, vfork, spawn", function(is_root)
    for _, fields in ipairs(kinds(is_root)) do assert.are.equal("thread\nfork\nvfork\nspawn\nsystem\n", run(fields, { "/parallel" })) end
  end)

  test("lets the usual arguments of those calls pass", function()
    local words = { call("socket", 2, 1, 0), call("socket", 1, 1, 0), call("personality", 0), call("personality", 8), call("personality", 0x20000),
      call("personality", 0x20008), call("personality", 0xffffffff), call "getpid" }
    all_are(0, words, made({}, words))
    local ioctls = { call("ioctl", 0, 0x5413, 0), call("ioctl", 0, 0x5401, 0) }
    all_are(sys.ENOTTY, ioctls, made({}, ioctls))
  end)
end)

-- What casulo does after the filter is there, and what a small program does.
local OF_CASULO = [[ setgroups setresgid setresuid capset prctl rt_sigaction rt_sigprocmask close_range dup3 dup2 close openat2 chdir fchdir umask
  setsid fcntl read write poll ppoll pidfd_open execveat execve clone ]]
local OF_THE_PROGRAM = [[
  getpid mmap brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat getrandom mprotect fstat newfstatat ]]

describe("seccomp", function()
  test("leaves all to the kernel where it is false", function()
    local words = { call "keyctl", call "setns", call "add_key", call "mbind", call("socket", 2, 1, 0), call("personality", 0x40000),
      call("ioctl", 0, sys.TIOCSTI, 0) }
    for _, init in ipairs { false, true } do
      for word, errno in pairs(made({ seccomp = false, init = init }, words)) do assert.are_not.equal(sys.EPERM, errno, word) end
      assert.are.equal("0", run({ seccomp = false, init = init }, { "cat", "/proc/self/status" }):match "Seccomp:%s*(%d)")
    end
    if IS_X86 then assert.are.same({ i20 = 0 }, made({ seccomp = false }, { "i20" })) end
    local p <close> = assert(box({ seccomp = false }, { "sleep", "1000" }):start())
    local q <close> = assert(p:exec { command = command_of(words), stdout = "pipe" })
    assert.are_not.equal(sys.EPERM, errnos(q:wait().stdout)[words[1]])
  end)

  test("takes rules by names and numbers, with errnos and conditions", function()
    local words = { call("lseek", 0, 0, 7), call("lseek", 0, 0, 1 << 32 | 7), call("lseek", 0, 0, 6), call "getppid", call(500), call "mkdirat",
      call "keyctl", call("dup", 1 << 32), call("dup", 0) }
    local rules = {
      { "lseek", action = "EMFILE", args = { { index = 2, op = "==", value = 7 } } },
      { "lseek", action = "ENFILE", args = { { index = 2, op = "==", value = 7, mask = 0xff }, { index = 2, op = ">", value = 0xffffffff } } },
      { "getppid", 500, action = "EXDEV" }, { "mkdir", "mkdirat", action = "EROFS" },
      { "dup", action = "EDOM", args = { { index = 0, op = ">=", value = 1 << 32 } } },
    }
    for _, init in ipairs { false, true } do
      local found = made({ seccomp = rules, init = init }, words)
      local expected = { sys.EMFILE, sys.ENFILE, sys.EINVAL, sys.EXDEV, sys.EXDEV, sys.EROFS, sys.EPERM, sys.EDOM, 0 }
      for i, word in ipairs(words) do assert.are.equal(expected[i], found[word], word) end
    end
    local result = box({ seccomp = { { "mkdir", "mkdirat", action = "EROFS" } } }, { "mkdir", "/x" }):run()
    assert.are.same({ exit_code = 1, stderr = "mkdir: can't create directory '/x': Read-only file system\n" }, result)
  end)

  test("kills, traps and logs where rules say so", function()
    local word = call "getppid"
    for _, action in ipairs { "kill", "trap" } do
      local fields = { seccomp = { { "getppid", action = action } } }
      assert.are.same({ signal = sys.SIGSYS, stderr = "", stdout = "" }, box(fields, { "/calls", word }):run { stdout = "pipe" })
      fields.init = true
      assert.are.same({ exit_code = 128 + sys.SIGSYS, stderr = "", stdout = "" }, box(fields, { "/calls", word }):run { stdout = "pipe" })
    end
    assert.are.same({ [word] = 0 }, made({ seccomp = { { "getppid", action = "log" } } }, { word }))
  end)

  test("has in default the action on all others, in place of casulo's list", function()
    local words = { call(500), call "keyctl", call "getppid", call "clone3" }
    local found = made({ seccomp = { { "getppid", action = "EDOM" }, default = "allow" } }, words)
    assert.are.equal(sys.EDOM, found[words[3]])
    assert.are_not.equal(sys.EPERM, found[words[2]])
    assert.are.equal(sys.E2BIG, found[words[4]]) -- of the kernel itself
    local allowed = { action = "allow" }
    for name in (OF_CASULO .. OF_THE_PROGRAM):gmatch "%S+" do table.insert(allowed, NUMBERS[name] and name) end
    found = made({ seccomp = { allowed, default = "ENOTTY" } }, words)
    for _, word in ipairs(words) do assert.are.equal(sys.ENOTTY, found[word], word) end
  end)

  test("lets every process end, whatever it refuses", function(is_root)
    local rules = { default = "EPERM", { "write", action = "allow" }, { NUMBERS.exit, NUMBERS.exit_group, action = "EPERM" } }
    local failing = box({ seccomp = rules }, { "true" })
    for _, fields in ipairs { {}, { init = true }, is_root and { user = 5 } or nil } do
      local result, err = failing:with(fields):run { timeout = 20 }
      assert.is_nil(result)
      assert.are.equal(sys.EPERM, err.errno, tostring(err))
    end
    local ending = { { NUMBERS.exit, NUMBERS.exit_group, action = "EPERM" } }
    for _, init in ipairs { false, true } do
      assert.are.same({ exit_code = 7, stderr = "" }, box({ seccomp = ending, init = init, timeout = 20 }, { "sh", "-c", "exit 7" }):run())
    end
    local p <close> = assert(box({ seccomp = ending }, { "sleep", "1000" }):start())
    local q <close> = assert(p:exec { command = { "sh", "-c", "exit 8" }, timeout = 20 })
    assert.are.same({ exit_code = 8 }, q:wait())
  end)

  it("of a program of one's own may refuse to let it end, which then ends by a signal", function()
    local verdicts = { [NUMBERS.exit] = 0x00050000 | sys.EPERM, [NUMBERS.exit_group] = 0x00050000 | sys.EPERM }
    local filter = require "casulo.filter".compile { default = 0x7fff0000, machines = { { audit = sys.AUDIT_ARCH_NATIVE, verdicts = verdicts } } }
    local steps = { { "prctl", sys.PR_SET_NO_NEW_PRIVS, 1 }, { "seccomp", sys.SECCOMP_SET_MODE_FILTER, 0, filter }, { "chdir", "/none-such" } }
    local pid, message, errno, step = sys.clone(0, sys.program(steps))
    assert.are.same({ nil, "clone: step 3, chdir: No such file or directory", sys.ENOENT, 3 }, { pid, message, errno, step })
  end)

  test("refuses the other machine's calls where default allows all but what is named", function()
    if not IS_X86 then return support.cannot_run "this makes calls of i386" end
    local words = { "i20", "i21", "i310:0x20000" } -- getpid, mount, unshare
    for _, default in ipairs { "allow", "log" } do
      all_are(sys.ENOSYS, words, made({ seccomp = { { "mount", "unshare", action = "EPERM" }, default = default } }, words))
    end
  end)

  test("lets programs of the other machine run where compat is true", function()
    if not IS_X86 then return support.cannot_run "this makes calls of i386" end
    local plain = support.sh(("'%s' i20 | grep -qx 'i20 0'"):format(hostile.compile("payload/calls.c", "-static")))
    if plain ~= 0 then return support.cannot_run "this kernel runs no programs of i386" end
    local words = { "i20", "i21", "i54:0:0x5412:0", "i54:0:0x5413:0" }
    assert.are.same({ i20 = 0, i21 = sys.EPERM, ["i54:0:0x5412:0"] = sys.EPERM, ["i54:0:0x5413:0"] = sys.ENOTTY },
      made({ seccomp = { compat = true } }, words))
    all_are(sys.ENOSYS, words, made({ seccomp = { compat = false } }, words))
    local rules = { { 20, action = "EDOM", args = { { index = 0, op = "==", value = 5 } } }, compat = true } -- 20 is writev in its own list
    assert.are.same({ ["i20:5"] = sys.EDOM, i20 = 0 }, made({ seccomp = rules }, { "i20:5", "i20" }))
  end)

  test("frees the calls of a capability that is added, which then work", function()
    local script = "mount -t tmpfs none /mnt && echo in >/mnt/file && cat /mnt/file && umount /mnt && hostname other && hostname"
    local fields = { capabilities = { add = { "SYS_ADMIN" } }, mounts = { { type = "directory", target = "/mnt" } } }
    for _, init in ipairs { false, true } do
      fields.init = init
      assert.are.equal("in\nother\n", run(fields, { "sh", "-c", script }))
      local p <close> = assert(box(fields, { "sleep", "1000" }):start())
      local q <close> = assert(p:exec { command = { "sh", "-c", script }, stdout = "pipe" })
      assert.are.equal("in\nother\n", q:wait().stdout)
    end
    local result = box({ mounts = fields.mounts }, { "mount", "-t", "tmpfs", "none", "/mnt" }):run()
    assert.are.same({ 1, "mount: permission denied (are you root?)\n" }, { result.exit_code, result.stderr })
    local words = { call "keyctl", call "bpf", call("ioctl", 0, sys.TIOCSTI, 0) }
    all_are(sys.EPERM, words, made(fields, words)) -- and no others
  end)
end)

named.each_identity("the filter of a container by name is that of its commands", function()
  local p <close> = assert(box({ name = "filtered", seccomp = { { "getppid", action = "EDOM" } } }, { "sleep", "1000" }):start())
  local status, text = named.casulo(("exec filtered -- /calls %s %s"):format(call "getppid", call "keyctl"))
  assert.are.same({ 0, { [call "getppid"] = sys.EDOM, [call "keyctl"] = sys.EPERM } }, { status, errnos(text) })
  assert.is_truthy(p.pid)
end)

describe("an error of a start", function()
  local RULES = "(seccomp: the rules of the description may be the cause: once installed, they hold for casulo's own calls, too)"
  local function failed(rules, fields)
    fields = fields or {}
    fields.seccomp = rules
    local result, err = box(fields, { "true" }):run()
    assert.is_nil(result)
    return tostring(err)
  end

  support.each_identity("names the rules that may be the cause", function()
    for name, rules in pairs {
      fexecve = { { "execveat", action = "EPERM" } }, prctl = { { "prctl", action = "EPERM" } }, capset = { { "capset", action = "ENOSYS" } },
      execve = { { "execve", action = "EPERM" } },
    } do
      local text = failed(rules)
      assert.is_truthy(text:find("^" .. name) and text:find(RULES, 1, true), text)
    end
    local text = failed({ { "clone", action = "EPERM" } }, { init = true })
    assert.is_truthy(text:find "^clone" and text:find(RULES, 1, true), text)
  end)

  support.each_identity("names them not where there are none, or something else is known", function()
    local other = { { "mkdir", action = "EPERM" } }
    for _, text in ipairs {
      failed(nil, { cwd = "/nope" }), failed(other, { cwd = "/nope" }),
      failed(other, { mounts = { { type = "bind", source = "/nope", target = "/x" } } }),
      failed({ compat = false }, { mounts = { { type = "symlink", target = "/proc/x", to = "/" } } }),
    } do assert.is_falsy(text:find("seccomp:", 1, true), text) end
  end)
end)

describe("a description of seccomp", function()
  local function refuses(expected, value)
    local ok, message = pcall(box, { seccomp = value })
    assert.is_false(ok)
    assert.are.equal("container.seccomp" .. expected, (message:gsub("^[^:]*:%d+: ", "")))
  end
  local function with(condition) return { { "read", action = "allow", args = { { index = 0, op = "==", value = 1 }, condition } } } end

  it("is checked before anything runs, and errors name the place and the nearest name", function()
    refuses(': expected false, or a list of rules, got "strict"', "strict")
    refuses(": expected false, or a list of rules, got true", true)
    refuses(': unknown field "defualt"; did you mean default?', { defualt = "allow" })
    refuses('.default: unknown action "alow"; did you mean allow?', { default = "alow" })
    refuses(".compat: expected true or false, got 1", { compat = 1 })
    refuses('[2]: expected a table, got "mount"', { { "read", action = "allow" }, "mount" })
    refuses('[1][2]: unknown system call "munt"; did you mean mount?', { { "read", "munt", action = "allow" } })
    refuses('[1][1]: unknown system call "frob_the_nodes"; a number stands for one that casulo does not know',
      { { "frob_the_nodes", action = "allow" } })
    refuses("[1][2]: exit_group cannot be refused: a process that may not end would run for ever", { { "write", "exit_group", action = "EPERM" } })
    refuses("[1][1]: exit cannot be refused: a process that may not end would run for ever", { { "exit", action = "kill" } })
    refuses("[1][1]: expected an integer from 0 to 1073741823, got -1", { { -1, action = "allow" } })
    refuses("[1]: expected the names of system calls first", { { action = "allow" } })
    refuses("[1].action: expected a string, got nil", { { "read" } })
  end)

  it("names the condition that is wrong", function()
    refuses('[1].action: unknown errno "EPREM"', { { "read", action = "EPREM" } })
    refuses('[1].action: unknown action "deny"; known: allow kill log trap', { { "read", action = "deny" } })
    refuses('[1]: unknown field "arg"; did you mean args?', { { "read", action = "allow", arg = {} } })
    refuses("[1].args[2].index: expected an integer from 0 to 5, got 6", with { index = 6, op = "==", value = 0 })
    refuses('[1].args[2].op: expected "==", "~=", "<", "<=", ">" or ">=", got "!="', with { index = 0, op = "!=", value = 0 })
    refuses("[1].args[2].value: expected an integer, got 1.5", with { index = 0, op = "==", value = 1.5 })
    refuses('[1].args[2].mask: expected an integer, got "x"', with { index = 0, op = "==", value = 0, mask = "x" })
    refuses("[1].args[2].value: it has bits that the mask lacks, and never fits", with { index = 0, op = "==", value = 3, mask = 1 })
  end)

  it("is refused where its filter is larger than the kernel takes", function()
    local rules = {}
    for i = 1, 1500 do rules[i] = { "read", action = "EIO", args = { { index = 0, op = "==", value = i } } } end
    local ok, message = pcall(box, { seccomp = rules })
    assert.is_false(ok)
    assert.is_truthy(message:find("container%.seccomp: a filter for these rules has %d+ instructions, and the kernel takes 4096"), message)
  end)
end)
