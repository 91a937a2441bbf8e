-- SPDX-License-Identifier: MIT

--- Takes each step of casulo's plans out in turn, and makes each of their flags weaker, and shows which test notices. It is run by
-- run.sh, as root:
--
--     mutate/run.sh JOBS [--exactly] [PATTERN [SPEC…]]
--
-- Of all mutations those in whose name PATTERN is found, a plain text; with --exactly the one of that name, be it in a plan or not.
-- Looked for among all specs of `mutate.specs`, or those that are named. Exits with 1 when one goes unnoticed.

local top = arg[0]:match "^(.*)run%.lua$"
local specs = dofile(top .. "specs.lua")
local harmless = dofile(top .. "harmless.lua")

local PATIENCE = 120 -- seconds
local directory = os.getenv "CASULO_MUTATE_TREE"

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

-- Runs a command line in the sandbox, with a mutation. → its output, exit status
local serial = 0
local function run(line, mutation, patience)
  serial = serial + 1
  local output = ("%s/output-%s-%d"):format(directory, (os.getenv "CASULO_MUTATE_WORKER" or "1"):match "%d+", serial)
  local env = mutation and ("env LUA_INIT=%s CASULO_MUTATION=%s "):format(quote("@" .. top .. "mutation.lua"), quote(mutation)) or ""
  local _, how, code = os.execute(("timeout -s KILL %d sh %ssandbox.sh %s%s </dev/null >%s 2>&1"):format(patience, top, env, line, output))
  local file <close> = assert(io.open(output))
  local text = file:read "a"
  os.remove(output)
  return text, how == "exit" and code or 128 + code
end

-- A pattern of Lua for busted, which fits a text.
local function pattern_of(text) return (text:gsub("[^%w ]", "%%%0")) end

local TOO_LONG = ("no end within %d seconds"):format(PATIENCE)

-- The first test of a spec that fails. → its name; nil where none does
local function first_failure(file, mutation, options)
  local line = "lua5.4 /usr/bin/busted --ignore-lua --no-keep-going"
  for _, option in ipairs(options or {}) do line = line .. " " .. quote(option) end
  local text, status = run(line .. " " .. quote(file), mutation, PATIENCE)
  if status == 0 then return nil end
  if status == 137 then return TOO_LONG end
  return ("\n" .. text):match "\n[FE][AR][IR][LO][ER]D?R?: ([^\n]*)" or "the spec: " .. text:match "([^\n]*)\n*$"
end

-- Tests that fail without any mutation, or not twice with one, show nothing.
local sound, ignored = {}, {}
local function is_sound(test, file)
  local options = test ~= TOO_LONG and not test:find "^the spec: " and { "--filter=" .. pattern_of(test) } or nil
  if sound[file .. test] == nil then sound[file .. test] = first_failure(file, nil, options) == nil end
  if not sound[file .. test] then
    if options then ignored[#ignored + 1] = "--filter-out=" .. pattern_of(test) end
    io.stderr:write(("%s: %s: fails without a mutation, too\n"):format(file, test))
  end
  return sound[file .. test], options
end

local function noticed_by(mutation, files)
  for _, file in ipairs(files) do
    for _ = 1, 3 do
      local failed = first_failure(file, mutation, ignored)
      if not failed then break end
      local sound_one, options = is_sound(failed, file)
      if sound_one and (failed == TOO_LONG or first_failure(file, mutation, options)) then return ("%s: %s"):format(file:match "[^/]*$", failed) end
    end
  end
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
  local text = run(("lua5.4 %splans.lua try %s"):format(top, each.plans), each.key, PATIENCE)
  if text:find("starts\n", 1, true) then return nil end
  return text:match "cannot start: [^\n]*" or "cannot start"
end

-- → how it ended, and what is to be told of it
local function examine(each, chosen)
  local reason = harmless(each.key)
  if reason then return "no protection", reason end
  local why = cannot_start(each)
  if why then return "needed", why end
  local files = {}
  for _, name in ipairs(chosen or specs(each.key)) do
    local path = name:find "/" and name or ("spec/%s_spec.lua"):format(name)
    if exists(path) then files[#files + 1] = path end
  end
  local test = noticed_by(each.key, files)
  if test then return "noticed", test end
  return "UNNOTICED", ""
end

local function work(list, worker, workers, chosen)
  local unnoticed = 0
  for i = worker, #list, workers do
    local each = list[i]
    local outcome, told = examine(each, chosen)
    if outcome == "UNNOTICED" then unnoticed = unnoticed + 1 end
    print(("%-13s  %s\n               %s"):format(outcome, (each.key:gsub("\t$", ""):gsub("\t", ", ")), told))
    io.stdout:flush()
  end
  return unnoticed
end

local words = table.move(arg, 1, #arg, 1, {})
local exactly = words[1] == "--exactly" and table.remove(words, 1) ~= nil
local chosen = words[2] and table.move(words, 2, #words, 1, {}) or nil
local list = read_list(words[1] or "", exactly)
local worker, workers = (os.getenv "CASULO_MUTATE_WORKER" or "1/1"):match "(%d+)/(%d+)"
local unnoticed = work(list, tonumber(worker), tonumber(workers), chosen)
os.exit(unnoticed == 0)
