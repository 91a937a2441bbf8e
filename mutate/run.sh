#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs run.lua on trees of its own, several at once, and counts what comes of it. Fails when a mutation goes unnoticed.
# Usage: run.sh JOBS [--exactly] [PATTERN [SPEC…]]
set -eu
begin=$(date +%s)
top=$(cd "$(dirname "$0")" && pwd)
jobs=$1
shift
CASULO_MUTATE_TREE=$(mktemp -d /tmp/casulo-mutate-XXXXXX)
export CASULO_MUTATE_TREE
pids=
groups=
trap '[ -z "$groups" ] || kill -TERM $groups || true; rm -rf "$CASULO_MUTATE_TREE"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$CASULO_MUTATE_TREE"
cp "$top/mutation.lua" "$top/filter_changes.lua" "$CASULO_MUTATE_TREE" # ordinary users read them, too
cd "$CASULO_MUTATE_TREE"
mkdir source lower upper work
echo text >source/file
lua5.4 -e 'require "casulo".rootfs.busybox "root"'
cd "$top/.."
# The command has its modules inside, which no mutation reaches. This one has not.
cat >"$CASULO_MUTATE_TREE/casulo" <<END
#!/usr/bin/env lua5.4
if not package.loaded["mutate.mutation"] then dofile "$CASULO_MUTATE_TREE/mutation.lua" end
package.path = "$PWD/lua/?.lua;$PWD/lua/?/init.lua;" .. package.path
package.cpath = "$PWD/build/?.so;" .. package.cpath
os.exit(require "casulo.cli".main(arg), true)
END
chmod 755 "$CASULO_MUTATE_TREE/casulo"
sh "$top/sandbox.sh" lua5.4 "$top/plans.lua" list ${CASULO_MUTATE_LIST:-} >"$CASULO_MUTATE_TREE/list" </dev/null
worker=1
while [ "$worker" -le "$jobs" ]; do
  CASULO_MUTATE_WORKER=$worker/$jobs setsid lua5.4 "$top/run.lua" "$@" & # a process group, to end with all that it runs
  pids="$pids $!"
  groups="$groups -$!"
  worker=$((worker + 1))
done
status=0
for pid in $pids; do wait "$pid" || status=1; done
groups=
count() { grep -c "$1" "$CASULO_MUTATE_TREE/outcomes" || true; }
echo "$(count .) mutations: $(count noticed) noticed, $(count needed) needed, $(count harmless) harmless, $(count UNNOTICED) UNNOTICED," \
  "in $(($(date +%s) - begin)) seconds"
[ "$status" = 0 ] && [ "$(count UNNOTICED)" = 0 ]
