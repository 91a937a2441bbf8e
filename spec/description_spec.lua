-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local description = require "casulo.description"
local support = require "support"

-- the facts of a host that a check asks for
local NONE = { free = 100000 }
local ROOT = { uid = 0, gid = 0, login = "root", kernel_uid = 0, subuid = NONE, subgid = NONE, last_capability = 40, capabilities = -1 }
local USER = { uid = 1000, gid = 1000, login = "ana", subuid = NONE, subgid = NONE, last_capability = 40, capabilities = -1 }

local function with_rootfs(fields)
  local whole = { rootfs = "/srv/root" }
  for name, value in pairs(fields) do whole[name] = value end
  return whole
end

-- The one line that a call raises, without the position, which must be that of the caller.
local function raised(body)
  local ok, message = pcall(body)
  assert.is_false(ok, "it was accepted")
  local text = tostring(message):match "^[^\n]*description_spec%.lua:%d+: ([^\n%z]+)$"
  return text or error("no one line with the caller's position: " .. tostring(message), 2)
end

local function refused(fields)
  return raised(function()
    local box = casulo.container(with_rootfs(fields))
    return box
  end)
end

local function refused_for(host, fields)
  local ok, message = pcall(description.check, with_rootfs(fields), host)
  assert.is_false(ok, "it was accepted")
  assert.is_nil(message:find "\n")
  return message
end

