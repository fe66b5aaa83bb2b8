"""One layer of experts in PyTorch: as transformers has it, as a plain loop, and in float64 as what all are held against."""
import time

import torch

MODES = ["eager", "grouped_mm"]  # of transformers' own layer


def dense(tensors, activation, top_k):
    """Output and gradients in float64, of every token and expert at once: nothing of anybody's dispatch."""
    x = tensors["input"].double().clone().requires_grad_()
    router = tensors["weight.router.weight"].double().clone().requires_grad_()
    names = ["gate", "up", "down"] if activation == "swiglu" else ["up", "down"]
    weights = {name: tensors[f"weight.experts.{name}"].double().clone().requires_grad_() for name in names}
    score = torch.softmax(x @ router.T, dim=1)
    chosen = tensors["chosen"]
    gate = score.gather(1, chosen)
    gate = gate / gate.sum(1, keepdim=True)
    out = torch.zeros_like(x)
    for e in range(router.shape[0]):
        token, slot = (chosen == e).nonzero(as_tuple=True)
        rows = x[token]
        up = rows @ weights["up"][e]
        hidden = torch.nn.functional.silu(rows @ weights["gate"][e]) * up if "gate" in weights else torch.nn.functional.gelu(up)
        out = out.index_add(0, token, gate[token, slot].unsqueeze(1) * (hidden @ weights["down"][e]))
    out.backward(tensors["output_gradient"].double())
    differing = (score.topk(top_k, dim=1).indices.sort(1).values != chosen.sort(1).values).any(1).sum().item()
    gradients = {"input_gradient": x.grad, "gradient.router.weight": router.grad}
    gradients |= {f"gradient.experts.{name}": weight.grad for name, weight in weights.items()}
    return {"output": out.detach(), **gradients}, differing


def apart(tensor, wanted):
    return ((tensor.double() - wanted).abs().max() / wanted.abs().max()).item()


class Transformers:
    """MixtralSparseMoeBlock with our weights, in a type of its own; in bf16 its router is too."""

    def __init__(self, tensors, top_k, dtype=torch.float32):
        import transformers
        from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

        experts, width, hidden = tensors["weight.experts.gate"].shape
        self.config = transformers.MixtralConfig(hidden_size=width, intermediate_size=hidden, num_local_experts=experts,
                                                 num_experts_per_tok=top_k, router_jitter_noise=0.0)
        self.config._experts_implementation = "eager"
        self.layer = MixtralSparseMoeBlock(self.config).to(dtype)
        with torch.no_grad():
            weights = dict(self.layer.named_parameters())
            weights["gate.weight"].copy_(tensors["weight.router.weight"])
            gate, up = tensors["weight.experts.gate"], tensors["weight.experts.up"]
            weights["experts.gate_up_proj"].copy_(torch.cat([gate, up], 2).transpose(1, 2))
            weights["experts.down_proj"].copy_(tensors["weight.experts.down"].transpose(1, 2))
        self.x = tensors["input"].to(dtype).unsqueeze(0).clone().requires_grad_()
        self.gradient = tensors["output_gradient"].to(dtype).unsqueeze(0)

    def follow(self, chosen):
        """Routes as it is told from now on, with gates from logits in float32: its own in bf16 choose otherwise."""
        def forward(tokens):
            logits = torch.nn.functional.linear(tokens.float(), self.layer.gate.weight.float())
            score = torch.softmax(logits, dim=1).gather(1, chosen)
            return logits, score / score.sum(1, keepdim=True), chosen

        self.layer.gate.forward = forward

    def take(self, mode):
        self.config._experts_implementation = mode
        self.layer.experts.config._experts_implementation = mode

    def step(self):
        self.x.grad = None
        self.layer.zero_grad(set_to_none=True)
        out = self.layer(self.x)
        out = out[0] if isinstance(out, tuple) else out
        out.backward(self.gradient)
        return out[0].detach()

    def results(self):
        out = self.step()
        weights = dict(self.layer.named_parameters())
        gate, up = weights["experts.gate_up_proj"].grad.transpose(1, 2).chunk(2, dim=2)
        return {"output": out, "input_gradient": self.x.grad[0], "gradient.router.weight": weights["gate.weight"].grad,
                "gradient.experts.gate": gate, "gradient.experts.up": up,
                "gradient.experts.down": weights["experts.down_proj"].grad.transpose(1, 2)}


class Loop:
    """What one writes oneself: for each expert gather, multiply, add. Routed in float32."""

    def __init__(self, tensors, activation, top_k, dtype=torch.float32):
        self.top_k = top_k
        self.told = None
        self.weights = {name.removeprefix("weight.experts."): tensor.to(dtype).requires_grad_()
                        for name, tensor in tensors.items() if name.startswith("weight.experts.")}
        self.router = tensors["weight.router.weight"].to(dtype).requires_grad_()
        self.x = tensors["input"].to(dtype).requires_grad_()
        self.gradient = tensors["output_gradient"].to(dtype)

    def follow(self, chosen):
        self.told = chosen

    def step(self):
        for tensor in [self.x, self.router, *self.weights.values()]:
            tensor.grad = None
        score = torch.softmax(self.x.float() @ self.router.float().T, dim=1)
        chosen = score.topk(self.top_k, dim=1).indices if self.told is None else self.told
        score = score.gather(1, chosen)
        score = (score / score.sum(1, keepdim=True)).to(self.x.dtype)
        out = torch.zeros_like(self.x)
        # One unbind: selecting each expert's matrix by itself would fill a whole gradient with zeros for each of them.
        unbound = {name: weight.unbind(0) for name, weight in self.weights.items()}
        for e in range(self.router.shape[0]):
            token, slot = (chosen == e).nonzero(as_tuple=True)
            rows = self.x[token]
            up = rows @ unbound["up"][e]
            hidden = torch.nn.functional.silu(rows @ unbound["gate"][e]) * up if "gate" in unbound else torch.nn.functional.gelu(up)
            out = out.index_add(0, token, score[token, slot].unsqueeze(1) * (hidden @ unbound["down"][e]))
        out.backward(self.gradient)
        return out.detach()

    def results(self):
        out = self.step()
        gradients = {f"gradient.experts.{name}": weight.grad for name, weight in self.weights.items()}
        return {"output": out, "input_gradient": self.x.grad, "gradient.router.weight": self.router.grad, **gradients}


def seconds(step, count):
    """(of the clock, of the processor) of each step, the middle of some."""
    taken = []
    for _ in range(count):
        wall, processor = time.perf_counter(), time.process_time()
        step()
        taken.append((time.perf_counter() - wall, time.process_time() - processor))
    return tuple(sorted(each)[count // 2] for each in zip(*taken))
