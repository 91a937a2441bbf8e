#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the benchmark, and takes away what an interrupted one leaves: the state and the cgroups of crun and runc. All else dies
# with its caller. Usage: run.sh quick|whole [ONLY [REVISION]]
[ "$(id -u)" = 0 ] || { echo "bench: run it as root" >&2; exit 1; }
directory=build/bench
export LUA_PATH="./?.lua;$LUA_PATH"
ulimit -n "$(ulimit -H -n)"

clean() {
  for runtime in crun runc; do
    for state in "$directory/state/$runtime"/*; do
      [ ! -d "$state" ] || "$runtime" --root "$directory/state/$runtime" delete --force "${state##*/}"
    done
  done
  rm -rf "$directory/state"
}

# What is committed as that, in a directory of its own.
build_revision() {
  rm -rf "$directory/tree"
  mkdir -p "$directory/tree"
  git archive -o "$directory/tree.tar" "$1" && tar -xf "$directory/tree.tar" -C "$directory/tree" \
    && make -s -C "$directory/tree" all
}

clean
[ -z "${3:-}" ] || build_revision "$3" || exit 1
lua5.4 bench/run.lua "$directory" build/bench.json "$@" &
trap 'kill $!' INT TERM
wait $!
status=$?
trap - INT TERM
wait
clean
exit "$status"
