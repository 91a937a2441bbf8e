#!/bin/sh
# SPDX-License-Identifier: MIT
# Every compiler and linter, with each warning an error. Usage: lint.sh LUA_CFLAGS
set -eu
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

for compiler in gcc clang; do
  $compiler -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden $1 -o "$out/sys.so" src/*.c
  $compiler -O2 -Wall -Wextra -Werror -c $1 '-DLUA="lua"' -o "$out/command.o" src/command/casulo.c
  $compiler -O2 -Wall -Wextra -Werror -ffreestanding -c -o "$out/init.o" src/init/casulo-init.c
  for file in bench/*.c faults/*.c; do $compiler -O2 -Wall -Wextra -Werror -c -o "$out/bench.o" "$file"; done
  for file in fuzz/*.c coverage/*.c spec/scarce.c; do $compiler -O2 -Wall -Wextra -Werror -DCALLS_OF_PROGRAMS=55 '-DCOVERAGE="build"' $1 -c -o "$out/other.o" "$file"; done
  echo "$compiler: clean"
done
clang-tidy --quiet --warnings-as-errors='*' \
  --checks='-*,bugprone-*,clang-analyzer-*,misc-redundant-expression,-bugprone-easily-swappable-parameters,-bugprone-assignment-in-if-condition,-bugprone-reserved-identifier,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling' \
  src/*.c src/command/*.c src/init/*.c bench/*.c faults/*.c -- $1 '-DLUA="lua"' 2>/dev/null
echo "clang-tidy: clean"
luacheck --quiet lua src spec mutate soak faults fuzz coverage examples bench .busted
