-- SPDX-License-Identifier: MIT

--- Users: the id maps of a user namespace, and whose rights a process has.
-- @module casulo.recipes.users

local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local users = {}

--- An id map as the kernel reads it: a line for each range.
-- @tparam table ranges `{ { container, host, count }, … }`
-- @treturn string
function users.map_text(ranges)
  local lines = {}
  for i, range in ipairs(ranges) do lines[i] = ("%d %d %d\n"):format(range[1], range[2], range[3]) end
  return table.concat(lines)
end

local function write_file(directory, path, text, phase, why)
  local name = path:match "[^/]*$"
  return {
    { "openat", directory, path, sys.O_WRONLY | sys.O_CLOEXEC, as = name, phase = phase, why = why },
    { "write", ref(name), text, expect = #text, phase = phase, why = "the kernel takes it whole, and only once" },
    { "close", ref(name), phase = phase, why = "done with it" },
  }
end

local UID_WHY = "who is who: an id inside, the id outside that it stands for, how many in a row"
local GID_WHY = "the same for groups"

--- The maps of a user namespace that this process was born in, written by itself: one id of its own each.
-- @tparam table uid_map `{ { container, host, 1 } }`
-- @tparam table gid_map likewise
-- @treturn table steps
-- @see user_namespaces(7)
function users.own_id_maps(uid_map, gid_map)
  return {
    write_file(sys.AT_FDCWD, "/proc/self/setgroups", "deny", nil,
      "first give up setgroups: leaving a group could open files that deny that group; the kernel insists"),
    write_file(sys.AT_FDCWD, "/proc/self/uid_map", users.map_text(uid_map), nil, UID_WHY),
    write_file(sys.AT_FDCWD, "/proc/self/gid_map", users.map_text(gid_map), nil, GID_WHY),
  }
end

--- The maps of a child's user namespace, written by a privileged caller while the child waits.
-- @tparam table uid_map `{ { container, host, count }, … }`
-- @tparam table gid_map likewise
-- @treturn table steps of phase `born`
-- @see user_namespaces(7)
function users.id_maps(uid_map, gid_map)
  return {
    write_file(ref "child", "uid_map", users.map_text(uid_map), "born", UID_WHY),
    write_file(ref "child", "gid_map", users.map_text(gid_map), "born", GID_WHY),
  }
end

-- The command line of newuidmap and newgidmap.
local function helper(name, map)
  local argv = { name, ref "PID" }
  for _, range in ipairs(map) do
    for i = 1, 3 do argv[#argv + 1] = ("%d"):format(range[i]) end
  end
  return argv
end

--- The maps of a child's user namespace for a caller without privilege, while the child waits. The kernel lets it map its own
-- id only; the setuid programs of the package uidmap write what /etc/subuid and /etc/subgid give it, too.
-- @tparam table uid_map `{ { container, host, count }, … }`
-- @tparam table gid_map likewise
-- @treturn table steps of phase `born`
-- @see newuidmap(1), newgidmap(1), subuid(5)
function users.subordinate_id_maps(uid_map, gid_map)
  return {
    { "spawn", helper("newuidmap", uid_map), phase = "born",
      why = UID_WHY .. "; this setuid program may write what /etc/subuid gives the caller" },
    { "spawn", helper("newgidmap", gid_map), phase = "born", why = GID_WHY .. ", by /etc/subgid" },
  }
end

--- Takes the ids of a user: the groups first, for which the right is lost with the uid.
-- @tparam table user `uid`, `gid` and, where setgroups is allowed, `groups`
-- @tparam[opt] string why
-- @treturn table steps
-- @see setgroups(2), setresgid(2), setresuid(2)
function users.become(user, why)
  local steps = {}
  if user.groups then
    steps[1] = { "setgroups", user.groups, why = "none of the caller's groups, only these" }
  end
  steps[#steps + 1] = { "setresgid", user.gid, user.gid, user.gid, why = "the group before the user: then the right to change it is gone" }
  steps[#steps + 1] = { "setresuid", user.uid, user.uid, user.uid, why = why or "from here on with the rights of this user" }
  return steps
end

return users
