#!/usr/bin/env python3
"""`moetrain bench` on 1 and 2 ranks: every schedule rehearsed as often as said, its figures those of its rounds; a layer, an
update and matrix products by themselves; refusals."""
import json
import statistics
import subprocess

import cases

SCHEDULES = ["sequential", "planned", "fixed:3", "eager"]
ROUNDS = 7


def measures(bench, recipe):
    quick = ["--set", "overlap.profile_seconds=0.5", "--schedules", ",".join(SCHEDULES), "--rounds", ROUNDS]
    for ranks in (1, 2):
        words = ["bench", recipe, "--set", f"mesh.expert={ranks}", *quick]
        done = bench.run_ranks(*words, "--json", ranks=ranks)
        name = f"{ranks} ranks"
        bench.check(name, done.returncode == 0, done.stderr)
        result = json.loads(done.stdout)
        rows = {row["schedule"]: row for row in result["schedules"]}
        bench.check(f"{name}: in the order given", list(rows) == SCHEDULES, list(rows))
        first = rows[SCHEDULES[0]]["rounds"]
        for schedule, row in rows.items():
            where, seconds = f"{name}, {schedule}", row["rounds"]
            bench.check(f"{where}: rounds", len(seconds) == ROUNDS and min(seconds) > 0, row)
            bench.check(f"{where}: median", row["seconds"]["median"] == statistics.median(seconds), row)
            speed = statistics.median(a / b for a, b in zip(first, seconds))
            bench.check(f"{where}: speed-up of pairs", abs(row["speed_up"]["median"] - speed) < 1e-12, (row, speed))
            bench.check(f"{where}: interval", row["speed_up"]["low"] <= speed <= row["speed_up"]["high"], row)
            bench.check(f"{where}: exchanges", 0 <= row["exposed"] + row["hidden"] <= 1, row)
            bench.check(f"{where}: only where there is another rank", (row["exposed"] > 0) == (ranks > 1), row)
        hidden = rows["sequential"]["hidden"]
        bench.check(f"{name}: one after another hides nothing", hidden < 0.02, hidden)
        chunks = {(layer["forward_chunks"], layer["backward_chunks"]) for layer in rows["fixed:3"]["plan"]["layers"]}
        bench.check(f"{name}: fixed chunks", chunks == {(3, 3)}, chunks)
        bench.check(f"{name}: predicted", rows["planned"]["predicted"] <= rows["sequential"]["predicted"] * (1 + 1e-9), rows)
        bench.check(f"{name}: no run folder", not (bench.folder / "run").exists())
    text = bench.run_ranks(*words, ranks=2).stdout
    for expected in [*SCHEDULES, "speed-up", "the thread that carries MPI"]:
        bench.check(f"text: {expected}", expected in text, text)


