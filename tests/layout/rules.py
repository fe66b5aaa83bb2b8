#!/usr/bin/env python3
"""The tree's rules: who includes whom, where vendors' headers live, what the top level holds, how long a file is.

rules.py [FOLDER]      prints each violation as file:line and exits 1
rules.py --self-test   makes a tree with one violation of each kind, and checks that each is found
"""

import collections
import os
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

TOP_LEVEL = {"CMakeLists.txt", "LICENSE", "README.md", "moetrain", "parallel", "optim", "data", "launch", "recipes", "tests"}
# Made by building and running; .gitignore says the same. Dotfiles are free.
MADE_HERE = re.compile(r"build.*|runs|work|__pycache__")

# A folder may include itself and these.
MAY_INCLUDE = {
    "parallel": [],
    "moetrain": ["parallel/"],
    "optim": ["parallel/"],
    "data": ["parallel/base/"],
    "launch": ["parallel/", "moetrain/", "optim/", "data/"],
    "recipes": ["parallel/", "moetrain/", "optim/", "data/", "launch/"],  # what programs outside the tree are shown
}
# A room may include the rooms before it; "." is the folder's own files.
ROOMS = {
    "parallel": "base kernels device_kernels memory phases process device comm links schedule mesh autograd tensor_parallel dispatch overlap gradients .",
    "moetrain": "config ranking products fused layers attention routers experts losses moe models objectives decoding surgery analysis .",
    "optim": "schedules updates precision clipping sharding .",
    "data": ". text shaping subwords tokenizers chat hdf5 images datasets batching files sources prepare scoring",
    "launch": "toml recipe profiles planning checkpoint interchange records report runs batches ranks models use evaluation surgery stages training bench doctor commands .",
}
# Header of a vendor -> files that may include it.
VENDOR_HEADERS = [
    (r"mpi\.h", r"(parallel/(process|comm)|launch/checkpoint)/.*\.cpp"),
    (r"nccl\.h", r"parallel/comm/.*\.cpp"),
    (r"(cuda\w*|cublas\w*|nvtx\w*)\.h|(c10|ATen|torch)/(csrc/)?cuda/.*|c10/core/impl/VirtualGuardImpl\.h", r"parallel/device/.*\.cpp|.*\.cuh?"),
    (r"hdf5\w*\.h", r"data/hdf5/.*|launch/checkpoint/.*\.cpp"),
    (r"CLI/.*", r"launch/commands/.*|launch/main\.cpp"),
    (r"pcre2\.h|unicode/.*", r"data/text/.*\.cpp"),
    (r"toml\+\+/.*", r"launch/toml/.*\.cpp"),
]
# One kind of code for all devices, or tests without a GPU would run other code than GPUs do.
DEVICE_WORDS = re.compile(r"\bis_(cuda|cpu|privateuseone)\(|\bc10::cuda\b|\bat::cuda\b|\btorch::cuda\b|\b(k|DeviceType::)CUDA\b|pin(ned)?_memory\(|non_blocking=\*/true")
DEVICE_HOME = re.compile(r"(parallel/device/.*|parallel/comm/(mpi|checked)_communicator)\.(h|cpp)|.*\.cu")
LONGEST_FILE = 350
MOST_FILES = 24  # of C++ in a room
JUNK_DRAWERS = re.compile(r"(utils?|helpers?|misc)(\..*)?|.*_(utils?|helpers?)(\..*)?")
# Where packages come from is the machine's business. (Written so that this file does not name one.)
REGISTRY_HOST = re.compile(
    r"\b(pypi\.org|pythonhosted\.org|download\.pytorch\.org|(deb|security|snapshot|ftp)(\.\w+)?\.debian\.org"
    r"|(archive|ports)\.ubuntu\.com|huggingface\.co|registry\.npmjs\.org|conda\.anaconda\.org|crates\.io|ghcr\.io"
    r"|docker\.io|quay\.io|cdn\.jsdelivr\.net|unpkg\.com|cdnjs\.cloudflare\.com)\b|--(extra-)?index-ur[l]|--trusted-hos[t]"
)
CODE = re.compile(r".*\.(h|cpp|cu|cuh|c|py|sh|cmake|js|css)|CMakeLists\.txt|(launch|tests|tests/figures|\.ci)/[a-z_]+")
CPP = re.compile(r".*\.(h|cpp|cu|cuh)")
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def files_of(root):
    """Every file of the tree by its path from the root; nothing that building or running made."""
    for folder, folders, names in os.walk(root):
        here = pathlib.Path(folder).relative_to(root)
        if here == pathlib.Path("."):
            folders[:] = [f for f in folders if not MADE_HERE.fullmatch(f) and (not f.startswith(".") or f == ".ci")]
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        for name in sorted(names):
            yield (here / name).as_posix()


