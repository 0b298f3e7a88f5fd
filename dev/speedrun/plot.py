#!/usr/bin/env python3
"""Draws losses.

  plot.py RUN         training and validation loss of one run, as RUN/loss.png
  plot.py RUN RUN...  validation loss of several, by the names of their
                      directories, as loss.png in the directory they share
  plot.py DIR         a comparison made by speedrun.sh, as DIR/comparison.png:
                      one colour an optimizer, one thin line a seed and their
                      mean on top, against steps and against seconds

An .svg is written beside each .png.
"""

import argparse
import csv
import json
import os
import pathlib
import re
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ["#7a7a7a", "#c8102e", "#1f6fb4", "#2a8c4a", "#b06f00", "#6a3d9a"]


def read_csv(run):
    """The rows of a run's metrics.csv, without one that is still being written."""
    path = run / "metrics.csv"
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise SystemExit(f"plot.py: {path}: {error.strerror}") from None
    if rows and None in rows[-1].values():
        rows.pop()
    if not rows:
        raise SystemExit(f"plot.py: {path} has no rows yet")
    missing = {"step", "seconds", "train_loss", "val_loss"} - rows[0].keys()
    if missing:
        raise SystemExit(f"plot.py: {path} has no column {sorted(missing)[0]}")
    return rows


def read_record(run):
    """A run's run.json."""
    path = run / "run.json"
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise SystemExit(f"plot.py: {path}: {error.strerror}") from None
    except ValueError:
        raise SystemExit(f"plot.py: {path} is not JSON") from None


def curve_of(rows, column):
    """(steps, seconds, losses) of the rows that have a loss in this column."""
    rows = [row for row in rows if row[column]]
    return [[float(row[key]) for row in rows] for key in ("step", "seconds", column)]


def validations(run):
    curve = curve_of(read_csv(run), "val_loss")
    if not curve[2]:
        raise SystemExit(f"plot.py: {run} has no validation loss")
    return curve


def diverged(run):
    try:
        return (run / "ended").read_text().strip() == "3"
    except OSError:
        return False


def style(axes, label):
    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def draw_floor(axes, floor):
    axes.axhline(floor, color="black", linewidth=0.8, linestyle=":")
    axes.text(0.99, floor, " floor: the entropy of the text", ha="right", va="bottom", fontsize=8,
              transform=axes.get_yaxis_transform())


def save(figure, path):
    for ending in ("png", "svg"):
        try:
            figure.savefig(f"{path}.{ending}", dpi=110)
        except OSError as error:
            raise SystemExit(f"plot.py: {path}.{ending}: {error.strerror}") from None
        print(f"drew {path}.{ending}")


def sizes(record):
    return f"{record['parameters'] / 1e6:.2f}M parameters, {record['tokens_per_step']} tokens a step"


# --- one run, or several ---

def draw_run(run, path):
    rows, record = read_csv(run), read_record(run)
    training, validation = curve_of(rows, "train_loss"), curve_of(rows, "val_loss")
    if not training[2] and not validation[2]:
        raise SystemExit(f"plot.py: {run} has no loss yet")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    if training[2]:
        axes.plot(training[0], training[2], color=COLOURS[0], linewidth=0.9, label=f"training  {training[2][-1]:.3f}")
    if validation[2]:
        axes.plot(validation[0], validation[2], color=COLOURS[1], linewidth=1.8, marker="o", markersize=3,
                  label=f"validation  {validation[2][-1]:.3f}")
    style(axes, "steps")
    if record.get("floor") is not None:
        draw_floor(axes, record["floor"])
    axes.set_ylabel("loss, nats a token")
    axes.legend(frameon=False, title="last loss")
    figure.suptitle(f"{run.resolve().name}: {sizes(record)}", fontsize=10)
    save(figure, path)


