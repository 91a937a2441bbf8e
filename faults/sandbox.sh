#!/bin/sh
# SPDX-License-Identifier: MIT
# What a worker's sandbox has beside that of mutate: a /run and a /tmp, and an account with subordinate ids. Usage: sandbox.sh TREE COMMAND…
set -eu
tree=$1
shift
base=${tree%/*}
mount -t tmpfs -o mode=755 run /run
mkdir /run/base
mount --bind "$base" /run/base
mount -t tmpfs tmp /tmp
mkdir -p "$base"
mount --bind /run/base "$base"
umount /run/base
rmdir /run/base
mount --bind "$tree/etc" /etc
exec "$@"