def lines_of(bench, name, done):
    bench.check(name, done.returncode == 0, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def layers(bench, recipe):
    """The same rows under every load; forward and backward split into phases that are all of it."""
    loads = ["own", "W0", "W1", "W2", "W3", "W4", "W5", "W6"]
    for ranks in (1, 2):
        words = ["bench", "layer", recipe, "--set", f"mesh.expert={ranks}", "--loads", ",".join(loads), "--rounds", 5]
        lines = lines_of(bench, f"layer on {ranks} ranks", bench.run_ranks(*words, ranks=ranks))
        bench.check("loads in the order given", [line["load"] for line in lines] == loads, lines)
        for line in lines:
            where = f"{ranks} ranks, {line['load']}"
            bench.check(f"{where}: rounds", len(line["rounds"]) == 5 and min(line["rounds"]) > 0, line)
            total = sum(line["rounds"]) / 5
            bench.check(f"{where}: phases are all of it", abs(sum(line["phases"].values()) - total) < 0.05 * total, line)
            for phase in ("route", "permute", "experts", "combine"):
                bench.check(f"{where}: {phase}", line["phases"][phase] > 0, line["phases"])
            bench.check(f"{where}: shape", [line[key] for key in ("tokens", "width", "hidden", "experts")] == [64, 24, 16, 4], line)
            bench.check(f"{where}: share", 0 < line["share_of_products"]["median"] < 1, line)
            bench.check(f"{where}: ways", abs(sum(line["fastest_ways"].values()) - 1) < 1e-9, line)
            if ranks == 1:  # three matrices, forward and twice backward, of 2 choices a token; and the router's
                experts = 3 * 3 * 2 * 64 * 2 * 24 * 16
                bench.check(f"{where}: multiply-adds", line["product_flops"] == experts + 3 * 2 * 64 * 24 * 4, line)
    folder = bench.folder / "layer.safetensors"
    lines_of(bench, "tensors", bench.run("bench", "layer", recipe, "--rounds", 1, "--no-limit", "--tensors", folder))
    head = folder.read_bytes()
    names = json.loads(head[8:8 + int.from_bytes(head[:8], "little")])
    for name in ("input", "output", "input_gradient", "weight.experts.down", "gradient.experts.down", "gradient.router.weight"):
        bench.check(f"tensor {name}", name in names, list(names))


def updates(bench, recipe):
    mixed = ["--set", "moe.layers=odd"]
    words = ["bench", "step", recipe, *mixed, "--rounds", 3]
    for ranks in (1, 2):
        line, = lines_of(bench, f"step on {ranks} ranks", bench.run_ranks(*words, ranks=ranks))
        bench.check("losses of 5 updates, two before those counted", len(line["losses"]) == 5, line)
        if ranks == 1:
            alone = line["losses"]
        bench.check("the same updates", all(abs(a - b) < 1e-5 * a for a, b in zip(alone, line["losses"])), (alone, line["losses"]))
        bench.check("tokens", line["tokens"] == 64 and line["ranks"] == ranks, line)
        for phase in ("route", "experts", "attention", "head", "optimizer", "feed_forward"):
            bench.check(f"step: {phase}", line["phases"][phase] > 0, line["phases"])
        bench.check("memory", 0 < line["resident_before_bytes"] < line["resident_most_bytes"], line)
        tensors, held = line["tensors_most_bytes"], line["held_most_bytes"]  # on two ranks none is large enough to be kept
        bench.check("kept memory", tensors <= held <= 1.1 * tensors and (tensors > 0 or ranks == 2), line)
    trained = bench.run("train", recipe, *mixed)
    bench.check("trained", trained.returncode == 0, trained.stderr)
    steps = [json.loads(line) for line in (bench.folder / "run/metrics.jsonl").read_text().splitlines()]
    losses = [step["loss"]["total"] for step in steps if step["event"] == "step"]
    bench.check("those of training", all(abs(a - b) < 1e-6 * a for a, b in zip(alone, losses)), (alone, losses))


def products(bench, recipe):
    lines = lines_of(bench, "gemm", bench.run("bench", "gemm", recipe))
    kinds = {(line["kind"], line["in"], line["out"]) for line in lines}
    bench.check("every product", kinds == {(kind, *sizes) for kind in ("forward", "input_gradient", "weight_gradient")
                                           for sizes in ((24, 16), (16, 24))}, kinds)
    for line in lines:
        bench.check("libraries", "libtorch" in line["seconds"] and min(line["seconds"].values()) > 0, line)
        bench.check("taken", line["taken"] in line["seconds"], line)


def measured(bench):
    """What a run measures it keeps; a rule of another machine is noticed; one that is none is refused."""
    recipe = bench.recipe(length=2)
    folder = bench.folder / "run"
    choose = ["--set", "run.matrix_products=measured"]
    first = bench.run("train", recipe, *choose, "--set", f"run.folder={folder}_m")
    rule = bench.folder / "run_m/products.json"
    bench.check("measured", first.returncode == 0 and "products of experts, measured" in first.stdout + first.stderr, first.stdout + first.stderr)
    before = json.loads(rule.read_text())
    bench.check("entries", len(before["products"]) >= 6, before)
    longer = ["train", recipe, *choose, "--set", f"run.folder={folder}_m", "--set", "train.length=3u", "--resume"]
    again = bench.run(*longer)
    bench.check("resumed by the same", again.returncode == 0 and "measured" not in again.stdout + again.stderr and
                json.loads(rule.read_text()) == before, again.stdout + again.stderr)
    rule.write_text(json.dumps(before | {"machine": "an abacus"}))
    other = bench.run(*longer[:-1], "--set", "train.length=4u", "--resume")
    bench.check("another machine is noticed", other.returncode == 0 and "an abacus" in other.stdout + other.stderr, other.stdout + other.stderr)
    bench.check("and measured anew", json.loads(rule.read_text())["machine"] == before["machine"], rule.read_text()[:200])
    for text, word in (("{", "products.json"), ('{"products": [{"library": "atlas"}]}', "atlas")):
        rule.write_text(text)
        bench.check_refused(f"rule {text}", bench.run(*longer[:-1], "--set", "train.length=5u", "--resume"), word)


def refuses_parts(bench, recipe):
    huge = ["--set", "moe.hidden=1048576", "--set", "moe.experts=4096"]
    bench.check_refused("a layer larger than memory", bench.run("bench", "layer", recipe, *huge), "GB", "smaller")
    bench.check_refused("products larger than memory", bench.run("bench", "gemm", recipe, *huge), "GB", "smaller")
    bench.check_refused("an update larger than memory", bench.run("bench", "step", recipe, *huge), "GB", "smaller")
    bench.check_refused("no such load", bench.run("bench", "layer", recipe, "--loads", "W7"), "W7", "W0")
    bench.check_refused("too few experts", bench.run("bench", "layer", recipe, "--set", "moe.top_k=3", "--loads", "W4"), "W4", "top_k")
    bench.check_refused("no experts", bench.run("bench", "layer", recipe, "--set", "moe.layers=none"), "moe.layers")
    bench.check_refused("no recipe", bench.run("bench"), "recipe")
    bench.check_refused("tokens of a tensor group", bench.run_ranks("bench", "layer", recipe, "--set", "mesh.tensor=2"), "mesh.tensor")
    bench.check_refused("a library that is not there", bench_without_openblas(bench, recipe), "openblas", "libtorch")
    bench.check_refused("tensors over the recipe", bench.run("bench", "layer", recipe, "--tensors", recipe), "--tensors")


def warns(bench, recipe):
    """Where bf16 is emulated (oneDNN told to know AVX2 alone stands in for such a processor)."""
    words = ["env", "ONEDNN_MAX_CPU_ISA=AVX2", str(bench.program), "bench", "layer", str(recipe), "--set", "run.precision=bf16", "--rounds",
             "1", "--no-limit"]
    done = subprocess.run(words, capture_output=True, text=True)
    bench.check("bf16 that is emulated", done.returncode == 0 and "times the time of float32" in done.stderr, done.stderr)
    for precision in ("float32", "float64"):
        done = bench.run("bench", "layer", recipe, "--set", f"run.precision={precision}", "--rounds", 1, "--no-limit")
        bench.check(f"nothing to say of {precision}", done.returncode == 0 and not done.stderr, done.stderr)


def bench_without_openblas(bench, recipe):
    words = ["env", "MOETRAIN_OPENBLAS=/nowhere/libopenblas.so.0", str(bench.program), "bench", "layer", str(recipe), "--set",
             "run.matrix_products=openblas"]
    return subprocess.run(words, capture_output=True, text=True)


def refuses(bench, recipe):
    bench.check_refused("no such schedule", bench.run("bench", recipe, "--schedules", "planed"), "planed", "planned")
    bench.check_refused("too many chunks", bench.run("bench", recipe, "--schedules", "fixed:257"), "fixed:257",
                        "fixed:1 to fixed:256", "eager")
    words = [bench.program, "bench", recipe]
    done = cases.mpirun("-n", 1, *words, ":", "-n", 1, *words, "--rounds", 3)
    bench.check_refused("different rounds", done, "--rounds", "rank 1 has 3")
    bench.check_refused("a layout that is none", bench.run_ranks("bench", recipe, "--set", "mesh.expert=3"), "mesh.expert")


def body(bench):
    recipe = bench.folder / "recipe.toml"
    measures(bench, recipe)
    refuses(bench, recipe)
    layers(bench, recipe)
    updates(bench, recipe)
    products(bench, recipe)
    measured(bench)
    refuses_parts(bench, recipe)
    warns(bench, recipe)


cases.main(body)
