-- SPDX-License-Identifier: MIT

--- One mutation: a step taken out of every plan of a Lua process, or one argument of it made weaker. Read by each interpreter, through
-- LUA_INIT, before anything else. A file of the sandbox says which: what `describe` calls the step, a tab and the change, if any.
--
-- Nothing of casulo knows of this: the modules that it is about are loaded in its place and their functions wrapped.

local mutation = { seen = {}, order = {} }

local file <close> = assert(io.open "/dev/casulo-mutation") -- not the environment, which some tests clear
local wanted, change = file:read "a":match "^([^\t]*)\t?(.*)$"
local where -- whose plan is being made: "start", "exec"; nil for others, as those of recipes and of rootfs
local is_shown = false -- whether it is made to be explained only: no test is to notice by that text

--- What a function of casulo's keeps to itself.
-- @tparam function of
-- @tparam string name
-- @return its value
-- @treturn integer its place among the function's upvalues
function mutation.upvalue(of, name)
  for i = 1, 255 do
    local found, value = debug.getupvalue(of, i)
    if found == name then return value, i end
    if not found then error(("%s has no %s any more: change %s"):format(debug.getinfo(of, "S").short_src, name, debug.getinfo(1, "S").short_src)) end
  end
end

-- Names are those of one description, numbers those of one run: neither is what a step is.
local function general(text)
  text = text:gsub("mount %d+ /[^%s,)]*", "mount"):gsub("mount in /[^%s,)]*", "directory above mount"):gsub("layer %d+", "layer")
  text = text:gsub("place of /[^%s,)]*", "place of path"):gsub('"%d+", O_(.*), %d+%)', '"1", O_%1)')
  text = text:gsub('"/proc/%d+', '"/proc/N')
  return (text:gsub('"(/[^"]*)"', function(path)
    local is_known = path == "/" or path:find "^/proc" or path:find "^/sys" or path:find "^/dev"
    return is_known and ('"%s"'):format(path) or "path"
  end))
end

-- Calls of which not all arguments say what they are for.
local SHORT = {
  capset = "^%w+", execve = "^%w+", fexecve = "^%w+", setgroups = "^%w+", setresuid = "^%w+", setresgid = "^%w+", fchown = "^%w+",
  sethostname = "^%w+", setdomainname = "^%w+", write = "^%w+%([^,]*", spawn = '^%w+%(%["[%w-]*', poll = "^%w+%(%[{[^,]*", setns = "^%w+",
  dup2 = "^%w+%([^,]*", close = "^%w+", setrlimit = "^%w+%([^,]*",
  landlock_add_rule = "^[%w_]+%([^,]*, [^,]*", fsconfig = "^%w+%([^,]*, [^,]*, [^,]*",
  mkdirat = "^%w+", mknodat = "^%w+", symlinkat = "^%w+", seccomp = "^%w+", sendmsg = "^%w+", getpid = "^%w+", getppid = "^%w+",
  landlock_create_ruleset = "^[%w_]+", read = "^%w+", memfd_create = "^[%w_]+",
}
local WITHOUT_WHY = { setrlimit = true, mount_setattr = true, landlock_add_rule = true, mkdirat = true }

--- What a step is called here.
-- @tparam table step
-- @tparam string place whose, and in which process it is made
-- @treturn string
function mutation.describe(step, place)
  local name = step[1]
  if name == "signal" and step.alike and step[2] ~= mutation.sys.SIGRTMAX then return ("%s: signal, the ones between"):format(place) end
  local text = mutation.explain.call(step)
  if place:find "^exec" then text = text:gsub("CAPBSET_DROP, CAP_[%u_]+", "CAPBSET_DROP, each") end
  text = general(SHORT[name] and text:match(SHORT[name]) or text)
  -- with whichever attributes: each is taken away by itself, too
  text = text:gsub("FSMOUNT_CLOEXEC, [^)]*%)", "attributes)"):gsub(", {attr_set=[^}]*}, 32%)", ", attributes)")
  if name == "fcntl" then text = text:gsub("%(%d+", "(N"):gsub("DUPFD_CLOEXEC.*", "DUPFD_CLOEXEC") end
  if name == "dup2" then text = name .. text:sub(5):gsub("%d+", "N") end
  if name == "openat2" and step[3] ~= "/dev/pts/ptmx" then text = text:gsub('"/[^"]*"', "path") end
  if name == "ioctl" then text = text:gsub("{ws_row.*", "…") end
  if WITHOUT_WHY[name] or text:find "CAPBSET" then return ("%s: %s"):format(place, text) end
  return ("%s: %s  %s"):format(place, text, general(step.why or ""))
end

