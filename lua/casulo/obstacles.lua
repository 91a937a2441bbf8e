-- SPDX-License-Identifier: MIT

--- What keeps containers from running: the words that `casulo doctor` and the error of a run have for it.
--
-- An obstacle is a table: `what`, one sentence, and `cure`, the command that clears it away, mostly root's to run, or else what to
-- do; where nothing is known to help there is none. `host` is what `casulo.surroundings` tells.
-- @module casulo.obstacles

local sys = require "casulo.sys"

local obstacles = {}

local CAP_SYS_ADMIN = 21
local OLDEST = { 5, 12 } -- mount_setattr

-- What is around casulo may be a container of its own.
local NESTING = "; nesting = true, in the description of one of casulo's"
local UNCONFINED = "docker run --security-opt seccomp=unconfined, or what does the same for the container around casulo" .. NESTING

--- An obstacle.
-- @tparam ?string cure
-- @tparam string what a format
-- @param ... its values
-- @treturn table
function obstacles.new(cure, what, ...) return { what = what:format(...), cure = cure } end
local obstacle = obstacles.new

--- An obstacle as one sentence.
-- @tparam table|string|nil found a string is no obstacle, but words of another kind
-- @treturn ?string
function obstacles.line(found)
  if type(found) ~= "table" then return found end
  return found.cure and ("%s; cure: %s"):format(found.what, found.cure) or found.what
end

--- Whether the caller may do in its user namespace what root of a host may.
-- @tparam table host
-- @treturn boolean
function obstacles.is_privileged(host)
  local effective = host.status.CapEff
  if not effective then return host.uid == 0 end -- no /proc
  return effective & 1 << CAP_SYS_ADMIN ~= 0
end

--- Whether the kernel is as old as one that cannot run containers.
-- @tparam table host
-- @treturn boolean
function obstacles.is_old(host)
  local major, minor = host.release:match "^(%d+)%.(%d+)"
  major, minor = math.tointeger(tonumber(major)), math.tointeger(tonumber(minor))
  return major < OLDEST[1] or (major == OLDEST[1] and minor < OLDEST[2])
end

--- A system call that is not there.
-- @tparam string call
-- @tparam table host
-- @treturn table
function obstacles.missing(call, host)
  if obstacles.is_old(host) then
    return obstacle("boot a later kernel; Debian 12 has 6.1", "this is Linux %s, and casulo needs Linux %d.%d or later",
      host.release, OLDEST[1], OLDEST[2])
  end
  return obstacle(UNCONFINED,
    "Linux 5.12 and later have %s, which a seccomp filter hides here", call)
end

--- A system call that a filter refuses.
-- @tparam string call
-- @treturn table
function obstacles.filtered(call)
  return obstacle(UNCONFINED,
    "the seccomp filter around casulo, or a security module, refuses %s", call)
end

--- A root that is no mount point.
-- @treturn table
function obstacles.chroot()
  return obstacle("start it outside", "/ is no mount point here: casulo runs in a chroot, which pivot_root cannot leave "
    .. "and in which no user namespace can be made")
end

--- A caller without the rights of root, where it is to do without a user namespace.
-- @tparam table host
-- @treturn table
function obstacles.unprivileged(host)
  if host.uid ~= 0 then
    return obstacle(nil, 'new namespaces and mounts need root (sudo), or a user namespace among the new ones ("user")')
  end
  return obstacle('docker run --cap-add SYS_ADMIN, or "user" among the new namespaces',
    "this root lacks CAP_SYS_ADMIN, as in a container, and new namespaces and mounts need it")
end

-- The settings of a host that keep its users from making user namespaces: the value that does, one that does not, what the kernel
-- says then, whether root is spared.
local USER_NAMESPACES = {
  { "user.max_user_namespaces", 0, 15000, { [sys.ENOSPC] = true }, false, "no user namespace can be made" },
  { "kernel.unprivileged_userns_clone", 0, 1, { [sys.EPERM] = true }, true, "only root makes user namespaces" },
  { "kernel.apparmor_restrict_unprivileged_userns", 1, 0, { [sys.EPERM] = true, [sys.EACCES] = true }, true,
    "AppArmor leaves a program without a profile for it no rights in a user namespace" },
}

--- A setting of the host because of which a user namespace is refused, or is of no use.
-- @tparam integer errno
-- @tparam table host
-- @treturn ?table
function obstacles.user_namespace_setting(errno, host)
  for _, setting in ipairs(USER_NAMESPACES) do
    local name, forbids, allows, errnos, spares_root, means = table.unpack(setting)
    if errnos[errno] and host.sysctls[name] == forbids and not (spares_root and obstacles.is_privileged(host)) then
      return obstacle(("sysctl -w %s=%d"):format(name, allows), "sysctl %s is %d: %s", name, forbids, means)
    end
  end
end

