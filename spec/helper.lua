-- SPDX-License-Identifier: MIT
-- Loaded by busted before the specs: they share one module, and what it made is removed at the end.
package.path = "spec/?.lua;" .. package.path
if not package.searchpath("casulo.sys", package.cpath) then -- else the caller has said which one
  local top = os.getenv "PWD"
  package.path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s"):format(top, top, package.path)
  package.cpath = ("%s/build/?.so;%s"):format(top, package.cpath)
end
local support = require "support"
local busted = require "busted"

busted.subscribe({ "test", "start" }, function(element)
  support.pending = element.env.pending
  return nil, true
end)

-- Some give a container the number 0, or nothing: what the suite itself was given to read must not be what they wait for.
do
  local sys = require "casulo.sys"
  local null <close> = assert(sys.open("/dev/null", sys.O_RDONLY))
  assert(sys.dup2(null, 0))
end

local before = support.host_state()
busted.subscribe({ "suite", "end" }, function()
  support.remove_base()
  local after = support.host_state()
  for name, value in pairs(before) do
    if after[name] ~= value then
      io.stderr:write(("the suite changed the host: %s was\n%s\nand is\n%s\n"):format(name, value, after[name]))
      os.exit(1)
    end
  end
end)
return true
