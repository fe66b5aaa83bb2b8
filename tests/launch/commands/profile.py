#!/usr/bin/env python3
"""`moetrain profile` alone and under the real mpirun, what it refuses, and that nothing lets it wait for ever (cases.HANGS)."""
import concurrent.futures
import json

import cases

SCHEDULES = ["fsmoe", "fsmoe_no_split", "lina", "planned", "sequential", "tutel", "tutel_improved"]
QUICK = ["--set", "overlap.profile_seconds=0.5"]


def measures(bench, recipe):
    for ranks in (1, 2):
        layout = ["--set", f"mesh.expert={ranks}", *QUICK]
        words = [bench.program, "profile", recipe, *layout]
        done = cases.mpirun("-n", ranks, *words, "--json") if ranks > 1 else bench.run(*words[1:], "--json")
        name = f"{ranks} ranks"
        bench.check(name, done.returncode == 0, done.stderr)
        measured = json.loads(done.stdout)
        profile = measured["profile"]
        bench.check(f"{name}: what it holds for", f"{ranks} ranks" in profile["machine"], profile["machine"])
        bench.check(f"{name}: a call for each layer", [one["layer"] for one in profile["layers"]] == [0, 1], profile)
        bench.check(f"{name}: bytes", all((one["all_to_all_bytes"] > 0) == (ranks > 1) for one in profile["layers"]), profile)
        bench.check(f"{name}: dense parts", all(one["dense_forward_seconds"] > 0 for one in profile["layers"]), profile)
        bench.check(f"{name}: experts", profile["lines"]["expert_forward"]["beta"] > 0, profile["lines"])
        schedules = measured["schedules"]
        bench.check(f"{name}: schedules", sorted(one["schedule"] for one in schedules) == SCHEDULES, schedules)
        seconds = {one["schedule"]: one["seconds"] for one in schedules}
        fastest = min(seconds.values())  # the sequential plan is ours where less than 5 % is to be gained
        ours = seconds["sequential"] if fastest > 0.95 * seconds["sequential"] else fastest
        bench.check(f"{name}: ours is the fastest", abs(seconds["planned"] - ours) <= 1e-9 * ours, seconds)
        bench.check(f"{name}: a plan is one", all(one["plan"]["name"] == one["schedule"] for one in schedules), schedules)
        done = cases.mpirun("-n", ranks, *words)
        for expected in ["expert_forward", "layer 1", "schedule "] + [f"plan {schedule}" for schedule in SCHEDULES]:
            bench.check(f"{name}: text", expected in done.stdout, done.stdout)
        bench.check(f"{name}: no run folder", not (bench.folder / "run").exists())


def a_plan_is_followed(bench, recipe):
    """A plan of the profile, as a file, is what a run then follows."""
    measured = json.loads(bench.run("profile", recipe, *QUICK, "--json").stdout)
    plan = next(one["plan"] for one in measured["schedules"] if one["schedule"] == "tutel")
    (bench.folder / "plan.json").write_text(json.dumps(plan))
    done = bench.run("train", recipe, "--set", f"overlap.plan={bench.folder}/plan.json", "--set", "overlap.schedule=planned")
    inspected = bench.run("inspect", bench.folder / "run")
    bench.check("inspected", inspected.returncode == 0 and "plan tutel: " in inspected.stdout, inspected)
    bench.check("followed", done.returncode == 0 and "plan tutel" in done.stdout + done.stderr, done.stdout + done.stderr)


def writes_a_machine(bench, recipe):
    """The ranks' measured lines as a machine file, by which `plan` answers for this recipe and for another."""
    file = bench.folder / "measured.toml"
    words = [bench.program, "profile", recipe, "--set", "mesh.expert=2", *QUICK, "--write-machine", file]
    done = cases.mpirun("-n", 2, *words)
    bench.check("machine", done.returncode == 0 and file.exists(), done.stderr)
    for other in ([], ["--set", "moe.hidden=32", "--set", "model.layers=3"]):
        planned = bench.run("plan", recipe, "--machine", file, "--set", "mesh.expert=2", *other, "--json")
        bench.check("planned on it", planned.returncode == 0, planned.stderr)
        bench.check("planned on it: a step", json.loads(planned.stdout)["plan"]["step"]["seconds"] > 0, planned.stdout[-500:])
    bench.check_refused("a file nowhere", cases.mpirun("-n", 2, *words[:-1], bench.folder / "none" / "m.toml"), "none/m.toml")
    bench.check_refused("dense parts that exchange", cases.mpirun("-n", 2, *words, "--set", "mesh.zero=1"), "mesh.zero = 1")


def refuses(bench, recipe):
    refused = lambda name, done, *words: bench.check_refused(name, done, *words)
    refused("no such recipe", bench.run("profile", bench.folder / "none.toml"), "none.toml")
    refused("a layout that is none", cases.mpirun("-n", 2, bench.program, "profile", recipe, "--set", "mesh.expert=3"), "mesh.expert")
    refused("too little time", bench.run("profile", recipe, "--set", "overlap.profile_seconds=0"), "overlap.profile_seconds")
    refused("different values", cases.mpirun("-n", 1, bench.program, "profile", recipe, ":", "-n", 1, bench.program, "profile", recipe,
                                       "--set", "moe.experts=8"), "moe.experts", "rank 1 has 8")
    # 200 MB of gradients, summed again and again, take longer than a second.
    large = ["--set", "moe.experts=16", "--set", "moe.hidden=2048", "--set", "model.width=256",
             "--set", "overlap.profile_seconds=100"]
    refused("a limit", cases.mpirun("-n", 2, bench.program, "profile", recipe, *large, "--limit", 1), "not over within 1 s", "--limit")


def body(bench):
    recipe = bench.folder / "recipe.toml"
    with concurrent.futures.ThreadPoolExecutor() as pool:  # it waits while the rest is tested
        waiting = cases.without_rank_1(pool, bench.folder, bench.program, "profile", recipe)
        measures(bench, recipe)
        a_plan_is_followed(bench, recipe)
        writes_a_machine(bench, recipe)
        refuses(bench, recipe)
        bench.check_refused("a rank that never starts", waiting.result(), "after 20 s", "in place of rank 1 runs sleep")


cases.main(body)
