#!/usr/bin/env python3
"""What `moetrain transform` and `evaluate --record` refuse: one message, nothing left. Usage: bad_surgery.py PROGRAM"""
import cases


def body(bench):
    folder = bench.folder
    run, use = folder / "run", folder / "use.h5"
    done = bench.run("train", bench.recipe(length=2))
    bench.check("a good run", done.returncode == 0, done.stderr)
    bench.run("prepare", "--text", folder / "text*.txt", "--vocabulary", "320", "--output", folder / "pieces.h5")
    done = bench.run("train", bench.recipe(length=2), "--set", f"run.folder={folder}/pieces", "--set", f"data.file={folder}/pieces.h5")
    bench.check("a run of another tokenizer", done.returncode == 0, done.stderr)

    def refused(name, operation, settings, *words, of=run, more=()):
        arguments = [word for setting in settings for word in ("--set", setting)]
        result = bench.run("transform", of, folder / "changed", "--operation", operation, *arguments, *more)
        bench.check_refused(name, result, *words)
        bench.check(f"{name}: nothing is left", not (folder / "changed").exists())

    refused("an unknown operation", "copi", [], "copi", "copy", "prune")
    refused("a key that an operation has not", "grow", ["expert=2"], "'expert'", "did you mean 'experts'")
    refused("experts made of experts", "copy", [], "block 0", "4 experts already", "grow")
    refused("fewer experts than choices", "prune", ["list=0"], "block 0", "moe.top_k is 2", "at least 2 kept")
    refused("a layer without experts", "prune", ["list=0,1;"], "block 1", "without experts")
    refused("an expert that is not there", "prune", ["list=0,9"], "no 9", "0 to 3")
    refused("no new rows", "widen_vocabulary", [], "rows")
    refused("one parent alone", "concatenate", [], "--with")
    refused("a parent of another tokenizer", "concatenate", [], "pieces", "tokenizer", more=["--with", folder / "pieces"])
    refused("a second parent of one", "prune", ["list=0,1"], "--with", "one parent", more=["--with", run])
    refused("more choices than experts", "add_null", ["experts=1", "top_k=6"], "top_k", "6")
    refused("dense feed-forwards where there are none", "narrow", ["of=dense", "hidden=4"], "no block with dense")
    refused("more hidden units than there are", "narrow", ["hidden=16"], "16 hidden units", "1 to 15")

    bench.check_refused("a record into a folder that is not there", bench.run("evaluate", run, "--record", folder / "none/use.h5"),
                        "--record", "none")
    bench.check_refused("a record over the text", bench.run("evaluate", run, "--data", folder / "corpus.h5", "--record", folder / "corpus.h5"),
                        "--record", "which this command reads")
    bench.check_refused("a record of a mean", bench.run("evaluate", run, "--average", "1000", "--record", use), "--average 1000", "one checkpoint")
    done = bench.run("evaluate", run, "--record", use)
    bench.check("a record", done.returncode == 0 and use.exists(), done.stderr)
    shown = bench.run("inspect", use)
    bench.check("is shown", shown.returncode == 0 and "block 1: 4 experts" in shown.stdout, shown.stderr)
    bench.check_refused("its text", bench.run("inspect", use, "--dump", "train"), "--dump", "recorded use")

    by_use = ["by=use", "kept=2", f"use={use}"]
    refused("no record", "prune", ["by=use", "kept=2"], "wants use", "--record")
    refused("a record that is not there", "prune", ["by=use", "kept=2", f"use={folder}/no.h5"], "no.h5", "no such file")
    refused("a token file as a record", "prune", ["by=gates", "kept=2", f"use={folder}/corpus.h5"], "corpus.h5", "no recorded use of experts")
    refused("a recipe as a record", "prune", ["by=use", "kept=2", f"use={folder}/recipe.toml"], "recipe.toml", "not an HDF5 file")
    refused("groups that were not recorded", "prune", [*by_use, "groups=xx"], "'xx'", "known:")
    refused("no expert kept", "prune", ["by=use", "kept=0", f"use={use}"], "block 0", "without experts")
    done = bench.run("transform", run, folder / "fewer", "--operation", "prune", "--set", "list=0,1,3")
    bench.check("three experts", done.returncode == 0, done.stderr)
    refused("the use of another number of experts", "prune", by_use, "use of 4 experts of block 0, which has 3", "another model", of=folder / "fewer")
    done = bench.run("transform", run, folder / "wider", "--operation", "widen_vocabulary", "--set", "rows=1")
    bench.check("other weights", done.returncode == 0, done.stderr)
    refused("the use of another model", "narrow", ["hidden=8", "by=mean", f"use={use}"], "use of another model", "after update 2", of=folder / "wider")
    damaged = folder / "damaged.h5"
    damaged.write_bytes(use.read_bytes()[: use.stat().st_size // 2])
    refused("half a record", "prune", ["by=use", "kept=2", f"use={damaged}"], "damaged.h5")


cases.main(body)
