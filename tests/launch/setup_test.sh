#!/usr/bin/env bash
# launch/setup where nothing can be installed: it names what is missing, says how to point to it, and makes nothing.
set -euo pipefail

setup=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../launch" && pwd)/setup
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/bin" "$folder/tree/launch" "$folder/modules/mpi/include"
cp "$setup" "$folder/tree/launch/"
for tool in bash env dirname mkdir sed grep awk cat tail id nproc rm; do
  ln -s "$(command -v "$tool")" "$folder/bin/$tool"
done
failures=0

# run_setup OPTIONS...: with no package manager and no compiler on PATH.
run_setup() {
  code=0
  env -i PATH="$folder/bin" HOME="$folder" ${prefix:+CMAKE_PREFIX_PATH="$prefix"} \
    "$folder/tree/launch/setup" "$@" >"$folder/output" 2>&1 || code=$?
}

expect() {  # WHAT COMMAND...
  if "${@:2}"; then
    printf 'ok      %s\n' "$1"
  else
    printf 'FAILED  %s; it said:\n' "$1"
    cat "$folder/output"
    failures=$((failures + 1))
  fi
}

prefix=
run_setup
expect 'ends with 1' [ "$code" = 1 ]
for thing in g++ cmake ninja mpirun python3; do
  expect "names $thing" grep -q "^  $thing " "$folder/output"
done
expect 'says how to point to MPI' grep -q -e '-DMPI_HOME=DIR' "$folder/output"
expect 'makes no .venv' [ ! -e "$folder/tree/.venv" ]
expect 'does not name what only the tests need' [ "$(grep -c chromium "$folder/output")" = 0 ]

run_setup --tests
expect '--tests: names chromium' grep -q chromium "$folder/output"

run_setup -- -DMPI_HOME="$folder/modules/mpi" -DMOETRAIN_TORCH="$folder/modules/torch"
expect 'what was pointed to is not missing' [ "$(grep -c '^  mpirun \|^  python3 ' "$folder/output")" = 0 ]

mkdir -p "$folder/modules/headers/include/nlohmann"
touch "$folder/modules/headers/include/nlohmann/json.hpp"
prefix=$folder/modules/headers
run_setup -- -DMPI_HOME="$folder/modules/mpi"
expect 'a header under CMAKE_PREFIX_PATH is found' [ "$(grep -c '^  nlohmann/json.hpp ' "$folder/output")" = 0 ]

run_setup --no-such-option
expect 'an unknown option ends with 1' [ "$code" = 1 ]

printf '%d failures\n' "$failures"
((failures == 0))
