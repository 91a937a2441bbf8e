-- SPDX-License-Identifier: MIT

--- Mounts made detached and attached later, which is how a container gets its own.
--
-- First, while the host is in sight, clones of what comes from it (`clone_tree`) and new file systems (`filesystem`)
-- are made; they are descriptors and have no place yet. Then the new root is entered (`enter_root`) and the host's tree
-- is gone. Only then are they attached (`attach`): each path is now resolved inside the container, so a symbolic link
-- in a hostile root file system has nowhere else to lead.
-- @module casulo.recipes.detached

local mounts = require "casulo.recipes.mounts"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local detached = {}

--- Sets attributes on a detached mount and, recursively, on those below it.
-- @tparam string name the value that holds it
-- @tparam integer attributes MOUNT_ATTR_…
-- @tparam string why
-- @treturn table steps
-- @see mount_setattr(2)
function detached.attributes(name, attributes, why)
  return {
    { "mount_setattr", ref(name), "", sys.AT_EMPTY_PATH | sys.AT_RECURSIVE, mounts.attribute_set(attributes), why = why },
  }
end

--- A detached copy of a place in the host's tree, with what is mounted below it.
-- @tparam string name of the value
-- @tparam string path on the host
-- @tparam string why
-- @tparam[opt] table options `readonly`, `nosuid`, `nodev`, `noexec`
-- @treturn table steps
-- @see open_tree(2)
function detached.clone_tree(name, path, why, options)
  local steps = {
    { "open_tree", sys.AT_FDCWD, path, sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | sys.AT_RECURSIVE, as = name, why = why },
  }
  local attributes = mounts.attributes(options)
  if attributes ~= 0 then
    steps[2] = detached.attributes(name, attributes, "before anyone sees it, and on each mount below it"
      .. (options.nodev and ": a device node in it opens no device of the host" or ""))
  end
  return steps
end

--- A new file system, detached.
-- @tparam string name of the value
-- @tparam string fstype
-- @tparam table settings key, value and why of each in a list: `{ { "mode", "755", "only root writes here" } }`
-- @tparam integer attributes MOUNT_ATTR_…
-- @tparam string why
-- @treturn table steps
-- @see fsopen(2), fsconfig(2), fsmount(2)
function detached.filesystem(name, fstype, settings, attributes, why)
  local context = name .. " context"
  local steps = { { "fsopen", fstype, sys.FSOPEN_CLOEXEC, as = context, why = why } }
  for _, setting in ipairs(settings) do
    steps[#steps + 1] = { "fsconfig", ref(context), sys.FSCONFIG_SET_STRING, setting[1], setting[2], nil,
      why = setting[3] }
  end
  steps[#steps + 1] = { "fsconfig", ref(context), sys.FSCONFIG_CMD_CREATE, nil, nil, nil,
    why = "made with these settings, for the namespaces of this process" }
  steps[#steps + 1] = { "fsmount", ref(context), sys.FSMOUNT_CLOEXEC, attributes, as = name,
    why = "a mount of it, which has no place yet and no one can see" }
  return steps
end

--- Attaches the clone in `root`, while this process may still reach the place: over the directory it was cloned from.
-- @tparam string over that directory
-- @tparam boolean initramfs whether / is the kernel's first root, which cannot be pivoted away from
-- @treturn table steps
-- @see move_mount(2)
function detached.attach_root(over, initramfs)
  if initramfs then
    return detached.attach("root", "/", "over the initramfs: nobody can pivot away from the kernel's first root")
  end
  return detached.attach("root", over,
    "pivot_root wants a mount point: attach the root over its own directory, in this namespace only")
end

--- Makes the attached clone in `root` the root of this mount namespace; the host's tree is gone afterwards.
-- @tparam boolean initramfs as for `attach_root`
-- @treturn table steps
-- @see pivot_root(2)
function detached.enter_root(initramfs)
  local into = { "fchdir", ref "root", why = "into it, by descriptor" }
  if not initramfs then return { into, mounts.pivot_here() } end
  return {
    into,
    { "chroot", ".", why = "so change the root by hand; there is no second tree to escape to" },
    { "chdir", "/", why = "and stand in it" },
  }
end

--- Attaches a detached mount.
-- @tparam string name the value that holds it
-- @tparam string target
-- @tparam string why
-- @treturn table steps
-- @see move_mount(2)
function detached.attach(name, target, why)
  return {
    { "move_mount", ref(name), "", sys.AT_FDCWD, target, sys.MOVE_MOUNT_F_EMPTY_PATH, why = why },
  }
end

local function open_place(path, as, why)
  local how = string.pack("=I8I8I8", sys.O_PATH | sys.O_CLOEXEC, 0, sys.RESOLVE_NO_MAGICLINKS)
  return { "openat2", sys.AT_FDCWD, path, how, as = as, why = why }
end

--- Attaches a detached mount where /proc may be in sight already: its links to open files and other roots lead nowhere.
-- @tparam string name the value that holds it; unique
-- @tparam string target an absolute path
-- @tparam boolean is_nested whether the place lies in an earlier mount, and is made where it is missing
-- @tparam boolean is_file whether a file is mounted there
-- @tparam string why
-- @treturn table steps
-- @see openat2(2), move_mount(2)
function detached.attach_carefully(name, target, is_nested, is_file, why)
  local steps, path = {}, "/"
  for part, more in target:gmatch "([^/]+)()" do
    if is_nested then
      local parent = ("%s in %s"):format(name, path)
      steps[#steps + 1] = open_place(path, parent, "no link of /proc may lead out of here")
      if is_file and more > #target then
        steps[#steps + 1] = { "mknodat", ref(parent), part, sys.S_IFREG | 420, tolerate = { sys.EEXIST },
          why = "an empty file to mount a file on, where it is missing" }
      else
        steps[#steps + 1] = { "mkdirat", ref(parent), part, 493, tolerate = { sys.EEXIST },
          why = "a place to mount on, where it is missing" }
      end
    end
    path = ("%s%s/"):format(path, part)
  end
  local place = name .. " place"
  steps[#steps + 1] = open_place(target, place, "the place; no link of /proc may lead out of here")
  steps[#steps + 1] = { "move_mount", ref(name), "", ref(place), "",
    sys.MOVE_MOUNT_F_EMPTY_PATH | sys.MOVE_MOUNT_T_EMPTY_PATH, why = why }
  return steps
end

--- Makes a place to mount on, with the directories above it, where they are missing.
-- @tparam string target an absolute path
-- @tparam boolean is_file whether a file is mounted there
-- @tparam table made the paths already made, as keys; grows
-- @treturn table steps
-- @see mkdir(2), mknod(2)
function detached.mount_point(target, is_file, made)
  local steps, path = {}, ""
  local parent = is_file and target:match "^(.*)/" or target
  for part in parent:gmatch "[^/]+" do
    path = ("%s/%s"):format(path, part)
    if not made[path] then
      made[path] = true
      steps[#steps + 1] = { "mkdirat", sys.AT_FDCWD, path, 493, tolerate = { sys.EEXIST },
        why = "a place to mount on, where it is missing" }
    end
  end
  if is_file then
    steps[#steps + 1] = { "mknodat", sys.AT_FDCWD, target, sys.S_IFREG | 420, tolerate = { sys.EEXIST },
      why = "an empty file to mount a file on, where it is missing" }
  end
  return steps
end

return detached
