-- SPDX-License-Identifier: MIT

--- What is looked at, in order: who does it (ROOT, or an ordinary USER), and what: an action of actions.lua in process, or a line of
-- arguments for the command. In those that are `further` ones, in which most calls are made for the same reasons as in the others, each
-- call fails with one errno, in turn; else with all.

local ROOT, USER = 0, 61234
local list = {}

local function in_process(uids, words, options)
  for name in words:gmatch "%S+" do
    for _, uid in ipairs(uids) do
      list[#list + 1] = { name = ("%s, %s in process"):format(name, uid == ROOT and "root" or "a user"), uid = uid, action = name,
        further = options and options.further }
    end
  end
end

local function by_command(name, line, options)
  for _, uid in ipairs { ROOT, USER } do
    local each = { name = ("%s, %s by the command"):format(name, uid == ROOT and "root" or "a user"), uid = uid, line = line }
    for key, value in pairs(options or {}) do each[key] = value end
    list[#list + 1] = each
  end
end

in_process({ ROOT, USER }, "run")
by_command("run", "run box.lua")
in_process({ ROOT }, "ranges idmap")
in_process({ USER }, "auto")
in_process({ ROOT, USER }, "copy exec")
by_command("run --init --name", "run box.lua --init --name faults-run")
by_command("exec", "exec --env WAIT=0 faults -- /payload", { beside = true })
in_process({ ROOT, USER }, "kill close")
by_command("list", "list", { beside = true })
by_command("kill", "kill faults", { beside = true })
in_process({ USER }, "load create ephemeral", { further = true })
in_process({ ROOT }, "full cgroup exec-full exec-tty tty streams nested host exec-close timeout detach", { further = true })

return list
