-- SPDX-License-Identifier: MIT

--- Checks the description of a container, field by field, and fills in what it leaves out.
--
-- Whatever is wrong raises a string that begins with the path of the field:
-- `container.mounts[2].target: expected an absolute path, got "tmp"`.
-- @module casulo.description

local capabilities = require "casulo.capabilities"
local check = require "casulo.check"
local PRIVILEGE_FIELDS = require "casulo.privilege_fields"
local RUN_FIELDS = require "casulo.run_fields"

local description = {}

local shown, wrong, unknown = check.shown, check.wrong, check.unknown

local function check_command(value, path)
  local command = check.list(value, path, check.string)
  if not command[1] or command[1] == "" then error(path .. ": expected the name of a command and its arguments, got none", 0) end
  return command
end

local function check_env(value, path)
  if type(value) ~= "table" then wrong(path, "a table of names and values", value) end
  local env = {}
  for name, setting in pairs(value) do
    if math.type(name) == "integer" then error(path .. ": expected { NAME = \"value\" }, got a list", 0) end
    if type(name) ~= "string" or name == "" or name:find "[=\0]" then wrong(path, "names without =", name) end
    env[name] = check.string(setting, ("%s.%s"):format(path, name))
  end
  return env
end

local USER_FIELDS = { uid = true, gid = true, groups = true }
local function check_user(value, path)
  if type(value) == "string" then
    local uid = value:match "^(%d+)$"
    local gid = uid
    if not uid then uid, gid = value:match "^(%d+):(%d+)$" end
    if not uid then error(('%s: expected numbers, "UID" or "UID:GID", got %s'):format(path, shown(value)), 0) end
    value = { uid = math.tointeger(tonumber(uid)) or uid, gid = math.tointeger(tonumber(gid)) or gid }
  elseif type(value) == "number" then
    value = { uid = value, gid = value }
  end
  check.table(value, path, USER_FIELDS)
  local uid = check.id(value.uid, path .. ".uid")
  return {
    uid = uid,
    gid = check.id(value.gid == nil and uid or value.gid, path .. ".gid"),
    groups = value.groups ~= nil and check.list(value.groups, path .. ".groups", check.id) or nil,
  }
end

local KINDS = { user = true, pid = true, mount = true, uts = true, ipc = true, net = true, cgroup = true, time = true }
local NOT_JOINED = {
  user = "a user namespace", pid = "a PID namespace", mount = "a mount namespace",
  time = "a time namespace (the kernel lets no process join one that shares memory)",
}

local function default_namespaces(host)
  local new = { pid = true, mount = true, uts = true, ipc = true, net = true, cgroup = true }
  new.user = host.uid ~= 0 or nil
  return new
end

-- → the set of those that are new, and the paths of those that are joined
local function check_namespaces(value, path, host)
  if value == nil then return default_namespaces(host), {} end
  if type(value) ~= "table" then wrong(path, "a list of namespaces", value) end
  local new = value[1] == nil and next(value) ~= nil and default_namespaces(host) or {}
  local joined = {}
  for key, setting in pairs(value) do
    local listed = math.type(key) == "integer"
    local kind = listed and setting or key
    if not KINDS[kind] then unknown(path, "namespace", kind, KINDS) end
    if listed then
      if value[kind] ~= nil then error(("%s.%s: it is listed as new, too"):format(path, kind), 0) end
      new[kind] = true
    else
      new[kind] = nil
      local inner = ("%s.%s"):format(path, kind)
      if setting ~= "host" then
        if NOT_JOINED[kind] then
          error(('%s: %s cannot be joined at the start of a container; expected "host"'):format(inner, NOT_JOINED[kind]), 0)
        end
        if type(setting) ~= "string" or setting:sub(1, 1) ~= "/" then wrong(inner, '"host" or an absolute path', setting) end
        joined[kind] = check.string(setting, inner)
      end
    end
  end
  return new, joined
end

