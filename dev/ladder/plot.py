#!/usr/bin/env python3
"""The ladder's table and picture: python dev/ladder/plot.py runs/ladder

Prints the table of the sweep's final runs, and writes it as ladder.csv and, where matplotlib is, draws ladder.png, both in
the sweep's directory.
"""

import csv
import statistics
import sys
from pathlib import Path


def rows_of(sweep):
    """A row per preset: its best rates, and mean, deviation and list of the final runs' losses."""
    with open(sweep / "sweep.csv", newline="") as file:
        final = [r for r in csv.DictReader(file) if r["stage"] == "final"]
    with open(sweep / "best.csv", newline="") as file:
        presets = [r["optimizer"] for r in csv.DictReader(file)]
    rows = []
    for preset in presets:
        mine = [r for r in final if r["optimizer"] == preset]
        losses = [float(r["val_loss"] or "inf") for r in mine]
        rates = dict(part.split("=") for part in mine[0]["point"].split(","))
        rows.append({"preset": preset, "lr": rates.pop("lr"), "other_lr": " ".join(rates.values()),
                     "val_loss": f"{statistics.mean(losses):.4f}",
                     "deviation": f"{statistics.stdev(losses):.4f}" if len(losses) > 1 else "",
                     "losses": " ".join(f"{x:.4f}" for x in losses)})
    return rows


def draw(rows, path):
    try:
        import matplotlib
    except ImportError:
        print("no picture: matplotlib is not there")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for i, r in enumerate(rows):
        losses = [float(x) for x in r["losses"].split()]
        axes.plot([i] * len(losses), losses, "o", color="tab:blue", alpha=0.5)
        axes.annotate(r["val_loss"], (i, max(losses)), xytext=(0, 7), textcoords="offset points", ha="center")
    steps = [float(r["val_loss"]) for r in rows if r["preset"].startswith("record")]
    axes.plot(range(len(steps)), steps, "-", color="tab:blue", alpha=0.6)
    axes.set_xticks(range(len(rows)), [r["preset"] for r in rows], rotation=20)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylabel("validation loss, nats per byte")
    axes.set_title("The records' steps at nano size, rates swept, each dot a seed")
    axes.margins(y=0.12)
    axes.grid(axis="y", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    sweep = Path(sys.argv[1])
    rows = rows_of(sweep)
    print(f"{'preset':14} {'lr':>9} {'tables':>9} {'val loss':>9} {'deviation':>9}  of each seed")
    for r in rows:
        print(f"{r['preset']:14} {r['lr']:>9} {r['other_lr']:>9} {r['val_loss']:>9} {r['deviation']:>9}  {r['losses']}")
    with open(sweep / "ladder.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, sweep / "ladder.png")


if __name__ == "__main__":
    main()
