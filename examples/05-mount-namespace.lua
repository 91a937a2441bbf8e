-- SPDX-License-Identifier: MIT
-- Goal:   a mount that does not leak to the host.
-- Run:    make && eval "$(make -s env)"; sudo -E lua5.4 examples/05-mount-namespace.lua
-- Expect: "Mounted tmpfs at /mnt/test_mount" and its line of /proc/self/mounts; on the host, before and after, no such
--         line, and the directory is gone.
local casulo = require "casulo"
local recipes, sys = casulo.recipes, casulo.sys
local MOUNT_POINT = "/mnt/test_mount"

local function lines_of_mount()
  local lines = {}
  for line in io.lines "/proc/self/mounts" do
    if line:find(MOUNT_POINT, 1, true) then lines[#lines + 1] = line end
  end
  return lines
end

print(("on the host before: %d lines"):format(#lines_of_mount()))

assert(casulo.unshared({ "mount" }, {
  recipes.private_mounts(), -- the line that matters: a new mount namespace still propagates mounts until it is private
  { "mkdir", MOUNT_POINT, 493, undo = { "rmdir", MOUNT_POINT }, why = "a place to mount on" },
  recipes.tmpfs(MOUNT_POINT, { nosuid = true, nodev = true }),
  function()
    print("Mounted tmpfs at " .. MOUNT_POINT)
    print(table.concat(lines_of_mount(), "\n"))
  end,
  { "umount2", MOUNT_POINT, 0, why = "clean up: the mount" },
  { "rmdir", MOUNT_POINT, why = "and its place, which is on the host's disk" },
}))

print(("on the host after: %d lines, directory %s"):format(#lines_of_mount(), sys.stat(MOUNT_POINT) and "still there" or "removed"))
