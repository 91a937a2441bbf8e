-- SPDX-License-Identifier: MIT

--- What to do about a failure, where casulo can know.
-- @module casulo.hint

local sys = require "casulo.sys"

local function sysctl(name)
  local file <close> = io.open("/proc/sys/" .. name:gsub("%.", "/"))
  return file and file:read "n"
end

-- The settings of a host that keep its users from making user namespaces, and the value that does.
local USER_NAMESPACES = {
  { "kernel.unprivileged_userns_clone", 0, 1 },
  { "user.max_user_namespaces", 0, 15000 },
  { "kernel.apparmor_restrict_unprivileged_userns", 1, 0 },
}

local function user_namespace_setting()
  for _, setting in ipairs(USER_NAMESPACES) do
    local name, forbids, allows = table.unpack(setting)
    if sysctl(name) == forbids then
      return ("this host lets its users make no user namespaces: sysctl %s is %d; root can set it: sysctl -w %s=%d"):format(
        name, forbids, name, allows)
    end
  end
end

local LIMITS = {
  { "CLONE_NEWUSER", "user.max_user_namespaces" }, { "CLONE_NEWPID", "user.max_pid_namespaces" },
  { "CLONE_NEWNS", "user.max_mnt_namespaces" }, { "CLONE_NEWUTS", "user.max_uts_namespaces" },
  { "CLONE_NEWIPC", "user.max_ipc_namespaces" }, { "CLONE_NEWNET", "user.max_net_namespaces" },
  { "CLONE_NEWCGROUP", "user.max_cgroup_namespaces" },
}

local function at_clone(err)
  local flags = err.args[1]
  if err.errno == sys.ENOSYS then return "this needs clone3, Linux 5.12 or later, and no seccomp filter that hides it" end
  if flags & sys.CLONE_NEWUSER ~= 0 and (err.errno == sys.EPERM or err.errno == sys.EACCES or err.errno == sys.ENOSPC) then
    local setting = user_namespace_setting()
    if setting then return setting end
  end
  if err.errno == sys.ENOSPC or err.errno == sys.EUSERS then
    for _, limit in ipairs(LIMITS) do
      if flags & sys[limit[1]] ~= 0 and sysctl(limit[2]) == 0 then return ("sysctl %s is 0"):format(limit[2]) end
    end
    return "a limit of namespaces is reached: see the sysctls user.max_*_namespaces, and 32 levels at most"
  end
  if err.errno == sys.EPERM and flags & sys.CLONE_NEWUSER == 0 then
    return 'new namespaces need root (sudo), or a user namespace among them ("user")'
  end
  if err.errno == sys.EPERM then return "a process in a chroot, or under a filter of its container, may make no user namespace" end
  if err.errno == sys.EAGAIN then return "too many processes: see ulimit -u, pids.max of the cgroup and sysctl kernel.pid_max" end
end

local NOT_A_MOUNT = "/ is no mount point here: casulo runs in a chroot, which pivot_root cannot leave; start it outside"
local NEEDS_5_12 = "this needs Linux 5.12 or later"

local CALLS = {}
function CALLS.open_tree(err)
  local is_root, path = err.step.as == "root", err.args[2]
  if err.errno == sys.ENOENT then
    local from = path:sub(1, 1) ~= "/" and (" from where casulo was started, %s"):format(sys.readlink "/proc/self/cwd") or ""
    return is_root and ("rootfs: there is no such directory%s; casulo rootfs busybox DIR makes one"):format(from)
      or ("there is no %s on this host%s"):format(path, from)
  end
  if err.errno == sys.ENOTDIR then return is_root and "rootfs: expected a directory" or nil end
  if err.errno == sys.EACCES then return "the caller may not reach it" end
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
function CALLS.mount(err)
  if err.errno == sys.EINVAL and err.args[2] == "/" then return NOT_A_MOUNT end
  if err.errno == sys.EPERM then return 'mounting needs root (sudo), or a user namespace ("user")' end