def room_of(path):
    parts = path.split("/")
    return (parts[0], parts[1] if len(parts) > 2 else ".")


def include_faults(root, path, line, included):
    """What is wrong with `#include "included"` at this place."""
    at = f"{path}:{line}"
    folder, room = room_of(path)
    if not (root / included).is_file():
        yield f"{at}: \"{included}\" is no file of the tree; our own headers are included by their path from its root"
        return
    other_folder, other_room = room_of(included)
    if folder == "tests":
        return
    if other_folder != folder:
        if not any(included.startswith(allowed) for allowed in MAY_INCLUDE.get(folder, [])):
            may = ", ".join(MAY_INCLUDE.get(folder, [])) or "no other folder"
            yield f"{at}: {folder} includes {included}; it may include {may}"
        return
    order = ROOMS.get(folder, "").split()
    if room not in order or other_room not in order:
        return
    if order.index(other_room) > order.index(room):
        yield f"{at}: room {folder}/{room} includes {included}, of a later room (order: {' '.join(order)})"


def cpp_faults(root, path, lines):
    folder, room = room_of(path)
    if folder in ROOMS and room not in ROOMS[folder].split():
        yield f"{path}:1: room {folder}/{room} is not in the list of rooms (tests/layout/rules.py)"
    for number, text in enumerate(lines, 1):
        word = DEVICE_WORDS.search(text.split("//")[0])
        if folder != "tests" and word and not DEVICE_HOME.fullmatch(path):
            yield f"{path}:{number}: '{word.group()}' is said in parallel/device only (parallel/device/accelerator.h)"
        match = INCLUDE.match(text)
        if not match:
            continue
        quote, included = match.groups()
        if quote == '"':
            yield from include_faults(root, path, number, included)
        for header, home in VENDOR_HEADERS:
            if folder != "tests" and re.fullmatch(header, included) and not re.fullmatch(home, path):
                yield f"{path}:{number}: {included} is kept in {home}"


def crowded_rooms(root):
    rooms = collections.Counter(os.path.dirname(path) for path in files_of(root) if CPP.fullmatch(path) and room_of(path)[0] in ROOMS)
    for room, files in sorted(rooms.items()):
        if files > MOST_FILES:
            yield f"{room}:1: {files} files; a room has at most {MOST_FILES}"


def faults(root):
    yield from crowded_rooms(root)
    for entry in sorted(os.listdir(root)):
        if entry not in TOP_LEVEL and not entry.startswith(".") and not MADE_HERE.fullmatch(entry):
            yield f"{entry}:1: not an entry of the top level ({', '.join(sorted(TOP_LEVEL))}, dotfiles)"
    for path in files_of(root):
        if path.startswith(".") and not path.startswith(".ci/"):
            continue
        drawer = next((part for part in path.split("/") if JUNK_DRAWERS.fullmatch(part)), None)
        if drawer:
            yield f"{path}:1: '{drawer}' says nothing of what is inside"
        try:
            lines = (root / path).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture, or a test's bad input
        for number, text in enumerate(lines, 1):
            host = REGISTRY_HOST.search(text)
            if host:
                yield f"{path}:{number}: names a registry ('{host.group()}'); packages are fetched by name"
        if CODE.fullmatch(path) and len(lines) > LONGEST_FILE:
            yield f"{path}:{LONGEST_FILE + 1}: {len(lines)} lines; a file has at most {LONGEST_FILE}"
        if CPP.fullmatch(path):
            yield from cpp_faults(root, path, lines)


