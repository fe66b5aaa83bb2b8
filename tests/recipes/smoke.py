#!/usr/bin/env python3
"""Every smoke recipe trains on 2 ranks and learns; every other recipe of recipes/ is legal.

Usage: smoke.py MOETRAIN. The text is the repository's own licence; what translators and classifiers read is its words.
"""
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def call(*command, cwd=ROOT, **more):
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=900, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def own_text(folder):
    """The licence, which never changes, as files of some paragraphs each, so that some can be held out. Which, depends on
    their names alone: these are relative to the folder, whose own name is drawn."""
    paragraphs = (ROOT / "LICENSE").read_text(encoding="utf-8").split("\n\n")
    for i in range(0, len(paragraphs), 3):
        (folder / f"part{i:03}.txt").write_text("\n\n".join(paragraphs[i : i + 3]), encoding="utf-8")
    return "part*.txt"


def own_pairs(program, folder):
    """Two words of the licence a line, and the same in capitals, as a token file."""
    words = re.findall(r"[a-z]+", (ROOT / "LICENSE").read_text(encoding="utf-8"))
    lines = [" ".join(words[i : i + 2]) for i in range(0, 1200, 2)]
    sets = {}
    for name, part in (("parallel", lines[40:]), ("validation", lines[:20]), ("test", lines[20:40])):
        for language, text in (("en", part), ("up", [line.upper() for line in part])):
            (folder / f"{name}.{language}").write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
        sets[name] = f"en={folder}/{name}.en,up={folder}/{name}.up"
    tokens = folder / "pairs.h5"
    call(program, "prepare", *(word for name, one in sets.items() for word in (f"--{name}", one)), "--tokenizer", "byte",
         "--output", tokens)
    return tokens


def own_labels(program, folder):
    """The letters of each word of the licence in the order of the alphabet, or against it, as a token file of two classes."""
    words = sorted({"".join(sorted(set(word))) for word in re.findall(r"[a-z]{4,}", (ROOT / "LICENSE").read_text(encoding="utf-8"))})
    labelled = [{"text": f"{text} {number}", "label": label} for number, word in enumerate(words)
                for text, label in ((word, "forth"), (word[::-1], "back"))]
    (folder / "labelled.jsonl").write_text("".join(json.dumps(each) + "\n" for each in labelled), encoding="utf-8")
    tokens = folder / "labelled.h5"
    call(program, "prepare", "--text", folder / "labelled.jsonl", "--tokenizer", "byte", "--heldout", "0.2", "--output", tokens)
    return tokens


