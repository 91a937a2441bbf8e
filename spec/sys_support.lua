-- SPDX-License-Identifier: MIT
--- What the specs of casulo.sys share: assertions on results, and children to run in.
local assert = require "luassert"
local busted = require "busted"
local support = require "support"
local sys = require "casulo.sys"

local sys_support = {}

sys_support.NOBODY = (1 << 22) + 1 -- a pid that no process can have

function sys_support.test(name, body) busted.it(name, function() support.leaves_nothing(body) end) end

function sys_support.test_as_both(name, body) support.each_identity(name, function() support.leaves_nothing(body) end) end

function sys_support.raises(pattern, call, ...)
  local ok, message = pcall(call, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(message):find(pattern), message)
end

-- A failure: nil, a message, errno and, from a clone, the step.
function sys_support.fails_at(text, errno, step, ...)
  local result, message, number, position = ...
  assert.are.same({ "nil", text, errno, step }, { tostring(result), message, number, position })
end

function sys_support.fails(text, errno, ...) sys_support.fails_at(text, errno, nil, ...) end

function sys_support.read_all(fd)
  local parts = {}
  repeat
    parts[#parts + 1] = assert(sys.read(fd, 4096))
  until parts[#parts] == ""
  return table.concat(parts)
end

-- Runs a function in a child. → what it returned, as strings
function sys_support.in_child(flags, body)
  local reader <close>, writer = sys.pipe2(0)
  local pid = assert(sys.clone(flags, function()
    local results = table.pack(xpcall(body, function(err)
      return debug.traceback(tostring(type(err) == "table" and err.message or err), 2)
    end))
    for i = 1, results.n do results[i] = tostring(results[i]) end
    sys.write(writer, table.concat(results, "\0", 1, results.n))
  end))
  writer:close()
  local results = {}
  for text in (sys_support.read_all(reader) .. "\0"):gmatch "(%Z*)\0" do results[#results + 1] = text end
  local _, how, code = sys.waitpid(pid)
  assert.are.same({ "true", "exit", 0 }, { results[1], how, code }, results[2])
  return table.unpack(results, 2)
end

-- The same in new namespaces: root of a user namespace where the caller is not root, and mounts that stay there.
function sys_support.in_namespaces(flags, body)
  local uid, gid = sys.geteuid(), sys.getegid()
  return sys_support.in_child(flags | (uid == 0 and 0 or sys.CLONE_NEWUSER), function()
    if uid ~= 0 then
      support.write_file("/proc/self/setgroups", "deny")
      support.write_file("/proc/self/uid_map", ("0 %d 1"):format(uid))
      support.write_file("/proc/self/gid_map", ("0 %d 1"):format(gid))
    end
    if flags & sys.CLONE_NEWNS ~= 0 then assert(sys.mount(nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE)) end
    return body()
  end)
end

-- A child that waits until its input ends. → pid, the end to close
function sys_support.sleeper(flags, body)
  local reader <close>, writer = sys.pipe2(0)
  local pid, pidfd = sys.clone(flags or 0, function()
    writer:close()
    sys.read(reader, 1)
    return body and body()
  end)
  return assert(pid), writer, pidfd
end

return sys_support
