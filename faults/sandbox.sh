#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a command with mounts, processes and names of its own, a /run and a /tmp, and an account that has subordinate ids.
# As root. Usage: sandbox.sh TREE COMMAND…
set -eu
exec unshare --mount --propagation private --pid --fork --kill-child --uts --ipc sh -euc '
  tree=$1
  base=${tree%/*}
  shift
  mount -t proc proc /proc
  mount -t tmpfs -o mode=755 run /run
  mkdir /run/base
  mount --bind "$base" /run/base
  mount -t tmpfs tmp /tmp
  mkdir -p "$base"
  mount --bind /run/base "$base"
  umount /run/base
  rmdir /run/base
  mount --bind "$tree/etc" /etc
  mount --make-rshared / # as on most hosts: mounts propagate, unless something keeps them from it
  status=0
  "$@" || status=$?
  exit $status' sh "$@"
