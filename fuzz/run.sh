#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the fuzzer of casulo.sys and runs it, from the seeds and from what earlier runs have found. Without a number of runs it takes a
# minute. An input that ends it is left in build/fuzz/found-…; FUZZ_TRACE=1 build/fuzz/fuzz FILE shows its calls.
# Usage: run.sh LUA_CFLAGS LIBLUA [RUNS]
set -eu
cd "$(dirname "$0")/.."
out=build/fuzz
mkdir -p $out/objects $out/corpus
flags="-g -O2 -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=undefined $1"

calls=$(grep -cE '^  \{ "[a-z_0-9]+", SYS_' src/pack.c)
for file in stand_ins kernel values steps fuzz; do clang $flags -DCALLS_OF_PROGRAMS="$calls" -c -o $out/$file.o fuzz/$file.c; done

# casulo.sys as it is, but with each call of the C library that reaches the kernel renamed into its stand-in.
nm $out/stand_ins.o | sed -n 's/.* T stub_\(.*\)/\1 stub_\1/p' >$out/renamed
rm -f $out/objects/*
for file in src/*.c; do
  [ "$file" = src/clone3.c ] || # a stand-in, too; raw_call gives way to one
    clang $flags -fsanitize=fuzzer-no-link -fPIC -fsemantic-interposition -c -o $out/objects/"$(basename "$file" .c)".o "$file"
done
for object in $out/objects/*.o; do objcopy --redefine-syms=$out/renamed --weaken-symbol=raw_call "$object"; done
objcopy --redefine-sym=calls=calls_of_programs $out/objects/pack.o
objcopy --globalize-symbol=calls_of_programs $out/objects/pack.o

# Whatever else it needs must not reach this machine.
harmless='__errno_location|__libc_.*|_*asan_.*|__ubsan_.*|__sanitizer_.*|__sancov_.*|abort|alphasort|bcmp|bsearch|free|fileno|mem.*|mmap|munmap'
harmless="$harmless|pthread_(mutex|rwlock)_.*|stderr|str(cmp|ncmp|len|error)|sig(addset|emptyset|ismember)|luaL?_.*|stub_.*|clone3_on_stack"
nm $out/objects/*.o | awk 'NF == 3 && $2 ~ /[A-Z]/ { print $3 }' | sort -u >$out/own
if nm -u $out/objects/*.o | awk '$1 == "U" { print $2 }' | sort -u | comm -23 - $out/own | grep -vxE "$harmless"; then
  echo "fuzz: casulo.sys needs these, which have no stand-in in fuzz/stand_ins.c" >&2
  exit 1
fi
clang -g -fsanitize=fuzzer,address,undefined -o $out/fuzz $out/*.o $out/objects/*.o "$2" -lm -ldl

lua5.4 fuzz/seeds.lua fuzz/seeds.txt $out/corpus
if [ "${3:-}" ]; then limit=-runs=$3; else limit=-max_total_time=60; fi
# What Lua keeps is counted by the fuzzer itself; the seconds are for an input that does not come to an end.
export ASAN_OPTIONS=quarantine_size_mb=16:malloc_context_size=3
if ! $out/fuzz "$limit" -max_len=400 -timeout=20 -detect_leaks=0 -artifact_prefix=$out/found- $out/corpus >$out/log 2>&1; then
  grep -v '^#' $out/log | tail -n 60 >&2
  exit 1
fi
echo "casulo.sys: $(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second(s)$/\1 runs in \2 s/p' $out/log), clean;" \
  "$(sed -n 's/^#.*DONE *cov: \([0-9]*\) .*exec\/s: \([0-9]*\) .*/\1 edges of the code, \2 runs a second/p' $out/log)"
