-- SPDX-License-Identifier: MIT
-- The host's own system as a root.
local casulo = require "casulo"
local support = require "support"
local sys = casulo.sys

local function box(script, root, fields)
  local raw = { rootfs = casulo.rootfs.host(root), command = { "/bin/sh", "-c", script }, stdout = "pipe", stderr = "pipe", timeout = 60 }
  for name, value in pairs(fields or {}) do raw[name] = value end
  return casulo.container(raw)
end

local function output(script, root, fields) return support.output(box(script, root, fields)) end

local function refused(expected, root)
  support.refused(expected, function() return (box("true", root)) end)
end

local function inode(path)
  local found = assert(sys.stat(path))
  return ("%d"):format(found.ino)
end

describe("the host as a root", function()
  support.each_identity("is read-only, and what is private or runs is the container's own", function()
    local marks = support.tmpdir()
    support.leaves_nothing(function()
      local text = output("for d in /usr /etc /var; do stat -c %i $d; done; "
        .. "for d in / /usr /etc /var /var/tmp; do touch $d/casulo-spec && echo $d; done 2>/dev/null; "
        .. "for d in /tmp /run /home /root; do ls -A $d; stat -c %a $d; touch $d/x || echo refused; done; "
        .. "stat -f -c %T /proc /sys /dev; echo /proc/[0-9]*; readlink /bin; ls " .. marks)
      assert.are.equal(table.concat({ inode "/usr", inode "/etc", inode "/var", "1777", "755", "755", "700", "proc", "sysfs", "tmpfs", "/proc/1",
        sys.readlink "/bin" }, "\n") .. ("\nls: cannot access '%s': No such file or directory"):format(marks), text)
    end)
    for _, top in ipairs { "/", "/usr/", "/etc/", "/var/", "/var/tmp/" } do assert.is_nil(sys.lstat(top .. "casulo-spec")) end
  end)

  support.each_identity("runs the host's compiler on what is writable", function()
    local directory, beside = support.tmpdir(), support.tmpdir()
    support.write_file(directory .. "/main.c", "#include <stdio.h>\nint main(void) { puts(\"it runs\"); return 0; }\n")
    support.leaves_nothing(function()
      local above, name = directory:match "^(.*)/([^/]*)$"
      assert.are.equal(("it runs\n%s\n%s"):format(directory, name), output(
        ("cd %s && gcc main.c -o main && ./main; echo %s/*; ls %s"):format(directory, above, above), { writable = { directory } }))
    end)
    assert.are.equal(sys.getuid(), assert(sys.stat(directory .. "/main")).uid)
    assert.are.same({}, sys.scandir(beside))
  end)

  support.each_identity("shows nothing of what is hidden, a file or a directory, not in what is writable either", function()
    local directory = support.tmpdir()
    assert(sys.mkdir(directory .. "/secrets", 493))
    for _, name in ipairs { "secrets/key", "token", "plain" } do support.write_file(("%s/%s"):format(directory, name), name) end
    local text = output(("cd %s; cat plain; ls secrets | wc -l; wc -c <token; wc -l </etc/passwd; "
      .. "touch secrets/x token 2>&1 | grep -c only"):format(directory),
      { writable = { directory }, hidden = { directory .. "/secrets", directory .. "/token", "/etc/passwd" } })
    assert.are.equal("plain0\n0\n0\n2", text)
    assert.are.equal("token", support.read_file(directory .. "/token"))
  end)

  support.each_identity("lets a socket be spoken to where it is bound in", function()
    local directory = support.tmpdir()
    local server = io.popen(([[perl -MIO::Socket::UNIX -e '$| = 1; my $l = IO::Socket::UNIX->new(Local => "%s/socket", Listen => 1); print "ready\n";
      alarm 30; my $c = $l->accept; print {$c} "hello\n"; close $c']]):format(directory))
    assert.are.equal("ready", server:read "l")
    local text = output([[perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new(Peer => "/run/the/socket")->getline']], nil,
      { mounts = { { type = "bind", source = directory .. "/socket", target = "/run/the/socket" } } })
    server:close()
    assert.are.equal("hello", text)
  end)

  it("opens no device in what is shown, and covers a /proc of the host in another place, and its /run", function()
    if not support.needs_root() then return end
    local script = support.tmpdir() .. "/box.lua"
    support.write_file(script, [[return { rootfs = { type = "host" }, stderr = "null",
      command = { "sh", "-c", "head -c 1 /srv/zero 2>/dev/null || echo no device;"
        .. "cd /srv/tree; ls $PWD/proc $PWD/run $PWD/sys; cat file; ls /srv/proc | wc -l; stat -c %F /srv/version" } }]])
    support.leaves_nothing(function()
      local status, out, err = support.sh(([[unshare -m sh -c '
        mount -t tmpfs none /srv && mkdir -p /srv/tree/proc /srv/tree/sys /srv/tree/run /srv/proc &&
        mknod -m 666 /srv/zero c 1 5 && mount -t tmpfs none /run &&
        touch /run/socket /srv/version && mount --bind /run /srv/tree/run && echo text >/srv/tree/file &&
        mount --rbind /proc /srv/tree/proc && mount --rbind /sys /srv/tree/sys && mount -t proc none /srv/proc &&
        mount --bind /proc/version /srv/version && %s run %s']]):format(support.command(), script))
      local expected = "no device\n/srv/tree/proc:\n\n/srv/tree/run:\n\n/srv/tree/sys:\ntext\n0\nregular empty file\n"
      assert.are.same({ 0, expected, "" }, { status, out, err })
    end)
  end)

  it("covers them below what is writable, too, wherever that is and however it is named", function()
    if not support.needs_root() then return end
    local directory = support.tmpdir() -- in a directory that is the container's own inside
    local script = directory .. "/box.lua"
    support.write_file(script, ([[return { rootfs = { type = "host", writable = { "/srv/tree", "%s/link", "%s/work" } }, stderr = "null",
      command = { "sh", "-c", "for d in /srv/tree %s/link %s/work; do cd $d; ls -A proc sys run deep/proc | wc -l; stat -c %%F version; cat file;"
        .. "(exec 3<>proc/sys/kernel/core_pattern) && echo open; echo written >made || echo refused; done" } }]]):format(
      directory, directory, directory, directory))
    support.leaves_nothing(function()
      local status, out, err = support.sh(([[cd %s && mkdir work && ln -s /srv/target link && unshare -m sh -c '
        mount -t tmpfs none /srv && mount -t tmpfs none /run && touch /run/socket && mkdir /srv/tree /srv/target &&
        for d in /srv/tree /srv/target %s/work; do
          mount -t tmpfs none $d && cd $d && mkdir -p proc sys run deep/proc && touch version && echo text >file &&
          mount --rbind /proc proc && mount --rbind /sys sys && mount --bind /run run && mount -t proc none deep/proc &&
          mount --bind /proc/version version || exit
        done
        %s run %s && cat /srv/tree/made /srv/target/made %s/work/made']]):format(directory, directory, support.command(), script, directory))
      -- four names with a colon each, and an empty line between two
      assert.are.same({ 0, ("7\nregular empty file\ntext\n"):rep(3) .. ("written\n"):rep(3), "" }, { status, out, err })
    end)
    for _, name in ipairs { "work", "link" } do assert.is_truthy(sys.lstat(("%s/%s"):format(directory, name))) end
  end)

  support.each_identity("takes mounts at places that links lead to, and others that the host lacks", function()
    assert.are.equal("first\nsecond", output("cat /usr/lib/casulo-spec-none/x /nowhere/y", nil, { mounts = {
      { type = "tmpfs", target = "/lib" }, { type = "file", target = "/lib/casulo-spec-none/x", content = "first\n" },
      { type = "file", target = "/nowhere/y", content = "second\n" },
    }, command = { "/usr/bin/busybox", "sh", "-c", "cat /usr/lib/casulo-spec-none/x /nowhere/y" } }))
    assert.is_nil(sys.lstat "/nowhere")
  end)

  it("is refused paths that are not there, or the container's own", function()
    refused("container.rootfs.writable[1]: there is no /nowhere on this host", { writable = { "/nowhere" } })
    refused("container.rootfs.writable[2]: / is the root itself", { writable = { "/srv", "/" } })
    refused("container.rootfs.writable[1]: the container has a /proc of its own", { writable = { "/proc/sys" } })
    refused("container.rootfs.hidden[1]: the container has a /dev of its own", { hidden = { "/dev/null" } })
    refused("container.rootfs.writable: expected a list", { writable = "/srv" })
    refused("container.rootfs.writable[1]: open nowhere: No such file or directory", { writable = { "nowhere" } })
    refused('container.rootfs: unknown field "writeable"; did you mean writable?', { writeable = {} })
  end)

  it("has ids that are mapped", function()
    local script = "id -u; stat -c '%u %g' /tmp /run; touch /root/x && stat -c %u /root/x; touch /usr/x 2>/dev/null || echo refused"
    local expected = "0\n0 0\n0 0\n0\nrefused"
    support.as_user_with_ids(function() assert.are.equal(expected, output(script, nil, { uid_map = "auto" })) end)
    if not support.is_root() then return end
    assert.are.equal(expected, output(script, nil, { namespaces = { "user", "pid", "mount" }, uid_map = { { 0, 100000, 10 } },
      gid_map = { { 0, 200000, 10 } } }))
  end)

  support.each_identity("is run from the command line, where the caller stands", function()
    local directory = support.tmpdir()
    local function run(from, words)
      local status, out, err = support.sh(("cd %s && %s run --host %s"):format(from, support.command(), words))
      assert.are.same({ 0, "" }, { status, err })
      return out
    end
    support.leaves_nothing(function()
      assert.are.equal("/usr/lib\n", run("/usr/lib", "-- pwd"))
      assert.are.equal("/\n", run(directory, "-- pwd"))
      assert.are.equal("/\n", run("/proc/self", "-- pwd"))
      assert.are.equal(directory .. "\n", run(directory, "--writable . -- pwd"))
      assert.are.equal("/etc\n", run(directory, "--writable . --cwd /etc -- pwd"))
      assert.are.equal("", run(directory, "--writable=. --writable /var -- touch made"))
    end)
    assert.is_truthy(sys.stat(directory .. "/made"))
  end)
end)
