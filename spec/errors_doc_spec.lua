-- SPDX-License-Identifier: MIT
-- doc/errors.md has the words that the sources have, all of them, and names tests that are there.
local doc_support = require "doc_support"
local errors_support = require "errors_support"
local hint = require "casulo.hint"
local obstacles = require "casulo.obstacles"
local support = require "support"
local sys = require "casulo.sys"

local WORDS = { "hint", "obstacles", "executable", "shortages" } -- modules that hold little else
local NO_WORDS = { -- but the name of a value, and what newuidmap says; patterns beside them
  ["working directory"] = true, ["Cannot determine your user name"] = true, ["owned by a different user"] = true,
  ["not allowed"] = true, ["Operation not permitted"] = true,
}
local SHORTEST = 12 -- bytes: shorter ones may be anywhere
local FEWEST = 10 -- bytes of a text beside what differs

-- The end of a text in quotes, which begins at a place.
local function end_of(source, start)
  local quote, position = source:sub(start, start), start + 1
  while source:sub(position, position) ~= quote do position = position + (source:sub(position, position) == "\\" and 2 or 1) end
  return position
end

-- The texts of a module in one list: what is put together from several is one, and what differs from case to case is `…`.
local function texts_of(path)
  local source, list, position, last = support.read_file(path), {}, 1, nil
  while true do
    local start = source:find("[-\"']", position)
    if not start then return list end
    if source:sub(start, start + 1) == "--" then position = source:find("\n", start, true)
    elseif source:sub(start, start) == "-" then position = start + 1
    else
      local stop = end_of(source, start)
      local text = source:sub(start + 1, stop - 1):gsub("\\([\"'\\])", "%1"):gsub("%%%d*[sdoq]", "…")
      if last and source:sub(last + 1, start - 1):find "^%s*%.%.%s*$" then list[#list] = list[#list] .. text
      else list[#list + 1] = text end
      position, last = stop + 1, stop
    end
  end
end

-- The pieces of a text between what differs.
local function pieces(text)
  local list = {}
  for piece in (text .. "…"):gmatch "(.-)…" do
    piece = piece:match "^%s*(.-)%s*$"
    if #piece >= SHORTEST and piece:find "%a %a" then list[#list + 1] = piece end
  end
  return list
end

local said = {}
for _, row in pairs(errors_support.rows) do said[#said + 1] = row.says .. "; cure: " .. (row.cure or "") end
local page = table.concat(said, "\n")

describe("doc/errors.md", function()
  it("has all words that are said of an error", function()
    local count = 0
    for _, name in ipairs(WORDS) do
      for _, text in ipairs(texts_of(("lua/casulo/%s.lua"):format(name))) do
        for _, piece in ipairs((NO_WORDS[text] or text:find "^%^") and {} or pieces(text)) do
          assert.is_truthy(page:find(piece, 1, true), ("%s: %s"):format(name, piece))
          count = count + 1
        end
      end
    end
    assert.is_true(count > 90, count)
  end)

  it("has no words that are said of none", function()
    local sources = {}
    local pipe <close> = io.popen "find lua -name '*.lua'"
    for path in pipe:lines() do table.move(texts_of(path), 1, #texts_of(path), #sources + 1, sources) end
    for errno = 1, 133 do sources[#sources + 1] = sys.strerror(errno) end
    local all, count = table.concat(sources, "\n"), 0
    local function is_said(piece, whole)
      if all:find(piece, 1, true) then return true end
      for _, text in ipairs(sources) do
        if #text:gsub("…", "") >= FEWEST and whole:find(("^%s$"):format(errors_support.pattern_of(text))) then return true end
      end
    end
    for when, row in pairs(errors_support.rows) do
      for _, words in ipairs { row.says, row.cure } do
        for _, piece in ipairs(pieces(words:gsub("sysctl %S+ is %d", "…"):gsub("[():;]", "…"))) do
          assert.is_truthy(is_said(piece, words), ("%s: %s"):format(when, piece))
          count = count + 1
        end
      end
    end
    assert.is_true(count > 100, count)
  end)

  it("names a test for each row, which is there", function()
    local causes, provoked = 0, 0
    for when, row in pairs(errors_support.rows) do
      local found = false
      doc_support.each_test(row.held, function(spec, test)
        assert.is_truthy(doc_support.declares(spec, test), ('%s "%s"'):format(spec, test))
        found = true
      end)
      local spec = row.held:match "^`(%w+_%w*_?spec)`$"
      if spec then
        assert.is_truthy(doc_support.declares(spec, when), ('%s "%s"'):format(spec, when))
        provoked = provoked + 1
      end
      assert.is_true(found or spec ~= nil, when)
      causes = causes + 1
    end
    assert.is_true(causes > 100 and provoked > 60, ("%d, %d"):format(causes, provoked))
  end)

  -- What takes another kernel, another host or a failing disk: the errno is given, and the facts of a host where nothing else is in the way.
  it("says what no test provokes", function()
    local host = { status = { Seccomp = 0, CapEff = 0 }, sysctls = {}, uid = 1000, release = "6.1.0", rlimits = { nofile = { soft = 9 } } }
    local source = { 0, 0, 0, { ref = "user namespace" }, source = "/data" }
    for when, err in pairs {
      ["a file system that was mounted outside, for `idmap` of root inside"] =
        { step = { "mount_setattr", { ref = "x" }, "", 0, source }, errno = sys.EPERM },
      ["a user namespace, where nothing else is known"] = { call = "clone", args = { sys.CLONE_NEWUSER }, errno = sys.EPERM },
      ["another refusal on the way to a place, by a security module, say"] = { step = { "open_tree", sys.AT_FDCWD, "/", 0 }, errno = sys.EACCES },
      ["too many open files of the host"] = { step = { "pidfd_open", 1, 0 }, errno = sys.ENFILE },
      ["too little memory"] = { call = "clone", args = { 0 }, errno = sys.ENOMEM },
      ["no memory for files in it"] = { step = { "memfd_create", "x", 0 }, errno = sys.ENOSPC },
      ["a quota"] = { step = { "mkdirat", sys.AT_FDCWD, "/proc", 493 }, errno = sys.EDQUOT },
      ["too many keys"] = { step = { "keyctl", sys.KEYCTL_JOIN_SESSION_KEYRING, nil }, errno = sys.EDQUOT },
      ["too many mounts"] = { step = { "open_tree", sys.AT_FDCWD, "/", 0 }, errno = sys.ENOSPC },
      ["too many terminals"] = { step = { "openat2", sys.AT_FDCWD, "/dev/pts/ptmx", "" }, errno = sys.ENOSPC },
      ["a disk that fails"] = { step = { "mkdirat", sys.AT_FDCWD, "/proc", 493 }, errno = sys.EIO },
    } do
      local row = errors_support.rows[when]
      if err.step then err.call, err.args = err.step[1], table.move(err.step, 2, 5, 1, {}) end
      assert.is_truthy(row.errno and sys[row.errno] == err.errno and (not row.call or row.call == err.call), when)
      assert.are.equal(row.says .. (row.cure and "; cure: " .. row.cure or ""), obstacles.line(hint.obstacle(err, host)), when)
    end
  end)
end)
