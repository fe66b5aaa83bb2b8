#!/usr/bin/env python3
"""Every C++ file is as clang-format leaves it (.clang-format; the version that tests/requirements.txt pins).

format.py [FOLDER]      prints each deviation as clang-format does and exits 1
format.py --self-test   a tree with one deviating file: it is found, and nothing else is
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

import rules

CLANG_FORMAT = pathlib.Path(sys.executable).parent / "clang-format"


def deviations(root):
    """(number of files looked at, clang-format's words about those that deviate)"""
    files = [path for path in rules.files_of(root) if rules.CPP.fullmatch(path)]
    if not files:
        return 0, "no C++ file found"
    done = subprocess.run([str(CLANG_FORMAT), "--dry-run", "-Werror", *files], cwd=root, capture_output=True, text=True)
    return len(files), done.stderr if done.returncode != 0 else ""


def self_test():
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        shutil.copy(rules.ROOT / ".clang-format", root)
        (root / "good.h").write_text("int good(int a);\n")
        count, words = deviations(root)
        assert (count, words) == (1, ""), words
        (root / "bad.cpp").write_text("int bad( int a );\n")
        count, words = deviations(root)
        assert count == 2 and "bad.cpp:1" in words and "good.h" not in words, words
    print("format: the self-test passes")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    count, words = deviations(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else rules.ROOT)
    print(f"{words}format: {count} files, {'deviations; clang-format -i mends them' if words else 'none deviates'}")
    return 1 if words else 0


sys.exit(main())
