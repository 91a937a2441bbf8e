-- SPDX-License-Identifier: MIT
-- doc/security.md names files and tests that are there, and for each threat at least one test.
local doc_support = require "doc_support"
local support = require "support"
local sys = require "casulo".sys

local text = support.read_file "doc/security.md"

local function exists(name)
  for _, directory in ipairs { "lua/casulo/", "src/", "spec/", "spec/cgroup/", "" } do
    if sys.stat(directory .. name) then return true end
  end
  return false
end

describe("doc/security.md", function()
  it("names no file that is not there", function()
    local count = 0
    for name in text:gmatch "`([%w_/-]+%.[lc]u?a?)`" do
      if name ~= "box.lua" then assert.is_true(exists(name), name) end
      count = count + 1
    end
    for name in text:gmatch "`([%w_]+_spec)`" do assert.is_true(exists(name .. ".lua"), name) end
    assert.is_true(count > 30, count)
  end)

  it("names no test that is not there", function()
    local count = 0
    doc_support.each_test(text, function(spec, test)
      assert.is_truthy(doc_support.declares(spec, test), ('%s "%s"'):format(spec, test))
      count = count + 1
    end)
    assert.is_true(count > 50, count)
  end)

  it("names a test for each threat that is said to be kept off", function()
    local rows = 0
    for row in text:gmatch "\n(| [^\n]*)" do
      local where, held = row:match "^|[^|]*|[^|]*|([^|]*)|([^|]*)|$"
      if where and not where:find "^ where" then
        local found = false
        doc_support.each_test(held, function() found = true end)
        assert.is_true(found and where:find "`" ~= nil, row)
        rows = rows + 1
      end
    end
    assert.is_true(rows > 25, rows)
  end)
end)
