-- SPDX-License-Identifier: MIT
-- The command is static, so it cannot load a C module; the interpreter of the system can. (lfs comes with busted.)
local support = require "support"

local FILE = [[
%s
local lfs = require "lfs"
return { rootfs = %q, command = { "echo", type(lfs.currentdir) } }
]]

-- Runs a description that requires lfs. → exit status, stdout, stderr
local function outcome(before, environment)
  local path = support.tmpdir() .. "/box.lua"
  support.write_file(path, FILE:format(before, support.rootfs()))
  return support.sh(("env LUA_PATH='%s' LUA_CPATH='%s' %s %s run %s"):format(package.path, package.cpath, environment, support.command(), path))
end

local function fails(...)
  local status, out, err = outcome(...)
  assert.are.same({ 125, "" }, { status, out })
  assert.is_truthy(err:find("this command loads C modules only through lua5.4", 1, true), err)
end

describe("the command, where a description requires a C module,", function()
  it("goes on in the interpreter of the system", function()
    assert.are.same({ 0, "function\n", "" }, { outcome("", "") })
  end)

  it("says that there is none", function() fails("", "PATH=/nowhere") end)

  it("says when that does not find casulo", function()
    local status, _, err = outcome("", "LUA_PATH=/nowhere/?.lua")
    local expected = "casulo: for a description that requires a C module, lua5.4 must find casulo: set LUA_PATH and LUA_CPATH\n"
    assert.are.same({ 125, expected }, { status, err })
  end)

  it("does not begin again when something has been started, by whatever means, and has ended or not", function()
    local box = ("require 'casulo'.container { rootfs = %q, command = { 'sleep', '%%s' } }"):format(support.rootfs())
    for _, before in ipairs { "p = " .. box:format "1000" .. ":start()", box:format "0" .. ":run()", "os.execute 'true'", "io.popen 'true'" } do
      support.leaves_nothing(function() fails(before, "") end)
    end
  end)

  it("does not begin again where the description cannot be read again", function()
    local path = support.tmpdir() .. "/box.lua"
    support.write_file(path, FILE:format("", support.rootfs()))
    local status, out, err = support.sh(("cat %s | %s run /dev/stdin"):format(path, support.command()))
    assert.are.same({ 125, "" }, { status, out })
    assert.is_truthy(err:find("for a description in a regular file", 1, true), err)
  end)

  it("begins again although this process has children of another program's", function()
    assert.are.same({ 0, "function\n", "" }, { outcome("", "sh -c 'sleep 5 & exec \"$@\"' sh") })
  end)
end)
