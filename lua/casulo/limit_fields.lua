-- SPDX-License-Identifier: MIT

--- The field `limits` of a description: its check, and the files of a cgroup that its values go to.
--
-- A checked one is a list of settings: `field`, as the description calls it; `file` of the cgroup; `value`, the text that is
-- written; for a device named by its path, `device`.
-- @module casulo.limit_fields

local check = require "casulo.check"

local wrong = check.wrong
local limit_fields = {}

local UNITS = { [""] = 1, k = 1 << 10, m = 1 << 20, g = 1 << 30 }
local MOST = 1 << 50 -- bytes: what is more is a mistake, and far from what integers hold
local SIZE = 'bytes, a string such as "64m", or "max"'
local PERIOD = 100000 -- microseconds, the kernel's own

local function size_of(value)
  if math.type(value) == "integer" then return value end
  local digits, unit = tostring(value):match "^(%d+)([kmgKMG]?)$"
  local number = digits and math.tointeger(tonumber(digits))
  return number and number <= MOST and number * UNITS[unit:lower()]
end

local function size_from(least)
  return function(value, path)
    if value == "max" then return value end
    local size = (type(value) == "string" or math.type(value) == "integer") and size_of(value)
    if not size or size < least or size > MOST then wrong(path, SIZE, value) end
    return ("%d"):format(size)
  end
end

local function count_from(least)
  return function(value, path)
    if value == "max" then return value end
    if math.type(value) ~= "integer" or value < least or value > 0x7fffffff then
      wrong(path, ('an integer from %d on, or "max"'):format(least), value)
    end
    return ("%d"):format(value)
  end
end

local function check_cpu(value, path)
  if value == "max" then return ("max %d"):format(PERIOD) end
  if type(value) ~= "number" or not (value >= 0.01 and value <= 1e4) then wrong(path, 'cores, from 0.01 on: 0.5 is half of one; or "max"', value) end
  return ("%d %d"):format(math.floor(value * PERIOD + 0.5), PERIOD)
end

local function check_weight(value, path) return ("%d"):format(check.integer(value, path, 1, 10000)) end

local function check_cpus(value, path)
  if math.type(value) == "integer" and value >= 0 then return ("%d"):format(value) end
  check.string(value, path)
  for part in (value .. ","):gmatch "([^,]*)," do
    local first, last = part:match "^(%d+)%-(%d+)$"
    if not (first and tonumber(first) <= tonumber(last) or part:find "^%d+$") then wrong(path, 'numbers of processors, such as "0-1,3"', value) end
  end
  return value
end

-- What each field is checked by, and the file that it goes to.
local FIELDS = {
  memory = { size_from(1), "memory.max" }, memory_high = { size_from(1), "memory.high" }, swap = { size_from(0), "memory.swap.max" },
  pids = { count_from(1), "pids.max" }, cpu = { check_cpu, "cpu.max" }, cpu_weight = { check_weight, "cpu.weight" },
  cpus = { check_cpus, "cpuset.cpus" },
}

local RATES = { rbps = size_from(1), wbps = size_from(1), riops = count_from(1), wiops = count_from(1) }