-- What clone(2) calls each kind of namespace, and the sysctl that limits their number.
local LIMITS = {
  { "CLONE_NEWUSER", "user.max_user_namespaces" }, { "CLONE_NEWPID", "user.max_pid_namespaces" },
  { "CLONE_NEWNS", "user.max_mnt_namespaces" }, { "CLONE_NEWUTS", "user.max_uts_namespaces" },
  { "CLONE_NEWIPC", "user.max_ipc_namespaces" }, { "CLONE_NEWNET", "user.max_net_namespaces" },
  { "CLONE_NEWCGROUP", "user.max_cgroup_namespaces" }, { "CLONE_NEWTIME", "user.max_time_namespaces" },
}

--- A limit of namespaces that is reached.
-- @tparam integer flags of the clone(2) that was refused
-- @tparam table host
-- @treturn table
function obstacles.limit(flags, host)
  for _, limit in ipairs(LIMITS) do
    local flag, name = table.unpack(limit)
    if flags & sys[flag] ~= 0 and host.sysctls[name] == 0 then
      return obstacle(("sysctl -w %s=15000"):format(name), "sysctl %s is 0: no namespace of this kind can be made", name)
    end
  end
  return obstacle(nil, "a limit of namespaces is reached: see the sysctls user.max_*_namespaces, and 32 levels at most")
end

--- A file system of the kernel that a user namespace may not mount.
-- @tparam string kind "proc" or "sys"
-- @tparam table host
-- @treturn table
function obstacles.covered(kind, host)
  local places = table.concat(host.covered[kind], " ")
  local unconfined = "docker run --security-opt systempaths=unconfined, or what does the same for the container around casulo" .. NESTING
  local cure = host.is_inner and unconfined or places ~= "" and "umount " .. places or nil
  return obstacle(cure, "the kernel lets a user namespace mount a /%s only while a whole one is in sight, %s", kind,
    places ~= "" and "and here something is mounted on " .. places or "and there is none here")
end

--- A directory that the caller may not pass on the way to a place.
-- @tparam string path
-- @treturn ?table nil where each lets it through, as far as can be seen
-- @see path_resolution(7)
function obstacles.unreachable(path)
  for stop in path:gmatch "[^/]()/" do
    local directory = path:sub(1, stop - 1)
    local _, _, errno = sys.stat(directory .. "/.")
    if errno == sys.EACCES then
      local found = sys.stat(directory)
      if not found then return nil end
      return obstacle(("chmod o+x %s, or another place"):format(directory),
        "the caller, uid %d, may not pass %s, whose owner is uid %d and whose mode is %04o", sys.geteuid(), directory, found.uid, found.mode & 4095)
    end
  end
end

--- A /proc that is not there.
-- @treturn table
function obstacles.no_proc() return obstacle("mount -t proc proc /proc", "there is no /proc here that shows this process, which casulo needs") end

--- A caller that is no longer its user's own.
-- @treturn table
function obstacles.not_dumpable()
  return obstacle(nil, "the caller is not dumpable (PR_SET_DUMPABLE, or it has changed its ids), so the kernel keeps its id maps from it")
end

--- A file in memory that may not be executed.
-- @tparam table host
-- @treturn table
function obstacles.memory(host)
  if host.sysctls["vm.memfd_noexec"] == 2 then
    return obstacle("sysctl -w vm.memfd_noexec=1", "casulo-init is executed from memory, which sysctl vm.memfd_noexec = 2 forbids")
  end
  return obstacle(nil, "casulo-init is executed from memory, which a security module or a filter of this host forbids")
end

--- Why newuidmap gives a caller without an account nothing, whatever the files say.
obstacles.NO_ACCOUNT = "it goes by names, and /etc/passwd has none for this uid"

--- A user without subordinate ids.
-- @tparam string kind "uid" or "gid"
-- @tparam table host
-- @treturn table
function obstacles.no_subordinate(kind, host)
  local first = host["sub" .. kind].free
  if host.login == ("%d"):format(host.uid) then -- which usermod does not know, either
    return obstacle(nil, "/etc/sub%s gives %s no ids: %s", kind, host.login, obstacles.NO_ACCOUNT)
  end
  return obstacle(("usermod --add-sub%ss %d-%d %s"):format(kind, first, first + 65535, host.login), "/etc/sub%s gives %s no ids", kind, host.login)
end

local function nosuid_directory(name)
  for directory in (os.getenv "PATH" or "/usr/bin:/bin"):gmatch "[^:]+" do
    local path = ("%s/%s"):format(directory, name)
    local system = sys.stat(path) and sys.statfs(path)
    if system then return system.flags & sys.MS_NOSUID ~= 0 and directory end -- ST_NOSUID has the same value
  end
end

-- What newuidmap and newgidmap say → the obstacle.
local HELPERS = {
  ["Cannot determine your user name"] = function() return obstacle(nil, obstacles.NO_ACCOUNT) end,
  ["owned by a different user"] = function()
    return obstacle(nil, "the caller's ids are not those of its entry in /etc/passwd, as after newgrp")
  end,
  ["not allowed"] = function(name) return obstacle(nil, "no line of /etc/sub%sid gives the caller these ids", name:match "new([ug])idmap") end,
  ["Operation not permitted"] = function(name, host)
    if host.status.NoNewPrivs == 1 then return obstacle(nil, "the caller has set no_new_privs: setuid programs get no rights from it") end
    local directory = nosuid_directory(name)
    if directory then return obstacle("mount -o remount,suid " .. directory, "%s lacks the rights: its file system is mounted nosuid", name) end
    return obstacle(("chmod u+s $(command -v %s)"):format(name), "%s lacks the rights: it is not setuid", name)
  end,
}

