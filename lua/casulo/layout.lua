-- SPDX-License-Identifier: MIT

--- The file system of a container: which mounts it has, and the order in which that is safe.
--
-- 1. While the host is in sight, what comes from it is cloned: the root, what is bound in, devices, the layers of overlays.
-- 2. Still in sight of it, new file systems are made; overlays, and files with a content, in a scratch place over the host's /,
--    which goes again. All these are descriptors and have no place yet.
-- 3. The root is entered, and the host's tree is gone.
-- 4. Missing places are made and the rest is attached. Each path is now resolved inside the container.
-- @module casulo.layout

local detached = require "casulo.recipes.detached"
local masking = require "casulo.masking"
local mount_kinds = require "casulo.mount_kinds"
local mounts = require "casulo.recipes.mounts"
local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local layout = {}

local ATTACH_WHY = {
  proc = "ps shows what is here: only this container's processes", sysfs = "the kernel's devices, to look at",
  devpts = "where terminals appear", device = "the device in its place", file = "the file in its place",
  bind = "the host's files in their place, found inside the container's root", overlay = "the overlay in its place",
}

-- What is cloned from the host's tree, before anything is mounted over it; what is made in a scratch place; what is no mount, but
-- made in the tree.
local IS_CLONED, IS_SCRATCHED, IS_MADE = { bind = true, device = true }, { overlay = true, file = true }, { directory = true, symlink = true }

