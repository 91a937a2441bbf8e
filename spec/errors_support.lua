-- SPDX-License-Identifier: MIT
--- Errors, beside what doc/errors.md says of them.
local assert = require "luassert"
local busted = require "busted"
local casulo = require "casulo"
local doc_support = require "doc_support"
local support = require "support"
local sys = casulo.sys

local errors_support = {}

local rows = {}
for _, cells in ipairs(doc_support.rows "doc/errors.md") do
  local call, errno = cells[2]:match "^(%S+) ?(%S*)$"
  rows[cells[1]] = { call = call:match "^`(.*)`$", errno = errno ~= "" and errno or nil, says = cells[3],
    cure = cells[4] ~= "" and cells[4] or nil, held = cells[5] }
end
errors_support.rows = rows

--- A pattern for words in which `…` stands for anything.
function errors_support.pattern_of(words) return (words:gsub("%p", "%%%0"):gsub("…", ".-")) end
local pattern_of = errors_support.pattern_of

--- Asserts that an error is what its row of the page says, and one line.
-- @tparam string when the first cell of the row
-- @param err of casulo, or a text
function errors_support.is_as_documented(when, err)
  local row, text = assert(rows[when], "no row: " .. when), tostring(err)
  local words = pattern_of(row.says) .. (row.cure and "; cure: " .. pattern_of(row.cure) or "")
  assert.is_nil(text:find "\n", text)
  if row.errno then
    local reason = pattern_of(sys.strerror(sys[row.errno]))
    words = ("^%s.*: %s %%(%s%%)$"):format(row.call and pattern_of(row.call) .. "%(" or "", reason, words)
  else
    words = row.call and ("^%s%%(.* %%(%s%%)$"):format(pattern_of(row.call), words) or ("^%s$"):format(words)
  end
  assert.is_truthy(text:find(words), text .. "\nis not\n" .. words)
end

--- What keeps a container from running.
-- @tparam table fields of its description
function errors_support.run(fields)
  fields.rootfs, fields.command = fields.rootfs or support.rootfs(), fields.command or { "/bin/true" }
  local box = casulo.container(fields)
  local result, err
  support.leaves_nothing(function() result, err = box:run() end)
  assert.is_nil(result)
  return err
end

--- What the command says of it, without its name in front. `before` is a shell line that comes first, or a command to run it by.
function errors_support.said_by_command(line, before)
  local status, _, err = support.sh(("%s %s %s"):format(before or "", support.command(), line))
  assert.are.equal(125, status, err)
  return (err:match "^casulo: ([^\n]*)\n$")
end

--- The same of a usual container, where strace makes a call fail or late. `options` are further ones of run.
function errors_support.said_with(injection, options)
  if not support.has "strace" then support.cannot_run "strace is not installed" end
  return errors_support.said_by_command(("run --rootfs %s %s -- true"):format(support.rootfs(), options or ""),
    "strace -f -o /dev/null -e inject=" .. injection)
end

--- Declares the test of a row.
-- @tparam string when
-- @tparam function provoke returns the error
-- @tparam[opt] string who "root" or "user", where it is one of them only
function errors_support.tells(when, provoke, who)
  local function body() errors_support.is_as_documented(when, provoke()) end
  if not who then return support.each_identity(when, body) end
  busted.it(when, function()
    if who == "user" then support.as_user(body)
    elseif support.needs_root() then body() end
  end)
end

return errors_support