local function check_range(value, path)
  local range = check.list(value, path, function(item, inner) return check.id(item, inner) end)
  if #range ~= 3 or range[3] < 1 then error(path .. ": expected { container, host, count }", 0) end
  return range
end

--- Checks an id map.
-- @tparam table value
-- @tparam string path how messages call it
-- @treturn table `{ { container, host, count }, … }`; or "auto"
function description.id_map(value, path)
  if value == "auto" then return value end
  if type(value) ~= "table" then wrong(path, 'a list of { container, host, count }, or "auto"', value) end
  local map = check.list(value, path, check_range)
  if not map[1] then error(path .. ": expected at least one { container, host, count }", 0) end
  local position, what = require "casulo.idmap".conflict(map)
  if position then error(("%s[%d]: %s"):format(path, position, what), 0) end
  return map
end

local function check_network(value, path)
  if value ~= "none" and value ~= "host" then wrong(path, '"none" or "host"', value) end
  return value
end

local function check_cgroup_parent(value, path)
  local parent = check.absolute(value, path)
  local inner = parent:match "^/sys/fs/cgroup(.*)$"
  if inner then error(("%s: expected a path as in /proc/PID/cgroup: %q"):format(path, inner == "" and "/" or inner), 0) end
  return parent
end

local INIT_FIELDS = { grace = true }

-- → how long it waits between TERM and KILL
local function check_init(value, path)
  if value == false then return false end
  if value == true then return { grace = 2 } end
  if type(value) ~= "table" then wrong(path, "true, false or { grace = seconds }", value) end
  check.table(value, path, INIT_FIELDS)
  local grace = value.grace
  if type(grace) ~= "number" or not (grace >= 0 and grace <= 1e6) then wrong(path .. ".grace", "seconds from 0 to 1e6", grace) end
  return { grace = grace }
end

-- Fields that stand for themselves; the others depend on each other or on the host.
local FIELDS = {
  command = check_command, env = check_env, cwd = check.absolute,
  inherit_env = function(value, path) return check.list(value, path, check.string) end,
  umask = function(value, path) return check.integer(value, path, 0, 511) end,
  hostname = check.name, domainname = check.name, readonly = check.boolean, standard_mounts = check.boolean,
  mounts = function(value, path) return check.list(value, path, require "casulo.mount_fields".check) end,
  network = check_network, init = check_init,
  user = check_user, uid_map = description.id_map, gid_map = description.id_map,
  landlock = function(value, path) return require "casulo.landlock_fields".check(value, path) end,
  rlimits = function(value, path) return require "casulo.rlimit_fields".check(value, path) end,
  limits = function(value, path) return require "casulo.limit_fields".check(value, path) end,
  cgroup = check.boolean, cgroup_parent = check_cgroup_parent,
}
local KNOWN = { namespaces = true, rootfs = true }
for name in pairs(FIELDS) do KNOWN[name] = true end
for name in pairs(RUN_FIELDS) do KNOWN[name] = true end
for name in pairs(PRIVILEGE_FIELDS) do KNOWN[name] = true end

local function check_each(raw, path, fields, checked)
  for name, checker in pairs(fields) do
    if raw[name] ~= nil then checked[name] = checker(raw[name], ("%s.%s"):format(path, name)) end
  end
end

