"""The tiny models of each family of Hugging Face folders: what of its configuration each variant sets."""

SIZE = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2)
EXPERTS = dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24)
LATENT = {**SIZE, "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 8,
          "qk_rope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 8, "n_shared_experts": 2,
          "num_experts_per_tok": 3, "moe_intermediate_size": 24, "first_k_dense_replace": 1, "rms_norm_eps": 1e-5}
GROUPS = dict(n_group=4, topk_group=2)
SINKS = {**SIZE, "hidden_size": 64, "intermediate_size": 32, "head_dim": 16, "num_local_experts": 6,
         "num_experts_per_tok": 2, "sliding_window": 8}
SWITCH = dict(vocab_size=96, d_model=32, d_kv=12, d_ff=48, num_layers=4, num_sparse_encoder_layers=2,
              num_decoder_layers=3, num_sparse_decoder_layers=1, num_heads=4, num_experts=4, expert_capacity=64,
              relative_attention_num_buckets=12, relative_attention_max_distance=20)
LLAMA3 = dict(rope_type="llama3", rope_theta=5e2, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
# Such that doubling any of these numbers moves the logits, with heads as narrow as these.
YARN = dict(rope_type="yarn", rope_theta=1e2, factor=4.0, original_max_position_embeddings=3600, beta_fast=32,
            beta_slow=1)
LINEAR = dict(rope_type="linear", rope_theta=1e4, factor=3.0)

VARIANTS = {
    "llama": {
        "plain": dict(SIZE, rms_norm_eps=1e-5),
        "llama3": dict(SIZE, rope_parameters=LLAMA3),
        "linear": dict(SIZE, rope_parameters=LINEAR),
        "yarn": dict(SIZE, rope_parameters=YARN),
        "biases": dict(SIZE, attention_bias=True, mlp_bias=True),
        "tied": dict(SIZE, tie_word_embeddings=True, num_key_value_heads=4),
        "head_dim": dict(SIZE, head_dim=12, num_key_value_heads=1),
    },
    "qwen2": {
        "plain": dict(SIZE, rms_norm_eps=1e-5),
        "window": dict(SIZE, use_sliding_window=True, sliding_window=7, max_window_layers=1),
        "window_types": dict(SIZE, use_sliding_window=True, sliding_window=7,
                             layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
        "tied": dict(SIZE, tie_word_embeddings=True),
    },
    "qwen3": {
        "plain": dict(SIZE, head_dim=16),
        "window": dict(SIZE, head_dim=8, use_sliding_window=True, sliding_window=5, max_window_layers=2),
        "bias_tied": dict(SIZE, head_dim=12, attention_bias=True, tie_word_embeddings=True),
        "yarn": dict(SIZE, head_dim=16, rope_parameters=YARN),
    },
    "mixtral": {
        "plain": dict(SIZE, num_local_experts=6, num_experts_per_tok=2),
        "window": dict(SIZE, num_local_experts=6, num_experts_per_tok=3, sliding_window=9, head_dim=12),
        "tied": dict(SIZE, num_local_experts=4, num_experts_per_tok=1, tie_word_embeddings=True),
    },
    "olmoe": {
        "plain": dict(SIZE, num_experts=6, num_experts_per_tok=2),
        "normalized": dict(SIZE, num_experts=6, num_experts_per_tok=3, norm_topk_prob=True),
        "clip": dict(SIZE, num_experts=6, num_experts_per_tok=2, clip_qkv=0.8, attention_bias=True),
    },
    "qwen2_moe": {
        "plain": dict(SIZE, **EXPERTS, shared_expert_intermediate_size=20),
        "normalized": dict(SIZE, **EXPERTS, shared_expert_intermediate_size=20, norm_topk_prob=True, qkv_bias=False),
        "mlp_only": dict(SIZE, **EXPERTS, shared_expert_intermediate_size=20, mlp_only_layers=[0, 2]),
        "sparse_step": dict(SIZE, **EXPERTS, shared_expert_intermediate_size=20, decoder_sparse_step=2,
                            num_hidden_layers=4, norm_topk_prob=True),
        "window": dict(SIZE, **EXPERTS, shared_expert_intermediate_size=20, use_sliding_window=True, sliding_window=6,
                       max_window_layers=2),
    },
    "qwen3_moe": {
        "plain": dict(SIZE, **EXPERTS, head_dim=16, norm_topk_prob=True),
        "raw": dict(SIZE, **EXPERTS),
        "mlp_only": dict(SIZE, **EXPERTS, head_dim=12, mlp_only_layers=[1], attention_bias=True),
        "sparse_step": dict(SIZE, **EXPERTS, head_dim=8, decoder_sparse_step=2, norm_topk_prob=True),
        "window": dict(SIZE, **EXPERTS, head_dim=8, use_sliding_window=True, sliding_window=6,
                       tie_word_embeddings=True),
    },
    "deepseek_v2": {
        "plain": dict(LATENT),
        "no_query_rank": dict(LATENT, q_lora_rank=None, routed_scaling_factor=1.7),
        "groups": dict(LATENT, **GROUPS, topk_method="group_limited_greedy", routed_scaling_factor=4.0),
        "yarn": dict(LATENT, attention_bias=True, mlp_bias=True,
                     rope_parameters=dict(YARN, mscale=0.707, mscale_all_dim=0.9)),
    },
    "deepseek_v3": {
        "plain": dict(LATENT, **GROUPS, routed_scaling_factor=2.5),
        "no_query_rank": dict(LATENT, n_group=1, topk_group=1, q_lora_rank=None, norm_topk_prob=False),
        "yarn": dict(LATENT, **GROUPS, attention_bias=True, rope_parameters=dict(YARN, mscale=1.0, mscale_all_dim=1.0)),
        "half_pairs": dict(LATENT, **GROUPS, rope_interleave=False,
                           rope_parameters=dict(YARN, mscale=1.2, mscale_all_dim=0.5)),
        # Blocks of 128 cut at the edge, in both directions.
        "wide": dict(LATENT, **GROUPS, hidden_size=160, intermediate_size=136, moe_intermediate_size=40,
                     num_hidden_layers=2, kv_lora_rank=136, q_lora_rank=144),
    },
    "gpt_oss": {
        "plain": dict(SINKS),
        "yarn": dict(SINKS, layer_types=["full_attention", "sliding_attention", "full_attention"],
                     rope_parameters=dict(YARN, truncate=False)),
        "unbiased": dict(SINKS, attention_bias=False, tie_word_embeddings=True, num_experts_per_tok=3,
                         rope_parameters=dict(rope_type="default", rope_theta=1e3)),
    },
    "switch": {
        "plain": dict(SWITCH),
        "untied": dict(SWITCH, tie_word_embeddings=False, router_bias=True),
        "all_sparse": dict(SWITCH, num_layers=2, num_decoder_layers=2, num_sparse_encoder_layers=2,
                           num_sparse_decoder_layers=2, dense_act_fn="gelu"),
        "one_decoder_layer": dict(SWITCH, num_layers=3, num_decoder_layers=1, num_sparse_decoder_layers=0,
                                  num_sparse_encoder_layers=1),
    },
}
CONFIG_CLASSES = dict(llama="LlamaConfig", qwen2="Qwen2Config", qwen3="Qwen3Config", mixtral="MixtralConfig",
                      olmoe="OlmoeConfig", qwen2_moe="Qwen2MoeConfig", qwen3_moe="Qwen3MoeConfig",
                      deepseek_v2="DeepseekV2Config", deepseek_v3="DeepseekV3Config", gpt_oss="GptOssConfig",
                      switch="SwitchTransformersConfig")
FORMATS = dict(fp8="deepseek_v3", mxfp4="gpt_oss")  # the family that publishes in this format


def cases():
    """(family, variant) of every tiny model."""
    return [(family, variant) for family, variants in VARIANTS.items() for variant in variants]