def own_tasks(program, folder):
    """The licence in three spellings, as a token file of three groups: as it is, in capitals, and its letters moved on by 9."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    moved = str.maketrans(letters, letters[9:] + letters[:9])
    spell = {"en": str, "de": str.upper, "fr": lambda text: text.translate(moved)}
    paragraphs = (ROOT / "LICENSE").read_text(encoding="utf-8").split("\n\n")
    (folder / "spelt.jsonl").write_text("".join(json.dumps({"text": spell[language](text), "language": language}) + "\n"
                                                for text in paragraphs for language in spell), encoding="utf-8")
    tokens = folder / "spelt.h5"
    call(program, "prepare", "--text", folder / "spelt.jsonl", "--tokenizer", "byte", "--heldout", "0.1", "--output", tokens)
    return tokens


def check_tasks(program, recipe, tokens, folder):
    """Each update is of one task, each task has its own experts, and those of another are worse for it."""
    check_recipe(program, recipe, tokens, folder)
    run, scores = folder / recipe.stem, []
    for table in ("en: 0,1; de: 0,2; fr: 0,3", "en: 0,2; de: 0,3; fr: 0,1"):
        call(program, "evaluate", run, "--set", f"moe.task_table.experts={table}")
        scores.append(json.loads((run / "evaluation.json").read_text()))
    costs = {task: scores[1]["groups"][task]["loss"] - score["loss"] for task, score in scores[0]["groups"].items()}
    use = {task: [number for number, share in enumerate(shares) if share > 0] for task, shares in scores[0]["routing"][0]["groups"].items()}
    said = {call(program, "generate", run, "--task", task, "--greedy", "--prompt", "the ", "--tokens", 12) for task in costs}
    print(f"{recipe.stem}: another task's experts cost {min(costs.values()):.3f} to {max(costs.values()):.3f}")
    if use != {"en": [0, 1], "de": [0, 2], "fr": [0, 3]} or sum(costs.values()) < 0.6 or len(said) < 2:
        sys.exit(f"{recipe.stem}: experts of tasks {use}, costs {costs}, texts {said}")


def check_classifier(program, recipe, tokens, folder):
    lines = train(program, recipe, tokens, folder)
    losses = [line["loss"]["classification"] for line in lines if line["event"] == "step"]
    printed = call(program, "evaluate", folder / recipe.stem)
    scores = json.loads((folder / recipe.stem / "evaluation.json").read_text())
    print(f"{recipe.stem}: training loss {losses[0]:.3f} -> {losses[-1]:.3f}, held-out accuracy {scores['accuracy']:.3f}")
    if not (losses[-1] < losses[0] and scores["accuracy"] > 0.7) or "accuracy" not in printed or "forth" not in printed:
        sys.exit(f"{recipe.stem} did not learn:\n{printed}")


def png(rows):
    """A grey image of bytes."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def own_images(program, folder):
    """Bars that lie and bars that stand, at every place and of many lengths and brightnesses, as a token file of two classes."""
    for place in range(7):
        for length in range(3, 9):
            for bright in range(130, 256, 25):
                lying = [[bright if y in (place, place + 1) and x < length else 0 for x in range(8)] for y in range(8)]
                for name, rows in (("lying", lying), ("standing", [list(column) for column in zip(*lying)])):
                    path = folder / "images" / name / f"{place}_{length}_{bright}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(png(rows))
    tokens = folder / "images.h5"
    call(program, "prepare", "--images", folder / "images", "--heldout", "0.1", "--output", tokens)
    return tokens


def check_diffusion(program, recipe, tokens, folder):
    lines = train(program, recipe, tokens, folder)
    losses = [line["loss"]["flow"] for line in lines if line["event"] == "step"]
    picture = folder / "picture.png"
    call(program, "evaluate", folder / recipe.stem)
    call(program, "generate", folder / recipe.stem, "--output", picture, "--class", "lying", "--count", "3")
    scores = json.loads((folder / recipe.stem / "evaluation.json").read_text())
    size = struct.unpack(">II", picture.read_bytes()[16:24])
    print(f"{recipe.stem}: training loss {losses[0]:.3f} -> {losses[-1]:.3f}, held out {scores['loss']:.3f}, picture {size}")
    # Predicting nothing costs 1 (the noise) and the images' mean square, about 1.
    if not (losses[-1] < losses[0] and scores["loss"] < 0.8 and size == (27, 9) and set(scores["groups"]) == {"lying", "standing"}):
        sys.exit(f"{recipe.stem} did not learn")


def check_translator(program, recipe, tokens, folder):
    """The loss falls, that of two passes too; evaluation scores the test sentences."""
    lines = train(program, recipe, tokens, folder)
    losses = [line["loss"]["next_token"] for line in lines if line["event"] == "step"]
    consistency = [line["loss"].get("consistency", 0) for line in lines if line["event"] == "step"]
    held_out = [line["loss"] for line in lines if line["event"] == "evaluate"]
    printed = call(program, "evaluate", folder / recipe.stem)
    scores = json.loads((folder / recipe.stem / "evaluation.json").read_text())["translation"]["en-up"]
    print(f"{recipe.stem}: training loss {losses[0]:.3f} -> {losses[-1]:.3f}, held out {held_out[-1]:.3f}, "
          f"BLEU {scores['bleu']:.1f}, chrF2 {scores['chrf']:.1f}")
    # Uniform guessing over 259 bytes costs ln 259 = 5.56 nats, the frequencies of capitals about 3; in training twice.
    if not (losses[-1] < losses[0] and held_out[-1] < 3.2 and all(term >= 0 for term in consistency)):
        sys.exit(f"{recipe.stem} did not learn")
    if "BLEU" not in printed or "en-up" not in printed or scores["sentences"] != 20 or not 0 <= scores["bleu"] <= 100:
        sys.exit(f"{recipe.stem}: no score in\n{printed}")
    hypotheses = (folder / recipe.stem / "translations/en-up.txt").read_bytes().split(b"\n")
    if len(hypotheses) != 21:
        sys.exit(f"{recipe.stem}: {len(hypotheses) - 1} translations of 20 sentences")


