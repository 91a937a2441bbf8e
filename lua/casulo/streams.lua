-- SPDX-License-Identifier: MIT

--- The standard streams of a child: opening its ends, and reading ours without ever blocking it.
-- @module casulo.streams

local sys = require "casulo.sys"

local streams = {}

local NAMES = { "stdin", "stdout", "stderr" }
local CHUNK, LARGEST_PIPE = 65536, 1048576 -- what a pipe holds, and what it can be made to (fs.pipe-max-size)

--- Closes a descriptor, if it is open.
-- @tparam descriptor descriptor
function streams.release(descriptor) getmetatable(descriptor).__close(descriptor) end
local release = streams.release

-- Above the standard streams, so that no dup2 overwrites the source of a later one.
local function above_standard(descriptor) return sys.fcntl(descriptor, sys.F_DUPFD_CLOEXEC, 3) end

local Opened = {}
Opened.__index = Opened

--- Our ends now belong to a process.
function Opened:hand_over(process)
  for name, descriptor in pairs(self.ours) do
    if name == "report" then process.captured.report = streams.capture(descriptor)
    else process[name] = descriptor end
  end
  self.ours = {}
end

-- What the child holds, the caller closes in any case; its own ends only when they were not handed over.
function Opened:__close()
  for _, descriptor in pairs(self.theirs) do release(descriptor) end
  for _, descriptor in pairs(self.ours) do release(descriptor) end
end

local function open_pipe(opened, name)
  local reader, writer, errno = sys.pipe2(sys.O_CLOEXEC)
  if not reader then return nil, writer, errno end
  local theirs, ours = writer, reader
  if name == "stdin" then theirs, ours = reader, writer end
  opened.ours[name] = ours
  return theirs
end

local function open_one(opened, name, setting)
  local descriptor, message, errno = setting, nil, nil
  if setting == "null" then
    descriptor, message, errno = sys.open("/dev/null", name == "stdin" and sys.O_RDONLY or sys.O_WRONLY)
  elseif setting == "pipe" then
    descriptor, message, errno = open_pipe(opened, name)
  end
  if not descriptor then return nil, message, errno end
  local high
  high, message, errno = above_standard(descriptor)
  if type(setting) == "string" then release(descriptor) end
  opened.theirs[name], opened.values[name] = high, high
  return high, message, errno
end

--- Opens the streams that are not the caller's.
-- @tparam table settings `stdin`, `stdout`, `stderr`: "inherit", "null", "pipe", a file or a descriptor; `job`
-- @treturn table `values` for the plan, `err` when something could not be opened
function streams.open(settings)
  local opened = setmetatable({ values = {}, ours = {}, theirs = {} }, Opened)
  local function fail(message, errno)
    opened.err = require "casulo.failure".new { message = message, errno = errno }
    return opened
  end
  for _, name in ipairs(NAMES) do
    local setting = settings[name]
    if setting and setting ~= "inherit" then
      local ok, message, errno = open_one(opened, name, setting)
      if not ok then return fail(("%s: %s"):format(name, message), errno) end
    end
  end
  if not settings.job.program then
    local low <close>, message, errno = open_pipe(opened, "report")
    if not low then return fail(message, errno) end
    opened.report, message, errno = above_standard(low)
    if not opened.report then return fail(message, errno) end
    opened.theirs.report = opened.report
  end
  return opened
end

local Capture = {}
Capture.__index = Capture

--- What is read from a descriptor, piece by piece.
-- @tparam descriptor descriptor
-- @treturn table
function streams.capture(descriptor) return setmetatable({ descriptor = descriptor, chunks = {} }, Capture) end

function Capture:text() return table.concat(self.chunks) end

-- One read. False at the end.
local function read_some(capture)
  local chunk, _, errno = sys.read(capture.descriptor, CHUNK)
  if chunk and chunk ~= "" then
    capture.chunks[#capture.chunks + 1] = chunk
    return true
  end
  if errno == sys.EINTR or errno == sys.EAGAIN then return true end
  release(capture.descriptor)
  capture.ended = true
  return false
end

local function entries_of(captured)
  local entries, captures = {}, {}
  for _, capture in pairs(captured) do
    if not capture.ended then
      entries[#entries + 1] = { fd = capture.descriptor, events = sys.POLLIN }
      captures[#entries] = capture
    end
  end
  return entries, captures
end

local function read_ready(entries, captures)
  for i, capture in ipairs(captures) do
    if entries[i].revents ~= 0 then read_some(capture) end
  end
end

--- Waits until the process has ended, output is there, or the time is over; reads what is there.
-- @tparam descriptor pidfd
-- @tparam table captured name → what `capture` returned
-- @tparam integer milliseconds -1 for no end
-- @treturn boolean whether the process has ended
function streams.poll(pidfd, captured, milliseconds)
  local entries, captures = entries_of(captured)
  entries[#entries + 1] = { fd = pidfd, events = sys.POLLIN }
  local ready, message, errno = sys.poll(entries, milliseconds)
  if not ready and errno ~= sys.EINTR then error(message, 0) end
  if not ready then return false end
  read_ready(entries, captures)
  return entries[#entries].revents ~= 0
end

--- Reads what the pipes still hold when a process has ended, without waiting for more. Another process may keep them
-- open, and write on; so no more is read than the largest pipe of the host holds.
-- @tparam table captured
function streams.drain(captured)
  for _ = 1, LARGEST_PIPE // CHUNK do
    local entries, captures = entries_of(captured)
    if #entries == 0 or (sys.poll(entries, 0) or 0) == 0 then return end
    read_ready(entries, captures)
  end
end

--- Closes all.
-- @tparam table captured
function streams.close(captured)
  for _, capture in pairs(captured) do release(capture.descriptor) end
end

return streams
