-- SPDX-License-Identifier: MIT

--- What another process must know of a container to start a command in it: a table that can be written as JSON, and back.
-- @module casulo.record

local check = require "casulo.check"
local command = require "casulo.command"
local description = require "casulo.description"
local failure = require "casulo.failure"
local PRIVILEGE_FIELDS = require "casulo.privilege_fields"

local record = {}

local function names_of(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function hex_of(bytes) return (bytes:gsub(".", function(char) return ("%02x"):format(char:byte()) end)) end

--- What another process must know of a container to start a command in it, and what may be told about it: a table that can
-- be written as JSON. The `pid` of its first process is to be added.
-- @tparam container box
-- @tparam ?cgroup cgroup its own one, as of `casulo.own_cgroup`
-- @treturn table `command`, `rootfs`, `cwd`, `umask`, `user`; `env`: a list of NAME=value, those that were given and inherited;
--   `namespaces`: a list of those that are its own; `joined`: a list of those that are others'; `uid_map`, `gid_map`,
--   `own_maps`, `denies_setgroups`; `capabilities`, `nesting`, `no_new_privs`, `filter`, `denies_keys`, `landlock`, `rlimits`; `init`, `has_devpts`;
--   `cgroup`: its path
function record.of(box, cgroup)
  local checked = box.checked
  local landlock = checked.landlock and require "casulo.landlock_fields".record(checked.landlock)
  local limits = checked.rlimits and require "casulo.rlimit_fields".record(checked.rlimits)
  return {
    command = checked.command, rootfs = checked.root.path or checked.root.type, cwd = checked.cwd, umask = checked.umask, user = checked.user,
    env = command.env_list(command.given_env(checked)), namespaces = names_of(checked.new), joined = names_of(checked.joined),
    uid_map = checked.uid_map, gid_map = checked.gid_map, own_maps = checked.own_maps,
    denies_setgroups = checked.denies_setgroups, init = checked.init and true or false,
    capabilities = checked.capabilities and (checked.capabilities.exact or checked.capabilities), nesting = checked.nesting,
    no_new_privs = checked.no_new_privs, filter = checked.filter and hex_of(checked.filter),
    denies_keys = checked.denies_keys,
    has_devpts = description.has_devpts(checked), landlock = landlock, rlimits = limits,
    cgroup = cgroup and cgroup.path,
  }
end

local function bytes_of(hex, path)
  check.string(hex, path)
  if #hex % 16 ~= 0 or hex:find "%X" then check.wrong(path, "instructions of a filter in hexadecimal", hex) end
  return (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function env_of(list, path)
  local env = {}
  for _, text in ipairs(check.list(list, path, check.string)) do
    local name, value = text:match "^([^=]+)=(.*)$"
    if not name then check.wrong(path, "NAME=value", text) end
    env[name] = value
  end
  return env
end

local function target_of(raw)
  local path = "record"
  local checked = description.exec_options({
    command = raw.command, cwd = raw.cwd, user = raw.user, env = env_of(raw.env, path .. ".env"),
  }, path)
  checked.cwd = check.absolute(raw.cwd, path .. ".cwd")
  checked.umask = check.integer(raw.umask, path .. ".umask", 0, 511)
  checked.new = description.namespaces(raw.namespaces, path .. ".namespaces")
  checked.joined = description.namespaces(raw.joined, path .. ".joined")
  checked.standard_mounts, checked.mounts = check.boolean(raw.has_devpts, path .. ".has_devpts"), {}
  checked.available = -1
  checked.init = check.boolean(raw.init, path .. ".init")
  checked.no_new_privs = check.boolean(raw.no_new_privs, path .. ".no_new_privs")
  checked.filter = raw.filter ~= false and bytes_of(raw.filter, path .. ".filter")
  checked.denies_keys = raw.denies_keys and check.boolean(raw.denies_keys, path .. ".denies_keys")
  checked.nesting = raw.nesting and check.boolean(raw.nesting, path .. ".nesting")
  checked.capabilities = raw.capabilities and PRIVILEGE_FIELDS.capabilities(raw.capabilities, path .. ".capabilities")
  if raw.landlock ~= nil then checked.landlock = require "casulo.landlock_fields".from_record(raw.landlock, path .. ".landlock") end
  if raw.rlimits ~= nil then checked.rlimits = require "casulo.rlimit_fields".check(raw.rlimits, path .. ".rlimits") end
  if checked.new.user then
    checked.own_maps = check.boolean(raw.own_maps, path .. ".own_maps")
    checked.denies_setgroups = check.boolean(raw.denies_setgroups, path .. ".denies_setgroups")
    for _, name in ipairs { "uid_map", "gid_map" } do checked[name] = description.id_map(raw[name], ("%s.%s"):format(path, name)) end
  end
  return {
    pid = check.integer(raw.pid, path .. ".pid", 1, 0x7fffffff), pidfd = raw.pidfd, checked = checked, host = require "casulo.host",
    cgroup = require "casulo.own_cgroup".at(raw.cgroup),
  }
end

--- What `casulo.exec` needs, from a record.
-- @tparam table raw of `of`, with `pid`, and `pidfd`, an open descriptor of that process
-- @treturn table or nil and an error, when it is no such record
function record.target(raw)
  local ok, target = description.try(target_of, raw)
  if ok then return target end
  return nil, failure.new { message = "exec: " .. target }
end

return record
