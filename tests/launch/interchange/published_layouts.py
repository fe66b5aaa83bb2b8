"""Rewrites a folder that transformers 5.x saved into other spellings and layouts that publications use."""
import json
import pathlib
import re

from raw_safetensors import Tensor

# What published folders say besides, without effect on the logits.
DECORATION = {
    "llama": dict(pretraining_tp=1, rope_interleaved=False),
    "deepseek_v2": dict(aux_loss_alpha=0.001, ep_size=1, moe_layer_freq=1, scoring_func="softmax", seq_aux=True,
                        auto_map={"AutoConfig": "configuration_deepseek.DeepseekV2Config"}),
    "deepseek_v3": dict(ep_size=1, moe_layer_freq=1, scoring_func="sigmoid", topk_method="noaux_tc",
                        auto_map={"AutoConfig": "configuration_deepseek.DeepseekV3Config"}),
    "gpt_oss": dict(swiglu_limit=7.0, experts_per_token=2, initial_context_length=4096),
    "qwen3_moe": dict(max_window_layers=28),
    "switch_transformers": dict(feed_forward_proj="relu", is_gated_act=False, router_type="tokens_masked",
                                batch_prioritized_routing=False),
}
# What they leave out.
OMITTED = {"deepseek_v2": ["head_dim", "qk_head_dim", "mlp_bias"],
           "deepseek_v3": ["head_dim", "qk_head_dim", "rope_interleave"],
           "switch_transformers": ["encoder_sparse_step", "decoder_sparse_step"], "qwen2": ["layer_types"],
           "qwen3": ["layer_types"], "qwen2_moe": ["layer_types"]}
EXPERT = re.compile(r"(?P<block>.*)\.(block_sparse_moe|mlp)\.experts\.(?P<expert>\d+)\.(?P<name>\w+)\.weight")


def publish_config(folder, keep=()):
    """config.json as before transformers 5: rope_theta and rope_scaling, torch_dtype, older names of keys.
    `keep`: keys that this model sets and that are hence not left out."""
    path = pathlib.Path(folder) / "config.json"
    config = json.loads(path.read_text())
    family = config["model_type"]
    if "rope_parameters" in config:
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        kind = rope.pop("rope_type")
        word = "type" if family.startswith("deepseek") else "rope_type"
        config["rope_scaling"] = None if kind == "default" else {**rope, word: kind}
        if family == "gpt_oss" and kind == "default":  # null would mean this family's own scaling
            config["rope_scaling"] = {"rope_type": "default"}
    config["torch_dtype"] = config.pop("dtype")
    if family == "qwen3_moe":
        config["num_experts"] = config.pop("num_local_experts")
    for key in OMITTED.get(family, []):
        if key not in keep:
            config.pop(key, None)
    path.write_text(json.dumps({**DECORATION.get(family, {}), **config}, indent=2) + "\n")


def fuse_experts(tensors):
    """Experts one by one -> all of a block in two tensors: gate above up [E, 2 I, D], down [E, D, I]."""
    fused, found = {}, {}
    for name, tensor in tensors.items():
        match = EXPERT.fullmatch(name)
        if match:
            role = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}.get(match["name"], match["name"])
            found.setdefault(match["block"], {})[int(match["expert"]), role] = tensor
        else:
            fused[name.replace(".block_sparse_moe.", ".mlp.")] = tensor
    for block, parts in found.items():
        experts = range(1 + max(expert for expert, _ in parts))
        for target, roles in (("gate_up_proj", ("gate_proj", "up_proj")), ("down_proj", ("down_proj",))):
            rows = [parts[expert, role] for expert in experts for role in roles]
            shape = [len(experts), len(roles) * rows[0].shape[0], rows[0].shape[1]]
            fused[f"{block}.mlp.experts.{target}"] = Tensor(rows[0].dtype, shape, b"".join(row.data for row in rows))
    return fused


def without_prefix(tensors):
    """As a folder of the bare model, without the head's class around it."""
    return {re.sub(r"^model\.", "", name): tensor for name, tensor in tensors.items()}


def with_next_token_layer(tensors, layers):
    """DeepSeek-V3's block behind the last that predicts a further token, which transformers does not read."""
    extra = {name.replace("layers.0.", f"layers.{layers}."): tensor for name, tensor in tensors.items()
             if name.startswith("model.layers.0.")}
    norm = tensors["model.norm.weight"]
    for name in ("enorm", "hnorm", "shared_head.norm"):
        extra[f"model.layers.{layers}.{name}.weight"] = norm
    width = norm.shape[0]
    extra[f"model.layers.{layers}.eh_proj.weight"] = Tensor(norm.dtype, [width, 2 * width], norm.data * (2 * width))
    return {**tensors, **extra}


def with_copies(tensors):
    """The one table of a tied encoder and decoder under each of its names."""
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    return {**tensors, **{name: tensors["shared.weight"] for name in names}}


# How a folder may lay out its tensors -> what makes it of (tensors, config)
LAYOUTS = dict(fused=lambda tensors, config: fuse_experts(tensors),
               bare=lambda tensors, config: without_prefix(tensors),
               next_token=lambda tensors, config: with_next_token_layer(tensors, config.num_hidden_layers),
               copies=lambda tensors, config: with_copies(tensors))
