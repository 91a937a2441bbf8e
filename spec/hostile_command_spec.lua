-- SPDX-License-Identifier: MIT
-- The command and its working directory are found inside, whatever a root holds in their places.
local casulo = require "casulo"
local hostile = require "hostile_support"
local support = require "support"
local sys = casulo.sys

local OUT = { stdin = "null", stdout = "pipe", stderr = "pipe", timeout = 10 }

local function container(root, fields)
  local description = { rootfs = root, command = { "/bin/sleep", "1000" } }
  for name, value in pairs(OUT) do description[name] = value end
  for name, value in pairs(fields) do description[name] = value end
  return casulo.container(description)
end

-- Each way to run a command: → what `run` returns
local WAYS = {}
function WAYS.start(root, fields) return container(root, fields):run() end

function WAYS.start_with_init(root, fields)
  fields.init = true
  return container(root, fields):run()
end

function WAYS.create(root, fields)
  local p <close>, err = container(root, fields):create()
  if not p then return nil, err end
  local started
  started, err = p:start()
  if not started then return nil, err end
  return p:wait()
end

function WAYS.exec(root, fields)
  local p <close> = assert(container(root, { stdin = "null" }):start())
  for name, value in pairs(OUT) do fields[name] = value end
  local q <close>, err = p:exec(fields)
  if not q then return nil, err end
  return q:wait()
end

local function root_of(make)
  local root = casulo.rootfs.busybox(support.tmpdir() .. "/root")
  make(root)
  return root
end

describe("the working directory", function()
  local LINKS = { "/proc/self/fd/%d", "/proc/self/fd/0", "/dev/fd/%d", "/dev/stdin", "/proc/self/cwd", "/proc/self/root", "/proc/1/cwd",
    "/proc/1/root", "/proc/thread-self/fd/%d" }
  for way, run in pairs(WAYS) do
    support.each_identity("is found through no link of /proc: " .. way, function()
      local victim = hostile.victim().victim
      local open <close> = assert(sys.open(victim, sys.O_RDONLY | sys.O_DIRECTORY))
      local root = root_of(function(root)
        for i, text in ipairs(LINKS) do assert(sys.symlink(text:format(open:fileno()), ("%s/work-%d"):format(root, i))) end
      end)
      support.leaves_nothing(function()
        for i, text in ipairs(LINKS) do
          for _, below in ipairs { "", "/directory" } do
            local result, err = run(root, { command = { "/bin/sh", "-c", "pwd -P; ls" }, cwd = ("/work-%d%s"):format(i, below) })
            assert.is_nil(result, text)
            assert.are.equal("openat2", err.call)
            assert.is_true(err.errno == sys.ELOOP or err.errno == sys.ENOENT and text:find "%%d" ~= nil -- it is closed
              or err.errno == sys.EACCES and text:find "/1/" ~= nil, tostring(err)) -- it has less rights than PID 1
          end
        end
      end)
    end)

    support.each_identity("is found inside, where a link leads to it: " .. way, function()
      local victim = hostile.victim()
      local root = root_of(function(root)
        assert(os.execute(("mkdir -p '%s/deep/er' '%s%s'"):format(root, root, victim.directory)))
        for name, text in pairs {
          relative = "deep/../deep/er", absolute = "/deep/er", host = victim.directory, above = "../../../../../..", up = ("../"):rep(24)
          .. victim.directory:sub(2), missing = victim.source, file = victim.file,
        } do assert(sys.symlink(text, ("%s/%s"):format(root, name))) end
      end)
      for name, expected in pairs { relative = "/deep/er", absolute = "/deep/er", host = victim.directory, up = victim.directory, above = "/" } do
        local result = assert(run(root, { command = { "/bin/sh", "-c", "pwd -P; ls inner 2>/dev/null" }, cwd = "/" .. name }))
        assert.are.equal(expected .. "\n", result.stdout)
      end
      for _, name in ipairs { "missing", "file" } do
        local result, err = run(root, { command = { "/bin/true" }, cwd = "/" .. name })
        assert.are.same({ nil, "openat2", sys.ENOENT }, { result, err.call, err.errno })
      end
    end)
  end
end)

