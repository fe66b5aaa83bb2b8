"""Exports random models and real vocabularies, and compares what `transformers` loads with the oracle.

Usage: export_check.py EXPORT_TOOL. Needs no trained model and no MPI: EXPORT_TOOL wraps launch/interchange alone.
Its last line is the figure; it exits 1 where a case fails.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import safetensors.torch
import sentencepiece
import torch
import transformers

from reference_model import ReferenceModel, parameter_shapes

TOLERANCE = 1e-4  # of a float32 logit
REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
SMALL = dict(layers=3, width=48, heads=6, kv_heads=2, ffn_hidden=80)
EXPERTS = dict(experts=6, top_k=2, hidden=40)
ALL = [0, 1, 2]
# name, architecture, model, moe, blocks with experts, dtype
CASES = [
    ("mixtral", "MixtralForCausalLM", dict(tie_embeddings=False), {}, ALL, torch.float32),
    ("mixtral_tied", "MixtralForCausalLM", dict(rope_theta=500.0, norm_epsilon=1e-3), {}, ALL, torch.float32),
    ("mixtral_float64", "MixtralForCausalLM", {}, dict(top_k=3), ALL, torch.float64),
    ("mixtral_one_expert", "MixtralForCausalLM", {}, dict(experts=1, top_k=1), ALL, torch.float32),
    ("raw_gate", "Qwen2MoeForCausalLM", dict(tie_embeddings=False), dict(gate="raw"), ALL, torch.float32),
    ("shared", "Qwen2MoeForCausalLM", dict(tie_embeddings=False), dict(shared_hidden=24), ALL, torch.float32),
    ("shared_raw_tied", "Qwen2MoeForCausalLM", {}, dict(shared_hidden=24, gate="raw"), ALL, torch.float32),
    ("shared_ungated", "Qwen2MoeForCausalLM", {}, dict(shared_hidden=24, shared_gate=False), ALL, torch.float32),
    ("dense_mixed", "Qwen2MoeForCausalLM", dict(tie_embeddings=False), {}, [1], torch.float32),
    ("dense_mixed_shared", "Qwen2MoeForCausalLM", {}, dict(shared_hidden=24), [0, 2], torch.float32),
    ("llama", "LlamaForCausalLM", dict(tie_embeddings=False), {}, [], torch.float32),
    ("llama_tied", "LlamaForCausalLM", dict(kv_heads=6), {}, [], torch.float32),
    ("llama_bfloat16", "LlamaForCausalLM", {}, {}, [], torch.bfloat16),
    ("mixtral_bfloat16", "MixtralForCausalLM", {}, {}, ALL, torch.bfloat16),
    ("shared_ungated_bfloat16", "Qwen2MoeForCausalLM", {}, dict(shared_hidden=24, shared_gate=False), ALL,
     torch.bfloat16),
]


def layers(moe_blocks):
    return dict(layers=",".join(map(str, moe_blocks)) or "none")


def byte_pieces():
    return [[f"<0x{byte:02X}>", 0.0, "byte"] for byte in range(256)] + [["</s>", 0.0, "control"]]


def export(tool, folder, spec, parameters):
    spec_file, parameter_file = folder / "spec.json", folder / "parameters.safetensors"
    spec_file.write_text(json.dumps(spec), encoding="utf-8")
    safetensors.torch.save_file(parameters, parameter_file)
    subprocess.run([tool, spec_file, parameter_file, folder / "exported"], check=True)
    return folder / "exported"


def random_parameters(spec, moe_blocks, dtype, seed):
    """Large enough that a wrong expert, gate or angle moves the logits by far more than the tolerance."""
    generator = torch.Generator().manual_seed(seed)
    shapes = parameter_shapes(spec["model"], spec["moe"], moe_blocks, spec["vocabulary_size"])
    parameters = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        parameters[name] = (1 + 0.3 * values if len(shape) == 1 else 0.15 * values).to(dtype)
    return parameters


def padded_difference(model, tokenizer, texts):
    """Of logits between a text in a padded batch and alone; by the tokenizer's own padding."""
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    lengths = [len(tokenizer.encode(text)) for text in texts]
    filled = batch["input_ids"][0, : max(lengths) - lengths[0]]
    assert len(filled) > 0 and (filled == tokenizer.eos_token_id).all(), f"the shorter text is filled with {filled}"
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    with torch.no_grad():
        together = model(**batch).logits
        alone = [model(torch.tensor([tokenizer.encode(text)])).logits[0] for text in texts]
    return max((together[i, -length:] - alone[i]).abs().max().item() for i, length in enumerate(lengths))


