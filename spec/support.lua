-- SPDX-License-Identifier: MIT
--- What the specs share: who runs a test, trees to run it in, and the state of the host.

local assert = require "luassert"
local busted = require "busted"
local casulo = require "casulo"
local sys = casulo.sys

local support = {}

local USER = 61234 -- an id that no account has
support.USER = USER

--- Ends a test that cannot run here; where CASULO_MUST_RUN is set, that is a failure.
function support.cannot_run(reason)
  if os.getenv "CASULO_MUST_RUN" == "1" then error("CASULO_MUST_RUN is set, but " .. reason, 2) end
  support.pending(reason) -- that of the test under way, which the helper keeps here
end

function support.is_root() return sys.geteuid() == 0 end

--- For tests of what only root can do. Within the suite of an ordinary user they are pending.
function support.needs_root()
  if not support.is_root() then support.cannot_run "this needs root" end
  return support.is_root()
end

--- What is new where mounts are: an ordinary user may make them in a user namespace only.
function support.mount_namespaces() return support.is_root() and { "mount" } or { "user", "mount" } end

--- Whether this process has a capability, by its number.
function support.has_capability(number)
  return tonumber(support.read_file "/proc/self/status":match "CapEff:%s*(%x+)", 16) & 1 << number ~= 0
end

--- Calls a function under another soft limit. → what that returns
function support.limited(resource, soft, body)
  local before, hard = sys.getrlimit(resource)
  assert(sys.setrlimit(resource, soft, hard))
  local ok, result = pcall(body)
  assert(sys.setrlimit(resource, before, hard))
  if not ok then error(result, 0) end
  return result
end

--- Whether a program is installed.
function support.has(program) return os.execute(("command -v %s >/dev/null 2>&1"):format(program)) == true end

function support.read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

