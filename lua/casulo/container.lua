-- SPDX-License-Identifier: MIT

--- Containers: a checked description, the plan that follows from it, and what can be done with it.
-- @module casulo.container

local command = require "casulo.command"
local description = require "casulo.description"
local layout = require "casulo.layout"
local life = require "casulo.recipes.life"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

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

--- The flags of setns(2) that lead into a container: the namespaces that are its own, and those that it has joined.
-- @tparam table checked
-- @treturn integer
function container.setns_flags(checked)
  local flags = container.clone_flags(checked.new)
  for kind in pairs(checked.joined) do flags = flags | CLONE_FLAGS[kind] end
  return flags
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
  if checked.own_maps then return users.own_id_maps(checked.uid_map, checked.gid_map) end
  if checked.maps_by_helper then return users.subordinate_id_maps(checked.uid_map, checked.gid_map) end
  return { life.usual_for_child(), users.id_maps(checked.uid_map, checked.gid_map) }
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

-- A clone would make a cgroup namespace that begins at the caller's cgroup; with a cgroup of its own, the child makes one.
local function birth_flags(checked)
  return container.clone_flags(checked.new) & ~(checked.cgroup and sys.CLONE_NEWCGROUP or 0)
end

-- All that is done before anything of the command's own.
local function surroundings(checked, host, variant)
  local join_before, join = join_steps(checked)
  local function with_caller(again) return variant.detach and {} or life.die_with_caller(again) end
  return {
    variant.detach and {} or life.caller(),
    variant.placement and require "casulo.recipes.limits".make(variant.placement) or {},
    join_before,
    with_caller(),
    checked.cgroup and checked.new.cgroup and require "casulo.recipes.limits".namespace() or {},
    life.session(),
    command.raise_limits(checked),
    life.umask(18, "whoever started casulo: the places made here get usual modes"),
    life.usual(checked.denies_keys, checked.has_usual_score, host),
    map_steps(checked),
    join,
    layout.steps(checked, host, command.become_root(checked, with_caller "the kernel forgets that request when the ids change")),
    checked.new.net and require "casulo.recipes.network".loopback() or {},
    names_steps(checked),
    variant.tty and require "casulo.recipes.terminal".open(variant.tty, checked.user) or {},
    checked.standard_mounts and life.nulls(variant, "dev") or {},
    command.filtered(checked), -- casulo-init, too: from inside one may make it do what one may not do oneself
  }, with_caller
end

-- Whoever is another than root inside loses, by executing casulo-init, the capabilities that further steps need.
local function is_root_inside(checked) return not checked.new.user or require "casulo.idmap".first(checked.uid_map) == 0 end

local function numbers_of(checked, variant)
  return require "casulo.handover".numbers(variant.fds, nil, checked.init or variant.gate)
end

-- Through casulo-init: as PID 1 of its own, to wait for the caller's word, and in any case with memory, an executable and descriptors
-- in which nothing of the host is. Who executes the command is looked at by the root: its links, the first line of its scripts and its
-- programs may name /proc/self/exe, and what runs is then the caller's own program, with the root's libraries, and open to be written.
local function handed_over(checked, host, variant, own_steps)
  local handover = require "casulo.handover"
  local numbers = numbers_of(checked, variant)
  return handover.steps {
    init = variant.gate and handover.gate(numbers) or {}, command = own_steps, numbers = numbers, host = host,
    stays = checked.init, is_init = checked.init, grace = checked.init and checked.init.grace,
  }
end

--- The plan of a container: steps from a checked description and the facts of a host. Makes no system call.
-- @tparam table checked what `casulo.description` returns
-- @tparam table host facts
-- @tparam table variant what `container.variant` returns
-- @treturn plan
function container.plan(checked, host, variant)
  local steps, with_caller = surroundings(checked, host, variant)
  local control = variant.tty and require "casulo.recipes.terminal".control() or {}
  local by_init = checked.init and is_root_inside(checked)
  local rights, further = command.rights(checked, host, by_init and {} or with_caller "the kernel forgets that request when the ids change")
  local own = { checked.init and life.session() or {}, control, by_init and rights or {}, further, command.exec(checked, host) }
  return plan.of_recipes {
    steps,
    by_init and {} or rights,
    life.clean(),
    life.streams(variant), -- after the last use of what the caller has open in their place
    handed_over(checked, host, variant, own),
  }
