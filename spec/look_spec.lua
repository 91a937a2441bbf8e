-- SPDX-License-Identifier: MIT
local look = require "casulo.look"
local support = require "support"
local sys = require "casulo.sys"

describe("a look at the host", function()
  it("finds a text, however long, and what stat and readlink tell", function()
    local path = support.tmpdir() .. "/file"
    local text = ("line\n"):rep(50000)
    support.write_file(path, text)
    assert(sys.symlink("file", path .. ".link"))
    assert.are.equal(text, look.text(path))
    assert.are.equal(#text, look.stat(path .. ".link").size)
    assert.are.equal(sys.S_IFLNK, look.lstat(path .. ".link").mode & sys.S_IFMT)
    assert.are.equal("file", look.readlink(path .. ".link"))
  end)

  it("finds none where there is none, nor for a caller who may not look", function()
    for _, name in ipairs { "text", "stat", "lstat", "readlink" } do
      assert.is_nil(look[name] "/nowhere/at all")
      assert.is_nil(look[name] "/etc/passwd/below")
      assert.is_nil(look[name]("/" .. ("x"):rep(5000)))
    end
    local path = support.tmpdir() .. "/file"
    support.write_file(path, "text")
    assert(sys.chmod(path, 0))
    support.as_user(function() assert.is_nil(look.text(path)) end)
  end)

  it("raises where the kernel gives no answer", function()
    local directory = support.tmpdir()
    assert.has_error(function() look.text(directory) end, ("read %s: Is a directory"):format(directory))
    assert.has_error(function() look.readlink(directory) end, ("readlink %s: Invalid argument"):format(directory))
  end)
end)
