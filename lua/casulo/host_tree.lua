-- SPDX-License-Identifier: MIT

--- The host's own system as a root: what of its tree is shown, and what takes the place of the rest.
--
-- An empty root in memory gets a read-only clone of each directory in the host's /, but of none that holds what runs or whose
-- it is: /proc, /sys and /dev are the container's, /tmp, /run, /home and /root are empty. A file system of the kernel that the
-- host has mounted somewhere else is covered, too: through a /proc in a build root one would reach the host's processes.
-- @module casulo.host_tree

local check = require "casulo.check"
local look = require "casulo.look"
local sys = require "casulo.sys"

local host_tree = {}

local PRIVATE = { tmp = "1777", run = "755", home = "755", root = "700" }
local OWN = { proc = true, sys = true, dev = true }
local USELESS = { ["lost+found"] = true, ["."] = true, [".."] = true }

-- File systems that show the kernel or what runs, and not files.
local OF_THE_KERNEL = {}
for name in ([[proc sysfs devtmpfs devpts cgroup cgroup2 cpuset debugfs tracefs securityfs selinuxfs smackfs apparmorfs configfs bpf
  binfmt_misc pstore efivarfs fusectl mqueue nsfs rpc_pipefs nfsd autofs resctrl xenfs hugetlbfs]]):gmatch "%S+" do OF_THE_KERNEL[name] = true end

