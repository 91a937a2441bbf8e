-- SPDX-License-Identifier: MIT

--- The streams of a child: opening its ends, and moving bytes through ours without ever blocking it or the caller.
-- @module casulo.streams

local descriptors = require "casulo.descriptors"
local sys = require "casulo.sys"

local streams = {}
local release = descriptors.release

local NAMES = { "stdin", "stdout", "stderr" }
local CHUNK, LARGEST_PIPE = 65536, 1048576 -- what a pipe holds, and what it can be made to (fs.pipe-max-size)

--- Ends a flow and closes its descriptors.
-- @tparam table flow
function streams.stop(flow)
  flow.fd = -1 -- which poll passes over
  release(flow.descriptor)
  if flow.reader then release(flow.reader) end
end
local stop = streams.stop

-- Calls the function with a chunk. One that comes while it runs, because it waits for its own process, is given to it
-- when it returns: so it is never called within itself. → true, or false and what it raised
local function give(flow, chunk)
  if flow.is_giving then
    flow.later = flow.later or {}
    table.insert(flow.later, chunk)
    return true
  end
  flow.is_giving = true
  local ok, err = pcall(flow.sink, chunk)
  while ok and flow.later and flow.later[1] do ok, err = pcall(flow.sink, table.remove(flow.later, 1)) end
  flow.is_giving = false
  return ok, err
end

-- A call has failed by which bytes are lost: whoever waits for the process is told in the end.
local function break_off(flow, message, errno)
  flow.failure = { message = ("%s: %s"):format(flow.name, message), errno = errno }
  stop(flow)
end

-- A terminal's master tells by EIO, again and again, that nobody has the other side any more.
local function read_chunk(flow)
  local chunk, message, errno = sys.read(flow.descriptor, CHUNK)
  if errno ~= sys.EIO or flow.name ~= "tty" then return chunk, message, errno end
  chunk, message, errno = sys.read(flow.descriptor, CHUNK)
  if errno == sys.EIO then return "" end
  return chunk, message, errno
end

