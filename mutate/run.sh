#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs run.lua on trees of its own, several at once. Usage: run.sh JOBS [--exactly] [PATTERN [SPEC…]]
set -eu
top=$(cd "$(dirname "$0")" && pwd)
jobs=$1
shift
CASULO_MUTATE_TREE=$(mktemp -d /tmp/casulo-mutate-XXXXXX)
export CASULO_MUTATE_TREE
trap 'rm -rf "$CASULO_MUTATE_TREE"' EXIT
chmod 755 "$CASULO_MUTATE_TREE"
cd "$CASULO_MUTATE_TREE"
mkdir source lower upper work
echo text >source/file
lua5.4 -e 'require "casulo".rootfs.busybox "root"'
cd "$top/.."
sh "$top/sandbox.sh" lua5.4 "$top/plans.lua" list >"$CASULO_MUTATE_TREE/list" </dev/null
worker=1
pids=
while [ "$worker" -le "$jobs" ]; do
  CASULO_MUTATE_WORKER=$worker/$jobs lua5.4 "$top/run.lua" "$@" &
  pids="$pids $!"
  worker=$((worker + 1))
done
status=0
for pid in $pids; do wait "$pid" || status=1; done
exit $status
