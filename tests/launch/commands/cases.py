"""What the tests of the real program share: a small corpus, a small recipe, and how the program is called."""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Where one rank ends with an error mpirun kills the others, and sleeps a second or two over it even where they end by themselves:
# most of what a refusal would take. They have said what they have to say, before the barrier at MPI's end.
os.environ["OMPI_MCA_odls_base_sigkill_timeout"] = "0"
HANGS = 900  # seconds after which a command that takes one or two hangs, however busy the machine is

RECIPE = """
[run]
folder = "{folder}/run"
[data]
file = "{folder}/corpus.h5"
sequence_length = 16
[model]
layers = 2
width = 24
heads = 4
kv_heads = 2
ffn_hidden = 32
[moe]
experts = 4
hidden = 16
[train]
length = "{length}u"
global_batch = 4
log_every = "1u"
[schedule]
warmup = "1u"
[checkpoint]
every = "2u"
"""


def mpirun(*words, limit=HANGS, **variables):
    """Ranks as mpirun takes them, several programs side by side too; KILL after `limit` seconds."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", **variables)
    return subprocess.run(["timeout", "-s", "KILL", str(limit), "mpirun", "--quiet", "--oversubscribe", "--bind-to", "none",
                           *map(str, words)], capture_output=True, text=True, env=environment)


def without_rank_1(pool, folder, *words):
    """By mpirun, on a thread of the pool: what 2 of 3 ranks say after 20 s of waiting for the one in whose place `sleep` runs."""
    wrapper = pathlib.Path(folder) / "wrapper"
    if not wrapper.exists():
        wrapper.write_text('#!/bin/sh\nif [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then exec sleep 600; fi\nexec "$@"\n')
        wrapper.chmod(0o755)
    return pool.submit(mpirun, "-n", 3, wrapper, *words, "--start-limit", 20)


class Bench:
    """A scratch folder with a corpus and a recipe, and the program to try on them."""

    def __init__(self, program, folder):
        self.program, self.folder, self.failures, self.checks = program, pathlib.Path(folder), 0, 0
        words = "the cat sat on a mat while der Hund lief im Park und schlief".split()
        for i in range(40):
            text = " ".join(words[(i * 7 + j * (i % 5 + 1)) % len(words)] for j in range(60)) + "."
            (self.folder / f"text{i:02}.txt").write_text(f"{i} {text}\n")
        self.run("prepare", "--text", f"{folder}/text*.txt", "--tokenizer", "byte", "--output", f"{folder}/corpus.h5",
                 "--heldout", "0.2")
        self.recipe(length=4)

    def recipe(self, length):
        path = self.folder / "recipe.toml"
        path.write_text(RECIPE.format(folder=self.folder, length=length))
        return path

    def run(self, *arguments, folder=None):
        return subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, timeout=HANGS, cwd=folder)

    def run_ranks(self, *arguments, ranks=2, **variables):
        """Through the starter, as a user would; a hang ends the test."""
        environment = dict(os.environ, MOETRAIN_BINARY=str(self.program), **variables)
        return subprocess.run([str(ROOT / "launch/run"), "-n", str(ranks), "--", *map(str, arguments)],
                              capture_output=True, text=True, timeout=HANGS, env=environment)

    def check(self, name, condition, detail=""):
        self.checks += 1
        if not condition:
            self.failures += 1
            print(f"FAILED {name}: {detail}")

    def check_refused(self, name, result, *words):
        """Exit code 1, one message from one rank, with every one of the words, and no trace of the program's inside."""
        messages = [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("moetrain:")]
        noise = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("moetrain:")]
        self.check(name, result.returncode == 1, f"exit code {result.returncode}: {result.stderr}")
        self.check(name, len(messages) == 1, f"{len(messages)} messages: {result.stderr}")
        self.check(name, not noise, f"more than the message: {noise}")
        for word in words:
            self.check(name, messages and word in messages[0], f"no '{word}' in: {messages}")
        print(f"{name}: {messages[0] if messages else result.stderr}")


def main(body):
    """body(bench); the program's path is the first argument."""
    with tempfile.TemporaryDirectory(prefix="moetrain_commands_") as folder:
        bench = Bench(str(pathlib.Path(sys.argv[1]).resolve()), folder)
        body(bench)
        print(f"{bench.checks} checks, {bench.failures} failed")
        sys.exit(1 if bench.failures or not bench.checks else 0)
