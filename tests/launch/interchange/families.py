"""Tiny random Hugging Face folders of each family, their logits by `transformers`, and comparisons of folders.

families.py list
families.py make FOLDER --family NAME [--variant V] [--dtype float32|float16|bfloat16] [--seed N] [--shards N]
                 [--format fp8|mxfp4] [--spelling published] [--layout fused|bare|next_token|copies]
families.py ids FOLDER --out FILE.npy                 token ids that reach every expert
families.py logits FOLDER --ids FILE.npy --out FILE.npy [--decoder-ids FILE.npy]    float32; the decoder's if any
families.py compare A.npy B.npy [--tolerance X]       the largest difference; exits 1 beyond the tolerance
families.py equal FOLDER_A FOLDER_B                   every tensor bit for bit, every key of the configuration; exits 1
families.py decode FOLDER TENSOR OUT.npy              float32 of a tensor, also of one stored in blocks
families.py plain FOLDER OUT_FOLDER [--dtype D]       the folder with its blocks decoded
families.py self-test                                 makes every family and variant, and the formats
"""
import argparse
import json
import math
import pathlib
import re
import shutil
import sys
import tempfile

import numpy
import torch
import transformers

import block_formats
import published_layouts
import raw_safetensors
from family_variants import CONFIG_CLASSES, FORMATS, VARIANTS, cases

TYPES = dict(float32="F32", float16="F16", bfloat16="BF16")
IDENTITY = {"transformers_version", "_name_or_path", "dtype", "num_labels", "id2label", "label2id", "name_or_path"}
# Read by transformers in training, in caching or not at all: they change no logit.
INERT = {"initializer_range", "initializer_factor", "use_cache", "attention_dropout", "dropout_rate", "pretraining_tp",
         "output_router_logits", "router_aux_loss_coef", "router_z_loss_coef", "router_jitter_noise",
         "add_router_probs", "aux_loss_alpha", "auto_map", "ep_size", "moe_layer_freq", "scoring_func", "seq_aux",
         "qk_head_dim", "num_nextn_predict_layers", "swiglu_limit", "experts_per_token", "initial_context_length",
         "feed_forward_proj", "is_gated_act", "router_type", "batch_prioritized_routing", "rope_interleaved",
         "quantization_config"}
INERT_OF = {"qwen3_moe": {"max_window_layers"}, "deepseek_v2": {"norm_topk_prob"}, "deepseek_v3": {"topk_method"}}


def quiet():
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def auto_class(config):
    return transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM


def draw(name, shape, generator, family):
    """No weight keeps a value that an importer could leave out unseen: norms are not 1, biases not 0."""
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    if "norm" in name and len(shape) == 1:
        return 1 + 0.3 * values
    if "e_score_correction_bias" in name:
        return 0.1 * values
    if re.search(r"(\.gate|\.router|\.classifier)\.weight$", name):
        return 0.5 * values
    if name.endswith(("bias", "sinks")):
        return 0.4 * values
    if re.search(r"(embed_tokens|shared|relative_attention_bias)\.weight$", name):
        return values / 4 if family == "gpt_oss" else values  # its tied variant is wide: logits of a usual size
    gain, inputs = 1, shape[-1]
    if family == "gpt_oss" and name.endswith("_proj"):  # [E, in, out]; gates that reach their limit
        gain, inputs = 3 if "gate_up" in name else 1, shape[-2]
    elif family == "switch_transformers" and re.search(r"Attention\.[qo]\.", name):
        gain = 0.4  # scores are not scaled by the head's width; tokens stay apart, and so use every expert
    return gain / math.sqrt(inputs) * values


