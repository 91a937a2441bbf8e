-- SPDX-License-Identifier: MIT

--- Root file systems: those that are made on disk, and forms of `rootfs` in a description that need no tree, or more than one.
-- @module casulo.rootfs

local sys = require "casulo.sys"

local rootfs = {}

local DIRECTORIES = { bin = 493, proc = 365, sys = 365, dev = 493, tmp = 1023, etc = 493, root = 448 } -- 0755 0555 01777 0700

local FILES = {
  ["etc/passwd"] = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
  ["etc/group"] = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
  ["etc/hosts"] = "127.0.0.1 localhost\n::1 localhost\n",
}

local INSTALL = "install it with: apt-get install busybox-static"

-- Raised without a position: the function that users call adds theirs.
local function check(result, message, errno)
  if result then return result end
  local words = errno and require "casulo.obstacles".line(require "casulo.shortages"({ errno = errno }, require "casulo.surroundings"))
    or errno == sys.EACCES and "choose a place that the caller may write to"
  error(words and ("%s (%s)"):format(message, words) or tostring(message), 0)
end

local function find_busybox()
  for directory in ((os.getenv "PATH" or "") .. ":/bin:/usr/bin"):gmatch "[^:]+" do
    local path = directory .. "/busybox"
    local found = sys.stat(path)
    if found and found.mode & sys.S_IFMT == sys.S_IFREG then return path end
  end
  error("there is no busybox in PATH; " .. INSTALL, 0)
end

-- A program that asks for a dynamic loader cannot run in a root that has none.
local function check_static(path, bytes)
  local elf = require "casulo.executable".elf(bytes)
  if not elf then error(path .. " is no ELF program", 0) end
  if elf.loader == nil then error(path .. " is cut off: its ELF header leads beyond its end", 0) end
  if elf.loader then
    error(("%s is not static: it needs a loader and libraries that the new root lacks; %s"):format(path, INSTALL), 0)
  end
end

