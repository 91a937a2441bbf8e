#!/bin/sh
# SPDX-License-Identifier: MIT
# Starts a container called "faults", unless there is one, that waits until it is ended.
set -eu
casulo list | grep -q '^faults ' && exit 0
casulo run --rootfs "$CASULO_FAULTS_TREE/root" --name faults --env WAIT=1 -- /payload </dev/null >/dev/null 2>&1 &
until casulo list | grep -q '^faults '; do sleep 0.02; done
