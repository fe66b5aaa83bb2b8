"""Scores made-up corpora with data/scoring and with sacreBLEU, and compares every number.

Usage: scoring_check.py SCORING_TOOL. The texts are noise of a fixed seed: words, digits with points and dashes,
entities, all kinds of whitespace, scripts with and without capitals, empty lines, bytes that are no UTF-8. Hypotheses
are their references with faults, so that scores of all sizes come out. Its last line is the figure; it exits 1 where
a number differs by more than 1e-9.
"""
import math
import pathlib
import random
import subprocess
import sys
import unicodedata

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

TOLERANCE = 1e-9
CORPORA = 800
SIGNATURES = ("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp", "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no")
WORDS = ("the", "The", "a", "of", "dog", "runs", "Straße", "STRASSE", "ÉTÉ", "été", "İstanbul", "ΟΔΟΣ", "οδός", "Σ",
         "ΣΑΣ", "ΟΔΟΣ'", "Σ\u0301Σ", "ΑΣ\u0301Α", "ЁЛКА", "ёлка", "ǅ", "ﬁn", "ẞ", "Ω", "Å", "两个人", "犬", "عربي", "עברית",
         "नमस्ते", "e\u0301", "👩\u200d🚀", "\u00ad", "co-op", "don't", "U.S.", "3.14", "1,000", "1990-95", "5-",
         "-5", "...", "..,", "a..b", "1.", ".5", ",,3", "<skipped>", "<SKIPPED>", "&quot;", "&amp;", "&lt;", "&gt;",
         "&amp;lt;", "&QUOT;", "&#39;", "(a)", "[b]", "{c}", "~", "`", "'", "\"", "$5", "100%", "x/y", "a_b", "^", "\\",
         "@", "#", "|", "=", "+", "*", "!", "?", ";", "…", "„x“", "«", "–", "、", "。", "٣.١", "१,२", "\0", "\x1b")
SPACES = (" ", " ", " ", " ", "", "  ", "\t", "\n", "-\n", "\r\n", "\u00a0", "\u2009", "\u202f", "\u3000", "\u2028",
          "\x1c", "\x85", "\u200b", "\ufeff", "-")
