#!/usr/bin/env python3
"""Holds AdamW's moments against the gradients that they are averages of.

    python dev/studies/gradients/measure.py TEXT RUN OUT.csv

For every checkpoint of RUN, an AdamW run on the bytes of TEXT, 128 batches of the run's own size are drawn from the text at
random, and their gradients at the checkpoint's weights give each parameter's mean g and variance s of a batch's gradient.
OUT.csv has for each checkpoint and kind of tensor:

  noise       sum of s over that of g^2, g^2 without the share s/128 that the estimate owes to noise
  second      mean of v over that of g^2 + s, v corrected for its bias: 1 if v is the second moment of a batch's gradient
  cosine      of the corrected m with g
  cosine_ideal  of the mean of as many fresh batches as m averages, (1 + beta1) / (1 - beta1), with the mean of the others
  kl          nats by which N(m, v - m^2) is off N(g, s), the median over elements
  kl_ideal    the same of mean and variance of as many fresh batches as v averages, with those of the others
  negative    share of elements whose v - m^2 is not above 0, where the notes' divergence does not exist
  signs_N     share of elements in which the sign of N batches' mean is that of the others' mean, N = 1, 4, 16, 64
"""

import csv
import json
import sys
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reference"))
import model as reference  # noqa: E402

BATCHES = 128
SIGNS = (1, 4, 16, 64)


def gradients(model, text, batch, length, draw):
    """{name: (BATCHES, ...)} of random batches."""
    found = {name: [] for name, _ in model.named_parameters()}
    for _ in range(BATCHES):
        starts = draw.integers(0, len(text) - length - 1, batch)
        tokens = torch.from_numpy(numpy.stack([text[s:s + length + 1] for s in starts]).astype(numpy.int64))
        model.zero_grad()
        logits, _ = model(tokens[:, :-1])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        for name, p in model.named_parameters():
            found[name].append(p.grad.clone())
    return {name: torch.stack(g) for name, g in found.items()}


def divergence(mean, var, of_mean, of_var):
    """KL(N(mean, var) || N(of_mean, of_var)) per element."""
    return 0.5 * (var / of_var + (of_mean - mean) ** 2 / of_var - 1 + torch.log(of_var / var))


def cosine(a, b):
    return float(a.flatten() @ b.flatten() / (a.norm() * b.norm()))


def kind_of(name):
    parts = name.split(".")
    return ".".join(parts[2:]) if parts[0] == "h" else name


def rows_of(step, grads, state, beta1, beta2):
    """A row per kind of matrix."""
    kinds = {}
    for name, g in grads.items():
        if g[0].ndim == 2:
            kinds.setdefault(kind_of(name), []).append(name)
    for kind, names in kinds.items():
        def together(of):
            return torch.cat([of(n).flatten() for n in names]).double()
        each = torch.cat([grads[n].flatten(1) for n in names], 1).double()
        m = together(lambda n: state[n + ".m"]) / (1 - beta1 ** step)
        v = together(lambda n: state[n + ".v"]) / (1 - beta2 ** step)
        live = each.abs().sum(0) > 0  # embeddings of bytes that the text has not
        each, m, v = each[:, live], m[live], v[live]
        g, s = each.mean(0), each.var(0)
        of_m, of_v = (round((1 + b) / (1 - b)) for b in (beta1, beta2))
        few, others = each[:of_v], each[of_v:]
        valid = v - m * m > 0
        signs = {f"signs_{n}": float((torch.sign(each[:n].mean(0)) == torch.sign(each[SIGNS[-1]:].mean(0))).double().mean())
                 for n in SIGNS}
        yield {"step": step, "tensor": kind,
               "noise": float(s.sum() / ((g * g).sum() - s.sum() / BATCHES)),
               "second": float(v.mean() / (g * g + s).mean()),
               "cosine": cosine(m, g),
               "cosine_ideal": cosine(each[:of_m].mean(0), each[of_m:].mean(0)),
               "kl": float(divergence(g[valid], s[valid], m[valid], (v - m * m)[valid]).median()),
               "kl_ideal": float(divergence(others.mean(0), others.var(0), few.mean(0), few.var(0)).median()),
               "negative": float((~valid).double().mean()), **signs}


def main():
    text = numpy.frombuffer(Path(sys.argv[1]).read_bytes(), dtype=numpy.uint8)
    run, out = Path(sys.argv[2]), Path(sys.argv[3])
    text = text[:len(text) * 9 // 10]  # the rest is held out
    record = json.loads((run / "run.json").read_text())
    options = record["options"]
    hidden = next(g for g in record["groups"] if g["name"] == "hidden")
    draw = numpy.random.default_rng(1)
    rows = []
    for checkpoint in sorted(run.glob("step_*")):
        step = int(checkpoint.name.removeprefix("step_"))
        if step == 0:
            continue
        grads = gradients(reference.load(checkpoint), text, int(options["batch-size"]), int(options["seq-len"]), draw)
        state = load_file(checkpoint / "optimizer.safetensors")
        rows += rows_of(step, grads, state, float(hidden["beta1"]), float(hidden["beta2"]))
        print(f"step {step}", file=sys.stderr)
    with open(out, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
