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
-- @tparam[opt] integer propagation MS_SLAVE or MS_SHARED
-- @treturn table steps
-- @see mount_setattr(2)
function detached.attributes(name, attributes, why, propagation)
  return {
    { "mount_setattr", ref(name), "", sys.AT_EMPTY_PATH | sys.AT_RECURSIVE, mounts.attribute_set(attributes, propagation), why = why },
  }
end

local PROPAGATION = {
  slave = { sys.MS_SLAVE, "what the host mounts there later arrives, and nothing goes the other way" },
  shared = { sys.MS_SHARED, "what either side mounts there later, the other has, too" },
}

--- Whether a kind of propagation crosses the border, so that the clone is to be made before `private_mounts`.
-- @tparam ?string propagation
-- @treturn boolean
function detached.propagates(propagation) return PROPAGATION[propagation] ~= nil end

--- A detached copy of a place in the host's tree, with what is mounted below it.
-- @tparam string name of the value
-- @tparam string path on the host
-- @tparam string why
-- @tparam[opt] table options `readonly`, `nosuid`, `nodev`, `noexec`; `recursive`: false leaves out what is mounted below;
--   `propagation`: "slave" or "shared", in a plan in which no `private_mounts` comes first
-- @treturn table steps
-- @see open_tree(2), mount_namespaces(7)
function detached.clone_tree(name, path, why, options)
  local recursive = options and options.recursive == false and 0 or sys.AT_RECURSIVE
  local steps = {
    { "open_tree", sys.AT_FDCWD, path, sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | recursive, as = name, why = why },
  }
  local attributes, propagation = mounts.attributes(options), options and PROPAGATION[options.propagation]
  if attributes ~= 0 or propagation then
    steps[2] = detached.attributes(name, attributes, (attributes ~= 0 and "before anyone sees it, and on each mount below it" or "")
      .. (options.nodev and ": a device node in it opens no device of the host" or "")
      .. (propagation and (attributes ~= 0 and "; " or "") .. propagation[2] or ""), propagation and propagation[1])
  end
  return steps
end

--- A detached copy of a device node: read-only, which leaves the device writable, but not its mode and owner, which are the host's.
-- @tparam string name of the value
-- @tparam string path on the host
-- @tparam string why
-- @treturn table steps
-- @see open_tree(2)
function detached.clone_device(name, path, why)
  return detached.clone_tree(name, path, why, { readonly = true, nosuid = true, noexec = true })
end

--- Opens the user namespace of the child, for `idmapped_tree`.
-- @treturn table steps of phase `born`
-- @see user_namespaces(7)
function detached.user_namespace()
  return { { "openat", ref "child", "ns/user", sys.O_RDONLY | sys.O_CLOEXEC, as = "user namespace", phase = "born",
    why = "the child's user namespace, whose maps are written" } }
end

--- The same as `clone_tree`, with owners as the child's user namespace maps them: what is uid 0 on disk is uid 0 inside. The
-- caller, who must be root where the file system was mounted, makes it.
-- @tparam string name of the value, which the child is given
-- @tparam string path on the host
-- @tparam[opt] table options as for `clone_tree`
-- @treturn table steps of phase `before` and `born`
-- @see mount_setattr(2)
function detached.idmapped_tree(name, path, options)
  local propagation = options and PROPAGATION[options.propagation]
  local recursive = options and options.recursive == false and 0 or sys.AT_RECURSIVE
  return {
    { "open_tree", sys.AT_FDCWD, path, sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | recursive, as = name, phase = "before",
      why = "made by the caller, for only root may map owners" },
    { "mount_setattr", ref(name), "", sys.AT_EMPTY_PATH | sys.AT_RECURSIVE, {
      mounts.attributes(options) | sys.MOUNT_ATTR_IDMAP, 0, propagation and propagation[1] or sys.MS_PRIVATE, ref "user namespace", source = path,
    }, phase = "born", why = "an id inside is the same on disk: each is mapped there and back; "
      .. (propagation and propagation[2] or "and no mount made there later goes from one side to the other") },
  }
end

--- A new file system, detached.
-- @tparam string name of the value
-- @tparam string fstype
-- @tparam table settings key, value (nil for a flag) and why of each in a list: `{ { "mode", "755", "only root writes here" } }`
-- @tparam integer attributes MOUNT_ATTR_…
-- @tparam string why
-- @treturn table steps
-- @see fsopen(2), fsconfig(2), fsmount(2)
function detached.filesystem(name, fstype, settings, attributes, why)
  local context = name .. " context"
  local steps = { { "fsopen", fstype, sys.FSOPEN_CLOEXEC, as = context, why = why } }
  for _, setting in ipairs(settings) do
    steps[#steps + 1] = { "fsconfig", ref(context), setting[2] and sys.FSCONFIG_SET_STRING or sys.FSCONFIG_SET_FLAG, setting[1], setting[2], nil,
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
    over == "/" and "pivot_root wants a mount point: attach the root over the host's, in this namespace only"
      or "pivot_root wants a mount point: attach the root over its own directory, in this namespace only")
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
-- @tparam[opt] string directory the value that holds the directory in which the target is
-- @treturn table steps
-- @see move_mount(2)
function detached.attach(name, target, why, directory)
  return {
    { "move_mount", ref(name), "", directory and ref(directory) or sys.AT_FDCWD, target, sys.MOVE_MOUNT_F_EMPTY_PATH, why = why },
  }
