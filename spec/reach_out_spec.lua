-- SPDX-License-Identifier: MIT
-- What runs inside reaches nothing of the host: no process, no file, no mount, no group, no stream that nobody gave it.
local casulo = require "casulo"
local hostile = require "hostile_support"
local support = require "support"
local sys = casulo.sys

local ALL = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }

-- A root with static programs of spec/payload in it.
local function root_with(...)
  local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
  for _, name in ipairs { ... } do
    assert(os.execute(("cp '%s' '%s/'"):format(hostile.compile(("payload/%s.c"):format(name), "-static"), root)))
  end
  return root
end

local function container(root, command, fields)
  local description = { rootfs = root, command = command, stdin = "null", stdout = "pipe", stderr = "pipe", timeout = 30 }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function output(root, command, fields)
  local result = assert(container(root, command, fields):run())
  assert.are.same({ "", 0 }, { result.stderr, result.exit_code })
  return result.stdout
end

local function sh(script) return { "/bin/sh", "-c", script } end

describe("whoever watches from inside", function()
  local SECRET = "known to the " .. "caller only"

  -- → the set of what was found, by a watcher in a container with fields
  local function watch(way, fields)
    local status, text, err = support.sh(("timeout -s KILL 60 env SECRET='%s' $LUA spec/reach_out_caller.lua '%s' %s '%s' '%s'"):format(
      SECRET, root_with "watcher", way, fields, SECRET))
    assert.are.same({ 0, "" }, { status, err })
    local found = {}
    for line in text:gmatch "[^\n]+" do found[line:gsub("%[%d+%]", "[]"):gsub(" $", "")] = true end
    assert.is_true(found.ready)
    return found
  end

  -- The arguments of a process are for all to see who share its PIDs.
  local BESIDE = { ready = true, ["secret in cmdline"] = true }
  local SEEN = { ready = true, round = true, memory = true, ["exe /bin/busybox"] = true, ["fd /dev/null"] = true, ["fd opened /dev/null"] = true,
    ["fd /null"] = true, ["fd opened /null"] = true } -- in a copy of the host's /dev, which has no place
  -- Who waits for the caller's word, or is about to become the command; and what stands for it.
  local WAITING = { ["exe /memfd:casulo-init (deleted)"] = true, ["fd pipe:[]"] = true, ["fd opened pipe:[]"] = true, ["fd socket:[]"] = true }

  local function finds_only(found, ...)
    for line in pairs(found) do
      local known = false
      for _, set in ipairs { ... } do known = known or set[line] end
      assert.is_true(known or false, line)
    end
  end

  support.each_identity("finds nothing of the host before the command is there", function()
    finds_only(watch("start", "{}"), SEEN, WAITING)
  end)

  it("finds nothing of the host before the command is there (root, a user namespace)", function()
    if support.needs_root() then finds_only(watch("start", '{ namespaces = { "user", "pid", "mount", "net" } }'), SEEN, WAITING) end
  end)

  it("finds nothing of the host when others come in (as a user)", function()
    support.as_user(function() finds_only(watch("exec", "{}"), SEEN) end)
  end)

  it("finds nothing of the host when others come in (root, a user namespace)", function()
    if support.needs_root() then finds_only(watch("exec", '{ namespaces = { "user", "pid", "mount", "net" } }'), SEEN) end
  end)

  it("looks into no process of the host, and into no other container, where it shares the host's PIDs (as a user)", function()
    support.as_user(function() finds_only(watch("beside", '{ namespaces = { pid = "host" } }'), BESIDE) end)
  end)

  it("looks into no process of the host, and into no other container, where it shares the host's PIDs (root, a user namespace)", function()
    if support.needs_root() then
      finds_only(watch("beside", '{ namespaces = { "user", "mount", "uts", "ipc", "net", "cgroup" } }'), BESIDE)
    end
  end)
end)