local function check_consistency(checked, path, raw)
  local new = checked.new
  if not new.mount then
    error(path .. '.namespaces: a root of its own needs a mount namespace of its own; add "mount"', 0)
  end
  for _, name in ipairs { "hostname", "domainname" } do
    if checked[name] and not new.uts then
      error(("%s.%s: it would rename the host; add \"uts\" to namespaces"):format(path, name), 0)
    end
  end
  for i, mount in ipairs(checked.mounts) do
    if mount.hidepid and new.user and not new.pid then
      error(("%s.mounts[%d].hidepid: the host's PID namespace is shared, and so is its /proc"):format(path, i), 0)
    end
  end
  if checked.env.PATH == "" and not checked.command[1]:find "/" then
    error(path .. ".env.PATH: it is empty, and the command has no slash: there is nowhere to look for it", 0)
  end
  if checked.init and not new.pid then
    error(path .. '.init: a PID 1 needs a PID namespace of its own; add "pid" to namespaces', 0)
  end
  if raw.network == "none" and not new.net then
    error(path .. '.network: "none" needs a network namespace of its own; add "net" to namespaces', 0)
  end
  if checked.nesting and not new.user then
    error(path .. '.nesting: containers inside would have the rights of the host\'s root; add "user" to namespaces', 0)
  end
  local wants = checked.cgroup == false and (checked.limits and "limits" or checked.cgroup_parent and "cgroup_parent")
  if wants then error(("%s.%s: without a cgroup of its own (cgroup = false)"):format(path, wants), 0) end
  local map = not new.user and (checked.uid_map and "uid_map" or checked.gid_map and "gid_map")
  if map then error(("%s.%s: there is no new user namespace to map (add \"user\" to namespaces)"):format(path, map), 0) end
end

--- Calls one of the checks below, for a caller that raises what is wrong at a position of its own.
-- @tparam function checker
-- @param ... its arguments
-- @treturn boolean whether all is well
-- @return what the check returned, or what is wrong, in one line
function description.try(checker, ...)
  local ok, result = pcall(checker, ...)
  if ok then return true, result end
  return false, (tostring(result):gsub("%c", function(char) return ("\\%d"):format(char:byte()) end))
end

--- Checks the fields that may differ from one run to the next: the streams, the timeout, and whether it is detached.
-- @tparam ?table options
-- @tparam string path how messages call it
-- @treturn table
function description.run_options(options, path)
  local checked = {}
  if options == nil then return checked end
  check.table(options, path, RUN_FIELDS)
  check_each(options, path, RUN_FIELDS, checked)
  return checked
end

--- Checks the settings of a further command in a container that runs: the fields that may differ from one run to the next,
-- and those of the command.
-- @tparam table options
-- @tparam string path how messages call it
-- @treturn table
function description.exec_options(options, path)
  local fields, checked = { command = check_command, env = check_env, cwd = check.absolute, user = check_user }, {}
  for name, checker in pairs(RUN_FIELDS) do fields[name] = checker end
  fields.name = nil -- which is the container's
  check.table(options, path, fields)
  if options.command == nil then error(path .. ".command: required", 0) end
  check_each(options, path, fields, checked)
  return checked
end

--- Whether there is a devpts in its usual place.
-- @tparam table checked the description
-- @treturn boolean
function description.has_devpts(checked)
  for _, mount in ipairs(checked.mounts) do
    if mount.type == "devpts" and mount.target == "/dev/pts" then return true end
  end
  return checked.standard_mounts
end

--- Checks that a terminal is not asked for together with other streams, and that there is a devpts for it.
-- @tparam table settings of a run, checked
-- @tparam table checked the description
-- @tparam string path how messages call it
function description.check_terminal(settings, checked, path)
  if not settings.tty then return end
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if settings[name] and settings[name] ~= "inherit" then
      error(("%s.%s: the command's terminal is its %s; leave out one of tty and %s"):format(path, name, name, name), 0)
    end
  end
  if not description.has_devpts(checked) then error(path .. ".tty: the container has no devpts on /dev/pts (see standard_mounts)", 0) end
end

--- The set of namespaces that a list names.
-- @tparam table list
-- @tparam string path how messages call it
-- @treturn table
function description.namespaces(list, path)
  local new = {}
  for _, kind in ipairs(check.list(list, path, check.string)) do
    if not KINDS[kind] then unknown(path, "namespace", kind, KINDS) end
    new[kind] = true
  end
  return new
end

--- Checks `landlock` and `rlimits` against what the host is like: what the kernel knows, and the caller's own limits.
-- @tparam table checked gets `raised_limits`
-- @tparam string path how messages call it
-- @tparam table host facts
function description.settle_limits(checked, path, host)
  if checked.landlock then require "casulo.landlock_fields".settle(checked.landlock, path .. ".landlock", host) end
  if checked.rlimits then checked.raised_limits = require "casulo.rlimit_fields".above(checked.rlimits, host.rlimits) end
