-- SPDX-License-Identifier: MIT

--- Looking at files of the host. That there is none, or none for the caller, is an answer; any other failure is none, and raises: what
-- is decided by such a look would else be decided wrongly.
-- @module casulo.look

local sys = require "casulo.sys"

local look = {}

-- ESRCH: of a process that has ended.
local IS_NONE = { [sys.ENOENT] = true, [sys.ENOTDIR] = true, [sys.EACCES] = true, [sys.ELOOP] = true, [sys.ESRCH] = true,
  [sys.ENAMETOOLONG] = true }

-- The result of a call, or nil where that says that there is none.
local function found(result, message, errno)
  if not result and not IS_NONE[errno] then error(message, 0) end
  return result
end

--- The text of a file.
-- @tparam string path
-- @treturn ?string nil where there is none
function look.text(path)
  local fd <close> = found(sys.open(path, sys.O_RDONLY))
  if not fd then return nil end
  local chunks = {}
  repeat
    local chunk, _, errno = sys.read(fd, 65536)
    if errno == sys.ESRCH then return nil end
    if chunk then chunks[#chunks + 1] = chunk
    elseif errno ~= sys.EINTR then error(("read %s: %s"):format(path, sys.strerror(errno)), 0) end
  until chunk == ""
  return table.concat(chunks)
end

--- The lines of a file that are not empty.
-- @tparam string path
-- @treturn function an iterator; of nothing where there is no such file
function look.lines(path) return (look.text(path) or ""):gmatch "[^\n]+" end

--- What stat(2) tells.
-- @tparam string path
-- @treturn ?table as of `sys.stat`; nil where there is nothing
function look.stat(path) return found(sys.stat(path)) end

--- The same, of a link itself.
-- @tparam string path
-- @treturn ?table
function look.lstat(path) return found(sys.lstat(path)) end

--- Where a link leads.
-- @tparam string path
-- @treturn ?string nil where there is none
function look.readlink(path) return found(sys.readlink(path)) end

return look
