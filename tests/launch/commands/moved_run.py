#!/usr/bin/env python3
"""What a trained run makes of odd input, and of being carried elsewhere: the real program, a model of 4 updates."""
import json
import pathlib
import shutil
import subprocess

import cases


def program(bench, *arguments, cwd=None):
    """Bytes, as a byte model's text need not be UTF-8."""
    return subprocess.run([bench.program, *map(str, arguments)], capture_output=True, timeout=cases.HANGS, cwd=cwd)


def carried_away(bench):
    """The folder alone speaks and leaves; the text is found beside it or named."""
    away = bench.folder / "away"
    away.mkdir()
    shutil.move(bench.folder / "run", away / "renamed")
    hidden = bench.folder / "hidden.h5"
    (bench.folder / "corpus.h5").rename(hidden)
    here = lambda *arguments: program(bench, *arguments, cwd=away)

    said = here("generate", "renamed", "--prompt", "the", "--tokens", "3", "--greedy")
    bench.check("a folder alone generates", said.returncode == 0 and not said.stderr, said.stderr)
    exported = here("export", "renamed", "hf")
    bench.check("a folder alone exports", exported.returncode == 0 and (away / "hf/tokenizer.json").exists(), exported.stderr)
    logits = here("inspect", "renamed", "--logits", "the")
    bench.check("a folder alone is inspected", logits.returncode == 0 and json.loads(logits.stdout)["tokens"] == list(b"the"),
                logits.stderr)
    bench.check_refused("evaluated without its text", bench.run("evaluate", away / "renamed"), "corpus.h5", str(away),
                        "--data")

    # The advice, followed; then the file beside the folder.
    named = here("evaluate", "renamed", "--data", hidden)
    bench.check("the text that --data names", named.returncode == 0 and b"bits per byte" in named.stdout, named.stderr)
    shutil.copy(hidden, away / "corpus.h5")
    beside = here("evaluate", "renamed")
    bench.check("the text beside the folder", beside.stdout == named.stdout and not beside.stderr, beside.stderr)

    # A folder of the time before tokenizers were kept: the token file has it too.
    (away / "renamed/tokenizer.bin").unlink()
    older = here("generate", "renamed", "--prompt", "the", "--tokens", "3", "--greedy")
    bench.check("an older folder with its text beside it", older.stdout == said.stdout, older.stderr)
    return away / "renamed", hidden


def odd_prompts(bench, run, data):
    for prompt, tokens, noted in (("the", 14, False), ("the", 15, True), ("the cat sat on a ", 1, True)):
        told = program(bench, "generate", run, "--data", data, "--prompt", prompt, "--tokens", tokens).stderr.decode()
        wanted = ["data.sequence_length = 16" in told, told.count("\n")] == [noted, int(noted)]
        bench.check(f"{len(prompt)} + {tokens} tokens into a model of 16", wanted, told)
    for prompt in ("", "  "):
        said = program(bench, "generate", run, "--data", data, "--prompt", prompt, "--tokens", 1)
        bench.check(f"prompt {prompt!r}", said.returncode == 0 and said.stdout.startswith(prompt.encode()), said.stderr)


def zero_bytes(bench):
    """What a model of zero bytes says is printed behind them, too."""
    folder = bench.folder
    (folder / "zeros.jsonl").write_text("".join(json.dumps({"text": "\0" * 60 + str(i)}) + "\n" for i in range(30)))
    made = bench.run("prepare", "--text", folder / "zeros.jsonl", "--tokenizer", "byte", "--heldout", "0.2", "--output", folder / "zeros.h5")
    bench.check("a text of zero bytes", made.returncode == 0, made.stderr)
    trained = bench.run("train", bench.recipe(length=12), "--set", f"data.file={folder}/zeros.h5", "--set", f"run.folder={folder}/zeros",
                        "--set", "optimizer.learning_rate=0.03")
    bench.check("a model of zero bytes", trained.returncode == 0, trained.stderr)
    said = program(bench, "generate", folder / "zeros", "--prompt", "a", "--tokens", "8", "--greedy").stdout
    bench.check("all of it is printed", said.count(b"\0") > 1 and said[-1:] == b"\n", said)


def outputs_over_sources(bench, run, data):
    recipe = bench.recipe(length=4)
    was = recipe.read_bytes()
    bench.check_refused("facts over the recipe", bench.run("doctor", recipe, "--json", recipe), "--json", "reads")
    bench.check_refused("a machine over the text", bench.run("profile", recipe, "--set", f"data.file={data}", "--write-machine", data),
                        "--write-machine", "reads")
    bench.check_refused("a run exported into itself", bench.run("export", run, run.parent), "the run", "does not exist yet")
    bench.check("sources are as they were", recipe.read_bytes() == was and data.read_bytes()[:4] == b"\x89HDF")


def body(bench):
    done = bench.run("train", pathlib.Path(bench.folder / "recipe.toml"))
    bench.check("a good run", done.returncode == 0, done.stderr)
    run, data = carried_away(bench)
    odd_prompts(bench, run, data)
    zero_bytes(bench)
    outputs_over_sources(bench, run, data)


cases.main(body)
