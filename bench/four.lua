-- SPDX-License-Identifier: MIT
--- The least that isolates processes: `casulo run bench/four.lua --rootfs DIR -- COMMAND`.

return {
  namespaces = { "pid", "mount", "uts", "ipc" },
  standard_mounts = false,
  mounts = { { type = "proc", target = "/proc" } },
}