local function is_at_or_below(path, top) return path == top or path:sub(1, #top + 1) == top .. "/" or top == "/" end

local function first_part(path) return path:match "^/([^/]*)" end

-- The directories and links in the host's /, by name.
local function top_level()
  local directories, links = {}, {}
  local names, message = sys.scandir "/"
  if not names then error(message, 0) end
  for _, name in ipairs(names) do
    local found = look.lstat("/" .. name)
    local type = found and found.mode & sys.S_IFMT
    if PRIVATE[name] or OWN[name] or USELESS[name] then type = nil end
    if type == sys.S_IFDIR then directories[#directories + 1] = name end
    if type == sys.S_IFLNK then links[name] = look.readlink("/" .. name) end
  end
  table.sort(directories)
  return directories, links
end

-- Below a link such as /bin → usr/bin a place is known by its other name.
local function through_links(path, links)
  local to = links[first_part(path)]
  if not to or ("/" .. to .. "/"):find("/../", 1, true) then return path end
  return "/" .. to:gsub("^/+", ""):gsub("/+$", "") .. path:match "^/[^/]*(.*)"
end

local function unescaped(path)
  return (path:gsub("\\(%d%d%d)", function(digits) return string.char(tonumber(digits, 8)) end))
end

-- The host's mounts: path, type, device.
local function host_mounts()
  local list = {}
  for line in look.lines "/proc/self/mountinfo" do
    local device, target, rest = line:match "^%d+ %d+ (%S+) %S+ (%S+) (.*)$"
    if device then list[#list + 1] = { path = unescaped(target), device = device, type = rest:match "%- (%S+)" } end
  end
  return list
end

-- Where a path of the host leads; `path` is how messages call it.
local function real_path(place, path)
  local opened <close>, message = sys.open(place, sys.O_PATH)
  if not opened then error(("%s: %s"):format(path, message), 0) end
  return look.readlink(("/proc/self/fd/%d"):format(opened:fileno())) or error(path .. ": this takes a /proc", 0)
end

local function cover(path, host)
  if host.is_file(path) then return { type = "file", target = path, content = "", mode = "0", readonly = true } end
  return { type = "tmpfs", target = path, mode = "555", readonly = true, why = "nothing, where the host has what is not for inside" }
end

local function is_below_one_of(path, list)
  for _, mount in ipairs(list) do
    if is_at_or_below(path, mount.target) then return true end
  end
  return false
end

-- The mounts of the host that are not for inside: the kernel's file systems, and its /run in another place; in the order of their paths.
local function mounts_to_cover()
  local run, list, mounted = nil, {}, host_mounts()
  for _, mount in ipairs(mounted) do
    if mount.path == "/run" then run = mount.device end
  end
  for _, mount in ipairs(mounted) do
    if OF_THE_KERNEL[mount.type] or mount.device == run then list[#list + 1] = mount.path end
  end
  table.sort(list)
  return list
end

-- Covers for the uppermost of those that can be seen inside; `target_of` gives the place where one is, or nothing.
local function covers(to_cover, target_of, host)
  local list = {}
  for _, path in ipairs(to_cover) do
    local target = target_of(path)
    if target and not is_below_one_of(target, list) and look.lstat(path) then list[#list + 1] = cover(target, host) end
  end
  return list
end

local function below_shown(directories)
  local shown = {}
  for _, name in ipairs(directories) do shown[name] = true end
  return function(path) return shown[first_part(path)] and path end
end

-- A place of the host that is bound in brings along what is mounted below it.
local function below_bound(place)
  local real = real_path(place, place)
  return function(path) return path:sub(1, #real + 1) == real .. "/" and place .. path:sub(#real + 1) end
end

-- A path of the host that is the same inside; one that is relative begins where the caller stands.
local function absolute(value, path)
  return value:sub(1, 1) == "/" and check.absolute(value, path) or real_path(value, path)
end

local function check_place(value, path, host)
  local place = absolute(value, path)
  if place == "/" then error(path .. ": / is the root itself, which is read-only here", 0) end
  if OWN[first_part(place)] then error(("%s: the container has a %s of its own"):format(path, "/" .. first_part(place)), 0) end
  if host.is_file(place) == nil then error(("%s: there is no %s on this host"):format(path, place), 0) end
  return place
end

local function places(list, path, links, host)
  local checked = {}
  for i, value in ipairs(list or {}) do checked[i] = through_links(check_place(value, ("%s[%d]"):format(path, i), host), links) end
  return checked
end

-- Where the caller stands, if that is seen inside; else /.
local function default_cwd(writable, hidden)
  local cwd = look.readlink "/proc/self/cwd" or "/"
  for _, place in ipairs(hidden) do
    if is_at_or_below(cwd, place) then return "/" end
  end
  for _, place in ipairs(writable) do
    if is_at_or_below(cwd, place) then return cwd end
  end
  local first = first_part(cwd)
  return cwd:sub(1, 1) == "/" and not PRIVATE[first] and not OWN[first] and cwd or "/"
end

local function mounts_of(writable, hidden, host)
  local directories, links = top_level()
  local list, to_cover = {}, mounts_to_cover()
  local function put(mount) list[#list + 1] = mount end
  for name, to in pairs(links) do put { type = "symlink", target = "/" .. name, to = to } end
  table.sort(list, function(a, b) return a.target < b.target end)
  for _, name in ipairs(directories) do
    put { type = "bind", source = "/" .. name, target = "/" .. name, readonly = true, nodev = true }
  end
  for _, mount in ipairs(covers(to_cover, below_shown(directories), host)) do put(mount) end
  for _, name in ipairs { "tmp", "run", "home", "root" } do
    put { type = "tmpfs", target = "/" .. name, mode = PRIVATE[name], why = "the container's own, in place of the host's" }
  end
  for _, place in ipairs(writable) do
    put { type = "bind", source = place, target = place, nodev = true, is_file = host.is_file(place) }
  end
  for _, place in ipairs(writable) do
    for _, mount in ipairs(covers(to_cover, below_bound(place), host)) do put(mount) end
  end
  for _, place in ipairs(hidden) do put(cover(place, host)) end
  return list
end

--- Puts what of the host is shown before the mounts of a description whose root is the host's, and fills in its defaults.
-- Raises what is wrong with the paths that it names.
-- @tparam table checked the description: `root`, `mounts`, `cwd`, `readonly`
-- @tparam table raw as it was given
-- @tparam string path how messages call it
-- @tparam table host facts
function host_tree.fill_in(checked, raw, path, host)
  local _, links = top_level()
  local writable = places(checked.root.writable, path .. ".rootfs.writable", links, host)
  local hidden = places(checked.root.hidden, path .. ".rootfs.hidden", links, host)
  local list = mounts_of(writable, hidden, host)
  for _, mount in ipairs(checked.mounts) do
    mount.target = through_links(mount.target, links)
    list[#list + 1] = mount
  end
  checked.mounts = list
  if raw.cwd == nil then checked.cwd = default_cwd(writable, hidden) end
  if raw.readonly == nil then checked.readonly = true end
end

return host_tree