-- One read. → as of `give`
local function read_some(flow)
  local chunk, message, errno = read_chunk(flow)
  if chunk and chunk ~= "" then
    if flow.sink then return give(flow, chunk) end
    flow.chunks[#flow.chunks + 1] = chunk
  elseif chunk then
    stop(flow)
  elseif errno ~= sys.EINTR and errno ~= sys.EAGAIN then
    break_off(flow, message, errno)
  end
  return true
end

--- A flow: an entry for poll(2) that reads what comes from a descriptor, which it makes O_NONBLOCK: a child that opens its
-- pipe for reading, too (/proc/self/fd/1), can take back what poll has told of, and a read would wait for more.
-- @tparam string name
-- @tparam descriptor descriptor
-- @tparam[opt] function sink called with each chunk; without one they are kept in `chunks`
-- @treturn table
function streams.reading(name, descriptor, sink)
  sys.fcntl(descriptor, sys.F_SETFL, sys.O_NONBLOCK)
  return { fd = descriptor, events = sys.POLLIN, revents = 0, move = read_some,
    name = name, descriptor = descriptor, sink = sink, chunks = not sink and {} or nil }
end

local function write_some(flow)
  local count, message, errno = sys.write(flow.descriptor, flow.text:sub(flow.position, flow.position + CHUNK - 1))
  if count then
    flow.position = flow.position + count
    if flow.position > #flow.text then stop(flow) end
  elseif errno ~= sys.EINTR and errno ~= sys.EAGAIN then
    break_off(flow, message, errno)
  end
  return true
end

local Opened = {}
Opened.__index = Opened

--- Our ends now belong to a process. The others are the child's alone, so that we see it when that closes them.
function Opened:hand_over(process)
  for _, descriptor in pairs(self.theirs) do release(descriptor) end
  for name, descriptor in pairs(self.ours) do process[name] = descriptors.set_aside(descriptor) end
  for _, flow in ipairs(self.flows) do
    flow.descriptor = descriptors.set_aside(flow.descriptor)
    flow.fd = flow.descriptor
    if flow.reader then flow.reader = descriptors.set_aside(flow.reader) end
  end
  process.flows = self.flows[1] and self.flows
  self.ours, self.flows = {}, {}
end

-- What the child holds, the caller closes in any case; its own ends only when they were not handed over.
function Opened:__close()
  for _, descriptor in pairs(self.theirs) do release(descriptor) end
  for _, descriptor in pairs(self.ours) do release(descriptor) end
  for _, flow in ipairs(self.flows) do stop(flow) end
end

-- Above all numbers that the child gives to its streams, so that no dup2 overwrites the source of a later one.
local function place(opened, name, descriptor, is_ours)
  if not is_ours or descriptor:fileno() < opened.base then
    local ok, high, message, errno = pcall(sys.fcntl, descriptor, sys.F_DUPFD_CLOEXEC, opened.base)
    if is_ours then release(descriptor) end
    if not ok then return nil, "it has been closed", sys.EBADF end
    if not high then return nil, message, errno end
    descriptor = high
  end
  opened.theirs[name], opened.values[name] = descriptor, descriptor:fileno()
  return true
end

-- A text for standard input: what fits the pipe is written at once, the rest while somebody waits. As long as there is
-- a rest, the end to read is kept open here, too: so a command that ends or closes its own causes no SIGPIPE.
local function open_text(opened, text)
  local reader, writer, errno = sys.pipe2()
  if not reader then return nil, writer, errno end
  local ok, message
  ok, message, errno = sys.fcntl(writer, sys.F_SETFL, sys.O_NONBLOCK)
  local count = text == "" and 0 or ok and sys.write(writer, text) or 0
  if not ok or count == #text then release(writer) end
  if not ok then
    release(reader)
    return nil, message, errno
  end
  if count == #text then return place(opened, "stdin", reader, true) end
  opened.flows[#opened.flows + 1] = { fd = writer, events = sys.POLLOUT, revents = 0, move = write_some, name = "stdin",
    descriptor = writer, reader = reader, text = text, position = count + 1 }
  return place(opened, "stdin", reader, false)
end

local function open_pipe(opened, name, setting)
  local reader, writer, errno = sys.pipe2()
  if not reader then return nil, writer, errno end
  if type(setting) == "function" then opened.flows[#opened.flows + 1] = streams.reading(name, reader, setting)
  else opened.ours[name] = name == "stdin" and writer or reader end
  return place(opened, name, name == "stdin" and reader or writer, true)
end

-- A copy of the host's /dev that is read-only: by a descriptor of the host's own /dev/null root inside could change the mode of that.
-- Who may make no such copy has no such root, either.
local function copy_of_dev()
  local dev = sys.open_tree(sys.AT_FDCWD, "/dev", sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | sys.AT_RECURSIVE)
  if not dev then return sys.open("/dev", sys.O_PATH) end
  local attributes = require "casulo.recipes.mounts".attribute_set(sys.MOUNT_ATTR_RDONLY)
  local ok, message, errno = sys.mount_setattr(dev, "", sys.AT_EMPTY_PATH | sys.AT_RECURSIVE, attributes)
  if ok then return dev end
  release(dev)
  return nil, message, errno
end

local function open_null(opened, flags)
  local message, errno
  if not opened.dev then opened.dev, message, errno = copy_of_dev() end
  if not opened.dev then return nil, message, errno end
  return sys.openat(opened.dev, "null", flags)
end

local function open_one(opened, name, setting)
  if setting == "null" then
    local null, message, errno = open_null(opened, name == "stdin" and sys.O_RDONLY or sys.O_WRONLY)
    if not null then return nil, message, errno end
    return place(opened, name, null, true)
  end
  if setting == "pipe" or type(setting) == "function" then return open_pipe(opened, name, setting) end
  if type(setting) == "string" then return open_text(opened, setting) end
  return place(opened, name, setting, false)
end

-- The pipe through which a copy of the caller says what went wrong.
local function open_report(opened)
  local reader, writer, errno = sys.pipe2()
  if not reader then return nil, writer, errno end
  opened.flows[#opened.flows + 1] = streams.reading("report", reader)
  local ok, message
  ok, message, errno = place(opened, "report", writer, true)
  opened.report = opened.theirs.report
  return ok, message, errno
end

local function open_sockets(opened, name)
  local ours, theirs, errno = sys.socketpair(sys.AF_UNIX, sys.SOCK_STREAM, 0)
  if not ours then return nil, theirs, errno end
  opened.ours[name] = ours
  return place(opened, name, theirs, true)
end

-- What casulo-init tells the caller, and the caller it.
local function open_handover(opened, job)
  local reader, writer, errno = sys.pipe2()
  if not reader then return nil, writer, errno end
  opened.ours.report = reader
  local ok, message
  ok, message, errno = place(opened, "report", writer, true)
  if not ok then return nil, message, errno end
  if job.stays or job.gate then return open_sockets(opened, "control") end
  return true
end

local function open_all(opened, settings)
  for _, name in ipairs(NAMES) do
    local setting = settings[name]
    local is_childs = setting == "null" and settings.job.opens_null
    if setting and setting ~= "inherit" and not is_childs then
      local ok, message, errno = open_one(opened, name, setting)
      if not ok then return nil, ("%s: %s"):format(name, message), errno end
    end
  end
  for number, file in pairs(settings.fds or {}) do
    local name = ("fds[%d]"):format(number)
    local ok, message, errno = place(opened, name, file, false)
    if not ok then return nil, ("%s: %s"):format(name, message), errno end
  end
  if settings.tty then
    local ok, message, errno = open_sockets(opened, "terminal_socket")
    if not ok then return nil, message, errno end
  end
  if settings.job.handed then return open_handover(opened, settings.job) end
  if settings.job.program then return true end
  return open_report(opened)
end

--- Opens the streams that are not the caller's.
-- @tparam table settings `stdin`, `stdout`, `stderr`, `fds` of a run; `job`
-- @treturn table `values` for the plan: numbers, which are its own to close; `err` when something could not be opened
function streams.open(settings)
  local opened = setmetatable({ values = {}, ours = {}, theirs = {}, flows = {}, base = settings.job.above or 3 }, Opened)
  for number in pairs(settings.fds or {}) do opened.base = math.max(opened.base, number + 1) end
  local ok, message, errno = open_all(opened, settings)
  if opened.dev then release(opened.dev) end
  if not ok then opened.err = require "casulo.failure".new { message = message, errno = errno } end
  return opened
end

--- Moves bytes through the flows that the last poll found ready. A function that is called with some may poll the same
-- flows itself: each looks at what the latest poll has found.
-- @tparam table flows
-- @treturn boolean false when a function raised
-- @return what it raised
function streams.move(flows)
  for _, flow in ipairs(flows) do
    if flow.revents ~= 0 and flow.fd ~= -1 then
      flow.revents = 0
      local ok, err = flow:move()
      if not ok then return false, err end
    end
  end
  return true
end

--- Reads what the pipes still hold when a process has ended, without waiting for more. Another process may keep them
-- open, and write on; so no more is read than the largest pipe of the host holds.
-- @tparam table flows
-- @treturn boolean as of `move`
-- @return likewise
function streams.drain(flows)
  local open = false
  for _, flow in ipairs(flows) do
    if flow.text then stop(flow) end
    open = open or flow.fd ~= -1
  end
  if not open then return true end
  for _ = 1, LARGEST_PIPE // CHUNK do
    if descriptors.poll(flows, 0) == 0 then return true end
    local ok, err = streams.move(flows)
    if not ok then return false, err end
  end
  return true
end

return streams
