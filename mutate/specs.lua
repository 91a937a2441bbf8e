-- SPDX-License-Identifier: MIT

-- Which specs notice what, by a pattern for the mutation's name: the likely ones first, then some that try many kinds of containers.
local LIKELY = {
  { "^start.*CAP_", "capabilities" }, { "^exec.*CAP", "capabilities exec" }, { "capset", "capabilities" }, { "NO_NEW_PRIVS", "capabilities" },
  { "KEEPCAPS", "capabilities" }, { "seccomp", "seccomp reach_kernel exec_attack" }, { "covers?", "masks reach_kernel" },
  { " in proc", "masks reach_kernel" }, { " in sysfs", "masks" },
  { "^start.*signal", "inherited container" }, { "^exec.*signal", "inherited exec" }, { "landlock", "landlock" }, { "ruleset", "landlock" },
  { "a place inside", "landlock" }, { "setrlimit", "rlimits" }, { "umask", "inherited container rootfs_kinds mounts" },
  { "setpriority", "inherited" }, { "personality", "inherited" }, { "oom_score_adj", "inherited" }, { "keyctl", "inherited reach_kernel" },
  { "setgroups", "inherited container exec ranges reach_out" }, { "setres", "ranges idmap exec reach_out exec_attack" },
  { "F_SEAL", "init init_start exec_attack" }, { "PDEATHSIG", "start_kill exec_life init_life process" },
  { "poll", "start_kill exec_life init_life process" }, { "getppid", "exec_life exec_attack" }, { "memfd", "init exec_attack" },
  { "pidfd", "exec_life start_kill" },
  { "close_range", "container exec" }, { "^exec", "exec exec_life exec_attack" }, { "casulo%-init", "init init_start create init_life" },
  { "overlay", "rootfs_kinds" }, { "layer", "rootfs_kinds" }, { "scratch", "rootfs_kinds mounts" }, { "idmap", "idmap" },
  { "openat2", "container mounts hostile_command hostile_root" }, { "terminal", "terminal streams" }, { "master", "terminal" },
  { "dup2", "streams terminal" }, { "cgroup", "reach_out" },
}
local ALL = "container mounts capabilities rootfs_kinds host_root ranges exec create init rlimits idmap reach_kernel reach_out process terminal "
  .. "hostile_command inherited masks"

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
