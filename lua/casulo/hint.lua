-- SPDX-License-Identifier: MIT

--- What to do about a failure, where casulo can know.
-- @module casulo.hint

local obstacles = require "casulo.obstacles"
local sys = require "casulo.sys"

local hint = {}

local function is_refused(err) return err.errno == sys.EPERM or err.errno == sys.EACCES end

-- What else than missing rights may make the kernel refuse a call in a user namespace, and outside of one to root.
local function refused(err, host)
  if not is_refused(err) then return nil end
  return obstacles.user_namespace_setting(err.errno, host) or host.status.Seccomp == 2 and obstacles.filtered(err.call) or nil
end

local function at_clone(err, host)
  local flags = err.args[1]
  local is_user = flags & sys.CLONE_NEWUSER ~= 0
  if err.errno == sys.ENOSYS then return obstacles.missing("clone3", host) end
  if is_user then
    local setting = obstacles.user_namespace_setting(err.errno, host)
    if setting then return setting end
  end
  if err.errno == sys.ENOSPC or err.errno == sys.EUSERS then return obstacles.limit(flags, host) end
  if is_refused(err) and is_user and host.is_chroot then return obstacles.chroot() end
  if err.errno == sys.EPERM and not is_user and not obstacles.is_privileged(host) then return obstacles.unprivileged(host) end
  if is_refused(err) and host.status.Seccomp == 2 then return obstacles.filtered "clone3" end
  if is_refused(err) then return "a process in a chroot, or under a filter of its container, may make no user namespace" end
  if err.errno == sys.EAGAIN then return "too many processes: see ulimit -u, pids.max of the cgroup and sysctl kernel.pid_max" end
end

-- What the plan calls the first argument, where that is the result of another step.
local function value_name(err) return type(err.args[1]) == "table" and err.args[1].ref end

local CALLS = {}
function CALLS.open_tree(err)
  local is_root, path = err.step.as == "root", err.args[2]
  if err.errno == sys.ENOENT then
    local from = path:sub(1, 1) ~= "/" and (" from where casulo was started, %s"):format(sys.readlink "/proc/self/cwd") or ""
    return is_root and ("rootfs: there is no such directory%s; casulo rootfs busybox DIR makes one"):format(from)
      or ("there is no %s on this host%s"):format(path, from)
  end
  if err.errno == sys.ENOTDIR then return is_root and "rootfs: expected a directory" or nil end
  if err.errno == sys.EACCES then return obstacles.unreachable(path) or "the caller may not reach it" end
  if err.errno == sys.EINVAL and err.args[3] & sys.AT_RECURSIVE == 0 then
    return "something is mounted below it, which a user namespace may not uncover: it can be bound recursively only, and be no layer of an overlay"
  end
end

-- What the file system of a path is called, by the device that both have.
local function filesystem_of(path)
  local found = sys.stat(path)
  if not found then return "its file system" end
  local device = ("%d:%d"):format(found.dev >> 8 & 0xfff, found.dev & 0xff | found.dev >> 12 & ~0xff)
  for line in io.lines "/proc/self/mountinfo" do
    local type = line:match(("^%%d+ %%d+ %s .* %%- (%%S+)"):format(device))
    if type then return type end
  end
  return "its file system"
end

function CALLS.mount_setattr(err)
  local source = type(err.args[4]) == "table" and err.args[4].source
  if not source then return nil end
  if err.errno == sys.EINVAL then
    return ("idmap: %s, or what is mounted below it (recursive = false leaves that out), is of a file system whose owners cannot be mapped: %s")
      :format(source, filesystem_of(source))
  end
  if err.errno == sys.EPERM then return "idmap: only root of the user namespace in which a file system was mounted may map its owners" end
end
function CALLS.fsopen(err)
  if err.errno == sys.ENODEV then return ("the kernel has no %s, or only root can load it: modprobe %s"):format(err.args[1], err.args[1]) end
end
function CALLS.fsconfig(err)
  local key = err.args[3]
  if err.errno == sys.ENOENT and (key == nil or key == "upperdir" or key == "workdir") then return "upper or work: there is no such directory" end
  if err.errno == sys.ELOOP then return "a directory of the overlay is there twice, or lies in another of them" end
  if err.errno == sys.EINVAL and key == nil then
    return "an overlay wants as upper and work two directories of one file system, neither in the other, which knows extended attributes"
  end
end
function CALLS.mount(err, host)
  if err.errno == sys.EINVAL and err.args[2] == "/" then return obstacles.chroot() end
  return refused(err, host) or err.errno == sys.EPERM and obstacles.unprivileged(host) or nil
end
function CALLS.pivot_root(err, host) return err.errno == sys.EINVAL and obstacles.chroot() or refused(err, host) end

