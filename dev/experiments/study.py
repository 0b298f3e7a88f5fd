"""What plots of studies share: sweeps over a size, and what a plot leaves."""

import csv
from pathlib import Path

from . import figures, report


def rows_by_size(sweep):
    """{rule: {size: {rate: rows of sweep.csv}}} of a sweep over learning rates, whose optimizers are RULE-SIZE."""
    found = {}
    with open(Path(sweep) / "sweep.csv", newline="") as file:
        for row in csv.DictReader(file):
            rule, size = row["optimizer"].rsplit("-", 1)
            rate = float(row["point"].removeprefix("lr="))
            found.setdefault(rule, {}).setdefault(int(size), {}).setdefault(rate, []).append(row)
    return found


def sources_of(sweep):
    """The commits of the programs that made a sweep's runs."""
    with open(Path(sweep) / "sweep.csv", newline="") as file:
        return {row["source"] for row in csv.DictReader(file) if row.get("source")}


def leave(figure, words, rows, path, *sweeps):
    """Writes the figure as an SVG of its own at path, and the rows, dictionaries, as CSV beside it, with the commits that made
    the sweeps; prints them."""
    path.write_text(figures.alone(figures.svg(figure, path.stem, words), report.STYLE))
    sources = sorted(set().union(*map(sources_of, sweeps)))
    with open(path.with_suffix(".csv"), "w", newline="") as file:
        if sources:
            file.write(f"# runs of train_gpt {', '.join(sources)}\n")
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in (rows[0].keys(), *(r.values() for r in rows)):
        print(" ".join(f"{v:>14}" for v in row))
