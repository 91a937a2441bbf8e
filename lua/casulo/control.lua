-- SPDX-License-Identifier: MIT

--- What can be done with a container that runs in a cgroup of its own: looking at what it uses, stopping its time, other limits.
--
-- Each function takes the cgroup, as of `casulo.own_cgroup`, of a container of this process or of another one.
-- @module casulo.control

local cgroup = require "casulo.cgroup"
local description = require "casulo.description"
local handle = require "casulo.handle"
local limit_fields = require "casulo.limit_fields"
local sys = require "casulo.sys"

local control = {}

local function number_of(text)
  if text == "max\n" then return nil end -- no limit
  return text and math.tointeger(tonumber(text))
end

local function numbers_of(text, unit)
  local numbers = {}
  for name, number in (text or ""):gmatch "([%w_.]+)[ =](%d+)" do numbers[name] = math.tointeger(tonumber(number)) // (unit or 1) end
  return numbers
end

local function seconds(microseconds) return microseconds and microseconds / 1e6 end

local function memory_of(self)
  local events, current = self:memory_events(), number_of(self:read "memory.current")
  if not current then return nil end
  return {
    current = current, peak = number_of(self:read "memory.peak"), max = number_of(self:read "memory.max"),
    swap = number_of(self:read "memory.swap.current"), oom_kills = events.oom_kill,
  }
end

local function cpu_of(self)
  local found = numbers_of(self:read "cpu.stat")
  return {
    usage = seconds(found.usage_usec), user = seconds(found.user_usec), system = seconds(found.system_usec),
    periods = found.nr_periods, throttled_periods = found.nr_throttled, throttled = seconds(found.throttled_usec),
  }
end

local function pids_of(self)
  local current = number_of(self:read "pids.current")
  return current and { current = current, peak = number_of(self:read "pids.peak"), max = number_of(self:read "pids.max") }
end

local function io_of(self)
  local text = self:read "io.stat"
  local devices = text and {}
  for device, line in (text or ""):gmatch "(%d+:%d+) ([^\n]+)" do devices[device] = numbers_of(line) end
  return devices
end

local function pressure_of(self)
  local pressure = {}
  for _, name in ipairs { "cpu", "memory", "io" } do
    local text = self:read(name .. ".pressure")
    pressure[name] = text and {}
    for kind, rest in (text or ""):gmatch "(%l+) ([^\n]+)" do
      local found = { total = seconds(math.tointeger(tonumber(rest:match "total=(%d+)"))) }
      for field, share in rest:gmatch "(avg%d+)=([%d.]+)" do found[field] = tonumber(share) end
      pressure[name][kind] = found
    end
  end
  return next(pressure) and pressure
end

local function ended(call) return nil, call .. ": the container has ended", sys.ENOENT end

--- What the container uses. What the kernel does not tell, for the want of a controller or of a later kernel, is nil.
-- @tparam cgroup self
-- @treturn table `memory`: `current`, `peak`, `max`, `swap` (bytes), `oom_kills`, how many of its processes the kernel has killed for want of
--   memory; `cpu`: `usage`, `user`, `system`, `throttled` (seconds), and of `periods` how many were `throttled_periods`; `pids`: `current`,
--   `peak`, `max`; `io`: by device, `"8:0"`, `rbytes`, `wbytes`, `rios`, `wios`, `dbytes`, `dios`; `pressure`: of `cpu`, `memory` and `io`
--   `some` and `full`, with `avg10`, `avg60`, `avg300` (percent of the last seconds) and `total` (seconds). Or nil, a message and errno
-- @see cgroups(7)
function control.stats(self)
  if not self:read "cgroup.events" then return ended "stats" end
  return { memory = memory_of(self), cpu = cpu_of(self), pids = pids_of(self), io = io_of(self), pressure = pressure_of(self) }
end

local PATIENCE = 10 -- seconds: a process that waits for a disk or a network cannot be frozen until that answers

local function set_frozen(self, call, frozen)
  local ok, message, errno = self:write("cgroup.freeze", ("%d"):format(frozen))
  if not ok and errno == sys.ENOENT then return ended(call) end
  if not ok then return nil, message, errno end
  if self:becomes("frozen", frozen, PATIENCE) then return true end
  if frozen == 1 then self:write("cgroup.freeze", "0") end
  return nil, ("%s: a process of the container has not stopped within %d seconds"):format(call, PATIENCE), sys.ETIMEDOUT
end

--- Stops the time of the container: none of its processes runs until `thaw`, but all of them can be killed.
-- @tparam cgroup self
-- @return true, or nil, a message and errno
function control.freeze(self) return set_frozen(self, "freeze", 1) end

--- Lets the container go on.
-- @tparam cgroup self
-- @return true, or nil, a message and errno
function control.thaw(self) return set_frozen(self, "thaw", 0) end

-- What undoes the setting of a file, in a text of one line; of io.max that of the device.
local function before(self, setting)
  local text = self:read(setting.file)
  if setting.file ~= "io.max" then return text end
  local device = setting.value:match "^%S+"
  return (text or ""):match(("%%f[^\n\0]%s [^\n]+"):format(device)) or device .. " rbps=max wbps=max riops=max wiops=max"
end

-- Controllers that the container has no files of yet.
local function pass_on(self, settings)
  for _, setting in ipairs(settings) do
    if not sys.stat(("%s/%s"):format(self.path, setting.file)) then
      return cgroup.pass_on(self.parent, (limit_fields.controllers(settings)))
    end
  end
end

--- Changes limits, all or none of them.
-- @tparam cgroup self
-- @tparam {table,...} settings what `limit_fields.check` returns
-- @return true, or nil, a message and errno
function control.update(self, settings)
  if not self:read "cgroup.events" then return ended "update" end
  pass_on(self, settings)
  local done = {}
  for i, setting in ipairs(settings) do
    done[i] = before(self, setting)
    local ok, message, errno = self:write(setting.file, setting.value)
    if not ok then
      for j = i - 1, 1, -1 do self:write(settings[j].file, done[j]) end
      return nil, ("update: %s: %s"):format(setting.field, message), errno
    end
  end
  return true
end

--- Checks the limits of an update. Raises what is wrong.
-- @tparam table limits as in a description
-- @treturn {table,...} for `update`
function control.settings(limits)
  local settings = limit_fields.check(limits, "update")
  limit_fields.ask(settings, "update", require "casulo.host")
  return settings
end

-- The cgroup of a process of this one.
local function cgroup_of(process, call)
  if not process.cgroup then error(call .. ": the container has no cgroup of its own; give it limits, or cgroup = true", 3) end
  return process.cgroup
end

local Process = handle.Process

for _, call in ipairs { "stats", "freeze", "thaw" } do
  Process[call] = function(self)
    local own = cgroup_of(self, call)
    if self.result or self.status then return ended(call) end
    return control[call](own)
  end
end

--- Changes limits of the container, all of the given ones or none.
-- @tparam table limits as in a description
-- @return true, or nil, a message and errno
function Process:update(limits)
  local own = cgroup_of(self, "update")
  local ok, settings = description.try(control.settings, limits)
  if not ok then error(settings, 2) end
  if self.result or self.status then return ended "update" end
  return control.update(own, settings)
end

return control
