-- SPDX-License-Identifier: MIT
-- Containers that run under a name: who made them, casulo list, casulo kill and casulo exec.
local casulo = require "casulo"
local named_support = require "named_support"
local state = require "casulo.state"
local support = require "support"
local sys = casulo.sys

local each_identity = named_support.each_identity

local function box(script, fields)
  local description = { rootfs = support.rootfs(), command = { "/bin/sh", "-c", script }, stdin = "null" }
  for name, value in pairs(fields or {}) do description[name] = value end
  return casulo.container(description)
end

local function start(name, fields) return assert(box("exec sleep 1000", fields):start { name = name }) end

-- Runs `casulo run --name NAME` and waits until its command says "ready". → PID of casulo, the pipe that it prints to
local function run_named(name, script)
  local pipe = named_support.popen(("echo $$; exec %s run --timeout 60 --name %s --rootfs %s -- sh -c '%s' 2>&1"):format(support.command(), name,
    support.rootfs(), script or "echo ready; sleep 1000"))
  local pid = assert(pipe:read("n", "L"))
  assert.are.equal("ready", pipe:read "l")
  return pid, pipe
end

-- → exit status of what a pipe reads from
local function closed(pipe)
  local _, how, code = pipe:close()
  return how == "exit" and code or ("%s %d"):format(how, code)
end

local function names()
  local found = {}
  for i, record in ipairs(assert(state.list())) do found[i] = record.name end
  return table.concat(found, " ")
end

-- Asserts that casulo itself failed, with one line.
local function fails(line, message)
  assert.are.same({ 125, "", ("casulo: %s\n"):format(message) }, { named_support.casulo(line) })
end

