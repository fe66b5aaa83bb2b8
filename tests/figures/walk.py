"""What the figures that walk layouts or schedules share: a program (one mpirun for each rank count) that walks all of them by
itself, and says what it found in lines that begin with "walked".
"""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
WALKER = ROOT / "build/layouts_walk"
# Of ranks of one thread each, which give their core to others while they wait.
RANKS = {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}


def walk(test, ranks, suite="Walker", hosts=1, options=(), kept=("walked",), program=WALKER, variables=None):
    """Passes its lines on; those that begin with "walked" (or another word of `kept`, which are not passed on), and whether all
    was well. On several hosts: by launch/emulate with these options.
    """
    if hosts > 1:
        command = [str(ROOT / "launch/emulate"), "--hosts", str(hosts), "--ranks-per-host", str(ranks // hosts), *options,
                   "--program", str(program), "--"]
    else:
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), str(program)]
    command += ["--gtest_brief=1", f"--gtest_filter={suite}.{test}"]
    environment = os.environ | RANKS | (variables or {})
    return passed_on(command, environment, kept)


def walk_alone(program, tests):
    """The same for a program that needs no MPI. Lines come without their end."""
    command = [str(ROOT / "build" / program), "--gtest_brief=1", f"--gtest_filter={tests}"]
    lines, well = passed_on(command, dict(os.environ))
    return [line.rstrip() for line in lines], well


def passed_on(command, environment, kept=("walked",)):
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    lines = []
    for line in process.stdout:
        ours = line.startswith(kept)
        if ours:
            lines.append(line)
        if "[==" not in line and "[  PASSED" not in line and (not ours or line.startswith("walked")):
            print(line, end="", flush=True)
    return lines, process.wait() == 0


def walk_all(test, rank_counts):
    """Layouts walked on these numbers of ranks, the largest difference from one rank, and whether all was well."""
    layouts, worst, passed = 0, 0.0, True
    for ranks in rank_counts:
        lines, well = walk(test, ranks)
        passed &= well and bool(lines)
        for line in lines:
            layouts += int(re.match(r"walked (\d+)", line).group(1))
            apart = re.search(r"difference (\S+)", line)
            worst = max(worst, float(apart.group(1)) if apart else 0.0)
    return layouts, worst, passed


def figure(name, test, quick_test, all_ranks, quick_ranks, passed=True):
    """Walks, prints the figure and ends the script. `passed`: whether what the script did before was well."""
    quick = "--quick" in sys.argv[1:]
    layouts, worst, well = walk_all(quick_test if quick else test, quick_ranks if quick else all_ranks)
    passed &= well
    ranks = ", ".join(str(count) for count in (quick_ranks if quick else all_ranks))
    print(f"{name} layouts={layouts} on {ranks} ranks, largest difference {worst:.2e} (bar 1e-10)"
          f"{'' if passed else ', FAILED'}")
    sys.exit(not passed)
