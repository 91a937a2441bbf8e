-- SPDX-License-Identifier: MIT

--- The command line.
--
-- The options are read by the few lines here: to load argparse takes as long as to start and run a container.
-- @module casulo.cli

local cli = {}

local FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
cli.FAILED = FAILED
local STDERR, PATIENCE = 2, 1000 -- milliseconds

-- A mistake in the command line; anything else that is raised is casulo's own or the script's.
local Mistake = {}
local function mistake(text, ...) error(setmetatable({ text = text:format(...) }, Mistake), 0) end
cli.mistake = mistake

local function append(description, field, value)
  description[field] = description[field] or {}
  table.insert(description[field], value)
end

local function to_number(text, option) return tonumber(text) or mistake("%s: expected a number, got %q", option, text) end

local function parse_bind(description, text)
  local source, target, mode = text:match "^([^:]+):([^:]+):?(.*)$"
  if not source or (mode ~= "" and mode ~= "ro" and mode ~= "rw") then
    mistake("--bind: expected SOURCE:TARGET[:ro], got %q (--mount takes paths with colons)", text)
  end
  append(description, "mounts", { type = "bind", source = source, target = target, readonly = mode == "ro" })
end

local TRUTH = { ["true"] = true, ["false"] = false }
local SWITCHES = { readonly = true, nosuid = true, nodev = true, noexec = true, recursive = true, idmap = true }
local NUMBERS = { hidepid = true, uid = true, gid = true }

local function parse_mount(description, text)
  local mount = {}
  for item in text:gmatch "[^,]+" do
    local name, value = item:match "^(%w+)=(.*)$"
    if value == nil then name, value = item, true
    elseif SWITCHES[name] and TRUTH[value] ~= nil then value = TRUTH[value]
    elseif NUMBERS[name] then value = math.tointeger(tonumber(value)) or value end
    if name == "lower" then append(mount, name, value) else mount[name] = value end
  end
  append(description, "mounts", mount)
end

local function parse_share(description, text)
  description.namespaces = description.namespaces or {}
  for kind in text:gmatch "[^,]+" do description.namespaces[kind] = "host" end
end

local function parse_env(description, text)
  local name, value = text:match "^([^=]+)=(.*)$"
  if not name then mistake("--env: expected NAME=VALUE, got %q", text) end
  description.env = description.env or {}
  description.env[name] = value
end

-- A number stays one: which fields take text, their check knows.
local function set_limit(name)
  return function(description, text)
    description.limits = description.limits or {}
    description.limits[name] = math.tointeger(tonumber(text)) or name == "cpu" and tonumber(text) or text
  end
end

local function parse_limit(description, text)
  local name, value = text:match "^([^=]+)=(.*)$"
  if not name then mistake("--limit: expected NAME=VALUE, got %q", text) end
  set_limit(name)(description, value)
end