# What Unicode 3.2 knew is the same for each Python and each C library; and no sigma, whose form marks decide (WORDS).
OLD = [chr(c) for c in range(0x110000)
       if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs", "Co") and c != 0x3A3]
BLOCKS = (range(0x20, 0x7F), range(0x20, 0x250), range(0x370, 0x530), range(0, 0x3100), range(0x110000))
ALPHABETS = [[c for c in OLD if ord(c) in block] for block in BLOCKS]


def escaped(text):
    """The bytes of a text; bytes that were no UTF-8 come back as they were (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


def noise(random_, alphabet, words):
    def piece():
        if random_.random() < 0.6:
            return random_.choice(words)
        return "".join(random_.choices(alphabet, k=random_.randrange(1, 6)))
    return "".join(piece() + random_.choice(SPACES) for _ in range(random_.choice((0, 1, 2, 3, 5, 12, 25))))


def with_faults(random_, text, rate, alphabet):
    """Characters lost, changed, doubled, in the other case; or another text, or none."""
    characters = list(text)
    for at in range(len(characters)):
        if random_.random() < rate:
            characters[at] = random_.choice(
                ("", random_.choice(alphabet), 2 * characters[at], characters[at].swapcase(), " ", "."))
    return random_.choice(("", text, "".join(reversed(characters)))) if random_.random() < rate else "".join(characters)


def with_bad_bytes(random_, text):
    bytes_ = bytearray(escaped(text))
    for _ in range(3):
        at = random_.randrange(len(bytes_) + 1)
        bytes_[at:at + random_.randrange(2)] = random_.choice(
            (b"\x80", b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82", b"\xf5", b"\xf0\x9f\x98",
             b"\xf4\x90\x80\x80"))
    return bytes(bytes_).decode("utf-8", "surrogateescape")


def noise_corpus(random_):
    alphabet = random_.choice(ALPHABETS)
    words = random_.sample(WORDS, random_.choice((3, 10, len(WORDS))))
    references = [noise(random_, alphabet, words) for _ in range(random_.choice((1, 1, 2, 5, 20)))]
    rate = random_.choice((0, 0.02, 0.1, 0.3, 1))
    hypotheses = [with_faults(random_, text, rate, alphabet) for text in references]
    if random_.random() < 0.2:
        hypotheses = [with_bad_bytes(random_, text) for text in hypotheses]
        references = [with_bad_bytes(random_, text) for text in references]
    return hypotheses, references


def alphabet_corpora():
    """Each character of its own: as it is, against its lower case, between letters, between a digit and a point."""
    tried = [c for c in OLD if ord(c) < 0x3100 or c.swapcase() != c]
    lower = [c.lower() for c in tried]
    yield tried, lower
    yield [f"a{c}b c d" for c in tried], ["a b c d"] * len(tried)
    yield [f"1{c}.{c}2 {c}-{c}," for c in tried], [f"1{c} . {c}2 {c}-{c} ," for c in lower]


def check_equal_signatures():
    ours = dict(zip((BLEU(), CHRF()), SIGNATURES))
    for metric, signature in ours.items():
        metric.corpus_score(["a"], [["a"]])
        assert str(metric.get_signature()).startswith(signature), f"{metric.get_signature()}, not {signature}"


def sacrebleu_numbers(hypotheses, references, lowercase):
    bleu = BLEU(lowercase=lowercase, force=True).corpus_score(hypotheses, [references])
    chrf = CHRF().corpus_score(hypotheses, [references])
    return [bleu.score, *bleu.precisions, bleu.bp, bleu.sys_len, bleu.ref_len, chrf.score]


def our_numbers(tool, cases):
    """One list of numbers for each case, in the order of sacrebleu_numbers."""
    blocks = []
    for hypotheses, references, lowercase in cases:
        blocks.append(b"%d %d\n" % (len(hypotheses), lowercase))
        blocks += [b"%d:%s" % (len(text), text) for text in map(escaped, [*hypotheses, *references])]
    done = subprocess.run([tool], input=b"".join(blocks), stdout=subprocess.PIPE, check=True)
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


def difference(ours, theirs):
    """The largest of two lists of numbers; infinite where one is no number (max() would pass over it)."""
    gaps = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    return max(gaps) if all(map(math.isfinite, gaps)) else math.inf


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    check_equal_signatures()
    random_ = random.Random(1)
    corpora = [*alphabet_corpora(), *(noise_corpus(random_) for _ in range(CORPORA))]
    cases = [(*corpus, lowercase) for corpus in corpora for lowercase in (False, True)]
    ours = our_numbers(str(pathlib.Path(sys.argv[1]).resolve()), cases)
    theirs = [sacrebleu_numbers(*case) for case in cases]
    assert len(ours) == len(theirs), f"{len(ours)} answers to {len(theirs)} corpora"
    differences = [difference(us, them) for us, them in zip(ours, theirs)]
    for at in sorted(range(len(cases)), key=differences.__getitem__, reverse=True)[:5]:
        if differences[at] > TOLERANCE:
            print(f"  {str(cases[at])[:400]}\n    ours      {ours[at]}\n    sacrebleu {theirs[at]}")
    telling = sum(0 < them[0] < 100 and 0 < them[-1] < 100 for them in theirs)
    assert telling > len(theirs) / 4, f"only {telling} of {len(theirs)} corpora have scores between none and full"
    print(f"scoring_check largest_difference={max(differences):.2e} corpora={len(cases)} between_0_and_100={telling} "
          f"sacrebleu={sacrebleu.__version__}")
    sys.exit(0 if max(differences) <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