-- Under its own name, whatever the file is called: it takes another for the name of an applet.
local function applets_of(path)
  local list = { "execve", path, { "busybox", "--list" }, {}, why = "busybox knows its applets" }
  local result = check(require "casulo.unshared"({}, { list }, { stdout = "pipe", stderr = "null", stdin = "null" }))
  local names = {}
  for line in result.stdout:gmatch "[^\n]+" do
    if line:find "^[%w%[_.+-]+$" and line ~= "busybox" then names[#names + 1] = line end
  end
  if result.exit_code ~= 0 or not names[1] then error(path .. " --list names no applets: is it busybox?", 0) end
  return names
end

local function read_program(path)
  local file <close> = check(io.open(path, "rb"))
  local bytes, message = file:read "a"
  if not bytes then error(("%s: %s"):format(path, message), 0) end
  check_static(path, bytes)
  return bytes
end

local function write_file(path, text, mode)
  local file <close> = check(sys.open(path, sys.O_WRONLY | sys.O_CREAT | sys.O_EXCL, 384))
  local position = 1
  while position <= #text do
    local count, message, errno = sys.write(file, position == 1 and text or text:sub(position))
    position = position + check(count, ("%s: %s"):format(path, message), errno)
  end
  check(sys.chmod(path, mode))
end

-- By descriptors that follow no link: whoever may write beside the root could else lead this somewhere else.
local function remove_below(parent, name)
  local directory <close> = sys.openat(parent, name, sys.O_RDONLY | sys.O_DIRECTORY | sys.O_NOFOLLOW)
  local here = ("/proc/self/fd/%d"):format(parent:fileno())
  if not directory then return sys.unlink(("%s/%s"):format(here, name)) end
  for _, inner in ipairs(sys.scandir(("/proc/self/fd/%d"):format(directory:fileno())) or {}) do remove_below(directory, inner) end
  sys.rmdir(("%s/%s"):format(here, name))
end

local function remove_tree(parent, name)
  local directory <close> = sys.open(parent, sys.O_RDONLY | sys.O_DIRECTORY)
  if directory then remove_below(directory, name) end
end

local function fill(root, binary, applets)
  for name, mode in pairs(DIRECTORIES) do
    local path = ("%s/%s"):format(root, name)
    check(sys.mkdir(path, mode))
    check(sys.chmod(path, mode)) -- whatever the umask is
  end
  write_file(root .. "/bin/busybox", binary, 493)
  for _, name in ipairs(applets) do check(sys.symlink("busybox", ("%s/bin/%s"):format(root, name))) end
  for name, text in pairs(FILES) do write_file(("%s/%s"):format(root, name), text, 420) end
end

local function is_root_file_system(path)
  return sys.stat(path .. "/bin/busybox") ~= nil and sys.lstat(path .. "/bin/sh") ~= nil
end

local function make_parents(path)
  local made = path:sub(1, 1) == "/" and "" or "."
  for part in (path:match "^(.*)/" or ""):gmatch "[^/]+" do
    made = ("%s/%s"):format(made, part)
    local ok, message, errno = sys.mkdir(made, 493)
    if ok then check(sys.chmod(made, 493))
    elseif errno ~= sys.EEXIST then check(nil, message, errno) end
  end
end

-- Temporary names say whose they are, so that the next call can clear away what a killed one left.
local function temporary_name(path)
  local parent, name = path:match "^(.*)/([^/]+)$"
  parent, name = parent or ".", name or path
  local namespace = (sys.readlink "/proc/self/ns/pid" or ""):match "%d+" or "0"
  return parent == "" and "/" or parent, (".%s.casulo-%s-"):format(name, namespace)
end

local function is_left_over(parent, name, prefix)
  local pid = name:sub(1, #prefix) == prefix and name:sub(#prefix + 1):match "^(%d+)%-%x+$"
  if not pid or #pid > 9 then return false end
  local found = sys.lstat(("%s/%s"):format(parent, name))
  local _, _, errno = sys.kill(math.tointeger(tonumber(pid)), 0)
  return errno == sys.ESRCH and found and found.uid == sys.geteuid()
end

local function remove_leftovers(parent, prefix)
  for _, name in ipairs(sys.scandir(parent) or {}) do
    if is_left_over(parent, name, prefix) then remove_tree(parent, name) end
  end
end

-- Fills the temporary directory and gives it its name; what is left of it in the end goes.
local function build_at(parent, name, path, busybox)
  local binary = read_program(busybox)
  local applets = applets_of(busybox)
  make_parents(path)
  local temporary = ("%s/%s"):format(parent, name)
  check(sys.mkdir(temporary, 448))
  check(sys.chmod(temporary, 448)) -- whatever the umask is
  local _ <close> = setmetatable({}, { __close = function() remove_tree(parent, name) end })
  fill(temporary, binary, applets)
  check(sys.chmod(temporary, 493))
  local ok, message = sys.rename(temporary, path)
  if not ok and not is_root_file_system(path) then error(message, 0) end -- else another process was faster
end

-- What nobody can guess and put there first.
local function random_part()
  local source <close> = check(io.open("/dev/urandom", "rb"))
  return ("%016x"):format(string.unpack("=I8", check(source:read(8))))
end

local function build(path, options)
  local parent, prefix = temporary_name(path)
  remove_leftovers(parent, prefix)
  if sys.lstat(path) then -- in this order: another process may give a whole one this name meanwhile
    if is_root_file_system(path) then return end
    error(path .. " exists and is not a root file system; choose another name or remove it", 0)
  end
  build_at(parent, ("%s%d-%s"):format(prefix, sys.getpid(), random_part()), path, options.busybox or find_busybox())
end

--- Makes a root file system of busybox: `bin/busybox` with a link for each of its applets, the directories that a
-- container mounts on, and a minimal `/etc`. It appears whole or not at all; where it is already, nothing changes.
-- Raises when it cannot be made, or when something else is there.
-- @tparam string path the directory; missing ones above it are made
-- @tparam[opt] table options `busybox`: the static program to take (the first in PATH)
-- @treturn string the path, for `rootfs` in a description
-- @usage casulo.rootfs.busybox "build/hello"
function rootfs.busybox(path, options)
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then error("rootfs.busybox: expected the path of a directory", 2) end
  options = options or {}
  if type(options) ~= "table" then error("rootfs.busybox: expected a table of options", 2) end
  for name, value in pairs(options) do
    if name ~= "busybox" then error(("rootfs.busybox: unknown option %s; known: busybox"):format(tostring(name)), 2) end
    if type(value) ~= "string" or value:find("\0", 1, true) then error("rootfs.busybox: busybox: expected the path of a program", 2) end
  end
  local trimmed = path:gsub("(.)/+$", "%1")
  local ok, message = pcall(build, trimmed, options)
  if not ok then error(("rootfs.busybox: %s"):format(message), 2) end
  return path
end

local function of_type(type_name, fields)
  if fields ~= nil and type(fields) ~= "table" then error(("rootfs.%s: expected a table of fields"):format(type_name), 3) end
  local root = { type = type_name }
  for name, value in pairs(fields or {}) do root[name] = value end
  return root
end

--- An empty root in memory, into which mounts, directories, files and links are put.
-- @tparam[opt] table fields `size`: bytes, or a string such as "16m"; `mode` (0755)
-- @treturn table for `rootfs` in a description, which checks it
-- @see tmpfs(5)
function rootfs.tmpfs(fields) return of_type("tmpfs", fields) end

--- Directories as one. They are only read; what is written goes to another, or is thrown away.
-- @tparam table fields `lower`: a list of directories, the topmost first; `upper`, which takes what is written and is kept, and
--   `work`, an empty directory of the same file system; or `size`: how much may be written in memory
-- @treturn table for `rootfs` in a description, which checks it
function rootfs.overlay(fields) return of_type("overlay", fields) end

--- The host's own system, read-only, with /tmp, /run, /home and /root of the container's own.
-- @tparam[opt] table fields `writable`: a list of paths that are the host's, and may be written; `hidden`: those that are empty inside
-- @treturn table for `rootfs` in a description, which checks it
function rootfs.host(fields) return of_type("host", fields) end

return rootfs
