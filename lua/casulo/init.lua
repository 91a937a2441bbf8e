-- SPDX-License-Identifier: MIT

--- casulo: Linux containers described in Lua.
--
-- Everything is loaded at once, so that a program may drop its privileges or change its root and still use all of it.
-- @module casulo

for _, name in ipairs {
  "calls", "cgroup", "control", "default_filter", "descriptors", "exec", "explain", "failure", "filter", "finalizer", "handle", "handover",
  "hint", "host_tree", "idmap", "joiner", "landlock_fields", "limit_fields", "living", "mount_fields", "nearest", "obstacles", "own_cgroup",
  "placement", "policy", "process", "recipes.limits", "recipes.overlay", "recipes.scratch", "record", "rlimit_fields", "root_fields", "state",
  "streams", "surroundings", "syscalls", "trials",
} do require("casulo." .. name) end

local recipes = require "casulo.recipes"
for _, subject in ipairs(recipes.SUBJECTS) do require("casulo.recipes." .. subject) end

return {
  _VERSION = require "casulo.version",
  sys = require "casulo.sys",
  container = require "casulo.container".new,
  pool = require "casulo.pool".new,
  rootfs = require "casulo.rootfs",
  plan = require "casulo.plan".new,
  ref = require "casulo.plan".ref,
  recipes = recipes,
  unshared = require "casulo.unshared",
  wait_any = require "casulo.wait_any",
  recorder = require "casulo.recorder",
  host = require "casulo.host",
  doctor = require "casulo.doctor".examine,
}
