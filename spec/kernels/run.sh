#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the suite on several kernels in throw-away machines, as root and as an ordinary user, and on 5.10 what says that it is too old.
# Usage: run.sh JOBS KERNELS [TEXT]   (of the specs only those with TEXT, a regular expression, in their name)
set -eu
unset CASULO_MUST_RUN # what a kernel lacks is pending
unset MAKEFLAGS ONLY  # the specs call make, too, and not with what this was called with
jobs=$1 kernels=$2 text=${3:-}
seconds=1800 together=6 # how long a spec may take, and how many share a machine
logs=build/kernels
rm -rf "$logs"
mkdir -p "$logs"

matching() { grep -E -- "$text" || true; }
{
  echo spec/kernels/old_spec.lua | matching | xargs -r echo 5.10 root
  for kernel in $kernels; do
    for identity in root user; do
      printf '%s\n' spec/*_spec.lua spec/cgroup/*_spec.lua | matching | xargs -r -n $together echo "$kernel" $identity
    done
  done
} | awk '{ print NR, $0 }' >"$logs/list"
[ -s "$logs/list" ] || { echo "kernels: no spec has $text in its name" >&2; exit 2; }

# One line of the list: a number, by which its log is called, the kernel, the identity, the specs.
machine() {
  local number=$1 kernel=$2 identity=$3
  shift 3
  spec/vm-run --kernel "$kernel" --memory 2048 --timeout $(($# * seconds + 120)) \
    bash spec/kernels/guest.sh "$identity" "$seconds" "$@" </dev/null >"$logs/$number" 2>&1 || true
  grep -a '^== .*:' "$logs/$number" | sed "s/^==/$kernel, $identity:/" || true
}
export -f machine
export logs seconds
xargs -P "$jobs" -a "$logs/list" -L 1 bash -c 'machine "$@"' machine
lua5.4 spec/kernels/summary.lua "$logs"
