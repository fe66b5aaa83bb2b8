"""What the figures on the smallest mixture (recipes/language/tinylm.toml) share: its text, and trainings that begin where
another ended, perhaps after a transformation.

TinyLM: decoder-only, bytes of tinyshakespeare (1,115,394 characters of which 65 differ) in documents of whole lines of about
2,000 bytes, a tenth of them held out; width 64, 4 blocks, 4 heads, context 128, AdamW at 1e-3, float32, one
thread. In moetrain's own terms, otherwise than where the numbers that it is held against come from: rotary positions and
RMSNorm, where those had learned positions and LayerNorm; documents drawn for holding out, where those took the last tenth;
batches of 8, where those had 16, so that all of it fits the budget of one core.
"""
import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from experiment import PROGRAM, ROOT, Cell, Experiment

RECIPE = ROOT / "recipes/language/tinylm.toml"
RESULTS = ROOT / "recipes/language"
GROUPS = ("first", "second")  # the halves of the play collection, scored apart


def call(*words):
    """What it prints; exits with its words where it fails."""
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1"))
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}{done.stdout}")
    return done.stdout


def documents_of(text, size=2000):
    """Whole lines, about `size` bytes each."""
    documents, lines = [], []
    for line in text.splitlines(keepends=True):
        lines.append(line)
        if sum(map(len, lines)) >= size:
            documents.append("".join(lines))
            lines = []
    return documents + ["".join(lines)] * bool(lines)


def token_files(stem="work/shakespeare"):
    """The text with its halves as groups, and each half by itself, split alike: what is held out of one is held out of all.
    Made of the file (perhaps packed by gzip) that TINYSHAKESPEARE names where they are not there yet."""
    whole = ROOT / f"{stem}.h5"
    files = [whole, *(whole.with_name(f"{whole.stem}_{group}.h5") for group in GROUPS)]
    if all(file.exists() for file in files):
        return files
    if "TINYSHAKESPEARE" not in os.environ:
        sys.exit(f"{whole} is not there, and TINYSHAKESPEARE does not name the text, input.txt or input.txt.gz")
    source = pathlib.Path(os.environ["TINYSHAKESPEARE"])
    packed = source.read_bytes()
    text = (gzip.decompress(packed) if source.suffix == ".gz" else packed).decode()
    documents = documents_of(text)
    half = len(documents) // 2
    prepare([(GROUPS[i >= half], each) for i, each in enumerate(documents)], files)
    return files


def prepare(documents, files):
    """Token files of (group, text) pairs: of all, and of each group."""
    files[0].parent.mkdir(exist_ok=True)
    for file, groups in zip(files, (GROUPS, *((group,) for group in GROUPS))):
        lines = file.with_suffix(".jsonl")
        chosen = [{"language": group, "text": text} for group, text in documents if group in groups]
        lines.write_text("".join(json.dumps(line) + "\n" for line in chosen))
        file.unlink(missing_ok=True)
        call(PROGRAM, "prepare", "--text", lines, "--tokenizer", "byte", "--heldout", 0.1, "--output", file)
        lines.unlink()


class Start:
    """A run that others begin with: what `operation` with `settings` makes of the run of cell `parent`, beside those of cells
    `others`; `use`: first the use of the parent's experts is recorded, and handed over. No operation: the parent itself."""

    def __init__(self, parent, operation=None, settings=(), others=(), use=False, seed=None):
        self.parent, self.operation, self.settings = parent, operation, dict(settings)
        self.others, self.use, self.seed = others, use, seed