-- Where a call has flags that protect: the argument, what its names begin with, and its place in a packed structure.
local FLAGS = {
  fsmount = { { 3, { "MOUNT_ATTR_RDONLY", "MOUNT_ATTR_NOSUID", "MOUNT_ATTR_NODEV", "MOUNT_ATTR_NOEXEC" } } },
  mount_setattr = {
    { 3, { "AT_RECURSIVE" } },
    { 4, { "MOUNT_ATTR_RDONLY", "MOUNT_ATTR_NOSUID", "MOUNT_ATTR_NODEV", "MOUNT_ATTR_NOEXEC" }, 1 }, { 4, { "MS_PRIVATE", "MS_SLAVE" }, 3 },
  },
  openat2 = { { 3, { "O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NONBLOCK" }, 1 }, { 3, { "RESOLVE_NO_MAGICLINKS", "RESOLVE_NO_SYMLINKS" }, 3 } },
  openat = { { 3, { "O_EXCL" } } },
  mount = { { 4, { "MS_REC" } } },
  fcntl = { { 3, { "F_SEAL_SEAL", "F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_WRITE", "F_SEAL_EXEC" } } },
  landlock_create_ruleset = { { 1, {}, 1, "^LANDLOCK_ACCESS_FS_" }, { 1, {}, 2, "^LANDLOCK_ACCESS_NET_" }, { 1, {}, 3, "^LANDLOCK_SCOPE_" } },
}

local function field_of(value, index)
  if not index then return value end
  if type(value) == "table" then return value[index] end
  return (string.unpack("=I8", value, 8 * index - 7))
end

local function with_field(value, index, bits)
  if not index then return bits end
  if type(value) == "string" then return value:sub(1, 8 * index - 8) .. string.pack("=I8", bits) .. value:sub(8 * index + 1) end
  local copy = {}
  for key, item in pairs(value) do copy[key] = item end
  copy[index] = bits
  return copy
end

local function with_argument(step, index, value)
  local copy = {}
  for key, item in pairs(step) do copy[key] = item end
  copy[index + 1] = value
  return copy
end

