#!/usr/bin/env python3
"""Draws the final loss of every seed, and the means, from tables that dev/compare wrote: one panel a table.

    PYTHONPATH=dev python dev/studies/seeds.py FILE.svg TABLE.csv...
"""

import statistics
import sys
from pathlib import Path

from matplotlib import pyplot

from experiments import figures, report
from pages.page import losses_of, read


def rows_of(table):
    """[(label, [loss])], the least mean first; of a table with one budget."""
    found = [(r["label"], list(losses_of(r).values())) for r in read(table)]
    return sorted(found, key=lambda pair: statistics.fmean(pair[1]))


def main():
    out, tables = Path(sys.argv[1]), [rows_of(table) for table in sys.argv[2:]]
    most = max(map(len, tables))
    figure, panels = pyplot.subplots(1, len(tables), figsize=(4 + 3 * (len(tables) - 1), 1 + 0.32 * most), squeeze=False,
                                     layout="constrained")
    for axes, rows in zip(panels[0], tables):
        for y, (_, losses) in enumerate(rows):
            axes.plot(losses, [y] * len(losses), "o", color=figures.HUES[0], markersize=5, alpha=0.6)
            axes.plot([statistics.fmean(losses)], [y], "|", color=figures.INK, markersize=14)
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("final validation loss")
    out.write_text(figures.alone(figures.svg(figure, out.stem, "Final validation loss of every seed"), report.STYLE))


if __name__ == "__main__":
    main()
