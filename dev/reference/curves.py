#!/usr/bin/env python3
"""Trains small models as the presets' records did, in plain PyTorch in double, next to train_gpt's own run of each.

    python dev/reference/curves.py train NAME FOLDER     writes FOLDER/NAME.csv
    python dev/reference/curves.py draw FOLDER           writes FOLDER/curves.csv and curves.png

curves.sh calls it. FOLDER/<preset> holds: start, a run of one step at rate 0, for the initial parameters; run, the run
to hold against; batches.safetensors, its batches. Optimizers, rates, schedules, initialisations and architectures are
written here from the records' descriptions, not from our C code. `train` first checks the initial parameters and the
architecture. `draw` exits with 1 unless every step of every curve is within BOUND of PyTorch's.

A name with a + is its record with our warmup, where that is not the record's, to show that nothing else differs. The
name without it may then be further away.

Track 3 has the wider bound: where the head begins at zero, fp32 drifts from double sooner, by about 1e-4 in 50 steps
against 1e-7. That bound does not see a weight decay of 0.001, or a beta2 of 0.9 for 0.95.
"""

import argparse
import csv
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file

import model as own

BOUND, TRACK3_BOUND = 1e-6, 1e-3  # of the relative difference
WARMUP = 5  # steps, where the record has a warmup; curves.sh gives train_gpt the same

# --- Schedules: the rate's factor in 0-based step s of T, as each record's formula has it ---


def llmc_cosine(s, T):
    return (s + 1) / WARMUP if s < WARMUP else 0.5 * (1 + math.cos(math.pi * (s - WARMUP) / (T - WARMUP)))


def nanogpt_cosine(s, T):
    if s < WARMUP:
        return (s + 1) / (WARMUP + 1)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (s - WARMUP) / (T - WARMUP)))


def nanogpt_cosine_ours(s, T):
    """The preset's: one more step of warmup, after which the decay begins."""
    warmup = WARMUP + 1
    return (s + 1) / warmup if s < warmup else 0.1 + 0.45 * (1 + math.cos(math.pi * (s - warmup) / (T - warmup)))


def warmdown(share, warmup=0):
    """The speedrun's: linear to 0 over the last D = share T steps."""
    def factor(s, T):
        return (s + 1) / warmup if s < warmup else min(1, (T - s) / (share * T))
    return factor


def cooldown(c, warmup=0):
    """Track 3's: x = s / T, 1 while x < 1 - c, then (1 - x) / c; a warmup multiplies."""
    def factor(s, T):
        x = s / T
        return (1 if x < 1 - c else (1 - x) / c) * (min(1, (s + 1) / warmup) if warmup else 1)
    return factor


def adamh_schedule(s, T):
    return s / WARMUP if s < WARMUP else 1 - s / T


def adamh_schedule_ours(s, T):
    return (s + 1) / WARMUP if s < WARMUP else 1 - s / T


def soap_h_schedule(s, T):
    """A power of what is left of a plan of 3,200 steps, of which the entry takes 3,125; here of two more than it takes."""
    return (1 - s / (T + 2)) ** 1.25


# --- Directions of the hidden matrices: (state, gradient, numbers) -> what the rate multiplies ---

JORDAN = ((3.4445, -4.7750, 2.0315),) * 5
TRACK3 = ((2, -1.5, 0.5),) * 12


