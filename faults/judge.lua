-- SPDX-License-Identifier: MIT

--- What an outcome is worth: an error that names what failed, a success like that of a clean run, or an exception.

local sys = require "casulo.sys"

local judge = {}

-- What messages call a call that the C library, or casulo.sys, has another name for; scandir(3) makes three of them.
local ALIASES = {
  clone3 = "clone", openat = "open scandir", newfstatat = "stat scandir", getdents64 = "scandir", ppoll = "poll", dup3 = "dup2",
  execveat = "fexecve", rt_sigaction = "signal", rt_sigprocmask = "sigprocmask", signalfd4 = "signalfd", wait4 = "waitpid",
  prlimit64 = "getrlimit setrlimit", mkdirat = "mkdir",
}
-- Those that Lua's memory comes from.
local MEMORY = { brk = true, mmap = true, mremap = true }

--- Whether a message names a call and the errno; or the module, where the interpreter could not load that: it tells no more.
-- @tparam string text
-- @tparam string call
-- @tparam string errno a name
-- @treturn boolean
function judge.names(text, call, errno)
  if MEMORY[call] and text:find "not enough memory" then return true end
  if text:find "loading module '" or text:find "Lua module dkjson" or text:find "module '[%w._]+' not found" then return true end
  if not text:find(sys.strerror(sys[errno]), 1, true) then return false end
  for name in (call .. " " .. (ALIASES[call] or "")):gmatch "%S+" do
    if text:find(name, 1, true) then return true end
  end
  return false
end

local hosts
local function is_hosts(namespace)
  if not hosts then
    hosts = {}
    for _, kind in ipairs(sys.scandir "/proc/self/ns") do hosts[sys.readlink("/proc/self/ns/" .. kind)] = true end
  end
  return hosts[namespace]
end

--- What was printed, without what is another each time: numbers of namespaces, pipes, mounts and devices.
-- @tparam string text
-- @treturn string
function judge.normal(text)
  text = text:gsub("(%l+_?%l*):(%[%d+%])", function(kind, inode)
    return kind .. (is_hosts(kind .. ":" .. inode) and ": the host's" or ":")
  end)
  return (text:gsub("mountinfo: %d+ %d+ %d+:%d+", "mountinfo:"):gsub("(master:)%d+", "%1"):gsub("(shared:)%d+", "%1"))
end

-- The lines that caller.lua printed, below each "@part how". → by part, `how` and `text`
local function parts_of(output)
  local parts, current = {}, nil
  for line in output:gmatch "([^\n]*)\n" do
    local part, how = line:match "^@(%l+) (%l+)$"
    if part then
      current = { how = how, text = "" }
      parts[part] = current
    elseif current then
      current.text = current.text .. line .. "\n"
    end
  end
  return parts
end

local function lines_of(text)
  local lines, set = {}, {}
  for line in text:gmatch "[^\n]+" do
    lines[#lines + 1] = line
    set[line] = (set[line] or 0) + 1
  end
  return lines, set
end

--- The lines that one text has and the other has not.
-- @tparam string before
-- @tparam string after
-- @treturn string
function judge.difference(before, after)
  local different = {}
  local old, is_old = lines_of(before)
  local new, is_new = lines_of(after)
  for _, line in ipairs(old) do
    if is_new[line] ~= is_old[line] then different[#different + 1] = "- " .. line end
  end
  for _, line in ipairs(new) do
    if is_new[line] ~= is_old[line] then different[#different + 1] = "+ " .. line end
  end
  return table.concat(different, "\n")
end

--- What a process did, in parts.
-- @tparam table ran `out`, `err`, `ending`: what inject says of its end
-- @tparam table scenario
-- @treturn table `first` and, in process, `second` and `caller`: `how`, `text`. nil where that cannot be told
function judge.parts(ran, scenario)
  if scenario.action then
    local parts = parts_of(ran.out)
    if ran.ending == "exit 0" and parts.first and parts.second and parts.caller then return parts end
    -- where the module could not be loaded, nothing else can be said
    if scenario.action == "load" and parts.first and parts.first.how == "error" then return { first = parts.first } end
    return nil
  end
  if ran.ending == "exit 0" then return { first = { how = "ok", text = ran.out } } end
  if ran.ending == "exit 125" or ran.ending == "exit 126" then return { first = { how = "error", text = ran.err } } end
end

--- Judges a run in which a call failed.
-- @tparam table ran with `hit`: `call`, `errno`
-- @tparam table scenario
-- @tparam string clean what it prints in a clean run
-- @treturn ?string "error" or "success"; nil for an exception
-- @treturn string what the exception is
function judge.judge(ran, scenario, clean)
  local parts = judge.parts(ran, scenario)
  if not parts then return nil, ("it ended with %s\n%s%s"):format(ran.ending, ran.out, ran.err) end
  local first, second, caller = parts.first, parts.second, parts.caller
  if first.how == "ok" and judge.normal(first.text) ~= clean then
    return nil, "a success that is not the clean one:\n" .. judge.difference(clean, judge.normal(first.text))
  end
  if first.how == "error" and not judge.names(first.text, ran.hit.call, ran.hit.errno) then
    return nil, "an error that does not name the call and the errno:\n" .. first.text
  end
  if second and (second.how ~= "ok" or judge.normal(second.text) ~= clean) then
    return nil, ("the next start is not clean, after: %s\n"):format(first.text:match "^[^\n]*") .. judge.difference(clean, judge.normal(second.text))
  end
  if caller and caller.how ~= "whole" then
    return nil, "the caller is not what it was:\n" .. judge.difference(caller.text:match "^(.*)%-%-%- now\n(.*)$")
  end
  return first.how == "ok" and "success" or "error"
end

return judge
