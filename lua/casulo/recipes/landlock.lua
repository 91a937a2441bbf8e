-- SPDX-License-Identifier: MIT

--- Landlock: what a process gives up of the file system, of the network and of other processes, beyond what its ids allow.
--
-- The kernel numbers what its Landlock knows by an ABI. A right that is handled is denied wherever no rule allows it; one that
-- the kernel does not know is not restricted.
-- @module casulo.recipes.landlock

local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local landlock = {}

--- The kernel's rights of files: name → bit.
landlock.RIGHTS = {}
for _, name in ipairs {
  "execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir", "make_reg", "make_sock",
  "make_fifo", "make_block", "make_sym", "refer", "truncate", "ioctl_dev",
} do landlock.RIGHTS[name] = sys["LANDLOCK_ACCESS_FS_" .. name:upper()] end

--- Words for several rights.
landlock.GROUPS = {
  read = { "read_file", "read_dir" },
  write = { "write_file", "truncate", "make_reg", "make_dir", "make_sym", "make_fifo", "make_sock", "remove_file", "remove_dir", "refer" },
}

--- What a process may be kept from doing to those outside: name → bit.
landlock.SCOPES = { signal = sys.LANDLOCK_SCOPE_SIGNAL, abstract_unix_socket = sys.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET }

--- The uses of a TCP port: name → bit.
landlock.PORTS = { bind_tcp = sys.LANDLOCK_ACCESS_NET_BIND_TCP, connect_tcp = sys.LANDLOCK_ACCESS_NET_CONNECT_TCP }

--- Since which ABI the kernel knows what it did not know from the first.
landlock.SINCE = { refer = 2, truncate = 3, bind_tcp = 4, connect_tcp = 4, ioctl_dev = 5, signal = 6, abstract_unix_socket = 6 }

local OF_FILES = landlock.RIGHTS.execute | landlock.RIGHTS.write_file | landlock.RIGHTS.read_file | landlock.RIGHTS.truncate
  | landlock.RIGHTS.ioctl_dev -- those that a file, too, can have: for the others there must be a directory

-- The bits of those names that an ABI knows.
local function bits_of(names, known, abi)
  local bits = 0
  for _, name in ipairs(names) do
    if abi >= (landlock.SINCE[name] or 1) then bits = bits | known[name] end
  end
  return bits
end

local function names_of(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- Two rules for one place add up. The second one fails where the place is a file.
local function path_rules(path, rights, handled)
  local place, allowed = "landlock " .. path, bits_of(rights, landlock.RIGHTS, math.huge) & handled
  local of_files = allowed & OF_FILES
  local how = string.pack("=I8I8I8", sys.O_PATH | sys.O_CLOEXEC, 0, sys.RESOLVE_NO_MAGICLINKS)
  local function rule(bits, why, tolerate)
    local attr = { allowed_access = bits, parent_fd = ref(place) }
    return { "landlock_add_rule", ref "ruleset", sys.LANDLOCK_RULE_PATH_BENEATH, attr, 0, why = why, tolerate = tolerate }
  end
  if allowed == 0 then return {} end
  local steps = { { "openat2", sys.AT_FDCWD, path, how, as = place, why = "a place inside; no link of /proc may lead out of here" } }
  local why = "there and below, the command may: " .. table.concat(rights, " ")
  if of_files ~= 0 then steps[2] = rule(of_files, why) end
  if of_files == 0 then steps[2] = rule(allowed, why)
  elseif of_files ~= allowed then
    steps[3] = rule(allowed & ~OF_FILES, "those of these rights that only a directory can have", { sys.EINVAL })
  end
  return steps
end

local function port_rules(ports, bit, why)
  local steps = {}
  for i, port in ipairs(ports) do
    steps[i] = { "landlock_add_rule", ref "ruleset", sys.LANDLOCK_RULE_NET_PORT, string.pack("=I8I8", bit, port), 0, why = why }
  end
  return steps
end

-- struct landlock_ruleset_attr
local function handled_by(settings, abi)
  local ports = {}
  for name in pairs(landlock.PORTS) do ports[#ports + 1] = settings[name] and name end
  return settings.paths and bits_of(names_of(landlock.RIGHTS), landlock.RIGHTS, abi) or 0,
    bits_of(ports, landlock.PORTS, abi), bits_of(settings.scope or {}, landlock.SCOPES, abi)
end

--- Restricts this process, and all that it starts, to what rules allow. It must have no_new_privs set.
-- @tparam table settings `paths`: by path inside the container, lists of the names of its rights; `bind_tcp`, `connect_tcp`: lists
--   of ports; `scope`: a list of names. One that is nil restricts nothing
-- @tparam integer abi what the kernel knows; what it does not is left out
-- @treturn table steps
-- @see landlock(7), landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2)
function landlock.restrict(settings, abi)
  local files, ports, scopes = handled_by(settings, abi)
  if files | ports | scopes == 0 then return {} end
  local steps = {
    { "landlock_create_ruleset", string.pack("=I8I8I8", files, ports, scopes), 0, as = "ruleset",
      why = "of all this, the command may do only what a rule allows" },
  }
  for _, path in ipairs(files ~= 0 and names_of(settings.paths) or {}) do
    steps[#steps + 1] = path_rules(path, settings.paths[path], files)
  end
  for _, name in ipairs(ports ~= 0 and names_of(landlock.PORTS) or {}) do
    steps[#steps + 1] = port_rules(settings[name] or {}, landlock.PORTS[name],
      name == "bind_tcp" and "a TCP port that it may listen on" or "a TCP port, of whichever host, that it may connect to")
  end
  steps[#steps + 1] = { "landlock_restrict_self", ref "ruleset", 0,
    why = "from here on, for this process and all that it starts; nobody can take it back" }
  return steps
end

return landlock