local function with_variable(step)
  local environment = table.move(step[4], 1, #step[4], 1, {})
  environment[#environment + 1] = "OF_THE_CALLER=1"
  return with_argument(step, 3, environment)
end

-- Those of a list, or all that a pattern fits.
local function flag_names(list, pattern)
  if not pattern then return list end
  local names = {}
  for name in pairs(mutation.sys) do
    if name:find(pattern) then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function without_undo(step)
  local copy = with_argument(step, 0, step[1])
  copy.undo = nil
  return copy
end

-- Calls body(name, function that makes the changed step) with each way to make a step weaker.
local function each_change(step, body)
  local sys = mutation.sys
  for _, flags in ipairs(step[1] == "fcntl" and step[3] ~= sys.F_ADD_SEALS and {} or FLAGS[step[1]] or {}) do
    local index, list, field, pattern = table.unpack(flags, 1, 4)
    local value = field_of(step[index + 1], field)
    for _, name in ipairs(math.type(value) == "integer" and flag_names(list, pattern) or {}) do
      local bit = sys[name] or 0
      local is_all = name:find "^MOUNT_ATTR_" and value == bit -- the same as no step at all
      if value & bit ~= 0 then
        body("without " .. name, function() return with_argument(step, index, with_field(step[index + 1], field, value & ~bit)) end, is_all)
      end
    end
  end
  if step[1] == "setresuid" or step[1] == "setresgid" then body("without the saved id", function() return with_argument(step, 3, -1) end) end
  if step[1] == "execve" then body("with a variable of the caller's", function() return with_variable(step) end) end
  if step.undo then body("without what undoes it", function() return without_undo(step) end) end
  if step[1] == "seccomp" then require "mutate.filter_changes".each(step, with_argument, body) end
end

-- What a command that comes later gets just as the first one does: there it is enough to take it away as a whole.
local ONCE = { seccomp = true, landlock_create_ruleset = true, fcntl = true }

local function note_once(what, name)
  local key = what .. "\t" .. name
  if mutation.seen[key] then return end
  mutation.seen[key] = true
  mutation.order[#mutation.order + 1] = { step = what, change = name }
end

local function note(step, what)
  note_once(what, "")
  if ONCE[step[1]] and what:find "^exec" then return end
  each_change(step, function(name, _, is_all)
    if not is_all then note_once(what, name) end
  end)
end

-- Steps for a cgroup of the container's own are named by that.
local of_cgroup = setmetatable({}, { __mode = "k" })

local function place_of(step, phase) return ("%s, %s"):format(of_cgroup[step] and "cgroup" or where, phase) end

-- A step as it is to be: itself, another, or nil.
local function mutated(step, place)
  if type(step) ~= "table" or is_shown or not where then return step end
  if not mutation.is_recording and not wanted:find(step[1], 1, true) then return step end
  local what = mutation.describe(step, place)
  if mutation.is_recording then note(step, what) end
  if what ~= wanted then return step end
  if change == "" then return nil end
  local changed = step
  each_change(step, function(name, make)
    if name == change then changed = make() end
  end)
  return changed
end

local INSIDE = { init = "casulo-init", command = "casulo-init's child" }

local function wrap_maker(plan, name)
  local make = plan[name]
  -- The steps of casulo-init are packed where they get their phase, in handover.in_phase; the others at the end.
  plan[name] = function(list)
    local made = make(list)
    local handover, caller = package.loaded["casulo.handover"], debug.getinfo(2, "f").func
    local in_phase = type(handover) == "table" and caller == handover.in_phase and select(2, debug.getlocal(2, 1))
    if in_phase == "before" then return made end
    local steps = {}
    for _, step in ipairs(made.steps) do
      local phase = in_phase or type(step) == "table" and step.phase or "child"
      local is_done = not in_phase and INSIDE[phase]
      steps[#steps + 1] = is_done and step or mutated(step, place_of(step, INSIDE[phase] or phase))
    end
    made.steps = steps
    return made
  end
end

local function wrap_plan(plan)
  wrap_maker(plan, "new")
  wrap_maker(plan, "of_recipes")
end

local function wrap_explain(Container)
  local explain = Container.explain
  function Container:explain()
    is_shown = true
    local ok, text = pcall(explain, self)
    is_shown = false
    if not ok then error(text, 0) end
    return text
  end
end

-- Calls a function that makes plans of a kind.
local function making(kind, make, ...)
  where = kind
  local made = table.pack(pcall(make, ...))
  where = nil
  if not made[1] then error(made[2], 0) end
  return table.unpack(made, 2, made.n)
end

local function wrap_exec(exec)
  local start = exec.start
  function exec.start(...) return making("exec", start, ...) end
end

local function wrap_container(container)
  local plan_of, flags_of = container.plan, container.clone_flags
  wrap_explain(mutation.upvalue(container.is_container, "Container"))
  function container.plan(...) return making("start", plan_of, ...) end
  function container.clone_flags(new)
    local flags = flags_of(new)
    if is_shown then return flags end
    for name, value in pairs(mutation.sys) do
      if name:find "^CLONE_NEW" and flags & value ~= 0 then
        local what = ("clone: %s"):format(name)
        if mutation.is_recording then note_once(what, "") end
        if what == wanted then flags = flags & ~value end
      end
    end
    return flags
  end
end

-- What is done for a cgroup beside the plan. It counts for the containers that have one.
local besides = {}
local function beside(name, leave_out)
  local what = "cgroup, beside: " .. name
  besides[#besides + 1] = what
  if what == wanted then leave_out() end
end

local function note_besides()
  for _, what in ipairs(mutation.is_recording and besides or {}) do note_once(what, "") end
end

local function mark(list)
  for _, item in ipairs(list) do
    if type(item[1]) == "string" then of_cgroup[item] = true else mark(item) end
  end
end

local function wrap_limits(limits)
  for name, make in pairs(limits) do
    limits[name] = function(...)
      local steps = make(...)
      mark(steps)
      note_besides()
      return steps
    end
  end
end

local function wrap_process()
  beside("CLONE_INTO_CGROUP", function()
    local clone = mutation.sys.clone
    mutation.sys.clone = function(flags, program, options)
      if options then options.cgroup = nil end
      return clone(flags, program, options)
    end
  end)
end

local function nothing() end

local function wrap_own_cgroup(own_cgroup)
  local Cgroup = mutation.upvalue(own_cgroup.new, "Cgroup")
  for name, of in pairs { sweep = own_cgroup.new, remove_below = mutation.upvalue(Cgroup.remove, "remove") } do
    local _, place = mutation.upvalue(of, name)
    beside(name, function() debug.setupvalue(of, place, nothing) end)
  end
  for _, name in ipairs { "remove", "kill", "is_frozen" } do
    beside("Cgroup:" .. name, function() Cgroup[name] = nothing end)
  end
end

local WRAP = {
  ["casulo.plan"] = wrap_plan, ["casulo.container"] = wrap_container, ["casulo.exec"] = wrap_exec, ["casulo.process"] = wrap_process,
  ["casulo.own_cgroup"] = wrap_own_cgroup, ["casulo.recipes.limits"] = wrap_limits,
}

for name, wrap in pairs(WRAP) do
  package.preload[name] = function()
    local path = assert(package.searchpath(name, package.path))
    local module = assert(loadfile(path))(name, path)
    package.loaded[name] = module
    mutation.sys, mutation.explain = require "casulo.sys", require "casulo.explain"
    wrap(module)
    return module
  end
end

package.loaded["mutate.mutation"] = mutation
package.preload["mutate.filter_changes"] = function()
  return dofile((debug.getinfo(1, "S").source:match "^@(.*)mutation%.lua$") .. "filter_changes.lua")
end
return mutation
