#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs run.lua on trees of its own, several at once. Usage: run.sh JOBS [quick] [PATTERN]
set -eu
top=$(cd "$(dirname "$0")" && pwd)
jobs=$1
mode=$2
pattern=$3
base=$(mktemp -d /tmp/casulo-faults-XXXXXX)
trap 'rm -rf "$base"' EXIT
chmod 755 "$base"
user=61234

# Where every user can reach it, and the same from begin to end.
mkdir "$base/build"
cp -r "$top/../lua" "$top/../faults" "$base/"
cp -r "$top/../build/casulo" "$top/../build/bin" "$base/build/"
gcc -O2 -Wall -Wextra -Werror -o "$base/inject" "$top/inject.c"
gcc -O2 -Wall -Wextra -Werror -static -o "$base/payload" "$top/payload.c"
find "$base/lua" -name '*.lua' | while read -r file; do # as bytecode, which loads in half the time
  lua5.4 -e 'local code = string.dump(assert(loadfile(arg[1]))) assert(io.open(arg[1], "wb")):write(code):close()' - "$file" </dev/null
done
chmod -R a+rX "$base"
export LUA_PATH="$base/lua/?.lua;$base/lua/?/init.lua;;" LUA_CPATH="$base/build/?.so;;" PATH="$base/build/bin:$PATH"

plant() { # UID: a tree of that user's
  mkdir "$tree/$1" && cd "$tree/$1"
  mkdir -m 700 runtime
  mkdir source lower upper work
  echo text >source/file
  cp "$base/payload" source/
  lua5.4 -e 'require "casulo".rootfs.busybox "root"'
  cp "$base/payload" root/
  mkdir root/data
  echo "return { rootfs = '$tree/$1/root', command = { '/payload' } }" >box.lua
  chown -R "$1:$1" .
}

worker=1
pids=
while [ "$worker" -le "$jobs" ]; do
  tree=$base/$worker
  mkdir "$tree"
  (plant 0 && plant $user)
  cp "$base/inject" "$tree/"
  cp -a /etc "$tree/etc"
  echo "faults:x:$user:$user::/nonexistent:/bin/sh" >>"$tree/etc/passwd"
  echo "faults:100000:65536" >"$tree/etc/subuid"
  echo "faults:200000:65536" >"$tree/etc/subgid"
  sh "$base/faults/sandbox.sh" "$tree" lua5.4 "$base/faults/run.lua" "$tree" "$worker" "$jobs" "$mode" "$pattern" \
    </dev/null &
  pids="$pids $!"
  worker=$((worker + 1))
done
status=0
for pid in $pids; do wait "$pid" || status=1; done
lua5.4 "$top/table.lua" "$base"/*/counts || status=1
exit $status
