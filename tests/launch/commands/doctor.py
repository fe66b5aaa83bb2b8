#!/usr/bin/env python3
"""`moetrain doctor` alone and under the real mpirun; ranks that were started differently; a rank that never starts."""
import concurrent.futures
import json
import os

import cases


def check_numbers(bench, name, facts, ranks):
    check = lambda condition, what: bench.check(f"{name}: {what}", condition, json.dumps(facts)[:2000])
    check([rank["rank"] for rank in facts["ranks"]] == list(range(ranks)), "every rank once")
    check(len(facts["hosts"]) == 1 and facts["hosts"][0]["ranks"] == list(range(ranks)), "one host")
    check(all(0 < len(rank["cores"]) <= rank["host_cores"] for rank in facts["ranks"]), "cores")
    check(1 <= facts["hosts"][0]["usable_cores"] <= facts["ranks"][0]["host_cores"], "usable cores")
    check(facts["ranks"][0]["host_cores"] == os.cpu_count(), "the host's cores")
    check(facts["ranks"][0]["shared_memory_bytes"] > 0, "/dev/shm")
    check(all(facts["versions"][what] for what in ("libtorch", "mpi", "hdf5")), "versions")
    check(len(facts["links"]) == {1: 0, 2: 1, 3: 2}[ranks], "links")
    for link in facts["links"]:
        sizes = [sample["bytes"] for sample in link["samples"]]
        check(sizes[0] == 8 and len(sizes) >= 2 and sizes == sorted(sizes), "sizes")
        check(all(0 < sample["seconds"] < 10 for sample in link["samples"]), "times")
        check(0 <= link["latency_us"] < 1e6 and 0 < link["bandwidth_gb_per_s"] < 1e4 and link["r2"] <= 1, "the line")


def healthy(bench):
    file = bench.folder / "doctor.json"
    for ranks in (1, 2, 3):
        words = [bench.program, "doctor", "--json", file]
        done = cases.mpirun("-n", ranks, *words) if ranks > 1 else bench.run(*words[1:])
        name = f"{ranks} ranks"
        bench.check(name, done.returncode == 0, done.stderr)
        facts = json.loads(file.read_text())
        check_numbers(bench, name, facts, ranks)
        launcher = "mpirun" if ranks > 1 else "none"
        bench.check(f"{name}: launcher", facts["launcher"] == launcher, facts["launcher"])
        for words in ("LibTorch", "HDF5", "may run on cores", "transport settings"):
            bench.check(f"{name}: table", words in done.stdout, done.stdout)
        codes = [warning["code"] for warning in facts["warnings"]]
        crowded = ranks > facts["hosts"][0]["usable_cores"]
        bench.check(f"{name}: oversubscription", ("oversubscribed_ranks" in codes) == crowded, codes)


def warned(bench):
    file = bench.folder / "doctor.json"
    threads = os.cpu_count() + 1
    done = bench.run("doctor", "--json", file, "--set", f"run.threads={threads}")
    facts = json.loads(file.read_text())
    codes = [warning["code"] for warning in facts["warnings"]]
    bench.check("too many threads", done.returncode == 0 and "oversubscribed_threads" in codes, done.stdout)
    bench.check("too many threads: what to do", "what to do: --set run.threads=" in done.stdout, done.stdout)
    if not facts["ranks"][0]["gpus"]:
        done = cases.mpirun("-n", 2, bench.program, "doctor", "--set", "run.device=cuda")
        bench.check("no GPU", done.returncode == 1, done.stderr)
        bench.check("no GPU: said", "cannot train (no_gpu)" in done.stdout, done.stdout)
    done = cases.mpirun("-n", 2, "-x", "OMPI_MCA_btl", bench.program, "doctor", OMPI_MCA_btl="self,tcp")
    bench.check("transport settings", "OMPI_MCA_btl=self,tcp" in done.stdout, done.stdout)
    bench.check_refused("an unknown recipe", bench.run("doctor", bench.folder / "none.toml"), "none.toml")
    bench.check_refused("a file that cannot be written", bench.run("doctor", "--json", bench.folder / "no/such.json"),
                        "no/such.json")


def different(bench, recipe):
    """Two app contexts of one mpirun: each refused at start, by one message, within the time that a start takes."""
    program, train = bench.program, ["train", recipe]
    refused = lambda name, first, second, *words: bench.check_refused(
        name, cases.mpirun("-n", 2, *first, ":", "-n", 1, *second), *words)
    refused("another value", [program, *train], [program, *train, "--set", "moe.experts=8"], "moe.experts",
            "ranks 0-1 have 4", "rank 2 has 8")
    refused("--resume on one rank", [program, *train], [program, *train, "--resume"], "--resume", "rank 2 has given")
    refused("another command", [program, *train], [program, "doctor"], "command", "rank 2 has doctor")
    other = bench.folder / "moetrain_other"
    # The same program with one byte more: another build.
    with open(program, "rb") as source, open(other, "wb") as copy:
        copy.write(source.read() + b"\0" * 8 + b"x")
    other.chmod(0o755)
    refused("another program", [program, *train], [other, *train], "program", "rank 2 has 0.")
    bench.check("nothing was made", not (bench.folder / "run").exists())


def body(bench):
    recipe = bench.folder / "recipe.toml"
    with concurrent.futures.ThreadPoolExecutor() as pool:  # they wait while the rest is tested
        waiting = {command[0]: cases.without_rank_1(pool, bench.folder, bench.program, *command) for command in (["train", recipe], ["doctor"])}
        healthy(bench)
        warned(bench)
        different(bench, recipe)
        for command, done in waiting.items():
            bench.check_refused(f"a rank that never starts, {command}", done.result(), "after 20 s", "2 of the 3 ranks", "(0, 2)",
                                "in place of rank 1 runs sleep", "--start-limit")


cases.main(body)
