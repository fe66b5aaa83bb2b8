"""What the figures about time share: a median with its interval, and schedules rehearsed in turn by `moetrain bench`."""
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOP2 = ROOT / "recipes/bench/overlap_top2.toml"


class Median(NamedTuple):
    """A median and the order statistics that hold it with 95 % (binomial)."""

    median: float
    low: float
    high: float

    @property
    def unclear(self):
        """Wider than 10 %: not measurable."""
        return self.high - self.low > 0.1 * self.median

    def __str__(self):
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def median_of(values):
    ordered, count = sorted(values), len(values)
    below, tail = 0, 1 / 2**count
    while tail <= 0.025:
        below += 1
        tail += math.comb(count, below) / 2**count
    below = max(below - 1, 0)
    return Median(statistics.median(ordered), ordered[below], ordered[count - 1 - below])


def most_resident_bytes():
    """Of this process since it was started. What getrusage tells may be of a larger process that started it."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def output_of(command):
    """What it prints, run from the project's folder with one thread a rank; where it fails, so does the figure."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=3600,
                          env=dict(os.environ, OMP_NUM_THREADS="1"))
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}\n{sys.argv[0]}: exit code {done.returncode}")
    return done.stdout


def bench_part(part, recipe, settings, *options, ranks=1):
    """The JSON lines of `moetrain bench layer | step | gemm`."""
    start = [ROOT / "build/moetrain"] if ranks == 1 else [ROOT / "launch/run", "-n", ranks, "--"]
    command = [*start, "bench", part, recipe, *options]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return [json.loads(line) for line in output_of(command).splitlines() if line.startswith("{")]


def share(interval):
    """A median as `bench` prints it, in percent."""
    return f"{100 * interval['median']:.0f} % ({100 * interval['low']:.0f} to {100 * interval['high']:.0f})"


class Bench:
    """`moetrain bench RECIPE` started by `start` (launch/run or launch/emulate with their options)."""

    def __init__(self, start, recipe, settings, schedules, rounds):
        command = [ROOT / start[0], *start[1:], "--", "bench", recipe]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        command += ["--schedules", ",".join(schedules), "--rounds", rounds, "--json"]
        self.result = json.loads(output_of(command).strip().splitlines()[-1])
        self.rows = {row["schedule"]: row for row in self.result["schedules"]}

    def seconds(self, schedule):
        return median_of(self.rows[schedule]["rounds"])

    def speed_up(self, schedule, over):
        """Of pairs of one round."""
        return median_of([a / b for a, b in zip(self.rows[over]["rounds"], self.rows[schedule]["rounds"])])