describe("a container with a name", function()
  each_identity("has it as long as it runs", function(directory)
    do
      local p <close> = start "web"
      local record = assert(state.find "web")
      record.pidfd:close()
      assert.are.equal(p.pid, record.pid)
      local again, err = box("true", { name = "web" }):run()
      assert.is_nil(again)
      local taken = ('the name "web" is taken: its container runs as PID %d; casulo kill web ends it'):format(p.pid)
      assert.are.same({ "setup", taken }, { err.kind, tostring(err) })
      assert(p:kill())
      p:wait()
      assert.are.same({}, sys.scandir(directory))
    end
    for _ = 1, 3 do assert.are.same({ exit_code = 3 }, box("exit 3", { name = "web" }):run()) end
    assert.are.same({ exit_code = 4 }, box("exit 4", { name = "other" }):run { name = "web" })
    do
      local _ <close> = start "web"
      assert.are.equal("web", names())
    end
    assert.are.same({}, sys.scandir(directory))
  end)

  each_identity("tells what it is and what is its own", function()
    local p <close> = start("web", { namespaces = { net = "host", ipc = "host" }, cwd = "/tmp", umask = 63, env = { A = "b" } })
    local record = assert(state.find "web")
    record.pidfd:close()
    assert.are.same({ "/bin/sh", "-c", "exec sleep 1000" }, record.command)
    assert.are.same({ support.rootfs(), "/tmp", 63 }, { record.rootfs, record.cwd, record.umask })
    assert.are.equal((support.is_root() and "cgroup mount pid uts" or "cgroup mount pid user uts"), table.concat(record.namespaces, " "))
    assert.is_truthy(table.concat(record.env, " "):find("A=b", 1, true))
    for _, kind in ipairs(record.namespaces) do
      local link = kind == "mount" and "mnt" or kind
      assert.are_not.equal(support.namespace("self", link), support.namespace(p.pid, link))
    end
  end)

  each_identity("that cannot start gives it back", function(directory)
    for _, fields in ipairs { { rootfs = "/nonexistent" }, { command = { "/nope" } }, { cwd = "/nope" } } do
      local result, err = box("true", fields):run { name = "web" }
      assert.is_nil(result)
      assert.is_nil(tostring(err):find "the name")
      assert.are.same({}, sys.scandir(directory))
    end
  end)

  it("refuses what is none", function()
    for _, bad in ipairs { "", "a/b", ".." } do
      assert.error_matches(function() box("true", { name = bad }) end, "^container%.name: expected 1 to 64 letters")
      assert.error_matches(function() box("true"):start { name = bad } end, "^start%.name: expected 1 to 64 letters")
    end
  end)

  it("is the only one that loads what names need", function()
    local status, out, err = support.sh [[$LUA -e '
      require "casulo"
      print(package.loaded.dkjson, package.loaded["casulo.state"] ~= nil)']]
    assert.are.same({ 0, "nil\ttrue\n", "" }, { status, out, err })
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    local trace = support.tmpdir() .. "/trace"
    assert.are.equal(0, (support.sh(("strace -o %s -e trace=file %s run --rootfs %s -- true"):format(trace, support.command(), support.rootfs()))))
    assert.is_nil(support.read_file(trace):find "state%.lua")
    assert.is_nil(support.read_file(trace):find "dkjson")
    assert.is_nil(support.read_file(trace):find "named%.lua")
  end)
end)

describe("casulo run --name", function()
  each_identity("gives a container a name until it ends", function(directory)
    local _, pipe = run_named("web", 'trap "exit 5" USR1; echo ready; sleep 1000 & wait')
    assert.are.equal("web", names())
    local record = assert(state.find "web")
    fails(("run --name web --rootfs %s -- true"):format(support.rootfs()),
      ('the name "web" is taken: its container runs as PID %d; casulo kill web ends it'):format(record.pid))
    assert(sys.pidfd_send_signal(record.pidfd, sys.SIGUSR1))
    record.pidfd:close()
    pipe:read "a"
    assert.are.equal(5, closed(pipe))
    assert.are.same({}, sys.scandir(directory))
    fails("run --name a/b --rootfs / -- true",
      'container.name: expected 1 to 64 letters, digits, _, . and -, the first a letter or a digit, got "a/b"')
    assert.are.equal(127, (named_support.casulo(("run --name web --rootfs %s -- nope"):format(support.rootfs()))))
    assert.are.same({}, sys.scandir(directory))
  end)

  each_identity("leaves a name that is free when it is killed", function()
    local pid, pipe = run_named "web"
    local record = assert(state.find "web")
    sys.kill(pid, sys.SIGKILL)
    sys.poll({ { fd = record.pidfd, events = sys.POLLIN } }, -1)
    record.pidfd:close()
    assert.are.same({ 0, "fine\n", "" }, { named_support.casulo(("run --name web --rootfs %s -- echo fine"):format(support.rootfs())) })
    pipe:read "a"
    assert.are.equal("signal 9", closed(pipe))
  end)

  each_identity("is for one of fifty at once", function(directory)
    local out = support.tmpdir()
    local each = ("%s run --name web --rootfs %s --bind %s:/out -- sh -c 'echo won; read x </out/fifo'"):format(
      support.command(), support.rootfs(), out)
    local line = ("for i in $(seq 50); do { %s; echo $? >&3; } & done; wait"):format(each)
    local script = ("mkfifo %s/fifo; touch %s/status; { %s; } >%s/won 2>%s/said 3>%s/status & "):format(out, out, line, out, out, out)
      .. ("while [ $(grep -c '^125$' %s/status) -lt 49 ]; do sleep 0.01; done; echo >%s/fifo; wait"):format(out, out)
    local status, _, err = named_support.sh(script)
    local text = support.read_file(out .. "/status")
    assert.are.same({ 0, "", "won\n" }, { status, err, support.read_file(out .. "/won") }, text)
    assert.are.equal(49, select(2, support.read_file(out .. "/said"):gsub('the name "web" is taken', "")))
    assert.are.equal(("125\n"):rep(49) .. "0\n", text)
    assert.are.same({}, sys.scandir(directory))
  end)

  it("needs a directory of the user's", function()
    named_support.as_user(function()
      named_support.with_runtime_directory(nil, function()
        local message = ("XDG_RUNTIME_DIR: expected a directory of uid %d with mode 0700, for the names of containers: it is not set")
          :format(sys.geteuid())
        fails(("run --name web --rootfs %s -- true"):format(support.rootfs()), message)
        fails("list", "list: " .. message)
        fails("kill web", "kill: " .. message)
      end)
    end)
  end)
end)

describe("casulo list", function()
  each_identity("shows what runs under a name, by name", function(directory)
    local HEAD = "NAME  PID  STARTED  ROOTFS  COMMAND\n"
    assert.are.same({ 0, HEAD, "" }, { named_support.casulo "list" })
    assert.are.same({ 0, "[]\n", "" }, { named_support.casulo "list --json" })
    assert.is_nil(sys.lstat(directory))
    local second <close> = start "b"
    local first <close> = start("a.long-name", { command = { "/bin/sh", "-c", "exec sleep 1000", "\27[2J\n\xff\195\169" } })
    local status, out, err = named_support.casulo "list"
    assert.are.same({ 0, "" }, { status, err })
    local lines = {}
    for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    local row = "^(%S+) +(%d+)  (%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d)  (%S+)  (.*)$"
    local name, pid, started, rootfs, command = lines[2]:match(row)
    assert.are.same({ "a.long-name", first.pid, support.rootfs(), "/bin/sh -c exec sleep 1000 \\27[2J\\10\xff\195\169" },
      { name, tonumber(pid), rootfs, command })
    assert.is_truthy(math.abs(os.time { year = started:sub(1, 4), month = started:sub(6, 7), day = started:sub(9, 10),
      hour = started:sub(12, 13), min = started:sub(15, 16), sec = started:sub(18, 19) } - os.time()) < 60)
    assert.are.equal(("b %d"):format(second.pid), ("%s %s"):format(lines[3]:match(row)))
    for _, heading in ipairs { "PID", "STARTED", "ROOTFS", "COMMAND" } do
      local column = lines[1]:find(heading, 1, true)
      for i = 2, 3 do assert.is_truthy(lines[i]:find("^ %S", column - 1), lines[i]) end
    end
    assert.is_nil(lines[4])
  end)

  each_identity("gives the whole records as JSON", function()
    local p <close> = start("web", { command = { "/bin/sh", "-c", "exec sleep 1000", "\xff\u{e9}\xed\xa0\x80\n" }, env = { A = "b" } })
    local status, out, err = named_support.casulo "list --json"
    assert.are.same({ 0, "" }, { status, err })
    assert.is_truthy(utf8.len(out))
    local records = require "dkjson".decode(out, 1, nil, nil, nil)
    assert.are.same({ 1, "web", p.pid, support.rootfs(), "/" },
      { #records, records[1].name, records[1].pid, records[1].rootfs, records[1].cwd })
    assert.are.equal("\u{fffd}\u{e9}\u{fffd}\u{fffd}\u{fffd}\n", records[1].command[4])
    assert.are.equal(out, select(2, named_support.casulo "list --json"))
  end)

  each_identity("says which records it does not believe", function(directory)
    local _ <close> = start "web"
    support.write_file(directory .. "/bad.json", "{")
    local status, out, err = named_support.casulo "list"
    assert.are.same({ 0, ("casulo: list: bad: %s/bad.json is no record of a container\n"):format(directory) }, { status, err })
    assert.is_truthy(out:find "\nweb ")
    assert.is_nil(out:find "bad")
    sys.unlink(directory .. "/bad.json")
  end)
end)

describe("casulo kill", function()
  each_identity("ends a container, and has seen its end", function(directory)
    for _, signal in ipairs { "", "KILL", "SIGKILL", "9", "kill" } do
      local p <close> = start "web"
      assert.are.same({ 0, "", "" }, { named_support.casulo("kill web " .. signal) })
      assert.are.equal(1, sys.poll({ { fd = p:pollfd(), events = sys.POLLIN } }, 0))
      assert.are.same({ signal = sys.SIGKILL }, p:wait())
      assert.are.same({}, sys.scandir(directory))
    end
  end)

  each_identity("ends the whole process group where the PID namespace is shared", function()
    local p <close> = assert(box("sleep 1000 & echo $!; wait", { namespaces = { pid = "host" } }):start { name = "web", stdout = "pipe" })
    local child = math.tointeger(tonumber(sys.read(p.stdout, 20)))
    local pidfd <close> = assert(sys.pidfd_open(child))
    assert.are.same({ 0, "", "" }, { named_support.casulo "kill web" })
    assert.are.equal(1, sys.poll({ { fd = pidfd, events = sys.POLLIN } }, 30000))
    assert.are.same({ signal = sys.SIGKILL, stdout = "" }, p:wait())
  end)

  each_identity("sends another signal, by name or number", function()
    for _, signal in ipairs { "TERM", "SIGTERM", "term", "15" } do
      local p <close> = assert(box('trap "exit 7" TERM; echo ready; sleep 1000 & wait'):start { name = "web", stdout = "pipe" })
      assert.are.equal("ready\n", sys.read(p.stdout, 20))
      assert.are.same({ 0, "", "" }, { named_support.casulo("kill web " .. signal) })
      assert.are.equal(7, p:wait().exit_code)
    end
  end)

  each_identity("says what there is not", function()
    fails("kill web", 'kill: no container is called "web"')
    local _ <close> = start "web"
    fails("kill wbe", 'kill: no container is called "wbe"; did you mean web?')
    fails("kill web TREM", 'kill: unknown signal "TREM"; did you mean TERM?')
    for _, bad in ipairs { "0", "-1", "65", "1.5", "''", "_BLOCK" } do
      local status, _, err = named_support.casulo("kill web " .. bad)
      assert.are.equal(125, status)
      assert.is_truthy(err:find("^casulo: kill: unknown signal "), err)
    end
    assert.are.equal("web", names())
    for _, words in ipairs { "", "web TERM x", "-9 web" } do fails("kill " .. words, "expected: casulo kill NAME [SIGNAL]") end
    fails("kill ../web", 'name: expected 1 to 64 letters, digits, _, . and -, the first a letter or a digit, got "../web"')
  end)
end)

describe("casulo exec", function()
  local cli = require "casulo.cli"

  -- What the command asks for, of a module that stands in for the one that does it. → exit status, name, options
  local function asked(...)
    local name, options
    local stubs = {
      ["casulo.exec"] = { by_name = function(...) name, options = ... return { pid = 5 } end },
      ["casulo.foreground"] = function(opens) return { exit_code = opens({}).pid } end,
    }
    local loaded = {}
    for module, stub in pairs(stubs) do loaded[module], package.loaded[module] = package.loaded[module], stub end
    local status = cli.main { "exec", ... }
    for module in pairs(stubs) do package.loaded[module] = loaded[module] end
    return status, name, options
  end

  it("asks for a command in a container of that name", function()
    assert.are.same({ 5, "web", { command = { "ls", "-t", "/" } } }, { asked("web", "--", "ls", "-t", "/") })
    local status, name, options = asked("-t", "--user", "7:8", "--env", "A=b=c", "--env=B=", "web", "--cwd", "/tmp", "--", "id")
    assert.are.same({ 5, "web" }, { status, name })
    assert.are.same({ command = { "id" }, tty = true, user = "7:8", env = { A = "b=c", B = "" }, cwd = "/tmp" }, options)
    assert.is_true(select(3, asked("--tty", "web", "--", "id")).tty)
  end)

  it("refuses what it does not take", function()
    local usage = "expected: casulo exec [options] NAME -- COMMAND…"
    fails("exec", usage)
    fails("exec web", usage)
    fails("exec -- ls", usage)
    fails("exec web --", "expected a command after --")
    fails("exec web ls", 'unexpected "ls": the command goes after --')
    fails("exec --usr 5 web -- ls", "unknown option --usr; did you mean --user? (see --help)")
    fails("exec --hostname x web -- ls", "unknown option --hostname (see --help)")
  end)
end)

describe("casulo stats, freeze, thaw and update", function()
  local function while_runs(fields, body)
    local p <close> = start("web", fields)
    body(p)
  end

  each_identity("say which container has no cgroup to look at", function()
    while_runs({}, function()
      for _, call in ipairs { "stats", "freeze", "thaw", "update --pids 5" } do
        fails(call .. " web", ("%s: web has no cgroup of its own; run it with limits, or cgroup = true"):format(call:match "^%l+"))
      end
      fails("stats", "expected: casulo stats NAME")
      fails("thaw webb", 'thaw: no container is called "webb"; did you mean web?')
    end)
  end)

  it("go by its cgroup, also where that has no controllers", function()
    if not support.needs_root() then return end
    if require "casulo.obstacles".cgroup(require "casulo.cgroup".own(), nil, require "casulo.surroundings") then
      return support.cannot_run "the caller may make no cgroup of version 2 here"
    end
    named_support.with_own_run(function()
      while_runs({ cgroup = true }, function(p)
        local directory = require "cgroup_support".directory_of(p.pid)
        local function says(line)
          local status, out, err = named_support.casulo(line)
          assert.are.same({ 0, "" }, { status, err }, line)
          return out
        end
        says "freeze web"
        assert.is_truthy(support.read_file(directory .. "/cgroup.events"):find "frozen 1")
        local used = says("stats web"):match "cpu%.usage ([%d.]+) s\n"
        assert.are.equal(used, says("stats --json web"):match '"usage":([%d.]+)')
        says "thaw web"
        assert.is_truthy(support.read_file(directory .. "/cgroup.events"):find "frozen 0")
        says "update --limit cgroup.max.depth=4 web"
        assert.are.equal("4\n", support.read_file(directory .. "/cgroup.max.depth"))
        fails("update --limit cgroup.max.depth=many web",
          ('update: ["cgroup.max.depth"]: write %s/cgroup.max.depth: Invalid argument'):format(directory))
        fails("update --pids 0 web", 'update.pids: expected an integer from 1 on, or "max", got 0')
        fails("update web", "update: expected a limit to change (see --help)")
      end)
    end)
  end)
end)