end

-- There are no masks then, and to whom a file of the kernel belongs may write to it, without any capability.
local function check_nesting(checked, path, host)
  for _, range in ipairs(checked.uid_map) do
    local first, count = range[2], range[3]
    if host.kernel_uid and first <= host.kernel_uid and host.kernel_uid < first + count then
      error(("%s.nesting: the containers inside could write to the kernel's own files, for uid_map has their owner, %d; "
        .. 'give other ids, such as { { 0, 100000, 65536 } }, or "auto"'):format(path, host.kernel_uid), 0)
    end
  end
end

--- Checks a whole description.
-- @tparam table raw
-- @tparam table host facts of this host
-- @treturn table the description with its defaults; `new` and `joined` stand for `namespaces`, and `root` for `rootfs`
function description.check(raw, host)
  local path = "container"
  check.table(raw, path, KNOWN)
  local checked = { command = { "/bin/sh" }, env = {}, cwd = "/", umask = 18, mounts = {}, standard_mounts = true, no_new_privs = true }
  checked.root = require "casulo.root_fields".check(raw.rootfs, path .. ".rootfs")
  check_each(raw, path, FIELDS, checked)
  check_each(raw, path, RUN_FIELDS, checked)
  check_each(raw, path, PRIVILEGE_FIELDS, checked)
  checked.new, checked.joined = check_namespaces(raw.namespaces, path .. ".namespaces", host)
  if checked.network == "host" then
    if checked.joined.net then error(path .. '.network: "host", but namespaces joins another', 0) end
    if raw.namespaces and raw.namespaces[1] and checked.new.net then
      error(path .. '.network: "host", but namespaces lists net as new', 0)
    end
    checked.new.net = nil
  end
  check_consistency(checked, path, raw)
  checked.cgroup = checked.cgroup or checked.limits ~= nil or checked.cgroup_parent ~= nil
  local has_mounts = checked.mounts[1] or checked.root.idmap
  checked.any_idmap = has_mounts and require "casulo.mount_fields".any_idmap(checked)
  if checked.new.user then require "casulo.idmap".settle(checked, path, host) end
  if checked.nesting then check_nesting(checked, path, host) end
  checked.available = capabilities.available(checked, host)
  capabilities.check(checked, path)
  description.settle_limits(checked, path, host)
  if has_mounts then require "casulo.mount_fields".check_together(checked, path, host) end
  return checked
end

local MOST_INSTRUCTIONS = 4096 -- BPF_MAXINSNS

--- Asks the host what a checked description leaves to be known of it, such as whether a file or a directory is bound in.
-- Raises what is wrong.
-- @tparam table checked what `check` returns
-- @tparam table raw what it was made of
-- @tparam table host facts
function description.ask(checked, raw, host)
  local path = "container"
  for i, mount in ipairs(checked.mounts) do
    require "casulo.mount_fields".ask(mount, ("%s.mounts[%d]"):format(path, i), host)
  end
  if checked.root.type == "host" then require "casulo.host_tree".fill_in(checked, raw, path, host) end
  if checked.limits then require "casulo.limit_fields".ask(checked.limits, path .. ".limits", host) end
  require "casulo.masking".settle(checked, host, path)
  checked.filter = require "casulo.command".filter(checked)
  local rules = checked.seccomp or {}
  checked.has_usual_score = host.has_usual_score
  checked.denies_keys = checked.filter and not (rules[1] or rules.default) -- such rules may allow them
  local instructions = checked.filter and #checked.filter // 8 or 0
  if instructions > MOST_INSTRUCTIONS then
    error(("%s.seccomp: a filter for these rules has %d instructions, and the kernel takes %d"):format(path, instructions, MOST_INSTRUCTIONS), 0)
  end
end

return description
