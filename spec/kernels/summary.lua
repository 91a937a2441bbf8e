-- SPDX-License-Identifier: MIT
-- Prints, of the logs of run.sh, the counts of each kernel and identity, what failed, and why what is pending is so.
-- Usage: summary.lua DIRECTORY

local directory = arg[1]
local groups, order = {}, {}

local function group_of(name)
  if not groups[name] then
    groups[name] = { passed = 0, failed = 0, skipped = 0, reasons = {}, problems = {} }
    order[#order + 1] = name
  end
  return groups[name]
end

-- What one spec has printed.
local function add(group, spec, text, ending)
  local passed, failed, skipped = text:match "%f[^\n\0](%d+) passed, (%d+) failed, (%d+) skipped\n"
  local ended_well = passed and (ending:find "^0 " or failed ~= "0")
  group.passed = group.passed + (passed or 0)
  group.failed = group.failed + (failed or 0) + (ended_well and 0 or 1)
  group.skipped = group.skipped + (skipped or 0)
  for reason in text:gmatch "%f[^\n\0]pending: [^\n]*\n  ([^\n]*)" do
    reason = reason:gsub("^spec/[^ ]+:%d+: ", "")
    group.reasons[reason] = (group.reasons[reason] or 0) + 1
  end
  for problem in text:gmatch "%f[^\n\0]%u+: [^\n]*\n  [^\n]*" do group.problems[#group.problems + 1] = ("%s: %s"):format(spec, problem) end
  if not ended_well then group.problems[#group.problems + 1] = ("%s: it ended with %s"):format(spec, ending) end
end

for line in io.lines(directory .. "/list") do
  local number, kernel, identity, specs = line:match "^(%d+) (%S+) (%S+) (.*)$"
  local group = group_of(kernel .. ", " .. identity)
  local file <close> = assert(io.open(("%s/%s"):format(directory, number)))
  local text = file:read "a"
  group.release = group.release or text:match "%f[^\n\0]== Linux (%S+)\n"
  local begin = 1
  for spec in specs:gmatch "%S+" do
    local first, last, ending = text:find(("== %s: ([^\n]*)\n"):format(spec:gsub("%p", "%%%0")), begin)
    add(group, spec, text:sub(begin, (first or 0) - 1), ending or "no end: see " .. number)
    begin = last and last + 1 or begin
  end
end

local sum = { passed = 0, failed = 0, skipped = 0 }
local COUNTS = "%d passed, %d failed, %d skipped"
for _, name in ipairs(order) do
  local group = groups[name]
  print(("%s (%s): %s"):format(name, group.release or "did not start", COUNTS:format(group.passed, group.failed, group.skipped)))
  for _, problem in ipairs(group.problems) do print("  " .. problem) end
  local reasons = {}
  for reason, count in pairs(group.reasons) do reasons[#reasons + 1] = ("  %d pending: %s"):format(count, reason) end
  table.sort(reasons)
  for _, reason in ipairs(reasons) do print(reason) end
  for kind in pairs(sum) do sum[kind] = sum[kind] + group[kind] end
end
print(COUNTS:format(sum.passed, sum.failed, sum.skipped))
os.exit(sum.failed == 0)
