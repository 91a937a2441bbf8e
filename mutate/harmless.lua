-- SPDX-License-Identifier: MIT

-- Steps that protect nothing, and why: nobody should miss them. A pattern of Lua for the mutation's name, and the reason.
local REASONS = {
  { "child: close  done with it", "it is closed when the command is executed, as all are" },
  { "child: close  the socket has served", "it is closed when the command is executed, as all are" },
  { "born: close  done with it", "the caller closes all that a start has opened, when that is done" },
  { "^cgroup, before: close", "the caller closes all that a start has opened, when that is done" },
  { "^start, child: openat2.*without O_CLOEXEC", "close_range marks all descriptors before the command is executed" },
  { "child: chdir%(\"/\"%)  the working directory of the command", "pivot_root has led there; it stands for any other directory" },
  { "child: chdir%(\"/\"%)  and stand in the new root", "umount2 leaves it there, as in the example of pivot_root(2)" },
  { "fsconfig%(shm context.*\"mode\"", "tmpfs(5) has this mode where none is given" },
  { "F_SEAL_EXEC.*without F_SEAL_SHRINK", "where the kernel has F_SEAL_EXEC, that seals an executable file against all writing, too" },
  { "F_SEAL_EXEC.*without F_SEAL_GROW", "so does F_SEAL_EXEC" }, { "F_SEAL_EXEC.*without F_SEAL_WRITE", "so does F_SEAL_EXEC" },
  { "mount_setattr%(device .*without AT_RECURSIVE", "nothing is mounted below a device" },
  { "mount_setattr%(null.*without AT_RECURSIVE", "nothing is mounted below a device" },
  { "the working directory.*without O_DIRECTORY", "fchdir refuses all else" },
  { "child: setres.*without the saved id", "execve(2) makes the effective id the saved one, too" },
  { "openat.*a file of its own\t.*without O_EXCL", "the file system is new and only this process reaches it" },
  { "scratch.*without MOUNT_ATTR", "the mount is gone before the command is executed" },
  { "files context.*without MOUNT_ATTR", "the mount is gone before the command is executed" },
  { "scratch context.*\"mode\"", "the mount is gone before the command is executed" },
  { "files context.*\"mode\"", "the mount is gone before the command is executed" },
}

--- → the reason, or nil
return function(key)
  for _, each in ipairs(REASONS) do
    if key:find(each[1]) then return each[2] end
  end
end
