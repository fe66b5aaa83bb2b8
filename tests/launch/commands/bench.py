#!/usr/bin/env python3
"""`moetrain bench` on 1 and 2 ranks: every schedule rehearsed as often as said, its figures those of its rounds; refusals."""
import json
import statistics

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


cases.main(body)
