#!/usr/bin/env python3
"""The model in plain PyTorch: classic GPT-2 and every option of gpt/gpt.h.

    python dev/reference/model.py DIR     prints the configuration and the size of a checkpoint that train_gpt wrote

Gpt(config) takes a dict of config.json's keys; one that is missing, None or 0 has its default: classic GPT-2's.
Parameters are named as in GPT_PARAMETERS of gpt/gpt.h, matrices are fan-out x fan-in. load(directory) reads a
checkpoint. Nothing here is fast: it is the mathematics, for reference.py to hold the C and CUDA twins against.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

# In checkpoints and reference files these are stored fan-in x fan-out, as by Hugging Face's GPT-2.
TRANSPOSED = ("attn.c_attn.weight", "attn.c_q.weight", "attn.c_kv.weight", "attn.c_proj.weight", "mlp.c_fc.weight",
              "mlp.c_proj.weight")

# --- The configuration ---


def same(*names):
    """Choices called the same as an option's value and in config.json."""
    return {name: name for name in names}


# GPT_CONFIG of gpt/gpt.h: option (but most-positions is seq-len there), key in config.json, choices (as the option
# takes them, and in config.json; the first is classic GPT-2's) or type, help.
FIELDS = (
    ("layers", "n_layer", int, "transformer blocks"),
    ("heads", "n_head", int, "attention heads; they divide the width"),
    ("width", "n_embd", int, "channels of the residual stream"),
    ("vocab", "vocab_size", int, "vocabulary size"),
    ("most-positions", "n_positions", int, "positions the model has, at least T"),
    ("positions", "position_encoding", same("learned", "rotary", "rotary-half", "none"),
     "how tokens know their position"),
    ("rotary-base", "rope_theta", float, "base of rotary positions' wavelengths; 0: 10000, or 1024 of rotary-half"),
    ("norm", "norm", same("layernorm", "layernorm-no-bias", "rmsnorm", "rmsnorm-no-gain", "none"),
     "of the residual stream"),
    ("norm-eps", "layer_norm_epsilon", float, "added to what norms divide by, under the root; 0: 1e-5"),
    ("embed-norm", "embedding_norm", same("off", "on"), "norm of the embedding"),
    ("residual-scale", "residual_scale", float,
     "factor of the residual stream, each time that a layer adds to it; 0: 1"),
    ("kv-heads", "num_key_value_heads", int, "heads of keys and values; 0: as many as heads"),
    ("qk-norm", "qk_norm", same("off", "on", "gain"), "RMSNorm of each head's queries and keys, without or with gain"),
    ("attention-scale", "attention_scale", float, "factor of the scores; 0: 1/sqrt(channels of a head)"),
    ("value-scale", "value_scale", float, "factor of the values, which scales what attention adds; 0: 1"),
    ("attention-bias", "attention_bias", same("all", "qkv", "none"), "which of attention's matrices have biases"),
    ("mlp-width", "n_inner", int, "channels inside the MLP; 0: 4 x width; swiglu: 8/3 x width, up to a multiple of 8"),
    ("activation", "activation_function",
     {"gelu": "gelu_new", "gelu-exact": "gelu", "relu2": "relu2", "silu": "silu", "swiglu": "swiglu"}, "of the MLP"),
    ("mlp-bias", "mlp_bias", same("on", "off"), "biases of the MLP's matrices"),
    ("head", "head", same("tied", "untied", "untied-bias"),
     "the classifier: the token embedding or a matrix of its own"),
    ("softcap", "logit_softcap", same("none", "tanh", "sqrt"), "how logits are kept within their limit"),
    ("softcap-limit", "logit_softcap_limit", float, "bound of the logits; 0: 15"),
    ("init", "initialization",
     same("gpt2", "normal", "record-2", "record-5", "track3", "track3-p", "track3-h", "track3-hg", "track3-46", "modula"),
     "what parameters are drawn from; a reference's are drawn otherwise"),
)
ALIASES = {"gelu_pytorch_tanh": "gelu_new", "gelu_python": "gelu", "swish": "silu"}


def head_size(c):
    return c["n_embd"] // c["n_head"]


def is_rotary(c):
    return c["position_encoding"] in ("rotary", "rotary-half")


def normalises(c):
    return c["norm"] != "none" or c["qk_norm"] != "off"


def is_gated(c):
    return c["activation_function"] == "swiglu"


