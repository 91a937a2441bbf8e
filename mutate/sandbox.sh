#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a command where a container that lacks a protection does no harm to the host: with mounts, processes, names and device nodes of
# its own; and the command is one whose modules mutations reach. As root. Usage: [CASULO_MUTATION=…] sandbox.sh COMMAND…
set -eu
if [ "${CASULO_MUTATE_LIST:-}" = cgroup ]; then # in a machine of our own: what the last one has left there
  find /sys/fs/cgroup -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
fi
exec unshare --mount --propagation private --pid --fork --kill-child --uts --ipc sh -euc '
  mount -t proc proc /proc
  mount -t tmpfs -o mode=755 dev /mnt
  for node in null zero full random urandom tty ptmx; do cp -a /dev/$node /mnt/; done
  for link in fd stdin stdout stderr; do ln -s "$(readlink /dev/$link)" /mnt/$link; done
  mkdir /mnt/pts /mnt/shm
  mount --bind /dev/pts /mnt/pts
  mount -t tmpfs -o mode=1777 shm /mnt/shm
  mount --move /mnt /dev
  printf %s "${CASULO_MUTATION:-}" >/dev/casulo-mutation
  mount --bind "$CASULO_MUTATE_TREE/casulo" build/bin/casulo
  mount --make-rshared / # as on most hosts: mounts propagate, unless something keeps them from it
  status=0
  "$@" || status=$?
  exit $status' sh "$@"
