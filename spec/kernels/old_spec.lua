-- SPDX-License-Identifier: MIT
-- What casulo says on a kernel that is too old for it. Run on such a one: make test-kernels.
local casulo = require "casulo"
local support = require "support"

local function sentence()
  return ("this is Linux %s, and casulo needs Linux 5.12 or later; cure: boot a later kernel; Debian 12 has 6.1"):format(
    casulo.sys.uname().release)
end

describe("on an old kernel", function()
  support.each_identity("the library says which one it needs", function()
    support.leaves_nothing(function()
      local plain = casulo.container { rootfs = support.rootfs() }
      for _, box in ipairs { plain, plain:with { init = true }, plain:with { limits = { pids = 10 } } } do
        local p, err = box:start()
        assert.is_nil(p)
        assert.are.equal("setup", err.kind)
        assert.is_truthy(tostring(err):find(sentence(), 1, true), tostring(err))
      end
    end)
  end)

  support.each_identity("the command says it, too", function()
    local status, out, err = support.casulo { "run", "--rootfs", support.rootfs(), "--", "true" }
    assert.are.same({ 125, "" }, { status, out })
    assert.are.equal(1, select(2, err:gsub("\n", "")), err)
    assert.is_truthy(err:find(sentence(), 1, true), err)
  end)

  support.each_identity("doctor says it", function()
    local status, out = support.casulo { "doctor" }
    assert.are.equal(1, status)
    assert.is_truthy(out:find("casulo needs Linux 5.12 or later", 1, true), out)
  end)
end)
