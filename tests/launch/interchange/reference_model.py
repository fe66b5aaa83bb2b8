"""moetrain's model written a second time, in plain PyTorch and one expert after the other: the oracle.

It shares nothing with the C++ program but the names and shapes of the parameters:

    embedding.weight [V, D]                      final_norm.weight [D]       head.weight [V, D] (absent when tied)
    blocks.{i}.attention_norm.weight [D]         blocks.{i}.ffn_norm.weight [D]
    blocks.{i}.attention.{query,key,value}.weight [heads * width, D]         .output.weight [D, heads * width]
    blocks.{i}.feed_forward.{gate,up}.weight [F, D], .down.weight [D, F]     (a dense block)
    blocks.{i}.moe.router.weight [E, D]                                      (a block with experts)
    blocks.{i}.moe.experts.{gate,up} [E, D, F], .experts.down [E, F, D]
    blocks.{i}.moe.shared.{gate,up}.weight [F, D], .down.weight [D, F], blocks.{i}.moe.shared_gate.weight [1, D]
"""
import math

import torch

MODEL_DEFAULTS = dict(layers=4, width=192, heads=6, kv_heads=2, ffn_hidden=512, norm_epsilon=1e-5,
                      rope_theta=10000.0, tie_embeddings=True)
MOE_DEFAULTS = dict(experts=8, top_k=2, hidden=256, gate="sum1", shared_hidden=0, shared_gate=True)


def parameter_shapes(model, moe, moe_blocks, vocabulary_size):
    """Name -> shape of every parameter of such a model."""
    model, moe = MODEL_DEFAULTS | model, MOE_DEFAULTS | moe
    width, head_width = model["width"], model["width"] // model["heads"]
    shapes = {"embedding.weight": [vocabulary_size, width], "final_norm.weight": [width]}
    if not model["tie_embeddings"]:
        shapes["head.weight"] = [vocabulary_size, width]

    def feed_forward(prefix, hidden):
        shapes[prefix + ".gate.weight"] = shapes[prefix + ".up.weight"] = [hidden, width]
        shapes[prefix + ".down.weight"] = [width, hidden]

    for block in range(model["layers"]):
        prefix = f"blocks.{block}."
        shapes[prefix + "attention_norm.weight"] = shapes[prefix + "ffn_norm.weight"] = [width]
        shapes[prefix + "attention.query.weight"] = [model["heads"] * head_width, width]
        shapes[prefix + "attention.key.weight"] = [model["kv_heads"] * head_width, width]
        shapes[prefix + "attention.value.weight"] = [model["kv_heads"] * head_width, width]
        shapes[prefix + "attention.output.weight"] = [width, model["heads"] * head_width]
        if block not in moe_blocks:
            feed_forward(prefix + "feed_forward", model["ffn_hidden"])
            continue
        experts, hidden = moe["experts"], moe["hidden"]
        shapes[prefix + "moe.router.weight"] = [experts, width]
        shapes[prefix + "moe.experts.gate"] = shapes[prefix + "moe.experts.up"] = [experts, width, hidden]
        shapes[prefix + "moe.experts.down"] = [experts, hidden, width]
        if moe["shared_hidden"] > 0:
            feed_forward(prefix + "moe.shared", moe["shared_hidden"])
            if moe["shared_gate"]:
                shapes[prefix + "moe.shared_gate.weight"] = [1, width]
    return shapes


