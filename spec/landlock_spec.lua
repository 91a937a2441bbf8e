-- SPDX-License-Identifier: MIT
-- What a command may do under Landlock: with files, ports and other processes; and that its caller may all it could.
local casulo = require "casulo"
local exec = require "casulo.exec"
local hostile = require "hostile_support"
local json = require "dkjson"
local landlock = require "casulo.recipes.landlock"
local support = require "support"
local sys = casulo.sys

local ABI = casulo.host.landlock_abi
local NEWER = { "truncate", "ioctl_dev" } -- than the kernel of Debian 12
local SYSTEM = { ["/bin"] = "read execute", ["/dev"] = "read_file write_file truncate", ["/proc"] = "read" }

-- Where the kernel has no Landlock, or not that of this ABI, a test cannot run.
local function test(name, abi, body)
  if ABI >= abi then return support.each_identity(name, function() support.leaves_nothing(body) end) end
  it(name, function() support.cannot_run(("this takes ABI %d of Landlock, and the kernel has %d"):format(abi, ABI)) end)
end

-- The field, with the paths that a shell needs.
local function paths(more, fields)
  local field = { paths = {}, optional = NEWER }
  for _, list in ipairs { SYSTEM, more or {} } do
    for path, rights in pairs(list) do field.paths[path] = rights end
  end
  for name, value in pairs(fields or {}) do field[name] = value end
  return field
end

local function box(script, fields)
  local description = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script }, timeout = 60 }
  for name, value in pairs(fields) do description[name] = value end
  return casulo.container(description)
end

-- → what it printed, exit status, what it wrote to standard error
local function run(script, fields)
  local result = assert(box(script, fields):run { stdout = "pipe", stderr = "pipe" })
  return (result.stdout:gsub("\n$", "")), result.exit_code or -result.signal, result.stderr
end

-- What a command does in /w, and the rights that it takes.
local ACTIONS = {
  { "execute", "/w/true", "execute read_file" }, { "write", "echo x >>/w/file", "write_file" }, { "read", "cat /w/file", "read_file" },
  { "list", "ls /w/dir", "read_dir" }, { "rmdir", "rmdir /w/dir", "remove_dir" }, { "rm", "rm /w/gone", "remove_file" },
  { "mkdir", "mkdir /w/new-dir", "make_dir" }, { "create", ": >>/w/new", "make_reg write_file" }, { "mkfifo", "mkfifo /w/fifo", "make_fifo" },
  { "symlink", "ln -s x /w/link", "make_sym" },
  { "link", "ln /w/a/file /w/b/file", "make_reg refer" }, { "overwrite", "echo x >/w/file", "write_file truncate" },
}

local function tree()
  local top = support.tmpdir()
  for _, name in ipairs { "a", "b", "dir" } do assert(sys.mkdir(("%s/%s"):format(top, name), 493)) end
  for _, name in ipairs { "file", "gone", "a/file" } do support.write_file(("%s/%s"):format(top, name), "text\n") end
  assert(os.execute(("cp '%s/bin/busybox' '%s/true'"):format(support.rootfs(), top)))
  return top
end

-- The actions that fail with these rights in /w.
local function failing(rights)
  local script = {}
  for i, action in ipairs(ACTIONS) do script[i] = ("( %s ) >/dev/null 2>&1 || echo %s"):format(action[2], action[1]) end
  local mounts = { { type = "bind", source = tree(), target = "/w" } }
  return (run(table.concat(script, "\n"), { mounts = mounts, landlock = paths { ["/w"] = rights } }):gsub("\n", " "))
end

local function names(set, but)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name ~= but and name or nil end
  table.sort(list)
  return list
end