local function check_io(value, path, settings)
  if type(value) ~= "table" then wrong(path, "a table of devices and their limits", value) end
  for device, rates in pairs(value) do
    local inner = ("%s[%q]"):format(path, device)
    if type(device) ~= "string" or not (device:find "^/" or device:find "^%d+:%d+$") then
      wrong(path, 'devices such as "/dev/sda" or "8:0"', device)
    end
    check.table(rates, inner, RATES)
    local parts = {}
    for name, rate in pairs(rates) do parts[#parts + 1] = ("%s=%s"):format(name, RATES[name](rate, ("%s.%s"):format(inner, name))) end
    if not parts[1] then error(inner .. ": expected rbps, wbps, riops or wiops", 0) end
    table.sort(parts)
    settings[#settings + 1] = {
      field = ("io[%q]"):format(device), file = "io.max", device = device:find "^/" and device or nil,
      value = (device:find "^/" and "" or device .. " ") .. table.concat(parts, " "),
    }
  end
end

local function check_hugetlb(value, path, settings)
  if type(value) ~= "table" then wrong(path, "a table of sizes of pages and limits", value) end
  for pages, limit in pairs(value) do
    if type(pages) ~= "string" or not pages:find "^%d+[KMG]B$" then wrong(path, 'sizes of pages such as "2MB"', pages) end
    local most = size_from(0)(limit, ("%s.%s"):format(path, pages))
    settings[#settings + 1] = { field = "hugetlb." .. pages, file = ("hugetlb.%s.max"):format(pages), value = most }
  end
end

local LISTS = { io = check_io, hugetlb = check_hugetlb }

local NOT_LIMITS = {
  ["cgroup.procs"] = true, ["cgroup.threads"] = true, ["cgroup.type"] = true, ["cgroup.kill"] = true, ["cgroup.freeze"] = true,
  ["cgroup.subtree_control"] = true,
}

local function check_file(name, value, path)
  local inner = ("%s[%q]"):format(path, name)
  if NOT_LIMITS[name] then error(inner .. ": that file sets no limit, and casulo writes it itself", 0) end
  if math.type(value) == "integer" then value = ("%d"):format(value) end
  check.filled(value, inner, "what to write to that file: an integer or a string")
  return { field = ("[%q]"):format(name), file = name, value = value }
end

local KNOWN = { io = true, hugetlb = true }
for name in pairs(FIELDS) do KNOWN[name] = true end

local function check_once(settings, path)
  local named = {}
  for _, setting in ipairs(settings) do named[setting.file] = named[setting.file] or setting.field:find "^%[" end
  for _, setting in ipairs(settings) do
    if named[setting.file] and not setting.field:find "^%[" then
      error(("%s.%s: it sets %s, which is given by its name, too"):format(path, setting.field, setting.file), 0)
    end
  end
end

--- Checks the field.
-- @tparam table value
-- @tparam string path how messages call it
-- @treturn {table,...} settings, in the order in which they are written
function limit_fields.check(value, path)
  if type(value) ~= "table" then wrong(path, "a table of limits", value) end
  local settings = {}
  for name, limit in pairs(value) do
    local field = FIELDS[name]
    if field then settings[#settings + 1] = { field = name, file = field[2], value = field[1](limit, ("%s.%s"):format(path, name)) }
    elseif LISTS[name] then LISTS[name](limit, ("%s.%s"):format(path, name), settings)
    elseif type(name) == "string" and name:find "^[%l%d_]+%.[%w_.]+$" then settings[#settings + 1] = check_file(name, limit, path)
    else check.unknown(path, "limit", name, KNOWN) end
  end
  check_once(settings, path)
  table.sort(settings, function(a, b) return a.file == b.file and a.value < b.value or a.file < b.file end)
  return settings
end

--- Asks the host for the numbers of the devices that are named by their paths. Raises what is wrong.
-- @tparam {table,...} settings of `check`
-- @tparam string path how messages call them
-- @tparam table host facts
function limit_fields.ask(settings, path, host)
  for _, setting in ipairs(settings) do
    local number = setting.device and host.block_device(setting.device)
    if number then setting.value = ("%s %s"):format(number, setting.value)
    elseif setting.device then error(("%s.%s: it is no block device of this host"):format(path, setting.field), 0) end
    setting.device = nil
  end
end

--- The controllers of settings.
-- @tparam {table,...} settings
-- @treturn {string,...} sorted
-- @treturn table the same as a set
function limit_fields.controllers(settings)
  local set, names = {}, {}
  for _, setting in ipairs(settings) do
    local name = setting.file:match "^[^.]+"
    if name ~= "cgroup" and not set[name] then
      set[name] = true
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names, set
end

return limit_fields