-- Each option: its name, its value (nil for a switch), what it does to the description, what it is for.
local OPTIONS = {
  { "--rootfs", "DIR", function(d, v) d.rootfs = v end, "the directory that becomes /" },
  { "--ephemeral", nil, function(d) d.ephemeral = true end, "with --rootfs: throw away what is written to it" },
  { "--host", nil, function(d) d.rootfs = { type = "host" } end, "the host's own system as /, read-only" },
  { "--writable", "PATH", function(d, v) append(d, "writable", v) end, "with --host: what of it may be written" },
  { "--hostname", "NAME", function(d, v) d.hostname = v end, "the container's hostname" },
  { "--bind", "SOURCE:TARGET[:ro]", parse_bind, "show a file or directory of the host inside" },
  { "--tmpfs", "TARGET", function(d, v) append(d, "mounts", { type = "tmpfs", target = v }) end, "a file system in memory" },
  { "--mount", "type=…,target=…,…", parse_mount, "any mount: type, source, target, readonly, size, …" },
  { "--env", "NAME=VALUE", parse_env, "a variable of the command's environment" },
  { "--user", "UID[:GID]", function(d, v) d.user = v end, "whom to run the command as" },
  { "--cwd", "DIR", function(d, v) d.cwd = v end, "the working directory inside" },
  { "--share", "NS,…", parse_share, "namespaces to share with the host: user pid uts ipc net cgroup" },
  { "--net", "none|host", function(d, v) d.network = v end, "a loopback of its own, or the host's network" },
  { "--readonly", nil, function(d) d.readonly = true end, "make the root read-only" },
  { "--memory", "SIZE", set_limit "memory", "what it may have of memory: bytes, or 64m, 1g", short = "-m" },
  { "--pids", "N", set_limit "pids", "how many processes and threads it may have" },
  { "--cpus", "NUMBER", set_limit "cpu", "how many processors' time it may have: 0.5 is half of one's" },
  { "--cpuset-cpus", "LIST", set_limit "cpus", "which processors it may run on: 0-1,3" },
  { "--limit", "NAME=VALUE", parse_limit, "any limit: memory_high, swap, cpu_weight, or a file of its cgroup" },
  { "--cgroup-parent", "PATH", function(d, v) d.cgroup_parent = v end, "in which cgroup its own is made" },
  { "--timeout", "SECONDS", function(d, v) d.timeout = to_number(v, "--timeout") end, "end the container after this time" },
  { "--name", "NAME", function(d, v) d.name = v end, "what list, exec and kill call it" },
  { "--init", nil, function(d) d.init = true end, "a PID 1 that passes on signals and reaps orphans" },
  { "--tty", nil, function(d) d.tty = true end, "a terminal of its own for the command", short = "-t" },
}
cli.OPTIONS = OPTIONS

local function find_option(name, options)
  for _, option in ipairs(options) do
    if option[1] == name or option.short == name then return option end
  end
  local known = {}
  for _, option in ipairs(options) do known[option[1]] = true end
  local near = require "casulo.nearest"(name, known)
  mistake("unknown option %s%s (see --help)", name, near and ("; did you mean %s?"):format(near) or "")
end

