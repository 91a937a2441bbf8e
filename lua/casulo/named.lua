-- SPDX-License-Identifier: MIT

--- What the command does with containers by name: `casulo list`, `casulo kill` and `casulo exec`.
-- @module casulo.named

local cli = require "casulo.cli"
local own_cgroup = require "casulo.own_cgroup"
local state = require "casulo.state"
local sys = require "casulo.sys"

local named = {}

local ORDER = {
  "name", "pid", "started", "rootfs", "command", "user", "uid", "gid", "groups", "cwd", "umask", "namespaces", "joined", "env", "uid_map",
  "gid_map", "own_maps", "denies_setgroups", "init", "has_devpts", "capabilities", "nesting", "no_new_privs",
  "landlock", "rlimits", "cgroup", "start_time", "seen_from", "filter",
}
local PATIENCE = 10 -- seconds: the kernel ends a container at once, unless a disk or a network keeps it

local mistake = cli.mistake

local function json_option(text) return { { "--json", nil, function(options) options.json = true end, text } } end

named.OPTIONS = { list = json_option "the whole records, as JSON", doctor = json_option "a list of objects, as JSON", exec = {} }
named.OPTIONS.stats = json_option "the numbers, as JSON"
named.OPTIONS.freeze, named.OPTIONS.thaw, named.OPTIONS.update = {}, {}, {}
local OF_UPDATE = { ["--memory"] = true, ["--pids"] = true, ["--cpus"] = true, ["--cpuset-cpus"] = true, ["--limit"] = true }
local OF_EXEC = { ["--env"] = true, ["--user"] = true, ["--cwd"] = true, ["--tty"] = true }
for _, option in ipairs(cli.OPTIONS) do
  if OF_EXEC[option[1]] then table.insert(named.OPTIONS.exec, option) end
  if OF_UPDATE[option[1]] then table.insert(named.OPTIONS.update, option) end
end

-- What a terminal would obey is shown as its number.
local function printable(text) return (text:gsub("%c", function(char) return ("\\%d"):format(char:byte()) end)) end

local function row_of(record)
  return { record.name, ("%d"):format(record.pid), os.date("%Y-%m-%d %H:%M:%S", record.started), printable(record.rootfs),
    printable(table.concat(record.command, " ")) }
end

local function width(text) return utf8.len(text) or #text end

local function table_of(records)
  local rows, widths = { { "NAME", "PID", "STARTED", "ROOTFS", "COMMAND" } }, {}
  for i, record in ipairs(records) do rows[i + 1] = row_of(record) end
  for _, row in ipairs(rows) do
    for column, text in ipairs(row) do widths[column] = math.max(widths[column] or 0, width(text)) end
  end
  local lines = {}
  for i, row in ipairs(rows) do
    for column = 1, #row - 1 do row[column] = row[column] .. (" "):rep(widths[column] - width(row[column])) end
    lines[i] = table.concat(row, "  ") .. "\n"
  end
  return table.concat(lines)
end

