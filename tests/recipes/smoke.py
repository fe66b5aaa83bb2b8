#!/usr/bin/env python3
"""Every smoke recipe trains on 2 ranks and learns; every other recipe of recipes/ is legal.

Usage: smoke.py MOETRAIN. The text is the repository's own licence; what translators and classifiers read is its words.
"""
import json
import math
import os
import pathlib
import struct
import sys
import tempfile

from smoke_data import call, kind_of, token_files

ROOT = pathlib.Path(__file__).resolve().parents[2]


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
        smoke = sorted((ROOT / "recipes/smoke").glob("*.toml"))
        files = token_files(program, folder)
        checks = {"translation_": check_translator, "classifier_": check_classifier, "diffusion": check_diffusion,
                  "tasks_": check_tasks, "": check_recipe}
        for recipe in smoke:
            kind = kind_of(recipe, files)
            checks[kind](program, recipe, files[kind], folder)
        apart = {path for folder in ("machines", "extend") for path in (ROOT / "recipes" / folder).glob("*.toml")}  # for other programs
        others = sorted(set((ROOT / "recipes").rglob("*.toml")) - set(smoke) - apart)
        for recipe in others:
            # On these small texts the recipe's own length may be shorter than its warm-up.
            own = {"data.file": files[""], "train.length": "1000000u"}
            if recipe.parent.name == "translation":
                own |= {"data.file": files["translation_"], "data.directions": "en-up"}
            if recipe.parent.name == "diffusion":
                own |= {"data.file": files["diffusion"], "model.diffusion_transformer.height": 8,
                        "model.diffusion_transformer.image_width": 8, "model.diffusion_transformer.classes": 2}
            if recipe.parent.name == "classification":
                own |= {"data.file": files["classifier_"], "model.classifier.classes": 2}
            if recipe.name == "skillnet.toml":
                own |= {"data.file": files["tasks_"]}
            if recipe.name in ("finetune.toml", "chat.toml", "upcycle.toml"):
                own |= {"train.start": ""}  # there is nothing to start from here
            if recipe.name == "readme.toml":  # nor anybody who teaches
                own |= {"train.start": "", "train.stages": "rest"}
            if recipe.name == "moe_tuning.toml":
                own |= {"stage.align.data.file": files[""]}
            call(program, "train", recipe, "--dry-run", *(word for key, value in own.items() for word in ("--set", f"{key}={value}")))
        print(f"{len(smoke)} smoke recipes trained, {len(others)} others are legal")
        if not smoke or not others:
            sys.exit("no recipes found")


if __name__ == "__main__":
    main()
