-- SPDX-License-Identifier: MIT
--- What the specs of hostile trees share: a victim on the host, who watches it, what may lie in a target's place, and mounts.
local assert = require "luassert"
local support = require "support"
local casulo = require "casulo"
local sys = casulo.sys

local hostile = {}

local programs = {}
--- Compiles a program of the specs, once. → its path, where everyone may execute it
function hostile.compile(source, flags)
  if not programs[source] then
    local path = ("%s/%s"):format(support.tmpdir(), source:match "([^/]+)%.c$")
    local status, _, err = support.sh(("gcc -O1 -Wall -Wextra -Werror %s -o '%s' spec/%s"):format(flags or "", path, source))
    assert.are.equal(0, status, err)
    programs[source] = path
  end
  return programs[source]
end

local Companion = {}
Companion.__index = Companion

--- Starts a host process that says "ready" and ends with its standard input.
function hostile.companion(argv)
  local input, ours = sys.pipe2()
  local output, theirs = sys.pipe2()
  local pid = assert(sys.clone(0, function()
    sys.dup2(input, 0)
    sys.dup2(theirs, 1)
    sys.execve(argv[1], argv, { "PATH=/usr/bin:/bin" })
  end, { threads = true }))
  input:close()
  theirs:close()
  local self = setmetatable({ pid = pid, input = ours, output = output }, Companion)
  local text = sys.read(output, 6)
  if text ~= "ready\n" then error(("%s did not begin: %s"):format(argv[1], text), 2) end
  return self
end

