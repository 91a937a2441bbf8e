-- SPDX-License-Identifier: MIT

--- Takes each step of casulo's plans out in turn, and makes each of their flags weaker, and shows which test notices. It is run by
-- run.sh, as root:
--
--     mutate/run.sh JOBS [--exactly] [PATTERN [SPEC…]]
--
-- Of all mutations those in whose name PATTERN is found, a plain text; with --exactly the one of that name, be it in a plan or not.
-- Looked for among all specs of `mutate.specs`, or those that are named. What becomes of a mutation is one of
--
-- * `noticed`: by a test that passes without it, and fails twice with it
-- * `needed`: no container that has the step starts without it, so nothing runs unprotected
-- * `harmless`: it protects nothing, and `mutate.harmless` says why
-- * `UNNOTICED`: no test fails

local top = arg[0]:match "^(.*)run%.lua$"
local specs = dofile(top .. "specs.lua")
local harmless = dofile(top .. "harmless.lua")

local PATIENCE = 120 -- seconds
local directory = os.getenv "CASULO_MUTATE_TREE"

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

-- Runs a command line in the sandbox, with a mutation. → its output, exit status
local serial = 0
local function run(line, mutation)
  serial = serial + 1
  local output = ("%s/output-%s-%d"):format(directory, (os.getenv "CASULO_MUTATE_WORKER" or "1"):match "%d+", serial)
  local _, how, code = os.execute(("CASULO_MUTATION=%s timeout --foreground -s KILL %d sh %ssandbox.sh env LUA_INIT=%s %s </dev/null >%s 2>&1")
    :format(quote(mutation), PATIENCE, top, quote("@" .. directory .. "/mutation.lua"), line, output))
  local file <close> = assert(io.open(output))
  local text = file:read "a"
  os.remove(output)
  return text, how == "exit" and code or 128 + code
end

-- A pattern of Lua for busted, which fits a text.
local function pattern_of(text) return (text:gsub("[^%w ]", "%%%0")) end

local TOO_LONG = ("no end within %d seconds"):format(PATIENCE)

