#!/usr/bin/env python3
"""Every header of the tree compiles alone: it includes all that it uses.

headers.py BUILD-FOLDER     checks each, prints the compiler's words for those that fail, exits 1
headers.py BUILD-FOLDER --all         compiles those that reach LibTorch too: minutes
headers.py BUILD-FOLDER --self-test   a made-up header that leans on its includer must be found

Alone, a header costs up to 5 s, so two savings, both without changing what is found. Headers are compiled in chains:
after a header comes only one that includes it, and all that it includes, anyway. And a header that reaches LibTorch gets
the build's precompiled header; that hides a missing LibTorch include, so its text is read too: at:: must reach an
<ATen/...> or <torch/...> header, torch:: a <torch/...> one. Even so it costs 4 s, which only --all spends; without it the
text of such a header must reach every type of the tree that it names. Flags are those of the header's room
(compile_commands.json); what has passed is remembered in the build folder by content.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("parallel", "moetrain", "optim", "data", "launch", "tests")
OUR_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
TORCH_INCLUDE = re.compile(r"^\s*#\s*include\s*<(torch|ATen|c10)/", re.M)
# A name's first word -> what must be included to use it.
TORCH_NAMES = {
    re.compile(r"\bat::"): re.compile(r"^\s*#\s*include\s*<(ATen|torch)/", re.M),
    re.compile(r"\btorch::"): re.compile(r"^\s*#\s*include\s*<torch/", re.M),
}
TYPE = re.compile(r"^(?:class|struct|enum class) ([A-Z]\w+)(?: final)?\s*[:{]", re.M)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"')  # a string literal


class Flags:
    """The build's command line for a header, by its folder and room."""

    def __init__(self, build):
        self.entries = []
        for entry in json.loads((build / "compile_commands.json").read_text()):
            words = shlex.split(entry["command"])
            if "c++-header" in words or not entry["file"].endswith((".cpp", ".cxx")):
                continue
            output = words[words.index("-o") + 1]
            self.entries.append((output, entry["directory"], words))

    def find(self, header, torch):
        """The compiler's words without input and output; the precompiled header only where LibTorch is reached."""
        folder, _, room = header.partition("/")
        room = room.split("/")[0]
        unity = re.compile(rf"{folder}/.*(unity_(\w+_)?{room}_|/{room}/)")
        in_folder = [e for e in self.entries if e[0].startswith(folder + "/") or f"/{folder}/CMakeFiles/" in e[0]]
        usable = [e for e in self.entries if not torch or any("cmake_pch" in word for word in e[2])]
        candidates = [e for e in in_folder if unity.search(e[0])] or in_folder
        _, directory, words = next((e for e in candidates if e in usable), None) or usable[0]
        kept, at = [], 0
        while at < len(words):
            word = words[at]
            if word in ("-o", "-c"):
                at += 2
            elif word == "-include" and not torch:
                at += 2
            elif word in ("-Winvalid-pch", "-MD") or (word.endswith("ccache") and at < 8):
                at += 1
            else:
                kept.append(word)
                at += 1
        compiler = next(i for i, w in enumerate(kept) if re.search(r"(c\+\+|g\+\+|clang\+\+)(-\d+)?$", w))
        return kept[compiler:], directory


def closure(header, texts, seen):
    if header in texts and header not in seen:
        seen.add(header)
        for other in OUR_INCLUDE.findall(texts[header]):
            closure(other, texts, seen)
    return seen


def chains(headers, includes):
    """The fewest lists in which each header includes the one before it (matching on the order of inclusion)."""
    following = {h: [g for g in headers if g != h and h in includes[g] and includes[h] <= includes[g]] for h in headers}
    before = {}

    def augment(header, seen):
        for other in following[header]:
            if other not in seen:
                seen.add(other)
                if other not in before or augment(before[other], seen):
                    before[other] = header
                    return True
        return False

    for header in headers:
        augment(header, set())
    after = {first: second for second, first in before.items()}
    for header in headers:
        if header not in before:
            chain = [header]
            while chain[-1] in after:
                chain.append(after[chain[-1]])
            yield chain


def compile_source(source, words, directory):
    """What the compiler says of a file with this text; empty where it compiles."""
    done = subprocess.run(
        words + ["-fsyntax-only", "-x", "c++", "-"], input=source, cwd=directory, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip() or f"compiler ended with {done.returncode}"


def check_chain(chain, torch, flags):
    """The faults of a chain's headers: where it does not compile, each of them is tried alone."""
    source = "".join(f'#include "{header}"\n' for header in chain)
    if not compile_source(source, *flags.find(chain[-1], torch)):
        return {}
    alone = {h: compile_source(f'#include "{h}"\n', *flags.find(h, torch)) for h in chain}
    return {header: f"{header}:1: does not compile alone\n{said}" for header, said in alone.items() if said}


def name_fault(header, texts, includes):
    """A LibTorch name whose header is not reached (the precompiled header would hide it)."""
    code = COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), texts[header])
    reached = "\n".join(texts[h] for h in includes)
    for name, needed in TORCH_NAMES.items():
        used = name.search(code)
        if used and not needed.search(reached):
            return f"{header}:{code[: used.start()].count(chr(10)) + 1}: uses {used.group()} without including it"
    return None


