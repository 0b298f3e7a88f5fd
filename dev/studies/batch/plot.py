#!/usr/bin/env python3
"""Draws the study of batches: steps to the loss, and tokens, against tokens a step.

    PYTHONPATH=dev python dev/studies/batch/plot.py runs/batch [FILE.svg]

Also writes FILE.csv: for each rule and batch the least number of steps, between the two validations around the loss by a
straight line, and the rate that needs them. Where the least is at an outermost rate, it says so.
"""

import csv
import sys
from pathlib import Path

from matplotlib import pyplot

from experiments import figures, study
from experiments.pool import rows_of

TARGET = 2.2


def crossing(directory):
    """The step at which a run's validation loss reaches the target; None if it does not."""
    before = None
    for row in rows_of(directory):
        if not row["val_loss"]:
            continue
        step, loss = int(row["step"]), float(row["val_loss"])
        if loss <= TARGET:
            if before is None:
                return step
            last, at = before
            return last + (step - last) * (at - TARGET) / (at - loss)
        before = step, loss
    return None


def steps_of(sweep):
    """{rule: {tokens a step: {rate: steps or None}}} of a sweep whose optimizers are RULE-TOKENS."""
    found = {}
    with open(Path(sweep) / "sweep.csv", newline="") as file:
        for row in csv.DictReader(file):
            rule, batch = row["optimizer"].rsplit("-", 1)
            rate = float(row["point"].removeprefix("lr="))
            found.setdefault(rule, {}).setdefault(int(batch), {})[rate] = crossing(Path(sweep) / row["directory"])
    return found


def main():
    found = steps_of(sys.argv[1])
    out = Path(sys.argv[2] if len(sys.argv) > 2 else "batch.svg")
    rows = []
    for rule, batches in found.items():
        for batch, steps in sorted(batches.items()):
            known = {rate: n for rate, n in steps.items() if n is not None}
            if not known:
                continue
            rate = min(known, key=known.get)
            edge = {min(steps): "lower", max(steps): "upper"}.get(rate, "")
            rows.append({"rule": rule, "batch": batch, "rate": f"{rate:g}", "steps": f"{known[rate]:.1f}",
                         "tokens": round(known[rate] * batch), "edge": edge})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for i, rule in enumerate(found):
        mine = [r for r in rows if r["rule"] == rule]
        batches = [r["batch"] for r in mine]
        left.plot(batches, [float(r["steps"]) for r in mine], label=rule, **figures.look(i))
        right.plot(batches, [r["tokens"] for r in mine], label=rule, **figures.look(i))
    for axes, what in ((left, "steps"), (right, "bytes")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xlabel("bytes a step")
        axes.set_ylabel(f"{what} to {TARGET} nats a byte")
    left.legend()
    study.leave(figure, "Steps and bytes to a loss, against the batch", rows, out)


if __name__ == "__main__":
    main()