-- The first test of specs that fails. → its name; nil where none does
local function first_failure(files, mutation, options)
  local words = { "lua5.4 /usr/bin/busted --ignore-lua --no-keep-going" }
  for _, word in ipairs(table.move(files, 1, #files, #options + 1, table.move(options, 1, #options, 1, {}))) do words[#words + 1] = quote(word) end
  local text, status = run(table.concat(words, " "), mutation)
  if status == 0 then return nil end
  if status == 137 then return TOO_LONG end
  text = "\n" .. text
  return text:match "\n[FE][AR][IR][LO][ER]D?R?: ([^\n]*)" or "the spec: " .. (text:match "^.*\n([^\n]+)\n*$" or "")
end

-- Options of busted for a test; none where it is a whole spec that failed.
local function only(test) return test ~= TOO_LONG and not test:find "^the spec: " and { "--filter=" .. pattern_of(test) } or {} end

-- Tests that fail without any mutation, or not twice with one, show nothing.
local sound, ignored = {}, {}
local function is_sound(test, file)
  local options = only(test)
  if sound[file .. test] == nil then sound[file .. test] = first_failure({ file }, "none", options) == nil end
  if not sound[file .. test] then
    if options[1] then ignored[#ignored + 1] = "--filter-out=" .. pattern_of(test) end
    io.stderr:write(("%s: %s: fails without a mutation, too\n"):format(file, test))
  end
  return sound[file .. test]
end

-- The test of a spec that notices, be it the one that is asked for or any. → its name, or nil
local function noticed_in(file, mutation, asked)
  for _ = 1, 3 do
    local failed = first_failure({ file }, mutation, asked and only(asked) or ignored)
    if not failed then return nil end
    if is_sound(failed, file) and first_failure({ file }, mutation, only(failed)) then return failed end
  end
end

-- The tests that noticed other mutations of the same call, the last one first: they are tried before whole specs.
local former = {}
local FEW = 6

local function call_of(mutation) return mutation:match "^[^:]*: ([%w_]+)" or "" end

local function remember(mutation, file, test)
  if test == TOO_LONG or test:find "^the spec: " then return end
  local list = former[call_of(mutation)] or {}
  former[call_of(mutation)] = list
  for i, each in ipairs(list) do
    if each.test == test then table.remove(list, i) break end
  end
  table.insert(list, 1, { file = file, test = test })
  list[FEW + 1] = nil
end

local function noticed_as_before(mutation)
  local files, options, file_of, found = {}, {}, {}, {}
  for _, each in ipairs(former[call_of(mutation)] or {}) do
    options[#options + 1], file_of[each.test] = "--filter=" .. pattern_of(each.test), each.file
    if not found[each.file] then files[#files + 1], found[each.file] = each.file, true end
  end
  local test = files[1] and first_failure(files, mutation, options)
  local file = test and file_of[test]
  if file and first_failure({ file }, mutation, only(test)) then return test, file end
end

-- → the test, as it is told, or nil
local function noticed_by(mutation, files, may_guess)
  local test, in_file
  if may_guess then test, in_file = noticed_as_before(mutation) end
  for _, each in ipairs(test and {} or files) do
    in_file = each.path
    test = noticed_in(in_file, mutation, each.test)
    if test then break end
  end
  if not test then return nil end
  remember(mutation, in_file, test)
  return ("%s: %s"):format(in_file:match "[^/]*$", test)
end

local function exists(path)
  local file <close> = io.open(path)
  return file ~= nil
end

local function read_list(pattern, exactly)
  if exactly then return { { key = pattern .. (pattern:find "\t" and "" or "\t"), plans = "" } } end
  local list = {}
  for line in io.lines(directory .. "/list") do
    local key, plans = line:match "^(.*\t.*)\t([%d ]+)$"
    if key:gsub("\t", ", "):find(pattern, 1, true) then list[#list + 1] = { key = key, plans = plans } end
  end
  return list
end

-- Whether all containers that have the step need it to start at all.
local function cannot_start(each)
  if each.plans == "" then return nil end
  local text, status = run(("lua5.4 %splans.lua try %s"):format(top, each.plans), each.key)
  if text:find("starts\n", 1, true) or status == 137 then return nil end
  return text:match "cannot start: [^\n]*" or error(text, 0)
end

-- → how it ended, and what is to be told of it
local function examine(each, chosen)
  local reason = harmless(each.key)
  if reason then return "harmless", reason end
  local why = cannot_start(each)
  if why then return "needed", why end
  local files = {}
  for _, name in ipairs(chosen or specs(each.key)) do
    local path, asked = name:match "^([^:]*):? ?(.*)$"
    path = path:find "/" and path or ("spec/%s_spec.lua"):format(path)
    if exists(path) then files[#files + 1] = { path = path, test = asked ~= "" and asked or nil } end
  end
  local test = noticed_by(each.key, files, not chosen)
  if test then return "noticed", test end
  return "UNNOTICED", ""
end

local function work(list, worker, workers, chosen)
  local outcomes <close> = assert(io.open(directory .. "/outcomes", "a"))
  outcomes:setvbuf "line"
  for i = worker, #list, workers do
    local each = list[i]
    local outcome, told = examine(each, chosen)
    outcomes:write(outcome, "\n")
    print(("%-9s  %s\n           %s"):format(outcome, (each.key:gsub("\t$", ""):gsub("\t", ", ")), told))
    io.stdout:flush()
  end
end

local words = table.move(arg, 1, #arg, 1, {})
local exactly = words[1] == "--exactly" and table.remove(words, 1) ~= nil
local chosen = words[2] and table.move(words, 2, #words, 1, {}) or nil
local worker, workers = (os.getenv "CASULO_MUTATE_WORKER" or "1/1"):match "(%d+)/(%d+)"
work(read_list(words[1] or "", exactly), tonumber(worker), tonumber(workers), chosen)
