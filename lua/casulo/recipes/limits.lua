-- SPDX-License-Identifier: MIT

--- A cgroup of a container's own, with limits, in which its first process is born.
-- @module casulo.recipes.limits

local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local limits = {}

-- What each file is about; others say what the kernel's documentation says of them.
local WHY = {
  ["memory.max"] = "more memory, in bytes, it cannot have: the kernel kills one of its processes instead",
  ["memory.high"] = "above it, in bytes, its processes are slowed down and their memory is reclaimed",
  ["memory.swap.max"] = "what of its memory may be swapped, in bytes", ["pids.max"] = "processes and threads, all together",
  ["cpu.max"] = "time on processors, and in how long, in microseconds", ["cpu.weight"] = "its share where others want the processors, too",
  ["cpuset.cpus"] = "the processors that it runs on", ["io.max"] = "what it may read and write of a device, a second",
}

local function write_file(opening, file, value, why)
  opening.as, opening.phase, opening.why = file, "before", why
  return { opening, { "write", ref(file), value, phase = "before", why = "as it is to be" },
    { "close", ref(file), phase = "before", why = "done with it" } }
end

local function pass_on(path, controllers, why)
  if not controllers[1] then return {} end
  return write_file({ "open", path, sys.O_WRONLY | sys.O_CLOEXEC }, "subtree_control", "+" .. table.concat(controllers, " +"), why)
end

--- Makes the cgroup. Its paths are values: `casulo's cgroup`, in which it is made, with `casulo's subtree_control`, the file there; and
-- `the container's cgroup`. The value `cgroup` is the descriptor of that, for clone(2).
-- @tparam table settings `to_pass_on`: a list of `path` and `controllers`, of cgroups that are yet to pass some on; `controllers`: those
--   of the container; `limits`: a list of `file` and `value`
-- @treturn table steps of phase `before`
-- @see cgroups(7)
function limits.make(settings)
  local passing = {}
  for _, each in ipairs(settings.to_pass_on) do
    passing[#passing + 1] = pass_on(each.path .. "/cgroup.subtree_control", each.controllers, "controllers for the cgroups in this one")
  end
  local steps = {
    passing,
    { "mkdir", ref "casulo's cgroup", 493, tolerate = { sys.EEXIST }, undo = { "rmdir", ref "casulo's cgroup" }, phase = "before",
      why = "one for the containers of this process: as long as it passes controllers on, nobody above takes them away" },
    pass_on(ref "casulo's subtree_control", settings.controllers, "controllers for the containers"),
    { "mkdir", ref "the container's cgroup", 493, undo = { "rmdir", ref "the container's cgroup" }, phase = "before", why = "the container's own" },
    { "open", ref "the container's cgroup", sys.O_RDONLY | sys.O_DIRECTORY | sys.O_CLOEXEC, as = "cgroup", phase = "before",
      why = "the child is born in it: not one of its instructions runs outside" },
  }
  for _, limit in ipairs(settings.limits) do
    steps[#steps + 1] = write_file({ "openat", ref "cgroup", limit.file, sys.O_WRONLY | sys.O_CLOEXEC }, limit.file, limit.value,
      WHY[limit.file] or "a file of the cgroup, by its name")
  end
  return steps
end

--- A cgroup namespace that begins at the cgroup of this process. A clone with CLONE_NEWCGROUP would make one that begins at the cgroup of
-- the caller, be the child born in another one or not.
-- @treturn table steps
-- @see cgroup_namespaces(7)
function limits.namespace()
  return { { "unshare", sys.CLONE_NEWCGROUP, why = "a cgroup namespace that begins here; from the clone it would begin at the caller's cgroup" } }
end

return limits
