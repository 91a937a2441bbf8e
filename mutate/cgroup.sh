#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs run.sh for the steps that limits take, in a throw-away machine: it has all controllers, and what is left there harms nobody. As root.
# Usage: cgroup.sh [PATTERN]
set -eu
if [ -z "${CASULO_MUTATE_LIST:-}" ]; then
  CASULO_MUTATE_LIST=cgroup exec spec/vm-run --kernel 6.12 --timeout 1200 bash mutate/cgroup.sh "$@"
fi
. spec/kernels/place.sh
sh mutate/run.sh 1 "$@"
