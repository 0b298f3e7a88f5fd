#!/usr/bin/env python3
"""The rivals of `make bench-gpu`, in plain PyTorch on the same GPU: a training step of GPT-2 under torch.compile in
bf16 with scaled_dot_product_attention and fused AdamW, and causal attention alone on the flash backend.

A step is as the trainer's: micro-batches up to --total tokens, gradients added up, their norm clipped, one update.
The classifier's loss is over the whole vocabulary, padded to a multiple of 64. Parameters are fp32, autocast makes
the rest bf16. A micro-batch that does not fit is halved, and said so. --numbers FILE: appends every figure to it.
Without a GPU it says so in one line and ends well.
"""

import argparse
import math
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

WARMUP_STEPS = 3


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.fcproj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (y.view(B, T, self.heads, -1).transpose(1, 2) for y in self.qkv(self.ln_1(x)).split(C, dim=2))
        att = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(att.transpose(1, 2).reshape(B, T, C))
        return x + self.fcproj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self, o):
        super().__init__()
        vocab = (o.vocab + 63) // 64 * 64
        self.wte, self.wpe = nn.Embedding(vocab, o.width), nn.Embedding(o.seq_len, o.width)
        self.blocks = nn.Sequential(*(Block(o.width, o.heads) for _ in range(o.layers)))
        self.ln_f = nn.LayerNorm(o.width)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        logits = F.linear(self.ln_f(self.blocks(x)), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def draw_tokens(rows, o, device):
    """Token of rank r about 1/r times, as in dev/bench/cuda/bench.cu."""
    u = torch.rand(rows, o.seq_len, device=device, dtype=torch.float64)
    return (torch.exp(u * math.log(o.vocab + 1)) - 1).long().clamp_(max=o.vocab - 1)


def adamw(model, device):
    groups = [{"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.ndim != 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, fused=device == "cuda")


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


class Laps:
    """Milliseconds of a stream between marks, by events; by the clock on a CPU."""

    def __init__(self, device):
        self.device, self.marks = device, []

    def mark(self):
        if self.device == "cuda":
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def milliseconds(self):
        synchronize(self.device)
        pairs = list(zip(self.marks, self.marks[1:]))
        return [a.elapsed_time(b) if self.device == "cuda" else 1e3 * (b - a) for a, b in pairs]


def one_step(model, optimizer, tokens, targets, micro, device):
    """Seconds of the step; milliseconds of forward, backward, update; the loss."""
    synchronize(device)
    begin, laps, loss_sum = time.perf_counter(), Laps(device), 0.0
    laps.mark()
    count = tokens.shape[0] // micro
    for i in range(count):
        rows = slice(i * micro, (i + 1) * micro)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(tokens[rows], targets[rows]) / count
        laps.mark()
        loss.backward()
        laps.mark()
        loss_sum += loss.detach()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    laps.mark()
    ms = laps.milliseconds()
    return time.perf_counter() - begin, (sum(ms[0:-1:2]), sum(ms[1:-1:2]), ms[-1]), float(loss_sum)


def measure_step(o, micro, device):
    """A dict of figures."""
    torch.manual_seed(1)
    model = Gpt2(o).to(device)
    compiled = torch.compile(model, mode=o.compile_mode) if o.compile_mode != "off" else model
    optimizer = adamw(model, device)
    tokens, targets = (draw_tokens(o.total // o.seq_len, o, device) for _ in range(2))
    steps, loss = [], 0.0
    for i in range(WARMUP_STEPS + o.steps):
        if i == WARMUP_STEPS and device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds, phases, loss = one_step(compiled, optimizer, tokens, targets, micro, device)
        if i >= WARMUP_STEPS:
            steps.append((seconds, *phases))
    if not loss < float("inf"):
        raise SystemExit("bench_torch: the loss is not finite")
    seconds, forward, backward, update = (statistics.median(x) for x in zip(*steps))
    return {"batch": micro, "tokens_per_second": o.total / seconds, "step_ms": 1e3 * seconds, "forward_ms": forward,
            "backward_ms": backward, "update_ms": update,
            "bytes": torch.cuda.max_memory_allocated() if device == "cuda" else 0}


def largest_step(o, device):
    """The figures with --batch, or with the largest half, quarter ... of it that fits."""
    micro = o.batch
    while True:
        try:
            return measure_step(o, micro, device)
        except torch.cuda.OutOfMemoryError:
            if micro == 1:
                raise
        print(f"PyTorch: {micro} sequences do not fit, {micro // 2} are tried", flush=True)
        micro //= 2
        torch._dynamo.reset()
        torch.cuda.empty_cache()


def time_of(o, flush, device, run):
    """Median milliseconds; `flush` is written before each round, to leave the caches cold."""
    times = []
    run()
    for _ in range(o.rounds):
        flush.zero_()
        laps = Laps(device)
        laps.mark()
        run()
        laps.mark()
        times.append(laps)
    return statistics.median(laps.milliseconds()[0] for laps in times)


def measure_attention(o, device):
    """Milliseconds of forward and of backward; q, k, v lie side by side as a model has them."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    shape = (o.attention_batch, o.seq_len, 3, o.heads, o.width // o.heads)
    qkv = torch.randn(shape, device=device, dtype=torch.bfloat16)
    q, k, v = (qkv[:, :, i].transpose(1, 2).requires_grad_() for i in range(3))
    dout = torch.randn(q.transpose(1, 2).shape, device=device, dtype=torch.bfloat16).transpose(1, 2)
    flush = torch.empty(o.flush_mib << 20, device=device, dtype=torch.uint8)

    def attention():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def without_grad():
        with torch.no_grad():
            attention()

    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        forward = time_of(o, flush, device, without_grad)
        out = attention()
        backward = time_of(o, flush, device, lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True))
    return forward, backward


def report(o, device):
    numbers = {}
    forward, backward = measure_attention(o, device)
    product = 2e-9 * o.attention_batch * o.heads * o.seq_len**2 * (o.width // o.heads) / 2  # GFLOP, the causal half
    print(f"PyTorch {torch.__version__}, attention of {o.attention_batch} sequences, flash backend: forward "
          f"{1e3 * forward:.1f} us, {2 * product / forward:.0f} TFLOP/s; backward {1e3 * backward:.1f} us, "
          f"{5 * product / backward:.0f} TFLOP/s", flush=True)
    numbers["flash_forward_us"], numbers["flash_backward_us"] = 1e3 * forward, 1e3 * backward
    step = largest_step(o, device)
    print(f"PyTorch torch.compile, fused AdamW: B={step['batch']}, {step['tokens_per_second']:.0f} tokens/s; step "
          f"{step['step_ms']:.1f} ms: forward {step['forward_ms']:.1f}, backward {step['backward_ms']:.1f}, norm and "
          f"update {step['update_ms']:.2f}; {step['bytes'] / 2**30:.2f} GiB at most", flush=True)
    numbers.update(step)
    if o.numbers:
        with open(o.numbers, "a", encoding="utf-8") as file:
            file.writelines(f"torch/{name} {value:.9g}\n" for name, value in numbers.items())


def options():
    p = argparse.ArgumentParser(description="Times PyTorch's GPT-2 and its attention on the GPU.",
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--layers", type=int, default=12)
    p.add_argument("--heads", type=int, default=12)
    p.add_argument("--width", type=int, default=768)
    p.add_argument("--vocab", type=int, default=50257)
    p.add_argument("--seq-len", type=int, default=1024, metavar="T")
    p.add_argument("--batch", type=int, default=256, metavar="B", help="sequences of a micro-batch")
    p.add_argument("--attention-batch", type=int, default=16, metavar="B", help="the same, of attention alone")
    p.add_argument("--total", type=int, default=524288, metavar="N", help="tokens of a step")
    p.add_argument("--steps", type=int, default=7, help="timed, after three that are not")
    p.add_argument("--rounds", type=int, default=15, help="of attention, of which the median counts")
    p.add_argument("--flush-mib", type=int, default=1024, metavar="N",
                   help="written between rounds: caches are cold, and Python is ahead of the GPU")
    p.add_argument("--compile-mode", default="default", help="torch.compile's; off: eager")
    p.add_argument("--numbers", metavar="FILE")
    return p.parse_args()


def main():
    o = options()
    if not torch.cuda.is_available():
        print(f"Not timed, PyTorch's rivals: torch {torch.__version__} finds no GPU")
        return
    torch.set_float32_matmul_precision("high")
    report(o, "cuda")


if __name__ == "__main__":
    main()
