-- SPDX-License-Identifier: MIT
-- What is installed works from any directory, and its removal leaves nothing.
local support = require "support"
local sys = require "casulo.sys"

-- A copy of the sources, since building writes beside them.
local function checkout()
  local directory = support.tmpdir()
  assert(os.execute(("cp -r Makefile bin lua src rockspec LICENSE README.md '%s/'"):format(directory)))
  return directory
end

local SCRIPT = [[
local casulo = require "casulo"
local root = casulo.rootfs.busybox "root"
local result = assert(casulo.container { rootfs = root, command = { "sh", "-c", "echo $$" } }:run { stdout = "pipe" })
assert(result.stdout == "1\n" and result.exit_code == 0)
]]

local function works(environment)
  local directory = support.tmpdir()
  support.write_file(directory .. "/script.lua", SCRIPT)
  local status, out, err = support.sh(("cd %s && %s && lua5.4 script.lua && casulo run --rootfs root -- sh -c 'echo $$'; casulo version")
    :format(directory, environment))
  assert.are.same({ 0, "" }, { status, err })
  assert.is_truthy(out:find "^1\ncasulo %S+\n$", out)
end

describe("an installation", function()
  it("by make works, and is gone after make uninstall", function()
    if not support.needs_root() then return end
    local from, to = checkout(), support.tmpdir()
    assert.are.equal(0, (support.sh(("make -C %s install PREFIX=%s/usr"):format(from, to))))
    works(("export PATH=%s/usr/bin:$PATH LUA_PATH='%s/usr/share/lua/5.4/?.lua;%s/usr/share/lua/5.4/?/init.lua' LUA_CPATH='%s/usr/lib/lua/5.4/?.so'")
      :format(to, to, to, to))
    local _, version, complaint = support.sh(("cd / && env -u LUA_PATH -u LUA_CPATH %s/usr/bin/casulo version"):format(to))
    assert.is_truthy(version:find "^casulo %S+\n$", complaint)
    assert(sys.symlink(to .. "/usr/bin/casulo", to .. "/link"))
    assert.are.equal(version, select(2, support.sh(to .. "/link version")))
    assert(sys.unlink(to .. "/link"))
    assert.are.equal(0, (support.sh(("make -C %s uninstall PREFIX=%s/usr"):format(from, to))))
    local _, left = support.sh(("find %s -type f"):format(to))
    assert.are.equal("", left)
  end)

  it("by luarocks works", function()
    if not support.has "luarocks" then return support.cannot_run "luarocks is not installed" end
    if not support.needs_root() then return end
    local from, to = checkout(), support.tmpdir()
    local rocks = "luarocks --lua-version 5.4 --tree " .. to
    local status, out, err = support.sh(("cd %s && HOME=%s %s make --deps-mode none rockspec/casulo-scm-1.rockspec"):format(from, to, rocks))
    assert.are.equal(0, status, out .. err)
    works(('eval "$(HOME=%s %s path)"'):format(to, rocks))
    -- its command finds its tree, whatever the environment says
    local _, version, complaint = support.sh(("cd / && env -u LUA_PATH -u LUA_CPATH %s/bin/casulo version"):format(to))
    assert.is_truthy(version:find "^casulo %S+\n$", complaint)
  end)

  it("adds no global", function()
    local status, out = support.sh [[lua5.4 -e '
      package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
      package.cpath = "build/?.so;" .. package.cpath
      local before = {} for name in pairs(_G) do before[name] = true end
      local casulo = require "casulo"
      for _, part in ipairs { "sys", "container", "rootfs", "plan", "recipes", "unshared" } do assert(casulo[part]) end
      require "casulo.cli" require "casulo.foreground" require "casulo.hint" require "casulo.process"
      for name in pairs(_G) do if not before[name] then print(name) end end']]
    assert.are.same({ 0, "" }, { status, out })
  end)
end)
