#!/usr/bin/env python3
"""The update of recipes/bench/step_gpu.toml by transformers: Mixtral in bf16, experts by grouped_mm, scaled_dot_product_attention,
fused AdamW. peer_step.py cuda | cpu [small]. Prints JSON: seconds of an update (middle of 10), and model_flops, those of an
update of either program: 6 for each active parameter and token, and attention's, causal."""
import json
import statistics
import sys
import time

import torch
import transformers

device, small = sys.argv[1], "small" in sys.argv
LAYERS, WIDTH, HEADS, KV, HIDDEN, LENGTH, BATCH, PARTS = (2, 64, 4, 2, 96, 64, 4, 2) if small else (14, 2048, 16, 4, 5632, 4096, 8, 2)
VOCABULARY, EXPERTS, TOP_K = 257, 8, 2
config = transformers.MixtralConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=LAYERS,
                                    num_attention_heads=HEADS, num_key_value_heads=KV, num_local_experts=EXPERTS,
                                    num_experts_per_tok=TOP_K, max_position_embeddings=LENGTH, tie_word_embeddings=True,
                                    experts_implementation="grouped_mm", attn_implementation="sdpa")
dtype = torch.float32 if device == "cpu" else torch.bfloat16
with torch.device(device):
    model = transformers.MixtralForCausalLM(config).to(dtype).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
ids = torch.randint(VOCABULARY, (BATCH, LENGTH), device=device)


def update():
    for part in ids.chunk(PARTS):
        (model(input_ids=part, labels=part, use_cache=False).loss / PARTS).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


seconds = []
for round_ in range(2 if small else 13):
    wait()
    began = time.perf_counter()
    update()
    wait()
    if round_ >= (1 if small else 3):
        seconds.append(time.perf_counter() - began)
experts = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
active = sum(p.numel() for p in model.parameters()) - experts * (EXPERTS - TOP_K) // EXPERTS
attention = 6 * LAYERS * LENGTH * WIDTH  # of a token: two products over half of the positions, forward and twice backward
print(json.dumps({"seconds": statistics.median(seconds), "model_flops": BATCH * LENGTH * (6 * active + attention)}))
