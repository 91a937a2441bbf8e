-- SPDX-License-Identifier: MIT

-- Steps that protect nothing, and why: nobody should miss them. A pattern of Lua for the mutation's name, and the reason.
local REASONS = {
  { "child: close  done with it", "it is closed when the command is executed, as all are" },
  { "child: close  the socket has served", "it is closed when the command is executed, as all are" },
  { "^start, child: openat2.*without O_CLOEXEC", "close_range marks all descriptors before the command is executed" },
  { "child: chdir%(\"/\"%)  the working directory of the command", "pivot_root has led there; it stands for any other directory" },
  { "mount_setattr%(device .*without AT_RECURSIVE", "nothing is mounted below a device" },
  { "mount_setattr%(null.*without AT_RECURSIVE", "nothing is mounted below a device" },
  { "mount_setattr%([%w ]*in proc.*without AT_RECURSIVE", "nothing is mounted below it in a new file system" },
  { "the working directory.*without O_DIRECTORY", "fchdir refuses all else" },
  { "openat.*a file of its own\t.*without O_EXCL", "the file system is new and only this process reaches it" },
  { "scratch.*without MOUNT_ATTR", "the mount is gone before the command is executed" },
  { "files, attributes.*without MOUNT_ATTR", "the mount is gone before the command is executed" },
}

--- → the reason, or nil
return function(key)
  for _, each in ipairs(REASONS) do
    if key:find(each[1]) then return each[2] end
  end
end