def defaults(c):
    """What gpt_resolve (gpt/gpt_config.c) has in place of zeros; but the scale of the scores is exact."""
    width = c["n_embd"]
    return {"num_key_value_heads": c["n_head"],
            "n_inner": -(-8 * width // 24) * 8 if is_gated(c) else 4 * width,
            "layer_norm_epsilon": 1e-5 if normalises(c) else 0.0,
            "residual_scale": 1.0,
            "attention_scale": 1 / math.sqrt(head_size(c)),
            "value_scale": 1.0,
            "rope_theta": {"rotary": 10000.0, "rotary-half": 1024.0}.get(c["position_encoding"], 0.0),
            "logit_softcap_limit": 0.0 if c["logit_softcap"] == "none" else 15.0}


def check(c):
    """Refuses what gpt_config_check does; c's zeros still stand for defaults."""
    multiple = {"rotary": 2, "rotary-half": 4}.get(c["position_encoding"], 1)
    if c["n_embd"] % c["n_head"]:
        raise ValueError(f"{c['n_head']} heads do not divide the width {c['n_embd']}")
    if c["num_key_value_heads"] and c["n_head"] % c["num_key_value_heads"]:
        raise ValueError(f"{c['num_key_value_heads']} heads of keys do not divide {c['n_head']} heads")
    if head_size(c) % multiple:
        raise ValueError(f"{c['position_encoding']} positions need heads of a multiple of {multiple} channels")
    if c["rope_theta"] and not is_rotary(c):
        raise ValueError("a rotary base, but nothing is rotated")
    if c["embedding_norm"] == "on" and c["norm"] == "none":
        raise ValueError("a norm of the embedding, but no norm")
    if c["layer_norm_epsilon"] and not normalises(c):
        raise ValueError("an epsilon of norms, but nothing is normalised")
    if c["logit_softcap_limit"] and c["logit_softcap"] == "none":
        raise ValueError("a limit of the logits, but no softcap")


def resolve(config):
    """The configuration with every key, each default replaced by what it stands for."""
    c = {}
    for _, key, kind, _ in FIELDS:
        value = config.get(key)
        if isinstance(kind, dict):
            value = ALIASES.get(value, value) or next(iter(kind.values()))
            if value not in kind.values():
                raise ValueError(f"{key} is {value}, not one of {', '.join(kind.values())}")
        c[key] = value or (0 if kind is int else 0.0)
    check(c)
    usual = defaults(c)
    return {key: value or usual.get(key, value) for key, value in c.items()}


def stored(config):
    """The resolved configuration as the C program writes it, which computes the default scale of the scores in fp32."""
    c = resolve(config)
    if c["attention_scale"] == defaults(c)["attention_scale"]:
        c["attention_scale"] = torch.tensor(c["attention_scale"], dtype=torch.float32).item()
    return c


def parts(name, c):
    """Rows of the matrices that the fused parameter `name`, or its bias, holds one after the other; else None."""
    keys = c["num_key_value_heads"] * head_size(c)
    if "attn.c_attn." in name:
        return [c["n_embd"], keys, keys]
    if "attn.c_kv." in name:
        return [keys, keys]
    return [c["n_inner"], c["n_inner"]] if "mlp.c_fc." in name and is_gated(c) else None


def key_bias_is_void(c):
    """Whether the key bias adds the same to all scores of a query, which softmax ignores: its gradient is then zero."""
    return not is_rotary(c) and c["qk_norm"] == "off"


# --- The model ---


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps), times a gain if it has one."""

    def __init__(self, width, eps, gain):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width)) if gain else None

    def forward(self, x):
        y = F.rms_norm(x, x.shape[-1:], eps=self.eps)
        return y if self.weight is None else y * self.weight


def make_norm(c):
    width, eps = c["n_embd"], c["layer_norm_epsilon"]
    if c["norm"] == "none":
        return nn.Identity()
    if c["norm"].startswith("layernorm"):
        return nn.LayerNorm(width, eps=eps, bias=c["norm"] == "layernorm")
    return RmsNorm(width, eps, gain=c["norm"] == "rmsnorm")


def make_qk_norm(c):
    if c["qk_norm"] == "off":
        return nn.Identity()
    return RmsNorm(head_size(c), c["layer_norm_epsilon"], gain=c["qk_norm"] == "gain")


def frequencies(c):
    """Radians from one position to the next of each pair of a head's channels, in fp64; None if nothing is rotated."""
    base, size = c["rope_theta"], head_size(c)
    if c["position_encoding"] == "rotary":
        return base ** (-2 * torch.arange(size // 2, dtype=torch.float64) / size)
    if c["position_encoding"] == "rotary-half":
        turned = size // 4
        turning = -(base ** (-torch.arange(turned, dtype=torch.float64) / max(turned - 1, 1)))
        return torch.cat([turning, torch.zeros(size // 2 - turned, dtype=torch.float64)])
    return None


def rotate(x, frequency):
    """Turns the pairs (i, i + HS/2) of x (B, heads, T, HS) by position x frequency_i."""
    angles = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * frequency
    precision = torch.promote_types(x.dtype, torch.float32)
    cos, sin = angles.cos().to(precision), angles.sin().to(precision)
    a, b = x.chunk(2, dim=3)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=3)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, bias = c["n_embd"], c["attention_bias"]
        self.head_size, self.frequency = head_size(c), frequencies(c)
        self.divisor = 1 / c["attention_scale"]  # of the scores
        self.value_scale = c["value_scale"]
        self.groups = c["n_head"] // c["num_key_value_heads"]
        self.widths = parts("attn.c_attn.", c)  # of q, k and v
        self.c_attn = nn.Linear(width, sum(self.widths), bias=bias != "none")
        self.c_proj = nn.Linear(width, width, bias=bias == "all")
        self.q_norm, self.k_norm = make_qk_norm(c), make_qk_norm(c)
        if self.groups > 1:  # two matrices instead of one; c_attn is left with their bias
            self.c_attn.weight = None
            self.c_q = nn.Linear(width, width, bias=False)
            self.c_kv = nn.Linear(width, sum(self.widths[1:]), bias=False)

    def queries_keys_values(self, x):
        weight = self.c_attn.weight if self.groups == 1 else torch.cat([self.c_q.weight, self.c_kv.weight])
        qkv = F.linear(x, weight, self.c_attn.bias).split(self.widths, dim=2)
        q, k, v = (y.unflatten(2, (-1, self.head_size)).transpose(1, 2) for y in qkv)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.frequency is not None:
            q, k = rotate(q, self.frequency), rotate(k, self.frequency)
        return q, self.for_each_query(k), self.for_each_query(v * self.value_scale)

    def for_each_query(self, x):
        """Heads 0, 0, 1, 1, ... of x (B, heads, T, HS), if each serves two heads of queries."""
        return x if self.groups == 1 else x.repeat_interleave(self.groups, dim=1)

    def forward(self, x):
        T = x.shape[1]
        q, k, v = self.queries_keys_values(x)
        scores = q @ k.transpose(2, 3) / self.divisor
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(dim=3)
        return self.c_proj((weights @ v).transpose(1, 2).flatten(2))


def swiglu(x):
    a, b = x.chunk(2, dim=-1)
    return F.silu(a) * b


# By their names in config.json
ACTIVATIONS = {"gelu_new": lambda x: F.gelu(x, approximate="tanh"), "gelu": F.gelu,
               "relu2": lambda x: F.relu(x).square(), "silu": F.silu, "swiglu": swiglu}


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, inner, bias = c["n_embd"], c["n_inner"], c["mlp_bias"] == "on"
        self.c_fc = nn.Linear(width, 2 * inner if is_gated(c) else inner, bias=bias)
        self.c_proj = nn.Linear(inner, width, bias=bias)
        self.activation = ACTIVATIONS[c["activation_function"]]

    def forward(self, x):
        return self.c_proj(self.activation(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ln_1 = make_norm(c)
        self.attn = Attention(c)
        self.ln_2 = make_norm(c)
        self.mlp = Mlp(c)
        self.residual_scale = c["residual_scale"]

    def forward(self, x):
        x = self.residual_scale * x + self.attn(self.ln_1(x))
        return self.residual_scale * x + self.mlp(self.ln_2(x))


def softcap(z, form, limit):
    """Logits to within +-limit, in fp32 at least."""
    if form == "none":
        return z
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    return limit * (torch.tanh(z / limit) if form == "tanh" else z / torch.sqrt(z.square() + limit ** 2))


class Gpt(nn.Module):
    def __init__(self, config):
        super().__init__()
        c = self.config = resolve(config)
        learned, untied = c["position_encoding"] == "learned", c["head"] != "tied"
        self.wte = nn.Embedding(c["vocab_size"], c["n_embd"])
        self.wpe = nn.Embedding(c["n_positions"], c["n_embd"]) if learned else None
        self.ln_e = make_norm(c) if c["embedding_norm"] == "on" else nn.Identity()
        self.h = nn.ModuleList(Block(c) for _ in range(c["n_layer"]))
        self.ln_f = make_norm(c)
        self.lm_head = nn.Linear(c["n_embd"], c["vocab_size"], bias=c["head"] == "untied-bias") if untied else None

    def forward(self, tokens):
        """Logits and the residual stream before each block and before the final norm."""
        x = self.wte(tokens)
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(tokens.shape[1]))
        x = self.ln_e(x)
        residuals = [x]
        for block in self.h:
            x = block(x)
            residuals.append(x)
        return self.logits(self.ln_f(x)), residuals

    def logits(self, x):
        z = F.linear(x, self.wte.weight) if self.lm_head is None else self.lm_head(x)
        return softcap(z, self.config["logit_softcap"], self.config["logit_softcap_limit"])


# --- Checkpoints ---


def load(directory):
    """The model of a checkpoint that train_gpt wrote, in eval mode."""
    config = json.loads((Path(directory) / "config.json").read_text())
    if config.get("model_type") not in ("train_gpt", "gpt2"):
        raise ValueError(f"{directory}: the model type is {config.get('model_type')}, not train_gpt or gpt2")
    model = Gpt(config)
    tensors = load_file(Path(directory) / "model.safetensors")
    model.load_state_dict({name.removeprefix("transformer."): t.T if name.endswith(TRANSPOSED) else t
                           for name, t in tensors.items()})
    return model.eval()


def main():
    p = argparse.ArgumentParser(description="Prints the configuration and the size of a checkpoint.")
    p.add_argument("directory", metavar="DIR", help="a checkpoint that train_gpt wrote")
    model = load(p.parse_args().directory)
    for key, value in model.config.items():
        print(f"{key:20} {value}")
    print(f"{'parameters':20} {sum(p.numel() for p in model.parameters())}")


if __name__ == "__main__":
    main()