-- The steps call the context of a file system after it, or after the place where it goes.
function CALLS.fsmount(err, host)
  local context = err.errno == sys.EPERM and value_name(err) or ""
  for _, kind in ipairs { "proc", "sys" } do
    if context:find(kind, 1, true) then return obstacles.covered(kind, host) end
  end
  return refused(err, host)
end
function CALLS.mkdirat(err)
  if err.errno == sys.ENOTDIR then return "what lies above this place to mount on is no directory" end
  if err.errno == sys.EROFS then return "the tree is read-only: make this directory in it first, to mount on" end
  if err.errno == sys.EACCES then return "the tree lacks this place to mount on, and is not the caller's to change" end
end
CALLS.mknodat = CALLS.mkdirat
function CALLS.symlinkat(err)
  if err.errno == sys.ENOTDIR then return "what lies above this link is no directory" end
end
function CALLS.move_mount(err)
  if err.errno ~= sys.ENOTDIR and (err.errno ~= sys.EINVAL or err.step.as ~= nil or err.args[4] == "/") then return nil end
  local place = type(err.args[3]) == "table" and tostring(err.args[3].ref):match "^place of (.*)"
  if place then return ("masked: a directory is written with a slash at its end, a file without: %s is of the other kind"):format(place) end
  return "a directory goes on a directory, a file on a file"
end
function CALLS.openat(err)
  if err.step.phase == "before" and value_name(err) == "cgroup" and err.errno == sys.ENOENT then
    return "limits: the cgroups of this kernel, or of this host, have no such file"
  end
  if not tostring(err.args[2]):find "^/proc/self/" then return nil end
  return err.errno == sys.EACCES and obstacles.not_dumpable() or err.errno == sys.ENOENT and obstacles.no_proc() or nil
end

function CALLS.chdir(err)
  if err.errno == sys.ENOENT then return "there is no such directory where this process is: in the container, for cwd" end
  if err.errno == sys.ENOTDIR then return "cwd: that is no directory" end
  if err.errno == sys.EACCES then return "cwd: the user of the command may not enter it" end
end
function CALLS.fchdir(err)
  local into = value_name(err)
  if into == "root" and err.errno == sys.EACCES then return "rootfs: the caller may not enter it: its mode keeps the caller out" end
  return into == "working directory" and CALLS.chdir(err) or nil
end

-- The steps to a namespace call its file so, and the kinds are those of the description.
local function joined(err) return tostring(err.step.as or value_name(err)):match "^(%w+) namespace$" end
function CALLS.open(err)
  local kind = joined(err)
  if not kind then return nil end
  if err.errno == sys.ENOENT then return ("namespaces.%s: there is no such file, or the process that it belongs to has ended"):format(kind) end
  if err.errno == sys.EACCES then return ("namespaces.%s: to join it takes the right to trace the process that is in it"):format(kind) end
end
function CALLS.setns(err, host)
  if err.errno == sys.EINVAL and joined(err) then return ("namespaces.%s: that file is no namespace of this kind"):format(joined(err)) end
  return refused(err, host)
end
local NO_PLACE = "there is no such place in the container"
local AT_PLACE = { [sys.ENOENT] = NO_PLACE, [sys.ENOTDIR] = NO_PLACE, [sys.EACCES] = "the user of the command may not reach it" }
local PLACES = { ["^landlock "] = "landlock.paths", ["^place of "] = "masked, readonly_paths" }

-- The place of a mount, and the directories above it. They have been made where they were missing, as far as the names were not taken.
local function at_mount(err)
  local is_directory = string.unpack("=I8", err.args[3]) & sys.O_DIRECTORY ~= 0
  if err.errno == sys.ENOTDIR and is_directory then return "mounts: what is there already is no directory" end
  if err.errno == sys.ENOENT or err.errno == sys.ENOTDIR then return "mounts: that is a symbolic link, which leads nowhere in the container" end
end

function CALLS.openat2(err)
  local name = tostring(err.step.as)
  if err.errno == sys.ELOOP then return "too many links, or one of /proc to an open file or another root, which is never followed" end
  if name == "working directory" then return CALLS.chdir(err) end
  if name:find "^mount %d+ /" then return at_mount(err) end
  for pattern, field in pairs(PLACES) do
    if name:find(pattern) and AT_PLACE[err.errno] then return ("%s: %s"):format(field, AT_PLACE[err.errno]) end
  end
