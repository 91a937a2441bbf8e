#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the suite, or some specs, and prints which lines of casulo's Lua and C they have not reached. What counts are processes that
# load casulo.sys, the command, and their copies, also those of ordinary users who can come to this directory; of C not what is killed
# or ends in another root; not casulo-init. Usage: run.sh LUA_CFLAGS LIBLUA [SPEC…]
set -eu
cd "$(dirname "$0")/.."
out=$PWD/build/coverage cflags=$1 liblua=$2
shift 2
rm -rf "$out" && mkdir -p "$out/built"

measured() { # SOURCE NAMES…
  source=$1
  shift
  gcc -O0 -g --coverage -fPIC $cflags "$@" -c -o "$out/$(basename "$source" .c).o" "$source"
}

gcc -O1 -fPIC -Wall -Wextra -Werror $cflags -DCOVERAGE="\"$out\"" -c -o "$out/lines.o" coverage/lines.c
for file in src/*.c; do measured "$file" -D_exit=measured_exit -Dluaopen_casulo_sys=measured_open; done
gcc --coverage -shared -o "$out/built/sys.so" "$out"/*.o
# The modules inside keep the numbers of their lines.
modules=$(find lua/casulo -name '*.lua' | sort)
lua5.4 -e 'local dump = string.dump function string.dump(chunk) return dump(chunk) end' src/bundle.lua "$out/built/modules.c" $modules
measured src/command/casulo.c -DluaL_openlibs=measured_openlibs -DLUA='"lua5.4"'
gcc -fPIE -static-pie $cflags -Ibuild -o "$out/built/casulo" "$out/built/modules.c" "$out"/*.o "$liblua" -lm \
  -Wl,--wrap=dlopen,--wrap=dlerror,--wrap=system,--wrap=popen -lgcov
for module in $modules; do printf %s "$module" | dd bs=576 conv=sync status=none; done >"$out/lines"

# They stand in for what has been built: specs copy and install that.
mkdir "$out/kept" && mv build/bin/casulo build/casulo/sys.so "$out/kept"
trap 'mv "$out/kept/casulo" build/bin && mv "$out/kept/sys.so" build/casulo' EXIT
trap 'exit 1' INT TERM
cp "$out/built/casulo" build/bin && cp "$out/built/sys.so" build/casulo

export GCOV_ERROR_FILE=/dev/null LUA_INIT='pcall(require, "casulo.sys")'
build/bin/casulo version >/dev/null && lua5.4 -e ''
chmod 666 "$out/lines" "$out"/*.gcda
lua5.4 /usr/bin/busted "$@" || echo "coverage: some tests have failed; measured all the same" >&2
unset LUA_INIT
gcov -t "$out"/*.gcda >"$out/gcov.txt" 2>/dev/null
lua5.4 coverage/table.lua "$out/lines" $modules <"$out/gcov.txt"
