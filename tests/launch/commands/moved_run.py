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


def several_prompts(bench, run, data):
    """Each is answered as alone, however they come; what is no list of prompts is refused by file and line."""
    folder, prompts = bench.folder, ["the cat", "[a,b]", "d", "schlief im Park"]
    said = lambda *words: program(bench, "generate", run, "--data", data, "--tokens", 8, "--greedy", *words)
    alone = [said("--prompt", prompt).stdout for prompt in prompts]
    together = said(*(word for prompt in prompts for word in ("--prompt", prompt)))
    bench.check("several prompts", together.stdout == b"".join(alone), together.stderr)
    lines = folder / "prompts.txt"
    lines.write_text("\r\n".join(prompts) + "\n\n")
    for batch in (1, 3):
        bench.check(f"a file of them, {batch} at a time", said("--prompts", lines, "--batch", batch).stdout == together.stdout)
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt, "id": 1}) + "\n" for prompt in prompts))
    answers = [json.loads(line) for line in said("--prompts", folder / "prompts.jsonl").stdout.splitlines()]
    texts = [(each["prompt"] + each["completion"] + "\n").encode() for each in answers]
    bench.check("JSON lines", [each["prompt"] for each in answers] == prompts and
                [text.replace("\ufffd".encode(), b"") for text in texts] ==
                [text.decode(errors="replace").replace("\ufffd", "").encode() for text in alone], answers)

    def refused(name, content, *words):
        (folder / "bad.txt").write_bytes(content)
        bench.check_refused(name, bench.run("generate", run, "--data", data, "--prompts", folder / "bad.txt"), "bad.txt", *words)
    refused("no prompt", b"\n \n", "holds no prompt")
    refused("a prompt that is no text", b'{"prompt": "a"}\n{"prompt": 3}\n', ":2:", '"prompt" is number')
    refused("a line without one", b'{"prompt": "a"}\n\n{"text": "b"}\n', ":3:", 'no "prompt"')
    refused("bytes that are no text", b"a\n\xff\n", "bad.txt", "not UTF-8")
    bench.check_refused("both", bench.run("generate", run, "--prompt", "a", "--prompts", lines), "--prompts contradict")
    bench.check_refused("a file that is not there", bench.run("generate", run, "--data", data, "--prompts", folder / "none"), "none")


def benches(bench, run):
    """Their lines add up; what they cannot do is refused."""
    line = json.loads(bench.run("bench", "generate", run, "--batch", "2", "--tokens", "4", "--rounds", "1").stdout)
    bench.check("bench generate", line["batch"] == 2 and line["step_bytes"] > 0 and
                abs(line["tokens_per_second"] * line["step_seconds"] - 2) < 1e-6, line)
    made = bench.run("bench", "prepare", "--text", bench.folder / "text*.txt", "--tokenizer", "byte", "--folder", bench.folder,
                     "--threads", "1,2")
    lines = [json.loads(each) for each in made.stdout.splitlines()]
    size = sum(path.stat().st_size for path in bench.folder.glob("text*.txt"))
    bench.check("bench prepare", [each["bytes"] for each in lines] == [size] * 2 and lines[0]["tokens"] == size + 40, made)
    saved = bench.run("bench", "save", bench.recipe(length=4), "--folder", bench.folder, "--rounds", "1", "--set",
                      f"data.file={bench.folder}/hidden.h5")
    bench.check("bench save", saved.returncode == 0 and json.loads(saved.stdout)["bytes"] > 1000, saved.stderr)
    bench.check("nothing is left of them", not list(bench.folder.glob("moetrain_bench*")))
    bench.check_refused("a bench of nothing", bench.run("bench"), "recipe is required")
    bench.check_refused("a folder that is not there", bench.run("bench", "prepare", "--text", bench.folder / "text*.txt", "--folder",
                                                                bench.folder / "none"), "--folder", "is no folder")


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
    several_prompts(bench, run, data)
    benches(bench, run)
    odd_prompts(bench, run, data)
    zero_bytes(bench)
    outputs_over_sources(bench, run, data)


cases.main(body)
