-- SPDX-License-Identifier: MIT

--- What a caller does with the descriptors that it has for its processes.
-- @module casulo.descriptors

local sys = require "casulo.sys"

local descriptors = {}

--- Closes a descriptor, if it is open.
-- @tparam descriptor descriptor
function descriptors.release(descriptor) getmetatable(descriptor).__close(descriptor) end
local release = descriptors.release

local CROWDED, ASIDE = 32, 1024

--- Moves a descriptor of the caller's that stays open as long as a child lives out of the low numbers, where they are many: a child
-- gets a table with room for the highest number that it needs, so those that are opened for it must find low ones.
-- @tparam descriptor descriptor
-- @treturn descriptor a copy, and the given one is closed; or the given one
function descriptors.set_aside(descriptor)
  if descriptor:fileno() < CROWDED or descriptor:fileno() >= ASIDE then return descriptor end
  local copy = sys.fcntl(descriptor, sys.F_DUPFD_CLOEXEC, ASIDE)
  if not copy then return descriptor end -- it lies above the limit of this process
  release(descriptor)
  return copy
end

local STREAMS = { "stdin", "stdout", "stderr" }

local NULL = 1 << 8 | 3 -- the number of the device

local function without_job(settings)
  local copy = {}
  for key, value in pairs(settings) do copy[key] = value end
  copy.job = nil
  return copy
end

--- Looks at the standard streams that a container would inherit. A directory among them would be a way out: fchdir(2) goes there,
-- and .. leads on to the host's root. Who gives one on purpose names it, among `fds`. And by the host's /dev/null, which services have for
-- a standard input, root inside could change the mode of that.
-- @tparam table settings of a run
-- @treturn table settings with "null" in place of the host's; or nil and what is wrong
function descriptors.look_at_inherited(settings)
  if settings.tty then return settings end
  local changed
  for i, name in ipairs(STREAMS) do
    local found = (settings[name] or "inherit") == "inherit" and sys.fstat(i - 1)
    local type = found and found.mode & sys.S_IFMT
    if type == sys.S_IFDIR then
      return nil, ('%s: it is a directory of the host, from which .. leads to all others; give "null", a file or a pipe'):format(name)
    end
    if type == sys.S_IFCHR and found.rdev == NULL then
      changed = changed or without_job(settings)
      changed[name] = "null"
    end
  end
  return changed or settings
end

--- Waits until one of some entries is ready, or the time is over.
-- @tparam table entries as for `sys.poll`; flows are such entries
-- @tparam integer milliseconds -1 for no end
-- @treturn integer how many are ready; 0 when a signal came
function descriptors.poll(entries, milliseconds)
  local ready, message, errno = sys.poll(entries, milliseconds)
  if not ready and errno ~= sys.EINTR then error(message, 0) end
  return ready or 0
end

return descriptors
