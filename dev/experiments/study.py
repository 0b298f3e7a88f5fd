"""What a study's plot leaves."""

import csv

from . import figures, report


def leave(figure, words, rows, path):
    """Writes the figure as an SVG of its own at path, and the rows, dictionaries, as CSV beside it; prints them."""
    path.write_text(figures.alone(figures.svg(figure, path.stem, words), report.STYLE))
    with open(path.with_suffix(".csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in (rows[0].keys(), *(r.values() for r in rows)):
        print(" ".join(f"{v:>14}" for v in row))
