"""What smoke recipes are trained on, made here: the repository's own licence, its words, and pictures of bars."""
import json
import pathlib
import re
import struct
import subprocess
import sys
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


def token_files(program, folder):
    """The token file of each kind of smoke recipe, by the beginning of the recipe's name; "" of all others."""
    tokens = folder / "smoke.h5"
    call(program, "prepare", "--text", own_text(folder), "--tokenizer", "byte", "--heldout", "0.1", "--output", tokens,
         cwd=folder)
    return {"translation_": own_pairs(program, folder), "classifier_": own_labels(program, folder),
            "diffusion": own_images(program, folder), "tasks_": own_tasks(program, folder), "": tokens}


def kind_of(recipe, files):
    """The beginning of its name by which its token file goes."""
    return next(kind for kind in files if recipe.stem.startswith(kind))
