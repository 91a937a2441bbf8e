-- SPDX-License-Identifier: MIT
-- Goal:   root inside is not root outside, even without a user namespace: what is taken from it, and how to say otherwise.
-- Run:    sudo lua5.4 examples/12-fewer-rights.lua
-- Expect: ten capabilities of some forty; no mount, no new namespace, no setting of the kernel; with SYS_ADMIN added, a mount;
--         with a rule of one's own, no mkdir.
local casulo = require "casulo"

local root = { casulo.rootfs.busybox "build/demo", ephemeral = true } -- what is written to it is thrown away
local box = casulo.container { rootfs = root, stdout = "pipe", stderr = "pipe" }

local function try(title, fields, ...)
  print("\n# " .. title)
  for _, script in ipairs { ... } do
    fields.command = { "/bin/sh", "-c", script }
    local result = assert(box:with(fields):run())
    print(("%-40s %s"):format(script, (result.stdout .. result.stderr):gsub("\n+$", "")))
  end
end

try("by default", {},
  "grep CapEff /proc/self/status",         -- a bit for each capability that it has
  "grep NoNewPrivs /proc/self/status",     -- setuid programs give it no more
  "mount -t tmpfs none /tmp && echo done", -- no CAP_SYS_ADMIN, and a filter of system calls
  "unshare -U true && echo done",          -- a user namespace would give all capabilities back
  "echo x > /proc/sys/kernel/core_pattern",-- which the host's kernel would take for all of its processes
  "wc -c < /proc/keys")                    -- hidden: an empty file lies over it

try("with a capability more", { capabilities = { add = { "SYS_ADMIN" } } }, "mount -t tmpfs none /tmp && echo done")

try("without any", { capabilities = {} }, "grep CapEff /proc/self/status", "touch /etc/x && chown 1 /etc/x && echo done")

try("with a rule of one's own", { seccomp = { { "mkdir", "mkdirat", action = "EACCES" } } }, "mkdir /tmp/d && echo done")
