#!/usr/bin/env python3
"""Every smoke recipe trains on 2 ranks and learns; every other recipe of recipes/ is legal.

Usage: smoke.py MOETRAIN. The text is the repository's own licence.
"""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def call(*command, **more):
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=300, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def own_text(folder):
    """The licence, which never changes, as files of some paragraphs each, so that some can be held out."""
    paragraphs = (ROOT / "LICENSE").read_text(encoding="utf-8").split("\n\n")
    for i in range(0, len(paragraphs), 3):
        (folder / f"part{i:03}.txt").write_text("\n\n".join(paragraphs[i : i + 3]), encoding="utf-8")
    return folder / "part*.txt"


def check_recipe(program, recipe, tokens, folder):
    run = folder / recipe.stem
    call(ROOT / "launch/run", "-n", 2, "--", "train", recipe, "--set", f"data.file={tokens}", "--set", f"run.folder={run}",
         env=dict(os.environ, MOETRAIN_BINARY=str(program)))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"]["next_token"] for line in lines if line["event"] == "step"]
    held_out = [line["loss"] for line in lines if line["event"] == "evaluate"]
    # Uniform guessing over 257 bytes costs ln 257 = 5.55 nats; one letter's frequencies alone give about 3.
    print(f"{recipe.stem}: training loss {losses[0]:.3f} -> {losses[-1]:.3f}, held out {held_out[-1]:.3f}")
    if not (len(losses) == 4 and losses[-1] < 3.2 and held_out[-1] < 3.2 < math.log(257)):
        sys.exit(f"{recipe.stem} did not learn")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="moetrain_smoke_") as name:
        folder = pathlib.Path(name)
        tokens = folder / "smoke.h5"
        call(program, "prepare", "--text", own_text(folder), "--tokenizer", "byte", "--heldout", "0.1", "--output", tokens)
        smoke = sorted((ROOT / "recipes/smoke").glob("*.toml"))
        for recipe in smoke:
            check_recipe(program, recipe, tokens, folder)
        others = sorted(set((ROOT / "recipes").rglob("*.toml")) - set(smoke))
        for recipe in others:
            call(program, "train", recipe, "--dry-run", "--set", f"data.file={tokens}")
        print(f"{len(smoke)} smoke recipes trained, {len(others)} others are legal")
        if not smoke or not others:
            sys.exit("no recipes found")


main()
