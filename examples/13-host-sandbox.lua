-- SPDX-License-Identifier: MIT
-- Goal:   a sandbox without a root of its own: the host's programs, to look at only, and one directory to write to.
-- Run:    lua5.4 examples/13-host-sandbox.lua
-- Expect: the host's Lua runs inside; /home and /tmp are empty there and its own; what it writes to the one directory is there
--         afterwards, and nothing else has changed.
local casulo = require "casulo"
local sys = casulo.sys

local work = "build/work"
sys.mkdir("build", 493)
sys.mkdir(work, 493)
work = sys.readlink "/proc/self/cwd" .. "/" .. work

local box = casulo.container {
  rootfs = casulo.rootfs.host { writable = { work } },
  cwd = work,
  command = { "lua5.4", "-e", [[
    print("the Lua of the host runs here: " .. _VERSION)
    print("/home: " .. io.popen("ls /home | wc -l"):read "n" .. " entries")
    print("/usr:  " .. select(2, io.open("/usr/x", "w")))
    io.open("result", "w"):write "made inside\n"
  ]] },
  timeout = 10,
}

local result = assert(box:run())
print(("exit %d; the host finds in %s: %s"):format(result.exit_code, work:match "build/work$", io.open(work .. "/result"):read "a"))
os.remove(work .. "/result")