describe("landlock.paths", function()
  for _, right in ipairs(names(landlock.RIGHTS)) do
    test(("keeps a command from what takes %s, and from nothing else, where that is not given"):format(right), 1, function()
      local expected = {}
      for _, action in ipairs(ACTIONS) do
        local is_known = ABI >= (landlock.SINCE[right] or 1)
        if is_known and (" " .. action[3] .. " "):find(" " .. right .. " ", 1, true) then expected[#expected + 1] = action[1] end
      end
      assert.are.equal(table.concat(expected, " "), failing(names(landlock.RIGHTS, right)))
    end)
  end

  test("lets it do all that read, write and execute stand for, and no more than each of them", 1, function()
    assert.are.equal("", failing "read write execute")
    assert.are.equal("write rmdir rm mkdir create mkfifo symlink link overwrite", failing "read, execute")
    assert.are.equal("execute read list", failing { "write" })
  end)

  test("keeps it from all other places, as a refusal that it can read", 1, function()
    local text, status, err = run("cat /proc/self/comm; cat /etc/passwd; ls /", { landlock = paths() })
    assert.are.same({ "cat", 1 }, { text, status })
    assert.are.equal("cat: can't open '/etc/passwd': Permission denied\nls: can't open '/': Permission denied\n", err)
    assert.is_truthy(run("cat /etc/passwd", { landlock = paths { ["/etc/passwd"] = "read" } }):find "root")
  end)

  test("keeps it from ioctl on the devices that it opens", 5, function()
    local function size(rights)
      local p <close> = assert(box("stty size </dev/tty", { tty = { rows = 7, columns = 70 }, landlock = paths { ["/dev"] = rights } }):start())
      return p:wait().tty
    end
    assert.is_truthy(size("read_file write_file"):find "Permission denied")
    assert.are.equal("7 70\r\n", size "read_file write_file ioctl_dev")
  end)

  test("holds for what it starts, with whatever ids, and cannot be taken back", 1, function()
    local _, status, err = run("sh -c 'cat /etc/passwd'; echo x >/proc/self/comm; umount /proc", { landlock = paths() })
    assert.are.equal(1, status)
    for _, message in ipairs { "can't open '/etc/passwd': Permission denied", "can't create /proc/self/comm: Permission denied",
      "can't unmount /proc: " } do assert.is_truthy(err:find(message, 1, true), err) end
  end)

  test("leads through links inside, but through none of /proc", 1, function()
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    assert(sys.symlink("/etc", root .. "/link"))
    assert.is_truthy(run("cat /etc/passwd", { rootfs = root, landlock = paths { ["/link"] = "read" } }):find "root")
    local _, err = box("true", { landlock = paths { ["/proc/self/root/etc"] = "read" } }):run()
    assert.is_truthy(tostring(err):find("which is never followed)", 1, true), tostring(err))
  end)

  test("leads a command of exec through none of /proc, either, that has come since", 1, function()
    local root, outside = casulo.rootfs.busybox(support.tmpdir() .. "/root"), support.tmpdir()
    support.write_file(outside .. "/file", "of the host")
    assert(sys.mkdir(root .. "/srv", 493))
    local p <close> = assert(box("exec sleep 1000", { rootfs = root, landlock = paths { ["/srv"] = "read" } }):start())
    assert(sys.rmdir(root .. "/srv"))
    assert(sys.symlink("/proc/self/fd/0", root .. "/srv"))
    local directory <close> = assert(sys.open(outside, sys.O_RDONLY | sys.O_DIRECTORY | sys.O_CLOEXEC))
    local q, err = p:exec { command = { "cat", "/srv/file" }, stdin = directory, stdout = "pipe" }
    assert.are.same({ "nil", sys.ELOOP }, { q and q:wait().stdout or tostring(q), err and err.errno })
  end)

  test("names the place that is missing, or that is a file where it takes a directory", 1, function()
    for path, message in pairs {
      ["/nope"] = 'openat2%(AT_FDCWD, "/nope", .*No such file or directory %(landlock%.paths: there is no such place in the container%)',
      ["/etc/passwd/x"] = 'openat2.*"/etc/passwd/x".*Not a directory %(landlock%.paths: there is no such place',
      ["/etc/passwd"] = "landlock_add_rule.*Invalid argument %(landlock%.paths: a file has none of these rights",
    } do
      local result, err = box("true", { landlock = paths { [path] = "make_dir" } }):run()
      assert.are.same({ "nil", "setup" }, { tostring(result), err.kind })
      assert.is_truthy(tostring(err):find(message), tostring(err))
    end
  end)

  test("says so when the command cannot be executed for it", 1, function()
    for _, init in ipairs { false, true } do
      for _, rights in ipairs { "execute", "read" } do
        local result, err = box("true", { init = init, landlock = { paths = { ["/bin"] = rights }, optional = NEWER } }):run()
        assert.are.same({ "nil", "not_executable", sys.EACCES }, { tostring(result), err.kind, err.errno })
        assert.is_truthy(err.hint:find("landlock.paths must let the command", 1, true), err.hint)
      end
    end
    local _, err = casulo.container { rootfs = support.rootfs(), command = { "/etc/passwd" } }:run()
    assert.is_nil(err.hint:find "landlock")
  end)

  test("restricts the command, whoever starts it and however it is begun", 1, function()
    local script = "cat /etc/passwd 2>/dev/null || echo denied"
    local uid, gid = sys.geteuid(), sys.getegid()
    local namespaces = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }
    for _, fields in ipairs {
      {}, { init = true }, { init = true, namespaces = namespaces, uid_map = { { 5, uid, 1 } }, gid_map = { { 5, gid, 1 } } },
      support.is_root() and { user = { uid = 7, gid = 8, groups = { 9 } } } or {},
      support.is_root() and { init = true, namespaces = namespaces, uid_map = { { 0, 100000, 9 } }, gid_map = { { 0, 100000, 9 } }, user = 7 } or {},
    } do
      fields.landlock = paths()
      assert.are.equal("denied", (run(script, fields)))
      local p <close> = assert(box(script, fields):create { stdout = "pipe" })
      assert(p:start())
      assert.are.equal("denied\n", p:wait().stdout)
      fields.tty = true
      local terminal <close> = assert(box(script, fields):start())
      assert.are.equal("denied\r\n", terminal:wait().tty)
    end
  end)

  test("restricts a command of exec as the first one, by handle and by record", 1, function()
    local script = { "/bin/sh", "-c", "cat /etc/passwd 2>/dev/null || echo denied" }
    for _, init in ipairs { false, true } do
      local odd = "/a\nb\xff"
      local first = box("exec sleep 1000", { init = init, landlock = paths { [odd] = "read" }, mounts = { { type = "tmpfs", target = odd } } })
      local p <close> = assert(first:start())
      local q <close> = assert(p:exec { command = script, stdout = "pipe" })
      assert.are.same({ exit_code = 0, stdout = "denied\n" }, q:wait())
      local record = json.decode(json.encode(require "casulo.record".of(first)), 1, nil, nil, nil)
      record.pid, record.pidfd = p.pid, p.pidfd
      local r <close> = assert(exec.start(assert(require "casulo.record".target(record)), { command = script, stdout = "pipe" }))
      assert.are.same({ exit_code = 0, stdout = "denied\n" }, r:wait())
    end
  end)

  test("is refused in a record that is damaged", 1, function()
    local good = require "casulo.record".of(box("true", { landlock = paths() }))
    good.pid = sys.getpid()
    assert(require "casulo.record".target(good))
    for _, damage in ipairs { 1, {}, { paths = 1 }, { paths = { 1 } }, { paths = { {} } }, { paths = { { 1 } } }, { paths = { { "x", "read" } } },
      { paths = { { "/" } } }, { paths = { { "/", "raed" } } }, { bind_tcp = { "x" } }, { scope = { 1 } }, { scope = {}, optional = 1 } } do
      good.landlock = damage
      local target, err = require "casulo.record".target(good)
      assert.is_nil(target)
      assert.is_truthy(tostring(err):find("exec: record.landlock", 1, true), tostring(err))
    end
  end)

  test("gives the command no descriptor", 1, function()
    for _, init in ipairs { false, true } do
      assert.are.equal("0\n1\n2\n3", (run("ls /proc/self/fd", { init = init, stdin = "null", landlock = paths { ["/etc"] = "read" } })))
    end
    local p <close> = assert(box("exec sleep 1000", { landlock = paths { ["/etc"] = "read" } }):start())
    local q = assert(p:exec { command = { "ls", "/proc/self/fd" }, stdin = "null", stdout = "pipe" })
    assert.are.equal("0\n1\n2\n3\n", q:wait().stdout)
  end)

  test("leaves a PID 1 of casulo's own as it is: it signals and reaps", 1, function()
    local fields = { init = { grace = 60 }, landlock = paths({}, ABI >= 6 and { scope = { "signal" } } or nil) }
    local p <close> = assert(box("exec sleep 1000", fields):start())
    assert(p:signal "TERM")
    assert.are.same({ exit_code = 128 + sys.SIGTERM }, p:wait())
    assert.are.same({ exit_code = 5 }, box("(sleep 1000 & sleep 1000 &); exit 5", fields):run()) -- whom it ends at once, and reaps
  end)

  test("leaves the caller as it is", 1, function()
    local path = support.tmpdir() .. "/file"
    run("true", { landlock = paths({}, ABI >= 4 and { bind_tcp = {} } or nil) })
    support.write_file(path, "text")
    assert.are.equal("text", support.read_file(path))
    assert.are.equal(0, sys.prctl(sys.PR_GET_NO_NEW_PRIVS))
    assert.are.equal(0, (support.sh "true"))
  end)
end)

