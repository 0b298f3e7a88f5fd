#!/usr/bin/env python3
"""PyTorch's side of the benchmark, on the CPU: the model in fp32, Muon as shipped.

Reads requests, "TASK THREADS SECONDS", a line each, and answers with a line of JSON after working for that long, at
least once (dev/bench/bench_rivals.h). Tasks, with the model of the options: "step", a training step with AdamW on
random tokens, whichever of AdamW's implementations proves faster in a trial; "decode", tokens appended to a sequence
with a cache of keys and values. With --muon: "muon ROWS COLS COUNT" and "muon-fp32 ROWS COLS COUNT", the step of
torch.optim.Muon on COUNT matrices. --compile: the blocks and the classifier, each by torch.compile; all blocks share
their code. Steps run on torch 1.13 and later: attention is scaled_dot_product_attention where torch has it, otherwise
matmul and softmax.
"""

import argparse
import json
import logging
import math
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

TRIAL_UPDATES = 3


def attention(q, k, v, causal):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = (q @ k.transpose(2, 3)) / math.sqrt(q.shape[3])
    if causal:
        T = q.shape[2]
        scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -math.inf)
    return scores.softmax(dim=3) @ v


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def split(self, x):
        B, T, C = x.shape
        return (y.view(B, T, self.heads, -1).transpose(1, 2) for y in self.qkv(self.ln_1(x)).split(C, dim=2))

    def merge(self, x, att):
        x = x + self.proj(att.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.ln_2(x))

    def forward(self, x):
        q, k, v = self.split(x)
        return self.merge(x, attention(q, k, v, True))

    def decode(self, x, keys, values, position):
        """The row at `position`; keys and values (1, NH, T, HS) of those before it, and from now on of it."""
        q, keys[:, :, position : position + 1], values[:, :, position : position + 1] = self.split(x)
        return self.merge(x, attention(q, keys[:, :, : position + 1], values[:, :, : position + 1], False))


class Gpt2(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(o.vocab, o.width), nn.Embedding(o.seq_len, o.width)
        self.blocks = nn.ModuleList(Block(o.width, o.heads) for _ in range(o.layers))
        self.ln_f = nn.LayerNorm(o.width)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def loss(self, x, targets):
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    def compile_parts(self):
        for block in self.blocks:
            block.compile()
        self.loss = torch.compile(self.loss)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.loss(x, targets)

    def decode(self, token, caches, position):
        x = self.wte(token) + self.wpe.weight[position : position + 1]
        for block, (keys, values) in zip(self.blocks, caches):
            x = block.decode(x, keys, values, position)
        return F.linear(self.ln_f(x), self.wte.weight)


def adamw(params, **implementation):
    params = list(params)
    groups = [{"params": [p for p in params if p.ndim == 2], "weight_decay": 0.1},
              {"params": [p for p in params if p.ndim != 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8, **implementation)


def fastest_adamw(model):
    """The faster of fused (CPU: torch 2.4) and foreach AdamW. Needs gradients; moves the weights."""
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
    return adamw(model.parameters(), **{min(trials)[1]: True})


class Training:
    """Repeats "step" and "decode"."""

    def __init__(self, o):
        self.o, self.model = o, Gpt2(o)
        self.model(*torch.randint(o.vocab, (2, 1, o.seq_len))).backward()
        self.optimizer = fastest_adamw(self.model)
        heads = (1, o.heads, o.seq_len, o.width // o.heads)
        self.caches = [(torch.zeros(heads), torch.zeros(heads)) for _ in range(o.layers)]
        self.passes = 0.0  # CPU seconds of forward and backward passes
        self.position = 0
        if o.compile:
            self.model.compile_parts()

    def step(self):
        o = self.o
        rows = torch.randint(o.vocab, (o.batch, o.seq_len + 1))
        tokens, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
        for p in self.model.parameters():
            p.grad = None
        begin = time.process_time()
        self.model(tokens, targets).backward()
        self.passes += time.process_time() - begin
        self.optimizer.step()
        return o.batch * o.seq_len

    def decode(self):
        with torch.no_grad():
            self.model.decode(torch.tensor([[self.position % 256]]), self.caches, self.position)
        self.position = (self.position + 1) % self.o.seq_len
        return 1


def orthogonalise_fp32(grad, ns_coefficients, ns_steps, eps):
    """torch.optim.Muon's Newton-Schulz without its rounding to bf16."""
    a, b, c = ns_coefficients
    x = grad.T if grad.shape[0] > grad.shape[1] else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(ns_steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if grad.shape[0] > grad.shape[1] else x


class Muon:
    """torch.optim.Muon on sets of matrices, which stay once made."""

    def __init__(self):
        import torch.optim._muon as module
        self.module, self.shipped, self.sets = module, module._zeropower_via_newtonschulz, {}

    def step_of(self, task, rows, cols, count):
        self.module._zeropower_via_newtonschulz = self.shipped if task == "muon" else orthogonalise_fp32
        if (rows, cols, count) not in self.sets:
            matrices = [nn.Parameter(0.02 * torch.randn(rows, cols)) for _ in range(count)]
            for p in matrices:
                p.grad = torch.rand(rows, cols) - 0.5
            self.sets[rows, cols, count] = torch.optim.Muon(matrices, lr=0.02)
        optimizer = self.sets[rows, cols, count]

        def step():
            optimizer.step()
            return 1

        return step


def repeat(work, seconds):
    begin, cpu, count = time.perf_counter(), time.process_time(), 0
    while count == 0 or time.perf_counter() < begin + seconds:
        count += work()
    return {"count": count, "wall": time.perf_counter() - begin, "cpu": time.process_time() - cpu}


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def options():
    p = argparse.ArgumentParser(description="PyTorch's side of the benchmark: reads requests, answers in JSON.",
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--layers", type=int, default=12)
    p.add_argument("--heads", type=int, default=12)
    p.add_argument("--width", type=int, default=768)
    p.add_argument("--vocab", type=int, default=50257)
    p.add_argument("--seq-len", type=int, default=1024, metavar="T")
    p.add_argument("--batch", type=int, default=4, metavar="B", help="sequences a step")
    p.add_argument("--compile", action="store_true", help="by torch.compile")
    p.add_argument("--muon", action="store_true", help="no model, Muon's steps")
    return p.parse_args()


def main():
    o = options()
    logging.disable(logging.WARNING)  # torch.compile has some to say about GPUs
    torch.manual_seed(1)
    side = Muon() if o.muon else Training(o)
    for line in sys.stdin:
        task, *numbers, threads, seconds = line.split()
        if torch.get_num_threads() != int(threads):
            torch.set_num_threads(int(threads))
        if o.muon:
            answer = repeat(side.step_of(task, *map(int, numbers)), float(seconds))
        else:
            side.passes, side.position = 0.0, 0
            answer = repeat(getattr(side, task), float(seconds))
            answer["passes"] = side.passes
        print(json.dumps({**answer, "rss": peak_rss_bytes()}), flush=True)


if __name__ == "__main__":
    main()