function support.write_file(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  file:close()
end

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

--- A directory for the files of this run, which everyone may enter; removed when the suite ends.
local base
function support.base()
  if not base then
    local pipe = io.popen "mktemp -d /tmp/casulo-spec-XXXXXX"
    base = pipe:read "l"
    pipe:close()
    assert(sys.chmod(base, 493))
  end
  return base
end

function support.remove_base()
  if base then os.execute("chmod -R u+rwX " .. quote(base) .. " 2>/dev/null; rm -rf " .. quote(base)) end
  base = nil
end

local serial = 0
--- A new empty directory of the current user.
function support.tmpdir()
  serial = serial + 1
  local path = ("%s/%d-%d"):format(support.base(), sys.getpid(), serial)
  assert(sys.mkdir(path, 493))
  return path
end

local roots = {}
--- A busybox root of the current user, made once.
function support.rootfs()
  local uid = sys.geteuid()
  roots[uid] = roots[uid] or casulo.rootfs.busybox(("%s/rootfs-%d"):format(support.base(), uid))
  return roots[uid]
end

--- Runs a shell command line. → exit status (128+n for signal n), stdout, stderr
function support.sh(line)
  local directory = support.tmpdir()
  local out, err = directory .. "/out", directory .. "/err"
  -- $LUA is the interpreter with the modules of this process
  local _, how, code = os.execute(("LUA=%s; { %s\n} >%s 2>%s </dev/null"):format(quote(("env LUA_PATH=%s LUA_CPATH=%s lua5.4"):format(
    package.path, package.cpath)), line, quote(out), quote(err)))
  return how == "exit" and code or 128 + code, support.read_file(out), support.read_file(err)
end

local copy
--- A copy of the command that every user can reach. → path of bin/casulo
function support.command()
  if not copy then
    copy = support.base() .. "/checkout"
    assert(os.execute(("mkdir -p '%s/build' && cp -r bin lua examples Makefile '%s/' && "
      .. "cp -r build/bin build/casulo '%s/build/' && chmod -R a+rX '%s'"):format(copy, copy, copy, copy)))
  end
  return copy .. "/bin/casulo"
end

--- A shell line that lets what follows use that copy, as the README says.
function support.environment()
  return ("eval \"$(make -s --no-print-directory -C '%s' env)\""):format(support.command():match "^(.*)/bin/casulo$")
end

--- Runs an example as its header says, but from a directory of the user's own, since some build a root there.
-- @treturn string what it prints
function support.example(name)
  local top = support.command():match "^(.*)/bin/casulo$"
  local status, out, err = support.sh(("cd '%s' && %s && exec lua5.4 '%s/examples/%s.lua'"):format(
    support.tmpdir(), support.environment(), top, name))
  assert.are.equal("", err)
  assert.are.equal(0, status)
  return out
end

--- Runs the command with arguments in a list. → exit status, stdout, stderr
function support.casulo(arguments)
  local words = { support.command() }
  for i, word in ipairs(arguments) do words[i + 1] = quote(word) end
  return support.sh(table.concat(words, " "))
end

--- Calls two functions in a child; an error of them is one here.
local function in_child(prepare, body)
  local report = os.tmpname()
  sys.chmod(report, 438)
  local pid = assert(sys.clone(0, function()
    local ok, message = xpcall(function()
      prepare()
      body()
    end, function(message)
      if type(message) == "table" and message.message then message = message.message end
      return debug.traceback(tostring(message), 2)
    end)
    if not ok then support.write_file(report, message) end
    return ok and 0 or 1
  end, { threads = true }))
  local _, how, code = sys.waitpid(pid)
  local message = support.read_file(report)
  os.remove(report)
  if how ~= "exit" or code ~= 0 then error(("in the child: %s %d: %s"):format(how, code, message), 0) end
end
support.in_child = in_child

--- Runs a function as an ordinary user with no privilege, and no groups but those given; its failed assertions fail the test.
-- `prepare` runs before, in the same process, but still as root.
function support.as_user(body, prepare, groups)
  if not support.is_root() then return body() end
  local directory = support.base() .. "/user"
  if not sys.stat(directory) then
    assert(sys.mkdir(directory, 493))
    assert(sys.chown(directory, USER, USER))
  end
  support.command() -- made by root, for all
  in_child(function()
    if prepare then prepare() end
    base = directory
    roots = {}
    assert(sys.setgroups(groups or {}))
    assert(sys.setresgid(USER, USER, USER))
    assert(sys.setresuid(USER, USER, USER))
    assert(sys.prctl(sys.PR_SET_DUMPABLE, 1)) -- as a process of that user that was started in the usual way
  end, body)
end

--- The same as a user who has an account and subordinate ids: `changes` are other texts for these files of /etc.
-- All this is seen in a mount namespace of the child only; `prepare` may change more there.
function support.as_user_with_ids(body, changes, prepare)
  if not support.needs_root() then return end
  local etc = support.base() .. "/etc"
  if not sys.stat(etc) then assert(os.execute("cp -a /etc " .. etc)) end
  local files = {
    passwd = support.read_file "/etc/passwd" .. ("spec:x:%d:%d::/nonexistent:/bin/sh\n"):format(USER, USER),
    subuid = "other:300000:65536\nspec:100000:65536\n", subgid = ("%d:200000:65536\n"):format(USER),
    ["nsswitch.conf"] = "passwd: files\n",
  }
  for name, text in pairs(files) do support.write_file(("%s/%s"):format(etc, name), changes and changes[name] or text) end
  support.as_user(body, function()
    assert(sys.unshare(sys.CLONE_NEWNS))
    assert(sys.mount(nil, "/", nil, sys.MS_REC | sys.MS_PRIVATE))
    assert(sys.mount(etc, "/etc", nil, sys.MS_BIND))
    if prepare then prepare() end
  end)
end

--- Declares a test twice: as root, and as an ordinary user.
function support.each_identity(name, body)
  busted.it(name .. " (as root)", function()
    if support.needs_root() then body() end
  end)
  busted.it(name .. " (as a user)", function() support.as_user(body) end)
end

-- Those of each thread: to look through all of /proc takes long on a host with many processes.
local function own_children()
  local children = {}
  for _, thread in ipairs(sys.scandir "/proc/self/task") do
    for pid in support.read_file(("/proc/self/task/%s/children"):format(thread)):gmatch "%d+" do children[#children + 1] = pid end
  end
  table.sort(children)
  return table.concat(children, " ")
end

--- What must not change: the mount table, /mnt, our children, our descriptors, the hostname.
function support.host_state()
  collectgarbage()
  return {
    mounts = support.read_file "/proc/self/mountinfo",
    mnt = table.concat(sys.scandir "/mnt" or {}, " "),
    children = own_children(),
    descriptors = #sys.scandir "/proc/self/fd",
    hostname = sys.gethostname(),
  }
end

--- Runs a function and asserts that the host is afterwards as it was.
function support.leaves_nothing(body)
  local before = support.host_state()
  body()
  assert.are.same(before, support.host_state())
end

--- The inode of a namespace of a process, as /proc shows it.
function support.namespace(pid, kind) return sys.readlink(("/proc/%s/ns/%s"):format(pid, kind)) end

--- Waits until a condition holds; fails after thirty seconds.
function support.eventually(condition, what)
  local deadline = sys.clock_gettime(sys.CLOCK_MONOTONIC) + 30
  repeat
    local value = condition()
    if value then return value end
    sys.poll({}, 5)
  until sys.clock_gettime(sys.CLOCK_MONOTONIC) > deadline
  error("never came true: " .. (what or "the condition"), 2)
end

--- Calls a function while orphans come to this process, which can reap them: not every init of a machine does so at once.
function support.as_subreaper(body)
  assert(sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 1))
  local ok, message = pcall(body)
  assert(sys.prctl(sys.PR_SET_CHILD_SUBREAPER, 0))
  if not ok then error(message, 0) end
end

--- Asserts that a description is refused.
-- @tparam string expected how the message begins, after the position in the spec
-- @tparam function make makes a container of it
function support.refused(expected, make)
  local ok, message = pcall(make)
  assert.is_false(ok, "it was accepted")
  local text = tostring(message):gsub("^[^\n]*_spec%.lua:%d+: ", "")
  assert.are.equal(expected, text:sub(1, #expected))
end

--- What the command of a container writes to both streams, which are pipes, without the last end of a line.
-- @tparam container box
-- @treturn string
function support.output(box)
  local result = assert(box:run())
  return (result.stdout .. result.stderr):gsub("\n$", "")
end

return support
