-- SPDX-License-Identifier: MIT
-- An output handler for busted: a line for each test that did not pass, and the counts in one line at the end.
local base = require "busted.outputHandlers.base"

return function()
  local busted = require "busted"
  local handler = base()

  local function told(kind, element, message)
    io.write(("%s: %s\n"):format(kind, handler.getFullName(element)))
    if message then io.write("  ", (tostring(message):gsub("\n", "\n  ")), "\n") end
    io.flush()
  end

  handler.testEnd = function(element, _, status)
    if status == "pending" then
      local last = handler.pendings[#handler.pendings]
      told("pending", element, last and last.message)
    elseif os.getenv "CASULO_VERBOSE" then
      told(status, element)
    end
    return nil, true
  end

  handler.suiteEnd = function()
    for _, kind in ipairs { "failures", "errors" } do
      for _, problem in ipairs(handler[kind]) do
        local message = problem.message
        if type(message) == "table" then message = message.message or tostring(message) end
        told(kind == "failures" and "FAILED" or "ERROR", problem.element, message)
      end
    end
    io.write(("%d passed, %d failed, %d skipped\n"):format(handler.successesCount,
      handler.failuresCount + handler.errorsCount, handler.pendingsCount))
    io.flush()
    return nil, true
  end

  busted.subscribe({ "test", "end" }, handler.testEnd, { predicate = handler.cancelOnPending })
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  return handler
end
