-- SPDX-License-Identifier: MIT
-- Filters of system calls, run as the kernel runs them: what each does with every call, and that it is what the policy says.
local capabilities = require "casulo.capabilities"
local compile = require "casulo.filter".compile
local filter_support = require "filter_support"
local policy = require "casulo.policy"
local privilege_fields = require "casulo.privilege_fields"
local support = require "support"
local sys = require "casulo.sys"
local syscalls = require "casulo.syscalls"

local program, run = filter_support.program, filter_support.run
local ALLOW, KILL, EPERM, ENOSYS = 0x7fff0000, 0x80000000, 0x50000 | sys.EPERM, 0x50000 | sys.ENOSYS
local LAST_NUMBER = 450
local MACHINES = {
  x86_64 = { sys.AUDIT_ARCH_X86_64, sys.AUDIT_ARCH_X86_64 }, i386 = { sys.AUDIT_ARCH_I386, sys.AUDIT_ARCH_X86_64 },
  aarch64 = { sys.AUDIT_ARCH_AARCH64, sys.AUDIT_ARCH_AARCH64 }, arm = { sys.AUDIT_ARCH_ARM, sys.AUDIT_ARCH_AARCH64 },
}

local HOLDS = {
  ["=="] = function(a, b) return a == b end, ["~="] = function(a, b) return a ~= b end,
  ["<"] = math.ult, [">"] = function(a, b) return math.ult(b, a) end,
  ["<="] = function(a, b) return not math.ult(b, a) end, [">="] = function(a, b) return not math.ult(a, b) end,
}

-- What the policy says, in so many words.
local function expected(of, audit, number, arguments)
  for _, machine in ipairs(of.machines) do
    local verdict = machine.audit == audit and machine.verdicts[number] or of.default
    if machine.audit == audit and math.type(verdict) == "integer" then return verdict end
    for _, rule in ipairs(machine.audit == audit and verdict or {}) do
      if math.type(rule) == "integer" then return rule end
      local holds = true
      for _, condition in ipairs(rule[2]) do
        local index, operator, value, mask = table.unpack(condition)
        holds = holds and HOLDS[operator](arguments[index + 1] & (mask or -1), value)
      end
      if holds then return rule[1] end
    end
  end
  return of.default
end

local NUMBERS = { 0, 1, 2, 0x7f, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 1 << 32, (1 << 32) + 1, 0x7fffffff00000000, 1 << 63, -2, -1 }
local OPERATORS = { "==", "~=", "<", "<=", ">", ">=" }
local ACTIONS = { ALLOW, KILL, EPERM, ENOSYS, 0x50000 | sys.EROFS }

