#!/usr/bin/env python3
"""Judges of the update rules: every rule in fp64, and the file of their results, for test_judges to compare with.

The rules are written from their formulas alone, with PyTorch's own optimizers where PyTorch has the rule (sgd,
adagrad, rmsprop, adadelta, adam, adamw, and muon with the flavour jordan and the scale original or moonshot) and
NumPy elsewhere. Before the file is written the judges are judged: golden runs of one weight, identities between
rules, and PyTorch against NumPy.

    judges_base.py         the registry, the settings, helpers, a rule's path
    judges_elementwise.py  SGD and its kin, Adam's family, signs
    judges_matrix.py       Newton-Schulz, the Muon family, Dion, Shampoo, SOAP's family
    judges_track3.py       other entries of modded-nanogpt's track 3
    judges_cases.py        which rules, settings and shapes are judged
    judges_checks.py       the judges' own checks
    judges.py              gradients, conditions, the file

The file (safetensors, F32) holds for every shape r x c

    g.RxC [20, r, c]                  gradients, the same for all rules
    p.RxC [r, c]                      where the parameter starts

and for every case NN, which is a rule with its settings, and each of its shapes

    NN.RxC.p [21, r, c]               the parameter after 0 .. 20 steps
    NN.RxC.STATE [21, rows, cols]     likewise each state

A judge rounds parameter and state to fp32 after each step and continues from there, so that a program can begin
each step exactly where the judge began it. The metadata:

    case.NN       the rule and its settings as text: adamw lr=0.01 weight-decay=0.1 beta1=0.9 ...
    from.NN       RxC=K ..: steps before K (from 0) are not determined in this shape, as the eigenvectors of a
                  singular matrix are not. Step 0 of other shapes determines a basis up to its columns' signs
    condition.NN  NAME=A ..: the condition of the step, of each array, where it is above 1: a gradient, states, terms
                  of Newton-Schulz and factors under a root that are changed by a share d of their scale change the
                  array by up to A d of its scale. Measured by the judge at d = 2^-26 and 2^-20; the largest of all
                  shapes and steps. The scale is the largest element before or after the step; that of lambda, a
                  difference of mean squares, is at least kappa. The parameter changes by up to d of its own scale and
                  A d of its step's
    cases, steps  their numbers

Where a rule wants another gradient in a step, it is that of the step as far from the end: sophia's of drawn labels, of
100, and from the second step on that of mars-form=exact at the parameters of the step before, its previous_point.
`start`, prodigy's first parameter, is as exact as the parameter, and common_0 and common_1 are numbers beside the state
(OptimScalars).

    python dev/reference/judges.py dev/tests/judges.safetensors
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.optim._muon as torch_muon

from judges_base import T, in_fp32, largest, settle, trajectory
from judges_cases import CASES, FACTORS, MATRIX
from judges_checks import judge_the_judges
import judges_track3  # noqa: F401 (registers its rules)
from judges_matrix import newton_schulz_for_torch

# --- Gradients ---


def size_of(shape):
    return tuple(int(n) for n in shape.split("x"))


def draw(shape, random):
    """A start N(0,1), and gradients of uneven elements and steps about a mean that moves slowly; exact in fp32."""
    r, c = size_of(shape)
    p = random.standard_normal((r, c))
    sizes = np.exp(0.5 * random.standard_normal((r, c))) * np.exp(0.4 * random.standard_normal((T, 1, 1)))
    begin, end = random.standard_normal((2, r, c))
    angle = np.arange(T).reshape(T, 1, 1) * (math.pi / 2 / T)
    g = sizes * (random.standard_normal((T, r, c)) + 0.7 * (begin * np.cos(angle) + end * np.sin(angle)))
    return in_fp32(p), in_fp32(g)


# --- Conditions ---

BY_ELEMENT = ("v", "left_scale", "right_scale", "lambda", "kappa")  # whose error is a share of each element, always


def perturbed(name, x, share, elementwise, random):
    noise = random.uniform(-share, share, x.shape)
    if name in ("left", "right"):
        noise = np.triu(noise) + np.triu(noise, 1).T
    return x + noise * (x if elementwise or name in BY_ELEMENT else largest(x))


def signs_aligned(x, like):
    return x * np.where((x * like).sum(axis=0) < 0, -1, 1)


def amplification(name, got, want, before, share):
    new = signs_aligned(got[name], want[name]) if name.endswith("_basis") else got[name]
    change, scale = largest(new - want[name]), max(largest(want[name]), largest(before[name]))
    if name == "p":
        change, scale = max(change - share * largest(before[name]), 0), largest(want[name] - before[name])
    if name == "lambda":
        scale = max(scale, largest(want["kappa"]))
    return change / (share * scale) if change else 0


def conditions(text, before, gradients, t, random):
    """By how much each array of the step's result magnifies errors of its inputs."""
    step, h = settle(text)
    g, h.second = gradients[t - 1], gradients[::-1]
    want = step(before, g, t, h)
    worst = dict.fromkeys(want, 0.0)
    shares = [2.0**-26] if text.startswith("shampoo") else [2.0**-26, 2.0**-20]  # its pseudo-inverse sees 2^-20
    for share in shares * 3:
        h.disturb = lambda x, name="": perturbed(name, x, share, False, random)
        inputs = {name: x if name in ("p", "start") else perturbed(name, x, share, step.elementwise, random)
                  for name, x in before.items()}
        got = step(inputs, perturbed("g", g, share, step.elementwise, random), t, h)
        for name in worst:
            worst[name] = max(worst[name], amplification(name, got, want, before, share))
    return worst


