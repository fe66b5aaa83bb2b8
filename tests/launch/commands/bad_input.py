#!/usr/bin/env python3
"""Bad input to the real program under the real mpirun: one clear message, exit code 1, nothing harmed, nobody left."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess

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
    refused("an unknown router", ("[moe]", '[moe]\nrouter = "best"'), 'moe.router = "best" is unknown', "top_k")
    refused("an unknown way to recompute", ("[train]", '[train]\nrecompute = "blocks"'), "train.recompute", "none", "moe", "block")
    refused("a broken file", ("[moe]", "[moe"), "bad.toml:")
    refused("no data file", ("corpus.h5", "absent.h5"), "absent.h5")
    refused("a GPU that is not there", ("[run]", '[run]\ndevice = "cuda"'), "cuda", "cpu")
    refused("a model that no memory holds", ("width = 24", "width = 1048576"), "GB", "model.width")
    bench.check_refused("an unknown option", bench.run_ranks("train", recipe, "--bogus"), "--bogus")
    bench.check_refused("an unknown command", bench.run_ranks("trian"), "trian")
    bench.check_refused("train without a recipe", bench.run_ranks("train"), "needs a recipe")
    bench.check("no run folder is left", not (bench.folder / "run").exists())


def bad_layouts(bench, recipe):
    def refused(name, settings, *words):
        arguments = [word for setting in settings for word in ("--set", setting)]
        bench.check_refused(name, bench.run_ranks("train", recipe, *arguments), *words)

    refused("a mesh that the ranks do not fill", ["mesh.expert=5"], "mesh.expert = 5", "does not divide", "legal:")
    refused("rows by host without an expert axis", ["mesh.dispatch=hierarchical"], "mesh.expert = 1", "flat")
    refused("a dispatch that is none", ["mesh.dispatch=by_host"], "by_host", "hierarchical")
    refused("experts that do not divide", ["mesh.expert=2", "moe.experts=5"], "mesh.expert = 2", "5 experts",
            "mesh.experts_by_rank")
    refused("a map that is too short", ["mesh.expert=2", "mesh.experts_by_rank=[4]"], "mesh.experts_by_rank has 1 numbers")
    refused("a map of other experts", ["mesh.expert=2", "mesh.experts_by_rank=[1,1]"], "adds up to 2", "4")
    refused("hidden units that do not divide", ["mesh.expert_tensor=2", "moe.hidden=17"], "mesh.expert_tensor = 2",
            "moe.hidden = 17", "16 or 18")
    refused("heads that ranks do not divide", ["mesh.tensor=2", "model.heads=3", "model.kv_heads=1"],
            "mesh.tensor = 2", "model.heads = 3")
    refused("too much ZeRO", ["mesh.zero=3"], "mesh.zero", "2")
    bench.check("no run folder is left", not (bench.folder / "run").exists())


def bad_starts(bench):
    """The starter by a symbolic link, which finds the program of its own checkout; and an mpirun that fails by itself."""
    tree = bench.folder / "tree"
    for folder in ("launch", "build"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(cases.ROOT / "launch/run", tree / "launch/run")
    (tree / "build/moetrain").symlink_to(bench.program)
    link = bench.folder / "mtrun"
    link.symlink_to(tree / "launch/run")
    mute = bench.folder / "mute"
    mute.mkdir()
    (mute / "mpirun").write_text("#!/bin/sh\nexit 213\n")
    (mute / "mpirun").chmod(0o755)

    def start(**variables):
        environment = {name: value for name, value in os.environ.items() if name != "MOETRAIN_BINARY"} | variables
        return subprocess.run([str(link), "-n", "2", "--", "train", "absent.toml"], capture_output=True, text=True,
                              timeout=cases.HANGS, env=environment)

    bench.check_refused("the starter by a link", start(), "absent.toml")
    for name, variables, words in (
            ("an mpirun that lacks a part", {"OMPI_MCA_plm": "nosuch"}, ("Component: nosuch", "OMPI_MCA_plm=nosuch")),
            ("an mpirun that says nothing", {"PATH": f"{mute}:{os.environ['PATH']}"}, ("exit code 213 and no message",))):
        result = start(**variables)
        bench.check(name, result.returncode == 1, f"exit code {result.returncode}")
        for word in words:
            bench.check(name, word in result.stderr, f"no '{word}' in: {result.stderr}")
        print(f"{name}: {result.stderr.splitlines()[-1] if result.stderr else 'nothing'}")


def bad_plans(bench, recipe):
    text = (cases.ROOT / "recipes/machines/fsmoe_b.toml").read_text()
    machine = bench.folder / "machine.toml"

    def refused(name, change, arguments, *words):
        machine.write_text(text.replace(*change))
        bench.check_refused(name, bench.run("plan", recipe, "--machine", machine, *arguments), *words)

    same = ("", "")
    refused("a negative slope", ("= 4.2e-11", "= -4.2e-11"), [], "machine.toml:", "inside.all_gather_beta", "-4.2e-11",
            "above 0")
    refused("a machine without memory", ("memory_gib = 11", "memory_gib = 0"), [], "machine.memory_gib", "above 0")
    refused("a type that no machine has", ("float32_alpha", "float16_alpha"), [], "multiply.float16_alpha", "float32_alpha")
    refused("a key with a typo", ("all_reduce_alpha", "all_reduced_alpha"), [], "machine.toml:", "all_reduce_alpha")
    refused("half a line", ("all_reduce_beta = 1.4975e-10", ""), [], "between.all_reduce_beta is missing")
    refused("a precision without a line", same, ["--set", "run.precision=bf16"], "multiply.bf16", "run.precision")
    refused("a layout without a line", same, ["--hosts", "2", "--set", "mesh.zero=1"], "between.reduce_scatter", "mesh.zero")
    refused("more ranks than a host has", same, ["--ranks-per-host", "8"], "--ranks-per-host 8", "1 to 4")
    refused("no hosts", same, ["--hosts", "0"], "--hosts 0", "1 to")
    refused("no text and no vocabulary", same, ["--set", "data.file=absent.h5"], "absent.h5", "--vocabulary")
    refused("less than even", same, ["--imbalance", "0.5"], "--imbalance 0.5", "1 (")
    refused("a mesh that the ranks do not fill", same, ["--set", "mesh.tensor=3"], "mesh.tensor = 3")
    bench.check_refused("no machine file", bench.run("plan", recipe, "--machine", bench.folder / "none.toml"), "none.toml")
    machine.write_text(text)
    good = bench.run("plan", recipe, "--machine", machine, "--ranks-per-host", "1", "--json")
    bench.check("a good plan", good.returncode == 0 and '"parameters"' in good.stdout, good.stderr)


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
    own_tokenizers(bench)
    names_in_output(bench)
    whole = (folder / "corpus.h5").read_bytes()
    (folder / "short.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "foreign.h5").write_bytes(b"not HDF5 at all" * 100)
    for name, words in (("short", ["short.h5"]), ("foreign", ["foreign.h5"])):
        bench.check_refused(f"a {name} token file",
                            bench.run_ranks("train", recipe, "--set", f"data.file={folder}/{name}.h5"), *words)
    for name, files, words in (
            ("a weight of nothing", "corpus.h5:0,{0}/short.h5", ["corpus.h5", "weight '0'", "work/a.h5:3,work/b.h5:1"]),
            ("a missing file among several", "corpus.h5:1,{0}/absent.h5:2", ["absent.h5"])):
        bench.check_refused(name, bench.run_ranks("train", recipe, "--set", f"data.file={folder}/" + files.format(folder)), *words)
    bench.check("no run folder is left", not (folder / "run").exists())


def own_tokenizers(bench):
    folder = bench.folder / "own"
    folder.mkdir()
    prepare = lambda tokenizer: bench.run("prepare", "--text", bench.folder / "text00.txt", "--tokenizer", tokenizer, "--output",
                                          folder / "x.h5")
    bench.check_refused("an unknown tokenizer", prepare("sentence"), "'sentence'", "byte, sentencepiece")
    bench.check_refused("a folder without a tokenizer", prepare(folder), "own/ holds no tokenizer", "tokenizer.json")
    (folder / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}')
    bench.check_refused("a tokenizer of another kind", prepare(folder), "tokenizer.json: model.type", "'WordPiece'", "BPE, Unigram")
    bench.check("no output is left", not (folder / "x.h5").exists())


def names_in_output(bench):
    """What was done stands before an error in a log; names from files are shown without what a terminal obeys."""
    folder = bench.folder
    with open(folder / "log.txt", "w+") as log:
        subprocess.run([bench.program, "prepare", "--text", folder / "text00.txt", "--vocabulary", "8000", "--output",
                        folder / "x.h5"], stdout=log, stderr=log)
    lines = (folder / "log.txt").read_text().splitlines()
    bench.check("progress stands before the error", [line.split()[0] for line in lines] == ["Reading", "Training", "moetrain:"],
                lines)
    (folder / "[a,b]").write_text('{"text": "one", "language": "d\\u001b[31me"}\n')  # no list of a and b
    made = bench.run("prepare", "--text", "[a,b]", "--tokenizer", "byte", "--output", folder / "escape.h5", folder=folder)
    shown = made.stdout + bench.run("inspect", folder / "escape.h5").stdout
    bench.check("a name with brackets", made.returncode == 0, made.stderr)
    bench.check("a language's name", "\x1b" not in shown and shown.count("d\\x1b[31me") >= 4, shown)
    for what, line, said in [
            ("a conversation without a template's name", {"messages": [{"role": "user", "content": "a"}]},
             ":1: holds a conversation, which needs a template to be written by; legal: --chat-template"),
            ("a message without a role", {"messages": [{"content": "a"}]}, ":1: messages[0]: the message has no \"role\""),
            ("a prompt without a completion", {"prompt": "a"}, ":1: has a \"prompt\" and no \"completion\""),
            ("nobody answers", {"messages": [{"role": "user", "content": "a"}]}, "1 conversations without an answer")]:
        (folder / "chat.jsonl").write_text(json.dumps(line) + "\n")
        words = [] if "name" in what else ["--chat-template", "plain"]
        bench.check_refused(what, bench.run("prepare", "--text", folder / "chat.jsonl", "--output", folder / "x.h5",
                                            *words), said)
    (folder / "e\x1b[31m.jsonl").write_text("{}\n")
    bench.check_refused("a file's name", bench.run("prepare", "--text", folder / "e*.jsonl", "--output", folder / "x.h5"),
                        "/e\\x1b[31m.jsonl:1: the object has no \"text\"")


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
    bench.check_refused("a file that holds nothing out",
                        bench.run_ranks("evaluate", folder / "run", "--data", folder / "escape.h5"),
                        "escape.h5", "holds out no text", "--heldout")
    # Other text under the same name, with the same tokenizer.
    whole = (folder / "corpus.h5").read_bytes()
    made = bench.run("prepare", "--text", folder / "text0*.txt", "--tokenizer", "byte", "--heldout", "0.3", "--overwrite",
                     "--output", folder / "corpus.h5")
    bench.check("a third token file", made.returncode == 0, made.stderr)
    bench.check_refused("another text", bench.run_ranks("train", recipe, "--resume"), "another text", "corpus.h5")
    bench.check("a refused resumption touches nothing", hashes(folder / "run") == before)
    (folder / "corpus.h5").write_bytes(whole)
    # A recipe that was changed by hand where no tensor's shape shows it.
    shutil.copytree(folder / "run", folder / "edited")
    text = (folder / "edited/recipe.toml").read_text()
    (folder / "edited/recipe.toml").write_text(text.replace("top_k = 2", "top_k = 9"))
    bench.check_refused("an edited recipe", bench.run("generate", folder / "edited", "--prompt", "the"), "moe.top_k (9)")
    damaged = sorted((folder / "other/checkpoints").iterdir())[-1]
    damaged.write_bytes(damaged.read_bytes()[:-5000])
    bench.check_refused("a truncated checkpoint", bench.run("generate", folder / "other", "--prompt", "the"), damaged.name,
                        f"`mv {damaged} {damaged}.unusable`", "update 2 is the newest")
    damaged.rename(f"{damaged}.unusable")
    bench.check("the one before it, as the message says",
                "update 2," in bench.run("inspect", folder / "other").stdout)
    bench.check_refused("no run", bench.run("report", folder), str(folder))
    bench.check_refused("export into a folder in use", bench.run("export", folder / "run", folder), str(folder))
    bench.check("nothing of the good run was touched", hashes(folder / "run") == before)


def bad_starts_of_weights(bench, recipe):
    folder = bench.folder
    bench.check_refused("a folder that is no model", bench.run("import", folder, "--run", folder / "x"), "config.json")
    bench.check_refused("a start that is none", bench.run_ranks("train", recipe, "--set", f"train.start={folder}/none",
                                                                "--set", f"run.folder={folder}/begun"),
                        "none", "run folder", "config.json")
    good = bench.run_ranks("train", recipe, "--set", f"train.start={folder}/run", "--set", f"run.folder={folder}/begun")
    bench.check("a run that starts from another", good.returncode == 0, good.stderr)
    bench.check_refused("a start of another shape",
                        bench.run_ranks("train", recipe, "--set", f"train.start={folder}/run", "--set", "model.width=32",
                                        "--set", f"run.folder={folder}/wider"), "another model", "shape")
    bench.check("no run folder is left", not (folder / "wider/recipe.toml").exists())


def bad_translations(bench, recipe):
    folder = bench.folder
    words = [f"{'abcdefgh'[i % 8] * (i % 5 + 1)} {i}" for i in range(30)]
    (folder / "few.de").write_text("eins\nzwei\n")
    for name, part in (("train", words[:20]), ("valid", words[20:])):
        (folder / f"{name}.en").write_text("".join(f"{line}\n" for line in part))
        (folder / f"{name}.de").write_text("".join(f"{line.upper()}\n" for line in part))
    sets = lambda name: f"en={folder}/{name}.en,de={folder}/{name}.de"
    prepare = lambda *more: bench.run("prepare", "--tokenizer", "byte", "--output", folder / "pairs.h5", *more)
    bench.check_refused("sets of differing lengths",
                        prepare("--parallel", f"en={folder}/train.en,de={folder}/few.de"), "20 lines", "2 lines", "line 3")
    bench.check_refused("held-out share of pairs", prepare("--parallel", sets("train"), "--heldout", "0.1"), "--validation")
    bench.check("no output is left", not (folder / "pairs.h5").exists())
    made = prepare("--parallel", sets("train"), "--validation", sets("valid"))
    bench.check("a token file of pairs", made.returncode == 0, made.stderr)

    pairs = ["--set", f"data.file={folder}/pairs.h5", "--set", "model.kind=encoder_decoder", "--set",
             "model.encoder_layers=1", "--set", f"run.folder={folder}/translator", "--set", "train.batch_tokens=200"]
    def refused(name, more, *words):
        settings = [word for setting in more for word in ("--set", setting)]
        bench.check_refused(name, bench.run_ranks("train", recipe, *pairs, *settings), *words)
        bench.check(f"{name}: no run folder is left", not (folder / "translator").exists())

    refused("a text without pairs", [f"data.file={folder}/corpus.h5"], "no parallel text", "--parallel")
    refused("an encoder of no blocks", ["model.encoder_layers=0"], "model.encoder_layers (0)", "encoder_decoder")
    refused("an unknown direction", ["data.directions=en-xx"], "no direction 'en-xx'", "en-de")
    refused("a batch smaller than a pair", ["train.batch_tokens=6"], "train.batch_tokens = 6", "data.longest")
    refused("two passes without draws", ["objective.kind=two_pass"], "two_pass", "model.dropout > 0", "thor")
    refused("no teacher", ["objective.kind=distillation"], "objective.distillation.teacher")
    refused("a teacher that is not there", ["objective.kind=distillation", f"objective.distillation.teacher={folder}/none"],
            "objective.distillation.teacher", "no run folder")
    refused("a teacher of another tokenizer", ["objective.kind=distillation", f"objective.distillation.teacher={folder}/run"],
            "another tokenizer", f"{folder}/run")

    done = bench.run_ranks("train", recipe, *pairs)
    bench.check("a good translator", done.returncode == 0, done.stderr)
    run = folder / "translator"
    bench.check_refused("an unknown language", bench.run("generate", run, "--prompt", "a", "--translate-to", "xx"),
                        "--translate-to xx", "en", "de")
    bench.check_refused("a translator asked to go on", bench.run("generate", run, "--prompt", "a"), "--translate-to")
    bench.check_refused("a language model asked to translate",
                        bench.run("generate", folder / "run", "--prompt", "a", "--translate-to", "de"), "decoder_lm")
    bench.check_refused("a translator as a Hugging Face folder", bench.run("export", run, folder / "hf"), "encoder_decoder",
                        "decoder_lm")
    bench.check("no export is left", not (folder / "hf").exists())
    bench.check_refused("a mean of more checkpoints than there are", bench.run_ranks("evaluate", run, "--average", "9"),
                        "2 checkpoints", "checkpoint.keep = 9")
    bench.check_refused("a test that was not prepared", bench.run_ranks("evaluate", run), "--test", "--split validation")
    told = subprocess.run([bench.program, "generate", run, "--prompt", "a\n \nbb", "--translate-to", "de", "--tokens", "5"],
                          capture_output=True, timeout=cases.HANGS)  # bytes, which need not be UTF-8
    bench.check("line by line, a blank one for a blank one", [line != b"" for line in told.stdout.split(b"\n")] == [True, False, True, False],
                told)
    bench.check("what was given for nothing is named", b"--tokens is not used" in told.stderr, told)
    bench.check("the validation sentences are there",
                bench.run_ranks("evaluate", run, "--split", "validation").returncode == 0)


def body(bench):
    recipe = pathlib.Path(bench.folder / "recipe.toml")
    bad_recipes(bench, recipe)
    bad_layouts(bench, recipe)
    bad_starts(bench)
    bad_plans(bench, recipe)
    bad_data(bench, recipe)
    bad_runs(bench, recipe)
    bad_starts_of_weights(bench, recipe)
    bad_translations(bench, recipe)


cases.main(body)
