-- SPDX-License-Identifier: MIT
--- For specs of containers with names: a place for their records that is the test's own.
local busted = require "busted"
local support = require "support"
local sys = require "casulo.sys"
local sys_support = require "sys_support"

local named_support = {}

local environment = ""

--- Runs a shell line that keeps names where the test does. → exit status, stdout, stderr
function named_support.sh(line) return support.sh(environment .. line) end

--- Runs the command likewise, with a line of arguments. → exit status, stdout, stderr
function named_support.casulo(line) return named_support.sh(("%s %s"):format(support.command(), line)) end

--- Starts such a line. → the pipe that reads what it prints
function named_support.popen(line) return assert(io.popen(environment .. line)) end

-- This process cannot change its environment, so the variable is one to Lua only, and to what `sh` starts.
function named_support.with_runtime_directory(path, body)
  local getenv, before = os.getenv, environment
  os.getenv = function(name) -- luacheck: ignore 122
    if name == "XDG_RUNTIME_DIR" then return path end
    return getenv(name)
  end
  environment = path and ("export XDG_RUNTIME_DIR='%s'; "):format(path) or "unset XDG_RUNTIME_DIR; "
  local ok, err = xpcall(body, function(err) return type(err) == "string" and debug.traceback(err, 2) or err end)
  os.getenv, environment = getenv, before -- luacheck: ignore 122
  if not ok then error(err, 0) end
end

--- Runs a function with a /run of its own, where this process may mount.
function named_support.with_own_run(body, options)
  support.command() -- made by this process, and not by the one that comes and goes
  support.rootfs()
  sys_support.in_namespaces(sys.CLONE_NEWNS, function()
    assert(sys.mount("none", "/run", "tmpfs", 0, options or "mode=755"))
    named_support.with_runtime_directory("/nonexistent", body) -- of which root takes no notice
  end)
end

--- Runs a function as a user with a runtime directory of its own. It gets that directory.
function named_support.as_user(body)
  support.command()
  support.as_user(function()
    local path = support.tmpdir() .. "/runtime"
    assert(sys.mkdir(path, 448))
    named_support.with_runtime_directory(path, function() body(path) end)
  end)
end

--- Declares a test twice: as root, and as an ordinary user. It gets the directory of the records.
function named_support.each_identity(name, body)
  busted.it(name .. " (as root)", function()
    if not support.needs_root() then return end
    named_support.with_own_run(function() support.leaves_nothing(function() body "/run/casulo" end) end)
  end)
  busted.it(name .. " (as a user)", function()
    named_support.as_user(function(path) support.leaves_nothing(function() body(path .. "/casulo") end) end)
  end)
end

return named_support
