-- SPDX-License-Identifier: MIT

--- Containers: a checked description, the plan that follows from it, and what can be done with it.
-- @module casulo.container

local description = require "casulo.description"
local layout = require "casulo.layout"
local life = require "casulo.recipes.life"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

local CLONE_FLAGS = {
  user = sys.CLONE_NEWUSER, pid = sys.CLONE_NEWPID, mount = sys.CLONE_NEWNS, uts = sys.CLONE_NEWUTS,
  ipc = sys.CLONE_NEWIPC, net = sys.CLONE_NEWNET, cgroup = sys.CLONE_NEWCGROUP, time = sys.CLONE_NEWTIME,
}

local container = {}
local Container = {}
Container.__index = Container

--- The flags of clone(2) for a set of namespaces.
-- @tparam table new
-- @treturn integer
function container.clone_flags(new)
  local flags = 0
  for kind in pairs(new) do flags = flags | CLONE_FLAGS[kind] end
  return flags
end

local function environment(checked, host)
  local user = checked.user and checked.user.uid or 0
  local env = { PATH = PATH, HOME = user == 0 and "/root" or "/", TERM = host.term }
  for _, name in ipairs(checked.inherit_env or {}) do env[name] = os.getenv(name) end
  for name, value in pairs(checked.env) do env[name] = value end
  local list = {}
  for name, value in pairs(env) do list[#list + 1] = ("%s=%s"):format(name, value) end
  table.sort(list)
  return list, env.PATH
end

local function join_steps(checked)
  local before, child = {}, {}
  for _, kind in ipairs { "net", "uts", "ipc", "cgroup" } do
    local path = checked.joined[kind]
    if path then
      before[#before + 1] = { "open", path, sys.O_RDONLY | sys.O_CLOEXEC, as = kind .. " namespace", phase = "before",
        why = "a namespace that exists already" }
      child[#child + 1] = { "setns", plan.ref(kind .. " namespace"), CLONE_FLAGS[kind], why = "and this process joins it" }
    end
  end
  return before, child
end

local function map_steps(checked)
  if not checked.new.user then return {} end
  local users = require "casulo.recipes.users"
  return checked.own_maps and users.own_id_maps(checked.uid_map, checked.gid_map)
    or users.id_maps(checked.uid_map, checked.gid_map)
end

-- A user namespace whose maps a process wrote itself has given up setgroups.
local function user_steps(checked, host, detach)
  local user, denied = checked.user, checked.own_maps or not (checked.new.user or host.may_setgroups)
  if not user then
    if denied then return {} end
    return { { "setgroups", {}, why = "none of the caller's supplementary groups" } }
  end
  local groups = user.groups or not denied and {} or nil
  return {
    require "casulo.recipes.users".become({ uid = user.uid, gid = user.gid, groups = groups }),
    detach and {} or life.die_with_caller "the kernel forgets that request when the ids change",
  }
end

local function names_steps(checked)
  local steps, names = {}, (checked.hostname or checked.domainname) and require "casulo.recipes.names"
  if checked.hostname then steps[#steps + 1] = names.hostname(checked.hostname) end
  if checked.domainname then steps[#steps + 1] = names.domainname(checked.domainname) end
  return steps
end

--- Whether a value is a container.
-- @param value
-- @treturn boolean
function container.is_container(value) return getmetatable(value) == Container end

--- The plan of a container: steps from a checked description and the facts of a host. Makes no system call.
-- @tparam table checked what `casulo.description` returns
-- @tparam table host facts
-- @tparam table variant what `container.variant` returns
-- @treturn plan
function container.plan(checked, host, variant)
  local env, path = environment(checked, host)
  local join_before, join = join_steps(checked)
  return plan.new {
    variant.detach and {} or life.caller(),
    join_before,
    variant.detach and {} or life.die_with_caller(),
    life.session(),
    life.umask(18, "whoever started casulo: the places made here get usual modes"),
    map_steps(checked),
    join,
    layout.steps(checked, host),
    checked.new.net and require "casulo.recipes.network".loopback() or {},
    names_steps(checked),
    user_steps(checked, host, variant.detach),
    life.cwd(checked.cwd),
    checked.umask ~= 18 and life.umask(checked.umask) or {},
    life.clean(),
    life.streams(variant), -- after the last use of what the caller has open in their place
    life.unblock(),
    life.exec(checked.command, env, path),
  }
end

--- Makes a container from a description. Runs nothing; a bad description raises, naming the field. What the host must
-- be asked, such as whether a file or a directory is bound in, is asked here.
-- @tparam table raw the description; see the README for its fields
-- @treturn container
function container.new(raw)
  local host = require "casulo.host"
  local ok, checked = description.try(description.check, raw, host)
  if not ok then error(checked, 2) end
  for _, mount in ipairs(checked.mounts) do
    if mount.type == "bind" then mount.is_file = host.is_file(mount.source) end
  end
  local copy = {}
  for name, value in pairs(raw) do copy[name] = value end
  return setmetatable({ raw = copy, checked = checked, host = host, jobs = {} }, Container)
end

--- Another container that differs in the given fields.
-- @tparam table fields
-- @treturn container
function Container:with(fields)
  if type(fields) ~= "table" then error("container: with expects a table of fields", 2) end
  local raw = {}
  for name, value in pairs(self.raw) do raw[name] = value end
  for name, value in pairs(fields) do raw[name] = value end
  local ok, made = pcall(container.new, raw)
  if not ok then error(made, 2) end
  return made
end

--- What makes the plan of one start differ from that of another.
-- @tparam table settings of a run
-- @treturn table `stdin`, `stdout`, `stderr`: true where it is not the caller's; `fds`: a sorted list of the numbers of
--   further descriptors; `detach`
function container.variant(settings)
  local variant = { detach = settings.detach or nil }
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if settings[name] and settings[name] ~= "inherit" then variant[name] = true end
  end
  if settings.fds and next(settings.fds) then
    variant.fds = {}
    for number in pairs(settings.fds) do variant.fds[#variant.fds + 1] = number end
    table.sort(variant.fds)
  end
  return variant
end

--- Every step and why, one a line. Runs nothing and needs no privilege.
-- @treturn string
function Container:explain()
  local explain = require "casulo.explain"
  local why = self.checked.new.pid and "a child that is PID 1, with these namespaces of its own" or "a child with these namespaces of its own"
  return container.plan(self.checked, self.host, container.variant(self.checked))
    :explain(explain.clone(container.clone_flags(self.checked.new)), why)
end

-- The packed program of a variant; the next start with the same one takes it as it is.
local function prepared(self, settings)
  local variant = container.variant(settings)
  local key = (variant.stdin and "0" or "") .. (variant.stdout and "1" or "") .. (variant.stderr and "2" or "")
    .. (variant.detach and "d" or "") .. (variant.fds and " " .. table.concat(variant.fds, " ") or "")
  local job = self.jobs[key]
  if not job then
    job = require "casulo.process".job(container.plan(self.checked, self.host, variant))
    job.flags = container.clone_flags(self.checked.new)
    self.jobs[key] = job
  end
  return job
end

local RUN_FIELDS = { "stdin", "stdout", "stderr", "fds", "timeout", "detach" }

local function settings_of(self, options)
  local settings = description.run_options(options, "start")
  for _, name in ipairs(RUN_FIELDS) do
    if settings[name] == nil then settings[name] = self.checked[name] end
  end
  settings.own_pids = self.checked.new.pid
  return settings
end

local function start(self, options)
  local settings = options == nil and self.defaults
  if not settings then
    local ok
    ok, settings = description.try(settings_of, self, options)
    if not ok then error(settings, 3) end
    settings.job = prepared(self, settings)
    if options == nil then self.defaults = settings end
  end
  return require "casulo.process".start(settings)
end

--- Starts the container.
-- @tparam[opt] table options `stdin`, `stdout`, `stderr`, `fds`, `timeout`, `detach`, in place of the description's
-- @treturn process or nil and an error, when the command never ran
function Container:start(options)
  local process, err = start(self, options) -- no tail call: an error names the line that called this function
  return process, err
end

--- Starts the container and waits for its end.
-- @tparam[opt] table options as for `start`
-- @treturn table result, or nil and an error, when the command never ran
function Container:run(options)
  if (type(options) == "table" and options.stdin or self.checked.stdin) == "pipe" then
    error('run: stdin: nobody could write to the pipe; start gives it, or take "null", a text, a file or a descriptor', 2)
  end
  local process <close>, err = start(self, options)
  if not process then return nil, err end
  return process:wait()
end

return container