-- The mounts of the container in the order in which they are attached: the standard ones, then the description's.
local function mount_list(checked)
  local list = {}
  if checked.standard_mounts then
    list = {
      { type = "sysfs", target = "/sys", name = "sysfs" },
      { type = "tmpfs", target = "/dev", name = "dev", size = "64k", mode = "755", mode_why = "only root may add to it", devices = true,
        why = "a /dev with nothing of the host's in it" },
      { type = "devpts", target = "/dev/pts", name = "devpts", within = "dev" },
      { type = "tmpfs", target = "/dev/shm", name = "shm", within = "dev", size = "64m", mode = "1777",
        mode_why = "everyone may write, and remove only what is theirs", why = "where POSIX shared memory lives" },
      -- last: where it is in sight, a link in the root may lead through /proc/self/fd to what is still open
      { type = "proc", target = "/proc", name = "proc" },
    }
  end
  table.move(checked.mounts, 1, #checked.mounts, #list + 1, list)
  for i, mount in ipairs(list) do
    -- the position keeps the names of the values apart, whatever the targets are
    local name = mount.name or ("mount %d %s"):format(i, mount.target)
    list[i] = setmetatable({ is_standard = mount.name, name = name, attributes = mounts.attributes(mount),
      is_file = mount.is_file or mount.type == "file" }, { __index = mount })
  end
  return list
end

-- While the host is in sight: a clone of each device.
local function make_devices()
  local steps = {}
  for _, node in ipairs(require "casulo.recipes.devices".NODES) do
    steps[#steps + 1] = detached.clone_device("device " .. node, "/dev/" .. node, "a device of the host that does no harm")
  end
  return steps
end

-- In the new /dev by its descriptor: who changes the root meanwhile may have put a link in the place where that is attached.
local function attach_devices(directory)
  local devices = require "casulo.recipes.devices"
  local steps = {}
  for _, node in ipairs(devices.NODES) do
    steps[#steps + 1] = {
      { "mknodat", ref(directory), node, sys.S_IFREG | 420, why = "an empty file to mount a file on" },
      detached.attach("device " .. node, node, "the device in its place", directory),
    }
  end
  return { steps, devices.links_in(directory) }
end

-- A standard mount in another one.
local function attach_within(mount)
  local place = mount.target:match "[^/]+$"
  return {
    { "mkdirat", ref(mount.within), place, 493, why = "a place to mount on" },
    detached.attach(mount.name, place, ATTACH_WHY[mount.type] or "the mount in its place", mount.within),
  }
end

local function is_within(path, list, before)
  for i = 1, before - 1 do
    local target = list[i].target
    if not IS_MADE[list[i].type] and not list[i].is_file and path:sub(1, #target + 1) == target .. "/" then return true end
  end
  return false
end

-- What is there for a mount, or in place of one, in the root itself or, where it is nested, in an earlier mount.
local function make_place(mount)
  if mount.type == "directory" then
    return detached.directory(mount.name, mount.target, mount.mode and tonumber(mount.mode, 8) or 493)
  elseif mount.type == "symlink" then
    return detached.symlink(mount.name, mount.target, mount.to)
  elseif mount.is_standard then
    return detached.mount_point(mount.target)
  end
  return detached.mount_point_carefully(mount.name, mount.target, mount.is_file)
end

-- The places that lie in the root itself.
local function make_places(list)
  local steps = {}
  for i, mount in ipairs(list) do
    if not is_within(mount.target, list, i) then steps[#steps + 1] = make_place(mount) end
  end
  return steps
end

-- One mount in its place, which is made if it lies in an earlier one.
local function attach_one(mount, is_nested)
  if mount.within then return attach_within(mount) end
  local why = ATTACH_WHY[mount.type] or "the mount in its place"
  local attach = mount.is_standard and detached.attach or detached.attach_carefully
  return { is_nested and make_place(mount) or {}, attach(mount.name, mount.target, why) }
end

-- Inside the new root: first the places that lie in the root itself, so that it can be made read-only before anything
-- else is attached to it; then the mounts, each with its place if that lies in an earlier one.
local function attach_all(checked, list)
  local steps = { make_places(list) }
  if checked.readonly then
    steps[#steps + 1] = {
      { "mount_setattr", sys.AT_FDCWD, "/", sys.AT_RECURSIVE, mounts.attribute_set(sys.MOUNT_ATTR_RDONLY),
        why = "the root is read-only, before anything else is attached to it" },
    }
  end
  for i, mount in ipairs(list) do
    local is_nested = is_within(mount.target, list, i)
    if not IS_MADE[mount.type] then
      steps[#steps + 1] = attach_one(mount, is_nested)
      if mount.devices then steps[#steps + 1] = attach_devices(mount.name) end
    elseif is_nested then
      steps[#steps + 1] = make_place(mount)
    end
  end
  return steps
end

-- What comes from the host's tree, while that is in sight: first what is to hear of later mounts of the host, then the rest.
local function clone_steps(checked, list)
  local crossing, others = {}, {}
  for _, mount in ipairs(list) do
    local steps = detached.propagates(mount.propagation) and crossing or others
    if IS_CLONED[mount.type] then steps[#steps + 1] = mount_kinds[mount.type](mount.name, mount) end
    if mount.type == "overlay" then steps[#steps + 1] = require "casulo.recipes.overlay".clone_layers(mount.name, mount) end
  end
  return { crossing, mounts.private_mounts(), mount_kinds.clone_root(checked.root), others, checked.standard_mounts and make_devices() or {},
    masking.from_host(checked, list) }
end

-- What is made in scratch places: overlays, and files with a content.
local function scratch_steps(checked, list, host)
  local steps, files = {}, {}
  for _, mount in ipairs(list) do
    if mount.type == "file" then files[#files + 1] = mount end
    if mount.type == "overlay" then steps[#steps + 1] = mount_kinds.overlay(mount.name, mount, checked, host) end
  end
  if files[1] then steps[#steps + 1] = require "casulo.recipes.scratch".files(files) end
  return steps
end

--- The steps from the host's tree to the container's.
-- @tparam table checked what `casulo.description` returns
-- @tparam table host facts
-- @tparam table become_root steps to the first ids of the maps, if these are not the caller's
-- @treturn plan
-- @see mount_namespaces(7), pivot_root(2)
function layout.steps(checked, host, become_root)
  local list, is_initramfs = mount_list(checked), host.root == "initramfs"
  local new = {}
  for _, mount in ipairs(list) do
    if not (IS_CLONED[mount.type] or IS_SCRATCHED[mount.type] or IS_MADE[mount.type]) then
      new[#new + 1] = mount_kinds[mount.type](mount.name, mount, checked, host)
    end
  end
  local cloned = checked.root.type == "directory"
  return plan.of_recipes {
    checked.any_idmap and detached.user_namespace() or {},
    clone_steps(checked, list),
    cloned and detached.attach_root(mount_kinds.directory(checked.root.path), is_initramfs) or {},
    become_root,
    scratch_steps(checked, list, host),
    cloned and {} or { mount_kinds.make_root(checked.root, checked, host), detached.attach_root("/", is_initramfs) },
    new, masking.made(checked, list),
    detached.enter_root(is_initramfs),
    attach_all(checked, list),
    masking.steps(checked, list),
  }
end

return layout
