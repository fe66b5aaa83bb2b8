#!/usr/bin/env python3
"""Tasks that make no sense, to the real program under the real mpirun. The corpus is a file of one task, by its own name."""
import cases


def body(bench):
    folder, recipe = bench.folder, bench.recipe(length=4)
    table = ["moe.router=task_table", "moe.gate=hard", "moe.losses.load_balance=0", "moe.losses.router_z=0"]
    sets = lambda settings: [word for setting in [*settings, f"run.folder={folder}/tasks"] for word in ("--set", setting)]

    def refused(name, settings, *words):
        bench.check_refused(name, bench.run_ranks("train", recipe, *sets(settings)), *words)
        bench.check(f"{name}: no run folder is left", not (folder / "tasks").exists())

    refused("a task without data", ["tasks.names=corpus, xx"], "the task 'xx' has no data", "corpus")
    refused("two tasks of one name", ["tasks.names=corpus,corpus"], "two tasks of the name 'corpus'")
    refused("a temperature of nothing", ["tasks.names=corpus", "tasks.temperature=0"], "tasks.temperature", "above 0")
    refused("tasks without names", ["tasks.each=update"], "without tasks.names")
    refused("a router by task without tasks", [*table, "moe.task_table.experts=corpus: 0,1"], "no tasks", "tasks.names")
    refused("an expert that is not there", ["tasks.names=corpus", *table, "moe.task_table.experts=corpus: 0,4"], "'4' of 4", "0 to 3")
    refused("a task that nobody has", ["tasks.names=corpus", *table, "moe.task_table.experts=corpus: 0,1; xx: 1"], "nobody has the task 'xx'")
    plain = bench.run_ranks("train", recipe)
    bench.check("a good run without tasks", plain.returncode == 0, plain.stderr)
    done = bench.run_ranks("train", recipe, *sets(["tasks.names=corpus", *table, "moe.task_table.experts=corpus: 0,1"]))
    bench.check("a good run by task", done.returncode == 0, done.stderr)
    bench.check_refused("a text of no task", bench.run("generate", folder / "tasks", "--prompt", "a"), "--task", "corpus")
    bench.check_refused("a text of an unknown task", bench.run("generate", folder / "tasks", "--prompt", "a", "--task", "xx"),
                        "--task xx", "corpus")
    bench.check_refused("a task for a run without any", bench.run("generate", folder / "run", "--prompt", "a", "--task", "xx"), "no --task")
    bench.check_refused("a table as a Hugging Face folder", bench.run("export", folder / "tasks", folder / "hf"), "moe.router", "task_table",
                        "generate --task")
    changed = bench.run("transform", folder / "tasks", folder / "fewer", "--operation", "prune", "--set", "list=1,2")
    bench.check_refused("experts of a table under other numbers", changed, "block 0", "expert 1 would become number 0", "moe.task_table")
    bench.check("no export is left", not (folder / "hf").exists())


cases.main(body)