-- JSON is UTF-8; arguments and paths may be any bytes.
local function in_utf8(value)
  if type(value) == "table" then
    for key, inner in pairs(value) do value[key] = in_utf8(inner) end
  end
  if type(value) ~= "string" or utf8.len(value) then return value end
  local parts, first = {}, 1
  while true do
    local length, wrong = utf8.len(value, first)
    if length then break end
    parts[#parts + 1] = value:sub(first, wrong - 1)
    first = wrong + 1
  end
  parts[#parts + 1] = value:sub(first)
  return table.concat(parts, "\u{FFFD}")
end

--- Values as JSON, for standard output. What is not UTF-8 is shown as U+FFFD.
-- @param value
-- @tparam {string,...} order of the keys
-- @treturn string
function named.json(value, order) return require "dkjson".encode(in_utf8(value), { indent = true, keyorder = order }) .. "\n" end

--- Examines the host.
-- @tparam {string,...} arguments
-- @treturn integer exit status
function named.doctor(arguments) return require "casulo.doctor".command(arguments) end

--- Lists the containers that run. What is wrong with a record goes to standard error.
-- @tparam {string,...} arguments
-- @treturn integer exit status
function named.list(arguments)
  local options, word, command = cli.parse(arguments, named.OPTIONS.list)
  if word or command then mistake("list takes no arguments but --json, got %q", word or "--") end
  local records, problems, incomplete = state.list()
  if not records then mistake("list: %s", problems) end
  for _, problem in ipairs(problems) do io.stderr:write("casulo: list: ", printable(problem), "\n") end
  if options.json then cli.say(named.json(records, ORDER))
  else cli.say(table_of(records)) end
  return incomplete and cli.FAILED or 0
end

local function signal_number(text)
  local number = math.tointeger(tonumber(text))
  if number and number >= 1 and number <= sys.SIGRTMAX then return number end
  if number then mistake("kill: unknown signal %q; numbers go from 1 to %d", text, sys.SIGRTMAX) end
  local name = text:upper():gsub("^SIG", "")
  if name:find "^%u[%u%d]+$" and sys["SIG" .. name] then return sys["SIG" .. name] end
  local known = {}
  for constant in pairs(sys) do known[(constant:match "^SIG(%u[%u%d]+)$" or "KILL"):lower()] = true end
  local near = require "casulo.nearest"(name, known)
  mistake("kill: unknown signal %q%s", text, near and ("; did you mean %s?"):format(near:upper()) or "")
end

local function has(list, item)
  for _, each in ipairs(list) do
    if each == item then return true end
  end
  return false
end

--- Sends a signal to PID 1 of a container. After SIGKILL, which ends all that is in it, waits until it has ended.
-- @tparam {string,...} arguments
-- @treturn integer exit status
function named.kill(arguments)
  local name, signal = arguments[1], arguments[2]
  if not name or name:find "^%-" or arguments[3] then mistake "expected: casulo kill NAME [SIGNAL]" end
  local number = signal_number(signal or "KILL")
  local record, message = state.find(name)
  if not record then mistake("kill: %s", message) end
  if number == sys.SIGKILL and not has(record.namespaces, "pid") then -- it has others beside it
    local own = own_cgroup.at(record.cgroup)
    if not (own and own:kill()) then sys.kill(-record.pid, number) end
  end
  local ok, why, errno = sys.pidfd_send_signal(record.pidfd, number)
  if not ok and errno ~= sys.ESRCH then mistake("kill: %s: %s", name, why) end
  if number ~= sys.SIGKILL then return 0 end
  local ended, reason = sys.poll({ { fd = record.pidfd, events = sys.POLLIN } }, PATIENCE * 1000)
  if not ended then mistake("kill: %s: %s", name, reason) end
  if ended ~= 1 then mistake("kill: %s has not ended within %d seconds", name, PATIENCE) end
  return 0
end

-- The cgroup of a container, for a command that takes its name alone. → cgroup, options
local function cgroup_of(call, arguments)
  local options, name, command = cli.parse(arguments, named.OPTIONS[call])
  if not name or command then mistake("expected: casulo %s NAME", call) end
  local record, message = state.find(name)
  if not record then mistake("%s: %s", call, message) end
  local own = own_cgroup.at(record.cgroup)
  if not own then mistake("%s: %s has no cgroup of its own; run it with limits, or cgroup = true", call, name) end
  return own, options
end

local UNITS = {
  current = "bytes", peak = "bytes", max = "bytes", swap = "bytes", usage = "s", user = "s", system = "s", throttled = "s", total = "s",
  avg10 = "%", avg60 = "%", avg300 = "%", rbytes = "bytes", wbytes = "bytes", dbytes = "bytes",
}

-- A line for each number, by its path: memory.current.
local function add_lines(lines, prefix, value)
  if type(value) == "table" then
    local names = {}
    for name in pairs(value) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do add_lines(lines, prefix and ("%s.%s"):format(prefix, name) or name, value[name]) end
    return
  end
  local unit = not prefix:find "^pids" and UNITS[prefix:match "[^.]+$"]
  lines[#lines + 1] = ("%s %s%s\n"):format(prefix, value, unit and " " .. unit or "")
end

--- Prints what a container uses.
-- @tparam {string,...} arguments
-- @treturn integer exit status
function named.stats(arguments)
  local own, options = cgroup_of("stats", arguments)
  local stats, message = require "casulo.control".stats(own)
  if not stats then mistake("%s", message) end
  local lines = {}
  add_lines(lines, nil, stats)
  cli.say(options.json and named.json(stats, { "memory", "cpu", "pids", "io", "pressure" }) or table.concat(lines))
  return 0
end

for _, call in ipairs { "freeze", "thaw" } do
  named[call] = function(arguments)
    local ok, message = require "casulo.control"[call](cgroup_of(call, arguments))
    if not ok then mistake("%s", message) end
    return 0
  end
end

--- Changes limits of a container.
-- @tparam {string,...} arguments
-- @treturn integer exit status
function named.update(arguments)
  local own, options = cgroup_of("update", arguments)
  if not options.limits then mistake "update: expected a limit to change (see --help)" end
  local control = require "casulo.control"
  local checked, settings = require "casulo.description".try(control.settings, options.limits)
  if not checked then mistake("%s", settings) end
  local ok, message = control.update(own, settings)
  if not ok then mistake("%s", message) end
  return 0
end

--- Runs a command in a container, in the foreground.
-- @tparam {string,...} arguments
-- @treturn integer exit status
function named.exec(arguments)
  local options, name, command = cli.parse(arguments, named.OPTIONS.exec)
  if not name or not command then mistake "expected: casulo exec [options] NAME -- COMMAND…" end
  options.command = command
  return cli.report(require "casulo.foreground"(function(streams)
    for field, value in pairs(streams) do options[field] = value end
    return require "casulo.exec".by_name(name, options)
  end, options))
end

return named
