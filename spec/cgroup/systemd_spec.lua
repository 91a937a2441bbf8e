-- SPDX-License-Identifier: MIT
-- Where limits go on a host that systemd runs: a systemd of the test's own is PID 1 of new namespaces, and has a cgroup.
local cgroup = require "casulo.cgroup"
local cgroup_support = require "cgroup_support"
local support = require "support"
local sys = require("casulo").sys
local it = cgroup_support.it

local SYSTEMD = "/lib/systemd/systemd"

-- The cgroup is the top of its cgroup namespace, and it is alone in it: its parent stands outside. It gets nothing of the
-- host's to write to, but for fs.file-max.
local BOOT = [[
set -e
cgroup=%s own=%s
sh -ec 'echo $$ >$1/cgroup.procs; shift; exec unshare --cgroup --pid --mount --uts --net --fork --kill-child "$@"' sh $cgroup \
  sh -ec '
  mount -t proc proc /proc
  for place in /etc /dev; do mount --bind $place $place; mount -o remount,bind,ro $place; done
  mount --bind /dev/null /dev/console
  mount -t tmpfs tmpfs /run
  umount /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  while grep -qx 0 /sys/fs/cgroup/cgroup.procs; do :; done # the parent
  mkdir -p /run/systemd/system
  cp $1/*.service /run/systemd/system/
  exec env -i PATH=$PATH container=casulo-spec %s --system --unit=roots.service --show-status=no --log-target=null' sh %s &
until [ $(wc -l <$cgroup/cgroup.procs) -ge 2 ]; do kill -0 $!; done
echo $! >$own/cgroup.procs
wait $!]]

local UNIT = [[
[Unit]
DefaultDependencies=no
%s
[Service]
Type=oneshot
TimeoutStartSec=100
StandardOutput=file:%s/out
StandardError=inherit
ExecStart=/bin/sh %s/script
%s
]]

-- `$CASULO` is the command, and `$BOX` the file of a container.
local SERVICES = {
  roots = { script = [[
    cat /sys/fs/cgroup/system.slice/cgroup.controllers
    $CASULO run --name spec $BOX -- /bin/sleep 1000 &
    until pid=$($CASULO list | awk '$1 == "spec" { print $2 }') && [ "$pid" ]; do :; done
    path=$(cut -d: -f3 /proc/$pid/cgroup)
    echo $path
    cat /sys/fs/cgroup$path/cpu.max /sys/fs/cgroup$path/pids.max
    $CASULO kill spec
    wait
    systemctl start users.service delegated.service # now: systemd passes on what any unit that it knows asks for
  ]], unit = "SuccessAction=exit-force\nFailureAction=exit-force" },
  users = { settings = "User=daemon", script = "exec $CASULO run $BOX" },
  delegated = { settings = "User=daemon\nDelegate=yes", script = [[
    own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
    mkdir $own/main
    echo $$ >$own/main/cgroup.procs
    exec $CASULO run $BOX
  ]] },
}

local BOX = [[return { rootfs = require("casulo").rootfs.host {}, limits = { pids = 9, cpu = 0.5 }, command = { "/bin/echo", "it runs" } }]]

-- Runs them all. → what each wrote
local function run_services()
  local units, file_max, out = support.tmpdir(), support.read_file "/proc/sys/fs/file-max", {}
  support.write_file(units .. "/box.lua", BOX)
  for name, service in pairs(SERVICES) do
    local directory = support.tmpdir()
    support.write_file(directory .. "/script", ("CASULO=%s BOX=%s/box.lua\n%s"):format(support.command(), units, service.script))
    support.write_file(("%s/%s.service"):format(units, name), UNIT:format(service.unit or "", directory, directory, service.settings or ""))
    out[name] = directory .. "/out"
  end
  cgroup_support.with_cgroup(function(path)
    local _, said, err = support.sh(BOOT:format(path, cgroup.own().path, SYSTEMD, units))
    support.sh(("find %s -mindepth 1 -depth -type d -exec rmdir {} +"):format(path)) -- systemd leaves its slices
    support.write_file("/proc/sys/fs/file-max", file_max)
    for name, file in pairs(out) do out[name] = assert(sys.stat(file), said .. err) and support.read_file(file) end
  end)
  return out
end

local written
-- A test of what one of the services writes.
local function test(name, service, body)
  it(name, function()
    if not sys.stat(SYSTEMD) then return support.cannot_run "there is no systemd on this host" end
    written = written or run_services()
    body(written[service])
  end)
end

describe("limits under systemd", function()
  test("go beside the service that root is in, with controllers that no unit has asked for", "roots", function(out)
    local had, path, cpu, pids = out:match "^([^\n]*)\n/system%.slice/([^\n]*)\n([^\n]*)\n(%d+)\n"
    assert.is_truthy(had, out)
    assert.is_nil(had:find("cpu", 1, true))
    assert.is_truthy(path:find "^casulo%-[^/]*/%d+$", path)
    assert.are.same({ "50000 100000", "9" }, { cpu, pids })
  end)

  test("want a user's service to be delegated, which the error says", "users", function(out)
    assert.is_truthy(out:find("/system.slice/users.service, is not its own to divide; cure: mkdir -p /etc/systemd/system/users.service.d && printf "
      .. "'[Service]\\nDelegate=yes\\nDelegateSubgroup=main\\n' >", 1, true), out)
  end)

  test("go into a user's service that is delegated, where its processes have made room", "delegated", function(out)
    assert.are.equal("it runs\n", out)
  end)
end)
