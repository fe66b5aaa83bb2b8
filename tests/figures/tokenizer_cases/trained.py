"""Tokenizers trained here, of every kind that models have."""
import base64
import io
import json

import sentencepiece
from comparison import SPECIALS, Expected, expect_of
from probes import DEEPSEEK, GPT4O, LLAMA3, QWEN2, split
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

MARK = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train_bpe(pre, lines, normalizer=None, byte_level=True, size=3000, bytes_too=False, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer, tokenizer.normalizer = pre, normalizer
    specials = ["<unk>", "<s>", "</s>"] + (BYTES if bytes_too else [])
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, show_progress=False,
        continuing_subword_prefix=model.get("continuing_subword_prefix") or "",
        end_of_word_suffix=model.get("end_of_word_suffix") or "",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if byte_level else []))
    return tokenizer


def without_byte_specials(tokenizer):
    """The trainer takes byte pieces for special tokens, which models do not."""
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = [token for token in file["added_tokens"] if token["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(file))


def byte_level(pre, lines, normalizer=None, **model):
    tokenizer = train_bpe(pre, lines, normalizer, **model)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>"])
    tokenizer.add_tokens([AddedToken("caf\u00e9", normalized=True), AddedToken("[INST]", lstrip=True, rstrip=True)])
    return tokenizer


def sequence(*steps):
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def framed(tokenizer, single):
    ends = [(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ends)
    return tokenizer


def llama2(lines):
    pre = pre_tokenizers.Metaspace(MARK, "always", True)
    tokenizer = without_byte_specials(train_bpe(pre, lines, byte_level=False, bytes_too=True, byte_fallback=True,
                                                fuse_unk=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    return framed(tokenizer, "<s> $A")


def mistral(lines):
    tokenizer = llama2(lines)
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(MARK, "first", False)
    return framed(tokenizer, "<s> $A </s>")


def gemma(lines):
    tokenizer = llama2(lines)
    tokenizer.normalizer = normalizers.Replace(" ", MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def classic_bpe(lines):
    """Of before byte-level: an end-of-word mark, an unknown piece, lower case."""
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    pre = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    tokenizer = train_bpe(pre, lines, normalizer, byte_level=False, unk_token="<unk>", end_of_word_suffix="</w>")
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    return tokenizer


def prefixed_bpe(lines):
    tokenizer = train_bpe(pre_tokenizers.WhitespaceSplit(), lines, byte_level=False, unk_token="<unk>", fuse_unk=True,
                          continuing_subword_prefix="##")
    return tokenizer  # no decoder: spaces between pieces


def unigram(lines, pre, normalizer, bytes_too=False):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.normalizer = pre, normalizer
    specials = ["<pad>", "</s>", "<unk>", "<s>", "<extra_id_0>"] + (BYTES if bytes_too else [])
    tokenizer.train_from_iterator(lines[:4000], trainers.UnigramTrainer(
        vocab_size=2000 + 256 * bytes_too, special_tokens=specials, unk_token="<unk>", show_progress=False))
    file = json.loads(tokenizer.to_str())
    file["model"]["byte_fallback"] = bytes_too
    file["added_tokens"] = [token for token in file["added_tokens"] if token["content"] not in BYTES]
    tokenizer = Tokenizer.from_str(json.dumps(file))
    steps = [decoders.ByteFallback()] if bytes_too else []
    tokenizer.decoder = decoders.Sequence(steps + [decoders.Metaspace()])
    return framed(tokenizer, "$A </s>")


def unspellable(tokenizer):
    """The same, but for names of control pieces that no text has: models take those for pieces of text like others."""
    file = json.loads(tokenizer.to_str())
    model = file["model"]
    names = {token["content"] for token in file["added_tokens"] if token["special"]} | {"<unk>"}
    rename = {name: f"\U0010fff0{i}\U0010fff1" for i, name in enumerate(sorted(names))}
    if model["type"] == "Unigram":
        model["vocab"] = [[rename.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        prefix = len(model["continuing_subword_prefix"] or "")
        model["vocab"] = {rename.get(piece, piece): token for piece, token in model["vocab"].items()}
        model["merges"] = [[a, b] for a, b in model["merges"] if not names & {a, b, a + b[prefix:]}]
        model["unk_token"] = rename.get(model["unk_token"], model["unk_token"])
    for token in file["added_tokens"]:
        token["content"] = rename.get(token["content"], token["content"])
    file["post_processor"] = None
    return Tokenizer.from_str(json.dumps(file))


def train_sentencepiece(lines, kind, size, normalization, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines[:6000]), model_writer=model, model_type=kind, vocab_size=size, minloglevel=3,
        normalization_rule_name=normalization, hard_vocab_limit=False, **options)
    return model.getvalue()


def field(proto, number):
    """The bytes of a field of a protocol buffer."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = proto[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(proto):
        key = varint()
        if key & 7 == 2:
            size = varint()
            if key >> 3 == number:
                return proto[at:at + size]
            at += size
        elif key & 7 == 0:
            varint()
        else:
            at += 4 if key & 7 == 5 else 8
    raise KeyError(number)


def charsmap(lines, normalization):
    """The table of SentencePiece's own normaliser, which T5's tokenizer.json carries too."""
    proto = train_sentencepiece(lines, "char", 300, normalization)
    return base64.b64encode(field(field(proto, 3), 2)).decode()


def with_precompiled(tokenizer, table):
    """The Python class does not take its table back, the file does."""
    file = json.loads(tokenizer.to_str())
    text = json.dumps(file)
    return Tokenizer.from_str(text.replace('{"type": "Prepend", "prepend": "PRECOMPILED"}',
                                           json.dumps({"type": "Precompiled", "precompiled_charsmap": table})))


def compare_hugging_face(comparison, lines):
    split_regex = lambda expression: sequence(split(expression))
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    makers = {
        "gpt2": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), lines),
        "gpt2 space": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), lines, normalizers.NFC()),
        "llama3": lambda: framed(byte_level(split_regex(LLAMA3), lines, ignore_merges=True), "<s> $A"),
        "qwen2": lambda: byte_level(split_regex(QWEN2), lines, normalizers.NFC()),
        "gpt4o": lambda: byte_level(split_regex(GPT4O), lines),
        "smollm": lambda: byte_level(digits, lines),
        "deepseek": lambda: byte_level(sequence(
            split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(DEEPSEEK)), lines),
        "llama2": lambda: llama2(lines),
        "mistral": lambda: mistral(lines),
        "gemma": lambda: gemma(lines),
        "classic bpe": lambda: classic_bpe(lines),
        "prefixed bpe": lambda: prefixed_bpe(lines),
        "unigram": lambda: unigram(lines, pre_tokenizers.Metaspace(), None),
        "unigram bytes": lambda: unigram(lines, pre_tokenizers.Metaspace(), normalizers.NFKC(), bytes_too=True),
        "unigram unsplit": lambda: unigram(lines, pre_tokenizers.Metaspace(split=False), normalizers.Nmt()),
        "t5": lambda: with_precompiled(unigram(lines, pre_tokenizers.Metaspace(), normalizers.Sequence(
            [normalizers.Prepend("PRECOMPILED"), normalizers.Replace(Regex(" {2,}"), MARK)])), charsmap(lines, "nmt_nfkc")),
        "xlm-roberta": lambda: with_precompiled(unigram(lines, pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]), normalizers.Prepend("PRECOMPILED")),
            charsmap(lines, "nfkc_cf")),
    }
    for name, make in makers.items():
        if comparison.wants("trained " + name):
            tokenizer = make()
            expect = expect_of(tokenizer, unspellable(tokenizer))
            folder = comparison.save("trained " + name, tokenizer)
            comparison.compare("trained " + name, folder, expect, timed=tokenizer.encode)


def expect_sentencepiece(proto):
    processor = sentencepiece.SentencePieceProcessor()
    processor.load_from_serialized_proto(proto)

    def expect(text):
        ids = processor.encode(text)
        controls = any(special in text for special in SPECIALS)
        return Expected(ids, None if controls else ids, None, None if controls else processor.decode(ids))
    return processor, expect


def compare_sentencepiece(comparison, lines):
    plain = {"remove_extra_whitespaces": False, "add_dummy_prefix": False}
    makers = {
        "bpe": ("bpe", 2000, "nmt_nfkc", {}),
        "bpe bytes": ("bpe", 2300, "identity", {"byte_fallback": True, "remove_extra_whitespaces": False}),
        "bpe plain": ("bpe", 2000, "nfkc_cf", {**plain, "user_defined_symbols": ["[INST]", "ab"]}),
        "unigram": ("unigram", 1500, "nmt_nfkc", {}),
        "unigram bytes": ("unigram", 1800, "nmt_nfkc_cf", {"byte_fallback": True, "split_digits": True}),
        "unigram suffix": ("unigram", 1500, "nfkc", {"treat_whitespace_as_suffix": True}),
        "char": ("char", 400, "nmt_nfkc", {}),
        "word": ("word", 1500, "nmt_nfkc", {}),
    }
    for name, (kind, size, normalization, options) in makers.items():
        name = "sentencepiece " + name
        if comparison.wants(name):
            proto = train_sentencepiece(lines, kind, size, normalization, **options)
            folder = comparison.folder(name)
            (folder / "tokenizer.model").write_bytes(proto)
            processor, expect = expect_sentencepiece(proto)
            comparison.compare(name, folder, expect, timed=processor.encode)