--- Reads the words of a command.
-- @tparam {string,...} arguments
-- @tparam table options those that it takes
-- @treturn table what the options say
-- @treturn ?string the one word that is no option: a file or a name
-- @treturn ?{string,...} the command after `--`
function cli.parse(arguments, options)
  local description, file, command = {}, nil, nil
  local i = 1
  while i <= #arguments do
    local word = arguments[i]
    if word == "--" then
      command = table.move(arguments, i + 1, #arguments, 1, {})
      if not command[1] then mistake "expected a command after --" end
      break
    elseif word:sub(1, 1) == "-" and word ~= "-" then
      local name, value = word:match "^(%-%-[^=]+)=(.*)$"
      local option = find_option(name or word, options)
      if option[2] and not value then
        i = i + 1
        value = arguments[i] or mistake("%s: expected %s", option[1], option[2])
      elseif value and not option[2] then
        mistake("%s takes no value", option[1])
      end
      option[3](description, value)
    elseif file then
      mistake("unexpected %q: the command goes after --", word)
    else
      file = word
    end
    i = i + 1
  end
  return description, file, command
end

local function load_file(file, has_root)
  local chunk, message = loadfile(file)
  if not chunk then
    local hint = message:find "Is a directory" and " (--rootfs takes a directory)"
      or has_root and message:find "^cannot open" and " (the command goes after --)" or ""
    mistake("%s%s", message, hint)
  end
  local ok, returned = pcall(chunk, file)
  if not ok then
    mistake("%s", type(returned) == "string" and returned or ("%s: it raised %s"):format(file, tostring(returned)))
  end
  if type(returned) ~= "table" then
    mistake("%s: expected it to return a description or a container, got %s", file, type(returned))
  end
  return require "casulo.container".is_container(returned) and returned.raw or returned
end

-- What the command line says is added to lists and tables of the file, and takes the place of the rest.
local function merge(base, description)
  local merged = {}
  for name, value in pairs(base) do merged[name] = value end
  for name, value in pairs(description) do merged[name] = value end
  for name in pairs { mounts = true, env = true, limits = true, namespaces = true } do
    if base[name] ~= nil and type(base[name]) ~= "table" then
      merged[name] = base[name] -- for the check to refuse
    elseif base[name] and description[name] then
      merged[name] = {}
      for key, value in pairs(base[name]) do merged[name][key] = value end
      for key, value in pairs(description[name]) do
        merged[name][math.type(key) == "integer" and #merged[name] + 1 or key] = value
      end
    end
  end
  return merged
end

-- A namespace that is to be shared is no longer listed as new.
local function unlist_shared(namespaces)
  if type(namespaces) ~= "table" then return end
  for i = #namespaces, 1, -1 do
    if namespaces[namespaces[i]] == "host" then table.remove(namespaces, i) end
  end
end

-- Options that say more about the root, whichever came first.
local function complete_root(description)
  local root, writable, ephemeral = description.rootfs, description.writable, description.ephemeral
  description.writable, description.ephemeral = nil, nil
  if writable and type(root) ~= "table" then mistake "--writable: it goes with --host" end
  if writable then root.writable = writable end
  if ephemeral and type(root) ~= "string" then mistake "--ephemeral: it goes with --rootfs" end
  if ephemeral then description.rootfs = { root, ephemeral = true } end
end

-- The container that the words of run and explain describe.
local function container_of(arguments)
  local description, file, command = cli.parse(arguments, OPTIONS)
  description.command = command
  complete_root(description)
  if file then
    description = merge(load_file(file, description.rootfs), description)
    unlist_shared(description.namespaces)
  elseif not description.rootfs then
    mistake "expected a FILE.lua, --rootfs DIR or --host (see --help)"
  end
  local ok, made = pcall(require "casulo.container".new, description)
  return ok and made or mistake("%s", made)
end

--- Prints to standard output; a disk that is full is a failure.
-- @tparam string text
function cli.say(text)
  local ok, message = io.write(text)
  if ok then ok, message = io.flush() end
  if not ok then mistake("write to standard output: %s", message) end
end
local say = cli.say

local function explain(arguments)
  say(container_of(arguments):explain())
  return 0
end

local function complain(text) io.stderr:write("casulo: " .. text .. "\n") end

-- Says so of the end of a container, unless it has a terminal for which nobody makes room: one that is read no more would hold casulo
-- up for ever.
local function comment(box, text)
  local sys = require "casulo.sys"
  if not box.checked.tty or sys.poll({ { fd = STDERR, events = sys.POLLOUT } }, PATIENCE) ~= 0 then complain(text) end
end

--- Says on standard error why a command never ran.
-- @tparam ?table result of a process
-- @param err
-- @tparam ?integer deaf_to the signal for which it was ended
-- @treturn integer exit status
function cli.report(result, err, deaf_to)
  if not result then
    complain(tostring(err))
    return err.kind == "not_found" and NOT_FOUND or err.kind == "not_executable" and NOT_EXECUTABLE or FAILED
  end
  if result.lost then mistake("the exit status is lost: %s", result.lost) end
  return result.exit_code or 128 + (deaf_to or result.signal)
end

local function run(arguments)
  local box = container_of(arguments)
  local result, err, deaf_to = require "casulo.foreground"(function(options) return box:start(options) end, box.checked)
  if result and result.oom_killed then comment(box, "the kernel killed for want of memory (limits.memory)") end
  if result and result.timed_out then comment(box, ("ended after %g seconds"):format(box.checked.timeout)) end
  return cli.report(result, err, deaf_to)
end

local function rootfs(arguments)
  local kind, directory = arguments[1], arguments[2]
  if kind ~= "busybox" or not directory or directory:find "^%-" or arguments[3] then mistake "expected: casulo rootfs busybox DIR" end
  local ok, message = pcall(require "casulo.rootfs".busybox, directory)
  if not ok then mistake("%s", message) end
  return 0
end

local function version(arguments)
  if arguments[1] then mistake("version takes no arguments, got %q", arguments[1]) end
  say(require "casulo.version" .. "\n")
  return 0
end

-- What each does, its words, what help says, its options. What has to do with names is in a module of its own.
local COMMANDS = {
  run = { run, "FILE.lua [options] [-- COMMAND…]\n       casulo run --rootfs DIR [options] [-- COMMAND…]\n"
    .. "       casulo run --host [--writable PATH]… [options] -- COMMAND…",
    "Runs a container in the foreground. FILE returns a description or a container.\n"
      .. "Exits with the command's own status; 128+n when signal n ended it; 125 when casulo failed,\n"
      .. "126 when the command cannot be executed, 127 when it is not found.", OPTIONS },
  explain = { explain, "FILE.lua [options] [-- COMMAND…]\n       casulo explain --rootfs DIR [options] [-- COMMAND…]",
    "Prints every step of run and why. Runs nothing, and needs no privilege.", OPTIONS },
  list = { nil, "[--json]", "Lists the containers that run under a name (run --name NAME)." },
  exec = { nil, "[options] NAME -- COMMAND…", "Runs a command in a container that runs under a name. Exits as run does." },
  kill = { nil, "NAME [SIGNAL]",
    "Ends a container that runs under a name, or sends its PID 1 another signal: a name or a number." },
  stats = { nil, "[--json] NAME", "Prints what a container that runs under a name uses. It takes limits, or cgroup = true." },
  freeze = { nil, "NAME", "Stops the time of a container that runs under a name." },
  thaw = { nil, "NAME", "Lets a container that was frozen go on." },
  update = { nil, "[options] NAME", "Changes limits of a container that runs under a name." },
  doctor = { nil, "[--json]",
    "Looks for what on this host is in the way of containers, and says what cures it. Changes nothing.\n"
      .. "Exits with 0 where a container can run for the caller, and with 1 where something prevents it." },
  rootfs = { rootfs, "busybox DIR",
    "Makes a root file system of busybox in DIR. Where it is already, nothing changes." },
  version = { version, "", "Prints casulo's version." },
}
local ORDER = { "run", "explain", "list", "exec", "kill", "stats", "freeze", "thaw", "update", "doctor", "rootfs", "version" }

local function help(name)
  local command = COMMANDS[name]
  if not command then
    say "usage: casulo COMMAND …  (casulo COMMAND --help tells more)\n\n"
    for _, each in ipairs(ORDER) do say(("  %-8s  %s\n"):format(each, COMMANDS[each][3]:match "^[^\n]+")) end
    return 0
  end
  say(("usage: casulo %s %s\n\n%s\n"):format(name, command[2], command[3]))
  local options = command[1] and command[4] or not command[1] and require "casulo.named".OPTIONS[name]
  if options then say "\noptions:\n" end
  for _, option in ipairs(options or {}) do
    local form = option[1] .. (option.short and ", " .. option.short or "") .. (option[2] and " " .. option[2] or "")
    say(("  %s%s%s\n"):format(form, (" "):rep(32 - utf8.len(form)), option[4]))
  end
  return 0
end

local function asks_for_help(arguments)
  for _, word in ipairs(arguments) do
    if word == "--" then return false end
    if word == "--help" or word == "-h" then return true end
  end
end

local dispatch
function dispatch(name, arguments)
  if not name then mistake("expected a command: %s (see casulo --help)", table.concat(ORDER, ", ")) end
  if name == "--help" or name == "-h" then return help() end
  if name == "help" then return arguments[1] and dispatch(arguments[1], { "--help" }) or help() end
  if name == "--version" then name = "version" end
  local command = COMMANDS[name]
  if not command then
    local near = require "casulo.nearest"(name, COMMANDS)
    mistake("unknown command %s%s (see casulo --help)", name, near and ("; did you mean %s?"):format(near) or "")
  end
  if asks_for_help(arguments) then return help(name) end
  return (command[1] or require "casulo.named"[name])(arguments)
end

--- Runs the command line.
-- @tparam {string,...} words what followed the program's name
-- @treturn integer exit status
function cli.main(words)
  local sys = require "casulo.sys"
  sys.signal(sys.SIGXFSZ, sys.SIG_IGN) -- a file that may not grow (ulimit -f) is an error to tell
  local ok, status = pcall(dispatch, words[1], table.move(words, 2, #words, 1, {}))
  if ok then return status end
  local text = getmetatable(status) == Mistake and status.text or tostring(status)
  complain((text:gsub("\n", " ")))
  return FAILED
end

return cli