local function any(list) return list[math.random(#list)] end
local function any_number() return math.random(4) == 1 and math.random(0) or any(NUMBERS) end

local function random_condition()
  local mask = math.random(2) == 1 and any_number() or nil
  local value = any_number() & (mask or -1)
  return { math.random(0, 5), any(OPERATORS), value, mask }
end

local function random_verdict(most_rules, most_conditions)
  if math.random(2) == 1 then return any(ACTIONS) end
  local rules = {}
  for i = 1, math.random(0, most_rules) do
    local conditions = {}
    for k = 1, math.random(most_conditions) do conditions[k] = random_condition() end
    rules[i] = { any(ACTIONS), conditions }
  end
  rules[#rules + 1] = any(ACTIONS)
  return rules
end

local function random_policy(most_calls, most_rules, most_conditions)
  local of = { default = any(ACTIONS), machines = {} }
  for i = 1, math.random(2) do
    local verdicts = {}
    for _ = 1, math.random(0, most_calls) do verdicts[math.random(0, 2 * most_calls)] = random_verdict(most_rules, most_conditions) end
    of.machines[i] = { audit = i == 1 and sys.AUDIT_ARCH_X86_64 or sys.AUDIT_ARCH_I386, verdicts = verdicts }
  end
  return of
end

-- Arguments near which a condition of some rule changes its mind.
local function arguments_for(verdict)
  local arguments = {}
  for i = 1, 6 do arguments[i] = any_number() + math.random(-1, 1) end
  local rule = type(verdict) == "table" and any(verdict)
  for _, condition in ipairs(type(rule) == "table" and rule[2] or {}) do
    arguments[condition[1] + 1] = condition[3] + (math.random(3) == 1 and math.random(-1, 1) or 0) | any_number() & ~(condition[4] or -1)
  end
  return arguments
end

local function check(of, tries)
  local filter = program(compile(of))
  for number = 0, 60 do
    for _ = 1, tries do
      local audit = any { sys.AUDIT_ARCH_X86_64, sys.AUDIT_ARCH_X86_64, sys.AUDIT_ARCH_I386, sys.AUDIT_ARCH_ARM }
      local verdict
      for _, machine in ipairs(of.machines) do verdict = machine.audit == audit and machine.verdicts[number] or verdict end
      local arguments = arguments_for(verdict)
      local result = run(filter, audit, number, arguments)
      if result ~= expected(of, audit, number, arguments) then
        return assert.are.equal(expected(of, audit, number, arguments), result, table.concat(arguments, " "))
      end
    end
  end
  return filter
end

describe("a filter", function()
  it("does with each call what its policy says, whatever that is", function()
    math.randomseed(7)
    for _ = 1, 300 do check(random_policy(25, 4, 3), 4) end
  end)

  it("does so where its jumps are long, and takes as many conditions as a rule may have", function()
    math.randomseed(8)
    for _ = 1, 5 do check(random_policy(25, 60, 12), 4) end
    local conditions = {}
    for i = 1, 36 do conditions[i] = { i % 6, "<=", 1 << 62, -2 } end
    local of = { default = ENOSYS, machines = { { audit = sys.AUDIT_ARCH_X86_64, verdicts = { [7] = { { EPERM, conditions }, ALLOW } } } } }
    local filter = check(of, 50)
    assert.are.equal(EPERM, run(filter, sys.AUDIT_ARCH_X86_64, 7, { 1, 2, 3, 4, 5, 6 }))
    assert.are.equal(ALLOW, run(filter, sys.AUDIT_ARCH_X86_64, 7, { 1, 2, 3, 4, 5, -1 }))
    for i = 1, 37 do conditions[i] = { index = 0, op = "==", value = 0 } end
    local ok, message = pcall(privilege_fields.seccomp, { { "read", action = "allow", args = conditions } }, "x")
    assert.are.same({ false, "x[1].args: expected at most 36, got 37" }, { ok, message })
  end)

  it("compares 64 bits, as the kernel has them, without a sign", function()
    for _, operator in ipairs(OPERATORS) do
      for _, value in ipairs(NUMBERS) do
        for _, mask in ipairs { -1, 0xffffffff, 0xffffffff00000000, 0x8000000080000001 } do
          local rule = { KILL, { { 3, operator, value & mask, mask } } }
          local filter = program(compile { default = ENOSYS, machines = { { audit = 1, verdicts = { [0] = { rule, ALLOW } } } } })
          for _, argument in ipairs(NUMBERS) do
            local holds = HOLDS[operator](argument & mask, value & mask)
            assert.are.equal(holds and KILL or ALLOW, run(filter, 1, 0, { 0, 0, 0, argument, 0, 0 }))
          end
        end
      end
    end
  end)
end)

-- Those that a container of Docker's refuses by default, without added capabilities: by moby's profiles/seccomp/default.json, where later ones
-- refuse io_uring, too.
local REFUSED_BY_DOCKER = [[
  _sysctl acct add_key afs_syscall bdflush bpf break clock_settime clock_settime64 clone3 create_module delete_module fanotify_init
  finit_module fsconfig fsmount fsopen fspick ftime get_kernel_syms get_mempolicy get_tls getpmsg gtty idle init_module io_uring_enter
  io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lock lookup_dcookie mbind migrate_pages mount
  mount_setattr move_mount move_pages mpx nfsservctl nice oldfstat oldlstat oldolduname oldstat olduname open_by_handle_at open_tree
  pciconfig_iobase pciconfig_read pciconfig_write perf_event_open pidfd_getfd pivot_root process_madvise prof profil putpmsg query_module
  quotactl quotactl_fd readdir reboot request_key security set_mempolicy set_mempolicy_home_node setdomainname sethostname setns
  settimeofday sgetmask sigaction signal sigpending sigsuspend ssetmask stime stty swapoff swapon sysfs syslog tuxcall ulimit umount umount2
  unshare uselib userfaultfd usr26 usr32 ustat vhangup vm86 vm86old vserver]]

-- By whom a call is refused no longer.
local FREED = {
  SYS_ADMIN = "clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree pivot_root quotactl "
    .. "quotactl_fd setdomainname sethostname setns swapoff swapon umount2 unshare",
  SYS_BOOT = "kexec_file_load kexec_load reboot", SYS_MODULE = "create_module delete_module finit_module get_kernel_syms init_module query_module",
  SYS_PTRACE = "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev", SYS_TIME = "clock_settime settimeofday",
  SYS_NICE = "get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node", SYS_RAWIO = "ioperm iopl",
  SYS_PACCT = "acct", SYS_TTY_CONFIG = "vhangup", SYSLOG = "syslog", BPF = "bpf", PERFMON = "perf_event_open", DAC_READ_SEARCH = "open_by_handle_at",
}

describe("the filter of a container", function()
  local function filters(held, rules)
    local made = {}
    for name, machine in pairs(MACHINES) do made[name] = { machine[1], program(policy.filter(machine[2], held or {}, rules or {})) } end
    return made
  end

  it("refuses what that of Docker refuses, on each machine, be it the one of the kernel or the other that it runs", function()
    local of_docker = {}
    for name in REFUSED_BY_DOCKER:gmatch "%S+" do of_docker[name] = true end
    for name, filter in pairs(filters({}, { compat = true })) do
      for call, number in pairs(syscalls[name]) do
        local verdict = run(filter[2], filter[1], number)
        if of_docker[call] then assert.are.equal(call == "clone3" and ENOSYS or EPERM, verdict, call) end
      end
    end
  end)

  it("has all others fail as calls that are not there: of newer kernels, of x32, of other machines, and with no compat of the other one", function()
    for name, filter in pairs(filters()) do
      local audit = MACHINES[name][2]
      local names = {}
      for call, number in pairs(audit == filter[1] and syscalls[name] or {}) do names[number] = call end
      for number = 0, 1100 do
        if audit ~= filter[1] or not names[number] then assert.are.equal(ENOSYS, run(filter[2], filter[1], number), number) end
        for _, other in ipairs { number | 0x40000000, number | 0x80000000 } do assert.are.equal(ENOSYS, run(filter[2], filter[1], other)) end
        assert.are.equal(ENOSYS, run(filter[2], 0xc00000f3, number)) -- RISC-V
      end
      assert.are.equal(ENOSYS, run(filter[2], audit, 0xffffffff))
    end
  end)

  it("lets the calls for a capability pass with that one, and only those", function()
    local before = filters().x86_64
    for capability, number in pairs(capabilities.NUMBERS) do
      local filter = program(policy.filter(sys.AUDIT_ARCH_X86_64, capabilities.names(1 << number), {}))
      local freed = {}
      for call, nr in pairs(syscalls.x86_64) do
        local verdict = run(filter, sys.AUDIT_ARCH_X86_64, nr)
        if verdict ~= run(before[2], before[1], nr) then
          freed[#freed + 1] = call
          assert.are.equal(ALLOW, verdict)
        end
      end
      table.sort(freed)
      assert.are.equal(FREED[capability] or "", table.concat(freed, " "), capability)
    end
  end)

  it("looks at the arguments of clone, socket, ioctl and personality, of which the kernel takes 32 bits", function()
    local UPPER = 0xdeadbeef00000000
    for name, filter in pairs(filters({}, { compat = true })) do
      local function verdict(call, ...)
        local number, arguments = assert(syscalls[name][call]), { ... }
        for i = #arguments + 1, 6 do arguments[i] = 0 end
        return run(filter[2], filter[1], number, arguments)
      end
      for _, upper in ipairs { 0, UPPER } do
        for bit = 0, 31 do
          local is_new = (0x7e020000 >> bit) & 1 == 1
          assert.are.equal(is_new and EPERM or ALLOW, verdict("clone", 1 << bit | upper))
        end
        for _, case in ipairs {
          { EPERM, "ioctl", 0, 0x5412 | upper }, { EPERM, "ioctl", 0, 0x541c | upper }, { ALLOW, "ioctl", 0, 0x5413 | upper },
          { ALLOW, "ioctl", 0x5412, 0x5411, 0x5412 }, { EPERM, "socket", 40 | upper }, { ALLOW, "socket", 2 | upper, 40 },
          { ALLOW, "personality", upper }, { ALLOW, "personality", 8 | upper }, { ALLOW, "personality", 0x20000 | upper },
          { ALLOW, "personality", 0x20008 | upper }, { ALLOW, "personality", 0xffffffff | upper }, { EPERM, "personality", 0x40000 | upper },
          { EPERM, "personality", 1 | upper }, { EPERM, "personality", 0x400000 | upper },
        } do assert.are.equal(case[1], verdict(table.unpack(case, 2)), table.concat(case, " ")) end
      end
    end
  end)

  it("goes by the rules in their order, then by what it says without them", function()
    local function rule(...) return privilege_fields.seccomp({ ... }, "seccomp") end
    local rules = rule({ "mkdir", "mkdirat", action = "EROFS" }, { "read", action = "kill", args = { { index = 0, op = "==", value = 7 } } },
      { "read", action = "EIO", args = { { index = 0, op = "<", value = 9 }, { index = 2, op = ">", value = 1 << 40 } } },
      { "ioctl", action = "allow", args = { { index = 1, op = "==", value = 0x5412 } } }, { 451, 452, action = "allow" }, { "mount", action = "log" },
      { "clone", action = "trap", args = { { index = 0, op = "==", value = 0x1000, mask = 0xf000 } } }, { "mount", action = "kill" })
    local filter = filters({}, rules).x86_64[2]
    local function verdict(number, ...)
      local arguments = { ... }
      for i = #arguments + 1, 6 do arguments[i] = 0 end
      return run(filter, sys.AUDIT_ARCH_X86_64, number, arguments)
    end
    for _, case in ipairs {
      { 0x50000 | sys.EROFS, 83 }, { 0x50000 | sys.EROFS, 258 }, { KILL, 0, 7 }, { KILL, 0, 7, 0, -1 }, { ALLOW, 0, 8, 0, 1 << 40 },
      { 0x50000 | sys.EIO, 0, 8, 0, 1 + (1 << 40) }, { ALLOW, 0, 9, 0, -1 }, { ALLOW, 16, 0, 0x5412 }, { EPERM, 16, 0, 0x5412 | 1 << 32 },
      { EPERM, 16, 0, 0x541c }, { ALLOW, 451 }, { ALLOW, 452 }, { ENOSYS, 453 }, { 0x7ffc0000, 165 }, { 0x30000, 56, 0x1011 },
      { EPERM, 56, sys.CLONE_NEWNS }, { ALLOW, 56, 17 },
    } do assert.are.equal(case[1], verdict(table.unpack(case, 2)), table.concat(case, " ")) end
  end)

  it("has no list of casulo's own with a default; and rules by name count for the programs of both machines", function()
    for _, action in ipairs { "allow", "kill", "EACCES" } do
      local rules = privilege_fields.seccomp({ { "mount", "clone", action = "ENOMEM" }, default = action, compat = true }, "seccomp")
      local other = action == "allow" and ALLOW or action == "kill" and KILL or 0x50000 | sys.EACCES
      for name, filter in pairs(filters({}, rules)) do
        local verdicts = { [syscalls[name].mount] = 0x50000 | sys.ENOMEM, [syscalls[name].clone] = 0x50000 | sys.ENOMEM,
          [syscalls[name].exit] = ALLOW, [syscalls[name].exit_group] = ALLOW }
        for number = 0, 600 do assert.are.equal(verdicts[number] or other, run(filter[2], filter[1], number)) end
        -- no rule by name knows the numbers of others: what is refused here must not be allowed there
        local of_others = action == "allow" and ENOSYS or other
        assert.are.equal(of_others, run(filter[2], 0xc00000f3, 1))
        for _, x32 in ipairs { 0x40000000, 0x40000000 | syscalls[name].mount, 0xffffffff } do
          assert.are.equal(of_others, run(filter[2], filter[1], x32))
        end
      end
    end
  end)
end)

describe("what is made before, and kept with the sources,", function()
  it("is the filter that the policy makes now", function()
    for _, audit in ipairs { sys.AUDIT_ARCH_X86_64, sys.AUDIT_ARCH_AARCH64 } do
      assert.is_true(policy.filter(audit, {}, {}) == require "casulo.default_filter"[audit], "run make filters")
    end
  end)

  it("is what libseccomp knows of the numbers", function()
    if not sys.stat "/usr/include/seccomp.h" then return support.cannot_run "libseccomp-dev is not installed" end
    local path = support.tmpdir() .. "/syscalls"
    local status, text, err = support.sh(("gcc -O1 -Wall -Wextra -Werror -o '%s' src/filter/syscalls.c -lseccomp && '%s'"):format(path, path))
    assert.are.same({ 0, "" }, { status, err })
    local current = load(text)()
    for name, numbers in pairs(syscalls) do
      for call, number in pairs(numbers) do
        assert.are.equal(current[name][call], number, call)
        assert.is_true(number <= LAST_NUMBER or name == "arm" and number >= 0xf0000)
      end
    end
  end)
end)
