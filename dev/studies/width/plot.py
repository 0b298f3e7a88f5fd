#!/usr/bin/env python3
"""Draws the study of widths: final loss against learning rate, a panel a rule and a line a width.

    PYTHONPATH=dev python dev/studies/width/plot.py runs/sweep-width [FILE.svg]

Also prints, and writes as FILE.csv, the best rate of each rule and width, where a parabola through the three losses around
the least has its own, and the slope of its logarithm over the width's: 0 where the best rate stays put, -1 where it falls
as 1/width.
"""

import csv
import math
import sys
from pathlib import Path

import numpy
from matplotlib import pyplot

from experiments import figures, report


def losses_of(sweep):
    """{rule: {width: {rate: mean loss}}} of a sweep whose optimizers are RULE-WIDTH."""
    found = {}
    with open(Path(sweep) / "sweep.csv", newline="") as file:
        for row in csv.DictReader(file):
            rule, width = row["optimizer"].rsplit("-", 1)
            rate = float(row["point"].removeprefix("lr="))
            loss = float(row["val_loss"]) if row["val_loss"] else math.inf
            found.setdefault(rule, {}).setdefault(int(width), {}).setdefault(rate, []).append(loss)
    return {rule: {w: {r: sum(v) / len(v) for r, v in sorted(rates.items())} for w, rates in sorted(widths.items())}
            for rule, widths in found.items()}


def best_rate(losses):
    """The rate with the least loss, by a parabola in its logarithm where both neighbours are known."""
    rates = list(losses)
    i = min(range(len(rates)), key=lambda i: losses[rates[i]])
    if not 0 < i < len(rates) - 1 or not all(map(math.isfinite, (losses[rates[i - 1]], losses[rates[i + 1]]))):
        return rates[i]
    x, y = numpy.log2(rates[i - 1:i + 2]), [losses[r] for r in rates[i - 1:i + 2]]
    a, b, _ = numpy.polyfit(x - x[1], y, 2)
    return float(2 ** (x[1] - b / (2 * a))) if a > 0 else rates[i]


def main():
    found = losses_of(sys.argv[1])
    out = Path(sys.argv[2] if len(sys.argv) > 2 else "width.svg")
    figure, panels = pyplot.subplots(-(-len(found) // 3), 3, figsize=(9, 2.9 * -(-len(found) // 3)), sharey=True, squeeze=False,
                                     layout="constrained")
    least = min(min(losses.values()) for widths in found.values() for losses in widths.values())
    rows = []
    for axes, (rule, widths) in zip(panels.flat, found.items()):
        for i, (width, losses) in enumerate(widths.items()):
            axes.plot(losses.keys(), losses.values(), label=f"C = {width}", **figures.look(i))
        best = {w: best_rate(losses) for w, losses in widths.items()}
        slope = numpy.polyfit(numpy.log2(list(best)), numpy.log2(list(best.values())), 1)[0] if len(best) > 1 else math.nan
        for width, losses in widths.items():
            rows.append({"rule": rule, "width": width, "best_rate": f"{best[width]:.4g}", "least_loss": f"{min(losses.values()):.4f}",
                         "slope": f"{slope:+.2f}"})
        axes.set_xscale("log")
        axes.set_ylim(least - 0.05, least + 1.2)
        axes.set_title(f"{rule}: best rate ~ width^{slope:+.2f}")
        axes.set_xlabel("learning rate")
    panels[0, 0].legend()
    for axes in panels[:, 0]:
        axes.set_ylabel("final validation loss")
    picture = figures.svg(figure, "width", "Final validation loss against learning rate, for several widths")
    out.write_text(figures.alone(picture, report.STYLE))
    with open(out.with_suffix(".csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(" ".join(f"{v:>14}" for v in row.values()))


if __name__ == "__main__":
    main()
