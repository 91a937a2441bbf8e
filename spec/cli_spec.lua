-- SPDX-License-Identifier: MIT
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

-- Runs the command and asserts that it leaves nothing. → status, stdout, stderr
local function command(...)
  local words, status, out, err = { ... }, nil, nil, nil
  support.leaves_nothing(function() status, out, err = support.casulo(words) end)
  return status, out, err
end

local function run(...) return command("run", "--rootfs", support.rootfs(), ...) end

-- What a command of the container prints, run with some options.
local function output(script, ...)
  local words = { ... }
  table.move({ "--", "/bin/sh", "-c", script }, 1, 4, #words + 1, words)
  local status, out, err = run(table.unpack(words))
  assert.are.same({ 0, "" }, { status, err })
  return (out:gsub("\n$", ""))
end

-- Asserts that casulo itself failed, with one line that contains a text.
local function fails(expected, ...)
  local status, out, err = command(...)
  assert.are.same({ 125, "" }, { status, out }, err)
  assert.is_truthy(err:find "^casulo: [^\n]+\n$", err)
  assert.is_truthy(err:find(expected, 1, true), err)
  return err
end

local function script_file(text)
  local path = support.tmpdir() .. "/box.lua"
  support.write_file(path, text)
  return path
end

describe("casulo", function()
  it("helps on standard output", function()
    local whole = select(2, command "--help")
    for _, name in ipairs { "run", "explain", "list", "exec", "kill", "doctor", "rootfs", "version" } do
      assert.is_truthy(whole:find("\n  " .. name, 1, true))
      for _, words in ipairs { { name, "--help" }, { name, "-h" }, { "help", name } } do
        local status, out, err = command(table.unpack(words))
        assert.are.same({ 0, "" }, { status, err })
        assert.is_truthy(out:find("usage: casulo " .. name, 1, true), out)
      end
    end
    for _, word in ipairs { "-h", "help" } do assert.are.equal(whole, select(2, command(word))) end
    local options = select(2, command("run", "--help"))
    for _, name in ipairs { "rootfs DIR", "hostname NAME", "bind SOURCE:TARGET[:ro]", "tmpfs TARGET", "mount type=",
      "env NAME=VALUE", "user UID[:GID]", "cwd DIR", "share NS,", "net none|host", "readonly", "timeout SECONDS",
      "name NAME", "init", "tty, -t" } do
      assert.is_truthy(options:find("\n  --" .. name, 1, true), name)
    end
    assert.are.equal("--help\n", select(2, run("--", "echo", "--help"))) -- that one is the command's
  end)

  it("shows its options in two straight columns", function()
    local column
    local options = select(2, command("run", "--help")) .. select(2, command("exec", "--help")) .. select(2, command("list", "--help"))
    for line in options:gmatch "\n(  %-%-[^\n]+)" do
      local start = utf8.len(line:match "^  %-%-.-%s%s+")
      column = column or start
      assert.are.equal(column, start, line)
    end
  end)

  it("tells its version", function()
    for _, word in ipairs { "version", "--version" } do
      assert.are.same({ 0, casulo._VERSION .. "\n", "" }, { command(word) })
    end
  end)

  it("fails with one line for a mistake in its words", function()
    local root = support.rootfs()
    fails "expected a command: run, explain, list, exec, kill, stats, freeze, thaw, update, doctor, rootfs, version (see casulo --help)"
    fails("did you mean run?", "rn")
    fails("(the command goes after --)", "run", "--rootfs", support.rootfs(), "ls")
    fails("(--rootfs takes a directory)", "run", support.rootfs(), "--", "ls")
    fails("unknown command", "frobnicate")
    fails("expected a FILE.lua, --rootfs DIR or --host", "run")
    fails("--ephemeral: it goes with --rootfs", "run", "--host", "--ephemeral")
    fails("--writable: it goes with --host", "run", "--rootfs", "/", "--writable", "/tmp")
    fails("unknown option --roots; did you mean --rootfs?", "run", "--roots", root)
    fails("unknown option -x", "explain", "-x")
    fails("--hostname: expected NAME", "run", "--rootfs", root, "--hostname")
    fails("--readonly takes no value", "run", "--rootfs", root, "--readonly=yes")
    fails("--init takes no value", "run", "--rootfs", root, "--init=yes")
    fails("unknown option --nmae; did you mean --name?", "run", "--nmae", "web")
    fails("unknown option --jsn; did you mean --json?", "list", "--jsn")
    for _, words in ipairs { { "web" }, { "--", "ls" } } do fails("list takes no arguments but --json", "list", table.unpack(words)) end
    fails("expected a command after --", "run", "--rootfs", root, "--")
    fails("the command goes after --", "run", "--rootfs", root, "file.lua", "true")
    for _, words in ipairs { {}, { "busybox" }, { "debian", "x" }, { "busybox", "a", "b" } } do
      fails("casulo rootfs busybox DIR", "rootfs", table.unpack(words))
    end
    for _, case in ipairs {
      { "--env", "A", "--env: expected NAME=VALUE" }, { "--env", "=A", "--env: expected" },
      { "--timeout", "soon", "--timeout: expected" }, { "--timeout", "0", "container.timeout" },
      { "--timeout", "1e999", "container.timeout" }, { "--user", "root", "container.user" }, { "--cwd", "tmp", "container.cwd" },
      { "--net", "bridge", "container.network" }, { "--share", "mount", "container.namespaces" },
      { "--share", "nett", "did you mean net?" }, { "--hostname", ("x"):rep(65), "container.hostname" },
      { "--bind", "/etc", "SOURCE:TARGET" }, { "--bind", "/a:/b:rx", "SOURCE:TARGET" },
      { "--bind", "/etc:etc", "container.mounts[1].target" }, { "--tmpfs", "x", "container.mounts[1].target" },
      { "--mount", "", "container.mounts[1].type" }, { "--mount", "type=tmpfs,target=/x,colour=red", 'unknown field "colour"' },
      { "--mount", "type=tmpfs,target=/x,uid=one", 'mounts[1].uid: expected an integer from 0 to 4294967294, got "one"' },
      { "--mount", "type=bind,source=/,target=/x,recursive=no", 'mounts[1].recursive: expected true or false, got "no"' },
      { "--mount", "type=overlay,target=/x", "mounts[1].lower: expected a list of directories" },
    } do fails(case[3], "run", "--rootfs", root, case[1], case[2], "--", "true") end
  end)

  it("makes no directory that is named like an option", function()
    local directory = support.tmpdir()
    local status = support.sh(("cd %s && %s rootfs busybox --force"):format(directory, support.command()))
    assert.are.same({ 125, {} }, { status, sys.scandir(directory) })
  end)

  it("fails when what it prints cannot be written", function()
    for _, words in ipairs { "version", "run --help", "explain --rootfs /" } do
      local status, _, err = support.sh(("%s %s >/dev/full"):format(support.command(), words))
      assert.are.equal(125, status, words)
      assert.is_truthy(err:find "^casulo: [^\n]*No space left on device\n$", err)
    end
  end)

  support.each_identity("makes a busybox root", function()
    local path = support.tmpdir() .. "/a/root"
    assert.are.same({ 0, "", "" }, { command("rootfs", "busybox", path) })
    assert.are.same({ 0, "", "" }, { command("rootfs", "busybox", path) })
    assert.are.same({ 0, "fine\n", "" }, { command("run", "--rootfs", path, "--", "echo", "fine") })
    fails("/etc/passwd exists and is not a root file system", "rootfs", "busybox", "/etc/passwd")
  end)

  support.each_identity("runs from any working directory, from its checkout and from PATH", function()
    local binary, directory = support.command(), support.tmpdir()
    local checkout = binary:match "^(.*)/bin/casulo$"
    local rootfs = support.rootfs()
    support.write_file(directory .. "/box.lua", ('return { rootfs = "../%s", command = { "echo", "fine" } }'):format(
      rootfs:match "[^/]+$"))
    for _, line in ipairs {
      ("cd / && %s run --rootfs %s -- echo fine"):format(binary, rootfs), ("cd %s && %s run box.lua"):format(directory, binary),
      ("cd %s && ./bin/casulo run --rootfs %s -- echo fine"):format(checkout, rootfs),
      ("cd %s/bin && ./casulo run --rootfs %s/ -- echo fine"):format(checkout, rootfs),
      ("cd %s/bin && PATH=.:$PATH && casulo run --rootfs %s -- echo fine"):format(checkout, rootfs),
      ("cd %s && PATH=%s/bin:$PATH && casulo run ./box.lua"):format(directory, checkout),
      ("cd $(mktemp -d %s/XXXXXX) && rmdir $PWD && %s run --rootfs %s -- echo fine"):format(directory, binary, rootfs),
    } do assert.are.same({ 0, "fine\n", "" }, { support.sh("unset LUA_PATH LUA_CPATH; " .. line) }, line) end
  end)

  support.each_identity("runs in a root that a symlink leads to", function()
    local link = support.tmpdir() .. "/link"
    assert(sys.symlink(support.rootfs(), link))
    assert.are.same({ 0, "fine\n", "" }, { command("run", "--rootfs", link, "--", "echo", "fine") })
  end)
end)

describe("casulo run", function()
  support.each_identity("exits as its command does, and says why where it never ran", function()
    for _, code in ipairs { 0, 1, 77, 255 } do assert.are.same({ code, "", "" }, { run("--", "sh", "-c", "exit " .. code) }) end
    for name, number in pairs { KILL = 9, TERM = 15, USR1 = 10 } do -- PID 1 of a namespace is safe from its own signals
      assert.are.same({ 128 + number, "", "" }, { run("--share", "pid", "--", "sh", "-c", ("kill -%s $$"):format(name)) })
    end
    local root = support.rootfs()
    for _, case in ipairs { { 126, "/etc/passwd" }, { 126, "/tmp" }, { 127, "/nope" }, { 127, "nope" }, { 127, "no\nsuch" } } do
      local status, out, err = run("--", case[2])
      assert.are.same({ case[1], "" }, { status, out })
      assert.is_truthy(err:find "^casulo: execve[^\n]+\n$", err)
    end
    fails('"/nonexistent/"', "run", "--rootfs", "/nonexistent", "--", "true")
    fails('"/nope"', "run", "--rootfs", root, "--cwd", "/nope", "--", "true")
    fails("there is no /nope on this host", "run", "--rootfs", root, "--bind", "/nope:/x", "--", "true")
    fails("container.command", "run", "--rootfs", root, "--", "")
  end)

  support.each_identity("passes its streams through, each to its own", function()
    local directory = support.tmpdir()
    local line = "head -c 300000 /dev/urandom >%s/in; %s run --rootfs %s -- sh -c 'cat; echo to err >&2; exit 3' <%s/in >%s/out"
    local status, _, err = support.sh(line:format(directory, support.command(), support.rootfs(), directory, directory))
    assert.are.same({ 3, "to err\n" }, { status, err })
    assert.is_true(support.read_file(directory .. "/in") == support.read_file(directory .. "/out"))
    assert.are.equal("", output "cat")
  end)

  support.each_identity("does as its options say", function()
    local directory = support.tmpdir()
    assert(sys.mkdir(directory .. "/a:b,c", 493))
    support.write_file(directory .. "/file", "of the host")
    support.write_file(directory .. "/a:b,c/file", "colon")
    assert.are.equal("sag", output("hostname", "--hostname", "sag"))
    assert.are.equal("sag", output("hostname", "--hostname=sag"))
    assert.are.equal("x=y= z|", output("echo \"$A|$B\"", "--env", "A=x=y= z", "--env", "B="))
    assert.are.equal("/etc", output("pwd", "--cwd", "/etc"))
    assert.are.equal("refused", output("(echo >/etc/x) 2>/dev/null || echo refused", "--readonly"))
    assert.are.equal("", output("sleep 0", "--timeout", "60"))
    local script = "cat /data/file; echo x >/data/new; (echo x >/ro/new) 2>/dev/null || echo refused"
    assert.are.equal("of the hostrefused", output(script, "--bind", directory .. ":/data", "--bind", directory .. ":/ro:ro"))
    assert.are.equal("x\n", support.read_file(directory .. "/new"))
    assert.is_truthy(output("cat /proc/self/mounts", "--tmpfs", "/scratch"):find "/scratch tmpfs rw,nosuid,nodev")
    local mounts = output("cat /proc/self/mounts", "--mount", "type=tmpfs,target=/x:y,size=1m,mode=700,readonly")
    assert.is_truthy(mounts:find "/x:y tmpfs ro,nosuid,nodev,relatime,size=1024k,mode=700", mounts)
    local link = support.tmpdir() .. "/a:b" -- a path with a colon
    assert(sys.symlink(directory .. "/a:b,c", link))
    assert.are.equal("colon", output("cat /x:y/file", "--mount", ("type=bind,source=%s,target=/x:y,readonly"):format(link)))
    assert.are.equal("x", output("echo x >/etc/thrown-away && cat /etc/thrown-away", "--ephemeral"))
    assert.is_nil(sys.lstat(support.rootfs() .. "/etc/thrown-away"))
    assert.are.equal("text 640", output("cat /new/file; stat -c ' %a' /new/file", "--mount", "type=file,target=/new/file,content=text,mode=640"))
    assert.are.equal("a:b\nfile", output("ls /both", "--mount",
      ("type=overlay,target=/both,lower=%s,lower=%s"):format(link, link:match "^(.*)/")))
  end)

  support.each_identity("shares the namespaces that it is told to", function()
    local script = "for n in pid mnt uts ipc net cgroup; do readlink /proc/self/ns/$n; done"
    local function shared(...)
      local kinds = {}
      for link in output(script, ...):gmatch "%S+" do
        local kind = link:match "^%a+"
        if support.namespace("self", kind) == link then kinds[#kinds + 1] = kind end
      end
      return table.concat(kinds, " ")
    end
    assert.are.equal("", shared())
    assert.are.equal("", shared("--net", "none"))
    assert.are.equal("net", shared("--net", "host"))
    assert.are.equal("pid uts ipc net cgroup", shared("--share", "pid,uts,ipc,net,cgroup"))
    assert.are.equal("uts ipc", shared("--share", "uts", "--share=ipc"))
  end)

  it("runs as the user that it is told", function()
    if not support.needs_root() then return end
    assert.are.equal("uid=7 gid=7", output("id", "--user", "7"))
    assert.are.equal("uid=7 gid=9", output("id", "--user=7:9"))
    fails("container.user", "run", "--rootfs", support.rootfs(), "--user", "7:99999999999999999999", "--", "id")
  end)

  support.each_identity("takes a file that returns a description or a container, and the words over it", function()
    local text = '{ rootfs = %q, command = { "sh", "-c", "hostname; pwd" }, hostname = "file", cwd = "/etc", stdout = "pipe" }'
    text = text:format(support.rootfs())
    for _, file in ipairs { script_file("return " .. text), script_file('return require "casulo".container ' .. text) } do
      assert.are.same({ 0, "file\n/etc\n", "" }, { command("run", file) })
      assert.are.same({ 0, "word\n/etc\n", "" }, { command("run", file, "--hostname", "word") })
      assert.are.same({ 0, "word\n/tmp\n", "" }, { command("run", "--hostname", "word", file, "--cwd=/tmp") })
      assert.are.same({ 0, "other file\n", "" }, { command("run", file, "--", "sh", "-c", "echo other $(hostname)") })
    end
    local file = script_file(('return { rootfs = %q, command = { "id" }, stdout = "null" }'):format(support.rootfs()))
    assert.are.same({ 0, "", "" }, { command("run", file) })
  end)

  support.each_identity("takes the root of its words for a file that names none", function()
    local file = script_file 'return { command = { "hostname" }, hostname = "file" }'
    assert.are.same({ 0, "file\n", "" }, { command("run", file, "--rootfs", support.rootfs()) })
  end)

  support.each_identity("names a file that returns no container", function()
    local function names(expected, text)
      local file = script_file(text)
      assert.is_truthy(fails(expected, "run", file):find(file, 1, true))
    end
    names("near", "return {\n\n")
    names("got number", "return 5")
    names("got nil", "")
    names("boom", "error 'boom'")
    names("attempt to index", "local x\nreturn x.y")
    fails("/nonexistent.lua: No such file or directory", "run", "/nonexistent.lua")
    fails('unknown field "hostnme"; did you mean hostname?', "run", script_file 'return { rootfs = "/", hostnme = "x" }')
    fails("container.command[2]", "run", script_file 'return require "casulo".container { rootfs = "/", command = { "ls", 5 } }')
  end)

  it("names a file that raises no text", function()
    for _, text in ipairs { "error()", "error {}" } do
      local file = script_file(text)
      assert.is_truthy(fails("box.lua", "run", file):find(file, 1, true))
    end
  end)

  support.each_identity("ends a container whose time is over", function()
    for _, script in ipairs { "sleep 1000", "trap : TERM INT; echo ready; sleep 1000 & wait; wait; wait" } do
      local status, _, err = run("--timeout", "0.2", "--", "sh", "-c", script)
      assert.are.same({ 137, "casulo: ended after 0.2 seconds\n" }, { status, err })
    end
  end)
end)

describe("casulo run, sent a signal,", function()
  -- Starts it, waits until its command says "ready", sends signals. → status, what was printed until the last writer ended
  local function signalled_with(words, signals, prefix)
    local status, rest
    support.leaves_nothing(function()
      local line = ("%s echo $$; exec %s run --timeout 20 %s 2>&1"):format(prefix or "", support.command(), words)
      local pipe <close> = assert(io.popen(line))
      local pid = assert(pipe:read("n", "L"))
      assert.are.equal("ready", pipe:read "l")
      for _, name in ipairs(signals) do assert(sys.kill(pid, sys["SIG" .. name])) end
      rest = pipe:read "a"
      local _, how, code = pipe:close()
      status = how == "exit" and code or ("%s %d"):format(how, code)
    end)
    return status, rest
  end

  local function signalled(script, ...)
    return signalled_with(("--rootfs %s -- sh -c '%s'"):format(support.rootfs(), script), ...)
  end

  support.each_identity("ends a container whose PID 1 is deaf to it", function()
    for name, number in pairs { TERM = 15, HUP = 1, QUIT = 3, USR1 = 10 } do -- INT this shell handles, and may wait on
      assert.are.same({ 128 + number, "" }, { signalled("echo ready; sleep 1000", { name }) }, name)
    end
    assert.are.same({ 143, "" }, { signalled("echo ready; exec sleep 1000", { "TERM" }) })
  end)

  support.each_identity("passes it on to a PID 1 that handles it", function()
    for name, code in pairs { TERM = 7, INT = 8, HUP = 9, USR2 = 0 } do
      local script = ('trap "echo got %s; exit %d" %s; echo ready; sleep 1000 & wait'):format(name, code, name)
      assert.are.same({ code, ("got %s\n"):format(name) }, { signalled(script, { name }) })
    end
    local script = 'sleep 1000 & trap "echo got it; kill $!" TERM; echo ready; wait; echo waited; exit 5'
    assert.are.same({ 5, "got it\nwaited\n" }, { signalled(script, { "TERM" }) })
  end)

  support.each_identity("does not end for one that does no harm, nor stops", function()
    assert.are.same({ 143, "" }, { signalled("echo ready; sleep 1000", { "WINCH", "CONT", "TSTP", "TERM" }) })
  end)

  support.each_identity("ignores what its caller had it ignore", function()
    local script = 'trap "exit 7" HUP; trap "exit 8" TERM; echo ready; sleep 1000 & wait'
    assert.are.same({ 8, "" }, { signalled(script, { "HUP", "TERM" }, 'trap "" HUP;') })
  end)

  support.each_identity("takes the container with it when it is killed", function()
    local status, rest = signalled("echo ready; sleep 1000 & sleep 1000", { "KILL" })
    assert.are.same({ "signal 9", "" }, { status, rest }) -- the pipe ended, so nobody is left to write to it
  end)

  support.each_identity("ends with 128+n without a PID namespace, too", function()
    local words = ("--share pid --rootfs %s -- sh -c 'echo ready; exec sleep 1000'"):format(support.rootfs())
    assert.are.same({ 143, "" }, { signalled_with(words, { "TERM" }) })
  end)

  -- PID 1 is a Lua script in the host's own tree that blocks SIGTERM.
  local function blocking(rest)
    local path, checkout = support.tmpdir() .. "/pid1.lua", support.command():match "^(.*)/bin/casulo$"
    support.write_file(path, ([[
      package.cpath = "%s/build/?.so"
      local sys = require "casulo.sys"
      assert(sys.sigprocmask(sys.SIG_BLOCK, { sys.SIGTERM }))
      local signals = assert(sys.signalfd(-1, { sys.SIGTERM }, 0))
      io.stdout:write("ready\n"):flush()
      sys.poll({ { fd = signals, events = sys.POLLIN } }, -1)
    ]]):format(checkout) .. rest)
    return signalled_with("--rootfs / -- lua5.4 " .. path, { "TERM" })
  end

  support.each_identity("leaves it to a PID 1 that reads it from a signalfd", function()
    assert.are.same({ 9, "got 15\n" }, { blocking [[print("got " .. string.unpack("=I4", sys.read(signals, 128))) os.exit(9)]] })
  end)

  support.each_identity("ends a container whose PID 1 only blocks it for a moment, as every fork does", function()
    assert.are.same({ 143, "" }, { blocking [[sys.sigprocmask(sys.SIG_UNBLOCK, { sys.SIGTERM }) sys.poll({}, -1)]] })
  end)

  it("ends for Ctrl-C of a terminal", function()
    if not support.has "script" then return support.cannot_run "script is not installed" end
    local directory = support.tmpdir()
    -- a shell that is about to become another program has handlers that the signal may find, and nobody then looks at what they noted
    local script = "(until grep -q sleep /proc/1/comm; do :; done; echo >/d/fifo) & exec sleep 1000"
    local inner = ("%s run --rootfs %s --bind %s:/d --timeout 60 -- sh -c \"%s\""):format(
      support.command(), support.rootfs(), directory, script)
    local line = "mkfifo %s/fifo; { read x <%s/fifo; printf '\\003'; cat; } | script -qec '%s' /dev/null"
    support.leaves_nothing(function()
      local status = support.sh(line:format(directory, directory, inner))
      assert.are.equal(130, status)
    end)
  end)
end)
