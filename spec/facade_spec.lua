-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

describe("casulo", function()
  it("needs none of its files once it is loaded", function()
    if not support.needs_root() then return end
    local empty = support.tmpdir()
    local result, err = casulo.unshared({ "mount" }, {
      casulo.recipes.private_mounts(), casulo.recipes.chroot(empty),
      function()
        local box = casulo.container { rootfs = "/none", namespaces = { "user", "mount", "uts" }, hostname = "x" }
        assert(box:explain():find "uid_map")
        assert(tostring(select(2, box:run())):find "a process in a chroot")
        local ok, message = pcall(casulo.container, { rootfs = "/none", hostnam = "x" })
        assert(not ok and message:find "did you mean hostname")
        error "as planned"
      end,
    })
    assert.is_nil(result)
    assert.is_truthy(tostring(err):find "as planned", tostring(err))
    assert.are.same({}, sys.scandir(empty))
  end)

  it("has its parts under the names of the reference", function()
    for _, name in ipairs { "sys", "container", "rootfs", "plan", "ref", "recipes", "unshared", "wait_any", "pool", "recorder", "host", "doctor",
      "_VERSION" } do
      assert.is_truthy(casulo[name], name)
    end
    assert.is_nil(casulo.nothing)
    assert.is_nil(casulo.recipes.nothing)
  end)
end)
