#!/usr/bin/env bash
# launch/run under the real mpirun, with a small MPI program in moetrain's place: what it does with signals and exit codes.
set -euo pipefail
set -m  # children in groups of their own, with the default SIGINT, as a terminal starts them

run=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../launch" && pwd)/run
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export MOETRAIN_BINARY=$folder/moetrain
export OMPI_MCA_odls_base_sigkill_timeout=0  # mpirun sleeps a second before it kills, also ranks that end by themselves
unset SLURM_JOB_ID
failures=0

cat >"$folder/moetrain.c" <<'PROGRAM'
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t usr1 = 0, term = 0;
static void on_signal(int signal) { if (signal == SIGUSR1) usr1 = 1; else term = 1; }

static void leave(const char* folder, const char* what, int rank) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s.%d", folder, what, rank);
  FILE* file = fopen(path, "w");
  if (file == NULL || fclose(file) != 0) abort();
}

int main(int count, char** words) {
  int rank, code = 0;
  if (count != 3) return 9;
  signal(SIGUSR1, on_signal);
  signal(SIGTERM, on_signal);
  signal(SIGINT, on_signal);
  MPI_Init(&count, &words);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const char* what = words[1];
  leave(words[2], "ready", rank);
  if (strncmp(what, "exit", 4) == 0) {
    code = atoi(what + 4);
    if (code != 0 && rank == 0) fprintf(stderr, "one clear message\n");
  } else if (strcmp(what, "die") == 0) {
    if (rank == 0) raise(SIGKILL);
    sleep(20);
  } else if (strcmp(what, "train") == 0) {  // saves, which takes a while on rank 0, and exits 3
    while (!usr1 && !term) usleep(20000);
    leave(words[2], usr1 ? "usr1" : "term", rank);
    if (rank == 0) sleep(1);
    leave(words[2], "saved", rank);
    code = usr1 ? 3 : 9;
  } else if (strcmp(what, "chatter") == 0) {  // as train, and prints all the while
    while (!usr1 && !term) {
      printf("a line\n");
      fflush(stdout);
      usleep(20000);
    }
    leave(words[2], usr1 ? "saved" : "term", rank);
    code = usr1 ? 3 : 9;
  } else if (strcmp(what, "stubborn") == 0) {  // saves for ever
    while (!term) {
      usleep(20000);
      if (usr1) leave(words[2], "usr1", rank);
    }
    sleep(20);
  }
  MPI_Finalize();
  return code;
}
PROGRAM
mpicc "$folder/moetrain.c" -o "$MOETRAIN_BINARY"

expect() {  # WHAT EXPECTED ACTUAL
  if [[ $2 == "$3" ]]; then
    printf 'ok      %s\n' "$1"
  else
    printf 'FAILED  %s: expected %s, got %s\n' "$1" "$2" "$3"
    failures=$((failures + 1))
  fi
}

fresh() { rm -rf "$folder/run"; mkdir "$folder/run"; }

count() { find "$folder/run" -name "$1" | wc -l; }

wait_for() {  # PATTERN COUNT
  local tries
  for ((tries = 0; tries < 300; ++tries)); do
    (($(count "$1") < $2)) || return 0
    sleep 0.1
  done
  printf 'FAILED  no %s file from %d ranks within 30 s\n' "$1" "$2"
  exit 1
}

code_of() { local code=0; timeout -k 5 60 "$@" >"$folder/output" 2>&1 || code=$?; printf '%d' "$code"; }

for ranks in 1 3; do
  fresh
  expect "$ranks ranks: success is 0" 0 "$(code_of "$run" -n "$ranks" -- exit0 "$folder/run")"
  expect "$ranks ranks all ran" "$ranks" "$(count 'ready.*')"
  for code in 1 2 3; do
    expect "$ranks ranks: exit code $code comes through" "$code" "$(code_of "$run" -n "$ranks" -- "exit$code" "$folder/run")"
    expect "$ranks ranks: with one clear message" "one clear message" "$(cat "$folder/output")"
  done
  expect "$ranks ranks: a killed rank ends the run" 137 "$(code_of "$run" -n "$ranks" -- die "$folder/run")"

  for signal in INT TERM HUP; do
    fresh
    "$run" -n "$ranks" -- train "$folder/run" 2>"$folder/output" &
    wait_for 'ready.*' "$ranks"
    kill "-$signal" $!
    code=0; wait $! || code=$?
    expect "$ranks ranks, SIG$signal: exit code" 3 "$code"
    expect "$ranks ranks, SIG$signal: ranks that got SIGUSR1" "$ranks" "$(count 'usr1.*')"
    expect "$ranks ranks, SIG$signal: ranks that finished saving" "$ranks" "$(count 'saved.*')"
    expect "$ranks ranks, SIG$signal: ranks that got SIGTERM first" 0 "$(count 'term.*')"
  done

  # As a terminal does it: Ctrl-C reaches every process of the foreground group, and mpirun must not be one.
  fresh
  "$run" -n "$ranks" -- train "$folder/run" 2>"$folder/output" &
  wait_for 'ready.*' "$ranks"
  kill -INT -- "-$!"
  code=0; wait $! || code=$?
  expect "$ranks ranks, Ctrl-C: exit code" 3 "$code"
  expect "$ranks ranks, Ctrl-C: ranks that got SIGUSR1" "$ranks" "$(count 'usr1.*')"

  fresh
  "$run" -n "$ranks" -- stubborn "$folder/run" 2>"$folder/output" &
  wait_for 'ready.*' "$ranks"
  kill -INT $!
  wait_for 'usr1.*' "$ranks"
  kill -INT $!  # at once: the same wish
  sleep 1.2
  expect "$ranks ranks: a second signal at once is the same wish" yes "$(kill -0 $! && echo yes || echo no)"
  kill -INT $!
  code=0; wait $! || code=$?
  expect "$ranks ranks, a second Ctrl-C: ended without saving" yes "$( ((code != 0 && code != 3)) && echo yes || echo "$code")"
