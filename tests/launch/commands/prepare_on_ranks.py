#!/usr/bin/env python3
"""`prepare` under mpirun: the token file of one rank, bit for bit, also after the ranks were killed in the middle; a bar with
rate and remaining time; one message where a rank cannot read a file, and what the others finished is kept."""
import json
import os
import random
import signal
import subprocess
import time

import cases


def write_texts(folder, files, lines):
    words = "the router sends each token to the experts of a layer und der Hund lief im Park größer".split()
    draw = random.Random(1)
    for f in range(files):
        with open(folder / f"t{f}.jsonl", "w") as file:
            for _ in range(lines):
                file.write(json.dumps({"text": " ".join(draw.choices(words, k=60)), "language": draw.choice(("en", "de"))}) + "\n")


def main(bench):
    folder = bench.folder / "texts"
    folder.mkdir()
    write_texts(folder, files=5, lines=1500)
    options = ["prepare", "--text", folder / "*.jsonl", "--vocabulary", 400, "--threads", 1]
    one, ranks = bench.folder / "one.h5", bench.folder / "ranks.h5"
    parts = bench.folder / "ranks.h5.parts"
    done = bench.run(*options, "--output", one)
    bench.check("one rank", done.returncode == 0, done.stderr)

    (folder / "t2b.jsonl").write_text('{"text": "fine"}\n{"text": 7}\n')
    bench.check_refused("a line that is no text", bench.run_ranks(*options, "--output", ranks, ranks=3), "t2b.jsonl:2", '"text" is number')
    kept = sorted(path.name for path in parts.iterdir())
    bench.check("parts of the other files are kept", len(kept) == 5 and not ranks.exists(), kept)
    (folder / "t2b.jsonl").unlink()

    command = [str(cases.ROOT / "launch/run"), "-n", "3", "--", *map(str, options), "--output", str(ranks)]
    environment = dict(os.environ, MOETRAIN_BINARY=str(bench.program))
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True)
    while started.poll() is None and not list(parts.glob("tokens_*")):
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    time.sleep(1)  # mpirun's ranks notice that it is gone
    bench.check("nothing half-written", not ranks.exists() or cases.pathlib.Path(ranks).read_bytes() == one.read_bytes())
    ranks.unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    bench.check("three ranks, stopped and started again", done.returncode == 0, done.stderr)
    bench.check("the same file", ranks.exists() and ranks.read_bytes() == one.read_bytes())
    bench.check("no parts are left", not parts.exists())

    ranks.unlink(missing_ok=True)
    done = cases.mpirun("-n", 2, bench.program, *options[:3], "--tokenizer", one, "--threads", 1, "--output", ranks,
                        MOETRAIN_TERMINAL="1")
    bars = [line for line in done.stdout.replace("\r", "\n").splitlines() if "encoding" in line and "left" in line]
    bench.check("a bar", bool(bars) and "MB/s" in bars[0] and "[" in bars[0], done.stdout)
    print(bars[-1] if bars else done.stdout)


cases.main(main)
