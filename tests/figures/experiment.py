"""What the figures that compare trainings share: cells that are run once, and kept as lines of a committed file.

A cell is one training (a recipe with some keys set) and its evaluation. `Experiment.fill` runs the cells that are missing,
two side by side, each resumable, and appends a line for each: recipe hash, build, seed, result, seconds, processor.
"""
import io
import json
import os
import pathlib
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("MOETRAIN_BINARY", ROOT / "build/moetrain"))
TRANSLATION = ROOT / "recipes/translation"
EARLY = 100  # the update whose loss --quick reproduces


def processor():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{len(names)} x {names[0]}"


def computes_bf16():
    """Whether the processor has instructions for it."""
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def multi30k(languages, vocabulary):
    """The token file of these languages; made from the folder that MULTI30K names where it is not there yet."""
    output = ROOT / f"work/multi30k_{'_'.join(languages)}.h5"
    if output.exists():
        return output
    if "MULTI30K" not in os.environ:
        sys.exit(f"{output} is not there, and MULTI30K does not name the folder with train.en.gz, val.en.gz, "
                 "test_2016_flickr.en.gz and the same of de, fr, cs")
    folder = pathlib.Path(os.environ["MULTI30K"])
    output.parent.mkdir(exist_ok=True)
    command = [PROGRAM, "prepare", "--output", output, "--vocabulary", vocabulary]
    for option, stem in (("--parallel", "train"), ("--validation", "val"), ("--test", "test_2016_flickr")):
        command += [option, ",".join(f"{language}={folder}/{stem}.{language}.gz" for language in languages)]
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True)
    return output


def captions(languages):
    """The token file of the same captions in these languages, byte by byte; made from the folder that MULTI30K names where it is
    not there yet."""
    output = ROOT / f"work/captions_{'_'.join(languages)}.h5"
    if output.exists():
        return output
    if "MULTI30K" not in os.environ:
        sys.exit(f"{output} is not there, and MULTI30K does not name the folder with train.LANGUAGE.gz and val.LANGUAGE.gz of "
                 f"{', '.join(languages)}")
    folder = pathlib.Path(os.environ["MULTI30K"])
    output.parent.mkdir(exist_ok=True)
    files = lambda stem: ",".join(f"{language}={folder}/{stem}.{language}.gz" for language in languages)
    command = [PROGRAM, "prepare", "--parallel", files("train"), "--validation", files("val"), "--tokenizer", "byte", "--output", output]
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return output


class Cell:
    """`settings`: section.key -> value over the recipe's; `evaluate`: further arguments of `moetrain evaluate`, None
    where only the training counts; `after`: the cell whose run this one reads."""

    def __init__(self, recipe, settings=(), evaluate=(), after=None):
        self.recipe, self.settings, self.evaluate, self.after = recipe, dict(settings), evaluate, after


