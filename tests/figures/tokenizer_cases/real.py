"""Tokenizers of published models: a Hugging Face folder, a SentencePiece model, a tekken file (tiktoken's kind)."""
import base64
import json

from comparison import Expected, expect_of
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from trained import expect_sentencepiece


def compare(comparison, path):
    name = "real " + path.name
    if not comparison.wants(name):
        return
    if path.is_dir():
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        return comparison.compare(name, path, expect_of(tokenizer), timed=tokenizer.encode)
    if path.suffix == ".json":
        tokenizer = read_tekken(json.loads(path.read_text(encoding="utf-8")))
        folder = comparison.save(f"real {comparison.tokenizers}", tokenizer)
        return comparison.compare(name, folder, expect_of(tokenizer), timed=tokenizer.encode)
    processor, expect = expect_sentencepiece(path.read_bytes())
    return comparison.compare(name, path, expect, timed=processor.encode)


def read_tekken(tekken):
    """As a byte-level tokenizer.json: its ranks are the order of the merges, whose parts are its own encoding."""
    config = tekken["config"]
    specials = config["default_num_special_tokens"]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"]
             for entry in tekken["vocab"][:config["default_vocab_size"] - specials]}
    spell = spelling()
    merges = []
    for piece, rank in ranks.items():
        parts = encode_below(piece, rank, ranks) if len(piece) > 1 else []
        if len(parts) == 2:
            merges.append((rank, spell(parts[0]), spell(parts[1])))
    vocabulary = {spell(piece): rank for piece, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocabulary, [(a, b) for _, a, b in sorted(merges)], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(config["pattern"]), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False)
                                  for name in ("<unk>", "<s>", "</s>", "[INST]")])
    return tokenizer


def encode_below(piece, rank, ranks):
    parts = [piece[i:i + 1] for i in range(len(piece))]
    while True:
        best = min(((ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1)), default=(rank, 0))
        if best[0] >= rank:
            return parts
        at = best[1]
        parts[at:at + 2] = [parts[at] + parts[at + 1]]


def spelling():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return lambda piece: "".join(characters[byte] for byte in piece)