local function begins(expected, text) assert.are.equal(expected, text:sub(1, #expected)) end

-- Each case: fields, and how the message about them begins.
local function all_refused(cases, refuse)
  for _, case in ipairs(cases) do begins("container" .. case[2], (refuse or refused)(case[1])) end
end

local function mount(fields) return { mounts = { { type = "proc", target = "/p" }, fields } } end

describe("a description", function()
  it("must be a table with a root", function()
    begins("container: expected a table, got 5", raised(function() casulo.container(5) end))
    begins("container: expected a table, got nil", raised(function() casulo.container() end))
    begins("container.rootfs: required", raised(function() casulo.container {} end))
    all_refused {
      { { rootfs = 5 }, ".rootfs: expected a directory, or what a function of casulo.rootfs returns, got 5" },
      { { rootfs = "" }, '.rootfs: expected a directory, got ""' }, { { rootfs = {} }, ".rootfs[1]: expected a directory, as in" },
      { { rootfs = { "/r", ephemral = true } }, '.rootfs: unknown field "ephemral"; did you mean ephemeral?' },
      { { rootfs = { "/r", "/s" } }, ".rootfs: unknown field 2; known: ephemeral idmap nodev size type" },
    }
  end)

  it("names the nearest field, namespace or mount type that it knows", function()
    all_refused {
      { { nam = "x" }, ': unknown field "nam"; did you mean name?' },
      { { hostnme = "x" }, ': unknown field "hostnme"; did you mean hostname?' },
      { { Command = {} }, ': unknown field "Command"; did you mean command?' },
      { { namespaces = { "mont" } }, '.namespaces: unknown namespace "mont"; did you mean mount?' },
      { { namespaces = { utc = "host" } }, '.namespaces: unknown namespace "utc"; did you mean uts?' },
      { mount { type = "tmp", target = "/x" }, '.mounts[2].type: unknown mount type "tmp"; did you mean tmpfs?' },
      { mount { type = "bind", sorce = "/", target = "/x" }, '.mounts[2]: unknown field "sorce"; did you mean source?' },
      { { user = { uid = 1, guid = 2 } }, '.user: unknown field "guid"; did you mean ' },
    }
    assert.is_truthy(refused({ xyzzy = 1 }):find "known: .*command .*hostname .*rootfs")
    assert.is_truthy(refused({ "x" }):find "unknown field 1; known: ")
  end)

  it("refuses commands, environments and directories that are none", function()
    all_refused {
      { { command = "ls" }, '.command: expected a list, got "ls"' },
      { { command = {} }, ".command: expected the name of a command" },
      { { command = { "" } }, ".command: expected the name of a command" }, { { command = false }, ".command: expected a list" },
      { { command = { "ls", 5 } }, ".command[2]: expected a string, got 5" },
      { { command = { "ls", name = "x" } }, ".command: expected a list without holes or names" },
      { { env = "A=b" }, ".env: expected a table of names and values" },
      { { env = { A = 5 } }, ".env.A: expected a string, got 5" },
      { { env = { ["A=b"] = "c" } }, ".env: expected names without =" }, { { env = { [""] = "c" } }, ".env: expected names" },
      { { env = { "A=b" } }, '.env: expected { NAME = "value" }, got a list' }, { { inherit_env = "HOME" }, ".inherit_env: expected a list" },
      { { inherit_env = { 1 } }, ".inherit_env[1]: expected a string" },
      { { cwd = "tmp" }, '.cwd: expected an absolute path, got "tmp"' }, { { cwd = "" }, ".cwd: expected an absolute path" },
      { { cwd = "/tmp/../.." }, ".cwd: expected a path without .." }, { { cwd = 1 }, ".cwd: expected a string, got 1" },
      { { umask = 512 }, ".umask: expected an integer from 0 to 511, got 512" },
      { { umask = -1 }, ".umask: expected an integer" }, { { umask = 18.0 }, ".umask: expected an integer" },
      { { umask = "022" }, '.umask: expected an integer from 0 to 511, got "022"' },
    }
  end)

  it("refuses a list with a hole in it, and does not cut it short", function()
    begins("container.command: expected a list without holes", refused { command = { "/bin/rm", nil, "x" } })
    begins("container.mounts: expected a list without holes",
      refused { mounts = { { type = "tmpfs", target = "/a" }, nil, { type = "tmpfs", target = "/b" } } })
  end)

  it("refuses names that the kernel does not keep, and switches that are no booleans", function()
    for _, field in ipairs { "hostname", "domainname" } do
      all_refused {
        { { [field] = ("x"):rep(65) }, "." .. field .. ": expected 1 to 64 bytes, as the kernel keeps, got 65" },
        { { [field] = "" }, "." .. field .. ": expected 1 to 64 bytes" },
        { { [field] = 5 }, "." .. field .. ": expected a string" },
        { { [field] = "x", namespaces = { "mount" } }, "." .. field .. ": it would rename the host" },
      }
    end
    for _, field in ipairs { "readonly", "standard_mounts" } do
      for _, value in ipairs { "yes", 1, 0, {} } do
        begins(("container.%s: expected true or false, got "):format(field), refused { [field] = value })
      end
    end
  end)

  it("refuses mounts that it cannot make", function()
    local function bind(target) return mount { type = "bind", source = "/srv", target = target } end
    all_refused {
      { { mounts = "x" }, ".mounts: expected a list" }, { { mounts = { "x" } }, '.mounts[1]: expected a table, got "x"' },
      { { mounts = { type = "proc", target = "/x" } }, ".mounts: expected a list without holes or names" },
      { mount {}, ".mounts[2].type: " }, { mount { type = 5 }, ".mounts[2].type: unknown mount type 5" },
      { bind "tmp", '.mounts[2].target: expected an absolute path, got "tmp"' },
      { bind "", ".mounts[2].target: expected an absolute" },
      { bind "/a/../../b", ".mounts[2].target: expected a path without .." },
      { bind "/..", ".mounts[2].target: expected a path" }, { bind "/", ".mounts[2].target: / is the root itself" },
      { bind "//.//", ".mounts[2].target: / is the root itself" }, { bind(nil), ".mounts[2].target: expected a string, got nil" },
      { mount { type = "bind", target = "/x" }, ".mounts[2].source: expected a string, got nil" },
      { mount { type = "bind", target = "/x", source = "" }, ".mounts[2].source: expected a path" },
      { mount { type = "tmpfs", target = "/x", source = "/" }, '.mounts[2]: unknown field "source"' },
      { mount { type = "proc", target = "/x", size = 5 }, '.mounts[2]: unknown field "size"' },
      { mount { type = "proc", target = "/x", hidepid = 5 }, ".mounts[2].hidepid: expected 0, 1, 2 or 4, got 5" },
      { mount { type = "proc", target = "/x", hidepid = "2" }, ".mounts[2].hidepid: expected 0, 1, 2 or 4" },
    }
    for _, size in ipairs { 0, -1, 1.5, "", "m", "1x", "1 m", "-1", "64m,mode=777", true } do
      begins('container.mounts[2].size: expected bytes, or a string such as "64m", got ', refused(mount { type = "tmpfs",
        target = "/x", size = size }))
    end
    for _, mode in ipairs { -1, 4096, 1.5, "", "8", "17777", "rwx", true } do
      begins("container.mounts[2].mode: expected permission bits", refused(mount { type = "tmpfs", target = "/x", mode = mode }))
    end
    for _, name in ipairs { "readonly", "nosuid", "nodev", "noexec" } do
      begins(("container.mounts[2].%s: expected true or false, got "):format(name),
        refused(mount { type = "tmpfs", target = "/x", [name] = "true" }))
    end
  end)

  it("refuses a size that the kernel takes for no limit at all", function()
    for _, size in ipairs { "0", "0k", "0%" } do
      begins("container.mounts[2].size: expected", refused(mount { type = "tmpfs", target = "/x", size = size }))
    end
    for _, size in ipairs { "18446744073709551616", "9223372036854775808", "17179869184g", "8589934592G", "9007199254740992k", "1001%",
      ("9"):rep(400) } do
      begins("container.mounts[2].size: expected less than 2^63 bytes, or at most 1000%, got ",
        refused(mount { type = "tmpfs", target = "/x", size = size }))
    end
  end)

  it("refuses a hidepid that the kernel does not know", function() -- proc(5) has 0, 1, 2 and 4
    begins("container.mounts[2].hidepid: expected", refused(mount { type = "proc", target = "/x", hidepid = 3 }))
  end)

  it("refuses namespaces that it cannot make, join or share", function()
    all_refused {
      { { namespaces = "pid" }, ".namespaces: expected a list of namespaces" },
      { { namespaces = false }, ".namespaces: expected" }, { { namespaces = { 5 } }, ".namespaces: unknown namespace 5" },
      { { namespaces = { [true] = "host" } }, ".namespaces: unknown" },
      { { namespaces = {} }, '.namespaces: a root of its own needs a mount namespace of its own; add "mount"' },
      { { namespaces = { "pid" } }, ".namespaces: a root of its own" },
      { { namespaces = { mount = "host" } }, ".namespaces: a root" },
      { { namespaces = { "mount", "pid", pid = "host" } }, ".namespaces.pid: it is listed as new, too" },
      { { namespaces = { net = true } }, '.namespaces.net: expected "host" or an absolute path, got true' },
      { { namespaces = { net = "proc/7/ns/net" } }, '.namespaces.net: expected "host" or an absolute path, got "proc/7/ns/net"' },
      { { network = "none", namespaces = { net = "host" } }, '.network: "none" needs a network namespace' },
      { { network = "host", namespaces = { net = "/proc/7/ns/net" } }, '.network: "host", but namespaces joins another' },
      { { network = "host", namespaces = { "mount", "net" } }, '.network: "host", but namespaces lists net as new' },
      { { command = { "ls" }, env = { PATH = "" } }, ".env.PATH: it is empty, and the command has no slash: there is nowhere to look for it" },
      { { namespaces = { "user", "mount", pid = "host" }, mounts = { { type = "proc", target = "/x", hidepid = 2 } } },
        ".mounts[1].hidepid: the host's PID namespace is shared, and so is its /proc" },
      { { network = "bridge" }, '.network: expected "none" or "host", got "bridge"' },
      { { network = true }, ".network: expected" },
    }
    for _, kind in ipairs { "user", "pid", "mount" } do
      begins(("container.namespaces.%s: a "):format(kind), refused { namespaces = { [kind] = "/proc/7/ns/" .. kind } })
    end
  end)

  it("refuses users that are no ids", function()
    local id = ": expected an integer from 0 to 4294967294, got "
    all_refused {
      { { user = "" }, ".user: expected numbers" },
      { { user = "root" }, '.user: expected numbers, "UID" or "UID:GID", got "root"' },
      { { user = "1:2:3" }, ".user: expected numbers" }, { { user = "-1" }, ".user: expected numbers" },
      { { user = true }, ".user: expected a table" }, { { user = {} }, ".user.uid" .. id .. "nil" },
      { { user = -1 }, ".user.uid" .. id .. "-1" }, { { user = 4294967295 }, ".user.uid" .. id .. "4294967295" },
      { { user = 1.5 }, ".user.uid" .. id .. "1.5" }, { { user = "4294967295" }, ".user.uid" .. id .. "4294967295" },
      { { user = { uid = 1, gid = -1 } }, ".user.gid" .. id }, { { user = { uid = 1, gid = "2" } }, ".user.gid" .. id .. '"2"' },
      { { user = { uid = 1, groups = 5 } }, ".user.groups: expected a list, got 5" },
      { { user = { uid = 1, groups = { 5, -1 } } }, ".user.groups[2]" .. id .. "-1" },
    }
  end)

  it("refuses ids too large for a Lua integer, and does not take another in their place", function()
    assert.is_truthy(refused_for(ROOT, { user = "7:99999999999999999999999" }):find "^container%.user")
    assert.is_truthy(refused_for(ROOT, { user = "99999999999999999999999" }):find "9999")
  end)

  it("refuses false where it means nothing", function()
    begins("container.user.groups: ", refused_for(ROOT, { user = { uid = 1, groups = false } }))
    begins("container.uid_map: ", refused_for(ROOT, { namespaces = { "user", "mount" }, uid_map = false }))
  end)

  it("refuses maps that are none, and users that they do not reach", function()
    local function mapped(map, user) return { namespaces = { "user", "mount" }, uid_map = map, user = user } end
    all_refused({
      { { uid_map = { { 0, 0, 1 } } }, ".uid_map: there is no new user namespace to map" },
      { { gid_map = { { 0, 0, 1 } } }, ".gid_map: there is no new user namespace to map" },
      { mapped {}, ".uid_map: expected at least one" },
      { mapped "0 0 1", '.uid_map: expected a list of { container, host, count }, or "auto", got "0 0 1"' },
      { mapped { 0, 0, 1 }, ".uid_map[1]: expected a list, got 0" },
      { mapped { { 0, 0 } }, ".uid_map[1]: expected { container," },
      { mapped { { 0, 0, 1 }, { 1, 5, 0 } }, ".uid_map[2]: expected { container, host, count }" },
      { mapped { { 0, 0, 1, 1 } }, ".uid_map[1]: expected { container," },
      { mapped { { 0, -1, 1 } }, ".uid_map[1][2]: expected an" },
      { mapped { { 0, "0", 1 } }, ".uid_map[1][2]: expected an integer" },
      { mapped({ { 0, 100000, 10 } }, { uid = 10, gid = 0 }), ".user.uid: 10 stands for nobody outside (see uid_map)" },
      { mapped({ { 0, 100000, 10 } }, { uid = 9, gid = 9 }), ".user.gid: 9 stands for nobody outside (see gid_map)" },
      { { namespaces = { "user", "mount" }, user = { uid = 0, groups = {} } }, ".user.groups: a user namespace whose only group" },
    }, function(fields) return refused_for(ROOT, fields) end)
    all_refused({
      { { uid_map = { { 0, 1000, 2 } } }, ".uid_map[1]: not the caller's to map: an ordinary user maps its own uid, 1000, and" },
      { { uid_map = { { 0, 0, 1 } } }, ".uid_map[1]: not the caller's" }, { { gid_map = { { 0, 0, 1 } } }, ".gid_map[1]: not the" },
      { { user = 1 }, ".user.uid: 1 stands for nobody outside" },
    }, function(fields) return refused_for(USER, fields) end)
  end)

  it("refuses nesting where root inside would be the host's root", function()
    local function nested(fields)
      fields.nesting, fields.namespaces = true, fields.namespaces or { "user", "mount", "pid" }
      return fields
    end
    all_refused({
      { nested { namespaces = { "mount" } }, ".nesting: containers inside would have the rights of the host's root" },
      { nested {}, ".nesting: the containers inside could write to the kernel's own files, for uid_map has their owner, 0; " },
      { nested { uid_map = { { 0, 100000, 10 }, { 10, 0, 1 } } }, ".nesting: the containers inside could" },
    }, function(fields) return refused_for(ROOT, fields) end)
    description.check(with_rootfs(nested { uid_map = { { 0, 100000, 10 } } }), ROOT)
    description.check(with_rootfs(nested {}), USER)
    description.check(with_rootfs(nested {}), setmetatable({ kernel_uid = false }, { __index = ROOT }))
  end)

  it("refuses streams that are none, and times that are not above 0", function()
    local closed = io.open "/dev/null"
    closed:close()
    for _, field in ipairs { "stdout", "stderr" } do
      for _, value in ipairs { "file", "", -1, 0.0, 1 << 31, true, {}, closed } do
        begins(("container.%s: expected \"inherit\", \"null\", \"pipe\", a function, a file or a descriptor, got "):format(field),
          refused { [field] = value })
      end
    end
    for _, value in ipairs { -1, 0.0, true, {}, print, closed } do
      begins('container.stdin: expected "inherit", "null", "pipe", a text, a file or a descriptor, got ', refused { stdin = value })
    end
    for _, value in ipairs { 0, -1, -0.5, 0 / 0, 1 / 0, -1 / 0, "5", {}, true } do
      begins("container.timeout: expected seconds above 0, got ", refused { timeout = value })
    end
  end)

  it("tells a long text for stdin from a keyword without a look at all of it", function()
    local text, start = ("x"):rep(1 << 22), os.clock()
    assert.are.equal(text, description.check(with_rootfs { stdin = text }, ROOT).stdin)
    assert.is_true(os.clock() - start < 1)
  end)

  it("refuses a text for stdin that was probably meant to be a keyword", function()
    for text, keyword in pairs { nul = "null", NULL = "null", nulll = "null", Pipe = "pipe", pip = "pipe", piep = "pipe",
      inherrit = "inherit", inherited = "inherit" } do
      assert.are.equal(('container.stdin: "%s": did you mean "%s"? (a text like this goes through "pipe")'):format(text, keyword),
        refused { stdin = text })
    end
    for _, text in ipairs { "", "hi", "line", "null\n", "pipe dream", "a\0b", ("x"):rep(1 << 20), "inherently not" } do
      assert.are.equal(text, description.check(with_rootfs { stdin = text }, ROOT).stdin)
    end
  end)

  it("refuses further descriptors that are none, and numbers out of range", function()
    for _, number in ipairs { 0, 2, -1, 256, 3.5, "3" } do
      begins("container.fds: expected numbers from 3 to 255 (0 to 2 are stdin, stdout and stderr), got ", refused { fds = { [number] = 1 } })
    end
    for _, value in ipairs { "null", "pipe", -1, 0.5, true, print, {} } do
      begins("container.fds[7]: expected a file, a descriptor or its number, got ", refused { fds = { [7] = value } })
    end
    begins("container.fds: expected a table", refused { fds = 3 })
    begins("container.detach: expected true or false", refused { detach = 1 })
  end)

  it("refuses a userdata of nobody's as a stream", function()
    begins("container.stdin: expected ", refused { stdin = debug.upvalueid(refused, 1) }) -- it has no metatable
  end)

  it("refuses a NUL byte in any string", function()
    local nul = "a\0b"
    all_refused {
      { { rootfs = nul }, ".rootfs: " }, { { command = { "x", nul } }, ".command[2]: " }, { { env = { A = nul } }, ".env.A: " },
      { { env = { [nul] = "x" } }, ".env: " }, { { inherit_env = { nul } }, ".inherit_env[1]: " },
      { { cwd = "/" .. nul }, ".cwd: " }, { { hostname = nul }, ".hostname: " }, { { domainname = nul }, ".domainname: " },
      { { user = "7\0" }, ".user: " }, { { network = nul }, ".network: " }, { { stdout = nul }, ".stdout: " },
      { { namespaces = { nul } }, ".namespaces: " }, { { namespaces = { net = "/" .. nul } }, ".namespaces.net: " },
      { { [nul] = 1 }, ": unknown field " }, { mount { type = nul }, ".mounts[2].type: " },
      { mount { type = "tmpfs", target = "/" .. nul }, ".mounts[2].target: " },
      { mount { type = "bind", target = "/x", source = nul }, ".mounts[2].source: " },
      { mount { type = "tmpfs", target = "/x", size = "1\0" }, ".mounts[2].size: " },
      { mount { type = "tmpfs", target = "/x", mode = "1\0" }, ".mounts[2].mode: " },
    }
  end)

  it("keeps its message to one line whatever it shows, and short", function()
    begins(('container.cwd: expected an absolute path, got "%s…"'):format(("é"):rep(39)), refused { cwd = ("é"):rep(500) })
    assert.is_truthy(refused({ cwd = "a\nb\r\0" }):find "^container%.cwd: ")
    assert.is_truthy(refused({ ["a\nb"] = 1 }):find "^container: unknown field ")
    assert.is_truthy(refused({ env = { ["a\nb"] = 5 } }):find "^container%.env")
  end)

  it("is blamed on the line that gave it", function()
    local box = casulo.container { rootfs = "/nonexistent" }
    begins("container.cwd: expected an absolute path", raised(function() box:with { cwd = "x" } end))
    begins("container: unknown field", raised(function() box:with { cdw = "x" } end))
    begins("start.timeout: expected seconds", raised(function() box:start { timeout = 0 } end))
    begins('start: unknown field "stdot"; did you mean stdout?', raised(function() box:start { stdot = "pipe" } end))
  end)

  it("is blamed on the line that gave it to run", function()
    local box = casulo.container { rootfs = "/nonexistent" }
    assert.is_truthy(raised(function() box:run { stdot = "pipe" } end):find 'unknown field "stdot"; did you mean stdout%?')
  end)
end)

describe("a good description", function()
  it("is taken as it is, and its plan shows it", function()
    local name = ("n"):rep(64)
    for _, case in ipairs {
      { {}, 'execve("/bin/sh"' }, { { hostname = name }, name }, { { domainname = "d" }, "setdomainname" },
      { { cwd = "/a//./b/" }, '"/a/b"' }, { { command = { "/bin/x", "" } }, '"/bin/x", ""' }, { { umask = 0 }, "umask" },
      { { umask = 511 }, "umask" }, { { readonly = true }, "MOUNT_ATTR_RDONLY" },
      { { readonly = false, standard_mounts = false }, "pivot_root" }, { { rootfs = "relative" }, '"relative/"' },
      { { network = "none" }, "CLONE_NEWNET" }, { { timeout = 0.001 }, "execve" },
      { { namespaces = { "mount", "mount" } }, "clone(CLONE_NEWNS)" }, { { namespaces = { "time", "mount" } }, "CLONE_NEWTIME" },
      { { namespaces = { net = "/proc/7/ns/net" } }, '"/proc/7/ns/net"' }, { { env = { A = "", B = "x=\n" } }, "execve" },
      { { stdin = "null", stdout = "pipe", stderr = "inherit" }, "dup" }, { { stdin = io.stdin, stdout = 1 }, "execve" },
      { mount { type = "bind", source = "rel", target = "/a/.../..b" }, "/a/.../..b" },
      { mount { type = "sysfs", target = "/s" }, "/s" },
      { mount { type = "tmpfs", target = "/x", size = 4096, mode = 448, nosuid = true }, '"700"' },
      { mount { type = "tmpfs", target = "/x", size = "50%", mode = "1777" }, '"50%"' },
      { mount { type = "tmpfs", target = "/x", size = "1000%" }, '"1000%"' },
      { mount { type = "tmpfs", target = "/x", size = "9223372036854775807" }, '"9223372036854775807"' },
      { mount { type = "tmpfs", target = "/x", size = "8589934591g" }, '"8589934591g"' },
      { mount { type = "tmpfs", target = "/x", size = "010m" }, '"size", "10m"' }, -- the kernel would take that for octal
      { { inherit_env = { "HOME" } }, "execve" }, { mount { type = "proc", target = "/x", hidepid = 2 }, '"hidepid", "2"' },
      { mount { type = "mqueue", target = "/q" }, '"mqueue"' },
    } do
      local text = casulo.container(with_rootfs(case[1])):explain()
      assert.is_truthy(text:find(case[2], 1, true), case[2] .. "\n" .. text)
    end
    assert.is_nil(casulo.container(with_rootfs { namespaces = { net = "host" } }):explain():find "CLONE_NEWNET")
  end)

  it("says who is who in each of its forms", function()
    local function user(value) return description.check(with_rootfs { user = value }, ROOT).user end
    for value, expected in pairs {
      [7] = { uid = 7, gid = 7 }, ["7"] = { uid = 7, gid = 7 }, ["7:9"] = { uid = 7, gid = 9 },
      ["0:4294967294"] = { uid = 0, gid = 4294967294 },
      [{ uid = 7 }] = { uid = 7, gid = 7 }, [{ uid = 7, gid = 0, groups = {} }] = { uid = 7, gid = 0, groups = {} },
    } do assert.are.same(expected, user(value)) end
    local ranges = { { 0, 100000, 65536 }, { 65536, 300000, 1 } }
    local fields = { namespaces = { "user", "mount" }, uid_map = ranges, user = { uid = 65536, gid = 0 } }
    local checked = description.check(with_rootfs(fields), ROOT)
    assert.are.same({ ranges, { { 0, 0, 1 } } }, { checked.uid_map, checked.gid_map })
    fields = { uid_map = { { 5, 1000, 1 } }, user = { uid = 5, gid = 0 } }
    assert.are.same({ { 5, 1000, 1 } }, description.check(with_rootfs(fields), USER).uid_map)
  end)

  it("has a user namespace by default only where its caller is not root", function()
    assert.is_nil(description.check(with_rootfs {}, ROOT).new.user)
    assert.is_true(description.check(with_rootfs {}, USER).new.user)
  end)

  support.each_identity("is not changed, and what changes in it later changes no container", function()
    local mounts = { { type = "tmpfs", target = "/x" } }
    local raw = { rootfs = support.rootfs(), command = { "/bin/ls", "/x" }, mounts = mounts, stdout = "pipe" }
    local box = casulo.container(raw)
    raw.command[2], raw.hostname, mounts[1].target = "/y", "later", "/y"
    local result = assert(box:run())
    assert.are.same({ exit_code = 0, stdout = "" }, result)
    assert.are.same({ "/bin/ls", "/y" }, raw.command)
  end)
end)
