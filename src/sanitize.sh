#!/bin/sh
# SPDX-License-Identifier: MIT
# The C module under ASan and UBSan and, for what valgrind can run (it knows no clone3), under valgrind.
# Usage: sanitize.sh LUA_CFLAGS
set -eu
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir "$out/casulo"

gcc -O1 -g -Wall -Wextra -Werror -fPIC -shared -fsanitize=address,undefined -fno-sanitize-recover=undefined $1 \
  -o "$out/casulo/sys.so" src/*.c
export LUA_PATH="lua/?.lua;lua/?/init.lua;;" LUA_CPATH="$out/?.so;;"
# Lua itself is not instrumented, and keeps its memory to the end: leaks are valgrind's to find.
LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
  lua5.4 /usr/bin/busted spec/sys_*_spec.lua spec/container_*spec.lua spec/plan_spec.lua spec/hostile_sys_spec.lua spec/hostile_function_spec.lua
echo "ASan and UBSan: clean"
LUA_CPATH="build/?.so;;" valgrind --quiet --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite --child-silent-after-fork=yes \
  lua5.4 spec/valgrind.lua
echo "valgrind: clean"
