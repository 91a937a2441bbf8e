-- SPDX-License-Identifier: MIT
--- For specs of containers with limits: cgroups to run them in, and what is left of them.
local assert = require "luassert"
local busted = require "busted"
local casulo = require "casulo"
local cgroup = require "casulo.cgroup"
local support = require "support"
local sys = casulo.sys

local cgroup_support = {}

local CONTROLLERS = { "cpu", "cpuset", "io", "memory", "pids" }

--- The first controller that the tests want and this host lacks, or nil.
function cgroup_support.missing()
  local own = cgroup.own()
  for _, name in ipairs(CONTROLLERS) do
    if own.stands ~= "free" or not own.has[name] then return name end
  end
end

--- Whether limits can be set here; else the test is pending, for that reason.
function cgroup_support.has_controllers()
  local missing = cgroup_support.missing()
  if not missing then return true end
  support.cannot_run(("this host has no controller %s in cgroups of version 2; a run in a machine that has covers it"):format(missing))
end

--- The cgroups below one, a path a line.
function cgroup_support.tree(path)
  path = path or cgroup.own().top
  local paths = {}
  local function add(directory)
    for _, name in ipairs(sys.scandir(directory) or {}) do
      local inner = ("%s/%s"):format(directory, name)
      local found = sys.lstat(inner)
      if found and found.mode & sys.S_IFMT == sys.S_IFDIR then
        paths[#paths + 1] = inner
        add(inner)
      end
    end
  end
  add(path)
  table.sort(paths)
  return table.concat(paths, "\n")
end

--- Calls a function, and asserts that no cgroup is left, nor anything else.
function cgroup_support.leaves_nothing(body)
  local before = cgroup_support.tree()
  support.leaves_nothing(body)
  assert.are.equal(before, cgroup_support.tree())
end

--- Declares a test of what takes controllers, as root.
function cgroup_support.it(name, body)
  busted.it(name, function()
    if support.needs_root() and cgroup_support.has_controllers() then cgroup_support.leaves_nothing(body) end
  end)
end

--- A container in the busybox root, with output in pipes.
function cgroup_support.box(script, limits, more)
  local fields = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script }, limits = limits, stdout = "pipe", stderr = "pipe" }
  for name, value in pairs(more or {}) do fields[name] = value end
  return casulo.container(fields)
end

--- The path of a process's cgroup in the tree, as its directory.
function cgroup_support.directory_of(pid)
  return cgroup.own().top .. support.read_file(("/proc/%s/cgroup"):format(pid)):match "0::([^\n]*)"
end

local serial = 0
--- A cgroup beside the caller's, with the controllers; gone when the function returns. It gets the path.
function cgroup_support.with_cgroup(body)
  local own = cgroup.own()
  serial = serial + 1
  local path = ("%s/spec-%d-%d"):format(own.place == "/" and "" or own.place, sys.getpid(), serial)
  cgroup.pass_on(own.place, CONTROLLERS)
  assert(sys.mkdir(path, 493))
  local ok, message = pcall(body, path)
  support.eventually(function()
    sys.rmdir(path)
    return not sys.stat(path)
  end, ("the test's cgroup is empty: %s%s"):format(cgroup_support.tree(path), ok and "" or "\n" .. tostring(message)))
  if not ok then error(message, 0) end
end

--- Calls a function as an ordinary user, in a leaf of a cgroup that is delegated to it. Another cgroup can be delegated, too.
function cgroup_support.as_user_of(path, body, other)
  local leaf = path .. "/shell"
  assert(sys.mkdir(leaf, 493))
  support.as_user(body, function()
    support.write_file(leaf .. "/cgroup.procs", "0")
    for _, place in ipairs { path, leaf, other } do
      for _, name in ipairs { "", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads" } do
        assert(sys.chown(place .. name, support.USER, support.USER))
      end
    end
  end)
  support.eventually(function() return sys.rmdir(leaf) end, "the leaf is empty")
end

--- The same in a cgroup of its own. The function gets its path.
function cgroup_support.as_delegated_user(body, other)
  cgroup_support.with_cgroup(function(path)
    cgroup_support.as_user_of(path, function() body(path) end, other)
  end)
end

return cgroup_support
