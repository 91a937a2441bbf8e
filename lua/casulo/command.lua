-- SPDX-License-Identifier: MIT

--- The command in a container: its environment, whose rights it has, how it is executed. The container's first one and
-- those that come later go the same way.
-- @module casulo.command

local capabilities = require "casulo.capabilities"
local life = require "casulo.recipes.life"
local privileges = require "casulo.recipes.privileges"
local seccomp = require "casulo.recipes.seccomp"
local sys = require "casulo.sys"

local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

local command = {}

--- The variables that a description gives, and those that it passes on from the caller.
-- @tparam table checked of `casulo.description`
-- @treturn table
function command.given_env(checked)
  local env = {}
  for _, name in ipairs(checked.inherit_env or {}) do env[name] = os.getenv(name) end
  for name, value in pairs(checked.env) do env[name] = value end
  return env
end

--- Variables as execve takes them.
-- @tparam table env
-- @treturn {string,...} `NAME=value`, sorted
function command.env_list(env)
  local list = {}
  for name, value in pairs(env) do list[#list + 1] = ("%s=%s"):format(name, value) end
  table.sort(list)
  return list
end

local function environment(checked, host)
  local user = checked.user and checked.user.uid or 0
  local env = { PATH = PATH, HOME = user == 0 and "/root" or "/", TERM = host.term }
  for name, value in pairs(command.given_env(checked)) do env[name] = value end
  return env
end

-- Where the kernel denies setgroups, a user namespace inside denies it, too.
local function user_steps(checked, host, rearm)
  local user, denied = checked.user, checked.denies_setgroups or not host.may_setgroups
  if not user then
    if denied then return {} end
    return { { "setgroups", {}, why = "none of the caller's supplementary groups" } }
  end
  local groups = user.groups or not denied and {} or nil
  return { require "casulo.recipes.users".become({ uid = user.uid, gid = user.gid, groups = groups }), rearm }
end

--- The steps to the first ids of the maps that another process wrote.
-- @tparam table checked of `casulo.description`
-- @tparam table rearm steps that ask again to die with another process: the kernel forgets it when the ids change
-- @treturn table steps
function command.become_root(checked, rearm)
  if not checked.new.user or checked.own_maps then return {} end
  local idmap = require "casulo.idmap"
  local first = { uid = idmap.first(checked.uid_map), gid = idmap.first(checked.gid_map) }
  return {
    require "casulo.recipes.users".become(first,
      "root inside from here on: before, this process could still read what only its caller may; "
        .. "from here, new files get owners that the maps know"),
    rearm,
  }
end

--- The filter of system calls for a container.
-- @tparam table checked `seccomp`: false, or a list of rules; `capabilities` and what goes with them
-- @treturn string|boolean of struct sock_filter; false for none
function command.filter(checked)
  if checked.seccomp == false then return false end
  local held, rules = capabilities.of(checked), checked.seccomp or {}
  local is_default = held & ~capabilities.set(capabilities.DEFAULT) == 0 and next(rules) == nil
  if is_default then return require "casulo.default_filter"[sys.AUDIT_ARCH_NATIVE] end
  return require "casulo.policy".filter(sys.AUDIT_ARCH_NATIVE, capabilities.names(held), rules)
end

--- The step that filters system calls.
-- @tparam table checked `filter`, of `filter`
-- @treturn table steps
function command.filtered(checked) return checked.filter and seccomp.filter(checked.filter) or {} end

local EXACTLY = "exactly these capabilities are left, and to no program are any passed on that were not asked for"

--- The steps to what the command may do and where it stands. All of it is set, and nothing of the caller's rights inherited.
-- @tparam table checked of `casulo.description`
-- @tparam table host facts
-- @tparam table rearm steps that ask again to die with another process: the kernel forgets it when the ids change
-- @tparam[opt] integer bounding the capabilities that can be had, a bit each; all that the kernel knows
-- @treturn table steps up to the ids of its user, and to all that another user than root loses by executing a program
-- @treturn table the further ones. Root has its capabilities until then: without them, an equal of it could trace this process while
--   it shares its caller's memory
-- @see capabilities(7), ptrace(2)
function command.rights(checked, host, rearm, bounding)
  bounding = bounding or capabilities.all(host)
  local set, is_root = capabilities.of(checked)
  set = set & bounding
  local bound, last = privileges.bound(capabilities.bounding(checked), bounding), checked.no_new_privs and privileges.no_new_privs() or {}
  local place = { life.cwd(checked.cwd), checked.umask ~= 18 and life.umask(checked.umask) or {} }
  if is_root then -- to whom its bounding set gives them again when it executes the command
    return user_steps(checked, host, rearm), { bound, privileges.have(set, 0, EXACTLY), last, place }
  end
  return {
    bound,
    set ~= 0 and privileges.keep() or {},
    user_steps(checked, host, rearm),
    privileges.have(set, set, EXACTLY),
    set ~= 0 and privileges.pass_on(set) or {},
    last,
  }, place
end

-- What holds for the command, and not for a casulo-init that starts it. The limits come last of all: with the memory, the caller
-- may share what they are about, and they hold from the next call on.
local function restrictions(checked, host)
  local steps = {}
  if checked.landlock then
    local landlock = require "casulo.recipes.landlock".restrict(checked.landlock, host.landlock_abi)
    if landlock[1] then steps = { checked.no_new_privs and {} or privileges.no_new_privs(), landlock } end
  end
  if checked.rlimits then steps[#steps + 1] = require "casulo.recipes.rlimits".set(checked.rlimits) end
  return steps
end

--- Raises the hard limits that are to be above the caller's, which takes the caller's rights.
-- @tparam table checked of `casulo.description`
-- @treturn table steps
function command.raise_limits(checked)
  if not checked.raised_limits or not next(checked.raised_limits) then return {} end
  return require "casulo.recipes.rlimits".set(checked.raised_limits, "a limit above the caller's is raised before any right to that is given up")
end

--- The steps that make this process the command.
-- @tparam table checked
-- @tparam table host
-- @treturn table steps
function command.exec(checked, host)
  local env = environment(checked, host)
  return { restrictions(checked, host), life.unblock(), life.exec(checked.command, command.env_list(env), env.PATH) }
end

return command
