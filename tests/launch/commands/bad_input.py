#!/usr/bin/env python3
"""Bad input to the real program under the real mpirun: one clear message, exit code 1, nothing harmed, nobody left."""
import hashlib
import pathlib
import shutil

import cases


def hashes(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def bad_recipes(bench, recipe):
    def refused(name, change, *words):
        text = recipe.read_text()
        bad = bench.folder / "bad.toml"
        bad.write_text(text.replace(*change) if isinstance(change, tuple) else text + change)
        bench.check_refused(name, bench.run_ranks("train", bad), *words)

    bench.check_refused("no recipe", bench.run_ranks("train", bench.folder / "absent.toml"), "absent.toml")
    refused("a typo", ("experts = 4", "expertz = 4"), "bad.toml:", "moe.expertz", "experts")
    refused("a wrong type", ("width = 24", 'width = "wide"'), "bad.toml:", "model.width", "wide")
    refused("out of range", ("layers = 2", "layers = 0"), "bad.toml:", "model.layers", "0")
    refused("more choices than experts", ("experts = 4", "experts = 4\ntop_k = 5"), "moe.top_k (5)", "moe.experts (4)")
    refused("heads that do not divide", ("heads = 4", "heads = 5"), "model.width (24)", "model.heads (5)")
    refused("an unknown router", ("[moe]", '[moe]\nrouter = "best"'), "unknown router 'best'", "top_k")
    refused("a broken file", ("[moe]", "[moe"), "bad.toml:")
    refused("no data file", ("corpus.h5", "absent.h5"), "absent.h5")
    refused("a GPU that is not there", ("[run]", '[run]\ndevice = "cuda"'), "cuda", "cpu")
    refused("a model that no memory holds", ("width = 24", "width = 1048576"), "GB", "model.width")
    bench.check_refused("an unknown option", bench.run_ranks("train", recipe, "--bogus"), "--bogus")
    bench.check_refused("an unknown command", bench.run_ranks("trian"), "trian")
    bench.check_refused("train without a recipe", bench.run_ranks("train"), "needs a recipe")
    bench.check("no run folder is left", not (bench.folder / "run").exists())


def bad_data(bench, recipe):
    folder = bench.folder
    (folder / "empty.txt").write_text("")
    (folder / "latin1.txt").write_bytes(b"gr\xfc\xdfe\n")
    prepare = lambda text, output="x.h5": bench.run("prepare", "--text", folder / text, "--tokenizer", "byte", "--output",
                                                    folder / output)
    bench.check_refused("an empty corpus", prepare("empty.txt"), "empty")
    bench.check_refused("text that is not UTF-8", prepare("latin1.txt"), "latin1.txt", "UTF-8", "2")
    bench.check_refused("a pattern without a file", prepare("none*.txt"), "none*.txt")
    bench.check("no output is left", not (folder / "x.h5").exists())
    bench.check_refused("an output that exists", prepare("text00.txt", "corpus.h5"), "corpus.h5")
    whole = (folder / "corpus.h5").read_bytes()
    (folder / "short.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "foreign.h5").write_bytes(b"not HDF5 at all" * 100)
    for name, words in (("short", ["short.h5"]), ("foreign", ["foreign.h5"])):
        bench.check_refused(f"a {name} token file",
                            bench.run_ranks("train", recipe, "--set", f"data.file={folder}/{name}.h5"), *words)
    bench.check("no run folder is left", not (folder / "run").exists())


def bad_runs(bench, recipe):
    folder = bench.folder
    done = bench.run_ranks("train", recipe)
    bench.check("a good run", done.returncode == 0, done.stderr)
    before = hashes(folder / "run")
    bench.check_refused("a run folder that exists", bench.run_ranks("train", recipe), "exists", "--resume")
    bench.check_refused("another recipe", bench.run_ranks("train", recipe, "--resume", "--set", "model.width=32"),
                        "model.width", "24", "32")
    other = ["--set", "model.width=32", "--set", f"run.folder={folder}/other"]
    bench.check("another good run", bench.run_ranks("train", recipe, *other).returncode == 0)
    # A checkpoint of another model in this run's place.
    shutil.copytree(folder / "run", folder / "mixed")
    newest = sorted((folder / "other/checkpoints").iterdir())[-1]
    for old in (folder / "mixed/checkpoints").iterdir():
        old.unlink()
    shutil.copy(newest, folder / "mixed/checkpoints")
    bench.check_refused("a checkpoint of another model",
                        bench.run_ranks("train", recipe, "--resume", "--set", f"run.folder={folder}/mixed"),
                        "another model", "shape")
    bench.check_refused("the same, evaluated", bench.run_ranks("evaluate", folder / "mixed"), "another model")
    # Text of another vocabulary.
    made = bench.run("prepare", "--text", folder / "text*.txt", "--vocabulary", "320", "--output", folder / "pieces.h5")
    bench.check("a second token file", made.returncode == 0, made.stderr)
    bench.check_refused("another tokenizer", bench.run_ranks("evaluate", folder / "run", "--data", folder / "pieces.h5"),
                        "another tokenizer", "pieces.h5")
    # Other text under the same name, with the same tokenizer.
    whole = (folder / "corpus.h5").read_bytes()
    made = bench.run("prepare", "--text", folder / "text0*.txt", "--tokenizer", "byte", "--heldout", "0.3", "--overwrite",
                     "--output", folder / "corpus.h5")
    bench.check("a third token file", made.returncode == 0, made.stderr)
    bench.check_refused("another text", bench.run_ranks("train", recipe, "--resume"), "another text", "corpus.h5")
    (folder / "corpus.h5").write_bytes(whole)
    # A recipe that was changed by hand where no tensor's shape shows it.
    shutil.copytree(folder / "run", folder / "edited")
    text = (folder / "edited/recipe.toml").read_text()
    (folder / "edited/recipe.toml").write_text(text.replace("top_k = 2", "top_k = 9"))
    bench.check_refused("an edited recipe", bench.run("generate", folder / "edited", "--prompt", "the"), "moe.top_k (9)")
    damaged = sorted((folder / "other/checkpoints").iterdir())[-1]
    damaged.write_bytes(damaged.read_bytes()[:-5000])
    bench.check_refused("a truncated checkpoint", bench.run("generate", folder / "other", "--prompt", "the"), damaged.name)
    bench.check_refused("no run", bench.run("report", folder), str(folder))
    bench.check_refused("export into a folder in use", bench.run("export", folder / "run", folder), str(folder))
    bench.check("nothing of the good run was touched", hashes(folder / "run") == before)


def body(bench):
    recipe = pathlib.Path(bench.folder / "recipe.toml")
    bad_recipes(bench, recipe)
    bad_data(bench, recipe)
    bad_runs(bench, recipe)


cases.main(body)
