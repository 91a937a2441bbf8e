-- SPDX-License-Identifier: MIT
-- Goal:   a network namespace: nothing but a loopback, and that is down until it is brought up.
-- Run:    make && eval "$(make -s env)"; lua5.4 examples/08-network-namespace.lua     (with or without sudo)
-- Expect: the host's interfaces; inside, lo only, first down, then up.
local casulo = require "casulo"
local recipes, sys = casulo.recipes, casulo.sys

local function interfaces()
  local names = {}
  for line in io.lines "/proc/self/net/dev" do names[#names + 1] = line:match "^%s*(%S+):" end
  table.sort(names)
  return table.concat(names, " ")
end

local function state_of_loopback()
  local socket <close> = assert(sys.socket(sys.AF_INET, sys.SOCK_DGRAM, 0))
  local answer = assert(sys.ioctl(socket, sys.SIOCGIFFLAGS, string.pack("c40", "lo")))
  return string.unpack("=I2", answer, 17) & sys.IFF_UP ~= 0 and "up" or "down"
end

local function report(where) print(("%-8s interfaces: %s; lo is %s"):format(where, interfaces(), state_of_loopback())) end

report "outside:"
local namespaces = sys.geteuid() == 0 and { "net" } or { "user", "net" }
assert(casulo.unshared(namespaces, {
  function() report "inside:" end,
  recipes.loopback(),
  function() report "inside:" end,
}))
