#!/usr/bin/env python3
"""Draws what measure.py found: PYTHONPATH=dev python dev/studies/gradients/plot.py CSV FILE.svg"""

import csv
import sys
from pathlib import Path

from matplotlib import pyplot

from experiments import figures, report

SHOWN = ("wte.weight", "attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
SIGNS = (1, 4, 16, 64)


def main():
    with open(sys.argv[1], newline="") as file:
        rows = list(csv.DictReader(file))
    steps = sorted({int(r["step"]) for r in rows})
    figure, (cosines, nats, signs) = pyplot.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for i, tensor in enumerate(SHOWN):
        mine = [r for r in rows if r["tensor"] == tensor]
        for axes, what in ((cosines, "cosine"), (nats, "kl")):
            axes.plot(steps, [float(r[what]) for r in mine], label=tensor.removesuffix(".weight"), markersize=4, **figures.look(i))
            axes.plot(steps, [float(r[f"{what}_ideal"]) for r in mine], color=figures.HUES[i], linestyle=":", linewidth=1)
        for step, line in ((steps[len(steps) // 2], "-"), (steps[-1], "--")):
            at = next(r for r in mine if int(r["step"]) == step)
            signs.plot(SIGNS, [float(at[f"signs_{n}"]) for n in SIGNS], linestyle=line, markersize=4, **figures.look(i))
    cosines.set_ylabel("cosine of m with the mean gradient")
    figure.legend(*cosines.get_legend_handles_labels(), loc="outside upper center", ncols=len(SHOWN))
    nats.set_yscale("log")
    nats.set_ylabel("KL divergence, nats an element")
    for axes in (cosines, nats):
        axes.set_xlabel("step")
    signs.set_xscale("log", base=2)
    signs.set_xlabel("batches averaged")
    signs.set_ylabel("share of right signs")
    signs.set_title(f"solid: step {steps[len(steps) // 2]}, dashed: {steps[-1]}")
    picture = figures.svg(figure, "gradients", "Adam's moments against the gradients' own mean and variance")
    Path(sys.argv[2]).write_text(figures.alone(picture, report.STYLE))


if __name__ == "__main__":
    main()
