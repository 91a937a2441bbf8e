-- SPDX-License-Identifier: MIT

--- Plans in words: a call in C's own form, with its flags decoded, beside its reason.
-- @module casulo.explain

local plan = require "casulo.plan"
local sys = require "casulo.sys"

local explain = {}

local WIDEST = 100 -- a call that is longer pushes its reason to the right

local LONGEST = 24 -- items of a list
local LONGEST_TEXT = 200 -- bytes of what is written

local function is_ref(value) return type(value) == "table" and value.ref end

local function escaped(text)
  return (text:gsub('[%c"\\\x7f-\xff]', function(char)
    return ({ ["\n"] = "\\n", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" })[char] or ("\\%03o"):format(char:byte())
  end))
end

local function quoted(value)
  if value == nil then return "NULL" end
  if is_ref(value) then return escaped(value.ref) end
  if type(value) ~= "string" then return tostring(value) end
  return ('"%s"'):format(escaped(value))
end

-- Bits of one meaning share a prefix; a value of more than one bit is a combination, not a flag.
local function flags(prefix, names)
  local bits
  local function gather()
    bits = {}
    for name, value in pairs(sys) do
      local fits = names and names:find((" %s "):format(name), 1, true) or not names and name:find("^" .. prefix)
      if fits and math.type(value) == "integer" and value > 0 and value & (value - 1) == 0 then
        bits[#bits + 1] = { value, name }
      end
    end
    table.sort(bits, function(a, b) return a[1] < b[1] end)
  end
  return function(value)
    if math.type(value) ~= "integer" then return quoted(value) end
    if not bits then gather() end
    local found, rest = {}, value
    for _, bit in ipairs(bits) do
      if rest & bit[1] ~= 0 then
        found[#found + 1] = bit[2]
        rest = rest & ~bit[1]
      end
    end
    if rest ~= 0 or #found == 0 then found[#found + 1] = rest < 10 and tostring(rest) or ("0x%x"):format(rest) end
    return table.concat(found, "|")
  end
end

local function one_of(prefix, pattern)
  return function(value)
    for name, constant in pairs(sys) do
      if constant == value and name:find("^" .. prefix) and name:find(pattern or "") then return name end
    end
    return quoted(value)
  end
end

local function number(value)
  if value == nil then return "0" end
  return quoted(value)
end
local function octal(value) return math.type(value) == "integer" and ("%04o"):format(value) or quoted(value) end
local file_type = { [sys.S_IFREG] = "S_IFREG", [sys.S_IFCHR] = "S_IFCHR", [sys.S_IFBLK] = "S_IFBLK", [sys.S_IFIFO] = "S_IFIFO" }
local function node_mode(value)
  if math.type(value) ~= "integer" then return quoted(value) end
  return ("%s|%04o"):format(file_type[value & sys.S_IFMT] or value & sys.S_IFMT, value & 4095)
end
local function descriptor(value)
  if value == nil then return "0" end
  return value == sys.AT_FDCWD and "AT_FDCWD" or quoted(value)
end
local function with_length(value)
  if value:sub(1, 4) == "\127ELF" then return ("[/* casulo-init */], %d"):format(#value) end
  if #value > LONGEST_TEXT then return ("%s…, %d"):format(quoted(value:sub(1, LONGEST_TEXT)), #value) end
  return ("%s, %d"):format(quoted(value), #value)
end
local function list(value)
  if type(value) ~= "table" then return quoted(value) end
  local items = {}
  for i = 1, math.min(#value, LONGEST) do items[i] = quoted(value[i]) end
  if #value > LONGEST then items[LONGEST + 1] = ("… %d more"):format(#value - LONGEST) end
  return ("[%s]"):format(table.concat(items, ", "))
end
local function environment(value) return ("[/* %d variables */]"):format(#value) end
local function this_process(value) return type(value) == "string" and #value == 8 and "{pid=0}" or quoted(value) end
local function groups(value) return ("%d, %s"):format(#value, list(value)) end
local signal = one_of("SIG", "^SIG%u")
local function signals(value)
  local items = {}
  for i, item in ipairs(value) do items[i] = signal(item) end
  return ("[%s], NULL"):format(table.concat(items, ", "))
end
local capability = one_of "CAP_"
local function capability_set(low, high)
  local names = {}
  for bit = 0, 63 do
    if (high << 32 | low) & 1 << bit ~= 0 then names[#names + 1] = capability(bit) end
  end
  return names[1] and table.concat(names, "|") or "0"
end
local function capabilities(value)
  if type(value) ~= "string" or #value ~= 24 then return quoted(value) end
  local effective, permitted, inheritable, effective_above, permitted_above, inheritable_above = string.unpack("=I4I4I4I4I4I4", value)
  return ("{effective=%s, permitted=%s, inheritable=%s}"):format(capability_set(effective, effective_above),
    capability_set(permitted, permitted_above), capability_set(inheritable, inheritable_above))
end
local ambient = one_of "PR_CAP_AMBIENT_"
local function prctl_value(value, step)
  local shown = { [sys.PR_SET_PDEATHSIG] = signal, [sys.PR_CAPBSET_DROP] = capability, [sys.PR_CAP_AMBIENT] = ambient }
  return (shown[step[2]] or number)(value)
end
local prctl_other = one_of("PR_", "^PR_%u-ET_")
local function prctl_option(value) return value == sys.PR_CAP_AMBIENT and "PR_CAP_AMBIENT" or prctl_other(value) end
local function prctl_second(value, step) return (step[2] == sys.PR_CAP_AMBIENT and capability or number)(value) end
local disposition = one_of("SIG_", "^SIG_[DI]")

local attribute_bits, mount_bits = flags "MOUNT_ATTR_", flags "MS_"
local function attribute_set(value)
  if type(value) ~= "table" and (type(value) ~= "string" or #value < 32) then return quoted(value) end
  local set, clear, propagation, user_namespace
  if type(value) == "table" then set, clear, propagation, user_namespace = table.unpack(value, 1, 4)
  else set, clear, propagation = string.unpack("=I8I8I8", value) end
  local parts = { set ~= 0 and "attr_set=" .. attribute_bits(set) or nil }
  if clear ~= 0 then parts[#parts + 1] = "attr_clr=" .. attribute_bits(clear) end
  if propagation ~= 0 then parts[#parts + 1] = "propagation=" .. mount_bits(propagation) end
  if user_namespace then parts[#parts + 1] = "userns_fd=" .. descriptor(user_namespace) end
  return ("{%s}, 32"):format(table.concat(parts, ", "))
end

local interface_bits = flags "IFF_"
local function interface(value)
  if type(value) ~= "string" or #value ~= 40 then return quoted(value) end
  local name, bits = string.unpack("z", value), string.unpack("=I2", value, 17)
  return ("{ifr_name=%s, ifr_flags=%s}"):format(quoted(name), interface_bits(bits))
end

local poll_bits = flags "POLL"
local function poll_list(value)
  local items = {}
  for i, entry in ipairs(value) do items[i] = ("{%s, %s}"):format(descriptor(entry.fd), poll_bits(entry.events)) end
  return ("[%s], %d"):format(table.concat(items, ", "), #value)
end

local resolve_bits = flags "RESOLVE_"
local open_flags = flags("O_")
local function open_mode(value)
  local access = { [0] = "O_RDONLY", "O_WRONLY", "O_RDWR" }
  local rest = value & ~3
  return access[value & 3] .. (rest ~= 0 and "|" .. open_flags(rest) or "")
end

local function open_how(value)
  if type(value) ~= "string" or #value ~= 24 then return quoted(value) end
  local opening, _, resolve = string.unpack("=I8I8I8", value)
  return ("{flags=%s, resolve=%s}, %d"):format(open_mode(opening), resolve_bits(resolve), #value)
end

local descriptor_command = one_of("F_", "^F_[DGSA][UED][PTD]")
local seal_bits = flags "F_SEAL_"
local descriptor_flags = flags "FD_"
local function descriptor_value(value, step)
  return (step[3] == sys.F_ADD_SEALS and seal_bits or step[3] == sys.F_SETFD and descriptor_flags or number)(value)
end
local seccomp_operation = one_of "SECCOMP_"
local network_request, terminal_request = one_of("SIOC", "^SIOC"), one_of("TIOC", "^TIOC")
local function ioctl_request(value) return (value < 0x8000 and terminal_request or network_request)(value) end
local function ioctl_value(value, step)
  if step[3] == sys.SIOCSIFFLAGS or step[3] == sys.SIOCGIFFLAGS then return interface(value) end
  if step[3] == sys.TIOCSWINSZ and #value == 8 then return ("{ws_row=%d, ws_col=%d}"):format(string.unpack("=I2I2", value)) end
  if step[3] == sys.TIOCSPTLCK and #value == 4 then return ("[%d]"):format(string.unpack("=i4", value)) end
  if step[3] == sys.TIOCGPTPEER then return open_mode(value) end
  return number(value)
end
local function filter(value) return ("{len=%d, filter=[…]}"):format(#value // 8) end
local function descriptors_sent(value)
  return ("[{cmsg_type=SCM_RIGHTS, cmsg_data=[%s]}]"):format(descriptor(value[1]))
end

local file_rights, port_rights, scopes = flags "LANDLOCK_ACCESS_FS_", flags "LANDLOCK_ACCESS_NET_", flags "LANDLOCK_SCOPE_"
local function ruleset(value)
  if type(value) ~= "string" or #value ~= 24 then return quoted(value) end
  local files, ports, scoped = string.unpack("=I8I8I8", value)
  return ("{handled_access_fs=%s, handled_access_net=%s, scoped=%s}, %d"):format(file_rights(files), port_rights(ports), scopes(scoped), #value)
end
local function rule(value)
  if type(value) == "table" then
    return ("{allowed_access=%s, parent_fd=%s}"):format(file_rights(value.allowed_access), descriptor(value.parent_fd))
  end
  if #value ~= 16 then return quoted(value) end
  local allowed, port = string.unpack("=I8I8", value)
  return ("{allowed_access=%s, port=%d}"):format(port_rights(allowed), port)
end
local function limit(field, ending)
  return function(value) return ("%s=%s%s"):format(field, value == sys.RLIM_INFINITY and "RLIM_INFINITY" or quoted(value), ending) end
end

local clone_bits, attributes = flags "CLONE_NEW", attribute_bits
local tree_bits = flags(nil, " OPEN_TREE_CLONE OPEN_TREE_CLOEXEC AT_RECURSIVE AT_EMPTY_PATH ")
local at_bits = flags(nil, " AT_RECURSIVE AT_EMPTY_PATH ")
local dir = descriptor

-- What stands at each place; a call that is missing here prints its values as they are.
local ARGUMENTS = {
  _exit = { number }, capset = { this_process, capabilities },
  chdir = { quoted }, chroot = { quoted }, close = { descriptor }, fchdir = { descriptor },
  close_range = { number, number, flags "CLOSE_RANGE_" },
  dup2 = { descriptor, number },
  fchown = { descriptor, number, number }, fcntl = { descriptor, descriptor_command, descriptor_value },
  execve = { quoted, list, environment }, fexecve = { descriptor, list, environment },
  fsconfig = { descriptor, one_of "FSCONFIG_", quoted, quoted, number },
  fsmount = { descriptor, flags "FSMOUNT_", attributes },
  fsopen = { quoted, flags "FSOPEN_" },
  ioctl = { descriptor, ioctl_request, ioctl_value },
  keyctl = { one_of "KEYCTL_", quoted }, personality = { one_of "PER_" },
  setpriority = { one_of "PRIO_", number, number },
  landlock_add_rule = { descriptor, one_of "LANDLOCK_RULE_", rule, number },
  landlock_create_ruleset = { ruleset, number }, landlock_restrict_self = { descriptor, number },
  memfd_create = { quoted, flags "MFD_" },
  mkdir = { quoted, octal }, mknod = { quoted, node_mode, number }, chmod = { quoted, octal },
  mkdirat = { dir, quoted, octal }, mknodat = { dir, quoted, node_mode, number },
  mount = { quoted, quoted, quoted, mount_bits, quoted },
  mount_setattr = { dir, quoted, at_bits, attribute_set },
  move_mount = { dir, quoted, dir, quoted, flags "MOVE_MOUNT_" },
  open = { quoted, open_mode }, openat = { dir, quoted, open_mode },
  open_tree = { dir, quoted, tree_bits }, openat2 = { dir, quoted, open_how },
  pidfd_open = { number, number },
  pivot_root = { quoted, quoted },
  poll = { poll_list, number },
  prctl = { prctl_option, prctl_value, prctl_second, number, number },
  read = { descriptor, number }, seccomp = { seccomp_operation, number, filter }, sendmsg = { descriptor, quoted, descriptors_sent },
  setdomainname = { with_length }, sethostname = { with_length },
  setgroups = { groups }, setns = { descriptor, clone_bits }, unshare = { clone_bits },
  setrlimit = { one_of "RLIMIT_", limit("{rlim_cur", ""), limit("rlim_max", "}") },
  setresgid = { number, number, number }, setresuid = { number, number, number },
  signal = { signal, disposition }, sigprocmask = { one_of("SIG_", "^SIG_[BUS]"), signals },
  spawn = { list },
  socket = { one_of "AF_", flags(nil, " SOCK_STREAM SOCK_DGRAM SOCK_CLOEXEC "), number },
  symlinkat = { quoted, dir, quoted },
  umask = { octal }, umount2 = { quoted, flags(nil, " MNT_FORCE MNT_DETACH MNT_EXPIRE UMOUNT_NOFOLLOW ") },
  write = { descriptor, with_length },
}
local AT_LEAST = { mount = 5, fsconfig = 5, pidfd_open = 2, mknodat = 4 } -- arguments that a step may leave out

--- One step in C's own form: `mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)`.
-- @param step a step
-- @treturn string
function explain.call(step)
  if type(step) == "function" then
    local info = debug.getinfo(step, "S")
    return ("function at %s:%d"):format(info.short_src, info.linedefined)
  end
  local formats, texts = ARGUMENTS[step[1]] or {}, {}
  for i = 1, math.max(plan.arity(step), AT_LEAST[step[1]] or 0) do
    texts[i] = (formats[i] or quoted)(step[i + 1], step)
  end
  return ("%s(%s)"):format(step[1], table.concat(texts, ", "))
end

--- The line of a clone: its namespaces.
-- @tparam integer clone_flags
-- @param[opt] in_cgroup whether the child is born in a cgroup of its own
-- @treturn string
function explain.clone(clone_flags, in_cgroup)
  return ("clone(%s)"):format(clone_bits(clone_flags & ~sys.CLONE_FILES) .. (in_cgroup and "|CLONE_INTO_CGROUP, cgroup" or ""))
end

local function line(step, indent)
  local call = explain.call(step)
  if type(step) == "function" then return { indent .. call, "Lua code of your own" } end
  if step.expect then call = ("%s = %d"):format(call, step.expect) end
  if step.as then call = ("%s → %s"):format(call, escaped(step.as)) end
  return { indent .. call, step.why or "" }
end

-- Lua counts bytes, a terminal characters.
local function length_of(text) return utf8.len(text, 1, -1, true) or #text end
local function padded(text, width) return text .. (" "):rep(width - length_of(text)) end

--- The plan in words.
-- @tparam plan the_plan
-- @tparam[opt] string clone how the line of the clone reads
-- @tparam[opt] string why
-- @treturn string
function explain.plan(the_plan, clone, why)
  local lines = {}
  local function phase(name, indent)
    local alike = 0
    for _, step in ipairs(the_plan:phase(name)) do
      alike = type(step) == "table" and step.alike and alike + 1 or 0
      if alike == 0 then lines[#lines + 1] = line(step, indent)
      else lines[#lines][1] = lines[#lines][1]:gsub(", and %d+ more$", "") .. (", and %d more"):format(alike) end
    end
  end
  phase("before", "")
  if clone then lines[#lines + 1] = { clone, why } end
  phase("born", "")
  phase("child", clone and "  " or "")
  phase("init", "    ")
  phase("command", "      ")
  phase("after", "")
  local width = 0
  for _, item in ipairs(lines) do
    local length = length_of(item[1])
    if length <= WIDEST and length > width then width = length end
  end
  for i, item in ipairs(lines) do lines[i] = padded(item[1], width) .. "  " .. item[2] end
  return table.concat(lines, "\n") .. "\n"
end

return explain