end
function CALLS.pivot_root(err) return err.errno == sys.EINVAL and NOT_A_MOUNT or nil end
function CALLS.mkdirat(err)
  if err.errno == sys.EROFS then return "the tree is read-only: make this directory in it first, to mount on" end
  if err.errno == sys.EACCES then return "the tree lacks this place to mount on, and is not the caller's to change" end
end
CALLS.mknodat = CALLS.mkdirat
function CALLS.move_mount(err)
  if err.errno == sys.ENOTDIR or (err.errno == sys.EINVAL and err.step.as == nil and err.args[4] ~= "/") then
    return "a directory goes on a directory, a file on a file"
  end
end
function CALLS.openat(err)
  if err.errno == sys.EACCES and tostring(err.args[2]):find "^/proc/self/" then
    return "the caller is not dumpable (PR_SET_DUMPABLE, or it has changed its ids), so the kernel keeps its id maps from it"
  end
end
function CALLS.chdir(err)
  if err.errno == sys.ENOENT then return "there is no such directory where this process is: in the container, for cwd" end
end
function CALLS.execve(err)
  local name = err.args[2][1]
  if err.errno == sys.ENOENT and name and not name:find "/" then
    return ("no directory of PATH has %s in the container, or the interpreter that it names is missing there"):format(name)
  end
  if err.errno == sys.ENOENT then return "no such file in the container, or the interpreter that it names is missing there" end
  if err.errno == sys.EACCES then return "it lacks the right to execute, is no file, or its file system is mounted noexec" end
  if err.errno == sys.ENOEXEC then return "no program of this machine, nor a script that begins with #!" end
end
function CALLS.setresuid(err)
  if err.errno == sys.EINVAL then return "this id stands for nobody outside (uid_map)" end
end
function CALLS.memfd_create(err)
  if err.errno ~= sys.EACCES and err.errno ~= sys.EPERM then return nil end
  if sysctl "vm.memfd_noexec" == 2 then
    return "casulo-init is executed from memory, which sysctl vm.memfd_noexec = 2 forbids; root can set it: sysctl -w vm.memfd_noexec=1"
  end
  return "casulo-init is executed from memory, which a security module or a filter of this host forbids"
end
CALLS.fexecve = CALLS.memfd_create

function CALLS.write(err)
  local file = err.args[1]
  if err.errno == sys.EPERM and type(file) == "table" and (file.ref == "uid_map" or file.ref == "gid_map") then
    return "the caller lacks CAP_SETUID or CAP_SETGID, or these ids in its own user namespace"
  end
end

-- What newuidmap and newgidmap say → what to do about it.
local SPAWNED = {
  ["Cannot determine your user name"] = function() return "it goes by names, and /etc/passwd has none for this uid" end,
  ["owned by a different user"] = function() return "the caller's ids are not those of its entry in /etc/passwd, as after newgrp" end,
  ["not allowed"] = function(name) return ("no line of /etc/sub%sid gives the caller these ids"):format(name:match "new([ug])idmap") end,
  ["Operation not permitted"] = function(name)
    if sys.prctl(sys.PR_GET_NO_NEW_PRIVS) == 1 then return "the caller has set no_new_privs: setuid programs get no rights from it" end
    return ("it lacks the rights: chmod u+s $(command -v %s), on a file system that is not mounted nosuid"):format(name)
  end,
}

function CALLS.spawn(err)
  local name = err.args[1][1]
  if err.errno == sys.ENOENT then return ("%s is not installed: apt-get install uidmap"):format(name) end
  for said, cure in pairs(SPAWNED) do
    if err.reason:find(said, 1, true) then return cure(name) end
  end
end

--- The hint for an error.
-- @tparam table err what `casulo.failure` makes
-- @treturn ?string
return function(err)
  if err.call == "clone" then return at_clone(err) end
  if err.errno == sys.ENOSYS then return NEEDS_5_12 end
  if type(err.step) ~= "table" then return nil end
  return CALLS[err.call] and CALLS[err.call](err)
end
