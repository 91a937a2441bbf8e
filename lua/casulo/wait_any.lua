-- SPDX-License-Identifier: MIT

--- Waiting for many processes in one loop.
-- @module casulo.wait_any

local descriptors = require "casulo.descriptors"
local handle = require "casulo.handle"

local function check(list)
  if type(list) ~= "table" then error(("wait_any: expected a list of processes, got %s"):format(require "casulo.check".word(list)), 3) end
  for i, process in ipairs(list) do
    if not handle.is_process(process) then error(("wait_any: item %d is no process"):format(i), 3) end
  end
  if not list[1] then error("wait_any: expected a list of processes, got an empty one", 3) end
end

-- The first of the list that is known to have ended, and its outcome.
local function ended_one(list)
  for _, process in ipairs(list) do
    local ended, result, err = handle.outcome(process)
    if ended then return process, result, err end
  end
end

-- What poll looks at for all of them, and the process of each entry.
local function gather(list)
  local entries, owners = {}, {}
  for _, process in ipairs(list) do
    for _, entry in ipairs(process:entries()) do
      if entry.fd ~= -1 then
        entries[#entries + 1] = entry
        owners[#entries] = process
      end
    end
  end
  return entries, owners
end

local function move(entries, owners)
  for i, entry in ipairs(entries) do
    if entry.revents ~= 0 and entry.move then handle.move(owners[i]) end
  end
end

-- Ends those whose time is over. → the moment at which to look again
local function expire(list, moment)
  local time
  for _, process in ipairs(list) do
    if process.deadline and not process.timed_out then
      time = time or handle.now()
      handle.expire(process, time)
      if not process.timed_out and (not moment or process.deadline < moment) then moment = process.deadline end
    end
  end
  return moment
end

--- Waits until one of some processes has ended. The streams of all are served meanwhile, and their timeouts kept. One that
-- ended before is given at once: take it out of the list.
-- @tparam {process,...} list
-- @tparam[opt] number seconds how long to wait at most
-- @treturn process the one that ended; or nil and "timeout"
-- @return its result, or nil
-- @return its error, where a function of its plan failed
local function wait_any(list, seconds)
  check(list)
  local patience = handle.patience(seconds, "wait_any")
  local process, result, err = ended_one(list)
  if process then return process, result, err end
  local entries, owners = gather(list)
  while true do
    local moment = expire(list, patience)
    if descriptors.poll(entries, handle.milliseconds_until(moment)) > 0 then
      move(entries, owners)
      process, result, err = ended_one(list)
      if process then return process, result, err end
    end
    if patience and handle.now() >= patience then return nil, "timeout" end
  end
end

return wait_any