def newton_schulz(g, coefficients):
    x = g / (g.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for a, b, c in coefficients:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def ema(state, name, value, beta):
    state[name] = beta * state.get(name, torch.zeros_like(value)) + (1 - beta) * value
    return state[name]


def sum_momentum(state, g, n):
    """Nesterov with a decaying sum, as the speedrun's first Muons."""
    state["B"] = n["mu"] * state.get("B", torch.zeros_like(g)) + g
    return g + n["mu"] * state["B"]


def ema_momentum(state, g, n):
    """Nesterov with an average, as track 3 and torch.optim.Muon."""
    m = ema(state, "m", g, n["mu"])
    return (1 - n["mu"]) * g + n["mu"] * m


def aspect(w):
    return max(1, w.shape[0] / w.shape[1]) ** 0.5


def early_muon(state, g, n):
    u = newton_schulz(sum_momentum(state, g, n), JORDAN)
    return u * (max(u.shape) ** 0.5 if n["scaled"] else 1)


def muon(state, g, n):
    return newton_schulz(ema_momentum(state, g, n), n["ns"]) * aspect(g)


def normuon(state, g, n):
    o = muon(state, g, n)
    lines = 1 if g.shape[0] >= g.shape[1] else 0
    v = ema(state, "V", o.square().mean(dim=lines, keepdim=True), n["b2"])
    scaled = o / v.clamp(min=1e-10).sqrt()
    return scaled * o.norm() / scaled.norm().clamp(min=1e-10)


def muon2(state, g, n):
    v = ema(state, "v", g.square(), n["b2"])
    return newton_schulz(ema_momentum(state, g, n) / (v.sqrt() + 1e-10), n["ns"]) * aspect(g)


def adam(state, g, n):
    state["t"] = t = state.get("t", 0) + 1
    m, v = ema(state, "m", g, n["b1"]), ema(state, "v", g.square(), n["b2"])
    return m / (1 - n["b1"] ** t) / ((v / (1 - n["b2"] ** t)).sqrt() + n["eps"])


def shampoo(state, g, n):
    """Meta's Distributed Shampoo, grafted on Adam: Adam's step before the roots of step `refresh`."""
    state["t"] = t = state.get("t", 0) + 1
    mean = ema(state, "m", g, n["b1"]) / (1 - n["b1"] ** t)
    grafted = mean / ((ema(state, "v", g.square(), n["b2"]) / (1 - n["b2"] ** t)).sqrt() + 1e-10)
    for side, square in (("L", g @ g.T), ("R", g.T @ g)):
        factor = ema(state, side, square, n["b2"]) / (1 - n["b2"] ** t)
        if t % n["refresh"] == 0:
            values, vectors = torch.linalg.eigh(factor)
            state["root" + side] = vectors * (values.clamp(min=0) + n["eps"]) ** -0.25 @ vectors.T
    if t < n["refresh"]:
        return grafted
    u = state["rootL"] @ mean @ state["rootR"]
    return u * grafted.norm() / u.norm()


def descending_eigenvectors(a):
    return torch.linalg.eigh(a)[1].flip(1)


def power_iterated(factor, basis):
    return torch.linalg.qr(factor @ basis)[0]


def soap_h(state, g, n):
    """SOAP with the average of plain gradients, without bias correction; bases are renewed after each step."""
    left, right = ema(state, "L", g @ g.T, n["b2"]), ema(state, "R", g.T @ g, n["b2"])
    if "QL" not in state:
        state["QL"], state["QR"] = descending_eigenvectors(left), descending_eigenvectors(right)
    ql, qr = state["QL"], state["QR"]
    v = ema(state, "v", (ql.T @ g @ qr).square(), n["b2"])
    u = ql @ (ql.T @ ema(state, "m", g, n["b1"]) @ qr / (v.sqrt() + n["eps"])) @ qr.T
    state["QL"], state["QR"] = power_iterated(left, ql), power_iterated(right, qr)
    return u


def kl_soap(state, g, n):
    """SOAP whose factors average gradients whitened on their other side; the first step only begins them."""
    rows, cols = g.shape
    if "L" not in state:
        state["L"], state["R"] = g @ g.T / cols, g.T @ g / rows
        state["QL"], state["QR"] = descending_eigenvectors(state["L"]), descending_eigenvectors(state["R"])
        state["dl"], state["dr"] = torch.full((rows,), 0.1, dtype=g.dtype), torch.full((cols,), 0.1, dtype=g.dtype)
        return None
    ql, qr, sl, sr = state["QL"], state["QR"], *(d.rsqrt().clamp(max=4000) for d in (state["dl"], state["dr"]))
    rotated = ql.T @ g @ qr
    m, v = ema(state, "m", rotated, n["b1"]), ema(state, "v", rotated.square(), n["b2"])
    u = ql @ (m / (v.sqrt() + n["eps"])) @ qr.T
    x, y = g @ qr * sr, sl[:, None] * (ql.T @ g)
    ema(state, "L", x @ x.T / cols, n["b2"]), ema(state, "R", y.T @ y / rows, n["b2"])
    clamped = {"dl": sl, "dr": sr}
    for name, new in (("dl", (rotated * sr).square().mean(1)), ("dr", (sl[:, None] * rotated).square().mean(0))):
        state[name] = n["b2"] * clamped[name] ** -2 + (1 - n["b2"]) * new
    state["QL"], state["QR"] = power_iterated(state["L"], ql), power_iterated(state["R"], qr)
    state["m"] = state["QL"].T @ (ql @ m @ qr.T) @ state["QR"]
    return u


MODULA = tuple((a / 1024, b / 1024, c / 1024) for a, b, c in
               ((3955, -8306, 5008), (3735, -6681, 3463), (3799, -6499, 3211), (4019, -6385, 2906), (2677, -3029, 1162),
                (2172, -1833, 682)))


def decoupled(w, u, lr, n):
    w.mul_(1 - lr * n.get("wd", 0)).sub_(lr * u)


def hyperball(w, u, lr, n):
    """Keeps the length of the matrix."""
    p = w.norm()
    moved = w - lr * p * u / u.norm().clamp(min=1e-10)
    w.copy_(p * moved / moved.norm().clamp(min=1e-10))


# --- Initialisations: (kind, layers, fan-in) -> distribution; kinds are those of kind_of() ---

PROJECTIONS = ("attn.c_proj", "mlp.c_proj", "head")


def gpt2_init(kind, layers, fan_in):
    if kind.endswith("bias"):
        return "zero", 0
    return "normal", 0.02 / math.sqrt(2 * layers) if kind in ("attn.c_proj", "mlp.c_proj") else 0.02


def plain_normal_init(kind, layers, fan_in):
    return ("zero", 0) if kind.endswith("bias") else ("normal", 0.02)


def record2_init(kind, layers, fan_in):
    return "uniform", 1 / math.sqrt(fan_in)


def record5_init(kind, layers, fan_in):
    return ("zero", 0) if kind in PROJECTIONS else ("uniform", 1 / math.sqrt(fan_in))


def track3_g_init(kind, layers, fan_in):
    if kind == "embed":
        return "normal", 1
    if kind.endswith("bias") or kind in PROJECTIONS:
        return "zero", 0
    return "normal", math.sqrt(0.33 / fan_in)


def track3_p_init(kind, layers, fan_in):
    if kind == "embed":
        return "normal", 1
    return ("zero", 0) if kind.removesuffix(".bias") in PROJECTIONS else ("uniform", 1 / math.sqrt(fan_in))


STRETCH = {"attn.c_proj": 1.25, "mlp.c_proj": 3, "mlp.c_fc": 1.5}


def track3_h_init(kind, layers, fan_in):
    if kind == "embed":
        return "normal", 1
    if kind == "head" or kind in ("attn.c_proj.bias", "mlp.c_proj.bias", "head.bias"):
        return "zero", 0
    return "uniform", STRETCH.get(kind, 1) / math.sqrt(fan_in)


def track3_hg_init(kind, layers, fan_in):
    if kind == "embed":
        return "normal", 1
    return ("zero", 0) if kind.endswith("bias") else ("normal", STRETCH.get(kind, 1) * math.sqrt(0.33 / fan_in))


def modula_init(kind, layers, fan_in):
    return ("rows", 1) if kind == "embed" else ("orthogonal", 1)


# --- modula's own model and training, which no option of ours is ---


class Modula(torch.nn.Module):
    """modula's hello-gpt, from a checkpoint of the preset, which keeps its constants within the matrices."""

    def __init__(self, model):
        super().__init__()
        c, self.config = model.config, None
        self.heads, self.layers, self.share = c["n_head"], c["n_layer"], 1 / (2 * c["n_layer"])
        stored = {name: p.detach() for name, p in model.named_parameters()}
        self.weights = torch.nn.ParameterDict()  # without dots in their names

        def keep(name, weight):
            self.weights[name] = torch.nn.Parameter(weight.clone())

        keep("wte", stored["wte.weight"]), keep("lm_head", stored["lm_head.weight"])
        for layer in range(self.layers):
            h = f"h.{layer}."
            for part, weight in zip("qkv", stored[h + "attn.c_attn.weight"].chunk(3)):
                keep(f"{part}{layer}", 3 * weight)
            keep(f"out{layer}", stored[h + "attn.c_proj.weight"] / self.share)
            keep(f"fc{layer}", stored[h + "mlp.c_fc.weight"])
            keep(f"proj{layer}", 1.1289 * stored[h + "mlp.c_proj.weight"] / self.share)

    def rotate(self, x):  # (B, NH, T, HS)
        half = x.shape[-1] // 2
        angles = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
        a, b = x.chunk(2, -1)
        return torch.cat((a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()), -1)

    def attention(self, x, layer):
        q, k, v = ((x @ self.weights[f"{part}{layer}"].T).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for part in "qkv")
        scores = self.rotate(q) @ self.rotate(k).mT / q.shape[-1]
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(future, -math.inf).softmax(-1) @ v
        return mixed.transpose(1, 2).flatten(2) @ self.weights[f"out{layer}"].T / 3

    def mlp(self, x, layer):
        act = F.gelu(x @ self.weights[f"fc{layer}"].T, approximate="tanh") / 1.1289
        return act @ self.weights[f"proj{layer}"].T

    def forward(self, tokens):
        x = self.weights["wte"][tokens]
        for layer in range(self.layers):
            x = (1 - self.share) * x + self.share * self.attention(x, layer)
            x = (1 - self.share) * x + self.share * self.mlp(x, layer)
        return x @ self.weights["lm_head"].T

    def optimizers(self, record):
        return [(record["schedule"], Dualised(self.weights))]


class Dualised:
    """modula's training: the average gradient's dual in the modular norm, each matrix by its share."""

    def __init__(self, weights):
        self.parts = [(p, self.mass(name), name == "wte", {}) for name, p in weights.items()]

    @staticmethod
    def mass(name):
        """Of a mass of 1 for the embedding, 5 for all blocks and 1 for the head, over the sensitivity of what follows."""
        matrix = 5 / 24 * 8 / 7  # each of 24 matrices, over a residual weight of 1/8
        return 1 / 7 if name in ("wte", "lm_head") else matrix * (3 if name[0] in "qkv" else 1)

    @torch.no_grad()
    def step(self, factor):
        for p, share, is_table, state in self.parts:
            m = ema(state, "m", p.grad, 0.95)
            if is_table:
                lengths = m.norm(dim=1, keepdim=True)
                dual = m / torch.where(lengths > 0, lengths, 1) * math.sqrt(p.shape[1])
            else:
                dual = newton_schulz(m, MODULA) * math.sqrt(p.shape[0] / p.shape[1])
            p.sub_(0.1 * factor * share * dual)


# --- The records ---

# What config.json must say: keys that a family shares. Of functions, what they make of its sizes.
SPEEDRUN = {"position_encoding": "rotary", "rope_theta": 1e4, "norm": "rmsnorm-no-gain", "layer_norm_epsilon": 1e-6,
            "embedding_norm": "off", "qk_norm": "off", "attention_bias": "none", "mlp_bias": "off", "head": "tied",
            "attention_scale": lambda c: (c["n_embd"] / c["n_head"]) ** -0.5, "n_inner": lambda c: 4 * c["n_embd"],
            "value_scale": lambda c: (2 * c["n_layer"]) ** -0.5, "activation_function": "gelu",
            "logit_softcap": "none", "vocab_size": 50257}
MODERN = SPEEDRUN | {"layer_norm_epsilon": 2.0 ** -23, "qk_norm": "on", "value_scale": 1,
                     "activation_function": "relu2", "vocab_size": 50304}
BENCHMARK = MODERN | {"position_encoding": "rotary-half", "rope_theta": 1024, "norm": "rmsnorm", "embedding_norm": "on",
                      "attention_bias": "all", "mlp_bias": "on", "head": "untied-bias", "attention_scale": 0.12,
                      "logit_softcap": "sqrt", "logit_softcap_limit": 15}
NANOGPT = SPEEDRUN | {"position_encoding": "learned", "rope_theta": 0, "norm": "layernorm-no-bias", "value_scale": 1,
                      "layer_norm_epsilon": 1e-5, "vocab_size": 256}
HELLO_GPT = NANOGPT | {"position_encoding": "rotary", "rope_theta": 1e4, "norm": "none", "layer_norm_epsilon": 0,
                       "residual_scale": 7 / 8, "attention_scale": 9 / 32, "activation_function": "gelu_new",
                       "head": "untied"}
GPT2 = {"model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "vocab_size": 50257}
LLAMA = {"model_type": "llama", "hidden_act": "silu", "vocab_size": 256, "tie_word_embeddings": False}


def adamw(lr, b1, b2, eps, wd):
    return {"lr": lr, "betas": (b1, b2), "eps": eps, "weight_decay": wd}


def everywhere(rule):
    return {"embed": rule, "head": rule, "vector": rule | {"weight_decay": 0}}


def aux(embed, head, vector, wd):
    return {name: adamw(lr, 0.8, 0.95, 1e-10, wd) for name, lr in
            (("embed", embed), ("head", head), ("vector", vector))}


OLD_AUX = aux(0.3, 1 / 320, 0.01, 0)
EARLY = {"direction": early_muon, "apply": decoupled, "lr": 0.00036, "mu": 0.95, "scaled": True}
SOAP = {"apply": hyperball, "lr": 0.018, "b1": 0.95, "b2": 0.9, "eps": 1e-8}
SIMPLE = {"direction": muon, "apply": decoupled, "mu": 0.95, "ns": TRACK3}

# matrices: AdamW's numbers, or those of a direction above; tables: those of all else; schedule: of both, unless there
# is an aux_schedule
RECORDS = {
    "record-1": dict(config=GPT2, init=gpt2_init, matrices=adamw(6e-4, 0.9, 0.95, 1e-8, 0.1),
                     tables=everywhere(adamw(6e-4, 0.9, 0.95, 1e-8, 0.1)), clip=1, schedule=llmc_cosine),
    "record-2": dict(config=SPEEDRUN, init=record2_init, matrices=adamw(0.0018, 0.9, 0.95, 1e-8, 0.1),
                     tables=everywhere(adamw(0.0018, 0.9, 0.95, 1e-8, 0.1)), schedule=warmdown(2048 / 9536, WARMUP)),
    "record-3": dict(config=SPEEDRUN, init=record2_init, matrices=EARLY | {"lr": 0.018, "scaled": False}, fused=True,
                     tables=everywhere(adamw(0.0018, 0.9, 0.95, 1e-8, 0)), schedule=warmdown(2000 / 7000, WARMUP)),
    "record-4": dict(config=SPEEDRUN, init=record2_init, matrices=EARLY,
                     tables=everywhere(adamw(0.0036, 0.9, 0.95, 1e-8, 0)), schedule=warmdown(1800 / 6200)),
    "record-5": dict(config=MODERN, init=record5_init, matrices=EARLY,
                     tables=everywhere(adamw(0.0036, 0.9, 0.95, 1e-8, 0)), schedule=warmdown(1450 / 5100)),
    "track3-muon": dict(config=BENCHMARK, init=track3_g_init, matrices=SIMPLE | {"lr": 0.025, "wd": 0.05},
                        tables=aux(0.7, 0.004, 0.015, 0.001), schedule=cooldown(0.7)),
    "track3-adamw": dict(config=BENCHMARK, init=track3_p_init, matrices=adamw(0.0015, 0.9, 0.95, 1e-10, 0.1),
                         tables=OLD_AUX, schedule=cooldown(0.7, WARMUP)),
    "track3-adamh": dict(config=BENCHMARK, init=track3_h_init, tables=OLD_AUX, schedule=adamh_schedule,
                         matrices={"direction": adam, "apply": hyperball, "lr": 0.018, "b1": 0.9, "b2": 0.95,
                                   "eps": 1e-8}, aux_schedule=cooldown(0.4)),
    "track3-muonh": dict(config=BENCHMARK, init=track3_hg_init, matrices=SIMPLE | {"apply": hyperball, "lr": 0.018},
                         tables=aux(0.91, 0.0064, 0.0195, 0.001), schedule=cooldown(1), aux_schedule=cooldown(0.85)),
    "track3-normuon": dict(config=BENCHMARK, init=track3_g_init, tables=OLD_AUX, schedule=cooldown(0.7),
                           matrices=SIMPLE | {"direction": normuon, "lr": 0.035, "wd": 0.025, "b2": 0.95}),
    "track3-normuonh": dict(config=BENCHMARK, init=track3_h_init, tables=OLD_AUX, schedule=cooldown(1),
                            matrices=SIMPLE | {"direction": normuon, "apply": hyperball, "lr": 0.018, "b2": 0.95},
                            aux_schedule=cooldown(0.4)),
    "track3-muon2": dict(config=BENCHMARK, init=track3_p_init, tables=OLD_AUX, schedule=cooldown(0.7),
                         matrices=SIMPLE | {"direction": muon2, "lr": 0.1, "wd": 0.0125, "b2": 0.95}),
    "track3-shampoo": dict(config=BENCHMARK, init=track3_g_init, tables=OLD_AUX, schedule=cooldown(0.7),
                           matrices={"direction": shampoo, "apply": decoupled, "lr": 0.0015, "wd": 0.2, "b1": 0.9,
                                     "b2": 0.95, "eps": 1e-12, "refresh": 5}),
    "track3-soaph": dict(config=BENCHMARK, init=track3_h_init, tables=OLD_AUX, schedule=soap_h_schedule,
                         matrices=SOAP | {"direction": soap_h}, aux_schedule=cooldown(0.4)),
    "track3-klsoaph": dict(config=BENCHMARK, init=track3_h_init, tables=OLD_AUX, schedule=cooldown(1),
                           matrices=SOAP | {"direction": kl_soap}, aux_schedule=cooldown(0.4)),
    "track3-spectral": dict(config=BENCHMARK, init=track3_g_init, tables=OLD_AUX, schedule=cooldown(0.7),
                            matrices=SIMPLE | {"lr": 0.03, "wd": 0.015, "mu": 0}),
    "modula-gpt": dict(config=HELLO_GPT, model=Modula, init=modula_init, schedule=lambda s, T: 1 - s / T),
    "nanogpt-cpu": dict(config=NANOGPT, init=gpt2_init, matrices=adamw(1e-3, 0.9, 0.99, 1e-8, 0.1),
                        tables=everywhere(adamw(1e-3, 0.9, 0.99, 1e-8, 0.1)), clip=1, schedule=nanogpt_cosine),
    "llama-nano": dict(config=LLAMA, init=plain_normal_init, matrices=SIMPLE | {"lr": 0.02, "ns": JORDAN},
                       tables=everywhere(adamw(1e-3, 0.9, 0.95, 1e-8, 0.1)), clip=1, schedule=warmdown(0.4, WARMUP)),
}
RECORDS["record-6"] = RECORDS["record-5"]
RECORDS["track3-adamh+"] = RECORDS["track3-adamh"] | {"schedule": adamh_schedule_ours}
RECORDS["nanogpt-cpu+"] = RECORDS["nanogpt-cpu"] | {"schedule": nanogpt_cosine_ours}

# --- The model ---


def load(folder):
    """A checkpoint in double: by transformers, if it is of a type that they know, else by model.py."""
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "train_gpt":
        return own.load(folder).double(), config
    transformers.utils.logging.disable_progress_bar()
    found = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64)
    return found.eval(), config


def logits_of(model, tokens):
    out = model(tokens)
    return out[0] if isinstance(model, own.Gpt) else out if isinstance(model, Modula) else out.logits


KINDS = (("embed", ("wte", "wpe.", "embed_tokens.")), ("head", ("lm_head", "weights.")),
         ("norm", ("ln_", "norm.", "layernorm.")), ("attn.c_proj", ("attn.c_proj.", "o_proj.")),
         ("mlp.c_proj", ("mlp.c_proj.", "down_proj.")), ("mlp.c_fc", ("mlp.c_fc.", "gate_proj.", "up_proj.")),
         ("attn.c_attn", ("attn.c_attn.", "q_proj.", "k_proj.", "v_proj.")))


def kind_of(name):
    """embed, head, norm, attn.c_attn, attn.c_proj, mlp.c_fc or mlp.c_proj, and .bias if it is one."""
    kind = next(kind for kind, marks in KINDS if any(mark in name for mark in marks))
    return kind + (".bias" if name.endswith(".bias") else "")


def group_of(name, parameter):
    kind = kind_of(name)
    return "vector" if parameter.dim() == 1 else kind if kind in ("embed", "head") else "matrix"


# --- Checks before training ---


def distribution_error(x, what, size):
    """What is wrong with x as a sample of the distribution, within five standard errors; None if nothing."""
    n = x.numel()
    if what == "rows":  # of length sqrt(columns)
        return None if (x.square().mean(1).sqrt() / size - 1).abs().max() < 1e-6 else "rows of other lengths"
    if what == "orthogonal":  # and scaled by sqrt(fan-out / fan-in)
        gram = (x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T) * (x.shape[1] / x.shape[0])
        return None if (gram - torch.eye(len(gram), dtype=x.dtype)).abs().max() < 1e-5 else "not orthogonal"
    if what in ("zero", "one"):
        return None if (x == (what == "one")).all() else f"not all {what}"
    kurtosis = 3 if what == "normal" else 1.8
    std = size if what == "normal" else size / math.sqrt(3)
    if abs(x.mean()) > 5 * std / math.sqrt(n):
        return f"mean {x.mean():.3g}"
    if abs(x.square().mean().sqrt() / std - 1) > 5 * math.sqrt((kurtosis - 1) / (4 * n)):
        return f"standard deviation {x.square().mean().sqrt():.4g}, not {std:.4g}"
    if what == "uniform" and (x.abs().max() > size * (1 + 1e-6) or x.abs().max() < size * (1 - 15 / n)):
        return f"bound {x.abs().max():.5g}, not {size:.5g}"
    if abs((x / std).pow(4).mean() - kurtosis) > 5 * math.sqrt((96 if what == "normal" else 5.76) / n):
        return f"fourth moment {(x / std).pow(4).mean():.3g}, not {kurtosis}"
    return None


def fan_in_of(kind, c):
    return c["n_inner"] if kind == "mlp.c_proj" or kind == "mlp.c_proj.bias" else c["n_embd"]


def check_init(model, config, init):
    layers = config.get("n_layer") or config["num_hidden_layers"]
    sizes = {"n_embd": config.get("n_embd") or config["hidden_size"]}
    sizes["n_inner"] = config.get("n_inner") or config.get("intermediate_size") or 4 * sizes["n_embd"]
    for name, p in model.named_parameters():
        kind = kind_of(name)
        expected = ("one", 1) if kind == "norm" else init(kind, layers, fan_in_of(kind, sizes))
        wrong = distribution_error(p.data, *expected)
        if wrong:
            sys.exit(f"{name} is not {expected[0]} {expected[1]:.4g}: {wrong}")


def check_config(config, expected):
    for key, want in expected.items():
        want, got = want(config) if callable(want) else want, config[key]
        if not (math.isclose(got, want, rel_tol=1e-6) if isinstance(want, (int, float)) else got == want):
            sys.exit(f"{key} is {got}, the record has {want}")


# --- Training ---


class Matrices:
    """The record's own rule on the hidden matrices; of stacked ones on each by itself, unless the record fuses them."""

    def __init__(self, parameters, model, record):
        self.numbers, self.blocks = record["matrices"], []
        for name, p in parameters:
            split = own.parts(name, model.config) if isinstance(model, own.Gpt) and not record.get("fused") else None
            begin = 0
            for rows in split or [p.shape[0]]:
                self.blocks.append((p, slice(begin, begin + rows), {}))
                begin += rows

    @torch.no_grad()
    def step(self, factor):
        for p, rows, state in self.blocks:
            u = self.numbers["direction"](state, p.grad[rows], self.numbers)
            if u is not None:
                self.numbers["apply"](p.data[rows], u, factor * self.numbers["lr"], self.numbers)


class Adamw:
    def __init__(self, parameters, numbers):
        self.rate = numbers["lr"]
        self.optimizer = torch.optim.AdamW([p for _, p in parameters], **numbers)

    def step(self, factor):
        self.optimizer.param_groups[0]["lr"] = factor * self.rate
        self.optimizer.step()


def make_optimizers(model, record):
    """(schedule, optimizer) of each group."""
    if isinstance(model, Modula):
        return model.optimizers(record)
    groups = {}
    for name, p in model.named_parameters():
        groups.setdefault(group_of(name, p), []).append((name, p))
    matrices = groups.pop("matrix")
    rule = record["matrices"]
    made = [(record["schedule"], Matrices(matrices, model, record) if "direction" in rule else Adamw(matrices, rule))]
    for group, parameters in groups.items():
        made.append((record.get("aux_schedule", record["schedule"]), Adamw(parameters, record["tables"][group])))
    return made


def accumulate(model, tokens, targets):
    """The mean loss of a step's micro-batches (micro, B, T), and its gradient."""
    model.zero_grad(set_to_none=True)
    total = 0.0
    for x, y in zip(tokens, targets):
        loss = F.cross_entropy(logits_of(model, x).flatten(0, 1), y.flatten(), reduction="sum") / targets.numel()
        loss.backward()
        total += loss.item()
    return total


def train(model, record, tokens, targets, steps):
    """The loss of each step."""
    optimizers, losses = make_optimizers(model, record), []
    tokens, targets = (x.long().unflatten(0, (steps, -1)) for x in (tokens, targets))
    for s in range(steps):
        losses.append(accumulate(model, tokens[s], targets[s]))
        if record.get("clip"):
            torch.nn.utils.clip_grad_norm_(model.parameters(), record["clip"])
        for schedule, optimizer in optimizers:
            optimizer.step(schedule(s, steps))
    return losses


def train_losses(run):
    with open(run / "metrics.csv") as f:
        return [float(row["train_loss"]) for row in csv.DictReader(f)]


def train_one(name, folder):
    record, mine = RECORDS[name], folder / name.rstrip("+")
    model, config = load(mine / "start" / "step_000001")
    check_config(config, record["config"])
    model = record.get("model", lambda same: same)(model)
    check_init(model, config, record["init"])
    ours, batches = train_losses(mine / "run"), load_file(mine / "batches.safetensors")
    losses = train(model, record, batches["tokens"], batches["targets"], len(ours))
    with open(folder / f"{name}.csv", "w") as f:
        csv.writer(f).writerows((name, s + 1, *pair) for s, pair in enumerate(zip(ours, losses)))
    print(f"{name:16} {len(ours)} steps, loss {losses[0]:.4f} to {losses[-1]:.4f}, "
          f"largest difference {difference(ours, losses):.1e}")


# --- The picture ---


def difference(ours, theirs):
    return max(abs(a / b - 1) if math.isfinite(a) and math.isfinite(b) else math.inf for a, b in zip(ours, theirs))


def is_far(name, worst):
    return not worst <= (TRACK3_BOUND if name.startswith("track3") else BOUND)


def read_curves(folder):
    curves = {}
    for name in sorted(RECORDS):
        if (folder / f"{name}.csv").exists():
            with open(folder / f"{name}.csv") as f:
                curves[name] = [(int(row[1]), float(row[2]), float(row[3])) for row in csv.reader(f)]
    return curves


def draw_panel(axes, name, rows):
    steps, ours, theirs = zip(*rows)
    axes.plot(steps, theirs, color="0.75", linewidth=4, label="PyTorch")
    axes.plot(steps, ours, color="C0", linewidth=1, label="train_gpt")
    axes.set_title(f"{name}: {difference(ours, theirs):.0e}", fontsize=9)
    axes.tick_params(labelsize=7)


def draw_curves(curves, file):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    across = 4
    down = -(-len(curves) // across)
    figure, axes = plt.subplots(down, across, figsize=(11, 2.1 * down), squeeze=False, layout="constrained")
    for axis, (name, rows) in zip(axes.flat, curves.items()):
        draw_panel(axis, name, rows)
    for axis in axes.flat[len(curves):]:
        axis.axis("off")
    axes.flat[0].legend(fontsize=7)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("training loss; in the titles the largest relative difference", fontsize=9)
    figure.savefig(file, dpi=130)


def draw(folder):
    curves, failed = read_curves(folder), []
    with open(folder / "curves.csv", "w") as f:
        writer = csv.writer(f)
        writer.writerow(("preset", "step", "ours", "pytorch"))
        for name, rows in curves.items():
            writer.writerows((name, *row) for row in rows)
            worst = difference(*list(zip(*rows))[1:])
            if is_far(name, worst) and f"{name}+" not in curves:
                failed.append(name)
            print(f"{name:18} {worst:.1e}{'  above the bound' if is_far(name, worst) else ''}")
    draw_curves(curves, folder / "curves.png")
    return failed


def main():
    p = argparse.ArgumentParser(description="Small runs of the presets next to PyTorch's.")
    p.add_argument("what", choices=("train", "draw"))
    p.add_argument("words", nargs="+", metavar="[NAME] FOLDER")
    args = p.parse_args()
    torch.manual_seed(0)
    folder = Path(args.words[-1])
    if args.what == "train":
        train_one(args.words[0], folder)
        return
    failed = draw(folder)
    if failed:
        sys.exit(f"FAIL: {', '.join(failed)}: further than the bound from PyTorch")


if __name__ == "__main__":
    main()
