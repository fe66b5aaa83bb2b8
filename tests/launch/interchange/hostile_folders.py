"""Broken copies of a good Hugging Face folder, and the words that an error message about each must contain.

hostile_folders.py list
hostile_folders.py make GOOD FOLDER       a copy per case in FOLDER, and FOLDER/cases.json: [{"name", "words"}]
hostile_folders.py self-test              every case differs from the good folder that it is a copy of

GOOD is a Mixtral in shards: families.py make GOOD --family mixtral --shards 3
The words are names and values of what is wrong, no phrases: a message may be worded as it likes.
"""
import json
import math
import os
import pathlib
import shutil
import struct
import sys
import tempfile

import raw_safetensors
from raw_safetensors import INDEX, Tensor

NORM = "model.layers.1.input_layernorm.weight"
OTHER_NORM = "model.layers.1.post_attention_layernorm.weight"
EXPERT = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
SHARD = "model-00002-of-00003.safetensors"


def folder_text(name, change):
    """The file's text changed."""
    def case(folder):
        path = folder / name
        path.write_text(change(path.read_text()))
    return case


def edited_json(name, edit):
    def change(text):
        value = json.loads(text)
        edit(value)
        return json.dumps(value, indent=2)
    return folder_text(name, change)


def config(**keys):
    return edited_json("config.json", lambda value: value.update(keys))


def without(*keys):
    return edited_json("config.json", lambda value: [value.pop(key) for key in keys])


def twice(name, addition):
    """The first object of the file has a key twice."""
    return folder_text(name, lambda text: text.replace("{", "{" + addition, 1))


def index(edit):
    return edited_json(INDEX, lambda value: edit(value["weight_map"]))


def file_of(folder, tensor):
    return raw_safetensors.files_of(folder)[tensor]


def header(tensor, edit):
    """`edit(header)` of the file that holds the tensor; a text that it returns stands as it is."""
    def case(folder):
        path = file_of(folder, tensor)
        value, data = raw_safetensors.split(path)
        made = edit(value)
        raw_safetensors.join(path, value if made is None else made, data)
    return case


def entry(tensor, **keys):
    return header(tensor, lambda value: value[tensor].update(keys))


def tensors_of(tensor, edit):
    """`edit(tensors)` of the file that holds the tensor, written as a sound file."""
    def case(folder):
        path = file_of(folder, tensor)
        tensors = raw_safetensors.read(path)
        edit(tensors)
        raw_safetensors.write(path, tensors)
    return case


def both(*cases):
    def case(folder):
        for one in cases:
            one(folder)
    return case


def raw_file(edit):
    """`edit(bytes)` of the second shard."""
    def case(folder):
        (folder / SHARD).write_bytes(edit((folder / SHARD).read_bytes()))
    return case


def linked_to_itself(folder):
    (folder / SHARD).unlink()
    (folder / SHARD).symlink_to(SHARD)


def named_pipe(folder):
    (folder / SHARD).unlink()
    os.mkfifo(folder / SHARD)


def folder_instead(name):
    def case(folder):
        (folder / name).unlink()
        (folder / name).mkdir()
    return case


def overlap(value):
    value[OTHER_NORM]["data_offsets"] = value[NORM]["data_offsets"]


def shifted(value):
    start, end = value[NORM]["data_offsets"]
    value[NORM]["data_offsets"] = [start + 4, end + 4]


def other_type(dtype, width):
    def edit(tensors):
        shape = tensors[NORM].shape
        tensors[NORM] = Tensor(dtype, shape, bytes(width * math.prod(shape)))
    return tensors_of(NORM, edit)


def misnamed(tensor, name):
    def edit(tensors):
        tensors[name] = tensors.pop(tensor)
    return both(tensors_of(tensor, edit), index(lambda weight_map: weight_map.update({name: weight_map.pop(tensor)})))


def duplicate_header(value):
    text = json.dumps(value)
    return text.replace("{", "{" + json.dumps(NORM) + ":" + json.dumps(value[NORM]) + ",", 1)


def drop(tensor):
    return both(tensors_of(tensor, lambda tensors: tensors.pop(tensor)), index(lambda files: files.pop(tensor)))


def spare(name, like):
    """Another tensor beside the one that it is a copy of."""
    def case(folder):
        tensors_of(like, lambda tensors: tensors.update({name: tensors[like]}))(folder)
        file = file_of(folder, like).name
        index(lambda weight_map: weight_map.update({name: file}))(folder)
    return case


