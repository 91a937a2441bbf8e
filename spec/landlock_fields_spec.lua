-- SPDX-License-Identifier: MIT
-- The fields landlock and rlimits of a description: what is refused, what each kernel can do, and the plan that follows.
local casulo = require "casulo"
local description = require "casulo.description"
local landlock = require "casulo.recipes.landlock"
local support = require "support"
local sys = casulo.sys

local NONE = { free = 100000 }
local LIMITS = setmetatable({}, { __index = function() return { soft = 10, hard = 100 } end })

-- The facts of a host whose kernel has this ABI.
local function host(abi, is_off)
  return { uid = 0, gid = 0, login = "root", subuid = NONE, subgid = NONE, landlock_abi = abi, landlock_is_off = is_off, rlimits = LIMITS,
    last_capability = 40, capabilities = -1 }
end

local function check(fields, facts)
  fields.rootfs = "/srv/root"
  return description.check(fields, facts or host(6))
end

local function refused(fields, facts)
  local ok, message = pcall(check, fields, facts)
  assert.is_false(ok, "it was accepted")
  assert.is_nil(message:find "\n")
  return message
end

local function begins(expected, text) assert.are.equal(expected, text:sub(1, #expected)) end

local function all_refused(cases)
  for _, case in ipairs(cases) do begins("container" .. case[2], refused(case[1])) end
end

local function field(settings, abi) return check({ landlock = settings }, host(abi or 6)).landlock end

-- What a plan gives to the kernel: what is handled, then each rule, in a text.
local function program(settings, abi)
  local lines = {}
  for _, step in ipairs(casulo.plan(landlock.restrict(field(settings, abi), abi)).steps) do
    if step[1] == "landlock_create_ruleset" then lines[#lines + 1] = ("%x %x %x"):format(string.unpack("=I8I8I8", step[2]))
    elseif step[1] == "openat2" then lines[#lines + 1] = step[3]
    elseif step[1] == "landlock_restrict_self" then lines[#lines + 1] = "restrict"
    elseif step[3] == sys.LANDLOCK_RULE_PATH_BENEATH then lines[#lines + 1] = ("%x"):format(step[4].allowed_access)
    else lines[#lines + 1] = ("%x:%d"):format(string.unpack("=I8I8", step[4])) end
  end
  return table.concat(lines, " ")
end

describe("the field landlock", function()
  it("is a table of what it is about", function()
    all_refused {
      { { landlock = true }, ".landlock: expected a table, got true" }, { { landlock = {} }, ".landlock: expected paths, bind_tcp," },
      { { landlock = { optional = true } }, ".landlock: expected paths, bind_tcp," },
      { { landlock = { path = {} } }, '.landlock: unknown field "path"; did you mean paths?' },
      { { landlock = { paths = "/usr" } }, '.landlock.paths: expected a table of paths and rights, such as { ["/usr"]' },
      { { landlock = { paths = { "/usr" } } }, ".landlock.paths: expected paths and their rights" },
      { { landlock = { paths = { usr = "read" } } }, '.landlock.paths["usr"]: expected an absolute path, got "usr"' },
      { { landlock = { paths = { ["/a/../b"] = "read" } } }, '.landlock.paths["/a/../b"]: expected a path without ..' },
      { { landlock = { paths = { ["/a/"] = "read", ["//a"] = "read" } } }, ".landlock.paths[" },
      { { landlock = { paths = { ["/a"] = "" } } }, '.landlock.paths["/a"]: expected at least one right' },
      { { landlock = { paths = { ["/a"] = 4 } } }, '.landlock.paths["/a"]: expected a list, got 4' },
      { { landlock = { paths = { ["/a"] = "read exceute" } } }, '.landlock.paths["/a"]: unknown right "exceute"; did you mean execute?' },
      { { landlock = { paths = { ["/a"] = { "raed" } } } }, '.landlock.paths["/a"]: unknown right "raed"; did you mean read?' },
      { { landlock = { bind_tcp = 80 } }, ".landlock.bind_tcp: expected a list, got 80" },
      { { landlock = { bind_tcp = { 80, 65536 } } }, ".landlock.bind_tcp[2]: expected an integer from 0 to 65535, got 65536" },
      { { landlock = { connect_tcp = { "80" } } }, '.landlock.connect_tcp[1]: expected an integer from 0 to 65535, got "80"' },
      { { landlock = { scope = { "signals" } } }, '.landlock.scope[1]: unknown scope "signals"; did you mean signal?' },
      { { landlock = { scope = "signal" } }, '.landlock.scope: expected a list, got "signal"' },
      { { landlock = { scope = {}, optional = "yes" } }, '.landlock.optional: expected true, false or a list of rights, got "yes"' },
      { { landlock = { scope = {}, optional = { "truncat" } } }, '.landlock.optional[1]: unknown right "truncat"; did you mean truncate?' },
      { { landlok = {} }, ': unknown field "landlok"; did you mean landlock?' },
    }
  end)

  it("takes rights as words or as a list, and each once", function()
    local expected = { paths = { ["/"] = { "execute", "read_dir", "read_file" }, ["/a"] = { "read_dir", "read_file" } } }
    assert.are.same(expected, field { paths = { ["/"] = "execute, read", ["/a/"] = { "read_file", "read_dir", "read" } } })
  end)

  it("is refused by a kernel that lacks something of it, with what helps", function()
    local all = { paths = { ["/"] = "read write" }, bind_tcp = { 1 }, connect_tcp = { 2 }, scope = { "signal", "abstract_unix_socket" } }
    local function without(abi, settings) return refused({ landlock = settings or all }, host(abi)) end
    assert.are.equal("container.landlock: this kernel has no Landlock: that takes Linux 5.13, built with CONFIG_SECURITY_LANDLOCK, and no filter "
      .. "of system calls around; { optional = true } runs without", without(0))
    assert.are.equal("container.landlock: this kernel's Landlock was not enabled when it started: add landlock to the list lsm= of its boot "
      .. "parameters; { optional = true } runs without", refused({ landlock = all }, host(0, true)))
    assert.are.equal("container.landlock.paths: this kernel's Landlock (ABI 1) cannot restrict refer and truncate and ioctl_dev; that takes Linux "
      .. '6.10; { optional = true } asks for what it has, { optional = { "refer", "truncate", "ioctl_dev", "bind_tcp", "connect_tcp", '
      .. '"signal", "abstract_unix_socket" } } gives up only these', without(1))
    assert.are.equal("container.landlock.paths: this kernel's Landlock (ABI 4) cannot restrict ioctl_dev; that takes Linux 6.10; "
      .. '{ optional = true } asks for what it has, { optional = { "ioctl_dev" } } gives up only this', without(4, { paths = {} }))
    assert.are.equal("container.landlock.connect_tcp: this kernel's Landlock (ABI 3) has no network ports; they need Linux 6.7; "
      .. '{ optional = true } asks for what it has, { optional = { "connect_tcp" } } gives up only this', without(3, { connect_tcp = {} }))
    begins("container.landlock.scope: this kernel's Landlock (ABI 5) has no scopes; they need Linux 6.12;", without(5))
    begins("container.landlock.paths: this kernel's Landlock (ABI 1) cannot restrict truncate and ioctl_dev; ",
      without(1, { paths = { ["/"] = "read" } }))
    begins("container.landlock:", refused({ landlock = { scope = { "signal" }, optional = { "signal" } } }, host(0)))
    begins("container.landlock.paths:", without(2, { paths = {}, optional = false }))
    begins("container.landlock.paths: this kernel's Landlock (ABI 2) cannot restrict ioctl_dev",
      without(2, { paths = {}, optional = { "truncate" } }))
  end)

  it("asks each kernel for what it has, where that is said", function()
    local all = { paths = { ["/"] = "read", ["/tmp"] = "write" }, bind_tcp = { 1, 2 }, connect_tcp = { 2 }, scope = { "signal" }, optional = true }
    assert.are.equal("", program(all, 0))
    assert.are.equal("1fff 0 0 / 4 8 /tmp 2 17b0 restrict", program(all, 1))
    assert.are.equal("3fff 0 0 / 4 8 /tmp 2 37b0 restrict", program(all, 2))
    assert.are.equal("7fff 0 0 / 4 8 /tmp 4002 37b0 restrict", program(all, 3))
    assert.are.equal("7fff 3 0 / 4 8 /tmp 4002 37b0 1:1 1:2 2:2 restrict", program(all, 4))
    assert.are.equal("ffff 3 2 / 4 8 /tmp 4002 37b0 1:1 1:2 2:2 restrict", program(all, 6))
    assert.are.equal("ffff 3 2 / 4 8 /tmp 4002 37b0 1:1 1:2 2:2 restrict", program(all, 11))
    assert.are.equal("", program({ connect_tcp = {}, optional = { "connect_tcp" } }, 3))
  end)

  it("restricts only what it names", function()
    assert.are.equal("0 1 0 restrict", program({ bind_tcp = {} }, 6))
    assert.are.equal("0 2 0 2:443 restrict", program({ connect_tcp = { 443 } }, 6))
    assert.are.equal("0 0 3 restrict", program({ scope = { "signal", "abstract_unix_socket" } }, 6))
    assert.are.equal("ffff 0 0 restrict", program({ paths = {} }, 6))
    assert.are.equal("ffff 0 0 /a 80 /b 2 restrict", program({ paths = { ["/b"] = "write_file", ["/a"] = "make_dir" } }, 6))
  end)

  it("comes after everything else but the limits, and says why", function()
    if casulo.host.landlock_abi < 6 then return support.cannot_run "this takes Linux 6.12" end
    local box = casulo.container { rootfs = "/r", landlock = { paths = { ["/bin"] = "read" }, scope = { "signal" } }, rlimits = { core = 0 } }
    local text = box:explain()
    local calls = {}
    for name in text:gmatch "%f[^\n]%s*([%w_]+)%(" do calls[#calls + 1] = name end
    assert.is_truthy(table.concat(calls, " "):find("umask?.* prctl landlock_create_ruleset openat2 landlock_add_rule landlock_add_rule "
      .. "landlock_restrict_self setrlimit sigprocmask execve$"))
    for _, part in ipairs {
      "landlock_create_ruleset({handled_access_fs=LANDLOCK_ACCESS_FS_EXECUTE|", "|LANDLOCK_ACCESS_FS_IOCTL_DEV, handled_access_net=0, "
        .. "scoped=LANDLOCK_SCOPE_SIGNAL}, 24, 0) → ruleset",
      'openat2(AT_FDCWD, "/bin", {flags=O_RDONLY|O_CLOEXEC|O_PATH, resolve=RESOLVE_NO_MAGICLINKS}, 24) → landlock /bin',
      "landlock_add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, {allowed_access=LANDLOCK_ACCESS_FS_READ_FILE, parent_fd=landlock /bin}, 0)  ",
      "landlock_restrict_self(ruleset, 0)", "setrlimit(RLIMIT_CORE, {rlim_cur=0, rlim_max=0})",
    } do assert.is_truthy(text:find(part, 1, true), part) end
  end)
end)

describe("the field rlimits", function()
  it("is a table of the kernel's names and limits", function()
    all_refused {
      { { rlimits = 5 }, ".rlimits: expected a table of names and limits, got 5" },
      { { rlimits = { 5 } }, ".rlimits: unknown resource 1; known: as core cpu" },
      { { rlimits = { nofiles = 5 } }, '.rlimits: unknown resource "nofiles"; did you mean nofile?' },
      { { rlimits = { NOFILE = 5 } }, '.rlimits: unknown resource "NOFILE"; did you mean nofile?' },
      { { rlimits = { nofile = -1 } }, '.rlimits.nofile: expected an integer from 0 on, or "unlimited", got -1' },
      { { rlimits = { nofile = 1.5 } }, ".rlimits.nofile: expected an integer" },
      { { rlimits = { nofile = "5" } }, ".rlimits.nofile: expected an integer" },
      { { rlimits = { as = { soft = 5 } } }, ".rlimits.as.hard: expected an integer" },
      { { rlimits = { as = { hard = 5 } } }, ".rlimits.as.soft: expected an integer" },
      { { rlimits = { as = { soft = 5, hard = 6, max = 7 } } }, '.rlimits.as: unknown field "max"' },
      { { rlimits = { as = { soft = 7, hard = 6 } } }, ".rlimits.as: the soft limit is above the hard one" },
      { { rlimits = { as = { soft = "unlimited", hard = 6 } } }, ".rlimits.as: the soft limit is above the hard one" },
    }
  end)

  it("has the same limit for both, or each, and tells which are above the caller's", function()
    local checked = check { rlimits = {
      core = 0, cpu = 100, nofile = 101, stack = { soft = 5, hard = "unlimited" }, as = "unlimited", data = { soft = 50, hard = 100 },
    } }
    assert.are.same({
      core = { soft = 0, hard = 0 }, cpu = { soft = 100, hard = 100 }, nofile = { soft = 101, hard = 101 }, stack = { soft = 5, hard = -1 },
      as = { soft = -1, hard = -1 }, data = { soft = 50, hard = 100 },
    }, checked.rlimits)
    assert.are.same({ nofile = { soft = 10, hard = 101 }, stack = { soft = 10, hard = -1 }, as = { soft = 10, hard = -1 } }, checked.raised_limits)
  end)
end)
