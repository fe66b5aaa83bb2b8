"""Tokenizers whose ids show each cut and each byte: the 256 bytes at the beginning of a word, and inside of it."""
import random

from comparison import expect_of, is_young
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
          r"\s+(?!\S)|\s")
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
            r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BEHAVIORS = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")


def alphabet():
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def probe(pre=None, normalizer=None, added=()):
    characters = alphabet()
    vocabulary = {c: i for i, c in enumerate(characters)}
    vocabulary.update({"##" + c: 256 + i for i, c in enumerate(characters)})
    tokenizer = Tokenizer(models.BPE(vocabulary, [], continuing_subword_prefix="##"))
    steps = pre if isinstance(pre, list) else [pre] if pre else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("</s>", special=True, normalized=False)])
    for token in added:
        tokenizer.add_tokens([token])
    return tokenizer


def split(expression, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(expression), behavior, invert)


def expression_probes():
    yield "ByteLevel", pre_tokenizers.ByteLevel(add_prefix_space=False)
    for name, expression in (("gpt2", GPT2), ("llama3", LLAMA3), ("qwen2", QWEN2), ("gpt4o", GPT4O), ("cl100k", CL100K),
                             ("deepseek", DEEPSEEK)):
        yield name, split(expression)
    for expression in (r"\w+", r"\W", r"\s", r"\S+", r"\d+", r"\b", r"\B", r"\h+", r"[[:alpha:]]+", r"[[:space:]]",
                       r"[[:upper:]]", r"[[:lower:]]", r"^a|b$", r".", r"(?m).+", r"\p{Han}+|\p{Hiragana}", r"(?=[A-Z])",
                       r"(?i)\p{Lu}+", r"[\w']+",
                       r"a{2}?", r"x{,3}", r"[^\S\n]+", r"\p{^L}+", r"(?<=a)b", r"(?>a+)b", r"\u00e9", r"\x{e9}|\v"):
        yield "/" + expression + "/", split(expression)


def step_probes():
    for behavior in BEHAVIORS:
        yield f"Split regex {behavior}", split(r"\s+|[a-c]", behavior)
        yield f"Split invert {behavior}", split(r"\w+", behavior, True)
        yield f"Split string {behavior}", pre_tokenizers.Split(" ", behavior)
        yield f"Split string ab {behavior}", pre_tokenizers.Split("ab", behavior)
        yield f"Punctuation {behavior}", pre_tokenizers.Punctuation(behavior)
    yield "Digits", pre_tokenizers.Digits(False)
    yield "Digits individual", pre_tokenizers.Digits(True)
    yield "Whitespace", pre_tokenizers.Whitespace()
    yield "WhitespaceSplit", pre_tokenizers.WhitespaceSplit()
    yield "CharDelimiterSplit", pre_tokenizers.CharDelimiterSplit("a")
    for scheme in ("always", "first", "never"):
        for splits in (True, False):
            yield f"Metaspace {scheme} {splits}", pre_tokenizers.Metaspace("\u2581", scheme, splits)
    yield "ByteLevel space", pre_tokenizers.ByteLevel(add_prefix_space=True)
    yield "several", [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(True), pre_tokenizers.Punctuation(),
                      pre_tokenizers.Metaspace("\u2581", "first", True)]


def normalizer_probes():
    for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"):
        yield name, getattr(normalizers, name)()
    yield "Strip", normalizers.Strip()
    yield "Strip left", normalizers.Strip(True, False)
    yield "Strip right", normalizers.Strip(False, True)
    yield "Prepend", normalizers.Prepend("\u2581")
    yield "Replace string", normalizers.Replace(" ", "\u2581")
    yield "Replace regex", normalizers.Replace(Regex(r" {2,}|[aA]"), "-")
    yield "Replace empty", normalizers.Replace(Regex(r"\s+"), "")
    yield "normalizers", normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                               normalizers.Strip(), normalizers.Replace("a", "bb")])


def added_probes():
    for name, options in (("plain", {}), ("normalized", {"normalized": True}), ("single word", {"single_word": True}),
                          ("lstrip", {"lstrip": True}), ("rstrip", {"rstrip": True}),
                          ("all", {"single_word": True, "lstrip": True, "rstrip": True, "normalized": True})):
        tokens = [AddedToken(text, **{"normalized": False, **options})
                  for text in ("[INST]", "ab", "abab", "<pad>", "Caf\u00e9")]
        yield "added " + name, probe(split(GPT2), added=tokens)
        small = normalizers.Sequence([normalizers.Lowercase(), normalizers.NFD()])
        yield "added normalized " + name, probe(pre_tokenizers.Metaspace("\u2581", "first", True), small, tokens)


def all_of_unicode(step):
    """Texts in which every character stands where its class decides, 40 to a text; the younger ones apart."""
    draw = random.Random(3)
    known, young = [], []
    for code in range(0, 0x110000):
        character = chr(code)
        thinned = code >= 0xE000 and code % 97 and is_young(character)  # most of them are not assigned at all
        if 0xD800 <= code < 0xE000 or (code % step and code > 0x3000) or thinned:
            continue
        (young if is_young(character) else known).append(character)
    texts = []
    for group in (known, young):
        for at in range(0, len(group), 40):
            texts.append("".join(draw.choice(("a", "A", "1", " ", "'", "\n", "")) + c +
                                 draw.choice(("b", " ", "1", "'s", c, ".")) for c in group[at:at + 40]))
    return texts


def compare(comparison, quick):
    unicode_texts = all_of_unicode(100 if quick else 1)
    lines, nasty = (30, 250) if quick else (300, 900)
    texts = comparison.texts[:lines] + comparison.texts[-nasty:]
    for name, pre in list(expression_probes()) + list(step_probes()):
        run(comparison, name, probe(pre), texts, unicode_texts)
    for name, normalizer in normalizer_probes():
        run(comparison, name, probe(split(GPT2), normalizer), texts, unicode_texts)
    for name, tokenizer in added_probes():
        run(comparison, name, tokenizer, texts, [])


def run(comparison, name, tokenizer, texts, unicode_texts):
    name = "probe " + name
    if comparison.wants(name):
        folder = comparison.save(f"probe {comparison.tokenizers}", tokenizer)
        comparison.compare(name, folder, expect_of(tokenizer), texts + unicode_texts)
