#!/usr/bin/env python3
"""Ctrl-C and SIGTERM to the starter under the real mpirun, a hang-up of the program by itself, an output that nobody reads
any more: saved, exit code 3; --resume ends in the uninterrupted bits. Meanwhile nobody else gets into the run folder."""
import hashlib
import json
import os
import signal
import subprocess
import time

import cases

LENGTH = 60


def starter(ranks):
    return [str(cases.ROOT / "launch/run"), "-n", str(ranks), "--"]


def begin(bench, words, recipe, run_folder, stdout=subprocess.DEVNULL, length=LENGTH):
    """A run that has done some updates."""
    environment = dict(os.environ, MOETRAIN_BINARY=bench.program)
    process = subprocess.Popen([*words, "train", str(recipe), "--resume", "--set", f"run.folder={run_folder}", "--set",
                                f"train.length={length}u"], env=environment, stdout=stdout, stderr=subprocess.PIPE)
    metrics = run_folder / "metrics.jsonl"
    deadline = time.time() + cases.HANGS
    while time.time() < deadline and (not metrics.exists() or metrics.read_text().count('"event":"step"') < 5):
        time.sleep(0.005)
    return process


def interrupt(bench, recipe, run_folder, signal_number, ranks):
    """Starts a run, signals the starter once some updates are done, and returns its exit code."""
    process = begin(bench, starter(ranks), recipe, run_folder)
    process.send_signal(signal_number)
    process.communicate(timeout=cases.HANGS)
    return process.returncode


def events(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def digest(run_folder):
    newest = sorted((run_folder / "checkpoints").iterdir())[-1]
    values = subprocess.run(["h5dump", "-d", "/parameters/embedding.weight", "-d", "/parameters/blocks.1.moe.experts.up",
                             "-m", "%.9g", str(newest)], capture_output=True, check=True).stdout
    return newest.name, hashlib.sha256(values.split(b"\n", 1)[1]).hexdigest()


def body(bench):
    # Long enough that a signal always comes in between: every update logs, and each takes some milliseconds.
    recipe = bench.recipe(length=LENGTH)
    recipe.write_text(recipe.read_text().replace("global_batch = 4", "global_batch = 64\nmicro_batches = 4"))
    for ranks, number in ((2, signal.SIGINT), (2, signal.SIGTERM), (1, signal.SIGINT)):
        name = f"{signal.Signals(number).name} with {ranks} ranks"
        cut, whole = (bench.folder / f"{kind}_{number}_{ranks}" for kind in ("cut", "whole"))
        code = interrupt(bench, recipe, cut, number, ranks)
        bench.check(name, code == 3, f"exit code {code}")
        last = events(cut)[-1]
        bench.check(name, last["event"] == "end" and last["reason"] == "interrupted" and 0 < last["step"] < LENGTH, last)
        resumed = bench.run_ranks("train", recipe, "--resume", "--set", f"run.folder={cut}", ranks=ranks)
        bench.check(name, resumed.returncode == 0, resumed.stderr)
        bench.check(name, bench.run_ranks("train", recipe, "--set", f"run.folder={whole}", ranks=ranks).returncode == 0)
        bench.check(name, digest(cut) == digest(whole), "the resumed run ends in other bits")
        print(f"{name}: saved after update {last['step']}, exit code {code}, resumed to the uninterrupted run's bits")
    left_alone(bench, recipe)


def left_alone(bench, recipe):
    """Runs whose terminal or reader goes: far too long ones, so that only that ends them."""
    for name, words, number in (("hang-up of the program", [bench.program], signal.SIGHUP),
                                ("nobody reads the program", [bench.program], None),
                                ("nobody reads the starter", starter(2), None)):
        run_folder = bench.folder / name.replace(" ", "_")
        process = begin(bench, words, recipe, run_folder, subprocess.DEVNULL if number else subprocess.PIPE, length=100000)
        if number:
            second = bench.run("train", recipe, "--resume", "--set", f"run.folder={run_folder}")
            bench.check_refused("a second run in the folder", second, "another `moetrain train`", f"process {process.pid},",
                                "run.folder")
            process.send_signal(number)
        else:
            process.stdout.close()
        _, errors = process.communicate(timeout=cases.HANGS)
        bench.check(name, process.returncode == 3, f"exit code {process.returncode}: {errors}")
        last = events(run_folder)[-1]
        bench.check(name, last["event"] == "end" and last["reason"] == "interrupted", last)
        saved = [path.name for path in (run_folder / "checkpoints").iterdir()]
        bench.check(name, f"update_{last['step']:012}.h5" in saved, saved)
        bench.check(name, not (run_folder / "lock").exists())
        print(f"{name}: saved after update {last['step']}")


cases.main(body)
