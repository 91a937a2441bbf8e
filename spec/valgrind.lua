-- SPDX-License-Identifier: MIT
-- What of casulo.sys valgrind can run: all but clone3, which it does not know. `make sanitize` runs this under it.
local casulo = require "casulo"
local sys = casulo.sys

-- Programs: the steps of a whole container, of every kind of argument, and of each mistake.
local box = casulo.container { rootfs = "/r", hostname = "h", user = { uid = 1, groups = { 1, 2 } }, stdin = "null" }
for _ = 1, 3 do
  local steps = require "casulo.container".plan(box.checked, box.host, { stdin = true }):phase "child"
  assert(sys.program(steps):results())
end
for _, step in ipairs {
  {}, { 1 }, { "nope" }, { "chdir" }, { "chdir", 1 }, { "chdir", "a\0b" }, { "chdir", "/", 1 }, { "execve", "/", { "a", nil, "b" }, {} },
  { "setgroups", { -1 } }, { "sigprocmask", 0, { 0 } }, { "poll", { {} }, 0 }, { "poll", { { fd = casulo.ref "x", events = 1 } }, -2 },
  { "close", casulo.ref(("x"):rep(1000)), tolerate = { 1, 2, 3, 4, 5 } }, { "umask", 2 ^ 53 }, { "umask", 0.5 }, { "umask", 0, as = 1 },
} do
  assert(not pcall(sys.program, { step }))
end

-- Images: the program of a container with init, of every size of settings, and records, whole and cut off.
local with_init = casulo.container { rootfs = "/r", init = true, user = { uid = 1, groups = { 1, 2 } }, env = { LONG = ("x"):rep(100000) } }
for _, gate in ipairs { false, true } do
  local variant = { stdin = true, gate = gate, fds = { 3, 9 } }
  local steps = require "casulo.container".plan(with_init.checked, with_init.host, variant).steps
  local written = 0
  for _, step in ipairs(steps) do
    if step[1] == "write" and step[3]:sub(1, 4) == "\127ELF" then written = #step[3] end
  end
  assert(written > 100000)
end
local image = sys.image(sys.program { { "chdir", "/" }, { "execve", "/x", { "a" }, {} } }, { report = 3, fork = 1, grace = 5, is_init = true })
assert(#image > 1000 and not image:find("sys.so", 1, true))
for _, settings in ipairs { {}, { report = -1 }, { report = 3, fork = 9 }, { report = 3, grace = "x" } } do
  assert(not pcall(sys.image, sys.program { { "setsid" } }, settings))
end
local record = string.pack("=i4i4i4i4jjj", 3, 2, 1, 0, 7, -1, 9)
for size = 0, #record do
  assert(sys.image_report(record:sub(1, size)) == (size >= 16 and 2 or 0))
  assert(sys.image_report(string.pack("=i4i4i4i4", 1 << 30, -1 << 31, -1, 0) .. record:sub(1, size)) == -1 << 31)
end

-- Descriptors, files and names.
local directory = os.tmpname()
os.remove(directory)
assert(sys.mkdir(directory, 448))
local path = directory .. "/file"
local file = assert(sys.open(path, sys.O_RDWR | sys.O_CREAT, 384))
assert(sys.write(file, ("x"):rep(100000)) == 100000)
assert(file:close() and not pcall(file.fileno, file))
file = assert(sys.openat(sys.AT_FDCWD, path, sys.O_RDONLY))
assert(#sys.read(file, 200000) == 100000 and sys.read(file, 10) == "")
assert(sys.symlink("target", directory .. "/link") and sys.readlink(directory .. "/link") == "target")
assert(#sys.scandir(directory) == 2 and sys.stat(path).size == 100000 and sys.lstat(directory .. "/link"))
assert(sys.rename(path, path .. "2") and sys.unlink(path .. "2") and sys.unlink(directory .. "/link") and sys.rmdir(directory))
local reader, writer = sys.pipe2(0)
assert(sys.poll({ { fd = reader, events = sys.POLLIN }, { fd = writer, events = sys.POLLOUT } }, 0) == 1)
for _ = 1, 100 do assert(sys.pipe2(0)) end
collectgarbage()

-- Failures.
for _, name in ipairs { "open", "mount", "umount2", "stat", "scandir", "chdir", "readlink", "statfs", "unlink" } do
  local arguments = { open = { 0, n = 1 }, mount = { "/nonexistent", "tmpfs", 0, n = 3 }, umount2 = { 0, n = 1 } }
  local more = arguments[name] or { n = 0 }
  local result, message, errno = sys[name]("/nonexistent", table.unpack(more, 1, more.n))
  assert(result == nil and type(message) == "string" and type(errno) == "number")
end
assert(sys.uname().sysname == "Linux" and sys.gethostname() and sys.getgroups() and sys.sigprocmask(sys.SIG_BLOCK, {}))