def train(program, recipe, tokens, folder):
    """The lines of the run's metrics."""
    run = folder / recipe.stem
    call(ROOT / "launch/run", "-n", 2, "--", "train", recipe, "--set", f"data.file={tokens}", "--set", f"run.folder={run}",
         env=dict(os.environ, MOETRAIN_BINARY=str(program)))
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def check_recipe(program, recipe, tokens, folder):
    lines = train(program, recipe, tokens, folder)
    losses = [line["loss"]["next_token"] for line in lines if line["event"] == "step"]
    held_out = [line["loss"] for line in lines if line["event"] == "evaluate"]
    # Uniform guessing over 257 bytes costs ln 257 = 5.55 nats; one letter's frequencies alone give about 3.1, from which
    # 100 updates lead on or not, as the processor rounds.
    print(f"{recipe.stem}: training loss {losses[0]:.3f} -> {losses[-1]:.3f}, held out {held_out[-1]:.3f}")
    if not (len(losses) >= 4 and losses[-1] < 3.4 and held_out[-1] < 3.4 < math.log(257)):
        sys.exit(f"{recipe.stem} did not learn")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="moetrain_smoke_") as name:
        folder = pathlib.Path(name)
        tokens = folder / "smoke.h5"
        call(program, "prepare", "--text", own_text(folder), "--tokenizer", "byte", "--heldout", "0.1", "--output", tokens,
             cwd=folder)
        smoke = sorted((ROOT / "recipes/smoke").glob("*.toml"))
        pairs = own_pairs(program, folder)
        labels = own_labels(program, folder)
        kinds = {"translation_": (check_translator, pairs), "classifier_": (check_classifier, labels),
                 "diffusion": (check_diffusion, own_images(program, folder)), "tasks_": (check_tasks, own_tasks(program, folder))}
        for recipe in smoke:
            check, data = next((kind for name, kind in kinds.items() if recipe.stem.startswith(name)), (check_recipe, tokens))
            check(program, recipe, data, folder)
        apart = {path for folder in ("machines", "extend") for path in (ROOT / "recipes" / folder).glob("*.toml")}  # for other programs
        others = sorted(set((ROOT / "recipes").rglob("*.toml")) - set(smoke) - apart)
        for recipe in others:
            # On these small texts the recipe's own length may be shorter than its warm-up.
            own = {"data.file": tokens, "train.length": "1000000u"}
            if recipe.parent.name == "translation":
                own |= {"data.file": pairs, "data.directions": "en-up"}
            if recipe.parent.name == "diffusion":
                own |= {"data.file": kinds["diffusion"][1], "model.diffusion_transformer.height": 8,
                        "model.diffusion_transformer.image_width": 8, "model.diffusion_transformer.classes": 2}
            if recipe.parent.name == "classification":
                own |= {"data.file": labels, "model.classifier.classes": 2}
            if recipe.name == "skillnet.toml":
                own |= {"data.file": kinds["tasks_"][1]}
            if recipe.name in ("finetune.toml", "chat.toml"):
                own |= {"train.start": ""}  # there is nothing to start from here
            if recipe.name == "readme.toml":  # nor anybody who teaches
                own |= {"train.start": "", "train.stages": "rest"}
            if recipe.name == "moe_tuning.toml":
                own |= {"stage.align.data.file": tokens}
            call(program, "train", recipe, "--dry-run", *(word for key, value in own.items() for word in ("--set", f"{key}={value}")))
        print(f"{len(smoke)} smoke recipes trained, {len(others)} others are legal")
        if not smoke or not others:
            sys.exit("no recipes found")


main()