describe("a way out of the root", function()
  local WAYS = { "chroot", "fds", "links", "umount", "pivot", "setns" }

  local function finds_none(fields)
    local root, marker = root_with "escape", support.tmpdir() .. "/marker"
    support.write_file(marker, "")
    for _, way in ipairs(WAYS) do
      assert.are.equal("in\n", output(root, { "/escape", way, marker }, fields), way)
      assert(os.execute(("rm -rf '%s/tmp/below' '%s/tmp/new'"):format(root, root)))
      local p <close> = assert(container(root, { "/bin/sleep", "1000" }, fields):start())
      local q <close> = assert(p:exec { command = { "/escape", way, marker }, stdin = "null", stdout = "pipe", stderr = "pipe" })
      assert.are.same({ exit_code = 0, stdout = "in\n", stderr = "" }, q:wait())
      assert(os.execute(("rm -rf '%s/tmp/below' '%s/tmp/new'"):format(root, root)))
    end
    return root, marker
  end

  it("is found where a root is only changed, so that the tests below can fail", function()
    if not support.needs_root() then return end
    local root, marker = root_with "escape", support.tmpdir() .. "/marker"
    support.write_file(marker, "")
    local result = assert(casulo.unshared({ "mount" }, {
      casulo.recipes.private_mounts(), casulo.recipes.chroot(root), { "execve", "/escape", { "/escape", "chroot", marker }, {}, why = "out" },
    }, { stdin = "null", stdout = "pipe" }))
    assert.are.equal("out\n", result.stdout)
  end)

  support.each_identity("is not found", function()
    support.leaves_nothing(function()
      finds_none()
      finds_none { init = true }
    end)
  end)

  it("is not found (root, a user namespace)", function()
    if support.needs_root() then finds_none { namespaces = ALL } end
  end)

  support.each_identity("is not found over an initramfs, where the root is only changed", function()
    rawset(casulo.host, "root", "initramfs")
    local ok, message = pcall(finds_none)
    rawset(casulo.host, "root", nil)
    assert(ok, message)
  end)

  support.each_identity("is no directory that would be inherited", function()
    local directory <close> = assert(sys.open("/", sys.O_RDONLY | sys.O_DIRECTORY))
    local root, marker = root_with "escape", support.tmpdir() .. "/marker"
    support.write_file(marker, "")
    local box = container(root, { "/escape", "fds", marker }, { stdin = "inherit" })
    local p <close> = assert(container(root, { "/bin/sleep", "1000" }):start())
    -- as the host's word, it leads where it leads
    assert.are.equal("out\n", assert(box:run { fds = { [5] = directory } }).stdout)
    local before = assert(sys.fcntl(0, sys.F_DUPFD_CLOEXEC, 10))
    assert(sys.dup2(directory, 0))
    local result, err = box:run()
    local of_exec = { p:exec { command = { "/escape", "fds", marker }, stdout = "null" } }
    assert(sys.dup2(before, 0))
    before:close()
    assert.are.same({ nil, "setup" }, { result, err.kind })
    assert.is_truthy(tostring(err):find "^stdin: it is a directory of the host")
    assert.is_nil(of_exec[1])
    assert.are.equal(tostring(err), tostring(of_exec[2]))
  end)
end)