class Experiment:
    def __init__(self, name, cells, folder=TRANSLATION / "results"):
        self.name, self.cells = name, cells
        self.results = folder / f"{name}.jsonl"
        self.hypotheses = folder / f"{name}.tar.xz"
        self.lock = threading.Lock()
        self.running = set()

    def folder(self, cell):
        return f"runs/{self.name}/{cell}"

    def committed(self):
        if not self.results.exists():
            return {}
        lines = (json.loads(line) for line in self.results.read_text().splitlines())
        return {line["cell"]: line for line in lines if line["cell"] in self.cells}

    def train_command(self, cell, folder, settings=()):
        settings = {**self.cells[cell].settings, "run.folder": folder, **dict(settings)}
        words = [PROGRAM, "train", self.cells[cell].recipe, "--resume"]
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        return [str(word) for word in words]

    def call(self, command):
        """One thread, without output; the exit code. A signal to this script ends it after saving."""
        with self.lock:
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                       env=dict(os.environ, OMP_NUM_THREADS="1"))
            self.running.add(process)
        _, errors = process.communicate()
        self.running.discard(process)
        if process.returncode not in (0, 3):
            print(" ".join(command), errors, sep="\n", file=sys.stderr)
        return process.returncode

    def run_cell(self, cell):
        """Trains, evaluates and appends the line; False where the run was stopped or failed."""
        folder = self.folder(cell)
        if self.call(self.train_command(cell, folder)) != 0:
            return False
        line = {"cell": cell, **self.training(folder)}
        if self.cells[cell].evaluate is not None:
            arguments = [str(PROGRAM), "evaluate", folder, *self.cells[cell].evaluate]
            if self.call(arguments) != 0:
                return False
            result = json.loads((ROOT / folder / "evaluation.json").read_text())
            line.update({key: result[key] for key in ("loss", "bits_per_byte", "groups", "translation", "routing") if key in result})
            self.keep_hypotheses(cell, folder)
        if not self.finish(cell, folder, line):
            return False
        with self.lock:
            self.results.parent.mkdir(exist_ok=True)
            with self.results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{self.name}: {cell} done in {line['seconds']:.0f} s", flush=True)
        return True

    def finish(self, cell, folder, line):
        """What a figure adds to a cell's line; False where it was stopped or failed."""
        return True

    def keep_hypotheses(self, cell, folder):
        """Its translations, among those of all cells."""
        found = {f"{cell}.{file.name}": file.read_bytes() for file in (ROOT / folder / "translations").glob("*.txt")}
        if not found:
            return
        with self.lock:
            kept = self.all_hypotheses() | found
            fresh = self.hypotheses.with_suffix(".fresh")
            with tarfile.open(fresh, "w:xz") as archive:
                for name in sorted(kept):
                    member = tarfile.TarInfo(name)
                    member.size = len(kept[name])
                    archive.addfile(member, io.BytesIO(kept[name]))
            fresh.rename(self.hypotheses)

    def all_hypotheses(self):
        if not self.hypotheses.exists():
            return {}
        with tarfile.open(self.hypotheses) as archive:
            return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}

    def hypotheses_of(self, cell, direction):
        """The committed lines."""
        return self.all_hypotheses()[f"{cell}.{direction}.txt"].decode().split("\n")[:-1]

    def training(self, folder):
        lines = metrics(folder)
        starts = [line for line in lines if line["event"] in ("start", "resume")]
        steps = {line["step"]: line for line in lines if line["event"] == "step"}
        ordered = [steps[step] for step in sorted(steps)]
        before = [0] + [line["step"] for line in ordered]
        seconds = sum(sum(line["seconds"].values()) * (line["step"] - earlier) for line, earlier in zip(ordered, before))
        scores = [{"step": line["step"], "loss": line["loss"]} for line in lines if line["event"] == "evaluate"]
        return {"recipe_hash": starts[-1]["recipe_hash"], "build": starts[0]["build"], "updates": before[-1],
                "parameters": starts[-1]["parameters"], "seconds": seconds, "processor": processor(),
                "validation": scores, "early_loss": early_loss(lines)}

    def fill(self, minutes=None, slots=2):
        """Runs what is missing; starts nothing new after `minutes`, and then ends what runs, saved."""
        done, end = self.committed(), time.time() + 60 * minutes if minutes else None
        waiting = queue.Queue()
        for cell in self.cells:
            if cell not in done:
                waiting.put(cell)
        finished, failed = set(done), []

        def work():
            while not failed and (end is None or time.time() < end):
                try:
                    cell = waiting.get_nowait()
                except queue.Empty:
                    return
                after = self.cells[cell].after
                if after and after not in finished:
                    waiting.put(cell)
                    time.sleep(1)
                elif self.run_cell(cell):
                    finished.add(cell)
                else:
                    failed.append(cell)

        signal.signal(signal.SIGTERM, lambda *_: self.stop(failed))
        workers = [threading.Thread(target=work) for _ in range(slots)]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            time.sleep(0.5)
            if end and time.time() > end:
                self.stop(failed)
        if failed:
            sys.exit(f"{self.name}: stopped or failed at {', '.join(map(str, failed))}; the same command goes on")

    def stop(self, failed):
        failed.append("the time's end")
        for process in list(self.running):
            process.send_signal(signal.SIGTERM)

    def main(self, report, quick, slots=2):
        """--quick: `quick(self)`; else fills, so many cells side by side, and reports. --minutes N bounds the filling; --report
        only reports."""
        arguments = sys.argv[1:]
        if "--quick" in arguments:
            return quick(self)
        if "--report" not in arguments:
            minutes = float(arguments[arguments.index("--minutes") + 1]) if "--minutes" in arguments else None
            self.fill(minutes, slots)
        cells = self.committed()
        missing = [cell for cell in self.cells if cell not in cells]
        if missing:
            sys.exit(f"{self.name}: {len(missing)} of {len(self.cells)} cells are missing: {', '.join(missing[:5])} ...")
        return report(self, cells)

    def reproduce(self, cell):
        """Trains a cell anew up to EARLY updates: the loss there."""
        folder = f"runs/{self.name}/quick_{cell}"
        shutil.rmtree(ROOT / folder, ignore_errors=True)
        process = subprocess.Popen(self.train_command(cell, folder, {"evaluate.every": "0u"}), cwd=ROOT,
                                   stdout=subprocess.DEVNULL, env=dict(os.environ, OMP_NUM_THREADS="1"))
        while process.poll() is None:
            time.sleep(0.2)
            if any(line.get("step", 0) >= EARLY for line in metrics(folder)):
                process.send_signal(signal.SIGTERM)  # saves and ends
                process.wait()
        return early_loss(metrics(folder))


def interval(values):
    """Mean of three seeds, and half the width of its 95 % interval (Student's t, 2 degrees of freedom)."""
    if len(values) != 3:
        raise ValueError(f"an interval of {len(values)} values; legal: 3")
    return statistics.mean(values), 4.303 * statistics.stdev(values) / len(values) ** 0.5


def early_loss(lines):
    """The training loss logged at update EARLY."""
    return next((line["loss"]["total"] for line in lines if line["event"] == "step" and line["step"] == EARLY), None)


def metrics(folder):
    path = ROOT / folder / "metrics.jsonl"
    whole = [line for line in (path.read_text().splitlines(True) if path.exists() else []) if line.endswith("\n")]
    return [json.loads(line) for line in whole]
