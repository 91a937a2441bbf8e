-- SPDX-License-Identifier: MIT
--- The same with a network and a cgroup namespace.

return {
  namespaces = { "pid", "mount", "uts", "ipc", "net", "cgroup" },
  standard_mounts = false,
  mounts = { { type = "proc", target = "/proc" } },
}