describe("landlock's ports", function()
  local LISTEN = "nc -l -p %d >/dev/null </dev/null & until %s </dev/null; do :; done"

  test("are those that a command may listen on", 4, function()
    local _, status, err = run("nc -l -p 81", { landlock = { bind_tcp = { 80 } } })
    assert.are.same({ 1, "nc: bind: Permission denied\n" }, { status, err })
    _, status, err = run("nc -l -p 80", { landlock = { bind_tcp = {} } })
    assert.are.same({ 1, "nc: bind: Permission denied\n" }, { status, err })
    assert.are.same({ "", 0, "" }, { run(LISTEN:format(8080, "nc 127.0.0.1 8080 2>/dev/null"), { landlock = { bind_tcp = { 8080, 9090 } } }) })
  end)

  test("are those that it may connect to, whoever listens", 4, function()
    local connect = LISTEN:format(8080, "nc 127.0.0.1 8080 2>/dev/null") .. "; nc 127.0.0.1 8081"
    local _, status, err = run(connect, { landlock = { connect_tcp = { 8080 } } })
    assert.are.same({ 1, "nc: can't connect to remote host (127.0.0.1): Permission denied\n" }, { status, err })
    _, status, err = run("nc 127.0.0.1 8081", { landlock = { connect_tcp = { 8081 } } })
    assert.are.same({ 1, "nc: can't connect to remote host (127.0.0.1): Connection refused\n" }, { status, err })
  end)

  test("are those of a command of exec, too", 4, function()
    local p <close> = assert(box("exec sleep 1000", { landlock = { bind_tcp = { 8080 } } }):start())
    local function status(script) return assert(p:exec { command = { "/bin/sh", "-c", script .. " 2>/dev/null" }, timeout = 20 }):wait().exit_code end
    assert.are.same({ 1, 0 }, { status "nc -l -p 81", status(LISTEN:format(8080, "nc 127.0.0.1 8080 2>/dev/null")) })
  end)

  test("say nothing of each other, nor of files; nor do paths of ports", 4, function()
    local connect = "nc 127.0.0.1 81 2>&1"
    assert.is_truthy(run(connect, { landlock = { bind_tcp = {} } }):find "Connection refused")
    assert.is_truthy(run(connect, { landlock = paths() }):find "Connection refused")
    local files = "cat /etc/passwd; mkdir /tmp/a /tmp/b; echo >/tmp/a/file; mv /tmp/a/file /tmp/b; rm -r /tmp/a /tmp/b"
    for _, field in ipairs { { bind_tcp = {}, connect_tcp = {} }, ABI >= 6 and { scope = { "signal", "abstract_unix_socket" } } or nil } do
      local _, status, err = run(files, { mounts = { { type = "tmpfs", target = "/tmp" } }, landlock = field })
      assert.are.same({ 0, "" }, { status, err })
    end
  end)
end)