--- Ends it. → what it has printed since
function Companion:finish()
  self.input:close()
  local parts = {}
  repeat
    parts[#parts + 1] = assert(sys.read(self.output, 65536))
  until parts[#parts] == ""
  self.output:close()
  local _, how, code = sys.waitpid(self.pid)
  assert.are.same({ "exit", 0 }, { how, code })
  self.pid = nil
  return table.concat(parts)
end

function Companion:__close()
  if not self.pid then return end
  sys.kill(self.pid, sys.SIGKILL)
  sys.waitpid(self.pid)
  self.input:close()
  self.output:close()
end

--- Watches files and directories of the host.
function hostile.witness(...) return hostile.companion { hostile.compile "witness.c", ... } end

--- Names, types, modes, owners, sizes, times, links and contents of all that is in a directory.
function hostile.snapshot(directory)
  local status, text, err = support.sh(("cd '%s' && find . -printf '%%p %%y %%m %%U %%G %%s %%T@ %%l\\n' | sort && "
    .. "find . -type f | sort | xargs cat"):format(directory))
  assert.are.equal(0, status, err)
  return text
end

--- A directory of the host that nothing inside may reach, with a file, a directory, a fifo and a link in it, and beside it what is
-- bound into containers. → the paths
function hostile.victim()
  local base = support.tmpdir()
  local paths = { base = base, victim = base .. "/victim", file = base .. "/victim/file", directory = base .. "/victim/directory",
    source = base .. "/source", source_file = base .. "/source/file",
    setuid = base .. "/victim/setuid" }
  local script = "cd '%s' && mkdir -p victim/directory/inner source && echo of the host | tee victim/file victim/directory/inner/file "
    .. "source/file >/dev/null && mkfifo victim/fifo && ln -s file victim/link && chmod 640 victim/file && chmod 710 victim/directory "
    .. "&& cp -p victim/file victim/setuid && chmod 4755 victim/setuid"
  local status, _, err = support.sh(script:format(base))
  assert.are.equal(0, status, err)
  return paths
end

--- One line for each type of mount: what is to be mounted, from the paths of a victim; and the shape below that it can be mounted
-- on, where that is not "a directory".
hostile.MOUNTS = {
  { "a directory", function(paths) return { type = "bind", source = paths.source } end },
  { "a directory, read-only", function(paths) return { type = "bind", source = paths.source, readonly = true } end },
  { "a file", function(paths) return { type = "bind", source = paths.source_file } end, "a file" },
  { "tmpfs", function() return { type = "tmpfs" } end },
  { "proc", function() return { type = "proc" } end },
  { "sysfs", function() return { type = "sysfs" } end },
  { "devpts", function() return { type = "devpts" } end },
  { "mqueue", function() return { type = "mqueue" } end },
  { "cgroup2", function() return { type = "cgroup2" } end },
  { "a device", function() return { type = "device", source = "/dev/null" } end, "a file" },
  { "a file of one's own", function() return { type = "file", content = "of the container", mode = 384 } end, "a file" },
  { "a made directory", function() return { type = "directory", mode = 448 } end },
  { "a made link", function(paths) return { type = "symlink", to = paths.directory } end },
  { "an overlay", function(paths) return { type = "overlay", lower = { paths.source } } end },
}

--- A root with nothing in it but a command.
function hostile.small_root()
  local root = support.tmpdir()
  assert(os.execute(("mkdir '%s/bin' && cp /bin/busybox '%s/bin/true'"):format(root, root)))
  return root
end

--- Calls a function in a mount namespace of its own, in which root may mount.
function hostile.in_mount_namespace(body)
  support.in_child(function()
    assert(sys.unshare(sys.CLONE_NEWNS))
    assert(sys.mount(nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE))
  end, body)
end

local function link(text)
  return function(at, paths) return sys.symlink((text:gsub("%%(%a+)", paths)), at) end
end

-- One that leads up to the host's root from wherever it is, if anything does.
local function relative(text) return link(("../"):rep(24) .. text) end

local function chain(at, paths)
  local name = at:match "[^/]*$"
  for i = 1, 8 do assert(sys.symlink(("%s-%d"):format(name, i), i == 1 and at or ("%s-%d"):format(at, i - 1))) end
  return sys.symlink(paths.directory, at .. "-8")
end

local function existing(name)
  return function(at, paths) return sys.link(paths[name], at) end
end

--- What may lie in the place of a mount target: a name, how it gets there, and whether only root can make it.
hostile.SHAPES = {
  { "a link to a directory of the host", link "%directory" },
  { "a link to a file of the host", link "%file" },
  { "a link to a fifo of the host", link "%victim/fifo" },
  { "a link to what the host lacks", link "%victim/new" },
  { "a link below what the host lacks", link "%victim/new/er" },
  { "a relative link to a directory of the host", relative "%directory" },
  { "a relative link to a file of the host", relative "%file" },
  { "a link to the host's root", link "/" },
  { "a link to what is above all", link "../../../../../../.." },
  { "a link to itself", function(at) return sys.symlink(at:match "[^/]*$", at) end },
  { "a chain of links", chain },
  { "a link through the root of PID 1", link "/proc/1/root%directory" },
  { "a link through its own root", link "/proc/self/root%directory" },
  { "a link through its own directory", link "/proc/self/cwd%directory" },
  { "a link to a descriptor", link "/proc/self/fd/%open" },
  { "a link below a descriptor", link "/proc/self/fd/%open/directory" },
  { "a link to a descriptor of a thread", link "/proc/thread-self/fd/%open" },
  { "a link by way of /dev", link "/dev/fd/%open" },
  { "a link to its own executable", link "/proc/self/exe" },
  { "a file", existing "plain" },
  { "a hard link to a file of the host", existing "twin" },
  { "a fifo", existing "pipe" },
  { "a socket", existing "socket" },
  { "a character device", existing "null", true },
  { "a block device", existing "disk", true },
  { "a directory", function(at) return sys.mkdir(at, 493) end },
}

--- What may lie above a target, and lead out by a /proc that is in sight: the container's, or the host's that is mounted in a root.
-- @tparam string proc where that is
function hostile.shapes_by(proc)
  return {
    { "a link through the root of PID 1", link(proc .. "/1/root%directory") },
    { "a link to what the host lacks", link(proc .. "/1/root%victim/new") },
    { "a relative link through the root of PID 1", link("../../.." .. proc .. "/1/root%directory") },
    { "a link through its own root", link(proc .. "/self/root%directory") },
    { "a link to a descriptor", link(proc .. "/self/fd/%open") },
    { "a link below a descriptor", link(proc .. "/self/fd/%open/directory") },
    { "a directory", function(at) return sys.mkdir(at, 493) end },
  }
end

--- Makes the nodes that shapes are links to, and opens the victim, as a careless caller has it open.
-- @return the descriptor
function hostile.prepare(paths)
  local beside = paths.base .. "/beside"
  assert(sys.mkdir(beside, 493))
  for _, name in ipairs { "plain", "pipe", "socket", "twin" } do paths[name] = ("%s/%s"):format(beside, name) end
  support.write_file(paths.plain, "plain")
  support.write_file(paths.twin, "of the host, too")
  assert(sys.mknod(paths.pipe, sys.S_IFIFO | 438))
  assert(sys.mknod(paths.socket, sys.S_IFSOCK | 438))
  if support.is_root() then
    paths.null, paths.disk = beside .. "/null", beside .. "/disk"
    assert(sys.mknod(paths.null, sys.S_IFCHR | 438, 0x103))
    assert(sys.mknod(paths.disk, sys.S_IFBLK | 384, 0xfe00))
  end
  local open = assert(sys.open(paths.victim, sys.O_RDONLY | sys.O_DIRECTORY))
  paths.open = tostring(open:fileno())
  return open
end

return hostile
