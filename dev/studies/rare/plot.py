#!/usr/bin/env python3
"""Draws who learns the rare tokens: the loss by how often a token occurs in training, a line a rule, and beside it what each
rule's loss lies above AdamW's.

    PYTHONPATH=dev python dev/studies/rare/plot.py runs/rare [FILE.svg]

Also writes FILE.csv, with means over the final runs' seeds and 95% intervals of the paired differences.
"""

import csv
import sys
from pathlib import Path

from matplotlib import pyplot

from experiments import figures, inference, study

BASELINE = "adamw"


def tables_of(sweep):
    """{rule: {seed: {(from, to): (kinds of token, targets, loss)}}} of a sweep's final runs."""
    found = {}
    with open(Path(sweep) / "sweep.csv", newline="") as file:
        for run in csv.DictReader(file):
            if run["stage"] != "final":
                continue
            with open(Path(sweep) / f"{run['directory']}.loss_frequency.csv", newline="") as table:
                rows = {(int(r["occurrences_from"]), int(r["occurrences_to"])): (int(r["tokens"]), int(r["targets"]), float(r["loss"]))
                        for r in csv.DictReader(table)}
            found.setdefault(run["optimizer"], {})[int(run["seed"])] = rows
    return found


def main():
    found = tables_of(sys.argv[1])
    out = Path(sys.argv[2] if len(sys.argv) > 2 else "rare.svg")
    base = found[BASELINE]
    classes = [c for c in next(iter(base.values())) if c[0] > 0]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    rows = []
    for i, (rule, seeds) in enumerate(found.items()):
        means, above, low, high = [], [], [], []
        for c in classes:
            losses = {seed: table[c][2] for seed, table in seeds.items()}
            means.append(sum(losses.values()) / len(losses))
            difference = inference.paired(losses, {seed: table[c][2] for seed, table in base.items()})
            above.append(difference.value)
            low.append(difference.low)
            high.append(difference.high)
            kinds, targets, _ = next(iter(base.values()))[c]
            rows.append({"rule": rule, "from": c[0], "to": c[1], "tokens": kinds, "targets": targets, "loss": f"{means[-1]:.4f}",
                         "above": f"{above[-1]:.4f}", "low": f"{low[-1]:.4f}", "high": f"{high[-1]:.4f}"})
        x = [c[0] for c in classes]
        left.plot(x, means, label=rule, **figures.look(i))
        if rule != BASELINE:
            right.plot(x, above, **figures.look(i))
            right.fill_between(x, low, high, color=figures.HUES[i], alpha=0.2, linewidth=0)
    right.axhline(0, color=figures.INK, linewidth=0.8)
    for axes, words in ((left, "validation loss"), (right, f"loss above {BASELINE}'s")):
        axes.set_xscale("log")
        axes.set_xlabel("occurrences in the training tokens")
        axes.set_ylabel(words)
    left.legend()
    study.leave(figure, "Loss by how often a token occurs, for several rules", rows, out, sys.argv[1])


if __name__ == "__main__":
    main()
