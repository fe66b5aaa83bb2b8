#!/usr/bin/env python3
"""launch/emulate: hosts that are really several, results, exit codes, signals, what is left behind, bad arguments."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "commands"))
import cases  # noqa: E402  (found beside this folder)

EMULATE = str(cases.ROOT / "launch/emulate")
PROGRAM = r"""
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static volatile sig_atomic_t usr1 = 0;
static void on_signal(int signal) { (void)signal; usr1 = 1; }
int main(int count, char** words) {
  int rank, ranks, host_ranks, code = 0;
  MPI_Comm host;
  signal(SIGUSR1, on_signal);
  MPI_Init(&count, &words);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host);
  MPI_Comm_size(host, &host_ranks);
  if (strcmp(words[1], "places") == 0) {
    char name[64];
    gethostname(name, sizeof name);
    printf("rank %d of %d on %s with %d, threads %s\n", rank, ranks, name, host_ranks, getenv("OMP_NUM_THREADS"));
  } else if (strcmp(words[1], "send") == 0) {  // so many bytes from the first rank to the last
    const int bytes = atoi(words[2]);
    char* data = calloc(1, (size_t)bytes);
    if (rank == 0) MPI_Send(data, bytes, MPI_CHAR, ranks - 1, 0, MPI_COMM_WORLD);
    if (rank == ranks - 1) MPI_Recv(data, bytes, MPI_CHAR, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    free(data);
  } else if (strcmp(words[1], "ping") == 0) {  // microseconds there and back between the first and the last
    char byte = 0;
    double best = 1e9;
    for (int i = 0; i < 50; ++i) {
      const double start = MPI_Wtime();
      if (rank == 0) {
        MPI_Send(&byte, 1, MPI_CHAR, ranks - 1, 0, MPI_COMM_WORLD);
        MPI_Recv(&byte, 1, MPI_CHAR, ranks - 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      } else if (rank == ranks - 1) {
        MPI_Recv(&byte, 1, MPI_CHAR, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Send(&byte, 1, MPI_CHAR, 0, 0, MPI_COMM_WORLD);
      }
      if (MPI_Wtime() - start < best) best = MPI_Wtime() - start;
    }
    if (rank == 0) printf("%.0f\n", best * 1e6);
  } else if (strncmp(words[1], "exit", 4) == 0) {
    code = atoi(words[1] + 4);
    if (code != 0 && rank == 0) fprintf(stderr, "one clear message\n");  // or launch/run would look for what is wrong for a minute
  } else if (strcmp(words[1], "die") == 0) {
    if (rank == ranks - 1) raise(SIGKILL);
    sleep(60);
  } else {  // saves when it is asked to stop
    if (rank == 0) printf("ready\n"), fflush(stdout);
    while (!usr1) usleep(20000);
    code = 3;
  }
  MPI_Finalize();
  return code;
}
"""


def processes(mark):
    """Ids of those that carry the mark in their environment, and the network namespaces that they are in."""
    ids, spaces = set(), set()
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                ids.add(int(entry.name))
                spaces.add(os.readlink(entry / "ns/net"))
        except OSError:
            pass  # gone, or not ours
    return ids, spaces


def spaces_of_all():
    spaces = set()
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                spaces.add(os.readlink(entry / "ns/net"))
        except OSError:
            pass
    return spaces


class Emulation:
    """One call, its processes marked."""

    def __init__(self, *words, **variables):
        self.mark = f"MOETRAIN_TEST_MARK={uuid.uuid4()}"
        environment = dict(os.environ, **variables)
        environment.update([self.mark.split("=")])
        self.process = subprocess.Popen([EMULATE, *map(str, words)], env=environment, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, start_new_session=True)

    def seen(self):
        return processes(self.mark)

    def end(self, limit=900):
        try:
            self.output, self.errors = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.output, self.errors = self.process.communicate()
            self.errors += f"\nstill running after {limit} s"
        self.code = self.process.returncode
        return self


def machine():
    """What an emulation could leave on the machine besides processes."""
    links = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True).stdout
    names = sorted(line.split(":")[1].strip() for line in links.splitlines())
    named = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    return names, named, pathlib.Path("/etc/hosts").read_bytes()


def check_nothing_left(bench, name, emulation, before, spaces=frozenset()):
    bench.check(f"{name}: no process is left", not emulation.seen()[0], emulation.seen())
    bench.check(f"{name}: no namespace is left", not (set(spaces) & spaces_of_all()), spaces)
    bench.check(f"{name}: the machine is as before", machine() == before, f"{before} {machine()}")
    left = [path for path in bench.scratch.iterdir() if path.name.startswith("moetrain_emulate_")]
    bench.check(f"{name}: no file is left", not left, left)


def places(bench, toy):
    before = machine()
    counters = bench.folder / "counters.json"
    for hosts, ranks in ((1, 2), (2, 1), (3, 2)):
        done = Emulation("--hosts", hosts, "--ranks-per-host", ranks, "--threads", 2, "--program", toy, "--", "places").end()
        wanted = sorted(f"rank {h * ranks + r} of {hosts * ranks} on node{h} with {ranks}, threads 2"
                        for h in range(hosts) for r in range(ranks))
        bench.check(f"{hosts} x {ranks}: ranks are where they should", sorted(done.output.splitlines()) == wanted,
                    done.output + done.errors)
        check_nothing_left(bench, f"{hosts} x {ranks}", done, before)
    payload = 3_000_000
    sent = []
    for size in (0, payload):
        Emulation("--hosts", 2, "--counters", counters, "--program", toy, "--", "send", size).end()
        sent.append(json.loads(counters.read_text())["hosts"])
    more = sent[1][0]["sent_bytes"] - sent[0][0]["sent_bytes"]
    bench.check("counters: what is sent is counted", payload <= more < 1.1 * payload, more)
    got = sent[1][1]["received_bytes"] - sent[0][1]["received_bytes"]
    bench.check("counters: and received", payload <= got < 1.1 * payload, got)
    bench.check("counters: not the other way", sent[1][1]["sent_bytes"] < 0.5 * payload, sent)


def links(bench, toy):
    """A delay is kept, both ways, and a rate is not exceeded."""
    done = Emulation("--hosts", 2, "--delay", "5ms", "--program", toy, "--", "ping").end()
    bench.check("delay: there and back", 10_000 <= float(done.output or 0) < 40_000, done.output + done.errors)
    done = Emulation("--hosts", 2, "--program", toy, "--", "ping").end()
    bench.check("no delay", float(done.output or 1e9) < 5_000, done.output + done.errors)
    for hosts in (2, 3):
        counters = bench.folder / "slow.json"
        Emulation("--hosts", hosts, "--rate", "10mbit", "--counters", counters, "--program", toy, "--", "send", 2_500_000).end()
        seconds = json.loads(counters.read_text())["seconds"]
        bench.check(f"rate of {hosts} hosts: 20 Mbit over 10 Mbit/s take 2 s", seconds > 1.9, seconds)


def codes(bench, toy):
    before = machine()
    for code in (0, 1, 2, 3):
        done = Emulation("--hosts", 2, "--program", toy, "--", f"exit{code}").end()
        bench.check(f"exit code {code} comes through", done.code == code, f"{done.code} {done.errors}")
        check_nothing_left(bench, f"exit code {code}", done, before)
    done = Emulation("--hosts", 2, "--program", toy, "--", "die").end()
    bench.check("a rank that is killed ends the run", done.code == 137, f"{done.code} {done.errors}")
    check_nothing_left(bench, "a killed rank", done, before)


def until_ready(bench, emulation):
    line = emulation.process.stdout.readline()
    bench.check("the ranks are ready", line.strip() == "ready", line)
    ids, spaces = emulation.seen()
    bench.check("they run in namespaces", len(spaces) >= 3, spaces)  # the machine's, the switch's, each host's
    spaces.discard(os.readlink("/proc/self/ns/net"))
    return ids, spaces


def signals(bench, toy):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before = machine()
        run = Emulation("--hosts", 2, "--program", toy, "--", "wait")
        _, spaces = until_ready(bench, run)
        run.process.send_signal(number)
        run.end()
        bench.check(f"{number.name}: saved, 3", run.code == 3, f"{run.code} {run.errors}")
        check_nothing_left(bench, number.name, run, before, spaces)
    before = machine()
    run = Emulation("--hosts", 2, "--program", toy, "--", "wait")
    _, spaces = until_ready(bench, run)
    run.process.kill()  # nobody is left to clean up but the kernel
    run.end()
    limit = time.time() + 300
    while run.seen()[0] and time.time() < limit:
        time.sleep(0.1)
    bench.check("SIGKILL: no process is left", not run.seen()[0], run.seen())
    bench.check("SIGKILL: no namespace is left", not (spaces & spaces_of_all()), spaces)
    for path in bench.scratch.glob("moetrain_emulate_*"):
        subprocess.run(["rm", "-r", path])
    run = Emulation("--hosts", 16, "--program", toy, "--", "wait")
    time.sleep(0.3)
    run.process.terminate()  # while it is being built, or just after
    run.end()
    bench.check("SIGTERM while building", run.code in (3, 143), f"{run.code} {run.errors}")
    check_nothing_left(bench, "SIGTERM while building", run, before)


def side_by_side(bench, toy):
    before = machine()
    runs = [Emulation("--hosts", 2, "--rate", "1gbit", "--program", toy, "--", "wait") for _ in range(2)]
    spaces = [until_ready(bench, run)[1] for run in runs]
    bench.check("side by side: networks apart", not (spaces[0] & spaces[1]), spaces)
    runs[0].process.terminate()
    runs[0].end()
    bench.check("side by side: the first is gone", runs[0].code == 3 and not runs[0].seen()[0], runs[0].errors)
    bench.check("side by side: the second is not", runs[1].process.poll() is None and runs[1].seen()[0], "")
    runs[1].process.terminate()
    runs[1].end()
    bench.check("side by side: the second too", runs[1].code == 3, runs[1].errors)
    check_nothing_left(bench, "side by side", runs[1], before, spaces[0] | spaces[1])


def refused(bench, toy):
    before = machine()

    def refuse(name, words, *said, variables=None):
        done = Emulation(*words, **(variables or {})).end()
        lines = [line for line in done.errors.splitlines() if line.strip()]
        bench.check(name, done.code == 1, f"{done.code} {done.errors}")
        bench.check(name, len(lines) == 1 and lines[0].startswith("launch/emulate: "), lines)
        for word in said:
            bench.check(name, word in done.errors, f"no '{word}' in {done.errors}")
        check_nothing_left(bench, name, done, before)
        print(f"{name}: {done.errors.strip()}")
    run = ["--program", toy, "--", "places"]
    refuse("no hosts", ["--hosts", 0, *run], "--hosts 0", "from 1 to 16")
    refuse("too many hosts", ["--hosts", 17, *run], "--hosts 17", "from 1 to 16")
    refuse("hosts in words", ["--hosts", "two", *run], "--hosts two", "from 1 to 16")
    refuse("hosts not given", run, "--hosts is missing")
    refuse("no ranks", ["--hosts", 2, "--ranks-per-host", 0, *run], "--ranks-per-host 0", "from 1 to 64")
    refuse("no threads", ["--hosts", 2, "--threads", 0, *run], "--threads 0")
    refuse("a rate without a unit", ["--hosts", 2, "--rate", "1000", *run], "--rate 1000", "gbit")
    refuse("a rate that tc does not know", ["--hosts", 2, "--rate", "1gigabit", *run], "--rate 1gigabit", "gbit")
    refuse("a rate of nothing", ["--hosts", 2, "--rate", "0mbit", *run], "--rate 0mbit", "64kbit")
    refuse("a delay that tc does not know", ["--hosts", 2, "--delay", "1min", *run], "--delay 1min", "us, ms, s")
    refuse("an unknown option", ["--hosts", 2, "--speed", "1gbit", *run], "--speed", "--rate")
    refuse("an option without its value", ["--hosts", "--", "train"], "--hosts needs a value")
    refuse("nothing to run", ["--hosts", 2, "--program", toy], "comes after --")
    refuse("no program", ["--hosts", 2, "--program", bench.folder / "none", "--", "x"], "none", "--program")
    refuse("counters nowhere", ["--hosts", 2, "--counters", bench.folder / "no/such.json", *run], "no/such.json")
    done = subprocess.run([sys.executable, "-c", f"""
import os, runpy, shutil, sys
shutil.which = lambda name: None if name == "tc" else "/bin/" + name
sys.argv = [{EMULATE!r}, "--hosts", "2", "--program", {str(toy)!r}, "--", "x"]
runpy.run_path({EMULATE!r}, run_name="__main__")"""], capture_output=True, text=True)
    bench.check("no tc", done.returncode == 1 and "`tc` is not on PATH (Debian package iproute2)" in done.stderr, done.stderr)
    # A user namespace that may have no further network: what a machine without the permission looks like.
    done = subprocess.run(["unshare", "--user", "--map-root-user", "sh", "-c",
                           f"echo 0 > /proc/sys/user/max_net_namespaces && exec {EMULATE} --hosts 2 --program {toy} -- x"],
                          capture_output=True, text=True)
    bench.check("no permission", done.returncode == 1 and "no permission to make namespaces" in done.stderr
                and len(done.stderr.splitlines()) == 1, f"{done.returncode} {done.stderr}")
    print(done.stderr.strip())


def same_result(bench):
    """The same recipe in float64 on two hosts and on one rank alone."""
    losses, hosts = {}, bench.folder / "doctor.json"
    for name, starter in (("one", [str(cases.ROOT / "launch/run")]),
                          ("two", [EMULATE, "--hosts", "2", "--rate", "1gbit", "--delay", "100us"])):
        words = ["--set", "run.precision=float64", "--set", f"run.folder={bench.folder}/{name}"]
        done = subprocess.run([*starter, "--", "train", str(bench.folder / "recipe.toml"), *words], capture_output=True,
                              text=True, timeout=900, env=dict(os.environ, MOETRAIN_BINARY=bench.program))
        bench.check(f"training: {name}", done.returncode == 0, done.stderr)
        lines = [json.loads(line) for line in (bench.folder / name / "metrics.jsonl").read_text().splitlines()]
        losses[name] = [value for line in lines if line["event"] == "step" for _, value in sorted(line["loss"].items())]
    worst = max((abs(a - b) / abs(b) for a, b in zip(losses["one"], losses["two"])), default=1.0)
    bench.check("training: equal losses", len(losses["one"]) == len(losses["two"]) >= 4 and worst < 1e-10, losses)
    print(f"losses apart: {worst:.2e}")
    words = ["--set", f"run.folder={bench.folder}/tensor", "--set", "mesh.tensor=2"]
    done = Emulation("--hosts", 2, "--", "train", bench.folder / "recipe.toml", *words, MOETRAIN_BINARY=bench.program).end()
    bench.check("a tensor axis across hosts is warned of", done.code == 0 and "layout of 2 ranks on 2 hosts" in done.output
                and "warning: mesh.tensor = 2 spans 2 hosts" in done.output, done.output + done.errors)
    done = Emulation("--hosts", 2, "--ranks-per-host", 2, "--", "doctor", "--json", hosts, MOETRAIN_BINARY=bench.program).end()
    seen = [host["ranks"] for host in json.loads(hosts.read_text())["hosts"]]
    bench.check("doctor sees two hosts", seen == [[0, 1], [2, 3]], f"{seen} {done.errors}")


def body(bench):
    bench.scratch = bench.folder / "tmp"
    bench.scratch.mkdir()
    os.environ["TMPDIR"] = str(bench.scratch)
    for name in [name for name in os.environ if name.startswith("SLURM_") or name == "MOETRAIN_BINARY"]:
        del os.environ[name]
    toy = bench.folder / "toy"
    (bench.folder / "toy.c").write_text(PROGRAM)
    subprocess.run(["mpicc", "-o", toy, bench.folder / "toy.c"], check=True)
    refused(bench, toy)
    places(bench, toy)
    links(bench, toy)
    codes(bench, toy)
    signals(bench, toy)
    side_by_side(bench, toy)
    same_result(bench)


cases.main(body)
