#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs spec/cgroup on this host where it has the controllers, else in a throw-away machine. Usage: cgroup.sh
set -eu
if lua5.4 -e 'package.path = "spec/?.lua;" .. package.path; os.exit(not require "cgroup_support".missing())'; then
  exec lua5.4 /usr/bin/busted --run=cgroup
fi
exec spec/vm-run --kernel 6.12 --timeout 500 bash spec/kernels/guest.sh root 450 --run=cgroup
