"""What tests/figures/tokenizers compares with, and how it counts."""
import gzip
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parents[3]
TOOL = ROOT / "build" / "folders" / "tests" / "tokenizer_tool"
SPECIALS = ("<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "[INST]", "<0x0A>", "<extra_id_0>")


def read_lines(count):
    """So many lines, spread over the files."""
    folder = os.environ.get("TOKENIZER_TEXT")
    if folder:
        files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.name.endswith((".txt.gz", ".gz", ".txt")))
    else:
        print("not checked: texts of several languages (TOKENIZER_TEXT names a folder of text files)")
        files = sorted(p for ending in ("*.md", "*.h", "*.cpp", "*.toml") for p in ROOT.glob("*/**/" + ending)
                       if "build" not in p.parts)
    lines = []
    for path in files:
        opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8")
        with opened as file:
            lines += [line for line in file if line.strip()]
    random.Random(1).shuffle(lines)
    if len(lines) < count:
        sys.exit(f"{len(lines)} lines of text, {count} are wanted")
    return lines[:count]


def nasty_texts():
    """What tokenizers stumble over: white space, marks, scripts, emoji, special tokens as text, noise of a fixed seed."""
    texts = [
        "", " ", "  ", "\n", "\n\n", "\t\n\r\n ", " a", "a ", "  a  b   c ", "\u2581", "a\u2581b", "\u00a0x\u3000y\u2028z",
        "don't DON'T we'll I'D 'S 's", "x'\u017fy", "1234567890 3.14 1,000,000 \u0663\u0664 \u00bd\u00b2",
        "\U0001f469\u200d\U0001f680 \U0001f1e9\U0001f1ea", "e\u0301 \u0301e a\u0308\u0323 \u1ebe \ufb01 \uff21\uff22 \u2126",
        "\u0130stanbul \u01c5 \u1e9e \u03a3\u03a3", "\u4e24\u4e2a\u4eba \u3072\u3089\u304c\u306a\u30ab\u30bf\u30ab\u30ca",
        "\ud55c\uad6d\uc5b4 \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
        "\u05e2\u05d1\u05e8\u05d9\u05ea \u0627\u0644\u0639\u0631\u0628\u064a\u0629", "a\x00b\x01\x7f", "\ufeffa\ufffd",
        "\u180ex \u200b \u2060", "x" * 3000, " " * 3000, "\n" * 500, "ab" * 2000, "...!!!???---___",
        "{\"a\": [1, 2]}\n\tif (x) { return y; }", "\u0300\u0301\u0302", "\u0e33\u0eb3 \u1100\u1161\u11a8"]
    for special in SPECIALS:
        texts += [special, f"a{special}b", f" {special} ", f"{special}{special}", f"{special}\n x  {special}y"]
    draw = random.Random(7)
    pools = ["ab c\n", " \t\n\r\u00a0\u2003\u3000", "aA1 .,'\u00e9\u0301\u00df",
             "\u4e00\u3042\uac00\U0001f600\u200d\ufe0f", "<s>/|[]\u2581_"]
    everything = "".join(pools)
    for _ in range(600):
        pool = draw.choice(pools + [everything, everything])
        texts.append("".join(draw.choice(pool) for _ in range(draw.randrange(1, 60))))
    for _ in range(200):
        parts = [draw.choice(SPECIALS + ("a", " ", "  b", "\n", "caf\u00e9")) for _ in range(draw.randrange(1, 8))]
        texts.append("".join(parts))
    return texts


def is_young(character):
    """Of a Unicode version after that of both libraries' tables."""
    return unicodedata.category(character) in ("Cn", "Cs")


class Expected:
    """What the Python side makes of one text."""

    def __init__(self, as_text, parsed, framed, decoded):
        self.answers = {"ids as text": as_text, "ids parsed": parsed, "ids framed": framed, "text": decoded}


class Comparison:
    def __init__(self, work, texts, only):
        self.work, self.texts, self.only = work, texts, only
        self.tokenizers = self.answers = self.different = self.young = 0
        if not TOOL.exists():
            sys.exit(f"{TOOL} is missing: ninja -C build tokenizer_tool")

    def wants(self, name):
        return self.only in name

    def folder(self, name):
        folder = self.work / name
        folder.mkdir()
        return folder

    def save(self, name, tokenizer, end="</s>"):
        """A Hugging Face folder of a Python tokenizer."""
        folder = self.folder(name)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": end}))
        return folder

    def ours(self, path, texts):
        """A list of answers for each text, and the speeds."""
        encoded = [text.encode() for text in texts]
        framed = b"".join(b"%d:" % len(text) + text for text in encoded)
        made = subprocess.run([TOOL, path], input=framed, capture_output=True, check=False)
        if made.returncode != 0:
            sys.exit(f"{path}: {made.stdout.decode()[-500:]} {made.stderr.decode()[-500:]}")
        answers, at, output = [], 0, made.stdout
        for _ in texts:
            ids = []
            for _ in range(3):
                end = output.index(b"\n", at)
                ids.append([int(token) for token in output[at:end].split()])
                at = end + 1
            colon = output.index(b":", at)
            size = int(output[at:colon])
            decoded = output[colon + 1:colon + 1 + size].decode()
            at = colon + size + 2
            answers.append(Expected(*ids, decoded).answers)
        return answers, [float(speed) for speed in output[at:].split()]

    def compare(self, name, path, expect, texts=None, timed=None):
        """`expect(text)` is an Expected; `timed`, where given, encodes a text for its speed to be seen."""
        texts = self.texts if texts is None else texts
        answers, speeds = self.ours(path, texts)
        faults = young = 0
        shown = []
        for text, answer in zip(texts, answers):
            for what, wanted in expect(text).answers.items():
                if wanted is None:
                    continue
                self.answers += 1
                if answer[what] == wanted:
                    continue
                if any(is_young(c) for c in text):
                    young += 1
                    continue
                faults += 1
                if len(shown) < 6:
                    shown += [f"    {what} of {text[:80]!r}:", f"      ours   {answer[what][:40]}",
                              f"      theirs {wanted[:40]}"]
        self.tokenizers += 1
        self.different += faults
        self.young += young
        line = f"{name:28} {len(texts):6} texts, {faults} answers differ"
        if young:
            line += f" ({young} more of characters younger than Unicode {unicodedata.unidata_version})"
        if timed:
            size = sum(len(text.encode()) for text in texts)
            start = time.perf_counter()
            for text in texts:
                timed(text)
            theirs = size * 1e-6 / (time.perf_counter() - start)
            line += f"; one thread: {speeds[0]:.1f} MB/s, theirs {theirs:.1f}"
        print("\n".join([line] + shown), flush=True)

    def finish(self, name):
        print(f"{name} tokenizers={self.tokenizers} answers={self.answers} different={self.different} "
              f"younger_than_unicode_{unicodedata.unidata_version}={self.young}")
        sys.exit(self.different > 0 or self.tokenizers == 0)


def expect_of(tokenizer, as_text=None):
    """Of a tokenizer of `tokenizers`; `as_text`: the one to ask for special tokens taken as text."""
    frames = tokenizer.post_processor is not None
    as_text = as_text or tokenizer

    def expect(text):
        as_text.encode_special_tokens = True
        plain = as_text.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        parsed = tokenizer.encode(text, add_special_tokens=False).ids
        return Expected(plain, parsed, tokenizer.encode(text).ids if frames else None, tokenizer.decode(parsed))
    return expect
