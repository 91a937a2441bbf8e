-- SPDX-License-Identifier: MIT
-- What of /proc, of /sys and of the root is hidden or read-only in a container.
local casulo = require "casulo"
local hostile = require "hostile_support"
local support = require "support"
local sys = casulo.sys

local ALL = { "user", "pid", "mount", "uts", "ipc", "net", "cgroup" }
local MASKED = { "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
  "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware" }
local READONLY = { "/proc/bus", "/proc/dynamic_debug", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" }

local function box(fields, script)
  local description = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script }, stderr = "pipe", stdin = "null", timeout = 60 }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function run(fields, script)
  local result = assert(box(fields, script):run { stdout = "pipe" })
  assert.are.same({ 0, "" }, { result.exit_code, result.stderr })
  return result.stdout
end

-- The options of each mount inside, by its place.
local function mounts(fields)
  local found = {}
  for target, options in run(fields, "cat /proc/self/mountinfo"):gmatch "%f[^\n\0]%d+ %d+ %S+ %S+ (%S+) (%S+)" do
    found[target] = "," .. options .. ","
  end
  return found
end

local function is_directory(path, look)
  local found = (look or sys.stat)(path)
  return found and found.mode & sys.S_IFMT == sys.S_IFDIR
end

-- Those of a list that this kernel has, in each of two mounts.
local function present(list)
  local found = {}
  for _, path in ipairs(list) do
    if sys.stat(path) then
      found[#found + 1] = { path, is_directory(path) }
      found[#found + 1] = { "/second" .. path, is_directory(path) }
    end
  end
  assert.is_true(#found > 2) -- else nothing would be tested
  return found
end

local TWICE = { { type = "proc", target = "/second/proc" }, { type = "sysfs", target = "/second/sys" } }

local function test(name, body)
  support.each_identity(name, function() support.leaves_nothing(function() body(support.is_root()) end) end)
end

local function kinds(is_root)
  local found = { {}, { init = true }, { readonly = true }, { namespaces = { pid = "host", net = "host" } } }
  if is_root then
    found[5], found[6] = { user = 1000 }, { namespaces = ALL }
    found[7] = { namespaces = ALL, uid_map = { { 0, 100000, 9 } }, gid_map = { { 0, 100000, 9 } } }
  end
  return found
end

local function with(base, fields)
  local merged = {}
  for name, value in pairs(base) do merged[name] = value end
  for name, value in pairs(fields) do merged[name] = value end
  return merged
end

describe("what tells of the whole kernel", function()
  test("is empty, in each mount of proc and sysfs, whoever looks", function(is_root)
    for _, fields in ipairs(kinds(is_root)) do
      run(with(fields, { mounts = TWICE }), "true") -- makes the places in the root
      local covered = mounts(with(fields, { mounts = TWICE }))
      for _, place in ipairs(present(MASKED)) do
        local path, is_dir = table.unpack(place)
        assert.is_truthy(covered[path], path) -- though the host may have nothing there
        local look = is_dir and "ls -A %s; (: >%s/new) 2>/dev/null && echo made; true" or "cat %s; [ -c %s ] || echo other"
        assert.are.equal("", run(with(fields, { mounts = TWICE }), look:format(path, path)), path)
      end
    end
  end)

  test("cannot be written where it acts on all of it, in each mount of proc", function(is_root)
    for _, fields in ipairs(kinds(is_root)) do
      local found = mounts(with(fields, { mounts = TWICE }))
      for _, place in ipairs(present(READONLY)) do assert.is_truthy(found[place[1]]:find(",ro,", 1, true), place[1]) end
      assert.is_truthy(found["/second/sys"]:find(",ro,", 1, true))
    end
    if not is_root then return end
    local script = "for place in '' /second; do (: >>$place/proc/sys/kernel/core_pattern) 2>&1; done; true"
    local refused = "/bin/sh: can't create %s/proc/sys/kernel/core_pattern: Read-only file system\n"
    assert.are.equal(refused:format "" .. refused:format "/second", run({ mounts = TWICE }, script))
  end)

  -- Mounts something below a directory, not through a link. → where
  local function mount_below(directory)
    for _, name in ipairs(is_directory(directory) and sys.scandir(directory) or {}) do
      local place = ("%s/%s"):format(directory, name)
      if is_directory(place, sys.lstat) and sys.mount("none", place, "tmpfs", 0) then return place end
    end
  end

  it("cannot be written where the host has mounted something below, and shares what its /proc shows", function()
    if not support.needs_root() then return end
    hostile.in_mount_namespace(function()
      local places = {}
      for _, directory in ipairs(READONLY) do places[#places + 1] = mount_below(directory) end
      assert.is_true(#places > 0)
      local found = mounts { namespaces = { "user", "mount" }, mounts = TWICE }
      for _, place in ipairs(places) do
        for _, top in ipairs { "", "/second" } do assert.is_truthy(found[top .. place]:find(",ro,", 1, true), top .. place) end
      end
    end)
  end)

  test("is covered by what executes nothing and has no rights of its own", function(is_root)
    for _, fields in ipairs(kinds(is_root)) do
      local found = mounts(fields)
      for _, place in ipairs(MASKED) do
        local options = found[place]
        for _, option in ipairs(options and { "nosuid", "noexec" } or {}) do assert.is_truthy(options:find("," .. option .. ",", 1, true), place) end
      end
      local bare = mounts(with(fields, { standard_mounts = false, mounts = { { type = "proc", target = "/proc" } } }))
      for _, option in ipairs { "ro", "nosuid", "noexec" } do assert.is_truthy(bare["/proc/keys"]:find("," .. option .. ",", 1, true), option) end
      for _, node in ipairs { "null", "zero", "full", "random", "urandom", "tty" } do
        for _, option in ipairs { "ro", "nosuid", "noexec" } do assert.is_truthy(found["/dev/" .. node]:find("," .. option .. ",", 1, true), node) end
      end
    end
  end)

  test("is hidden without the standard mounts, too; without a /proc there is nothing to hide", function()
    local mount = { type = "proc", target = "/proc" }
    for _, place in ipairs(present(MASKED)) do
      local path, is_dir = table.unpack(place)
      if path:find "^/proc/" then
        assert.are.equal("", run({ standard_mounts = false, mounts = { mount } }, (is_dir and "ls -A %s" or "cat %s"):format(path)), path)
      end
    end
    assert.are.equal("in\n", run({ standard_mounts = false }, "echo in"))
  end)

  test("is seen where the lists are empty, and in a container for containers", function(is_root)
    local mapped = is_root and { { 0, 100000, 65536 } } or nil
    local nested = { namespaces = ALL, nesting = true, uid_map = mapped, gid_map = mapped }
    for _, fields in ipairs { { masked = {}, readonly_paths = {} }, nested } do
      for target in pairs(mounts(fields)) do
        assert.is_nil(target:find "^/proc/", target)
        assert.is_nil(target:find "^/sys/", target)
      end
    end
    local found = mounts { masked = {} }
    assert.is_truthy(found["/proc/sys"])
    assert.is_nil(found["/proc/keys"])
    found = mounts { readonly_paths = {} }
    assert.is_truthy(found["/proc/keys"])
    assert.is_nil(found["/proc/sys"])
    if is_root then assert.is_true(#run({ masked = {} }, "cat /proc/timer_list") > 100) end
  end)
end)

describe("masked and readonly_paths", function()
  local function tree()
    local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
    assert(os.execute(("cd '%s' && mkdir -p srv/inner srv/below data && echo secret | tee srv/file srv/inner/file data/file data/made >/dev/null "
      .. "&& chmod 666 data/file"):format(root)))
    return root
  end

  test("take files, directories with a slash, and what is in other mounts", function(is_root)
    for _, fields in ipairs(kinds(is_root)) do
      local root = tree()
      local content = { type = "file", target = "/data/made", content = "secret\n" }
      local own = with(fields, { rootfs = root, mounts = { content }, masked = { "/srv/inner/", "/data/file", "/data/made", "/proc/version" } })
      assert.are.equal("", run(own, "ls -A /srv/inner; cat /data/file /data/made /proc/version"))
      assert.are.equal("secret\n", run(own, "cat /srv/file"))
      local found = mounts(own)
      assert.is_nil(found["/proc/keys"]) -- the list takes the place of casulo's
      assert.is_truthy(found["/proc/sys"])
      local below = { type = "tmpfs", target = "/srv/below" }
      own = with(fields, { rootfs = root, mounts = { below }, readonly_paths = { "/srv/", "/data/file", "/proc/version" } })
      local expected = {}
      for i, file in ipairs { "/srv/new", "/srv/inner/new", "/srv/below/new", "/data/file" } do
        expected[i] = ("/bin/sh: can't create %s: Read-only file system\n"):format(file)
      end
      assert.are.equal(table.concat(expected) .. "secret\n",
        run(own, "for file in /srv/new /srv/inner/new /srv/below/new /data/file; do (: >>$file) 2>&1; done; cat /srv/file"))
    end
  end)

  test("take places of the root without the standard mounts, and without a /proc", function()
    local own = { rootfs = tree(), standard_mounts = false, masked = { "/srv/inner/", "/data/file" }, readonly_paths = { "/srv/" } }
    assert.are.equal("secret\n", run(own, "ls -A /srv/inner; cat /data/file; (: >>/srv/new) 2>/dev/null && echo made; cat /srv/file"))
  end)

  test("lead through links inside only, and through none of /proc", function()
    local paths, root = hostile.victim(), tree()
    local before = hostile.snapshot(paths.victim)
    assert(sys.symlink("/srv", root .. "/link"))
    assert(sys.symlink(paths.directory, root .. "/out"))
    assert(sys.symlink("/proc/self/root/srv", root .. "/magic"))
    assert(sys.symlink("/proc/1/root" .. paths.directory, root .. "/escape"))
    assert.are.equal("", run({ rootfs = root, masked = { "/link/file", "/link/inner/" } }, "cat /srv/file; ls -A /srv/inner"))
    assert.are.equal("made\n", run({ rootfs = root, readonly_paths = { "/link/file" } }, "(: >/srv/file) 2>/dev/null || echo made"))
    for _, name in ipairs { "masked", "readonly_paths" } do
      for path, reason in pairs { ["/out/file"] = "No such file or directory", ["/magic/file"] = "Too many levels of symbolic links",
        ["/escape/file"] = "Too many levels of symbolic links" } do
        local result, err = box({ rootfs = root, [name] = { path } }, "true"):run()
        assert.is_nil(result)
        assert.is_truthy(tostring(err):find(reason, 1, true), tostring(err))
      end
    end
    assert.are.equal(before, hostile.snapshot(paths.victim))
  end)

  it("must be there in /proc and /sys, except where it is enough to take what there is", function()
    for _, field in ipairs { "masked", "readonly_paths" } do
      local ok, message = pcall(casulo.container, { rootfs = "/r", [field] = { "/proc/keys", "/proc/kcor" } })
      assert.is_false(ok)
      local words = ('container.%s[2]: this kernel has no /proc/kcor; { "/proc/kcor", optional = true }'):format(field)
      assert.is_truthy(message:find(words, 1, true), message)
      assert(casulo.container { rootfs = "/r", [field] = { "/proc/keys", "/proc/kcor", optional = true } })
    end
  end)

  test("name the place that is missing, and the one that is of the other kind", function()
    for _, name in ipairs { "masked", "readonly_paths" } do
      local result, err = box({ [name] = { "/nope" } }, "true"):run()
      assert.are.same({ "nil", "setup", sys.ENOENT }, { tostring(result), err.kind, err.errno })
      assert.is_truthy(tostring(err):find('"/nope".*%(masked, readonly_paths: there is no such place in the container%)'), tostring(err))
    end
    for path, place in pairs { ["/etc"] = "/etc", ["/etc/passwd/"] = "/etc/passwd" } do
      local result, err = box({ masked = { path } }, "true"):run()
      assert.are.same({ "nil", "setup" }, { tostring(result), err.kind })
      local text = tostring(err)
      assert.are.equal(("move_mount(cover of place of %s, "):format(place), text:match "^.-, ")
      assert.is_truthy(text:find("(masked: a directory is written with a slash at its end, a file without: ", 1, true), text)
      assert.is_truthy(text:find((": %s is of the other kind)"):format(place), 1, true), text)
    end
    run({ masked = { "/proc/none/of/this", optional = true }, readonly_paths = { "/sys/nor/that", optional = true } }, "true")
  end)

  it("are checked before anything runs", function()
    for _, name in ipairs { "masked", "readonly_paths" } do
      for _, case in ipairs { { "x", ': expected a list of paths, got "x"' }, { { "x" }, '[1]: expected an absolute path, got "x"' },
        { { "/a", 7 }, "[2]: expected a string, got 7" }, { { "/a/../b" }, '[1]: expected a path without .., got "/a/../b"' },
        { { "/a\0" }, "[1]: the string contains a NUL byte" },
        { { "/etc", "//./" }, "[2]: / is the root itself, over which nothing would be seen (see readonly)" } } do
        support.refused(("container.%s%s"):format(name, case[2]), function() return (box({ [name] = case[1] }, "true")) end)
      end
    end
  end)
end)
