-- SPDX-License-Identifier: MIT

-- Steps that protect nothing, and why: nobody should miss them. A pattern of Lua for the mutation's name, and the reason.
local REASONS = {
  { "child: close  done with it", "it is closed when the command is executed, as all are" },
  { "child: close%(socket", "it is closed when the command is executed, as all are" },
  { "AT_EMPTY_PATH|AT_RECURSIVE, {attr_set=MOUNT_ATTR_RDONLY}, 32%)  before anyone.*without AT_RECURSIVE", "nothing is mounted below a device" },
  { "^start, child: openat2.*without O_CLOEXEC", "close_range marks all descriptors before the command is executed" },
}

--- → the reason, or nil
return function(key)
  for _, each in ipairs(REASONS) do
    if key:find(each[1]) then return each[2] end
  end
end