end

--- Makes a container from a description. Runs nothing; a bad description raises, naming the field. What the host must
-- be asked, such as whether a file or a directory is bound in, is asked here.
-- @tparam table raw the description; its fields are in doc/reference.md
-- @treturn container
function container.new(raw)
  local host = require "casulo.host"
  local ok, checked = description.try(description.check, raw, host)
  if not ok then error(checked, 2) end
  local asked, wrong = description.try(description.ask, checked, raw, host)
  if not asked then error(wrong, 2) end
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
-- @treturn table `stdin`, `stdout`, `stderr`: true where it is not the caller's, or "null"; `fds`: a sorted list of the numbers of
--   further descriptors; `detach`; `tty`: its size; `gate`: whether it waits before its command
function container.variant(settings)
  local variant = { detach = settings.detach or nil, tty = settings.tty or nil, gate = settings.gate }
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if settings[name] and settings[name] ~= "inherit" then variant[name] = settings[name] == "null" and "null" or true end
  end
  if settings.fds and next(settings.fds) then
    variant.fds = {}
    for number in pairs(settings.fds) do variant.fds[#variant.fds + 1] = number end
    table.sort(variant.fds)
  end
  return variant
end

-- Where its cgroup goes, if it has one of its own: looked for once.
local function placement_of(self)
  if self.checked.cgroup and not self.placement then
    self.placement = require "casulo.placement".find(self.checked, require "casulo.surroundings")
  end
  return self.placement
end

--- Every step and why, one a line. Runs nothing and needs no privilege.
-- @treturn string
function Container:explain()
  local explain = require "casulo.explain"
  local why = self.checked.new.pid and "a child that is PID 1, with these namespaces of its own" or "a child with these namespaces of its own"
  local variant = container.variant(self.checked)
  variant.placement = placement_of(self)
  return plan.new { life.birth(), container.plan(self.checked, self.host, variant) }
    :explain(explain.clone(birth_flags(self.checked), variant.placement), why)
end

--- Whether rules of its own are in the filter of a container.
-- @tparam table checked
-- @treturn ?boolean
function container.has_rules(checked) return checked.seccomp and next(checked.seccomp) ~= nil or nil end

-- The packed program of a variant; the next start with the same one takes it as it is.
local function prepared(self, settings)
  local variant = container.variant(settings)
  local key = ("%s %s %s"):format(variant.stdin, variant.stdout, variant.stderr) .. (variant.detach and "d" or "") .. (variant.gate and "g" or "")
    .. (variant.tty and ("%dx%d"):format(variant.tty.rows, variant.tty.columns) or "")
    .. (variant.fds and " " .. table.concat(variant.fds, " ") or "")
  local job = self.jobs[key]
  if not job then
    variant.placement = placement_of(self)
    job = require "casulo.process".job(container.plan(self.checked, self.host, variant))
    job.opens_null = self.checked.standard_mounts
    job.flags, job.place = birth_flags(self.checked) | sys.CLONE_FILES, variant.placement and variant.placement.place
    job.has_rules = container.has_rules(self.checked)
    if job.handed then
      job.gate, job.stays = variant.gate, self.checked.init and true
      job.above = numbers_of(self.checked, variant).above
    end
    self.jobs[key] = job
  end
  return job
end

local RUN_FIELDS = { "stdin", "stdout", "stderr", "fds", "timeout", "detach", "tty", "name" }

--- The settings of a start: the options in place of what the description says. Raises what is wrong with them, or with both together.
-- @tparam container self
-- @tparam ?table options
-- @tparam string call how messages call them
-- @treturn table
function container.settings(self, options, call)
  local settings = description.run_options(options, call)
  for _, name in ipairs(RUN_FIELDS) do
    if settings[name] == nil then settings[name] = self.checked[name] end
  end
  description.check_terminal(settings, self.checked, call)
  settings.own_pids, settings.container = self.checked.new.pid, self
  return settings
end

-- What list shows of a container, and what exec must know to put a command beside the first.
local function record_of(self, process)
  local record = require "casulo.record".of(self, process.cgroup)
  record.pid = process.pid
  if self.checked.root.path and record.rootfs:sub(1, 1) ~= "/" then
    record.rootfs = ("%s/%s"):format(sys.readlink "/proc/self/cwd" or ".", record.rootfs)
  end
  return record
end

-- The name is taken before the start and belongs to the process after it.
local function start_named(self, settings)
  local claim <close>, taken, errno = require "casulo.state".claim(settings.name)
  if not claim then return nil, require "casulo.failure".new { message = taken, errno = errno } end
  local process, err = require "casulo.process".start(settings)
  if not process then return nil, err end
  local told, ok, message = pcall(function() return claim:complete(record_of(self, process)) end)
  if told and ok then
    process.claim = claim
    return process
  end
  if not told then message = ok end
  process.detached = false -- it never was what was asked for
  process:close()
  return nil, require "casulo.failure".new { message = message }
end

-- What a process of the caller's inherits unless it is put right, where that costs more than to look whether it need be.
local function look_at_caller(self)
  local has_usual_score = self.host.has_usual_score
  if has_usual_score == self.checked.has_usual_score then return end
  self.checked.has_usual_score, self.jobs, self.defaults = has_usual_score, {}, nil
end

local function launch(self, settings)
  local looked_at, refused = require "casulo.descriptors".look_at_inherited(settings)
  settings = looked_at or settings
  settings.job = settings.job or prepared(self, settings)
  if not refused and self.placement and self.placement.obstacle then
    refused = require "casulo.obstacles".line(self.placement.obstacle)
  end
  if refused then return nil, require "casulo.failure".new { message = refused } end
  if settings.name then return start_named(self, settings) end
  return require "casulo.process".start(settings)
end

local function start(self, options, call)
  look_at_caller(self)
  local gate = call == "create" or nil
  local settings = options == nil and not gate and self.defaults
  if not settings then
    local ok
    ok, settings = description.try(container.settings, self, options, call)
    if not ok then error(settings, 3) end
    settings.gate = gate
    if options == nil and not gate then self.defaults = settings end
  end
  local ok, process, err = pcall(launch, self, settings)
  if not ok then process, err = nil, require "casulo.failure".new { message = tostring(process) } end -- the host could not be looked at
  if not process and self.placement then self.placement, self.jobs, self.defaults = nil, {}, nil end -- there may be another place the next time
  return process, err
end

--- Starts the container as far as its command: all is ready, and waits for `Process:start`.
-- @tparam[opt] table options as for `start`
-- @treturn process or nil and an error
function Container:create(options)
  local process, err = start(self, options, "create")
  return process, err
end

--- Starts the container.
-- @tparam[opt] table options `stdin`, `stdout`, `stderr`, `fds`, `timeout`, `detach`, `tty`, `name`, in place of the description's
-- @treturn process or nil and an error, when the command never ran
function Container:start(options)
  local process, err = start(self, options, "start") -- no tail call: an error names the line that called this function
  return process, err
end

--- Starts the container and waits for its end.
-- @tparam[opt] table options as for `start`
-- @treturn table result, or nil and an error, when the command never ran
function Container:run(options)
  if (type(options) == "table" and options.stdin or self.checked.stdin) == "pipe" then
    error('run: stdin: nobody could write to the pipe; start gives it, or take "null", a text, a file or a descriptor', 2)
  end
  local process <close>, err = start(self, options, "run")
  if not process then return nil, err end
  return process:wait()
end

return container
