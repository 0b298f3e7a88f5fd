#!/usr/bin/env python3
"""Draws the figures of dev/lab/README.md from the tables that dev/lab/run.sh wrote: plot.py RESULTS."""

import csv
import io
import math
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator
from PIL import Image

# Okabe and Ito's colours, which colour-blind readers can tell apart; lines differ in dashes as well.
STYLES = {
    "sgd": ("#777777", "-"),
    "momentum": ("#000000", "--"),
    "adamw": ("#D55E00", "-"),
    "muon": ("#0072B2", "-"),
    "spectral": ("#56B4E9", "--"),
    "nuclear": ("#009E73", "-."),
    "shampoo": ("#E69F00", "-"),
    "soap": ("#CC79A7", "--"),
}
NAMES = {
    "sgd": "SGD",
    "momentum": "SGD, momentum 0.9",
    "adamw": "AdamW",
    "muon": "Muon",
    "spectral": "spectral descent",
    "nuclear": "spectral, nuclear-norm step",
    "shampoo": "Shampoo",
    "soap": "SOAP",
    "spectral-jordan": "spectral, 5 Newton-Schulz steps",
}
BATCHES = {"4096": "all 4096 rows", "256": "batch 256", "32": "batch 32"}
INPUTS = {"white": "white inputs", "rotated": "ill-conditioned inputs", "ill": "ill-conditioned, axis-aligned"}


def read(results, name):
    """The rows of a table as dictionaries; lines that begin with # are not part of it."""
    with open(results / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


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
    right.set(xlabel="learning rate / best learning rate", ylabel="factor of |W - W_OLS| a step")
    right.set_title(f"no momentum, condition number {kappa:.1f}", fontsize=10)
    right.legend(frameon=False, fontsize=8, loc="lower left")
    save(figure, results, "sgd")


def cycle(results):
    rows = read(results, "cycle")
    figure = plt.figure(figsize=(9, 4.2), layout="constrained")
    lines = {"spectral": ("#56B4E9", "o"), "spectral-jordan": ("#009E73", "s"), "muon": ("#0072B2", "^"),
             "adamw": ("#D55E00", "D")}
    panels = axes_of(figure, 1, 2, sharey=True)[0]
    for axes, batch in zip(panels, ("4096", "256")):
        for rule, (colour, marker) in lines.items():
            for schedule, style, fill in (("constant", "-", colour), ("linear", ":", "white")):
                points = [r for r in rows if (r["rule"], r["schedule"], r["batch"]) == (rule, schedule, batch)]
                if not points:
                    continue
                column = "rms_distance" if schedule == "constant" else "last_distance"
                axes.plot([float(r["lr"]) for r in points], [float(r[column]) for r in points], style, color=colour,
                          marker=marker, markerfacecolor=fill, markersize=5, linewidth=1,
                          label=NAMES[rule] + (", decayed to 0" if schedule == "linear" else ""))
        ends = [0.018, 0.7]
        axes.plot(ends, [x * math.sqrt(32 / 3) for x in ends], color="#888888", linestyle="--", linewidth=1, zorder=0,
                  label="theory: rate x sqrt(32/3)")
        axes.set(xscale="log", yscale="log", xlabel="learning rate")
        axes.set_title(f"white inputs, {BATCHES[batch]}", fontsize=10)
        ticks_at(axes.xaxis, [0.02, 0.04, 0.08, 0.16, 0.32, 0.64])
    panels[0].set_ylabel("|W - W_OLS| where the run ends")
    panels[1].legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, results, "cycle")


def spectra(results):
    rows = read(results, "spectra")
    figure = plt.figure(figsize=(9, 4), layout="constrained")
    panels = axes_of(figure, 1, 2, sharey=True)[0]
    titles = {"0": "first step: all from one gradient", "60": "step 60: each on its own way"}
    for axes, (step, title) in zip(panels, titles.items()):
        for rule, (colour, dashes) in STYLES.items():
            values = [float(r["update"]) for r in rows if (r["rule"], r["step"]) == (rule, step)]
            if values[0] > 0:
                axes.plot(range(1, 33), [v / values[0] for v in values], color=colour, linestyle=dashes,
                          label=NAMES[rule], linewidth=4 if rule == "spectral" else 1.5)
        axes.set(yscale="log", ylim=(5e-3, 1.3), xlabel="index of singular value")
        axes.set_title(title, fontsize=10)
    panels[0].set_ylabel("singular value of the update / largest")
    panels[1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, results, "spectra")


def bounds(results):
    """(least, most) curvature of each data set of the tracking table."""
    found = {}
    for line in (results / "tracking.csv").read_text().splitlines():
        if line.startswith("# "):
            _, data, _, *pairs = line.split()
            known = dict(pair.split("=") for pair in pairs)
            found[data] = float(known["curvature_least"]), float(known["curvature_most"])
    return found