def type_faults(header, texts, includes, owners):
    """A type of the tree whose header is not reached: one that a single header defines, and this one does not itself."""
    code = TEXT.sub('""', COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), texts[header]))
    own = set(re.findall(r"\b(?:class|struct|enum class|using|typename|enum) (\w+)", code)) | set(re.findall(r"::(\w+)", code))
    for word in re.finditer(r"\b[A-Z]\w+\b", code):
        needed = owners.get(word.group(), set())
        if len(needed) == 1 and word.group() not in own and not needed & includes:
            return f"{header}:{code[: word.start()].count(chr(10)) + 1}: uses {word.group()} without including \"{min(needed)}\""
    return None


def owners_of_types(texts):
    owners = {}
    for header, text in texts.items():
        for name in TYPE.findall(text):
            owners.setdefault(name, set()).add(header)
    return owners


def all_headers():
    return sorted(
        path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.h"))


def main(build, everything):
    flags = Flags(build)
    texts = {header: (ROOT / header).read_text(encoding="utf-8") for header in all_headers()}
    includes = {header: closure(header, texts, set()) for header in texts}
    torch = {header: any(TORCH_INCLUDE.search(texts[h]) for h in includes[header]) for header in texts}
    faults = {header: name_fault(header, texts, includes[header]) for header in texts}

    keys = {}
    for header in texts:
        content = [*flags.find(header, torch[header])[0], *(texts[h] for h in sorted(includes[header]))]
        keys[header] = hashlib.sha256("\0".join(content).encode()).hexdigest()
    memory_file = build / "headers_that_passed.json"
    memory = set(json.loads(memory_file.read_text())) if memory_file.exists() else set()

    started = time.monotonic()
    fresh = [header for header in texts if keys[header] not in memory and (everything or not torch[header])]
    owners = owners_of_types(texts)
    for header in texts:
        faults[header] = faults[header] or type_faults(header, texts, includes[header], owners)
    with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count(), 8)) as pool:
        jobs = []
        for with_torch in (True, False):
            for chain in chains([h for h in fresh if torch[h] == with_torch], includes):
                jobs.append(pool.submit(check_chain, chain, with_torch, flags))
        for job in jobs:
            faults.update(job.result())
    passed = memory | {keys[h] for h in fresh}
    memory_file.write_text(json.dumps(sorted(keys[h] for h in texts if not faults[h] and keys[h] in passed)))

    found = [fault for fault in faults.values() if fault]
    for fault in found:
        print(fault)
    print(f"headers: {len(texts)}, {len(fresh)} of them compiled in {len(jobs)} chains in "
          f"{time.monotonic() - started:.0f} s, {len(found)} failures")
    return 1 if found else 0


def self_test(build):
    flags = Flags(build)
    failures = []
    for torch in (False, True):
        room = "parallel/comm/x.h" if torch else "data/x.h"
        extra = "at::Tensor tensor();\n" if torch else ""
        said = compile_source("#include <string>\nstd::string f();\n" + extra, *flags.find(room, torch))
        if said:
            failures.append(f"{room} is refused: {said}")
        if not compile_source("Undeclared f();\n" + extra, *flags.find(room, torch)):
            failures.append(f"{room} leans on its includer and passes")
    texts = {"a.h": "#include <c10/core/Device.h>\n\nat::Tensor a();", "b.h": '#include "a.h"\n#include <ATen/ATen.h>\nat::Tensor b();'}
    includes = {header: closure(header, texts, set()) for header in texts}
    if not (name_fault("a.h", texts, includes["a.h"]) or "").startswith("a.h:3: uses at::"):
        failures.append("a name of LibTorch that is not included passes")
    if name_fault("b.h", texts, includes["b.h"]):
        failures.append("a name of LibTorch that is included is refused")
    owned = {"t.h": "struct Tree {\n};", "s.h": 'auto* kText = "a Tree";', "u.h": "/// Tree\nTree* u();", "v.h": '#include "t.h"\nTree* v();'}
    found = [type_faults(h, owned, closure(h, owned, set()), owners_of_types(owned)) for h in owned]
    if found != [None, None, 'u.h:2: uses Tree without including "t.h"', None]:
        failures.append(f"types that are not included: {found}")
    if list(chains(["a.h", "b.h", "c.h"], {**includes, "c.h": {"c.h"}})) != [["a.h", "b.h"], ["c.h"]]:
        failures.append("chains are not by inclusion")
    print("\n".join([*failures, f"self-test: {len(failures)} failures"]))
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    chosen = pathlib.Path(sys.argv[1]).resolve()
    sys.exit(self_test(chosen) if sys.argv[2:] == ["--self-test"] else main(chosen, sys.argv[2:] == ["--all"]))
