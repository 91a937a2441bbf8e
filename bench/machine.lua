-- SPDX-License-Identifier: MIT
--- What the figures were measured on: the machine, and the versions of the tools.

local VERSIONS = {
  bwrap = "bwrap --version", crun = "crun --version", runc = "runc --version", unshare = "unshare --version",
  hyperfine = "hyperfine --version", lua = "lua5.4 -v", busybox = "busybox", cc = "cc --version",
}

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

local function version(command)
  local pipe <close> = io.popen(("{ %s; } 2>/dev/null"):format(command))
  return pipe:read "l" or "not installed"
end

local machine = {}

--- Describes this machine.
-- @treturn table
function machine.describe()
  local cpus = read "/proc/cpuinfo"
  local _, count = cpus:gsub("processor%s*:", "")
  local described = {
    cpu = cpus:match "model name%s*:%s*([^\n]+)" or "unknown", cores = count,
    memory_mb = tonumber(read "/proc/meminfo":match "MemTotal:%s+(%d+)") // 1024,
    kernel = read "/proc/sys/kernel/osrelease":match "%S+",
    system = read "/etc/os-release":match 'PRETTY_NAME="([^"]+)"',
    load = read "/proc/loadavg":match "%S+",
    versions = {},
  }
  for name, command in pairs(VERSIONS) do described.versions[name] = version(command) end
  return described
end

--- The same in a few lines.
-- @tparam table described
-- @treturn string
function machine.text(described)
  local names, versions = {}, {}
  for name in pairs(described.versions) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do versions[i] = ("  %s: %s"):format(name, described.versions[name]) end
  return ("%s, %d cores, %d MB; %s, Linux %s; load %s before\n%s\n"):format(described.cpu, described.cores, described.memory_mb,
    described.system, described.kernel, described.load, table.concat(versions, "\n"))
end

return machine
