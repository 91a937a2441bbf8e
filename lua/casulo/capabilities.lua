-- SPDX-License-Identifier: MIT

--- The capabilities by name, and those that a container's root has.
-- @module casulo.capabilities

local capabilities = {}

-- In the order of their numbers, with what each is for; see capabilities(7).
local LIST = {
  { "CHOWN", "to change the owners of files" },
  { "DAC_OVERRIDE", "to pass over the permissions of files" },
  { "DAC_READ_SEARCH", "to read any file, and to open files by handles that lead out of every mount namespace" },
  { "FOWNER", "to do with files what only their owners may" },
  { "FSETID", "to keep the setuid bits of files that are changed" },
  { "KILL", "to send signals to the processes of others" },
  { "SETGID", "to become other groups" },
  { "SETUID", "to become other users" },
  { "SETPCAP", "to take capabilities from the bounding set, and to add inheritable ones" },
  { "LINUX_IMMUTABLE", "to make files immutable" },
  { "NET_BIND_SERVICE", "to bind to ports below 1024" },
  { "NET_BROADCAST", "to broadcast" },
  { "NET_ADMIN", "to configure networks" },
  { "NET_RAW", "to send packets that are made by hand, under the addresses of others" },
  { "IPC_LOCK", "to lock memory" },
  { "IPC_OWNER", "to pass over the permissions of System V objects" },
  { "SYS_MODULE", "to load code into the kernel" },
  { "SYS_RAWIO", "to reach the hardware past its drivers" },
  { "SYS_CHROOT", "to chroot" },
  { "SYS_PTRACE", "to look into, and to change, the processes of others" },
  { "SYS_PACCT", "to switch accounting" },
  { "SYS_ADMIN", "to mount, and to do most of what an administrator may" },
  { "SYS_BOOT", "to restart the machine, and to load another kernel" },
  { "SYS_NICE", "to take time from other processes" },
  { "SYS_RESOURCE", "to pass over limits and quotas" },
  { "SYS_TIME", "to set the clock" },
  { "SYS_TTY_CONFIG", "to hang up terminals" },
  { "MKNOD", "to make device nodes, which lead to any disk" },
  { "LEASE", "to be told when others open files" },
  { "AUDIT_WRITE", "to write to the host's audit log" },
  { "AUDIT_CONTROL", "to configure it" },
  { "SETFCAP", "to give capabilities to files, which on the host they would have, too" },
  { "MAC_OVERRIDE", "to pass over a security module" },
  { "MAC_ADMIN", "to configure a security module" },
  { "SYSLOG", "to read the kernel's log and addresses" },
  { "WAKE_ALARM", "to wake the machine" },
  { "BLOCK_SUSPEND", "to keep it awake" },
  { "AUDIT_READ", "to read the audit log" },
  { "PERFMON", "to watch the whole machine" },
  { "BPF", "to load programs into the kernel" },
  { "CHECKPOINT_RESTORE", "to choose PIDs, and to open what others have mapped" },
}

local NUMBERS = {}
for i, each in ipairs(LIST) do NUMBERS[each[1]] = i - 1 end

--- The number of each capability by its name, without CAP_.
capabilities.NUMBERS = NUMBERS

--- What is left to root in a container where nothing is asked for: what programs that switch users and own files rely on. None
-- reaches beyond the container's own files, processes and ports.
capabilities.DEFAULT = {
  "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT",
}

--- A set as the kernel has it: a bit each.
-- @tparam {string,...} names without CAP_
-- @tparam[opt] integer all what ALL among them stands for
-- @treturn integer
function capabilities.set(names, all)
  local set = 0
  for _, name in ipairs(names) do set = set | (name == "ALL" and all or 1 << NUMBERS[name]) end
  return set
end

-- What root needs, beside the default, to make containers in a user namespace of its own.
local NESTING = { "SYS_ADMIN", "NET_ADMIN", "SETFCAP" }

--- All that this kernel knows.
-- @tparam table host facts
-- @treturn integer a bit each
function capabilities.all(host) return (2 << host.last_capability) - 1 end

--- What there is to give: in a new user namespace root has all of them.
-- @tparam table checked `new`
-- @tparam table host facts
-- @treturn integer a bit each
function capabilities.available(checked, host)
  if checked.new.user then return capabilities.all(host) end
  return host.capabilities
end

local function is_root(checked)
  if checked.user then return checked.user.uid == 0 end
  return not checked.new.user or require "casulo.idmap".first(checked.uid_map) == 0
end

local function as(root, checked)
  local request, all = checked.capabilities or {}, checked.available
  if request.exact then return capabilities.set(request.exact, all) end
  local base = root and capabilities.set(capabilities.DEFAULT) or 0
  if root and checked.nesting then base = base | capabilities.set(NESTING) end
  return (base & all | capabilities.set(request.add or {}, all)) & ~capabilities.set(request.drop or {}, all)
end

--- The capabilities of the command.
-- @tparam table checked `capabilities`: `exact`, or `add` and `drop`; `available`: a bit each; `user`, `new`, `uid_map`, `nesting`
-- @treturn integer a bit each
-- @treturn boolean whether the command is root
function capabilities.of(checked)
  local root = is_root(checked)
  return as(root, checked), root
end

--- The bounding set of the command: where setuid programs count, they are to have what root would.
-- @tparam table checked as for `of`, with `no_new_privs`
-- @treturn integer a bit each
function capabilities.bounding(checked) return as(is_root(checked) or not checked.no_new_privs, checked) end

--- Names of a set.
-- @tparam integer set
-- @treturn table the names as keys
function capabilities.names(set)
  local names = {}
  for name, number in pairs(NUMBERS) do
    if set & 1 << number ~= 0 then names[name] = true end
  end
  return names
end

--- Refuses what cannot be given. Raises what is wrong.
-- @tparam table checked
-- @tparam string path how messages call the description
function capabilities.check(checked, path)
  local set = capabilities.of(checked)
  for name in pairs(capabilities.names(set & ~checked.available)) do
    local whose = checked.new.user and "this kernel" or "the caller itself"
    error(("%s.capabilities: %s has no CAP_%s"):format(path, whose, name), 0)
  end
  if checked.init and capabilities.names(set).SYS_PTRACE then
    error(path .. '.capabilities: who may trace PID 1 can make it outlive its caller; with init, drop "SYS_PTRACE"', 0)
  end
end

--- What a capability is for.
-- @tparam integer number
-- @treturn string
function capabilities.purpose(number) return LIST[number + 1] and LIST[number + 1][2] or "which is newer than casulo" end

return capabilities
