#!/usr/bin/env python3
"""Draws the tables that run.sh wrote: plot.py DIR reads DIR/*.csv and writes DIR/{map,iterations,deviation,loss}.png."""

import argparse
import csv
import io
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image  # matplotlib's own dependency

# Okabe and Ito's colours, told apart by colour-blind readers too; the marker is a second hint.
STYLE = {
    "jordan": ("#D55E00", "o"),
    "cubic": ("#7a7a7a", "s"),
    "modula": ("#009E73", "^"),
    "varied": ("#CC79A7", "D"),
    "polar-express": ("#0072B2", "v"),
    "track3": ("#E69F00", "P"),
    "muown": ("#56B4E9", "X"),
    "exact": ("#000000", "*"),
}
SHOWN = [("gaussian", "256"), ("log-spaced", "1024"), ("gradient-like", "1024")]
TICKS = [2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200]


def table(path):
    """Rows of a CSV as dictionaries, numbers where they are; lines with # are comments."""
    with open(path, newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def column(rows, key):
    return [float(row[key]) for row in rows]


def tidy(axes):
    axes.grid(alpha=0.25, which="major")
    axes.spines[["top", "right"]].set_visible(False)


def save(figure, path):
    """A palette of 128 colours serves these pictures and makes them a third as large."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=95)
    plt.close(figure)
    Image.open(buffer).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"drew {path}")


def draw_map(out):
    """Each flavour after its own number of iterations: how small a value it lifts, and what it makes of the rest."""
    rows, ranges = table(out / "map.csv"), table(out / "ranges.csv")
    figure = plt.figure(figsize=(10, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2)
    lift, bands = left.subplots(), right.subplots(len(ranges), 1, sharex=True, sharey=True)
    s = column(rows, "s")
    for axes, row in zip(bands, ranges):
        name, colour = row["flavour"], STYLE[row["flavour"]][0]
        lift.plot(s, column(rows, name), color=colour, linewidth=1.8, linestyle="--" if name == "varied" else "-",
                  label=f"{name}: {row['steps']} iterations, {row['products']} products")
        axes.plot(s, column(rows, name), color=colour, linewidth=1)
        axes.text(1.3e-4, 1.12, name, color=colour, fontsize=9)
    for axes in [lift, *bands]:
        axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        tidy(axes)
    lift.set(yscale="log", xlim=(1e-4, 1e-2), ylim=(0.03, 1.5), ylabel="singular value, after",
             xlabel="singular value / Frobenius norm, before", title="small values")
    lift.legend(frameon=False, fontsize=8, loc="lower right")
    bands[0].set(xlim=(1e-4, 1), ylim=(0.6, 1.3), title="all values, near 1")
    bands[-1].set_xlabel("singular value / Frobenius norm, before")
    save(figure, out / "map.png")


def draw_iterations(out):
    """One polynomial repeated, and one made for each iteration: a row an iteration."""
    rows = table(out / "iterations.csv")
    titles = {"jordan": "jordan: the same polynomial each time", "polar-express": "polar-express: another each time"}
    keys = {name: [key for key in rows[0] if key.startswith(name)] for name in titles}
    figure, panels = plt.subplots(len(keys["jordan"]), 2, figsize=(10, 6), sharex=True, sharey=True, layout="constrained")
    for j, (name, title) in enumerate(titles.items()):
        panels[0, j].set_title(title, fontsize=10)
        for axes, key in zip(panels[:, j], keys[name]):
            axes.plot(column(rows, "s"), column(rows, key), color=STYLE[name][0], linewidth=1.2)
            axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
            axes.text(1.3e-4, 1.3, f"after iteration {key.split()[-1]}", fontsize=8)
            tidy(axes)
        panels[-1, j].set_xlabel("singular value / Frobenius norm, before")
    panels[0, 0].set(xscale="log", xlim=(1e-4, 1), ylim=(0, 2.2))
    figure.supylabel("singular value, after", fontsize=10)
    save(figure, out / "iterations.png")


def draw_deviation(out):
    """Deviation against products and against time; rings are the flavours' own numbers of iterations."""
    rows = table(out / "deviation.csv")
    conditions = {(row["matrix"], row["rows"]): float(row["condition"]) for row in table(out / "matrices.csv")}
    kinds = [("products", "worst", "max |s - 1|"), ("products", "rms", "rms of s - 1"), ("ms", "worst", "max |s - 1|")]
    figure, panels = plt.subplots(len(kinds), len(SHOWN), figsize=(11, 9.5), sharey="row", layout="constrained")
    for j, (matrix, sides) in enumerate(SHOWN):
        here = [row for row in rows if row["matrix"] == matrix and row["rows"] == sides]
        panels[0, j].set_title(f"{matrix}, {sides} x {here[0]['cols']}, condition {conditions[matrix, sides]:.0f}", fontsize=10)
        for i, (x, y, label) in enumerate(kinds):
            draw_curves(panels[i, j], here, x, y)
            panels[i, 0].set_ylabel(label)
            panels[i, j].set_xlabel("matrix products" if x == "products" else "milliseconds on one thread")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=7, fontsize=9, title_fontsize=9,
                  title="a ring: the flavour's own number of iterations; a star: the exact factor")
    save(figure, out / "deviation.png")


def draw_curves(axes, rows, x, y):
    for name, (colour, marker) in STYLE.items():
        points = [row for row in rows if row["flavour"] == name]
        if name == "exact":
            if x == "products":
                axes.axhline(float(points[0][y]), color=colour, linewidth=1, linestyle="--", label="exact")
            else:
                axes.plot(column(points, x), column(points, y), color=colour, marker=marker, markersize=10, linestyle="none")
            continue
        axes.plot(column(points, x), column(points, y), color=colour, linewidth=1.3, marker=marker, markersize=3, label=name)
        own = [row for row in points if row["own"] == "1"]
        axes.plot(column(own, x), column(own, y), marker="o", markersize=9, fillstyle="none", color=colour, linestyle="none")
    axes.set_yscale("log")
    if x == "ms":
        axes.set_xscale("log")
    tidy(axes)


def cost(row):
    """The optimizer's time in percent of the rest of the step."""
    optimizer, step = float(row["optimizer_ms"]), float(row["step_ms"])
    return 100 * optimizer / (step - optimizer)


def draw_loss(out):
    """Final validation loss against what the optimizer costs: a line from seed to seed. The cost is a share of the same
    run's forward and backward passes, so that other load on the machine divides out. Runs with another number of
    iterations than the flavour's own are left to the table: their losses are far off."""
    runs = {}
    for row in table(out / "losses.csv"):
        if ":" not in row["run"]:
            runs.setdefault(row["run"], []).append(row)
    figure, axes = plt.subplots(figsize=(8, 4.4), layout="constrained")
    for name, rows in runs.items():
        colour, marker = STYLE[name]
        x, y = statistics.fmean(cost(row) for row in rows), column(rows, "val_loss")
        axes.plot([x] * len(y), y, color=colour, marker=marker, markersize=6, linewidth=1)
        axes.annotate(name, (x, max(y)), color=colour, fontsize=9, va="center", xytext=(7, 0), textcoords="offset points")
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low < tick < high]
    axes.set_xticks(ticks, [f"{tick}%" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("time of the optimizer, as a part of forward and backward")
    axes.set_ylabel("final validation loss, nats a token")
    tidy(axes)
    save(figure, out / "loss.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", type=pathlib.Path)
    out = parser.parse_args().dir
    draw_map(out)
    draw_iterations(out)
    draw_deviation(out)
    draw_loss(out)


if __name__ == "__main__":
    main()
