#!/usr/bin/env python3
"""Draws the study of widths, or of depths: final loss against learning rate, a panel a rule and a line a size.

    PYTHONPATH=dev python dev/studies/width/plot.py runs/width runs/width-adamw runs/width-wide width.svg C
    PYTHONPATH=dev python dev/studies/width/plot.py runs/width-depth runs/width-adamw-depth depth.svg L

Also prints, and writes as CSV beside the picture, the best rate of each rule and size, where a parabola through the three
losses around the least has its own, and the slope of its logarithm over the size's: 0 where the best rate stays put, -1 where it falls
as 1/size. Losses that rise past the panel are above it; of runs that diverged there is none.
"""

import math
import sys
from pathlib import Path

import numpy
from matplotlib import pyplot
from matplotlib.ticker import NullLocator

from experiments import figures, study


def losses_of(sweep):
    """{rule: {size: {rate: mean loss}}} of a sweep whose optimizers are RULE-SIZE."""
    def mean(rows):
        return sum(float(row["val_loss"] or "inf") for row in rows) / len(rows)

    return {rule: {size: {rate: mean(rates[rate]) for rate in sorted(rates)} for size, rates in sorted(sizes.items())}
            for rule, sizes in study.rows_by_size(sweep).items()}


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
    *sweeps, out, letter = sys.argv[1:]
    found = {}
    for sweep in sweeps:
        for rule, sizes in losses_of(sweep).items():
            found.setdefault(rule, {}).update(sizes)
    across = min(3, len(found))
    figure, panels = pyplot.subplots(-(-len(found) // across), across, figsize=(3 * across, 0.6 + 2.7 * -(-len(found) // across)),
                                     squeeze=False, layout="constrained")
    rows = []
    for axes, (rule, sizes) in zip(panels.flat, found.items()):
        for i, (size, losses) in enumerate(sizes.items()):
            axes.plot(losses.keys(), losses.values(), label=f"{letter} = {size}", **figures.look(i))
        best = {size: best_rate(losses) for size, losses in sizes.items()}
        slope = numpy.polyfit(numpy.log2(list(best)), numpy.log2(list(best.values())), 1)[0] if len(best) > 1 else math.nan
        for size, losses in sizes.items():
            rows.append({"rule": rule, "size": size, "best_rate": f"{best[size]:.4g}", "least_loss": f"{min(losses.values()):.4f}",
                         "slope": f"{slope:+.2f}"})
        least = [min(losses.values()) for losses in sizes.values() if math.isfinite(min(losses.values()))] or [0]
        axes.set_ylim(min(least) - 0.1, max(least) + 0.6)
        axes.set_xscale("log")
        rates = sorted({rate for losses in sizes.values() for rate in losses})[::2]
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(f"{rule}: best rate ~ {letter}$^{{{slope:+.2f}}}$")
        axes.set_xlabel("learning rate")
    for axes in panels.flat[len(found):]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("final validation loss")
    handles = {label: handle for axes in panels.flat for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles))
    study.leave(figure, "Final validation loss against learning rate, for several sizes", rows, Path(out), *sweeps)


if __name__ == "__main__":
    main()