end
function CALLS.execve(err)
  local name = err.args[2][1]
  local fault = require "casulo.executable".fault(err.errno, err.args[1], err.found, err.is_restricted)
  if fault then return fault end
  if err.errno == sys.ENOENT and err.found and err.found.errno == sys.ENOENT then
    return name:find "/" and "no such file in the container" or ("no directory of PATH has %s in the container"):format(name)
  end
  if err.errno == sys.ENOENT and name and not name:find "/" then
    return ("no directory of PATH has %s in the container, or the interpreter that it names is missing there"):format(name)
  end
  if err.errno == sys.ENOENT then return "no such file in the container, or the interpreter that it names is missing there" end
  if err.errno == sys.EACCES and err.is_restricted then
    return "landlock.paths must let the command, and the interpreter that it names, be read and executed; and so must their modes"
  end
  if err.errno == sys.EACCES then return "it lacks the right to execute, is no file, or its file system is mounted noexec" end
  if err.errno == sys.ENOEXEC then return "no program of this machine, nor a script that begins with #!" end
end
function CALLS.landlock_add_rule(err)
  if err.errno == sys.EINVAL then return "landlock.paths: a file has none of these rights, which are a directory's" end
end
function CALLS.landlock_restrict_self(err)
  if err.errno == sys.E2BIG then return "the kernel keeps 16 sets of rules at most one inside another, and the caller's count" end
  if err.errno == sys.EPERM then return "this takes no_new_privs, or CAP_SYS_ADMIN" end
end
function CALLS.setrlimit(err, host)
  if err.errno ~= sys.EPERM then return nil end
  local most = err.args[1] == sys.RLIMIT_NOFILE and host.sysctls["fs.nr_open"]
  if most and (err.args[3] == sys.RLIM_INFINITY or err.args[3] > most) then
    return ("rlimits.nofile: sysctl fs.nr_open allows %d at most"):format(most)
  end
  return "rlimits: to raise a hard limit above the caller's takes CAP_SYS_RESOURCE outside of any user namespace"
end

function CALLS.setresuid(err)
  if err.errno == sys.EINVAL then return "this id stands for nobody outside (uid_map)" end
end
function CALLS.memfd_create(err, host) return is_refused(err) and obstacles.memory(host) or nil end
function CALLS.fexecve(err, host) return require "casulo.executable".fault(err.errno) or CALLS.memfd_create(err, host) end

function CALLS.write(err, host)
  local file = err.args[1]
  if err.errno == sys.EPERM and type(file) == "table" and (file.ref == "uid_map" or file.ref == "gid_map") then
    return obstacles.user_namespace_setting(err.errno, host)
      or "the caller lacks CAP_SETUID or CAP_SETGID, or these ids in its own user namespace"
  end
  if type(file) == "table" and file.ref:find("%l%.%w") and err.step.phase == "before" then return "limits: the kernel takes no such value" end
end

function CALLS.spawn(err, host) return type(err.args[1]) == "table" and obstacles.helper(err.args[1][1], err.errno, err.reason, host) or nil end

-- These, too, take the rights that a new user namespace gives.
local PRIVILEGED = {
  unshare = true, fsopen = true, fsconfig = true, mount_setattr = true, umount2 = true, sethostname = true, setns = true, seccomp = true,
  prctl = true,
}

-- What a call that failed tells by itself.
local function at_step(err, host)
  if type(err.step) ~= "table" then return nil end
  return CALLS[err.call] and CALLS[err.call](err, host) or PRIVILEGED[err.call] and refused(err, host) or nil
end

local RULES = "seccomp: the rules of the description may be the cause: once installed, they hold for casulo's own calls, too"
local OTHER_REASONS = { execve = true, openat2 = true, chdir = true, fchdir = true, setrlimit = true } -- for the kernel to refuse these

-- Whether a call failed as one does that the host is in the way of, after rules of the description's that may be so themselves.
local function by_rules(err)
  return err.is_ruled and (err.errno == sys.ENOSYS or is_refused(err) and not OTHER_REASONS[err.call])
end

--- What is in the way, where that is known.
-- @tparam table err what `casulo.failure` makes
-- @tparam table host facts, as of `casulo.surroundings`
-- @treturn table|string|nil what `casulo.obstacles` has for it, or a hint of another kind
function hint.obstacle(err, host)
  local found
  if err.errno == 0 and err.call ~= "spawn" then return nil end -- no reason of the kernel's: a wrong argument, say
  if by_rules(err) then return RULES end
  if err.call == "clone" then found = at_clone(err, host)
  elseif err.errno == sys.ENOSYS and err.call then found = obstacles.missing(err.call, host)
  else found = at_step(err, host) end
  return found or require "casulo.shortages"(err, host) or err.is_ruled and RULES or nil
end

--- The hint for an error.
-- @tparam table err what `casulo.failure` makes
-- @treturn ?string
function hint.text(err)
  local found = hint.obstacle(err, require "casulo.surroundings")
  if not found and is_refused(err) and PRIVILEGED[err.call] then return "casulo doctor looks for what is in the way" end
  return obstacles.line(found)
end

return hint