describe("mounts", function()
  -- A shell in which the directory $d is mounted, shared with all others, and $in leads into the namespace of a container that has it at
  -- /data. Whoever is inside mounts by means of the host: it could have the rights.
  local function shared(script)
    local status, out, err = support.sh(([[
      base=%s casulo=%s; export base casulo
      cat >$base/box.lua <<END
        return { rootfs = "%s", command = { "sleep", "1000" }, mounts = { { type = "bind", source = "$base/shared", target = "/data" } } }
END
      mkdir $base/shared
      timeout -s KILL 60 unshare %s sh -e -c '
        d=$base/shared; mount -t tmpfs none $d; mount --make-rshared $d; mkdir $d/before $d/inside $d/outside; mount -t tmpfs none $d/before
        $casulo run $base/box.lua </dev/null & job=$!
        until in=$(pgrep -P $job sleep); do :; done
        until [ "$(readlink /proc/$in/cwd)" = / ] && nsenter -t $in -m -r test -d /data/before; do :; done
        within() { nsenter -t $in -m -r "$@"; }
        %s
        kill $job; wait $job || true']]):format(
      support.tmpdir(), support.command(), support.rootfs(), support.is_root() and "-m" or "-rm", script))
    assert.are.same({ 0, "" }, { status, err })
    return out
  end

  support.each_identity("that are made inside do not appear outside", function()
    assert.are.equal("inside\n1\n0\n", shared [[
      within mount -t tmpfs none /data/inside
      within sh -c "grep -o inside /proc/1/mounts"
      grep -c before /proc/self/mounts
      grep -c /inside /proc/self/mounts || true]])
  end)

  support.each_identity("that are made outside do not appear inside", function()
    assert.are.equal("outside\n1\n0\n", shared [[
      mount -t tmpfs none $d/outside
      grep -o /outside /proc/self/mounts | cut -c2-
      within sh -c "grep -c before /proc/1/mounts"
      within sh -c "grep -c outside /proc/1/mounts || true"]])
  end)

  support.each_identity("of the host are not to be seen, nor what the root was mounted on", function()
    local own = { ["/"] = true, ["/proc"] = true, ["/sys"] = true, ["/dev"] = true, ["/dev/pts"] = true, ["/dev/shm"] = true }
    for _, node in ipairs(require "casulo.recipes.devices".NODES) do own["/dev/" .. node] = true end
    local masks = require "casulo.recipes.masks"
    for _, paths in ipairs { masks.MASKED, masks.READONLY } do
      for _, path in ipairs(paths) do own[path] = true end
    end
    for line in output(support.rootfs(), { "/bin/cat", "/proc/self/mountinfo" }):gmatch "[^\n]+" do
      local target, options = line:match "^%d+ %d+ %S+ %S+ (%S+) %S+ (.-)%- "
      assert.is_true(own[target], line)
      assert.are.equal("", options, line) -- neither shared nor a slave
      own[target] = target:sub(1, 5) == "/proc" or target:sub(1, 4) == "/sys"
    end
  end)
end)

describe("the cgroup of the caller", function()
  support.each_identity("is read-only inside, where it is not told otherwise", function()
    local script = "mkdir /c/casulo-spec 2>/dev/null && rmdir /c/casulo-spec && echo made; grep -o '/c cgroup2 r.' /proc/self/mounts"
    local function options(readonly)
      return { mounts = { { type = "cgroup2", target = "/c", readonly = readonly } } }
    end
    assert.are.equal("/c cgroup2 ro\n", output(support.rootfs(), sh(script), options()))
    assert.is_truthy(output(support.rootfs(), sh(script), options(false)):find "/c cgroup2 rw\n$")
  end)
end)

describe("a group that denies", function()
  local GROUP = 61235

  -- What a user with these groups can read inside of a file that denies one group what all others may.
  local function attempt(groups, fields)
    local directory = support.tmpdir()
    support.write_file(directory .. "/denied", "secret")
    assert(sys.chown(directory .. "/denied", 0, GROUP))
    assert(sys.chmod(directory .. "/denied", 388)) -- 0604
    support.write_file(directory .. "/out", "")
    assert(sys.chmod(directory .. "/out", 438))
    support.as_user(function()
      local settings = { seccomp = false, capabilities = { add = { "SETFCAP" } } } -- to make user namespaces inside
      settings.mounts = { { type = "bind", source = directory .. "/denied", target = "/denied" } }
      for name, value in pairs(fields or {}) do settings[name] = value end
      local result = assert(container(root_with "ungroup", sh [[
        /bin/busybox cat /denied; /ungroup cat /denied; unshare -r cat /denied; unshare -r /ungroup cat /denied
        (echo allow >/proc/self/setgroups) && /ungroup cat /denied; cat /proc/self/setgroups]], settings):run())
      support.write_file(directory .. "/out", result.stdout)
    end, nil, groups)
    return support.read_file(directory .. "/out")
  end

  it("is left by nobody who has one id", function()
    if not support.needs_root() then return end
    assert.are.equal("secretsecretdeny\n", (attempt({}):gsub("secretsecretsecret", "secret"))) -- else the next line would say nothing
    assert.are.equal("deny\n", attempt { GROUP })
  end)
end)
