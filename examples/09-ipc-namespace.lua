-- SPDX-License-Identifier: MIT
-- Goal:   an IPC namespace: a System V message queue that exists inside only.
-- Run:    make && eval "$(make -s env)"; lua5.4 examples/09-ipc-namespace.lua         (with or without sudo)
-- Expect: one queue more inside after it is made; outside, as many as before, and the queue is gone with its namespace.
local casulo = require "casulo"
local sys = casulo.sys

-- /proc/sysvipc shows the IPC namespace of who reads it.
local function count_queues()
  local count = -1 -- the heading
  for _ in io.lines "/proc/sysvipc/msg" do count = count + 1 end
  return count
end

local function report(where) print(("%-20s %d message queues"):format(where, count_queues())) end

report "outside before:"
local namespaces = sys.geteuid() == 0 and { "ipc" } or { "user", "ipc" }
assert(casulo.unshared(namespaces, {
  function()
    report "inside at first:"
    assert(os.execute "ipcmk -Q >/dev/null")
    report "inside, one made:"
  end,
}))
report "outside after:"