describe("the command", function()
  local function compile(...)
    local status, _, err = support.sh((...):format(select(2, ...)))
    assert.are.equal(0, status, err)
  end

  -- A root in which the caller's own program would find a loader that runs a script, and ways to name that program.
  local function trap(root)
    local interpreter = support.read_file "/proc/self/exe":match "/lib[%w_/.-]*/ld%-[%w_.-]+%.so%.?%d*"
    assert(os.execute(("mkdir -p '%s%s'"):format(root, interpreter:match "^(.*)/")))
    compile("gcc -O1 -Wall -Wextra -Werror -static -nostdlib -o '%s%s' spec/payload/loader.c", root, interpreter)
    support.write_file(root .. "/hostile", "echo reached\n")
    support.write_file(root .. "/program.c", "int main(void) { return 0; }\n")
    compile("gcc -o '%s/program' -Wl,--dynamic-linker=/proc/self/exe '%s/program.c'", root, root)
    support.write_file(root .. "/script", "#!/proc/self/exe\n")
    support.write_file(root .. "/nested", "#!/link\n")
    for _, name in ipairs { "script", "nested" } do assert(sys.chmod(("%s/%s"):format(root, name), 493)) end
    assert(sys.symlink("/proc/self/exe", root .. "/link"))
    assert(sys.symlink("../../proc/thread-self/exe", root .. "/relative"))
  end
  local NAMES = { "/link", "/relative", "/script", "/nested", "/program", "/proc/self/exe" }

  it("could be the caller's program, where that executes it, so that the tests below can fail", function()
    if not support.needs_root() then return end
    local recipes = casulo.recipes
    for _, name in ipairs { "/link", "/script" } do
      local result = assert(casulo.unshared({ "pid", "mount" }, {
        recipes.private_mounts(), recipes.pivot_root(root_of(trap)), recipes.fresh_proc(), { "execve", name, { name }, {}, why = "a trap" },
      }, OUT))
      assert.are.equal("reached\n", result.stdout)
    end
  end)

  for way, run in pairs(WAYS) do
    support.each_identity("is never the caller's program: " .. way, function()
      local root = root_of(trap)
      support.leaves_nothing(function()
        for _, name in ipairs(NAMES) do
          local result, err = run(root, { command = { name } })
          assert.is_true(not result and err.kind == "not_executable" or result.exit_code == 125 or result.signal ~= nil,
            ("%s: %s"):format(name, err or result.exit_code))
          if result then assert.are.same({ "", "" }, { result.stdout, result.stderr }) end
        end
      end)
    end)

    support.each_identity("is no file that the caller has open: " .. way, function()
      local open <close> = assert(sys.open("/bin/busybox", sys.O_RDONLY))
      local root = root_of(function(root)
        for number = 3, 40 do assert(sys.symlink("/proc/self/fd/" .. number, ("%s/fd-%d"):format(root, number))) end
      end)
      assert.is_true(open:fileno() <= 40)
      for number = 3, 40 do
        local result, err = run(root, { command = { "/fd-" .. number } })
        assert.is_nil(result, number)
        assert.is_truthy(err.kind == "not_found" or err.kind == "not_executable", tostring(err))
      end
    end)

    support.each_identity("is found inside, whatever it is a link to: " .. way, function()
      local victim = hostile.victim()
      local root = root_of(function(root)
        for name, text in pairs { here = "../bin/busybox", up = "../../../../../../bin/busybox", absolute = "/bin/busybox" } do
          assert(sys.mkdir(("%s/%s"):format(root, name), 493))
          assert(sys.symlink(text, ("%s/%s/sh"):format(root, name)))
        end
        assert(sys.symlink(victim.setuid, root .. "/bin/out"))
        assert(sys.mknod(root .. "/bin/fifo", sys.S_IFIFO | 511))
      end)
      for _, name in ipairs { "here", "up", "absolute" } do
        assert.are.equal("inside\n", assert(run(root, { command = { ("/%s/sh"):format(name), "-c", "echo inside" } })).stdout)
      end
      for name, kind in pairs { ["/bin/out"] = "not_found", ["/bin/fifo"] = "not_executable" } do
        local result, err = run(root, { command = { name } })
        assert.are.same({ nil, kind }, { result, err.kind })
      end
    end)
  end

  support.each_identity("is never the command `casulo`", function()
    local root = root_of(trap)
    for _, name in ipairs { "/link", "/script" } do
      -- casulo would say that it expects another command
      assert.are.same({ 125, "", "" }, { support.casulo { "run", "--rootfs", root, "--", name } })
    end
  end)
end)