describe("landlock.scope", function()
  test("keeps a command from signalling others than those that it starts", 6, function()
    for _, field in ipairs { { scope = { "abstract_unix_socket" } }, { scope = { "signal" } } } do
      local p <close> = assert(box("exec sleep 1000", { landlock = field }):start())
      local kill = { "/bin/sh", "-c", "kill -0 1; sleep 1000 & kill $! && wait $! 2>/dev/null; echo $?" }
      local q <close> = assert(p:exec { command = kill, stdout = "pipe", stderr = "pipe" })
      local result = q:wait()
      assert.are.same({ "143\n", field.scope[1] == "signal" and "sh: can't kill pid 1: Operation not permitted\n" or "" },
        { result.stdout, (result.stderr:gsub("^/bin/", "")) })
    end
  end)

  test("keeps it from abstract sockets of others", 6, function()
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    assert(os.execute(("cp '%s' '%s/'"):format(hostile.compile("payload/abstract.c", "-static"), root)))
    for scope, errno in pairs { abstract_unix_socket = sys.EPERM, signal = 0 } do
      local fields = { rootfs = root, command = { "/abstract" }, stdout = "pipe", landlock = { scope = { scope } } }
      local p <close> = assert(box("", fields):start())
      assert.are.equal("ready\n", sys.read(p.stdout, 10))
      local q <close> = assert(p:exec { command = { "/abstract", "connect" }, stdout = "pipe" })
      assert.are.equal(("%d\n"):format(errno), q:wait().stdout)
    end
  end)
end)
