-- SPDX-License-Identifier: MIT

--- Which system calls a container's processes may make: casulo's own list, changed by what a description says.
--
-- What is refused is what reaches the whole kernel, or has been the way to break out of containers: it fails with EPERM. Calls that are
-- newer than this list fail with ENOSYS, as on a kernel without them, and so does clone3, whose flags a filter cannot see: C
-- libraries then take clone.
-- @module casulo.policy

local sys = require "casulo.sys"

local policy = {}

local ALLOW, ERRNO = 0x7fff0000, 0x00050000
local REFUSE, UNKNOWN = ERRNO | sys.EPERM, ERRNO | sys.ENOSYS

--- The actions of a filter by name; the name of an errno stands for failing with it.
policy.ACTIONS = { allow = ALLOW, log = 0x7ffc0000, trap = 0x00030000, kill = 0x80000000 }

--- Actions after which the call is made.
policy.RUNS = { [ALLOW] = true, [policy.ACTIONS.log] = true }
local RUNS = policy.RUNS

-- Refused calls, and the capability for which they are not: it would be worth nothing without them.
local REFUSED = {
  { "SYS_ADMIN", "mount umount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr setns unshare "
    .. "sethostname setdomainname swapon swapoff quotactl quotactl_fd fanotify_init lookup_dcookie" },
  { "SYS_BOOT", "reboot kexec_load kexec_file_load" },
  { "SYS_MODULE", "init_module finit_module delete_module create_module query_module get_kernel_syms" },
  { "SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev" },
  { "SYS_TIME", "settimeofday stime clock_settime clock_settime64" },
  { "SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages" },
  { "SYS_RAWIO", "ioperm iopl" },
  { "SYS_PACCT", "acct" },
  { "SYS_TTY_CONFIG", "vhangup" },
  { "SYSLOG", "syslog" },
  { "BPF", "bpf" },
  { "PERFMON", "perf_event_open" },
  { "DAC_READ_SEARCH", "open_by_handle_at" },
  { nil, "add_key request_key keyctl userfaultfd io_uring_setup io_uring_enter io_uring_register nfsservctl sysfs _sysctl uselib ustat "
    .. "vm86 vm86old pciconfig_iobase pciconfig_read pciconfig_write" },
  -- of old, for which C libraries have other ones, and such as no Linux ever had
  { nil, "afs_syscall bdflush break ftime get_tls getpmsg gtty idle lock mpx nice oldfstat oldlstat oldolduname oldstat olduname prof profil "
    .. "putpmsg readdir security sgetmask sigaction signal sigpending sigsuspend ssetmask stty tuxcall ulimit usr26 usr32 vserver" },
}

-- Arguments that the kernel takes as 32 bits are looked at as such, whatever is in the upper half.
local LOW = 0xffffffff
local NEW_NAMESPACES = sys.CLONE_NEWNS | sys.CLONE_NEWUTS | sys.CLONE_NEWIPC | sys.CLONE_NEWUSER | sys.CLONE_NEWPID | sys.CLONE_NEWNET
  | sys.CLONE_NEWCGROUP
local AF_VSOCK = 40
local UNAME26 = 0x0020000

local function is(index, value) return { { index, "==", value, LOW } } end

-- Calls that are refused by their arguments.
local BY_ARGUMENTS = {
  ioctl = { { REFUSE, is(1, sys.TIOCSTI) }, { REFUSE, is(1, sys.TIOCLINUX) }, ALLOW },
  socket = { { REFUSE, is(0, AF_VSOCK) }, ALLOW }, -- it reaches the hypervisor, whatever the network namespace is
  personality = { -- others make attacks easier, or the kernel look old
    { ALLOW, is(0, sys.PER_LINUX) }, { ALLOW, is(0, 8) }, { ALLOW, is(0, UNAME26) }, { ALLOW, is(0, UNAME26 | 8) }, { ALLOW, is(0, LOW) }, REFUSE,
  },
}
local CLONE = { { ALLOW, { { 0, "==", 0, NEW_NAMESPACES } } }, REFUSE }

-- The machines of this kernel: its own, and the one whose programs it runs, too.
local MACHINES = {
  [sys.AUDIT_ARCH_X86_64] = { "x86_64", "i386" }, [sys.AUDIT_ARCH_AARCH64] = { "aarch64", "arm" },
}
local AUDIT = {
  x86_64 = sys.AUDIT_ARCH_X86_64, i386 = sys.AUDIT_ARCH_I386, aarch64 = sys.AUDIT_ARCH_AARCH64, arm = sys.AUDIT_ARCH_ARM,
}

--- Calls that no rule refuses: who may not end would run for ever, and casulo's own processes, too.
policy.ENDS = { exit = true, exit_group = true }

-- The verdict on each call of casulo's list, by name.
local function own_verdicts(numbers, held)
  local verdicts = {}
  for name in pairs(numbers) do verdicts[name] = BY_ARGUMENTS[name] or ALLOW end
  for _, group in ipairs(REFUSED) do
    for name in group[2]:gmatch "%S+" do
      if not (group[1] and held[group[1]]) then verdicts[name] = REFUSE end
    end
  end
  if not held.SYS_ADMIN then verdicts.clone, verdicts.clone3 = CLONE, UNKNOWN end
  return verdicts
end

-- The rules of a description come before what is said of their calls already.
local function with_rules(verdicts, numbers, rules)
  local mentioned = {}
  for i = #rules, 1, -1 do
    local rule = rules[i]
    for _, call in ipairs(rule.calls) do
      local number = math.type(call) == "integer" and call or numbers[call]
      if number then
        local before = mentioned[number] or verdicts[number] or rules.default or UNKNOWN
        if not rule.conditions[1] then mentioned[number] = rule.action
        elseif math.type(before) == "integer" then mentioned[number] = { { rule.action, rule.conditions }, before }
        else mentioned[number] = { { rule.action, rule.conditions }, table.unpack(before) } end
      end
    end
  end
  for number, verdict in pairs(mentioned) do verdicts[number] = verdict end
  for name in pairs(policy.ENDS) do
    if not RUNS[verdicts[numbers[name]]] then verdicts[numbers[name]] = ALLOW end
  end
end

local function machine_of(name, held, rules)
  local numbers, verdicts = require "casulo.syscalls"[name], {}
  if not rules.default then
    for call, verdict in pairs(own_verdicts(numbers, held)) do
      if numbers[call] then verdicts[numbers[call]] = verdict end
    end
  end
  with_rules(verdicts, numbers, rules)
  return { audit = AUDIT[name], verdicts = verdicts }
end

--- The filter for a machine.
-- @tparam integer audit AUDIT_ARCH_… of the machine's own programs
-- @tparam table held the set of the capabilities that the command has, by their names
-- @tparam table rules of a description, in order: each `calls`, names or numbers; `action`; `conditions` as `casulo.filter` takes them.
--   `default`, the action on all others, in place of casulo's list; `compat`: whether programs of the 32-bit machine run, too
-- @treturn string of struct sock_filter
-- @see seccomp(2)
function policy.filter(audit, held, rules)
  local machines = {}
  for i, name in ipairs(MACHINES[audit]) do
    if i == 1 or rules.compat then machines[i] = machine_of(name, held, rules) end
  end
  -- of another machine's call the rules say nothing: what they refuse has another number there
  local others = RUNS[rules.default] and UNKNOWN or rules.default or UNKNOWN
  return require "casulo.filter".compile { default = rules.default or UNKNOWN, others = others, machines = machines }
end

return policy