def draw_weights(model, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("inv_freq"):
                continue
            tensor.copy_(draw(name, tensor.shape, generator, model.config.model_type))
            if "e_score_correction_bias" not in name:  # float32 in every folder
                tensor.data = tensor.data.to(dtype)
        if model.config.is_encoder_decoder:  # each stack may hold its copy of the one table
            for stack in (model.encoder, model.decoder):
                stack.embed_tokens.weight.data.copy_(model.shared.weight.data)


def prompts(vocabulary, seed=0):
    """Token ids [2, 48]; no 0, which is the fill token."""
    return torch.randint(1, vocabulary, (2, 48), generator=torch.Generator().manual_seed(seed + 1000))


def shifted(ids):
    return torch.cat((torch.zeros_like(ids[:, :1]), ids[:, :-1]), dim=1)


def forward(model, ids, decoder_ids=None):
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            decoder_ids = shifted(ids) if decoder_ids is None else decoder_ids
            return model(input_ids=ids, decoder_input_ids=decoder_ids).logits.float()
        return model(input_ids=ids).logits.float()


def experts_without_token(model, ids):
    """Every expert of every block should have one; without, a wrong import of it would go unseen."""
    unused, handles = {}, []

    def note(name):
        def hook(module, arguments):
            chosen = arguments[1]
            if chosen.dim() == 3:  # Switch hands over a row of zeros and a one per token
                chosen = chosen.argmax(-1)
            unused[name] = set(range(module.num_experts)) - set(chosen.flatten().tolist())
        return hook

    for name, module in model.named_modules():
        if type(module).__name__.endswith("Experts"):
            handles.append(module.register_forward_pre_hook(note(name)))
    forward(model, ids)
    for handle in handles:
        handle.remove()
    return {name: experts for name, experts in unused.items() if experts}


def make_family(name, folder, dtype="float32", seed=0, shards=1, variant="plain", blocks=None, spelling="current",
                layout="single"):
    """Writes the folder; `blocks`: "fp8" or "mxfp4"."""
    folder = pathlib.Path(folder)
    config = getattr(transformers, CONFIG_CLASSES[name])(**VARIANTS[name][variant])
    config._attn_implementation = config._experts_implementation = "eager"
    model = auto_class(config).from_config(config).eval()
    for seed in range(seed, seed + 5000, 1000):  # with one expert a token a draw may leave one out
        draw_weights(model, torch.float32, seed)
        if not (unused := experts_without_token(model, prompts(config.vocab_size))):
            break
    assert not unused, f"experts without a token: {unused}"
    draw_weights(model, getattr(torch, dtype), seed)
    model.config.dtype = getattr(torch, dtype)
    if config.is_encoder_decoder:
        model.generation_config.decoder_start_token_id = 0
    model.save_pretrained(folder)
    tensors = raw_safetensors.read_folder(folder)
    if layout != "single":
        tensors = published_layouts.LAYOUTS[layout](tensors, config)
    if blocks:
        assert FORMATS[blocks] == name, f"{blocks} is the format of {FORMATS[blocks]}, not of {name}"
        tensors = block_formats.to_float8(tensors) if blocks == "fp8" else block_formats.to_mxfp4(tensors)
        set_config(folder, quantization_config=block_formats.FLOAT8_CONFIG if blocks == "fp8"
                   else block_formats.FLOAT4_CONFIG)
    raw_safetensors.write_folder(folder, tensors, shards)
    if spelling == "published":
        published_layouts.publish_config(folder, keep=VARIANTS[name][variant])
    return folder


def set_config(folder, **changes):
    """Keys set in config.json; None removes one."""
    path = pathlib.Path(folder) / "config.json"
    config = {key: value for key, value in {**json.loads(path.read_text()), **changes}.items()
              if key not in changes or value is not None}
    path.write_text(json.dumps(config, indent=2) + "\n")


def plain(folder, output, dtype="float32"):
    shutil.copytree(folder, output)
    tensors = block_formats.to_plain(raw_safetensors.read_folder(folder), TYPES[dtype])
    raw_safetensors.write_folder(output, tensors)
    set_config(output, quantization_config=None)
    return output


def load(folder, dtype="float32"):
    """The model; no tensor may be missing, spare or of another shape."""
    if "quantization_config" in json.loads((pathlib.Path(folder) / "config.json").read_text()):
        with tempfile.TemporaryDirectory() as temporary:
            return load(plain(folder, pathlib.Path(temporary) / "plain"), dtype)
    config = transformers.AutoConfig.from_pretrained(folder)
    model, report = auto_class(config).from_pretrained(
        folder, dtype=getattr(torch, dtype), output_loading_info=True, attn_implementation="eager",
        experts_implementation="eager")
    for problem, names in report.items():
        if config.model_type == "deepseek_v3" and problem == "unexpected_keys":  # blocks behind the last
            names = [name for name in names if not name.startswith(f"model.layers.{config.num_hidden_layers}.")]
        assert not names, f"{folder}: {problem}: {names}"
    return model.eval()


def live_config(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    config.standardize_rope_params()
    values = config.to_dict()
    if values.get("rope_parameters"):
        values["rope_parameters"] = {key: value for key, value in values["rope_parameters"].items() if key != "type"}
    return {key: value for key, value in values.items() if key not in IDENTITY}


def differences(folder_a, folder_b):
    """Lines that name what differs, and those of keys that change no logit."""
    found, harmless = [], []
    a, b = raw_safetensors.read_folder(folder_a), raw_safetensors.read_folder(folder_b)
    for name in sorted(a.keys() | b.keys()):
        if name not in a or name not in b:
            found.append(f"{name}: only in {folder_a if name in a else folder_b}")
        elif a[name] != b[name]:
            what = [f"{tensor.dtype} {tensor.shape}" for tensor in (a[name], b[name])]
            found.append(f"{name}: {what[0]} and {what[1]}" + (", other bytes" if what[0] == what[1] else ""))
    a, b = live_config(folder_a), live_config(folder_b)
    inert = INERT | INERT_OF.get(a["model_type"], set())
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key):
            (harmless if key in inert else found).append(f"config {key}: {a.get(key)!r} and {b.get(key)!r}")
    return found, harmless


def compare(file_a, file_b):
    a, b = numpy.load(file_a), numpy.load(file_b)
    assert a.shape == b.shape, f"{a.shape} and {b.shape}"
    return float(numpy.abs(a.astype(numpy.float64) - b.astype(numpy.float64)).max())


def check_formats():
    """The definitions against torch's float8 and transformers' own decoder of MXFP4."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
    table = block_formats.e4m3_table()
    values = torch.cat((torch.randn(10000) * 60, torch.from_numpy((table[:125] + table[1:126]) / 2))).clamp(-448, 448)
    codes = block_formats.encode_minifloat(values.numpy(), table[:127], 128)
    assert (codes == values.to(torch.float8_e4m3fn).view(torch.uint8).numpy()).all()
    blocks, scales = block_formats.encode_mxfp4(torch.randn(2, 6, 96).numpy())
    theirs = convert_moe_packed_tensors(torch.from_numpy(blocks), torch.from_numpy(scales)).float().numpy()
    assert (theirs.swapaxes(1, 2) == block_formats.decode_mxfp4(blocks, scales)).all()


def self_test():
    """Every variant, type, spelling and layout loads; the other spellings give the same logits."""
    quiet()
    check_formats()
    for family, variant in cases():
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            made = make_family(family, folder / "a", shards=3, variant=variant)
            size = sum(file.stat().st_size for file in made.iterdir())
            assert size < 2e6, f"{family} {variant}: {size} bytes"
            model = load(made)
            ids = prompts(model.config.vocab_size)
            assert not experts_without_token(model, ids)
            logits = forward(model, ids)
            assert logits.isfinite().all()
            others = dict(published=dict(spelling="published"))
            if family != "switch":
                others["bare"] = dict(layout="bare")
            if family not in ("switch", "gpt_oss", "llama", "qwen2", "qwen3"):
                others["fused"] = dict(layout="fused")
            if family == "deepseek_v3":
                others["next_token"] = dict(layout="next_token")
            for other, options in others.items():
                again = make_family(family, folder / other, variant=variant, **options)
                difference = (forward(load(again), ids) - logits).abs().max().item()
                assert difference == 0, f"{family} {variant} {other}: {difference}"
                if other == "published":
                    assert differences(made, again)[0] == [], differences(made, again)[0]
            narrow = load(make_family(family, folder / "b", "bfloat16", shards=2, variant=variant))
            drift = (forward(narrow, ids) - logits).abs().max().item()
            print(f"{family} {variant}: {size} bytes, deviation {logits.std():.2f}, "
                  f"bfloat16 weights differ by {drift:.2f}", flush=True)
    for blocks, family in FORMATS.items():
        with tempfile.TemporaryDirectory() as temporary:
            variant = "wide" if blocks == "fp8" else "plain"
            made = make_family(family, pathlib.Path(temporary) / "a", "bfloat16", shards=2, variant=variant,
                               blocks=blocks)
            model = load(made)
            logits = forward(model, prompts(model.config.vocab_size))
            assert logits.isfinite().all()
            print(f"{family} {blocks}: deviation {logits.std():.2f}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("self-test")
    make = commands.add_parser("make")
    make.add_argument("folder")
    make.add_argument("--family", required=True, choices=VARIANTS)
    make.add_argument("--variant", default="plain")
    make.add_argument("--dtype", default="float32", choices=TYPES)
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--shards", type=int, default=1)
    make.add_argument("--format", choices=FORMATS)
    make.add_argument("--spelling", default="current", choices=("current", "published"))
    make.add_argument("--layout", default="single", choices=("single", *published_layouts.LAYOUTS))
    ids = commands.add_parser("ids")
    logits = commands.add_parser("logits")
    logits.add_argument("folder")
    logits.add_argument("--ids", required=True)
    logits.add_argument("--decoder-ids")
    logits.add_argument("--dtype", default="float32", choices=TYPES)
    ids.add_argument("folder")
    for command in (ids, logits):
        command.add_argument("--out", required=True)
    comparison = commands.add_parser("compare")
    comparison.add_argument("files", nargs=2)
    comparison.add_argument("--tolerance", type=float)
    equal = commands.add_parser("equal")
    equal.add_argument("folders", nargs=2)
    decode = commands.add_parser("decode")
    for word in ("folder", "tensor", "out"):
        decode.add_argument(word)
    decoded = commands.add_parser("plain")
    decoded.add_argument("folder")
    decoded.add_argument("out")
    decoded.add_argument("--dtype", default="float32", choices=TYPES)
    return parser.parse_args()


def main():
    quiet()
    options = parse()
    match options.command:
        case "list":
            print("\n".join(f"{family} {variant}" for family, variant in cases()))
        case "self-test":
            self_test()
        case "make":
            make_family(options.family, options.folder, options.dtype, options.seed, options.shards, options.variant,
                        options.format, options.spelling, options.layout)
        case "ids":
            config = transformers.AutoConfig.from_pretrained(options.folder)
            numpy.save(options.out, prompts(config.vocab_size).numpy())
        case "logits":
            ids, decoder_ids = (torch.from_numpy(numpy.load(file)).long() if file else None
                                for file in (options.ids, options.decoder_ids))
            numpy.save(options.out, forward(load(options.folder, options.dtype), ids, decoder_ids).numpy())
        case "compare":
            difference = compare(*options.files)
            print(f"max_difference={difference:.3e}")
            sys.exit(options.tolerance is not None and not difference <= options.tolerance)
        case "equal":
            found, harmless = differences(*options.folders)
            print("\n".join(found + [f"{line} (changes no logit)" for line in harmless]) or "equal")
            sys.exit(bool(found))
        case "decode":
            numpy.save(options.out, block_formats.decode(raw_safetensors.read_folder(options.folder), options.tensor))
        case "plain":
            plain(options.folder, options.out, options.dtype)


if __name__ == "__main__":
    main()