--- A program of the package uidmap that did not map the ids.
-- @tparam string name newuidmap or newgidmap
-- @tparam integer errno of its execution; 0 where it ran
-- @tparam string said what it wrote
-- @tparam table host
-- @treturn ?table
function obstacles.helper(name, errno, said, host)
  if errno == sys.ENOENT then return obstacle("apt-get install uidmap", "%s is not installed", name) end
  for text, found in pairs(HELPERS) do
    if said:find(text, 1, true) then return found(name, host) end
  end
end

local VERSION_2 = "boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"

-- Where systemd knows DelegateSubgroup (since 254), the processes of the service stand in a cgroup below its own.
local SERVICE = "mkdir -p /etc/systemd/system/%s.d && printf '[Service]\\nDelegate=yes\\nDelegateSubgroup=main\\n' "
  .. ">/etc/systemd/system/%s.d/delegate.conf && systemctl daemon-reload && systemctl restart %s"

local function delegate(own, host)
  if host.uid == 0 then return "mount -o remount,rw " .. own.top end
  local service = host.has_systemd and own.path:find("/system.slice/", 1, true) and own.path:match "[^/]+%.service$"
  if service then return SERVICE:format(service, service, service) end
  if host.has_systemd then return "systemd-run --user --scope -p Delegate=yes casulo …" end
  local path = ("%s/%s"):format(own.path, host.login)
  return ("mkdir -p %s/shell && chown -R %s %s && echo $$ >%s/shell/cgroup.procs"):format(path, host.login, path, path)
end

-- Those that stand in the way to the others beside them.
local function vacate(path)
  return ("mkdir %s/main && for pid in $(cat %s/cgroup.procs); do echo $pid >%s/main/cgroup.procs; done"):format(path, path, path)
end

local function forbidden(own, parent, host)
  local refusal = own.refusal and (" (%s)"):format(own.refusal) or ""
  if parent then
    return obstacle(("chown -R %s %s"):format(host.login, own.place), "cgroup_parent: the cgroup %s is not the caller's to divide%s",
      own.place, refusal)
  end
  return obstacle(delegate(own, host), "the caller's cgroup, %s, is not its own to divide%s", own.path, refusal)
end

--- A place where the caller cannot make a cgroup for a container.
-- @tparam table own of `casulo.cgroup.own`
-- @tparam ?string parent the one that was asked for
-- @tparam table host
-- @treturn ?table nil where it can
function obstacles.cgroup(own, parent, host)
  if obstacles.is_old(host) then return obstacles.missing(nil, host) end -- which no other cure would help
  if own.layout == nil then return obstacle("mount -t cgroup2 cgroup2 /sys/fs/cgroup", "no cgroups are mounted") end
  if own.layout == "1" then return obstacle(VERSION_2, "cgroups are those of version 1, and limits need version 2") end
  if not own.path then return obstacle(nil, "the caller's cgroup is out of sight") end
  if own.stands == "missing" then return obstacle("mkdir " .. own.place, "cgroup_parent: there is no cgroup %s", own.place) end
  if own.stands == "threaded" then return obstacle("choose another one by cgroup_parent", "the cgroup %s is threaded", own.place) end
  if own.stands == "forbidden" then return forbidden(own, parent, host) end
  if own.border then
    return obstacle(("start casulo in %s/main, or in another one there"):format(own.place),
      "cgroup_parent: nobody starts a process in %s who may not write to %s/cgroup.procs", own.place, own.border)
  end
end

-- What a user's systemd may pass on, its unit says.
local SESSION = "mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' "
  .. ">/etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload; then log in again"

local function no_controller(name, own)
  if own.version1[name] then return obstacle(VERSION_2, "the controller %s is in cgroups of version 1, and limits need it in version 2", name) end
  local above = own.withheld[name]
  if above then
    local is_session = own.place:find "/user@%d+%.service" and not above:find "/user@"
    return obstacle(is_session and SESSION or ("echo +%s >%s/cgroup.subtree_control"):format(name, above),
      "the cgroup %s lacks the controller %s, which %s does not pass on", own.place, name, above)
  end
  return obstacle("boot a kernel that has it; some have memory only with cgroup_enable=memory", "this kernel has no cgroup controller %s", name)
end

--- A place that cannot give controllers to the cgroups in it.
-- @tparam table own of `casulo.cgroup.own`
-- @tparam {string,...} needed
-- @treturn ?table nil where it can
function obstacles.controllers(own, needed)
  for _, name in ipairs(needed) do
    if not (own.passed_on and own.passed_on[name]) and own.stands == "busy" then
      return obstacle(vacate(own.place), "the cgroup %s has processes of its own, and the kernel lets none have those beside cgroups with limits",
        own.place)
    end
    if not own.has[name] then return no_controller(name, own) end
  end
end

return obstacles