def check_pipeline(exported, texts):
    generate = transformers.pipeline("text-generation", model=str(exported), batch_size=2)
    arguments = dict(max_new_tokens=6, return_full_text=False)
    together = [found[0]["generated_text"] for found in generate(texts, **arguments)]
    alone = [generate(text, **arguments)[0]["generated_text"] for text in texts]
    assert together == alone and any(alone), f"two at once: {together}, one by one: {alone}"


def check_model(tool, case, seed):
    name, architecture, model, moe, moe_blocks, dtype = case
    spec = dict(model=SMALL | model, moe=EXPERTS | moe | layers(moe_blocks), vocabulary_size=300,
                sequence_length=64, tokenizer=dict(kind="byte", end_of_text=256, pieces=byte_pieces()))
    parameters = random_parameters(spec, moe_blocks, dtype, seed)
    with tempfile.TemporaryDirectory() as folder:
        exported = export(tool, pathlib.Path(folder), spec, parameters)
        # Compared in float32, also where the file holds bfloat16: the weights are exact, the arithmetic is the same.
        loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
            exported, dtype=torch.float32, output_loading_info=True)
        automatic = transformers.AutoModelForCausalLM.from_pretrained(exported)
        padded = padded_difference(loaded, transformers.AutoTokenizer.from_pretrained(exported), ["ab", "a longer text"])
        if name in ("mixtral", "shared", "llama"):
            check_pipeline(exported, ["ab", "a longer text"])
    for problem, names in report.items():
        assert not names, f"{name}: {problem}: {names}"
    assert type(loaded).__name__ == architecture, f"{name}: loaded as {type(loaded).__name__}"
    stored = torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
    assert automatic.dtype == stored, f"{name}: loads as {automatic.dtype}, stored as {stored}"
    tokens = torch.randint(0, 300, (50,), generator=torch.Generator().manual_seed(seed + 1))
    oracle = ReferenceModel(spec["model"], spec["moe"], moe_blocks,
                            {key: value.to(torch.float32) for key, value in parameters.items()})
    with torch.no_grad():
        difference = (loaded(tokens[None]).logits[0] - oracle.logits(tokens)).abs().max().item()
        scale = oracle.logits(tokens).std().item()
    print(f"{name}: {architecture} max_logit_difference={difference:.2e} padded={padded:.2e} logit_deviation={scale:.2f}")
    return max(difference, padded)


def own_text():
    """The repository's own prose and source: text that every checkout has."""
    files = sorted(path for suffix in ("*.md", "*.h", "*.py") for room in ("parallel", "moetrain", "optim", "data", "launch", "tests")
                   for path in (REPOSITORY / room).rglob(suffix)
                   if not any(part.startswith((".", "build")) for part in path.relative_to(REPOSITORY).parts))
    files.append(REPOSITORY / "LICENSE")
    return [line for path in files for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line]


def awkward_lines(lines, count):
    """Cuts of the text with what tokenizers trip over: runs of spaces and of equal signs, tabs, emoji, accents."""
    draw = random.Random(7)
    spice = [" ", "  ", "     ", "\t", "\n", "\n\n", "\r\n", "é", "Ça va où ?", "größer", "señor", "日本語", "🙂", "👩‍👩‍👧",
             "e\u0301", "\u00a0", "\u200b", "----", "=====", "a" * 9, "abababab", "0000", "<0x0A>", "<unk>", "</s>",
             "\x01", "\u2581", "\u2581\u2581 a"]
    made = ["", " ", "  leading", "trailing  "] + spice
    for _ in range(count):
        parts = []
        for _ in range(draw.randint(1, 6)):
            line = draw.choice(lines)
            start = draw.randrange(len(line))
            parts.append(line[start : start + draw.randint(1, 60)])
            parts.append(draw.choice(spice) * draw.choice((0, 1, 1, 2)))
        made.append("".join(parts))
    return made