end

--- A place in the container's root, where /proc may be in sight already: its links to open files and other roots lead nowhere.
-- @tparam string path
-- @tparam string as the value
-- @tparam string why
-- @tparam[opt] integer flags further ones of open(2)
-- @treturn table step
-- @see openat2(2)
function detached.open_place(path, as, why, flags)
  local how = string.pack("=I8I8I8", sys.O_PATH | sys.O_CLOEXEC | (flags or 0), 0, sys.RESOLVE_NO_MAGICLINKS)
  return { "openat2", sys.AT_FDCWD, path, how, as = as, why = why }
end
local open_place = detached.open_place

-- The directories above a place, each opened on the way, and made where it is missing. → steps; a descriptor for the last of them, and
-- what the place is called from there. At the top a path of one part does: no link in it would be followed.
local function open_parents(name, target)
  local steps, path, parent = {}, "", sys.AT_FDCWD
  for part, more in target:gmatch "([^/]+)()" do
    local place = parent == sys.AT_FDCWD and "/" .. part or part
    if more > #target then return steps, parent, place end
    path = ("%s/%s"):format(path, part)
    local opened = ("%s in %s"):format(name, path)
    steps[#steps + 1] = { "mkdirat", parent, place, 493, tolerate = { sys.EEXIST }, why = "a place to mount on, where it is missing" }
    steps[#steps + 1] = open_place(path, opened, "no link of /proc may lead out of here")
    parent = ref(opened)
  end
end

--- Makes a place to mount on, where a hostile tree may lie above it, and /proc be in sight: its links to open
-- files and other roots lead nowhere. The host's /proc may be mounted in a root, and through it everything of the host be found.
-- @tparam string name the value that holds the mount; unique
-- @tparam string target an absolute path
-- @tparam boolean is_file whether a file is mounted there
-- @treturn table steps
-- @see openat2(2), mkdir(2), mknod(2)
function detached.mount_point_carefully(name, target, is_file)
  local steps, parent, place = open_parents(name, target)
  steps[#steps + 1] = is_file and { "mknodat", parent, place, sys.S_IFREG | 420, tolerate = { sys.EEXIST },
    why = "an empty file to mount a file on, where it is missing" }
    or { "mkdirat", parent, place, 493, tolerate = { sys.EEXIST }, why = "a place to mount on, where it is missing" }
  return steps
end

--- Attaches a detached mount where /proc may be in sight already: its links to open files and other roots lead nowhere.
-- @tparam string name the value that holds it; unique
-- @tparam string target an absolute path
-- @tparam string why
-- @treturn table steps
-- @see openat2(2), move_mount(2)
function detached.attach_carefully(name, target, why)
  local place = name .. " place"
  return {
    open_place(target, place, "the place; no link of /proc may lead out of here"),
    { "move_mount", ref(name), "", ref(place), "", sys.MOVE_MOUNT_F_EMPTY_PATH | sys.MOVE_MOUNT_T_EMPTY_PATH, why = why },
  }
end

--- Makes a directory, where it is missing, in a directory that no link of /proc leads to.
-- @tparam string name of the values; unique
-- @tparam string target an absolute path
-- @tparam integer mode permission bits, whatever the umask is
-- @treturn table steps
-- @see mkdir(2), umask(2)
function detached.directory(name, target, mode)
  local steps, parent, place = open_parents(name, target)
  local masked = mode & 18 ~= 0
  if masked then steps[#steps + 1] = { "umask", 0, why = "all the mode bits that were asked for" } end
  steps[#steps + 1] = { "mkdirat", parent, place, mode, tolerate = { sys.EEXIST },
    why = "a directory, where it is missing; what is there stays as it is" }
  if masked then steps[#steps + 1] = { "umask", 18, why = "and usual modes again" } end
  steps[#steps + 1] = open_place(target, name .. " place", "whatever was there is a directory", sys.O_DIRECTORY)
  return steps
end

--- Makes a symbolic link, where nothing has its name, in a directory that no link of /proc leads to.
-- @tparam string name of the values; unique
-- @tparam string target an absolute path: where the link is
-- @tparam string to what it says; not looked at
-- @treturn table steps
-- @see symlink(2)
function detached.symlink(name, target, to)
  local steps, parent, place = open_parents(name, target)
  steps[#steps + 1] = { "symlinkat", to, parent, place, tolerate = { sys.EEXIST },
    why = "a link, where its name is not taken; it is followed by whoever looks, inside" }
  return steps
end

--- Makes a directory to mount on, with those above it, where they are missing.
-- @tparam string target an absolute path
-- @treturn table steps
-- @see mkdir(2)
function detached.mount_point(target)
  local steps, path = {}, ""
  for part in target:gmatch "[^/]+" do
    path = ("%s/%s"):format(path, part)
    steps[#steps + 1] = { "mkdirat", sys.AT_FDCWD, path, 493, tolerate = { sys.EEXIST }, why = "a place to mount on, where it is missing" }
  end
  return steps
end

return detached
