#!/usr/bin/env python3
"""Draws the study of batches: steps to the loss, and tokens, against tokens a step.

    PYTHONPATH=dev python dev/studies/batch/plot.py runs/batch [FILE.svg]

Also writes FILE.csv: for each rule and batch the least number of steps, between the two validations around the loss by a
straight line, and the rate that needs them. Where the least is at an outermost rate, it says so. Through three batches or
more of a rule goes steps = least (1 + critical / batch) (McCandlish et al. 2018): at the critical batch a run needs twice the
least steps, and twice the least tokens.
"""

import math
import sys
from pathlib import Path

import numpy as np
import pandas
from matplotlib import pyplot
from scipy import optimize

from experiments import figures, inference, study

TARGET = 2.2


def steps_to_target(directory):
    """The step at which a run's validation loss reaches the target; None if it does not."""
    metrics = pandas.read_csv(directory / "metrics.csv")
    step = inference.crossing(metrics[metrics.val_loss.notna()], TARGET, "step")
    return None if math.isnan(step) else float(step)


def steps_of(sweep):
    """{rule: {tokens a step: {rate: steps or None}}} of a sweep whose optimizers are RULE-TOKENS."""
    return {rule: {batch: {rate: steps_to_target(Path(sweep) / rows[0]["directory"]) for rate, rows in rates.items()}
                   for batch, rates in batches.items()}
            for rule, batches in study.rows_by_size(sweep).items()}


def critical_batch(batches, steps):
    """The least steps and the critical batch, by least squares of the logarithm; None of fewer than three."""
    if len(batches) < 3:
        return None
    batches, steps = np.array(batches, float), np.array(steps)

    def misfit(p):
        return p[0] + np.log1p(np.exp(p[1]) / batches) - np.log(steps)

    return tuple(map(float, np.exp(optimize.least_squares(misfit, np.log([steps.min(), batches.mean()])).x)))


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
        if not mine:
            print(f"{rule} meets the loss nowhere")
            continue
        batches = [r["batch"] for r in mine]
        left.plot(batches, [float(r["steps"]) for r in mine], label=rule, **figures.look(i))
        law = critical_batch(batches, [float(r["steps"]) for r in mine])
        for r in mine:
            r |= {"least_steps": f"{law[0]:.4g}", "critical_batch": f"{law[1]:.4g}"} if law else {"least_steps": "", "critical_batch": ""}
        if law:
            x = np.geomspace(min(batches), max(batches), 50)
            left.plot(x, law[0] * (1 + law[1] / x), color=figures.look(i)["color"], linewidth=1, linestyle="--")
        right.plot(batches, [r["tokens"] for r in mine], label=rule, **figures.look(i))
    for axes, what in ((left, "steps"), (right, "bytes")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xlabel("bytes a step")
        axes.set_ylabel(f"{what} to {TARGET} nats a byte")
    left.legend()
    study.leave(figure, "Steps and bytes to a loss, against the batch", rows, out, sys.argv[1])


if __name__ == "__main__":
    main()
