#!/usr/bin/env python3
"""Draws the tables that run.sh wrote: plot.py DIR reads DIR/*.csv and writes DIR/{map,deviation,loss}.png."""

import argparse
import io
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image  # matplotlib's own dependency

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from experiments import inference  # noqa: E402
from pages.page import read  # noqa: E402

# Okabe and Ito's colours, told apart by colour-blind readers too; the marker is a second hint.
STYLE = {
    "jordan": ("#D55E00", "o"),
    "varied": ("#CC79A7", "D"),
    "polar-express": ("#0072B2", "v"),
    "nanochat": ("#6a3d9a", "<"),
    "modula": ("#009E73", "^"),
    "cubic": ("#7a7a7a", "s"),
    "track3": ("#E69F00", "P"),
    "muown": ("#56B4E9", "X"),
    "exact": ("#000000", "*"),
}
MATRICES = ("gaussian", "log-spaced", "gradient-like")


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
    """Each flavour after its own number of iterations: the range of what it makes of values near each from 0.0001 to 1."""
    rows, ranges = read(out / "map.csv"), [row for row in read(out / "ranges.csv") if row["own"] == "1"]
    figure, panels = plt.subplots(2, 4, figsize=(11, 5), sharex=True, sharey=True, layout="constrained")
    order = list(STYLE)
    for axes, row in zip(panels.flat, sorted(ranges, key=lambda r: order.index(r["flavour"]))):
        name = row["flavour"]
        axes.fill_between(column(rows, "s"), column(rows, f"{name} least"), column(rows, f"{name} most"), step="post",
                          color=STYLE[name][0], linewidth=1)
        axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
        axes.set_title(f"{name}: {row['steps']} iterations, {row['products']} products", fontsize=9)
        tidy(axes)
    panels[0, 0].set(xscale="log", xlim=(1e-4, 1), ylim=(0, 1.3))
    figure.supxlabel("singular value / Frobenius norm, before", fontsize=10)
    figure.supylabel("singular value, after", fontsize=10)
    save(figure, out / "map.png")


def draw_deviation(out):
    """Deviation against FLOPs, medians and ranges over six matrices; rings are the flavours' own numbers of iterations."""
    rows = read(out / "deviation.csv")
    kinds = [("worst", "max |s - 1|"), ("rms", "rms of s - 1")]
    figure, panels = plt.subplots(len(kinds), len(MATRICES), figsize=(11, 7), sharey="row", layout="constrained")
    for j, matrix in enumerate(MATRICES):
        here = [row for row in rows if row["matrix"] == matrix]
        panels[0, j].set_title(f"{matrix}, {here[0]['rows']} x {here[0]['cols']}", fontsize=10)
        for i, (y, label) in enumerate(kinds):
            draw_curves(panels[i, j], here, y)
            panels[i, 0].set_ylabel(label)
            panels[i, j].set_xlabel("MFLOP")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=9, fontsize=9, title_fontsize=9,
                  title="a ring: the flavour's own number of iterations; bars: from the least to the most of six matrices")
    save(figure, out / "deviation.png")


def draw_curves(axes, rows, y):
    for name, (colour, marker) in STYLE.items():
        points = [row for row in rows if row["flavour"] == name]
        if name == "exact":
            axes.axhline(float(points[0][y]), color=colour, linewidth=1, linestyle="--", label=name)
            continue
        middle = column(points, y)
        spread = [[m - a for m, a in zip(middle, column(points, f"{y}_least"))],
                  [b - m for m, b in zip(middle, column(points, f"{y}_most"))]]
        axes.errorbar(column(points, "mflop"), middle, yerr=spread, color=colour, linewidth=1.3, marker=marker, markersize=3,
                      elinewidth=0.7, label=name)
        own = [row for row in points if row["own"] == "1"]
        axes.plot(column(own, "mflop"), column(own, y), marker="o", markersize=9, fillstyle="none", color=colour, linestyle="none")
    axes.set_yscale("log")
    tidy(axes)


def draw_loss(out):
    """Left: losses of the search by rate. Right: each flavour's loss minus that of the exact factor with the same seed, and
    the mean's interval."""
    rows = read(out / "losses.csv")
    runs = {}
    for row in rows:
        runs.setdefault((row["stage"], row["run"]), []).append(row)
    names = [name for name in ("jordan-3", *STYLE) if ("final", name) in runs]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name in names:
        colour, marker = STYLE.get(name, ("#8B4513", "d"))
        by_rate = {}
        for row in runs["search", name]:
            by_rate.setdefault(float(row["lr"]), []).append(float(row["val_loss"]))
        left.plot(sorted(by_rate), [sum(by_rate[lr]) / len(by_rate[lr]) for lr in sorted(by_rate)], color=colour, marker=marker,
                  markersize=5, linewidth=1, label=name)
    left.set(xscale="log", xlabel="learning rate", ylabel="validation loss, mean of two seeds")
    rates = sorted({float(row["lr"]) for row in rows})
    left.set_xticks(rates, [f"{rate:g}" for rate in rates])
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    final = {name: {r["seed"]: float(r["val_loss"]) for r in runs["final", name]} for name in names}
    others = [name for name in names if name != "exact"]
    for y, name in enumerate(reversed(others)):
        colour, marker = STYLE.get(name, ("#8B4513", "d"))
        right.plot([final[name][s] - final["exact"][s] for s in final[name]], [y] * len(final[name]), marker="|", markersize=9,
                   color=colour, linestyle="none", alpha=0.6)
        mean = inference.paired(final[name], final["exact"])
        right.errorbar(mean.value, y, xerr=[[mean.value - mean.low], [mean.high - mean.value]], color=colour, marker=marker,
                       markersize=6, capsize=3)
    right.axvline(0, color="black", linewidth=0.8, linestyle=":")
    right.set_yticks(range(len(others)), reversed(others))
    right.set_xlabel("loss minus exact's of the same seed, nats\nstrokes: seeds; mark and bar: their mean, 95% interval")
    for axes in (left, right):
        tidy(axes)
    save(figure, out / "loss.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", type=pathlib.Path)
    out = parser.parse_args().dir
    draw_map(out)
    draw_deviation(out)
    draw_loss(out)


if __name__ == "__main__":
    main()
