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
  { "^exec.*PDEATHSIG", "exec_life" },
  { "poll", "process start_kill exec_life init_life" }, { "getppid", "exec_life exec_attack" }, { "memfd", "init exec_attack" },
  { "pidfd", "exec_life start_kill" },
  { "close_range", "container exec" }, { "casulo%-init:", "init init_start create init_life" },
  { "overlay", "rootfs_kinds" }, { "layer", "rootfs_kinds" }, { "scratch", "rootfs_kinds mounts" }, { "idmap", "idmap" },
  { "openat2", "container mounts masks hostile_root hostile_command" }, { "devpts", "container terminal" }, { "terminal", "terminal streams" },
  { "master", "terminal" },
  { "dup2", "terminal streams exec" }, { "cgroup", "reach_out" }, { "^exec", "exec terminal exec_life exec_attack" },
}
local ALL = "container mounts masks rootfs_kinds capabilities host_root ranges exec create init rlimits idmap reach_kernel reach_out inherited "
  .. "terminal process hostile_command hostile_root"

--- → a list of names
return function(key)
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
