-- SPDX-License-Identifier: MIT

--- The field `landlock` of a description: its check, by itself and against what the kernel knows.
-- @module casulo.landlock_fields

local check = require "casulo.check"
local landlock = require "casulo.recipes.landlock"

local GROUPS, RIGHTS, SCOPES, SINCE = landlock.GROUPS, landlock.RIGHTS, landlock.SCOPES, landlock.SINCE

local LINUX = { "5.13", "5.19", "6.2", "6.7", "6.10", "6.12" } -- which first had the ABI

local landlock_fields = {}

local WORDS = {}
for name in pairs(RIGHTS) do WORDS[name] = true end
for name in pairs(GROUPS) do WORDS[name] = true end

local function list_of_words(value, path)
  if type(value) ~= "string" then return check.list(value, path, check.string) end
  local words = {}
  for word in value:gmatch "[^%s,]+" do words[#words + 1] = word end
  return words
end

-- → the kernel's names, sorted, each once
local function check_rights(value, path)
  local set, names = {}, {}
  for _, word in ipairs(list_of_words(value, path)) do
    if not WORDS[word] then check.unknown(path, "right", word, WORDS) end
    for _, name in ipairs(GROUPS[word] or { word }) do set[name] = true end
  end
  for name in pairs(set) do names[#names + 1] = name end
  if not names[1] then error(path .. ": expected at least one right; what is not listed at all has none", 0) end
  table.sort(names)
  return names
end

local function check_paths(value, path)
  if type(value) ~= "table" then check.wrong(path, 'a table of paths and rights, such as { ["/usr"] = "read execute" }', value) end
  local paths = {}
  for place, rights in pairs(value) do
    if type(place) ~= "string" then check.wrong(path, 'paths and their rights, such as { ["/usr"] = "read execute" }', place) end
    local inner = ("%s[%s]"):format(path, check.shown(place))
    local normal = check.absolute(place, inner)
    if paths[normal] then error(("%s: %s is there twice"):format(inner, normal), 0) end
    paths[normal] = check_rights(rights, inner)
  end
  return paths
end

local function check_ports(value, path)
  return check.list(value, path, function(port, inner) return check.integer(port, inner, 0, 65535) end)
end

local function one_of(kind, known)
  return function(value, path)
    return check.list(value, path, function(name, inner)
      if not known[name] then check.unknown(inner, kind, name, known) end
      return name
    end)
  end
end

local check_names = one_of("right", SINCE)

local FIELDS = {
  paths = check_paths, bind_tcp = check_ports, connect_tcp = check_ports, scope = one_of("scope", SCOPES),
  optional = function(value, path)
    if type(value) == "boolean" then return value end
    if type(value) ~= "table" then check.wrong(path, "true, false or a list of rights", value) end
    return check_names(value, path)
  end,
}

--- Checks the field by itself.
-- @tparam table value
-- @tparam string path how messages call it
-- @treturn table `paths`: by path, lists of the kernel's names; `bind_tcp`, `connect_tcp`, `scope`, `optional` as they are
function landlock_fields.check(value, path)
  check.table(value, path, FIELDS)
  local checked = {}
  for name, checker in pairs(FIELDS) do
    if value[name] ~= nil then checked[name] = checker(value[name], ("%s.%s"):format(path, name)) end
  end
  if not (checked.paths or checked.bind_tcp or checked.connect_tcp or checked.scope) then
    error(path .. ": expected paths, bind_tcp, connect_tcp or scope: what is not there is not restricted", 0)
  end
  return checked
end

local function allows(paths, right)
  for _, rights in pairs(paths) do
    for _, name in ipairs(rights) do
      if name == right then return true end
    end
  end
  return false
end

-- What a description asks for and the first ABI did not have, with the field that asks. A right that is denied is asked for, too.
local function asked_for(settings)
  local asked = {}
  local function ask(field, name) asked[#asked + 1] = { field = field, name = name } end
  if settings.paths then
    if allows(settings.paths, "refer") then ask("paths", "refer") end -- which the first ABI denies to all
    ask("paths", "truncate")
    ask("paths", "ioctl_dev")
  end
  for _, name in ipairs { "bind_tcp", "connect_tcp" } do
    if settings[name] then ask(name, name) end
  end
  for _, name in ipairs(settings.scope or {}) do ask("scope", name) end
  return asked
end

local function is_optional(settings, name)
  if type(settings.optional) ~= "table" then return settings.optional end
  for _, given_up in ipairs(settings.optional) do
    if given_up == name then return true end
  end
  return false
end

local LACKS = {
  paths = "cannot restrict %s; that takes Linux %s", bind_tcp = "has no network ports; they need Linux 6.7",
  connect_tcp = "has no network ports; they need Linux 6.7", scope = "has no scopes; they need Linux 6.12",
}

-- What of all that is missing, of the field that is named first.
local function lacking(path, abi, missing)
  local field, names, quoted, newest = missing[1].field, {}, {}, 0
  for i, each in ipairs(missing) do
    quoted[i] = ("%q"):format(each.name)
    if each.field == field then
      names[i] = each.name
      newest = math.max(newest, SINCE[each.name])
    end
  end
  error(("%s.%s: this kernel's Landlock (ABI %d) %s; { optional = true } asks for what it has, { optional = { %s } } gives up only %s"):format(
    path, field, abi, LACKS[field]:format(table.concat(names, " and "), LINUX[newest]), table.concat(quoted, ", "),
    quoted[2] and "these" or "this"), 0)
end

--- Checks the field against what the kernel knows.
-- @tparam table settings checked
-- @tparam string path how messages call it
-- @tparam table host facts
function landlock_fields.settle(settings, path, host)
  local abi, missing = host.landlock_abi, {}
  if abi == 0 then
    if settings.optional == true then return end
    error(("%s: %s; { optional = true } runs without"):format(path, host.landlock_is_off
      and "this kernel's Landlock was not enabled when it started: add landlock to the list lsm= of its boot parameters"
      or "this kernel has no Landlock: that takes Linux 5.13, built with CONFIG_SECURITY_LANDLOCK, and no filter of system calls around"), 0)
  end
  for _, each in ipairs(asked_for(settings)) do
    if abi < SINCE[each.name] and not is_optional(settings, each.name) then missing[#missing + 1] = each end
  end
  if missing[1] then lacking(path, abi, missing) end
end

--- The field as a record holds it, which may become JSON: there, the names of fields cannot be any bytes, and a path can.
-- @tparam ?table settings checked
-- @treturn ?table in which `paths` is a list of a path and its rights each
function landlock_fields.record(settings)
  if not settings then return nil end
  local record = {}
  for name, value in pairs(settings) do record[name] = value end
  record.paths = settings.paths and {}
  for path, rights in pairs(settings.paths or {}) do table.insert(record.paths, { path, table.unpack(rights) }) end
  return record
end

--- Checks a field of a record.
-- @tparam table record of `record`
-- @tparam string path how messages call it
-- @treturn table as of `check`
function landlock_fields.from_record(record, path)
  check.table(record, path, FIELDS)
  local settings = {}
  for name, value in pairs(record) do settings[name] = value end
  if record.paths ~= nil then
    settings.paths = {}
    for _, entry in ipairs(check.list(record.paths, path .. ".paths", function(entry, inner) return check.list(entry, inner, check.string) end)) do
      if not entry[1] then check.wrong(path .. ".paths", "a path and its rights", entry) end
      settings.paths[entry[1]] = table.move(entry, 2, #entry, 1, {})
    end
  end
  return landlock_fields.check(settings, path)
end

return landlock_fields
