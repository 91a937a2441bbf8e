-- SPDX-License-Identifier: MIT

--- What need not be looked at, and why.

local harmless = {}

--- Calls that do not return, and those of which their man pages say that they always succeed.
harmless.cannot_fail = { exit = true, exit_group = true, rt_sigreturn = true, restart_syscall = true }
for name in ("getpid getppid gettid getuid geteuid getgid getegid umask"):gmatch "%S+" do harmless.cannot_fail[name] = true end

-- Failures that casulo ignores: patterns of Lua for the call and for what is wrong then, and the reason.
local REASONS = {
  { "^prctl$", "dumpable 1\n%+[^\n]*dumpable 0$", "PR_SET_DUMPABLE takes 1 from anyone; without it the caller is only harder to look into" },
  { "^rt_sigprocmask$", "\n%+ SigBlk:[^\n]*$", "the call that has set the mask puts it back, with other bits, at which the kernel does not look" },
}

--- → the reason, or nil
function harmless.reason(call, wrong)
  for _, reason in ipairs(REASONS) do
    if call:find(reason[1]) and wrong:find(reason[2]) then return reason[3] end
  end
end

return harmless
