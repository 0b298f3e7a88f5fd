#!/usr/bin/env python3
"""Draws the figures of dev/lab/README.md from the tables that dev/lab/run.sh wrote: plot.py RESULTS."""

import io
import math
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from experiments import inference  # noqa: E402
from pages.lab import NAMES  # noqa: E402
from pages.page import read as read_table  # noqa: E402

# Okabe and Ito's colours, which colour-blind readers can tell apart; lines differ in dashes as well.
STYLES = {
    "sgd": ("#777777", "-"),
    "adamw": ("#D55E00", "-"),
    "muon": ("#0072B2", "-"),
    "muon-jordan": ("#56B4E9", "--"),
    "nuclear": ("#009E73", "-."),
    "shampoo": ("#E69F00", "-"),
    "soap": ("#CC79A7", "--"),
}
BATCHES = {"4096": "all 4096 rows", "256": "batch 256", "32": "batch 32"}


def read(results, name):
    return read_table(results / f"{name}.csv")


def axes_of(figure, *shape, **more):
    panels = figure.subplots(*shape, squeeze=False, **more)
    for axes in panels.flat:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return panels


def ticks_at(axis, values):
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def save(figure, results, name):
    """A PNG with a palette: half the size."""
    path = results / f"{name}.png"
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    plt.close(figure)
    image = Image.open(buffer).convert("RGB")
    image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"drew {path}")


def sgd(results):
    rows = read(results, "theory")
    figure = plt.figure(figsize=(9, 3.6), layout="constrained")
    left, right = axes_of(figure, 1, 2)[0]
    kappas = [10 ** (x / 40) for x in range(4, 132)]
    lines = (("best rate, no momentum", "#777777", False, lambda k: 2 / (k + 1)),
             ("momentum near its best", "#000000", True, lambda k: 0.9 * 2 / (math.sqrt(k) + 1)))
    for label, colour, momentum, theory in lines:
        points = [r for r in rows if (float(r["momentum"]) > 0) == momentum and r["lr_over_best"] == "1"]
        left.plot(kappas, [theory(k) for k in kappas], color=colour, linewidth=1, label=f"{label}: theory")
        left.plot([float(r["condition"]) for r in points], [1 - float(r["measured"]) for r in points], "o",
                  color=colour, label=f"{label}: measured")
    left.set(xscale="log", yscale="log", xlabel="condition number of the Hessian",
             ylabel="shrinkage of |W - W_OLS| a step")
    left.legend(frameon=False, fontsize=8)
    near = [r for r in rows if float(r["momentum"]) == 0 and 5 < float(r["condition"]) < 20]
    kappa = float(near[0]["condition"])
    grid = [x / 100 for x in range(20, 110)]
    theory = [max(1 - 2 * x / (kappa + 1), 2 * x * kappa / (kappa + 1) - 1) for x in grid]
    right.plot(grid, theory, color="#777777", linewidth=1, label="theory: largest |1 - rate x curvature|")
    right.plot([float(r["lr_over_best"]) for r in near], [float(r["measured"]) for r in near], "o", color="#777777",
               label="measured")
    right.axhline(1, color="black", linewidth=0.8, linestyle=":")
    right.text(0.22, 0.992, "above the line: divergence", fontsize=8)
    right.set(xlabel="learning rate / best learning rate", ylabel="factor of |W - W_OLS| a step", ylim=(0.8, 1.01))
    right.set_title(f"no momentum, condition number {kappa:.1f}", fontsize=10)
    right.legend(frameon=False, fontsize=8, loc="lower left")
    save(figure, results, "sgd")


def cycle(results):
    rows = read(results, "cycle")
    figure = plt.figure(figsize=(9, 4.2), layout="constrained")
    lines = {"spectral": ("#000000", "o", "spectral descent"), "spectral-jordan": ("#009E73", "s", "the same, 5 Newton-Schulz steps"),
             "muon": ("#0072B2", "^", "Muon"), "adamw": ("#D55E00", "D", "AdamW")}
    panels = axes_of(figure, 1, 2, sharey=True)[0]
    for axes, batch in zip(panels, ("4096", "256")):
        for rule, (colour, marker, name) in lines.items():
            for schedule, style, fill in (("constant", "-", colour), ("linear", ":", "white")):
                column = "rms_distance" if schedule == "constant" else "last_distance"
                ends = {}
                for r in rows:
                    if (r["rule"], r["schedule"], r["batch"]) == (rule, schedule, batch):
                        ends.setdefault(float(r["lr"]), []).append(float(r[column]))
                middle = [statistics.median(ends[lr]) for lr in sorted(ends)]
                spread = [[m - min(ends[lr]) for m, lr in zip(middle, sorted(ends))],
                          [max(ends[lr]) - m for m, lr in zip(middle, sorted(ends))]]
                axes.errorbar(sorted(ends), middle, yerr=spread, fmt=style, color=colour, marker=marker, markerfacecolor=fill,
                              markersize=4, linewidth=1, label=name + (", to 0" if schedule == "linear" else ""))
        ends = [0.036, 0.7]
        axes.plot(ends, [x * math.sqrt(32 / 3) for x in ends], color="#888888", linestyle="--", linewidth=1, zorder=0,
                  label="rate x sqrt(32/3)")
        axes.set(xscale="log", yscale="log", xlabel="learning rate")
        axes.set_title(f"white inputs, {BATCHES[batch]}", fontsize=10)
        ticks_at(axes.xaxis, [0.04, 0.08, 0.16, 0.32, 0.64])
    panels[0].set_ylabel("|W - W_OLS| where the run ends")
    panels[1].legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, results, "cycle")


