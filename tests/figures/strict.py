"""What the figures of the strict device (tests/strict_device) share: trainings on it and on the CPU, compared; planted defects."""
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/recipes"))
from smoke_data import kind_of, token_files

PROGRAM = pathlib.Path(os.environ.get("MOETRAIN_BINARY", ROOT / "build/moetrain"))
WALK, DEVICE = ROOT / "build/folders/tests/strict_walk", ROOT / "build/strict_device"
# What a planted defect must have ended with: refused, another number, or the host in memory that is not its own.
REASONS = r"strict device: |stand-in NCCL: |Expected equality|on the same device|must be on strict|Segmentation fault"
QUICK, BAR = "--quick" in sys.argv, 1e-10

SHORT = {"run.precision": "float64", "train.length": "3u", "train.log_every": "1u", "schedule.warmup": "1u",
         "evaluate.every": "3u", "run.checks": "collectives"}
# What recipes of their own need to be as short.
OWN = {"stages": {"train.length": "1u", "evaluate.every": "7u", **{f"stage.{stage}.train.length": "2u" for stage in ("dense", "mixed", "grown")}},
       "shared_expert": {"schedule.warmup_stable_decay.decay": "1u"}}


def run(words, **variables):
    done = subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True, timeout=1800,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
                                            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
                                            "OMPI_MCA_odls_base_sigkill_timeout": "0"} | variables)
    return done.returncode, done.stdout + done.stderr


def train(recipe, folder, settings, ranks=1, strict=False, **variables):
    """Exits where it fails."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = {"run.folder": folder} | settings | ({"run.device": "cuda"} if strict else {})
    words = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", ranks] if ranks > 1 else []
    words += [PROGRAM, "train", recipe, *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))]
    code, said = run(words, **variables, **({"LD_LIBRARY_PATH": str(DEVICE)} if strict else {}))
    if code != 0:
        sys.exit(f"{' '.join(map(str, words))}: exit code {code}\n{said[-6000:]}")


def numbers_of(folder):
    """Of every update and evaluation, in order."""
    found = []
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        if line["event"] == "step":
            found += [line["gradient_norm"], *line["loss"].values()]
        if line["event"] == "evaluate":
            found.append(line["loss"])
    return found


def apart(one, other):
    """The largest relative difference of the numbers, and the largest of a weight."""
    ours, theirs = numbers_of(one), numbers_of(other)
    if len(ours) != len(theirs) or not ours:
        sys.exit(f"{one}: {len(ours)} numbers, {other}: {len(theirs)}")
    if not all(map(math.isfinite, ours + theirs)):
        return math.inf, math.inf
    relative = max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(ours, theirs))
    said = run([PROGRAM, "diff", one, other])[1].strip().splitlines()[-1]
    return relative, float(re.search(r"by (\S+) at most", said).group(1))


def check(name, recipe, folder, settings, cpu, ranks, failed, weights_bar=BAR, **variables):
    strict = folder / "strict"
    train(recipe, strict, settings, ranks, strict=True, **variables)
    relative, weights = apart(strict, cpu)
    well = relative <= BAR and weights <= weights_bar
    print(f"{name}: numbers {relative:.1e} apart, weights {weights:.1e}{'' if well else ': TOO FAR'}", flush=True)
    if not well:
        failed.append(name)
    return max(relative, weights)


def walk(test, ranks, **variables):
    start = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", ranks] if ranks > 1 else []
    return run([*start, WALK, "--gtest_brief=1", "--gtest_color=no", f"--gtest_filter={test}"], LD_LIBRARY_PATH=str(DEVICE), **variables)


def planted_ones(only):
    """(test, exit code, what it said) of each planted defect. On ranks each has a job of its own, for what is refused may end it;
    alone a process that one forks once it has loaded LibTorch."""
    listed, suite = [], ""
    for line in run([WALK, "--gtest_list_tests"])[1].splitlines():
        if not line.startswith("  "):
            suite = line.strip()
        elif suite.startswith("Planted") and re.search(only, line):
            listed.append(suite + line.strip())
    ended, said = walk("*", 1, TESTS_APART="Planted")
    alone = {test: (int(code), words)
             for test, code, words in re.findall(r"^==== (\S+) ended with (\S+)\n(.*?)(?=^====|\Z)", said, re.S | re.M)}
    for test in listed:
        if test.startswith("PlantedOnRanks."):
            yield test, *walk(test, 2)
        else:
            yield test, *alone.get(test, (0, f"it was not run; who was to, ended with {ended}"))


def check_planted(failed, only=""):
    """How many of how many planted defects whose name this fits are caught. The sound ways, which must all pass, have one job
    together."""
    code, said = walk("Sound.*", 3)
    if code != 0 or not re.search(r"\[  PASSED  \] [1-9]", said):
        failed.append("Sound")
        print(f"Sound: exit code {code}\n{said[-3000:]}", flush=True)
    caught, planted = 0, 0
    for test, code, said in planted_ones(only):
        well = code != 0 and re.search(REASONS, said) is not None
        caught, planted = caught + well, planted + 1
        if not well:
            failed.append(test)
            print(f"{test}: exit code {code}\n{said[-3000:]}", flush=True)
    if planted == 0:
        failed.append("no planted defects")
    return caught, planted
