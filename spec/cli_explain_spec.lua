-- SPDX-License-Identifier: MIT
local support = require "support"
local sys = require "casulo.sys"

-- Runs the command and asserts that it leaves nothing. → status, stdout, stderr
local function explain(...)
  local words, status, out, err = { "explain", ... }, nil, nil, nil
  support.leaves_nothing(function() status, out, err = support.casulo(words) end)
  return status, out, err
end

describe("casulo explain", function()
  support.each_identity("prints the plan and runs nothing", function()
    local marker = support.tmpdir() .. "/marker"
    local status, out, err = explain("--rootfs", "/nonexistent/root", "--hostname", "sag", "--bind", "/nope:/x", "--",
      "touch", marker)
    assert.are.same({ 0, "" }, { status, err })
    for _, part in ipairs { "clone(CLONE_NEW", '"/nonexistent/root/"', "pivot_root(", 'sethostname("sag"', '"/nope"', "touch" } do
      assert.is_truthy(out:find(part, 1, true), part)
    end
    assert.is_nil(sys.lstat(marker))
    local file = support.tmpdir() .. "/box.lua"
    support.write_file(file, 'return { rootfs = "/nonexistent/other", command = { "one" } }')
    out = select(2, explain(file, "--", "two"))
    assert.is_truthy(out:find('"/nonexistent/other/"', 1, true) and out:find('["two"]', 1, true), out)
  end)

  support.each_identity("makes no call that changes anything", function()
    if not support.has "strace" then return support.cannot_run "strace is not installed" end
    local trace = support.tmpdir() .. "/trace"
    local calls = "execve,clone,clone3,fork,vfork,unshare,setns,mount,open_tree,fsopen,move_mount,mkdir,unlink,chmod,sethostname"
    local status = support.sh(("strace -f -o %s -e trace=%s %s explain --rootfs %s -- id"):format(trace, calls, support.command(),
      support.rootfs()))
    assert.are.equal(0, status)
    local made = {}
    for name in support.read_file(trace):gmatch "%f[%w_]([%w_]+)%(" do made[#made + 1] = name end
    assert.are.same({ "execve" }, made) -- that of the command itself
  end)
end)