def in_two_shards(folder):
    first = folder / "model-00001-of-00003.safetensors"
    tensors = raw_safetensors.read(first)
    assert NORM not in tensors
    raw_safetensors.write(first, {**tensors, NORM: raw_safetensors.read(file_of(folder, NORM))[NORM]})


def reshaped(tensor):
    def edit(tensors):
        old = tensors[tensor]
        tensors[tensor] = Tensor(old.dtype, old.shape[::-1], old.data)
    return tensors_of(tensor, edit)


def nested(depth):
    return "[" * depth + "]" * depth


# name, what it does to a copy of the good folder, words of the message
CASES = [
    ("index_parent_folder", index(lambda m: m.update({NORM: "../x.safetensors"})), [INDEX, "../x.safetensors"]),
    ("index_absolute_path", index(lambda m: m.update({NORM: "/etc/passwd"})), [INDEX, "/etc/passwd"]),
    ("index_nested_path", index(lambda m: m.update({NORM: "a/../../x.safetensors"})), [INDEX, "a/../../x.safetensors"]),
    ("index_empty_file_name", index(lambda m: m.update({NORM: ""})), [INDEX, NORM]),
    ("index_zero_byte", index(lambda m: m.update({NORM: "x\0.safetensors"})), [INDEX, NORM]),
    ("shard_links_to_itself", linked_to_itself, [SHARD]),
    ("shard_is_pipe", named_pipe, [SHARD]),
    ("shard_is_folder", folder_instead(SHARD), [SHARD]),
    ("offsets_beyond_file", header(NORM, lambda h: h[NORM].update(data_offsets=[2**40, 2**40 + 128])), [NORM]),
    ("offsets_wrap_around", header(NORM, lambda h: h[NORM].update(data_offsets=[2**64 - 64, 64])), [NORM]),
    ("offsets_backwards", header(NORM, lambda h: h[NORM].update(data_offsets=h[NORM]["data_offsets"][::-1])), [NORM]),
    ("offsets_negative", entry(NORM, data_offsets=[-128, 0]), [NORM]),
    ("offsets_fractional", entry(NORM, data_offsets=[0.5, 128.5]), [NORM]),
    ("offsets_three", entry(NORM, data_offsets=[0, 64, 128]), [NORM]),
    ("offsets_are_text", entry(NORM, data_offsets=["0", "128"]), [NORM]),
    ("offsets_missing", header(NORM, lambda h: h[NORM].pop("data_offsets") and None), [NORM, "data_offsets"]),
    ("offsets_not_the_shape", header(NORM, lambda h: h[NORM]["data_offsets"].__setitem__(
        1, h[NORM]["data_offsets"][1] - 4)), [NORM]),
    ("tensors_overlap", header(NORM, overlap), [SHARD]),
    ("tensor_shifted", header(NORM, shifted), [SHARD]),
    ("bytes_behind_the_last", raw_file(lambda b: b + b"\0" * 16), [SHARD]),
    ("header_length_huge", raw_file(lambda b: struct.pack("<Q", 2**63) + b[8:]), [SHARD]),
    ("header_length_beyond_file", raw_file(lambda b: struct.pack("<Q", len(b)) + b[8:]), [SHARD]),
    ("header_length_zero", raw_file(lambda b: struct.pack("<Q", 0) + b[8:]), [SHARD]),
    ("file_of_five_bytes", raw_file(lambda b: b[:5]), [SHARD]),
    ("file_empty", raw_file(lambda b: b""), [SHARD]),
    ("shard_truncated", raw_file(lambda b: b[:-64]), [SHARD]),
    ("header_cut", raw_file(lambda b: b[:40]), [SHARD]),
    ("header_not_json", header(NORM, lambda h: "{'a': 1}"), [SHARD]),
    ("header_is_array", header(NORM, lambda h: "[]"), [SHARD]),
    ("header_not_utf8", header(NORM, lambda h: b'{"\xff\xfe": {}}'), [SHARD]),
    ("header_nested_deep", header(NORM, lambda h: '{"a":' + nested(100000) + "}"), [SHARD]),
    ("header_duplicate_key", header(NORM, duplicate_header), [SHARD, NORM]),
    ("header_entry_is_number", header(NORM, lambda h: h.update({NORM: 3})), [NORM]),
    ("shape_negative", entry(NORM, shape=[-32]), [NORM]),
    ("shape_two_negative", entry(NORM, shape=[-4, -8]), [NORM]),
    ("shape_overflows", entry(NORM, shape=[2**62, 8]), [NORM]),
    ("shape_overflows_to_fit", entry(NORM, shape=[2**32, 2**32, 32]), [NORM]),
    ("shape_fractional", entry(NORM, shape=[32.5]), [NORM]),
    ("shape_is_text", entry(NORM, shape="32"), [NORM]),
    ("shape_missing", header(NORM, lambda h: h[NORM].pop("shape") and None), [NORM, "shape"]),
    ("type_unknown", entry(NORM, dtype="F99"), [NORM, "F99"]),
    ("type_integer", other_type("I64", 8), [NORM, "I64"]),
    ("type_bytes", other_type("U8", 1), [NORM, "U8"]),
    ("type_bool", other_type("BOOL", 1), [NORM, "BOOL"]),
    ("tensor_missing", drop(NORM), [NORM]),
    ("expert_missing", drop(EXPERT), [EXPERT]),
    ("embedding_missing", drop("model.embed_tokens.weight"), ["model.embed_tokens.weight"]),
    ("head_missing", drop("lm_head.weight"), ["lm_head.weight"]),
    ("tensor_spare", spare("model.layers.9.input_layernorm.weight", NORM), ["model.layers.9.input_layernorm.weight"]),
    ("tensor_misnamed", misnamed(NORM, NORM.replace("layernorm", "layer_norm")), [NORM]),
    ("expert_number_with_zero", misnamed(EXPERT, EXPERT.replace("experts.2.", "experts.02.")), ["experts.02."]),
    ("layer_number_huge", misnamed(NORM, NORM.replace("layers.1.", "layers.18446744073709551617.")),
     ["18446744073709551617"]),
    ("tensor_transposed", reshaped(EXPERT), [EXPERT, "32", "48"]),
    ("shard_missing", lambda folder: (folder / SHARD).unlink(), [SHARD]),
    ("tensor_in_two_shards", in_two_shards, [NORM, "model-00001-of-00003.safetensors"]),
    ("index_names_wrong_shard", index(lambda m: m.update({NORM: "model-00001-of-00003.safetensors"})), [NORM]),
    ("index_leaves_tensor_out", index(lambda m: m.pop(NORM)), [NORM]),
    ("index_names_absent_tensor", index(lambda m: m.update({"model.extra.weight": SHARD})),
     ["model.extra.weight", SHARD]),
    ("index_value_is_number", index(lambda m: m.update({NORM: 7})), [INDEX, NORM]),
    ("index_without_map", edited_json(INDEX, lambda v: v.pop("weight_map")), [INDEX, "weight_map"]),
    ("index_map_is_array", edited_json(INDEX, lambda v: v.update(weight_map=[1])), [INDEX, "weight_map"]),
    ("index_map_empty", edited_json(INDEX, lambda v: v.update(weight_map={})), [INDEX]),
    ("index_duplicate_key", folder_text(INDEX, lambda text: text.replace(
        '"weight_map": {', f'"weight_map": {{"{NORM}": "{SHARD}", ', 1)), [INDEX, NORM]),
    ("index_not_json", folder_text(INDEX, lambda text: text[: len(text) // 2]), [INDEX]),
    ("config_missing", lambda folder: (folder / "config.json").unlink(), ["config.json"]),
    ("config_is_folder", folder_instead("config.json"), ["config.json"]),
    ("config_not_json", folder_text("config.json", lambda text: text[:-20]), ["config.json"]),
    ("config_is_array", folder_text("config.json", lambda text: "[1, 2]"), ["config.json"]),
    ("config_nested_deep", folder_text("config.json", lambda text: '{"a":' + nested(100000) + "}"), ["config.json"]),
    ("config_duplicate_key", twice("config.json", '"hidden_size": 64,'), ["config.json", "hidden_size"]),
    ("config_nan", config(rms_norm_eps=float("nan")), ["config.json"]),
    ("config_infinity", config(rms_norm_eps=float("inf")), ["config.json"]),
    ("config_number_too_large", folder_text("config.json", lambda text: text.replace(
        '"rms_norm_eps": 1e-05', '"rms_norm_eps": 1e999')), ["config.json"]),
    ("config_eps_negative", config(rms_norm_eps=-1e-5), ["rms_norm_eps"]),
    ("model_type_unknown", config(model_type="banana", architectures=["BananaForCausalLM"]), ["banana"]),
    ("model_type_missing", without("model_type", "architectures"), ["model_type"]),
    ("architecture_of_other_use", config(architectures=["MixtralForSequenceClassification"]),
     ["MixtralForSequenceClassification"]),
    ("rope_kind_unknown", config(rope_parameters={"rope_type": "banana", "rope_theta": 1e4}), ["banana"]),
    ("rope_theta_negative", config(rope_parameters={"rope_type": "default", "rope_theta": -1.0}), ["rope_theta"]),
    ("rope_factor_zero", config(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 0.0}), ["factor"]),
    ("rope_factor_missing", config(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4}), ["factor"]),
    ("rope_is_text", config(rope_parameters="default"), ["rope_parameters"]),
    ("activation_unknown", config(hidden_act="banana"), ["hidden_act", "banana"]),
    ("size_is_text", config(hidden_size="32"), ["hidden_size"]),
    ("size_fractional", config(hidden_size=32.5), ["hidden_size", "32.5"]),
    ("size_is_list", config(num_hidden_layers=[3]), ["num_hidden_layers"]),
    ("size_is_null", config(hidden_size=None), ["hidden_size"]),
    ("size_negative", config(hidden_size=-32), ["hidden_size", "-32"]),
    ("size_zero", config(num_attention_heads=0), ["num_attention_heads"]),
    ("size_beyond_integers", folder_text("config.json", lambda text: text.replace(
        '"num_hidden_layers": 3', '"num_hidden_layers": 100000000000000000000')), ["num_hidden_layers"]),
    ("layers_too_many", config(num_hidden_layers=10**12), ["num_hidden_layers"]),
    ("layers_one_more", config(num_hidden_layers=4), ["model.layers.3."]),
    ("layers_one_less", config(num_hidden_layers=2), ["model.layers.2."]),
    ("flag_is_number", config(tie_word_embeddings=1), ["tie_word_embeddings"]),
    ("heads_do_not_divide", config(num_attention_heads=5), ["num_attention_heads", "5"]),
    ("kv_heads_do_not_divide", config(num_key_value_heads=3), ["num_key_value_heads", "3"]),
    ("head_width_odd", config(head_dim=7), ["head_dim", "7"]),
    ("experts_one_more", config(num_local_experts=7), ["experts", "6"]),
    ("experts_one_less", config(num_local_experts=5), ["experts", "5"]),
    ("experts_none", config(num_local_experts=0), ["experts", "0"]),
    ("experts_chosen_too_many", config(num_experts_per_tok=7), ["num_experts_per_tok", "7"]),
    ("experts_chosen_none", config(num_experts_per_tok=0), ["num_experts_per_tok", "0"]),
    ("window_zero", config(sliding_window=0), ["sliding_window"]),
    ("vocabulary_other", config(vocab_size=97), ["97", "96"]),
    ("quantization_unknown", config(quantization_config={"quant_method": "banana"}), ["quant", "banana"]),
    ("tied_with_other_head", config(tie_word_embeddings=True), ["tie_word_embeddings", "lm_head.weight"]),
]


def broken_copy(good, folder, case):
    """The copy that the case breaks."""
    shutil.copytree(good, folder)
    case[1](pathlib.Path(folder))
    return folder


def make(good, output):
    output = pathlib.Path(output)
    output.mkdir(parents=True)
    for case in CASES:
        broken_copy(good, output / case[0], case)
    (output / "cases.json").write_text(json.dumps([dict(name=name, words=words) for name, _, words in CASES], indent=1))


def self_test():
    import families
    families.quiet()
    assert len({name for name, _, _ in CASES}) == len(CASES)
    with tempfile.TemporaryDirectory() as temporary:
        good = families.make_family("mixtral", pathlib.Path(temporary) / "good", shards=3)
        assert all(file_of(good, name).name == SHARD for name in (NORM, OTHER_NORM, EXPERT))
        make(good, pathlib.Path(temporary) / "broken")

        def contents(folder):
            files = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
            return {path.name: path.read_bytes() for path in files}

        for name, _, words in CASES:
            assert words and contents(good) != contents(pathlib.Path(temporary) / "broken" / name), name
    print(f"hostile_folders cases={len(CASES)}")


def main():
    match sys.argv[1:]:
        case ["list"]:
            print("\n".join(name for name, _, _ in CASES))
        case ["make", good, output]:
            make(good, output)
        case ["self-test"]:
            self_test()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