# --- The file ---


def upwards(x):
    """x to two digits, rounded up."""
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    return f"{math.ceil(x / unit) * unit:.2g}"


def judged(number, inputs, text, shapes, late={}):
    """A case's tensors and metadata."""
    random = np.random.default_rng(1000 + number)
    tensors, worst = {}, {}
    for shape in shapes:
        p, gradients = inputs[shape]
        records = trajectory(text, p, gradients, rounded=True, seed=number)
        for name in records[0]:
            tensors[f"{number:02}.{shape}.{name}"] = np.stack([s[name] for s in records])
        for k in range(late.get(shape, 0), T):
            for name, a in conditions(text, records[k], gradients, k + 1, random).items():
                worst[name] = max(worst.get(name, 1), a)
    assert max(worst.values()) < 1000, f"{text}: a sign nearly flips, or the step is badly conditioned: {worst}"
    metadata = {f"case.{number:02}": text}
    if any(a > 1 for a in worst.values()):
        metadata[f"condition.{number:02}"] = " ".join(f"{name}={upwards(a)}" for name, a in worst.items() if a > 1)
    if late:
        metadata[f"from.{number:02}"] = " ".join(f"{shape}={k}" for shape, k in late.items())
    return tensors, metadata


def save(path, tensors, metadata):
    """The same bytes for the same content."""
    header, end = {"__metadata__": metadata}, 0
    for name, x in tensors.items():
        header[name] = {"dtype": "F32", "shape": x.shape, "data_offsets": [end, end + 4 * x.size]}
        end += 4 * x.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for x in tensors.values():
            file.write(x.astype("<f4").tobytes())


def main():
    if len(sys.argv) != 2:
        sys.exit("judges.py OUT: writes the judgements to the safetensors file OUT")
    torch.set_num_threads(1)
    torch_muon._zeropower_via_newtonschulz = newton_schulz_for_torch
    random = np.random.default_rng(1)
    inputs = {shape: draw(shape, random) for shape in dict.fromkeys(MATRIX + FACTORS)}
    judge_the_judges(inputs)

    tensors = {}
    metadata = {"made by": "make judges", "torch": torch.__version__.split("+")[0], "numpy": np.__version__,
                "cases": str(len(CASES)), "steps": str(T)}
    for shape, (p, g) in inputs.items():
        tensors |= {f"p.{shape}": p, f"g.{shape}": g}
    for number, case in enumerate(CASES):
        more, about = judged(number, inputs, *case)
        tensors |= more
        metadata |= about
        print(f"{number:02} {case[0]}: {about.get(f'condition.{number:02}', '')}")
    path = Path(sys.argv[1])
    save(path, tensors, metadata)
    print(f"{path}: {len(CASES)} cases, {len(tensors)} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
