#!/usr/bin/env python3
"""A disk that fills up while a run saves: a small tmpfs. Needs the right to mount (cmake says where there is none)."""
import contextlib
import subprocess

import cases


@contextlib.contextmanager
def small_disk(bench, size):
    disk = bench.folder / f"disk_{size}"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def body(bench):
    with small_disk(bench, "100k") as disk:
        # Metrics alone fill it, on the one rank that writes them, between two collectives of all.
        recipe = bench.recipe(length=2000)
        result = bench.run_ranks("train", recipe, "--set", f"run.folder={disk}/run", "--set", "checkpoint.every=0u")
        bench.check_refused("a disk full of metrics", result, "metrics.jsonl", "disk full")
    with small_disk(bench, "700k") as disk:
        # One checkpoint of 24,000 parameters takes 290 kB: the first fits, the third does not.
        recipe = bench.recipe(length=8)
        result = bench.run_ranks("train", recipe, "--set", f"run.folder={disk}/run", "--set", "checkpoint.keep=9")
        bench.check_refused("a full disk", result, "cannot save", "No space left")
        files = sorted(path.name for path in (disk / "run/checkpoints").iterdir())
        bench.check("earlier checkpoints stay, no half one", files and all(f.endswith(".h5") for f in files), files)
        again = bench.run_ranks("evaluate", disk / "run")
        # evaluation.json may not fit either, but the checkpoint reads.
        bench.check("the last good checkpoint reads", "bits per byte" in again.stdout or "evaluation.json" in again.stderr,
                    again.stderr)


cases.main(body)
