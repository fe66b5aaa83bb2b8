#!/usr/bin/env python3
"""Parquet files that pyarrow writes, prepared by the real program: the tokens of the same texts as JSON lines; what is broken
or no text is refused by file and rows."""
import json

import cases
import h5py
import pyarrow
import pyarrow.parquet

ROWS, GROUP = 6000, 1000


def texts():
    for i in range(ROWS):
        yield None if i % 97 == 5 else f"{i} der Hund lief im Park, größer und größer {'.' * (i % 50)}", "de" if i % 3 else "en"


def columns_of(path):
    with h5py.File(path) as file:
        return {name: file[f"documents/{name}"][:].tolist() for name in ("tokens", "offsets", "group", "bytes", "split")}


def main(bench):
    folder = bench.folder

    def prepare(name, *options):
        return bench.run("prepare", "--text", folder / name, "--tokenizer", "byte", "--output", folder / f"{name}.h5",
                         "--overwrite", *options)

    def refused(name, file, *words, options=()):
        bench.check_refused(name, prepare(file, *options), file, *words)
        bench.check(f"{name}: no output is left", not (folder / f"{file}.h5").exists())

    rows = list(texts())
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text, "language": language}, ensure_ascii=False) + "\n"
                                            for text, language in rows if text is not None))
    bench.check("JSON lines", prepare("a.jsonl").returncode == 0)
    wanted = columns_of(folder / "a.jsonl.h5")
    text, language = ([row[column] for row in rows] for column in (0, 1))
    table = pyarrow.table({"id": pyarrow.array(range(ROWS)), "text": text, "language": language,
                           "doc": [{"body": value, "words": 1} for value in text], "many": [["x"]] * ROWS})
    large = table.set_column(1, "text", table["text"].cast(pyarrow.large_string()))
    for name, what, compression in (("snappy", table, "snappy"), ("zstd", large, "zstd"), ("gzip", table, "gzip")):
        pyarrow.parquet.write_table(what, folder / f"{name}.parquet", compression=compression, row_group_size=GROUP)
        done = prepare(f"{name}.parquet")
        bench.check(name, done.returncode == 0 and columns_of(folder / f"{name}.parquet.h5") == wanted, done.stderr)
    done = prepare("zstd.parquet", "--field", "doc.body")
    bench.check("a member of structs", done.returncode == 0 and columns_of(folder / "zstd.parquet.h5") == wanted, done.stderr)
    for name in ("snappy", "zstd", "gzip"):
        (folder / f"{name}.parquet.h5").unlink()
    refused("no such column", "zstd.parquet", 'no column "body"', "doc.body", options=("--field", "body"))
    refused("a column of numbers", "zstd.parquet", 'column "id" holds no text', options=("--field", "id"))
    refused("a column of lists", "zstd.parquet", "lists", options=("--field", "many.list.element"))
    pyarrow.parquet.write_table(table, folder / "whole.parquet", compression="none", use_dictionary=False, row_group_size=GROUP,
                                write_page_checksum=True)
    whole = (folder / "whole.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    refused("a file that is cut", "cut.parquet", "Parquet")
    place = whole.index(f"{3 * GROUP + 500} der Hund".encode())
    (folder / "flipped.parquet").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
    refused("a flipped bit", "flipped.parquet", f"row group 3 (rows {3 * GROUP + 1} to {4 * GROUP})")


cases.main(main)
