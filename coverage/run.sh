#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the suite, or some specs, and prints which lines of casulo's Lua and C they have not reached. What counts are processes that
# load casulo.sys, and their copies; not the command and casulo-init, which have it built in or do without, nor ordinary users.
# Usage: run.sh LUA_CFLAGS [SPEC…]
set -eu
cd "$(dirname "$0")/.."
out=$PWD/build/coverage cflags=$1
shift
rm -rf "$out" && mkdir -p "$out/casulo"
for file in src/*.c; do
  case $file in
    src/sys.c) names=-Dluaopen_casulo_sys=measured_open ;;
    *) names="-D_exit=measured_exit -Dexecve=measured_execve" ;;
  esac
  gcc -O0 -g --coverage -fPIC $cflags $names -c -o "$out/$(basename "$file" .c).o" "$file"
done
gcc -O1 -fPIC -Wall -Wextra -Werror $cflags -c -o "$out/casulo/lines.o" coverage/lines.c
gcc --coverage -shared -o "$out/casulo/sys.so" "$out"/*.o "$out/casulo/lines.o"

touch "$out/lines" && chmod 666 "$out/lines"
# A copy with another root or other ids cannot write the counts of C, and would say so.
export GCOV_ERROR_FILE=/dev/null CASULO_LINES="$out/lines" LUA_INIT='require "casulo.sys"' LUA_CPATH="$out/?.so;;"
lua5.4 /usr/bin/busted "$@" || echo "coverage: some tests have failed; measured all the same" >&2
unset LUA_INIT
gcov -t "$out"/*.gcda >"$out/gcov.txt" 2>/dev/null
lua5.4 coverage/table.lua "$out/lines" $(find lua/casulo -name '*.lua' | sort) <"$out/gcov.txt"
