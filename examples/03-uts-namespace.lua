-- SPDX-License-Identifier: MIT
-- Goal:   a hostname that changes inside a UTS namespace only.
-- Run:    make && eval "$(make -s env)"; sudo -E lua5.4 examples/03-uts-namespace.lua
-- Expect: the host's name before, the other name inside, and the host's own name again while that is so and afterwards.
local casulo = require "casulo"
local sys = casulo.sys

local function report(when, name) print(("%-22s %s"):format(when, name)) end

report("the host before:", sys.gethostname())

local from_child, to_parent = assert(sys.pipe2(0))
local from_parent, to_child = assert(sys.pipe2(0))
local pid = assert(sys.clone(sys.CLONE_NEWUTS, function()
  to_child:close()
  assert(sys.sethostname "foo")
  sys.write(to_parent, sys.gethostname())
  sys.read(from_parent, 1) -- stay until the parent has looked
end))

to_parent:close() -- what is left open is the child's: its end would end our read
from_parent:close()
report("inside:", sys.read(from_child, 64))
report("the host meanwhile:", sys.gethostname())
to_child:close()
sys.waitpid(pid)
report("the host afterwards:", sys.gethostname())
