#!/usr/bin/env python3
"""Parquet files that pyarrow writes, prepared by the real program: the tokens of the same texts and conversations as JSON lines;
what is broken or no text is refused by file and rows."""
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


def conversations():
    """Of two messages or three, with what JSON has to escape."""
    for i in range(ROWS // 10):
        said = f"{i} \"größer\"?\t\\ {{}} \x01"
        yield [{"role": "system", "content": "kurz"}] * (i % 3 == 0) + [
            {"role": "user", "content": said}, {"role": "assistant", "content": f"ja, {i}"}]


def of_conversations(bench, prepare, refused):
    folder = bench.folder
    chat = ("--chat-template", "chatml")
    rows = list(conversations())

    def same(name, table, wanted):
        pyarrow.parquet.write_table(table, folder / "chat.parquet", row_group_size=GROUP // 10)
        done = prepare("chat.parquet", *chat)
        bench.check(name, done.returncode == 0 and columns_of(folder / "chat.parquet.h5") == wanted, done.stderr)
        (folder / "chat.parquet.h5").unlink(missing_ok=True)

    def wanted_of(lines):
        (folder / "chat.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        done = prepare("chat.jsonl", *chat)
        bench.check("conversations as JSON lines", done.returncode == 0, done.stderr)
        return columns_of(folder / "chat.jsonl.h5")

    wanted = wanted_of({"messages": row, "language": "de"} for row in rows)
    language = ["de"] * len(rows)
    structs = pyarrow.table({"messages": rows, "language": language, "prompt": [row[-2]["content"] for row in rows]})
    same("lists of structs, beside a prompt that repeats their question", structs, wanted)
    spare = [[{**message, "tokens": 3, "tools": [{"name": "x"}]} for message in row] for row in rows]
    same("members that are not read", pyarrow.table({"messages": spare, "language": language}), wanted)
    large = structs["messages"].cast(pyarrow.large_list(pyarrow.struct([("content", pyarrow.large_string()),
                                                                        ("role", pyarrow.string())])))
    same("large lists and texts, and coded ones", pyarrow.table({
        "messages": large, "language": pyarrow.array(language).dictionary_encode()}), wanted)
    same("JSON as text", pyarrow.table({"messages": [json.dumps(row) for row in rows], "language": language}), wanted)
    gaps = pyarrow.table({"messages": [x for row in rows for x in (row, None)], "language": ["de", None] * len(rows)})
    same("rows without one", gaps, wanted)
    pairs = [{"prompt": row[-2]["content"], "completion": row[-1]["content"]} for row in rows]
    same("prompts and completions", pyarrow.Table.from_pylist(pairs), wanted_of(pairs))
    lists = [{"prompt": row[:-1], "completion": row[-1:]} for row in rows]
    same("lists of them", pyarrow.Table.from_pylist(lists), wanted_of(lists))

    def refused_table(name, *words, options=chat, **columns):
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / "bad.parquet")
        refused(name, "bad.parquet", *words, options=options)

    good = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    refused_table("no template", "bad.parquet:1", "--chat-template", messages=[good], options=())
    refused_table("no conversation and no text", 'no column "text", "messages", "prompt", "completion"; it has words', words=["x"])
    refused_table("a message without a role", "bad.parquet:2: messages[0]: the message has no", messages=[None, [{"content": "a"}]])
    refused_table("a message that is null", "bad.parquet:1: messages[1]: is null", messages=[[good[0], None]])
    refused_table("a content that is null", "bad.parquet:2: messages[1].content: is null",
                  messages=[good, [good[0], {"role": "assistant", "content": None}]])
    refused_table("parts of pictures", "bad.parquet:1: messages[0].content: is array",
                  messages=[[{"role": "user", "content": [{"type": "text", "text": "a"}]}]])
    refused_table("numbers for content", 'column "messages.list.element.content" holds no text but INT64',
                  messages=[[{"role": "user", "content": 3}]])
    refused_table("structs of something else", 'column "messages" holds neither text nor structs', messages=[[{"who": "user"}]])
    refused_table("a list of texts", 'column "prompt" holds neither text nor structs', prompt=[["a"]], completion=["b"])
    refused_table("text that is no JSON", "bad.parquet:2:", "is text, and no JSON", messages=[json.dumps(good), "[{"])
    refused_table("JSON of something else", "bad.parquet:1: messages: is object", messages=["{}"])
    refused_table("a prompt without a completion", "bad.parquet:1", "no \"completion\"", prompt=["a"], completion=pyarrow.array(
        [None], pyarrow.string()))
    refused_table("bytes that are not UTF-8", "bad.parquet:1: not UTF-8",
                  messages=[[{"role": "user", "content": b"\xff"}]])
    deep = "a"
    for _ in range(20):
        deep = [deep]
    refused_table("lists in lists", "too many of them", messages=[[{"role": "user", "content": deep}]])
    pyarrow.parquet.write_table(pyarrow.table({"messages": rows}), folder / "whole.parquet", compression="none",
                                use_dictionary=False, row_group_size=GROUP // 10, write_page_checksum=True)
    whole = (folder / "whole.parquet").read_bytes()
    place = whole.index(b"ja, 333")
    (folder / "flipped.parquet").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
    refused("a flipped bit in a message", "flipped.parquet", "row group 3 (rows 301 to 400)", options=chat)


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
    of_conversations(bench, prepare, refused)


cases.main(main)
