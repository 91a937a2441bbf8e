-- SPDX-License-Identifier: MIT
-- Goal:   a busybox container: first by hand, call by call, with what each process sees; then as casulo describes it.
-- Run:    sudo make demo
-- Expect: by hand, the shell is a child of PID 1, which still sees the host's files; described, the shell itself is PID 1
--         and the host's tree is gone. Both have a hostname, a /proc and a mount table of their own.
local casulo = require "casulo"
local recipes, sys = casulo.recipes, casulo.sys

-- CONTAINER = NAMESPACES + FILESYSTEM + PROCESS
local root = casulo.rootfs.busybox "build/demo"
local SCRIPT = "echo '# ls /'; ls /; echo '# echo $$'; echo $$; echo '# ps'; ps\n"

local KINDS = { "pid", "uts", "ipc", "mnt" }
local host = {}
for _, kind in ipairs(KINDS) do host[kind] = sys.readlink("/proc/self/ns/" .. kind) end

local function print_row(process, pid)
  local namespaces = {}
  for i, kind in ipairs(KINDS) do
    namespaces[i] = (sys.readlink(("/proc/%d/ns/%s"):format(pid, kind)) ~= host[kind] and "new " or "the host's ") .. kind
  end
  print(("| %-14s | %-34s | %-22s | %d |"):format(process, table.concat(namespaces, ", "),
    sys.readlink(("/proc/%d/root"):format(pid)):match "[^/]*/?[^/]*$", pid))
end

-- PID 1 starts a shell in the other root, looks at both while it waits for its first line, and types.
local function start_shell()
  local reader, writer = assert(sys.pipe2(0))
  local pid = assert(sys.clone(0, function()
    writer:close()
    assert(sys.dup2(reader, 0))
    assert(sys.chroot(root)) -- where the process lives
    assert(sys.chdir "/")
    assert(sys.execve("/bin/sh", { "sh" }, { "PATH=/bin" }))
  end))
  reader:close()
  while sys.readlink(("/proc/%d/root"):format(pid)) == "/" do sys.poll({}, 1) end
  print("By hand:\n| Process        | Namespaces                         | Filesystem             | PID inside ns |\n"
    .. "|----------------|------------------------------------|------------------------|---------------|")
  print_row("lua (PID 1)", 1)
  print_row("sh (chroot)", pid)
  io.stdout:flush() -- before the shell's own output
  sys.write(writer, SCRIPT .. "echo '# hostname sag'; hostname sag; hostname\n")
  writer:close()
  sys.waitpid(pid)
end

assert(casulo.unshared({ "pid", "uts", "ipc", "mount" }, {
  recipes.private_mounts(),
  recipes.fresh_proc(),
  { "mount", "none", root .. "/proc", "proc", 0, why = "the root has a /proc of its own; none, for no disk is behind it" },
  start_shell,
}))
print "\nThe same as a description; its shell is PID 1:"
local box = casulo.container { rootfs = root, hostname = "sag", command = { "/bin/sh" }, stdin = "pipe" }
local shell <close> = assert(box:start())
sys.write(shell.stdin, SCRIPT .. "echo '# hostname'; hostname; echo '# mount'; mount\n") -- nobody inside may change the name
shell.stdin:close()
shell:wait()