def sentencepiece_model(lines, folder, vocabulary_size):
    with open(folder / "text.txt", "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "pieces"), model_type="bpe",
        vocab_size=vocabulary_size,
        normalization_rule_name="identity", byte_fallback=True, add_dummy_prefix=False, remove_extra_whitespaces=False,
        bos_id=-1, pad_id=-1, unk_id=0, eos_id=1, character_coverage=0.9995, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "pieces.model"))


def special_names(tokenizer):
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def encode_literally(model, text):
    """A space mark in the text is no space: it becomes its bytes, as in moetrain's tokenizer."""
    parts = [model.encode(part) for part in text.split("\u2581")]
    mark = [model.piece_to_id(f"<0x{byte:02X}>") for byte in "\u2581".encode("utf-8")]
    return parts[0] + [token for part in parts[1:] for token in mark + part]


def check_tokenizer(tool, kind, lines):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if kind == "byte":
            pieces, end_of_text = byte_pieces(), 256
            encode = lambda text: list(text.encode("utf-8"))
        else:
            model = sentencepiece_model(lines, folder, 1000)
            end_of_text, encode = 1, lambda text: encode_literally(model, text)
            kinds = [(model.is_control, "control"), (model.is_byte, "byte"), (model.is_unknown, "unknown")]
            pieces = [[model.id_to_piece(token), model.get_score(token),
                       next((word for test, word in kinds if test(token)), "normal")]
                      for token in range(model.vocab_size())]
        spec = dict(model=SMALL, moe=layers([]), vocabulary_size=len(pieces), sequence_length=64,
                    tokenizer=dict(kind=kind, end_of_text=end_of_text, pieces=pieces))
        exported = export(tool, folder, spec, random_parameters(spec, [], torch.float32, 0))
        loaded = transformers.AutoTokenizer.from_pretrained(exported)
        literal = transformers.AutoTokenizer.from_pretrained(exported, split_special_tokens=True)
    assert loaded.eos_token == "</s>" and loaded.eos_token_id == end_of_text
    assert len(loaded) == len(pieces), f"{len(loaded)} tokens loaded, {len(pieces)} exported"
    texts = awkward_lines(lines, 4000)
    # Where a text holds the name of a special token, transformers must be told to take it literally.
    reader = {text: literal if any(name in text for name in special_names(loaded)) else loaded
              for text in texts}
    wrong = [text for text in texts if reader[text].encode(text) != encode(text)]
    lost = [text for text in texts if loaded.decode(reader[text].encode(text)) != text]
    for text in (wrong + lost)[:5]:
        print(f"  {kind}: {text!r}\n    ours {encode(text)}\n    transformers {reader[text].encode(text)}")
    control_and_unknown = [token for token, piece in enumerate(pieces) if piece[2] in ("control", "unknown")]
    assert loaded.decode(control_and_unknown, skip_special_tokens=True) == ""
    assert loaded.encode("a</s>b") == encode("a") + [end_of_text] + encode("b")
    assert literal.encode("a</s>b") == encode("a</s>b")
    print(f"tokenizer {kind}: {len(texts)} texts, {len(wrong)} encoded differently, {len(lost)} not restored")
    return len(wrong) + len(lost)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tool = str(pathlib.Path(sys.argv[1]).resolve())
    worst = max(check_model(tool, case, seed) for seed, case in enumerate(CASES))
    differing = sum(check_tokenizer(tool, kind, own_text()) for kind in ("byte", "sentencepiece"))
    print(f"export_check max_logit_difference={worst:.2e} cases={len(CASES)} texts_differing={differing} "
          f"transformers={transformers.__version__}")
    sys.exit(0 if worst <= TOLERANCE and differing == 0 else 1)


if __name__ == "__main__":
    main()
