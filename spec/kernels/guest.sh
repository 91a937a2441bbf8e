#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs specs in a throw-away machine, in a copy of the working directory. As root. Usage: guest.sh root|user SECONDS SPEC…
# Each is one run of busted, which is killed after so many seconds; a line "== SPEC: STATUS after N s" follows what it prints.
set -eu
identity=$1 seconds=$2
shift 2
user=61235 # an id that no account has

. spec/kernels/place.sh

as=()
if [ "$identity" = user ]; then
  as=(setpriv --reuid=$user --regid=$user --clear-groups env HOME=/tmp)
  chown -R $user:$user /opt/casulo
  delegated=/sys/fs/cgroup/user
  mkdir -p $delegated/shell
  for place in $delegated $delegated/shell; do chown $user:$user $place $place/cgroup.{procs,threads,subtree_control}; done
  echo $$ >$delegated/shell/cgroup.procs
fi
echo "== Linux $(uname -r)"
failed=0
for spec; do
  begin=$SECONDS status=0
  timeout -s KILL "$seconds" "${as[@]}" lua5.4 /usr/bin/busted "$spec" </dev/null >/opt/log 2>&1 || status=$?
  cat /opt/log
  echo "== $spec: $status after $((SECONDS - begin)) s"
  [ $status = 0 ] || failed=1
done
exit $failed
