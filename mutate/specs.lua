-- SPDX-License-Identifier: MIT

-- Which specs notice what, by a pattern for the mutation's name: the likely ones first, then some that try many kinds of containers.
local LIKELY = {
  { "working directory", "container hostile_command exec" }, { "everything is ready", "create" }, { "^start, born", "idmap ranges" },
  { "root context", "rootfs_kinds host_root" }, { "hidepid", "mounts" }, { "mount content", "mounts" }, { "a file of its own", "mounts" },
  { "symlinkat", "mounts container rootfs_kinds" },
  { "^start.*CAP_", "capabilities" }, { "^exec.*CAP", "capabilities exec" }, { "capset", "capabilities" }, { "NO_NEW_PRIVS", "capabilities" },
  { "KEEPCAPS", "capabilities" }, { "seccomp", "seccomp reach_kernel exec_attack" },
  { "device ", "container masks mounts" }, { "null", "masks" },
  { "copy of", "masks reach_kernel" }, { "cover of", "masks reach_kernel" },
  { "^start.*signal", "inherited container" }, { "^exec.*signal", "inherited exec" }, { "landlock", "landlock" }, { "ruleset", "landlock" },
  { "a place inside", "landlock" }, { "setrlimit", "rlimits" }, { "umask", "inherited container rootfs_kinds mounts" },
  { "setpriority", "inherited" }, { "personality", "inherited" }, { "oom_score_adj", "inherited" }, { "keyctl", "inherited reach_kernel" },
  { "setgroups", "inherited container exec ranges reach_out" }, { "setres", "ranges idmap exec reach_out exec_attack" },
  { "F_SEAL", "init init_start exec_attack" }, { "^start.*PDEATHSIG", "process init_life start_kill" },
  { "^exec.*PDEATHSIG", "exec_held exec_life" }, { "^exec.*stream of the caller", "exec_held" },
  { "poll", "process start_kill exec_life exec_held init_life" }, { "getppid", "exec_held exec_life exec_attack" }, { "memfd", "init exec_attack" },
  { "pidfd", "exec_life start_kill" },
  { "close_range", "container exec" }, { "casulo%-init:", "init init_start create init_life" },
  { "overlay", "rootfs_kinds" }, { "layer", "rootfs_kinds" }, { "scratch", "rootfs_kinds mounts" }, { "idmap", "idmap" },
  { "openat2", "container mounts masks hostile_root hostile_command" }, { "devpts", "container terminal" }, { "terminal", "terminal streams" },
  { "master", "terminal" },
  { "dup2", "terminal streams exec" }, { "cgroup", "reach_out" }, { "^exec", "exec terminal exec_held exec_life exec_attack" },
}
local ALL = "container mounts masks rootfs_kinds capabilities host_root ranges exec create init rlimits idmap reach_kernel reach_out inherited "
  .. "terminal process hostile_command hostile_root"

-- What limits take is noticed where there are controllers, in machines that are slow: so the tests are named here.
local USE, LIFE, COMMAND = "spec/cgroup/use_spec.lua", "spec/cgroup/life_spec.lua", "spec/cgroup/command_spec.lua"
local WITH_CONTROLLERS = {
  { "CGROUP", USE, "keep a container in a cgroup of its own, with a namespace that begins there" },
  { "Cgroup:remove", USE, "keep a container in a cgroup of its own, with a namespace that begins there" },
  { "remove_below", LIFE, "is removed with what was made in it" },
  { "sweep", LIFE, "of a detached container outlives its caller, and goes at a start of another one" },
  { "Cgroup:kill", USE, "is ended as a whole where it shares the host's PID namespace" },
  { "is_frozen", USE, "stands still while it is frozen" },
  { "undoes", USE, "that the kernel refuses are errors before the start, and name the file" },
  { "subtree_control", USE, "can be had without any, and then tell as much" },
  { "own cgroup", USE, "keeps a further command to its limits, too" },
  { "oom.group", USE, "kill all at once where memory.oom.group says so" },
  { "write", USE, "set what else is asked for, by field and by file" },
}

local function with_controllers(key)
  local names = {}
  for _, each in ipairs(WITH_CONTROLLERS) do
    if key:find(each[1], 1, true) then names[#names + 1] = ("%s: %s"):format(each[2], each[3]) end
  end
  return table.move({ USE, LIFE, COMMAND }, 1, 3, #names + 1, names)
end

--- → a list of names, or of paths, some with ": " and a test
return function(key)
  if key:find "^cgroup, " or key:find "own cgroup" then return with_controllers(key) end
  local names, found = {}, {}
  local function add(words)
    for name in words:gmatch "%S+" do
      if not found[name] then names[#names + 1], found[name] = name, true end
    end
  end
  for _, each in ipairs(LIKELY) do
    if key:find(each[1]) then add(each[2]) end
  end
  add(ALL)
  return names
end
