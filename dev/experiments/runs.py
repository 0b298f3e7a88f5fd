"""Runs on disk, as comparisons read them."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import pandas

from .pool import DIVERGED

NO_SETTING = {"out", "seed", "steps", "threads", "device", "resume", "keep", "checkpoint-every", "checkpoint-minutes", "diagnose",
              "tensorboard", "val-every", "comm-timeout", "sample-tokens", "prompt", "temperature", "top-k", "same-bits",
              "recompute", "eval", "eval-every", "loss-tables", "train", "val", "text"}  # options that do not name what is compared


class RunError(Exception):
    """Runs that cannot be compared; its text is for the user."""


@dataclass
class Run:
    path: Path
    record: dict            # run.json
    metrics: pandas.DataFrame
    diverged: bool
    label: str = ""

    @property
    def settings(self):
        """What distinguishes it from runs of other labels: its options, and those of its groups that are derived."""
        chosen = {k: v for k, v in self.record["options"].items() if k not in NO_SETTING}
        for group in self.record["groups"]:
            chosen |= {f"{group['name']}.{k}": v for k, v in group.items() if k != "name"}
        return chosen

    @property
    def seed(self):
        return int(self.record["options"]["seed"])

    @property
    def steps(self):
        """That it was made for."""
        return int(self.record["options"]["steps"])

    @property
    def tokens(self):
        """Of all its steps; of one that diverged, had its batch not grown."""
        return self.steps * self.record["tokens_per_step"] if self.diverged else int(self.metrics.tokens.iloc[-1])

    @property
    def curve(self):
        """Its validations: step, tokens, seconds, model_seconds (without the optimizer's), flops (of forward and backward
        passes and of updates' products; NaN where an older program's record lacks them), val_loss."""
        m, of = self.metrics, self.record.get
        own = m.optimizer_ms.fillna(0).cumsum() / 1000
        every = m.assign(model_seconds=m.seconds - own,
                         flops=m.tokens * of("flops_per_token", math.nan) * of("passes_per_step", math.nan)
                         + m.step * of("update_flops", math.nan))
        return every[every.val_loss.notna()][["step", "tokens", "seconds", "model_seconds", "flops", "val_loss"]]

    @property
    def loss(self):
        """The final validation loss; infinite if it diverged."""
        return math.inf if self.diverged else float(self.curve.val_loss.iloc[-1])


def read(path):
    """The Run in a directory; RunError where it is none, or is not done."""
    path = Path(path)
    try:
        record = json.loads((path / "run.json").read_text())
        metrics = pandas.read_csv(path / "metrics.csv")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is no directory of a run: {error}") from error
    ended = path / "ended"
    diverged = ended.exists() and ended.read_text().strip() == str(DIVERGED)
    run = Run(path, record, metrics, diverged)
    if not diverged:
        last = int(metrics.step.iloc[-1]) if len(metrics) else 0
        if last < run.steps:
            raise RunError(f"{path} is not done: step {last} of {run.steps}")
        if not len(run.curve) or int(run.curve.step.iloc[-1]) != last:
            raise RunError(f"{path} has no validation loss at its end")
    return run


def read_all(paths):
    """The runs in directories of runs, and the final runs of sweeps, labelled. Also returns the searches of the sweeps, a
    row per run of sweep.csv."""
    found, searches = [], []
    for path in map(Path, paths):
        table = path / "sweep.csv"
        if not table.exists():
            found.append(read(path))
            continue
        with open(table, newline="") as file:
            rows = list(csv.DictReader(file))
        searches += [row for row in rows if row["stage"] == "search"]
        for row in rows:
            if row["stage"] == "final":
                run = read(path / row["directory"])
                run.label = row["optimizer"]
                found.append(run)
    if not found:
        raise RunError("there is no finished run to compare")
    label(found)
    return found, searches


def label(runs):
    """Names those that have no name yet by their optimizer and, where that is not enough, by the options that differ."""
    unnamed = [r for r in runs if not r.label]
    for optimizer in {r.record["options"]["optimizer"] for r in unnamed}:
        same = [r for r in unnamed if r.record["options"]["optimizer"] == optimizer]
        varying = differing(same)
        varying = [k for k in varying if "." not in k] or varying
        for r in same:
            more = ",".join(f"{k}={r.settings[k]}" for k in varying if k in r.settings)
            r.label = f"{optimizer} {more}" if more else optimizer


def differing(runs):
    """The settings in which runs differ, in order."""
    names = dict.fromkeys(name for r in runs for name in r.settings)
    return [n for n in names if len({r.settings.get(n) for r in runs}) > 1]


def refuse_unequal(runs):
    """RunError where runs differ in what a comparison must hold fixed: data, model, tokens per step, validation."""
    first = runs[0]
    for run in runs[1:]:
        for what, of in (("data", lambda r: r.record.get("data")), ("model", lambda r: r.record["model"]),
                         ("tokens per step", lambda r: r.record["tokens_per_step"]),
                         ("precision", lambda r: r.record["dtype"]),
                         ("validation tokens", lambda r: r.record["options"]["val-tokens"])):
            a, b = of(first), of(run)
            if a != b:
                raise RunError(f"{first.path} and {run.path} differ in {what}: {difference(a, b)}; --force compares them")
    for run in runs:
        if "data" not in run.record:
            raise RunError(f"{run.path} does not say what data it was trained on (an older program's); --force compares it")


def difference(a, b, at=""):
    """The first place where two records part, in words."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            if a.get(key) != b.get(key):
                return difference(a.get(key), b.get(key), f"{at}{key} ")
    if isinstance(a, list) and isinstance(b, list):
        for i, (x, y) in enumerate(zip(a, b)):
            if x != y:
                return difference(x, y, f"{at}{i + 1} ")
        return f"{at}{len(a)} and {len(b)} of them"
    return f"{at}{a} and {b}"


def refuse_other_budgets(runs, baseline):
    """RunError where a label has a size that the baseline has not."""
    sizes = {r.steps for r in runs if r.label == baseline}
    for run in runs:
        if run.steps not in sizes:
            raise RunError(f"{run.path} ran {run.steps} steps, and no run of {baseline} did; --force compares them")
