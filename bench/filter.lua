-- SPDX-License-Identifier: MIT
--- Prints casulo's filter of system calls as C, for by_hand.c.

local filter = require "casulo.default_filter"[require "casulo.sys".AUDIT_ARCH_NATIVE]
for position = 1, #filter, 8 do print(("{ 0x%x, %d, %d, 0x%x },"):format(string.unpack("=I2I1I1I4", filter, position))) end