def tracking(results):
    rows, curvatures = read(results, "tracking"), bounds(results)
    figure = plt.figure(figsize=(9, 3.4), layout="constrained")
    shades = {"0": "#000000", "50": "#0072B2", "100": "#009E73", "150": "#E69F00", "190": "#CC79A7"}
    panels = axes_of(figure, 1, 3)[0]
    for axes, data in zip(panels, ("white:4096", "rotated:4096", "white:32")):
        gaps = [float(r["gap"]) for r in rows if r["data"] == data]
        ends = [min(gaps), max(gaps)]
        least, most = curvatures[data]
        axes.fill_between(ends, [least * x for x in ends], [most * x for x in ends], color="#dddddd", linewidth=0)
        for step, colour in shades.items():
            chosen = [r for r in rows if (r["data"], r["step"]) == (data, step)]
            axes.plot([float(r["gap"]) for r in chosen], [float(r["gradient"]) for r in chosen], ".", markersize=4,
                      color=colour, label=f"step {step}")
        inputs, batch = data.split(":")
        axes.set(xscale="log", yscale="log", xlabel="singular values of W - W_OLS")
        axes.set_title(f"{INPUTS[inputs]}, {BATCHES[batch]}", fontsize=9)
    panels[0].set_ylabel("singular values of the gradient")
    panels[0].legend(frameon=False, fontsize=8)
    save(figure, results, "tracking")


def memory(results):
    rows = read(results, "memory")
    figure = plt.figure(figsize=(9, 3.4), layout="constrained")
    panels = axes_of(figure, 1, 3)[0]
    lines = {"spectral": ("#56B4E9", "-", "spectral descent", 5),
             "shampoo-0": ("#000000", ":", "Shampoo, beta2 0", 2),
             "shampoo-0.9": ("#E69F00", "-", "Shampoo, beta2 0.9", 1.5),
             "shampoo-0.99": ("#D55E00", "--", "Shampoo, beta2 0.99", 1.5)}
    cases = (("white", "excess_over_floor"), ("rotated", "excess_over_floor"), ("white", "update_fro"))
    for axes, (inputs, column) in zip(panels, cases):
        for rule, (colour, dashes, name, width) in lines.items():
            chosen = [r for r in rows if (r["inputs"], r["rule"]) == (inputs, rule)]
            axes.plot([int(r["step"]) for r in chosen], [float(r[column]) for r in chosen], dashes, color=colour,
                      linewidth=width, label=name)
        loss = column == "excess_over_floor"
        axes.set(yscale="log" if loss else "linear", xlabel="step")
        axes.set_ylabel("excess loss / floor" if loss else "|update|_F / rate")
        axes.set_title(f"{INPUTS[inputs]}, constant rate 0.1", fontsize=9)
    panels[0].legend(frameon=False, fontsize=8)
    save(figure, results, "memory")


def best(results):
    rows = read(results, "best")
    figure = plt.figure(figsize=(9, 5.6), layout="constrained")
    panels = axes_of(figure, 2, 3, sharey=True)
    places = {rule: -i for i, rule in enumerate(STYLES)}
    for line, inputs in zip(panels, ("white", "rotated")):
        for axes, batch in zip(line, ("4096", "256", "32")):
            for r in rows:
                known = r["excess_over_floor"] != "diverged" and r["rule"] in places
                if (r["inputs"], r["batch"]) != (inputs, batch) or not known:
                    continue
                colour, linear = STYLES[r["rule"]][0], r["schedule"] == "linear"
                axes.plot(float(r["excess_over_floor"]), places[r["rule"]] + (0.15 if linear else -0.15),
                          "o" if linear else "s", color=colour, markerfacecolor=colour if linear else "white",
                          markersize=5)
            axes.set(xscale="log", yticks=list(places.values()), yticklabels=[NAMES[rule] for rule in places])
            axes.set_title(f"{INPUTS[inputs]}, {BATCHES[batch]}", fontsize=9)
    figure.supxlabel("excess loss / floor after 300 steps", fontsize=10)
    figure.suptitle("best rate of each rule; three seeds; filled: the rate falls linearly to 0, hollow: it is constant",
                    fontsize=10)
    save(figure, results, "best")


def curves(results):
    rows = read(results, "curves")
    figure = plt.figure(figsize=(9, 6), layout="constrained")
    panels = axes_of(figure, 2, 2)
    cases = (("white", "256"), ("rotated", "4096"), ("rotated", "256"), ("rotated", "32"))
    for axes, (inputs, batch) in zip(panels.flat, cases):
        for rule, (colour, dashes) in STYLES.items():
            chosen = [r for r in rows if (r["inputs"], r["batch"], r["rule"]) == (inputs, batch, rule)]
            axes.plot([int(r["step"]) for r in chosen], [float(r["excess_over_floor"]) for r in chosen],
                      linestyle=dashes, color=colour, label=NAMES[rule], linewidth=1.3)
        axes.set(yscale="log", xlabel="step", ylabel="excess loss / floor")
        axes.set_title(f"{INPUTS[inputs]}, {BATCHES[batch]}", fontsize=9)
    panels[0, 1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, results, "curves")


def main():
    results = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "dev/lab/results")
    tables = {sgd: "theory", cycle: "cycle", spectra: "spectra", tracking: "tracking", memory: "memory", best: "best",
              curves: "curves"}
    for draw, table in tables.items():
        if (results / f"{table}.csv").exists():
            draw(results)


if __name__ == "__main__":
    main()
