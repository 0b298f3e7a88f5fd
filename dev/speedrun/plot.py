#!/usr/bin/env python3
"""Draws a comparison: validation loss against steps and against seconds, one colour an optimizer, one thin line a seed
and their mean on top. Reads DIR/<optimizer>-seed<seed>/metrics.csv, writes DIR/comparison.png and .svg."""

import argparse
import csv
import json
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ["#7a7a7a", "#c8102e", "#1f6fb4", "#2a8c4a", "#b06f00", "#6a3d9a"]


def validations(run):
    """(steps, seconds, losses) of the rows that have a validation loss."""
    with open(run / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["val_loss"]]
    return [[float(row[key]) for row in rows] for key in ("step", "seconds", "val_loss")]


def mean_curve(curves):
    """Means over seeds of (x, loss), point by point up to the shortest."""
    return [[statistics.fmean(point) for point in zip(*axis)] for axis in zip(*curves)]


def draw(axes, runs, colours, column):
    for optimizer, curves in runs.items():
        pairs = [(curve[column], curve[2]) for curve in curves]
        for x, loss in pairs:
            axes.plot(x, loss, color=colours[optimizer], alpha=0.25, linewidth=0.8)
        x, loss = mean_curve(pairs)
        axes.plot(x, loss, color=colours[optimizer], linewidth=2, label=f"{optimizer}  {loss[-1]:.3f}")


def bounds(runs, floor):
    """Loss axis: from the floor (or the best) to a little above what all have reached a tenth of the way in."""
    losses = [curve[2] for curves in runs.values() for curve in curves]
    best = min(min(loss) for loss in losses)
    top = max(loss[max(1, len(loss) // 8)] for loss in losses)
    bottom = best if floor is None else floor
    return bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--optimizers", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", required=True)
    parser.add_argument("--name", default="comparison", help="file name without ending")
    o = parser.parse_args()
    runs = {name: [validations(o.dir / f"{name}-seed{seed}") for seed in o.seeds] for name in o.optimizers}
    record = json.loads((o.dir / f"{o.optimizers[0]}-seed{o.seeds[0]}" / "run.json").read_text())
    floor = record.get("floor")
    colours = dict(zip(o.optimizers, COLOURS * (1 + len(o.optimizers) // len(COLOURS))))

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, column, label in zip(panels, (0, 1), ("steps", "seconds of training")):
        draw(axes, runs, colours, column)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if floor is not None:
            axes.axhline(floor, color="black", linewidth=0.8, linestyle=":")
            axes.text(0.99, floor, " floor: the entropy of the text", ha="right", va="bottom", fontsize=8,
                      transform=axes.get_yaxis_transform())
    panels[0].set_ylim(bounds(runs, floor))
    panels[0].set_ylabel("validation loss, nats a token")
    panels[0].legend(frameon=False, title=f"mean of {len(o.seeds)} seed{'s' if len(o.seeds) > 1 else ''}, final loss")
    figure.suptitle(f"{record['parameters'] / 1e6:.2f}M parameters, {record['tokens_per_step']} tokens a step", fontsize=10)
    for ending in ("png", "svg"):
        path = o.dir / f"{o.name}.{ending}"
        figure.savefig(path, dpi=110)
        print(f"drew {path}")


if __name__ == "__main__":
    main()