class ReferenceModel:
    """T tokens of one sequence, D model width, H heads, W width of a head, V vocabulary."""

    def __init__(self, model, moe, moe_blocks, parameters):
        self.model, self.moe = MODEL_DEFAULTS | model, MOE_DEFAULTS | moe
        self.moe_blocks = set(moe_blocks)
        self.parameters = parameters

    def logits(self, tokens):
        """Token ids, a list or [T] -> logits [T, V]."""
        x_TD = self.parameters["embedding.weight"][torch.as_tensor(tokens)]
        for block in range(self.model["layers"]):
            prefix = f"blocks.{block}."
            x_TD = x_TD + self._attention(prefix + "attention.", self._norm(prefix + "attention_norm", x_TD))
            normed_TD = self._norm(prefix + "ffn_norm", x_TD)
            if block in self.moe_blocks:
                x_TD = x_TD + self._mixture(prefix + "moe.", normed_TD)
            else:
                x_TD = x_TD + self._feed_forward(prefix + "feed_forward.", normed_TD)
        head = "embedding.weight" if self.model["tie_embeddings"] else "head.weight"
        return self._norm("final_norm", x_TD) @ self.parameters[head].T

    def _norm(self, name, x_TD):
        scale_T1 = torch.rsqrt(x_TD.pow(2).mean(-1, keepdim=True) + self.model["norm_epsilon"])
        return x_TD * scale_T1 * self.parameters[name + ".weight"]

    def _rotate(self, x_HTW):
        """The pair (j, j + W/2) turns by position * theta^(-2j/W)."""
        width = x_HTW.shape[-1]
        steps = torch.arange(0, width, 2, dtype=torch.float64) / width
        angle = torch.arange(x_HTW.shape[1], dtype=torch.float64)[:, None] / self.model["rope_theta"] ** steps
        cos, sin = angle.cos().to(x_HTW.dtype), angle.sin().to(x_HTW.dtype)
        low, high = x_HTW[..., : width // 2], x_HTW[..., width // 2 :]
        return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)

    def _attention(self, prefix, x_TD):
        heads, kv_heads = self.model["heads"], self.model["kv_heads"]
        length = x_TD.shape[0]

        def project(name, count):
            return (x_TD @ self.parameters[f"{prefix}{name}.weight"].T).view(length, count, -1).transpose(0, 1)

        query = self._rotate(project("query", heads))
        key = self._rotate(project("key", kv_heads)).repeat_interleave(heads // kv_heads, dim=0)
        value = project("value", kv_heads).repeat_interleave(heads // kv_heads, dim=0)
        scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        attended = scores.masked_fill(future, -math.inf).softmax(-1) @ value
        return attended.transpose(0, 1).reshape(length, -1) @ self.parameters[prefix + "output.weight"].T

    def _feed_forward(self, prefix, x_TD):
        gate = torch.nn.functional.silu(x_TD @ self.parameters[prefix + "gate.weight"].T)
        return (gate * (x_TD @ self.parameters[prefix + "up.weight"].T)) @ self.parameters[prefix + "down.weight"].T

    def _mixture(self, prefix, x_TD):
        score_dtype = torch.promote_types(x_TD.dtype, torch.float32)
        scores_TE = (x_TD @ self.parameters[prefix + "router.weight"].T).to(score_dtype).softmax(-1)
        weights_TK, chosen_TK = scores_TE.topk(self.moe["top_k"], dim=-1)
        if self.moe["gate"] == "sum1":
            weights_TK = weights_TK / weights_TK.sum(-1, keepdim=True)
        gate, up, down = (self.parameters[f"{prefix}experts.{name}"] for name in ("gate", "up", "down"))
        out_TD = torch.zeros_like(x_TD)
        for token, (weights, chosen) in enumerate(zip(weights_TK, chosen_TK)):
            for weight, expert in zip(weights, chosen):
                hidden = torch.nn.functional.silu(x_TD[token] @ gate[expert]) * (x_TD[token] @ up[expert])
                out_TD[token] += weight.to(x_TD.dtype) * (hidden @ down[expert])
        if self.moe["shared_hidden"] > 0:
            shared_TD = self._feed_forward(prefix + "shared.", x_TD)
            if self.moe["shared_gate"]:
                shared_TD = torch.sigmoid(x_TD @ self.parameters[prefix + "shared_gate.weight"].T) * shared_TD
            out_TD = out_TD + shared_TD
        return out_TD
