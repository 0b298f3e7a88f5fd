"""The report of a comparison: one HTML file that needs nothing else."""

import json
import math
import shlex
from pathlib import Path

import jinja2
import markupsafe

from . import figures
from .compare import CLOCKS, interval
from .runs import differing

OWN = ("--seed", "--out", "--loss-tables")
HERE = Path(__file__).parent
STYLE = (HERE / "colours.css").read_text()


def slices_of(searches):
    """{knob: {optimizer: [(value, loss)]}}: the points of the searches at the first size that differ from the best in one
    knob alone."""
    slices = {}
    first = {row["size"] for row in searches[:1]}
    rows = [r for r in searches if r["size"] in first and r["status"] != "paused"]
    for optimizer in dict.fromkeys(r["optimizer"] for r in rows):
        losses = {}
        for r in rows:
            if r["optimizer"] == optimizer:
                point = tuple(sorted(tuple(p.split("=", 1)) for p in r["point"].split(",")) if "=" in r["point"] else ())
                losses.setdefault(point, []).append(float(r["val_loss"]) if r["val_loss"] else math.inf)
        means = {p: sum(v) / len(v) for p, v in losses.items()}
        if not means:
            continue
        best = min(means, key=means.get)
        for knob, _ in best:
            here = [(number(dict(p)[knob]), loss) for p, loss in means.items()
                    if math.isfinite(loss) and {k: v for k, v in p if k != knob} == {k: v for k, v in best if k != knob}]
            if len(here) > 1:
                slices.setdefault(knob, {})[optimizer] = sorted(here, key=lambda x: (isinstance(x[0], str), x))
    return slices


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def reports_of(comparison):
    """{label: rows of diagnose.jsonl} of the first run of each that has them."""
    found = {}
    for run in comparison.runs:
        file = run.path / "diagnose.jsonl"
        if run.label not in found and run.steps == comparison.main_steps and file.exists():
            found[run.label] = [json.loads(line) for line in file.read_text().splitlines()]
    return found


def shares(comparison):
    """The median seconds of a step, and the optimizer's share of it, of each entry at the main budget."""
    rows = []
    for label in comparison.labels:
        metrics = [r.metrics.iloc[2:] for r in comparison.of(label, comparison.main_steps)]
        steps = [m for m in metrics if len(m)]
        if steps:
            own = sum(m.optimizer_ms.median() for m in steps) / len(steps)
            rest = sum((m.forward_ms + m.backward_ms).median() for m in steps) / len(steps)
            rows.append((label, own + rest, own))
    return rows


def identities(comparison):
    """What made the runs: [(what, [values])]."""
    keys = ("source", "program", "compiler", "device", "dtype", "machine")
    rows = [(key, list(dict.fromkeys(str(r.record.get(key, "not said")) for r in comparison.runs))) for key in keys]
    data = dict.fromkeys(f"{part}: {f['name']}, {f['tokens']:,} tokens, XXH64 {f['hash']} (above 4 MiB of 64 of its blocks)"
                         for r in comparison.runs for part, files in r.record.get("data", {}).items() for f in files)
    return rows + [("data", list(data))]


def commands(comparison):
    """A command for each entry and budget; only --seed and --out differ between its runs, and where they leave tables. None
    where the program was older, and did not record it."""
    for label in comparison.labels:
        for steps in sorted({r.steps for r in comparison.runs if r.label == label}):
            group = comparison.of(label, steps)
            words = group[0].record.get("command")
            command = None
            if words is not None:
                words = [w if isinstance(w, str) else bytes.fromhex(w["hex"]).decode(errors="replace") for w in words]
                command = shlex.join(["./train_gpt", *(w for w in words if w.split("=")[0] not in OWN)])
            yield label, steps, [r.seed for r in group], command


class Report:
    """What the page shows of a comparison."""

    def __init__(self, comparison):
        self.comparison = comparison
        self.series = {label: i for i, label in enumerate(comparison.labels)}
        groups = [(i, comparison.of(label, comparison.main_steps)) for label, i in self.series.items()]
        self.groups = [(i, group) for i, group in groups if any(not r.diverged for r in group)]
        self.by_budget = {}
        for row in comparison.rows:
            if row.losses:
                self.by_budget.setdefault(row.label, (self.series[row.label], {}))[1][row.tokens] = row.losses

    def pictures(self, labels=()):
        """{what: [an <svg>]}; with labels their legends are within them."""
        c = self.comparison
        slices = {knob: [(self.series[name], points) for name, points in found.items() if name in self.series]
                  for knob, found in slices_of(c.searches).items()}
        several = any(len(budgets) > 1 for _, budgets in self.by_budget.values())
        multiples = {(r.label, r.tokens): r.multiple.value for r in c.rows if r.multiple}
        return {"curves": figures.curves(self.groups, labels),
                "budgets": [figures.budgets(self.by_budget, c.baseline, c.law, multiples, labels)] if several else [],
                "sensitivity": figures.sensitivity(slices),
                "spectra": figures.spectra([(self.series[label], rows) for label, rows in reports_of(c).items()])}

    def write(self, path, title, command, notes):
        """The page."""
        c = self.comparison
        firsts = [group[0] for _, group in self.groups]
        settings = [(name, [r.settings.get(name, "") for r in firsts]) for name in differing(firsts)]
        page = template().render(
            c=c, title=title, command=command, notes=notes, sentences=list(c.sentences()), pictures=self.pictures(),
            legend=[(label, i % figures.SERIES + 1, figures.SIGNS[figures.mark(i)]) for label, i in self.series.items()],
            firsts=firsts, settings=settings, identities=identities(c), commands=list(commands(c)), shares=shares(c),
            main_tokens=next(r.tokens for r in c.rows if r.steps == c.main_steps), style=STYLE)
        path.write_text(page)

    def write_pictures(self, folder):
        """The curves and budgets as files, each with a legend."""
        pictures = self.pictures(self.comparison.labels)
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in zip(("steps", "tokens", "flops", "seconds"), pictures["curves"]):
            (folder / f"{name}.svg").write_text(figures.alone(picture, STYLE))
        for picture in pictures["budgets"]:
            (folder / "budgets.svg").write_text(figures.alone(picture, STYLE))


def template():
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.globals.update(interval=interval, clocks=list(CLOCKS), isfinite=math.isfinite, safe=markupsafe.Markup)
    return environment.get_template("report.html")
