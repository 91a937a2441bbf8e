-- SPDX-License-Identifier: MIT
-- Goal:   root inside a user namespace without being root outside.
-- Run:    make && eval "$(make -s env)"; lua5.4 examples/07-user-namespace.lua        (no sudo)
-- Expect: uid 0 inside, with the maps that say whom it stands for; it may mount, and still not read what only the host's
--         root may; a file that it makes belongs, outside, to the user who ran it.
local casulo = require "casulo"
local recipes, sys = casulo.recipes, casulo.sys

local function show(file)
  for line in io.lines(file) do print(("  %-22s %s"):format(file, (line:gsub("%s+", " ")))) end
end

local made = os.tmpname()
print(("outside: uid %d, gid %d"):format(sys.getuid(), sys.getgid()))

assert(casulo.unshared({ "user", "mount" }, { -- setgroups is denied first, then the maps are written
  recipes.private_mounts(),
  recipes.tmpfs("/mnt", { nosuid = true, nodev = true }),
  function()
    print(("inside:  uid %d, gid %d"):format(sys.getuid(), sys.getgid()))
    show "/proc/self/uid_map" -- inside, outside, how many
    show "/proc/self/gid_map"
    show "/proc/self/setgroups"
    print "inside:  mounted a tmpfs, which needs CAP_SYS_ADMIN; it holds here"
    local secret, why = sys.open("/etc/shadow", sys.O_RDONLY)
    print("inside:  " .. (secret and "opened /etc/shadow: outside this is root, too" or why))
    io.open(made, "w"):close()
  end,
}))

print(("outside: the file belongs to uid %d"):format(sys.stat(made).uid))
os.remove(made)