# A made-up file -> its text, and the beginning of the one violation that it must give (None: a clean one).
SELF_TEST = {
    "parallel/base/span.h": ("#pragma once\n#include <string>\n", None),
    "parallel/comm/communicator.h": ('#pragma once\n#include "parallel/base/span.h"\n', None),
    "parallel/comm/mpi_communicator.cpp": ("#include <mpi.h>\n", None),
    "parallel/comm/communicator.cpp": ("\n#include <hdf5.h>\n", "parallel/comm/communicator.cpp:2: hdf5.h is kept"),
    "parallel/comm/leak.h": ("#include <mpi.h>\n", "parallel/comm/leak.h:1: mpi.h is kept"),
    "parallel/comm/wires.cpp": ('#include "moetrain/layers/norm.h"\n', "parallel/comm/wires.cpp:1: parallel includes moetrain"),
    "parallel/base/early.cpp": ('#include "parallel/comm/communicator.h"\n', "parallel/base/early.cpp:1: room parallel/base"),
    "parallel/spare/x.cpp": ("int x;\n", "parallel/spare/x.cpp:1: room parallel/spare is not in the list"),
    "moetrain/layers/norm.h": ('#include "parallel/comm/communicator.h"\n', None),
    "moetrain/config/moe_config.h": ("struct MoeConfig {};\n", None),
    "moetrain/layers/uses_config.cpp": ('#include "moetrain/config/moe_config.h"\n', None),
    "moetrain/layers/up.cpp": ('#include "launch/recipe/recipe.h"\n', "moetrain/layers/up.cpp:1: moetrain includes launch"),
    "moetrain/layers/near.cpp": ('#include "norm.h"\n', 'moetrain/layers/near.cpp:1: "norm.h" is no file'),
    "data/shard.h": ("struct Shard {};\n", None),
    "data/hdf5/file.cpp": ('#include <hdf5.h>\n#include "data/shard.h"\n', None),
    "data/hdf5/wide.cpp": ('#include "parallel/comm/communicator.h"\n', "data/hdf5/wide.cpp:1: data includes parallel/comm"),
    "optim/clipping/side.cpp": ('#include "data/shard.h"\n', "optim/clipping/side.cpp:1: optim includes data"),
    "optim/updates/gpu.cpp": ("#include <cuda_runtime_api.h>\n", "optim/updates/gpu.cpp:1: cuda_runtime_api.h is kept"),
    "parallel/device/accelerator.cpp": ("bool here = device.is_cpu();\n", None),
    "parallel/device/cuda_device.cpp": ("#include <c10/cuda/CUDAStream.h>\n", None),
    "moetrain/layers/where.cpp": ("int x;\nif (t.is_cuda()) x = 1;\n", "moetrain/layers/where.cpp:2: 'is_cuda(' is said in parallel/device"),
    "moetrain/layers/stream.cpp": ("#include <c10/cuda/CUDAStream.h>\n", "moetrain/layers/stream.cpp:1: c10/cuda/CUDAStream.h is kept"),
    "launch/recipe/recipe.h": ("struct Recipe {};\n", None),
    "launch/training/words.cpp": ("#include <CLI/CLI.hpp>\n", "launch/training/words.cpp:1: CLI/CLI.hpp is kept"),
    "launch/recipe/tables.h": ("#include <toml++/toml.h>\n", "launch/recipe/tables.h:1: toml++/toml.h is kept"),
    "launch/long.cpp": ("int y;\n" * (LONGEST_FILE + 1), f"launch/long.cpp:{LONGEST_FILE + 1}: {LONGEST_FILE + 1} lines"),
    "launch/utils/strings.cpp": ("int z;\n", "launch/utils/strings.cpp:1: 'utils' says nothing"),
    "launch/fetch": ("fetch https://py" + "pi.org/simple x\n", "launch/fetch:1: names a registry"),
    "tests/all.cpp": ('#include "launch/recipe/recipe.h"\n#include <mpi.h>\n', None),
    "build/made.cpp": ('#include "nothing.h"\n', None),
    "docs/page.md": ("a page\n", "docs:1: not an entry of the top level"),
} | {f"data/scoring/part{i}.h": ("int x;\n", None if i else "data/scoring:1: 25 files") for i in range(MOST_FILES + 1)}


def self_test():
    # The room that does not exist is found at its file too; everything else gives one violation.
    wanted = [violation for _, violation in SELF_TEST.values() if violation]
    wanted.append("launch/utils/strings.cpp:1: room launch/utils is not in the list")
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, (text, _) in SELF_TEST.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        got = list(faults(root))
    failures = [f"not found: {w}" for w in wanted if not any(g.startswith(w) for g in got)]
    failures += [f"found without cause: {g}" for g in got if not any(g.startswith(w) for w in wanted)]
    failures += [f"found twice: {w}" for w in wanted if sum(g.startswith(w) for g in got) > 1]
    for failure in failures:
        print(failure)
    print(f"self-test: {len(wanted)} violations made, {len(failures)} failures")
    return 1 if failures else 0


def main(words):
    if words == ["--self-test"]:
        return self_test()
    found = list(faults(pathlib.Path(words[0]).resolve() if words else ROOT))
    for fault in found:
        print(fault)
    print(f"layout: {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