class Trainings(Experiment):
    """Cells by name; starts: of some cells the Start that they go on from; whole: the token file that all are judged by. Each
    line says, beside loss and groups, `before`: the held-out loss at the start of those that go on, and whatever `measure` finds
    in the recorded use of the model's experts."""

    def __init__(self, name, cells, starts, whole, measure=None):
        super().__init__(name, cells, folder=RESULTS)
        self.starts, self.whole, self.measure, self.before = starts, whole, measure, {}

    def fill(self, minutes=None, slots=1):
        super().fill(minutes, slots)

    def start_folder(self, cell):
        start = self.starts[cell]
        return self.folder(start.parent) if start.operation is None else f"{self.folder(cell)}_start"

    def record_use(self, folder):
        """The use of the experts of the model in that folder, by `moetrain evaluate --record`."""
        file = ROOT / f"{folder}.use.h5"
        if not file.exists():
            call(PROGRAM, "evaluate", folder, "--data", self.whole, "--record", file)
        return file

    def table(self, use):
        return call(PROGRAM, "inspect", use)

    def make_start(self, cell):
        """The run that the cell begins with, and its held-out loss."""
        start, folder = self.starts[cell], self.start_folder(cell)
        if start.operation is not None and not (ROOT / folder / "evaluation.json").exists():
            shutil.rmtree(ROOT / folder, ignore_errors=True)
            words = ["transform", self.folder(start.parent), folder, "--operation", start.operation]
            settings = dict(start.settings)
            if start.use:
                settings["use"] = self.record_use(self.folder(start.parent))
            for key, value in settings.items():
                words += ["--set", f"{key}={value}"]
            for other in start.others:
                words += ["--with", self.folder(other)]
            call(PROGRAM, *words, *(("--seed", start.seed) if start.seed is not None else ()))
        return folder, self.held_out(folder)["loss"]

    def held_out(self, folder):
        """Of the whole text, whatever the run was trained on."""
        file = ROOT / folder / "evaluation.json"
        if not file.exists():
            call(PROGRAM, "evaluate", folder, "--data", self.whole)
        return json.loads(file.read_text())

    def train_command(self, cell, folder, settings=()):
        words = super().train_command(cell, folder, settings)
        return words + ["--set", f"train.start={self.start_folder(cell)}"] if cell in self.starts else words

    def run_cell(self, cell):
        if cell in self.starts:
            self.before[cell] = self.make_start(cell)[1]
        return super().run_cell(cell)

    def finish(self, cell, folder, line):
        line.update({key: value for key, value in self.held_out(folder).items() if key in ("loss", "groups")})
        if cell in self.before:
            line["before"] = self.before[cell]
        if self.measure:
            line.update(self.measure(self.record_use(folder)))
        return True


def computing(use):
    """Of each block with experts, from the table of a recorded use: how many of a token's choices compute, mean and deviation
    over tokens, and the share of tokens with none."""
    pattern = r"block (\d+): .*choices: ([\d.]+), deviation ([\d.]+), none ([\d.]+) %"
    return [{"block": int(block), "mean": float(mean), "deviation": float(deviation), "none": float(none) / 100}
            for block, mean, deviation, none in re.findall(pattern, call(PROGRAM, "inspect", use))]


def quick_of(name, cells_of, wanted, check, measure=None, **lengths):
    """The cells `wanted` on the text of the licence, and what `check(figure, lines)` notes: (what, whether it holds)."""
    folder = ROOT / f"work/{name}_quick"
    for old in (folder, ROOT / f"runs/{name}_quick"):
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True)
    documents = documents_of((ROOT / "LICENSE").read_text(), 300)
    files = [folder / f"{part}.h5" for part in ("text", *GROUPS)]
    prepare([(GROUPS[i % 2], each) for i, each in enumerate(documents)], files)
    cells, starts = cells_of(files, seeds=(0,), **lengths)
    figure = Trainings(f"{name}_quick", {f"{name}_0": cells[f"{name}_0"] for name in wanted}, starts, files[0], measure)
    figure.results = folder / "results.jsonl"
    for each in figure.cells:
        if not figure.run_cell(each):
            return 1
    notes = check(figure, figure.committed())
    for what, holds in notes:
        print(f"{what}: {'yes' if holds else 'NO'}")
    print(f"{name}: quick, cells={len(figure.cells)} checks={len(notes)} short={sum(not holds for _, holds in notes)}")
    return 0 if all(holds for _, holds in notes) else 1


def cell(data, after=None, **settings):
    """One training on the token file `data`; settings: section__key."""
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    return Cell(RECIPE, {"data.file": data.relative_to(ROOT), **keys}, evaluate=None, after=after)
