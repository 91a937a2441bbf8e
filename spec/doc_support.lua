-- SPDX-License-Identifier: MIT
--- What the specs of pages in doc/ share: the rows of their tables, and the tests that are named there.
local support = require "support"
local sys = require "casulo.sys"

local doc_support = {}

--- Calls a function with each `name_spec` "test", "test" of a text.
function doc_support.each_test(part, body)
  for spec, position in part:gmatch "`([%w_]+_spec)`()" do
    repeat
      local test, after = part:match('^,?%s+"([^"]+)"()', position)
      if test then body(spec, (test:gsub("%s+", " "))) end
      position = after
    until not position
  end
end

--- Whether a spec has a test. Its name may be the first argument of whatever declares one, or the beginning of one that is put together.
function doc_support.declares(spec, test)
  for _, directory in ipairs { "spec", "spec/cgroup" } do
    local file = ("%s/%s.lua"):format(directory, spec)
    if sys.stat(file) then return support.read_file(file):find(('("%s"'):format(test), 1, true) end
  end
end

--- The rows of all tables of a page whose first column is "when", each a list of its cells.
function doc_support.rows(path)
  local rows = {}
  for line in support.read_file(path):gmatch "%f[^\n]| ([^\n]*)" do
    local cells = {}
    for cell in line:gmatch "%s*(.-)%s*|" do cells[#cells + 1] = cell end
    if cells[1] ~= "when" then rows[#rows + 1] = cells end
  end
  return rows
end

return doc_support
