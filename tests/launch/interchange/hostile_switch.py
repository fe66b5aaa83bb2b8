"""Broken copies of a good folder of Switch Transformers in shards; otherwise as hostile_folders.py."""
from hostile_folders import config, drop, misnamed, reshaped, spare

BIAS = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
EXPERT = "encoder.block.1.layer.1.mlp.experts.expert_2.wi.weight"

# name, what it does to a copy of the good folder, words of the message
CASES = [
    ("bias_missing", drop(BIAS), [BIAS]),
    ("bias_transposed", reshaped(BIAS), [BIAS, "12", "4"]),
    ("bias_of_another_block", spare(BIAS.replace("block.0", "block.1"), BIAS),
     [BIAS.replace("block.0", "block.1")]),
    ("expert_misnamed", misnamed(EXPERT, EXPERT.replace("expert_2", "expert_02")), ["expert_02"]),
    ("another_table", spare("encoder.embed_tokens.weight", EXPERT), ["encoder.embed_tokens.weight"]),
    ("untied_without_head", config(tie_word_embeddings=False), ["embed_tokens.weight"]),
    ("activation_unknown", config(dense_act_fn="gelu_new"), ["dense_act_fn", "gelu_new"]),
    ("router_in_half", config(router_dtype="float16"), ["router_dtype", "float16"]),
    ("lets_nothing_through", config(expert_capacity=0), ["expert_capacity"]),
    ("buckets_odd", config(relative_attention_num_buckets=7), ["relative_attention_num_buckets", "7"]),
    ("distance_short", config(relative_attention_max_distance=6), ["relative_attention_max_distance", "6"]),
    ("start_is_no_token", config(decoder_start_token_id=96), ["decoder_start_token_id", "96"]),
    ("layers_none", config(num_layers=0), ["num_layers"]),
]
