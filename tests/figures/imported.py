"""What the figures of imported models share: the program, the tool of logits, and the tests' Python,
which importing this goes over to where another one runs the figure."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("MOETRAIN_BINARY", ROOT / "build/moetrain"))
TOOL = PROGRAM.parent / "folders/tests/logits_tool"
PYTHON = ROOT / ".venv-tests/bin/python"
MPIRUN = ("mpirun", "--oversubscribe", "--allow-run-as-root", "-n")

if pathlib.Path(sys.prefix) != PYTHON.parent.parent and PYTHON.exists():
    os.execv(PYTHON, [str(PYTHON), *sys.argv])


def call(*words, ranks=1):
    """What it prints; exits with its words where it fails."""
    command = [str(word) for word in ((*MPIRUN, ranks) if ranks > 1 else ()) + words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}{done.stdout}")
    return done.stdout


def logits(start, ids, folder, layout=(), ranks=1):
    """[S, L, V] of a run or a Hugging Face folder; float64 where the layout says run.precision=float64."""
    return logits_of([start], ids, folder, layout, ranks)[0]


def logits_of(starts, ids, folder, layout=(), ranks=1):
    """Those of each, by one job."""
    import numpy

    source, targets = folder / "ids.bin", [folder / f"logits{number}.bin" for number in range(len(starts))]
    ids.numpy().astype(numpy.int64).tofile(source)
    for target in targets:
        target.unlink(missing_ok=True)
    call(TOOL, source, *ids.shape, *(word for pair in zip(starts, targets) for word in pair), *layout, ranks=ranks)
    dtype = numpy.float64 if "run.precision=float64" in layout else numpy.float32
    return [numpy.fromfile(target, dtype=dtype).reshape(*ids.shape, -1) for target in targets]
