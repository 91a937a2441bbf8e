#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs run.lua in a directory of its own. Usage: run.sh quick|whole [TEXT]
set -eu
[ "$(id -u)" = 0 ] || { echo "soak: run it as root" >&2; exit 1; }
directory=$(mktemp -d /tmp/casulo-soak-XXXXXX)
trap 'rm -rf "$directory"' EXIT
chmod 755 "$directory"
LUA_PATH="./?.lua;$LUA_PATH" lua5.4 soak/run.lua "$PWD/build/bin/casulo" "$directory" "$@"