done

# mpirun dies of a closed pipe, and its ranks with it: they have to save first. (One rank is the program by itself.)
fresh
set +o pipefail
{ code=0; "$run" -n 3 -- chatter "$folder/run" 2>"$folder/output" || code=$?; printf '%d' "$code" >"$folder/code"; } | head -n 1 >"$folder/line"
set -o pipefail
expect "nobody reads: exit code" 3 "$(cat "$folder/code")"
expect "nobody reads: what was read before" "a line" "$(cat "$folder/line")"
expect "nobody reads: ranks that saved" 3 "$(count 'saved.*')"

mkdir -p "$folder/tree/launch" "$folder/tree/build"
cp "$run" "$folder/tree/launch/run"
cp "$MOETRAIN_BINARY" "$folder/tree/build/moetrain"
ln -s "$folder/tree/launch/run" "$folder/mtrun"
expect "by a symbolic link" 0 "$(unset MOETRAIN_BINARY; code_of "$folder/mtrun" -- exit0 "$folder/run")"

# mpirun is told to be quiet, and is so about itself, too.
speaks() {  # WHAT PATTERN: of the last code_of
  if grep -q -e "$2" "$folder/output"; then expect "$1" yes yes; else expect "$1" "$2" "$(cat "$folder/output")"; fi
}
expect "a component that is not there" 1 "$(OMPI_MCA_plm=nosuch code_of "$run" -n 2 -- exit0 "$folder/run")"
speaks "what it is" 'Component: nosuch'
speaks "where it comes from" '^launch/run: .*OMPI_MCA_plm=nosuch'
mkdir "$folder/told"
printf '#!/bin/sh\necho "$*" >"%s/told/words"\n' "$folder" >"$folder/told/mpirun"
chmod +x "$folder/told/mpirun"
expect "an mpirun that is told what to hand on" 0 \
  "$(PATH=$folder/told:$PATH NCCL_SOCKET_IFNAME=eth0 UCX_TLS=tcp code_of "$run" -n 2 -- exit0 "$folder/run")"
expect "variables for libraries" 2 "$(grep -oE -e '-x (NCCL_SOCKET_IFNAME|UCX_TLS) ' "$folder/told/words" | wc -l)"
expect "threads, once" 1 "$(grep -oE -e '-x OMP_NUM_THREADS ' "$folder/told/words" | wc -l)"
mkdir "$folder/mute"
printf '#!/bin/sh\nexit 213\n' >"$folder/mute/mpirun"
chmod +x "$folder/mute/mpirun"
expect "an mpirun that never says anything" 1 "$(PATH=$folder/mute:$PATH code_of "$run" -n 2 -- exit0 "$folder/run")"
speaks "is named with its exit code" '^launch/run: mpirun ended with exit code 213 and no message'

expect "more words than options" 1 "$(code_of "$run" -n 2 train)"
expect "no such program" 1 "$(MOETRAIN_BINARY=$folder/none code_of "$run" -n 2 -- train)"
expect "a number of ranks that is none" 1 "$(code_of "$run" -n two -- train)"
expect "a host that is not there" 1 "$(code_of "$run" -n 2 --host no.such.host.invalid:2 -- exit0 "$folder/run")"
expect "options of mpirun" 0 "$(code_of "$run" -n 2 --mca btl self,vader --oversubscribe -- exit0 "$folder/run")"

# Under Slurm srun starts the ranks, and is sent the signal that it forwards.
mkdir "$folder/bin"
cat >"$folder/bin/srun" <<'PROGRAM'
#!/usr/bin/env bash
printf '%s\n' "$*" >"$SRUN_WORDS"
PROGRAM
chmod +x "$folder/bin/srun"
export SRUN_WORDS=$folder/words
expect "a Slurm job" 0 "$(PATH=$folder/bin:$PATH SLURM_JOB_ID=7 code_of "$run" -n 4 --exact -- train recipe.toml)"
expect "its srun line" "--mpi=pmix --wait=60 -n 4 --exact $MOETRAIN_BINARY train recipe.toml" "$(cat "$folder/words")"

printf '%d failures\n' "$failures"
((failures == 0))
