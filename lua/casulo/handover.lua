-- SPDX-License-Identifier: MIT

--- The hand-over to casulo-init: what of a plan runs in a process with memory of its own.
--
-- A child that shares its caller's memory executes casulo-init, a small static program from a sealed file in memory, and with
-- it the rest of the plan: the phase `init`, which casulo-init walks itself, and the phase `command`, which its child walks
-- where it stays to look after that.
-- @module casulo.handover

local plan = require "casulo.plan"
local sys = require "casulo.sys"

local ref = plan.ref
local handover = {}

local SEALS = sys.F_SEAL_SEAL | sys.F_SEAL_SHRINK | sys.F_SEAL_GROW | sys.F_SEAL_WRITE

--- The numbers of the descriptors that casulo-init is given: the first that the command has no use for.
-- @tparam[opt] table fds a sorted list of the numbers that it does have, beside the standard streams
-- @tparam[opt] {string,...} values further ones that it is to have
-- @tparam[opt] boolean listens whether it is told anything later: to go on, or what becomes of the command
-- @treturn table `report`; `control`, the next one, where it listens; each value's, in their order; `above`: higher than all of them
function handover.numbers(fds, values, listens)
  local base = math.max(2, fds and fds[#fds] or 0) + 1
  local numbers, last = { report = base, control = listens and base + 1 or nil }, listens and base + 1 or base
  for i, name in ipairs(values or {}) do numbers[name] = last + i end
  numbers.above = last + 1 + #(values or {})
  return numbers
end

--- The gate: what follows waits for the caller's word. A caller that dies never gives it.
-- @tparam table numbers
-- @treturn table steps
function handover.gate(numbers)
  return { { "read", numbers.control, 1, expect = 1, why = "everything is ready; wait until the caller says so" } }
end

--- Moves steps to another phase than the one they were made for.
-- @tparam string phase
-- @tparam table steps of recipes, as `plan.of_recipes` takes them
-- @treturn table a list of them
function handover.in_phase(phase, steps)
  local moved = plan.of_recipes(steps).steps
  for i = 1, #moved do moved[i].phase = phase end
  return moved
end
local in_phase = handover.in_phase

local function file_steps(image, above, host)
  local executable = host.has_memfd_exec
  local flags, seals = sys.MFD_ALLOW_SEALING, SEALS
  if executable then flags, seals = flags | sys.MFD_EXEC, seals | sys.F_SEAL_EXEC end
  return in_phase("before", {
    { "memfd_create", "casulo-init", flags, as = "init file", why = "a file in memory: nothing of it is the host's" },
    { "write", ref "init file", image, expect = #image, why = "casulo-init, with its part of the plan behind it" },
    { "fcntl", ref "init file", sys.F_ADD_SEALS, seals, why = "from here on nobody can change it, through /proc/1/exe neither" },
    { "fcntl", ref "init file", sys.F_DUPFD_CLOEXEC, above, as = "init", why = "out of the way of the numbers that it is given" },
  })
end

-- What comes before the command is executed: these were only for casulo-init.
local function withdraw(numbers, stays)
  local function drop(number, why)
    if stays then return { "close", number, why = why } end
    return { "fcntl", number, sys.F_SETFD, sys.FD_CLOEXEC, why = why } -- they are still needed if the exec fails
  end
  return {
    drop(numbers.report, "casulo's own pipes are not the command's"),
    numbers.control and drop(numbers.control, "nor is this one") or {},
  }
end

--- The steps of a hand-over, to stand last in a plan.
-- @tparam table settings `init`, `command`: steps; `stays`: whether casulo-init stays to look after the command, or becomes it;
--   `watches`: whether the command is to end with the caller; `is_init`: whether it is PID 1; `grace`: seconds;
--   `numbers`: of `handover.numbers`; `host`: facts
-- @treturn table steps
-- @see memfd_create(2), execveat(2)
function handover.steps(settings)
  local numbers = settings.numbers
  local init = in_phase("init", settings.init)
  local command = in_phase("command", { withdraw(numbers, settings.stays), settings.command })
  local all = table.move(command, 1, #command, #init + 1, table.move(init, 1, #init, 1, {}))
  local image = sys.image(sys.program(all), {
    fork = settings.stays and #init or #all, report = numbers.report, watches = settings.watches,
    is_init = settings.is_init, grace = settings.grace and math.floor(settings.grace * 1000) or nil,
  })
  return {
    file_steps(image, numbers.above, settings.host),
    { "dup2", ref "report", numbers.report, why = "where casulo-init tells whether the command could be executed" },
    numbers.control and { "dup2", ref "control", numbers.control, why = "and where the caller's word comes from" } or {},
    { "fexecve", ref "init", { "casulo-init" }, {}, why = "a process with memory of its own, and nothing of the caller in it" },
    init, command,
  }
end

return handover