def updates(results):
    rows = read(results, "updates")
    figure = plt.figure(figsize=(9, 4), layout="constrained")
    panels = axes_of(figure, 1, 2, sharey=True)[0]
    titles = {"0": "first step: all from one gradient", "150": "step 150 of 300: each on its own way"}
    for axes, (step, title) in zip(panels, titles.items()):
        for rule, (colour, dashes) in STYLES.items():
            chosen = [[float(r[f"u{k}"]) for k in range(1, 33)] for r in rows if (r["rule"], r["step"]) == (rule, step)]
            if chosen[0][0] > 0:
                axes.plot(range(1, 33), [statistics.median(u[k] / u[0] for u in chosen) for k in range(32)], color=colour,
                          linestyle=dashes, label=NAMES[rule], linewidth=4 if rule == "muon" else 1.5)
        axes.set(yscale="log", ylim=(5e-3, 1.3), xlabel="index of singular value")
        axes.set_title(title, fontsize=10)
    panels[0].set_ylabel("singular value of the update / largest")
    figure.legend(*panels[1].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right upper")
    save(figure, results, "updates")


def memory(results):
    rows = read(results, "memory")
    figure = plt.figure(figsize=(9, 3.6), layout="constrained")
    panels = axes_of(figure, 1, 2)[0]
    lines = {"spectral": ("#56B4E9", "-", "spectral descent", 5),
             "0": ("#000000", ":", "Shampoo, beta2 0", 2),
             "0.9": ("#E69F00", "-", "Shampoo, beta2 0.9", 1.5),
             "0.99": ("#D55E00", "--", "Shampoo, beta2 0.99", 1.5)}
    for axes, column in zip(panels, ("excess_over_floor", "update_norm")):
        for name, (colour, dashes, label, width) in lines.items():
            by_step = {}
            for r in rows:
                if r["beta2"] == name and r[column]:
                    by_step.setdefault(int(r["step"]), []).append(float(r[column]))
            axes.plot(list(by_step), [statistics.geometric_mean(v) for v in by_step.values()], dashes, color=colour,
                      linewidth=width, label=label)
        loss = column == "excess_over_floor"
        axes.set(yscale="log" if loss else "linear", xlabel="step")
        axes.set_ylabel("excess loss / floor" if loss else "|update|_F / rate")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right upper")
    figure.suptitle("white inputs, all rows, constant rate 0.1; geometric means of six seeds", fontsize=10)
    save(figure, results, "memory")


def contest(results):
    rows = [r for r in read(results, "final") if r["inputs"] == "rotated"]
    conditions = list(dict.fromkeys(r["condition"] for r in rows))
    figure = plt.figure(figsize=(10, 7.5), layout="constrained")
    panels = axes_of(figure, len(conditions), 3, sharex="col", sharey=True)
    for line, condition in zip(panels, conditions):
        for axes, batch in zip(line, BATCHES):
            for y, (rule, (colour, _)) in enumerate(reversed(STYLES.items())):
                logs = [math.log10(float(r["excess_over_floor"])) for r in rows
                        if (r["condition"], r["batch"], r["rule"]) == (condition, batch, rule)]
                mean = inference.mean(logs)
                axes.plot([10**x for x in logs], [y] * len(logs), "|", color=colour, markersize=10, alpha=0.6)
                axes.errorbar(10**mean.value, y, xerr=[[10**mean.value - 10**mean.low], [10**mean.high - 10**mean.value]], fmt="o",
                              color=colour, markersize=4, capsize=3)
            axes.set(xscale="log", yticks=range(len(STYLES)), yticklabels=[NAMES[rule] for rule in reversed(STYLES)])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(f"condition {condition}, {BATCHES[batch]}", fontsize=9)
    figure.supxlabel("excess loss / floor after 300 steps; strokes: seeds; mark and bar: geometric mean, 95% interval", fontsize=10)
    save(figure, results, "contest")


def main():
    results = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "dev/lab/results")
    for draw in (sgd, cycle, updates, memory, contest):
        draw(results)


if __name__ == "__main__":
    main()