def draw_runs(runs, path):
    curves = [validations(run) for run in runs]
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, column, label in zip(panels, (0, 1), ("steps", "seconds of training")):
        for i, (name, curve) in enumerate(zip(names, curves)):
            axes.plot(curve[column], curve[2], color=COLOURS[i % len(COLOURS)], linewidth=1.6,
                      linestyle=["-", "--", ":", "-."][i // len(COLOURS) % 4], label=f"{name}  {curve[2][-1]:.3f}")
        style(axes, label)
    panels[0].set_ylabel("validation loss, nats a token")
    panels[0].legend(frameon=False, title="last loss", fontsize=8)
    save(figure, path)


# --- a comparison ---

def mean_curve(curves):
    """Means over seeds of (x, loss), point by point up to the shortest."""
    return [[statistics.fmean(point) for point in zip(*axis)] for axis in zip(*curves)]


def draw(axes, runs, colours, column):
    for optimizer, curves in runs.items():
        for curve, _ in curves:
            axes.plot(curve[column], curve[2], color=colours[optimizer], alpha=0.25, linewidth=0.8)
        pairs = [(curve[column], curve[2]) for curve, ended in curves if ended]
        if not pairs:
            axes.plot([], [], color=colours[optimizer], alpha=0.25, label=f"{optimizer}  diverged")
            continue
        x, loss = mean_curve(pairs)
        lost = len(curves) - len(pairs)
        axes.plot(x, loss, color=colours[optimizer], linewidth=2,
                  label=f"{optimizer}  {loss[-1]:.3f}" + (f", {lost} of {len(curves)} diverged" if lost else ""))


def bounds(runs, floor):
    """Loss axis: from the floor (or the best) to a little above what all have reached a tenth of the way in."""
    every = [(curve[2], ended) for curves in runs.values() for curve, ended in curves]
    losses = [loss for loss, ended in every if ended] or [loss for loss, _ in every]
    best = min(min(loss) for loss in losses)
    top = max(loss[min(len(loss) - 1, max(1, len(loss) // 8))] for loss in losses)
    bottom = best if floor is None else floor
    room = 0.05 * (top - bottom) or 0.05
    return bottom - room, top + room


def draw_comparison(directory, optimizers, seeds, path):
    runs = {}
    for name in optimizers:
        places = [directory / f"{name}-seed{seed}" for seed in seeds]
        runs[name] = [(validations(run), not diverged(run)) for run in places]
    record = read_record(directory / f"{optimizers[0]}-seed{seeds[0]}")
    floor = record.get("floor")
    colours = dict(zip(optimizers, COLOURS * (1 + len(optimizers) // len(COLOURS))))

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, column, label in zip(panels, (0, 1), ("steps", "seconds of training")):
        draw(axes, runs, colours, column)
        style(axes, label)
        if floor is not None:
            draw_floor(axes, floor)
    panels[0].set_ylim(bounds(runs, floor))
    panels[0].set_ylabel("validation loss, nats a token")
    panels[0].legend(frameon=False, title=f"mean of {len(seeds)} seed{'s' if len(seeds) > 1 else ''}, final loss")
    figure.suptitle(sizes(record), fontsize=10)
    save(figure, path)


def of_comparison(directory):
    """Optimizers and seeds of a comparison, from the names of its runs."""
    names = [re.fullmatch(r"(.+)-seed(\d+)", run.parent.name) for run in directory.glob("*/metrics.csv")]
    names = [match.groups() for match in names if match]
    return sorted({name for name, _ in names}), sorted({seed for _, seed in names}, key=int)


def shared_parent(runs):
    return pathlib.Path(os.path.commonpath([run.absolute().parent for run in runs]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dirs", nargs="+", type=pathlib.Path, metavar="DIR", help="a run, or a comparison")
    parser.add_argument("--optimizers", nargs="+", help="of a comparison, the baseline first [all]")
    parser.add_argument("--seeds", nargs="+", help="of a comparison [all]")
    parser.add_argument("--name", help="file name without ending [loss, or comparison]")
    o = parser.parse_args()
    first = o.dirs[0]
    for directory in o.dirs:
        if not directory.is_dir():
            raise SystemExit(f"plot.py: {directory} is not a directory")
    if len(o.dirs) > 1:
        draw_runs(o.dirs, os.path.relpath(shared_parent(o.dirs) / (o.name or "loss")))
    elif (first / "metrics.csv").exists():
        draw_run(first, first / (o.name or "loss"))
    else:
        optimizers, seeds = of_comparison(first)
        if not (o.optimizers or optimizers) or not (o.seeds or seeds):
            raise SystemExit(f"plot.py: {first} is no run, for it has no metrics.csv, and no comparison, for it has no "
                             "NAME-seedN/metrics.csv")
        draw_comparison(first, o.optimizers or optimizers, o.seeds or seeds, first / (o.name or "comparison"))


if __name__ == "__main__":
    main()
