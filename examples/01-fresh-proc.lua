-- SPDX-License-Identifier: MIT
-- Goal:   a /proc that shows one's own PID namespace and nothing else, in three system calls.
-- Run:    make && eval "$(make -s env)"; sudo -E lua5.4 examples/01-fresh-proc.lua
-- Expect: the three calls, each with its reason (the order matters); then a ps that lists only itself, its shell and
--         this program, which is PID 1.
local casulo = require "casulo"
local recipes = casulo.recipes

local function look_around()
  os.execute "busybox ps"
end

local plan = casulo.plan {
  recipes.private_mounts(), -- 1. cut off from the host: without it the next two calls would reach its /proc
  recipes.fresh_proc(),     -- 2. the inherited /proc away, 3. a new one in its place
  look_around,
}

print(plan:explain())
assert(casulo.unshared({ "pid", "mount" }, plan))
