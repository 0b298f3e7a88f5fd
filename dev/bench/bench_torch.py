#!/usr/bin/env python3
"""Times training steps of a GPT-2 in eager PyTorch on the CPU, in fp32: the rival's column of the benchmark.

Prints one line of JSON. A step is forward, backward and update on random tokens; the times are medians over the
steps of --seconds, after a warm-up, and tokens_per_second is B*T over the median step. Whichever of AdamW's
implementations proves faster in a trial is timed. Runs on torch 1.13 and later: attention is
scaled_dot_product_attention where torch has it, otherwise matmul and softmax.
"""

import argparse
import json
import math
import resource
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

WARMUP_STEPS, TRIAL_UPDATES = 2, 3


def attention(q, k, v):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    T = q.shape[2]
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = (q @ k.transpose(2, 3)) / math.sqrt(q.shape[3])
    return scores.masked_fill(future, -math.inf).softmax(dim=3) @ v


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (y.view(B, T, self.heads, -1).transpose(1, 2) for y in self.qkv(self.ln_1(x)).split(C, dim=2))
        x = x + self.proj(attention(q, k, v).transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.ln_2(x))


class Gpt2(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(o.vocab, o.width), nn.Embedding(o.seq_len, o.width)
        self.blocks = nn.Sequential(*(Block(o.width, o.heads) for _ in range(o.layers)))
        self.ln_f = nn.LayerNorm(o.width)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        logits = F.linear(self.ln_f(self.blocks(x)), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def adamw(params, **implementation):
    params = list(params)
    groups = [{"params": [p for p in params if p.ndim == 2], "weight_decay": 0.1},
              {"params": [p for p in params if p.ndim != 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8, **implementation)


def fastest_adamw(model):
    """The faster of fused (CPU: torch 2.4) and foreach AdamW, and its name. Needs gradients; moves the weights."""
    trials = []
    for name in ("fused", "foreach"):
        try:
            optimizer = adamw(model.parameters(), **{name: True})
            optimizer.step()  # allocates the state
        except (TypeError, RuntimeError):
            continue
        start = time.perf_counter()
        for _ in range(TRIAL_UPDATES):
            optimizer.step()
        trials.append((time.perf_counter() - start, name))
    name = min(trials)[1]
    return adamw(model.parameters(), **{name: True}), name


def muon(model):
    """torch.optim.Muon as shipped (bf16, q, k, v as one matrix) on the blocks' matrices, AdamW on the rest."""
    hidden = [p for p in model.blocks.parameters() if p.ndim == 2]
    held = {id(p) for p in hidden}
    rest = adamw((p for p in model.parameters() if id(p) not in held), foreach=True)
    rule = torch.optim.Muon(hidden, lr=0.02)

    class Both:
        @staticmethod
        def step():
            rule.step()
            rest.step()

    return Both, "muon"


def step(model, optimizer, o):
    """One training step. Returns the seconds of forward, backward, update."""
    rows = torch.randint(o.vocab, (o.batch, o.seq_len + 1))
    tokens, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    for p in model.parameters():
        p.grad = None
    marks = [time.perf_counter()]
    loss = model(tokens, targets)
    marks.append(time.perf_counter())
    loss.backward()
    marks.append(time.perf_counter())
    optimizer.step()
    marks.append(time.perf_counter())
    return [b - a for a, b in zip(marks, marks[1:])]


def options():
    p = argparse.ArgumentParser(description="Times training steps of a GPT-2 in eager PyTorch on the CPU.",
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--layers", type=int, default=12)
    p.add_argument("--heads", type=int, default=12)
    p.add_argument("--width", type=int, default=768)
    p.add_argument("--vocab", type=int, default=50257)
    p.add_argument("--seq-len", type=int, default=1024, metavar="T")
    p.add_argument("--batch", type=int, default=4, metavar="B", help="sequences a step")
    p.add_argument("--threads", type=int, metavar="N", help="(default: torch's choice)", default=argparse.SUPPRESS)
    p.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    p.add_argument("--seconds", type=float, default=20, help="to measure for, warm-up not counted")
    return p.parse_args()


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main():
    o = options()
    if "threads" in o:
        torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    model = Gpt2(o)
    loss = model(*torch.randint(o.vocab, (2, 1, o.seq_len)))
    loss.backward()
    optimizer, name = fastest_adamw(model) if o.optimizer == "adamw" else muon(model)
    for _ in range(WARMUP_STEPS):
        step(model, optimizer, o)
    steps = []
    end = time.perf_counter() + o.seconds
    while not steps or time.perf_counter() < end:
        steps.append(step(model, optimizer, o))
    forward, backward, update = (1e3 * statistics.median(times) for times in zip(*steps))
    seconds = statistics.median(sum(times) for times in steps)
    print(json.dumps({
        "torch": torch.__version__, "threads": torch.get_num_threads(), "optimizer": o.optimizer,
        "implementation": name, "steps": len(steps), "tokens_per_second": round(o.batch * o.seq_len / seconds, 1),
        "forward_ms": round(forward, 3), "backward_ms": round(backward, 3), "optimizer_ms": round(update, 3),
        "peak_rss_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    main()
