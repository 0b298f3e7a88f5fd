"""dev/compare: whether one optimizer beats another, from finished runs with several seeds."""

import argparse
import csv
import math
import shlex
import signal
import statistics
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from . import inference, runs
from .runs import RunError

HELP = """
RUNS are directories of runs of ./train_gpt, or of dev/sweep, whose final runs count. Runs with the same options but seed and
steps are one entry; the seeds of an entry are paired with the baseline's. Runs that differ in data, model, tokens per step
or precision are refused.

Where the baseline was run with three budgets (--steps) or more, each with a schedule of its own, the law
L = E + A D^-a through its mean losses, weighted by how well each is known, tells how many times the data it needs for
another's loss: the data multiple.

Prints a table, and writes a report that stands alone (--out) and its numbers (the same name with .csv).
"""

CLOCKS = {"steps": lambda curve: curve.step, "FLOPs": lambda curve: curve.flops, "seconds": lambda curve: curve.seconds,
          "seconds without the optimizer": lambda curve: curve.model_seconds}
BUSY = 1.25  # passes that take so many times as long as others of the same model were made beside something else


@dataclass
class Row:
    """One entry at one budget."""

    label: str
    steps: int
    tokens: int
    losses: dict     # seed -> final loss, of those that did not diverge
    diverged: int
    mean: inference.Estimate
    difference: inference.Estimate = None  # to the baseline
    p: float = math.nan                    # of it, after Holm
    multiple: inference.Estimate = None    # of data
    is_beyond: bool = False                # whether that leaves the budgets the baseline was run with
    speedups: dict = None                  # by each of CLOCKS: an Estimate
    met: tuple = None                      # how many seeds, of how many, met the loss that these are of

    @property
    def verdict(self):
        """Of a difference that was tested."""
        if self.p >= 1 - inference.LEVEL:
            return "no difference found"
        return "lower" if self.difference.value < 0 else "higher"


@dataclass
class Comparison:
    runs: list
    baseline: str
    rows: list
    law: inference.Law
    searches: list

    @property
    def labels(self):
        return list(dict.fromkeys(r.label for r in self.rows))

    def of(self, label, steps):
        return [r for r in self.runs if r.label == label and r.steps == steps]

    @property
    def main_steps(self):
        """The budget that most entries have; the largest of several."""
        counts = {}
        for row in self.rows:
            counts[row.steps] = counts.get(row.steps, 0) + 1
        return max(counts, key=lambda s: (counts[s], s))

    def slowest(self):
        """How many times as long a token's forward and backward passes, the same for all rules, took in the median run of one
        entry and budget as in that of another."""
        pace = {}
        for run in self.runs:
            if not run.diverged:
                end = run.curve.iloc[-1]
                pace.setdefault((run.label, run.steps), []).append(end.model_seconds / end.tokens)
        medians = [statistics.median(found) for found in pace.values()]
        return max(medians) / min(medians) if medians and min(medians) > 0 else 1

    def sentences(self):
        """What was found, in words, for each entry at its largest budget."""
        largest = {r.label: r for r in self.rows if r.label != self.baseline and r.difference is not None}
        for row in largest.values():
            d, at = row.difference, f"after {row.tokens:,} tokens"
            if not d.is_bounded:
                yield f"{row.label} and {self.baseline} have one seed in common {at}: nothing can be said"
                continue
            gap = f"{abs(d.value):.4f} (95% interval of the difference {d.low:+.4f} to {d.high:+.4f}, {d.n} paired seeds)"
            if row.verdict == "no difference found":
                text = f"between {row.label} and {self.baseline} no difference was found {at}: {gap}"
            else:
                text = f"{row.label} ends {row.verdict} than {self.baseline} {at}, by {gap}"
            m = row.multiple
            if m is not None and math.isfinite(m.value):
                text += f"; {self.baseline} would need {m.value:.2f} times the data"
                text += f" ({m.low:.2f} to {m.high:.2f})" if m.is_bounded else ""
                text += ", beyond the budgets that were run" if row.is_beyond else ""
            lost = [f"{r.diverged} of {r.diverged + len(r.losses)} of {r.label}'s" for r in self.rows
                    if r.diverged and r.steps == row.steps and r.label in (row.label, self.baseline)]
            yield text + (f"; this says nothing of runs that diverged, {' and '.join(lost)}" if lost else "")
        programs = {r.record.get("program") for r in self.runs}
        if len(programs) > 1:
            yield f"the runs were made by {len(programs)} programs: what differs between these is taken for the optimizers'"
        if (slowest := self.slowest()) > BUSY:
            yield (f"seconds say little here: forward and backward passes of a token took {slowest:.1f} times as long in some "
                   "runs as in others, by their options or since the machine was busy")


def compare(found, searches, baseline):
    labels = list(dict.fromkeys(r.label for r in found))
    if baseline is None:
        baseline = "adamw" if "adamw" in labels else labels[0]
    if baseline not in labels:
        raise RunError(f"--baseline {baseline}: there are {', '.join(labels)}")
    labels = [baseline, *(label for label in labels if label != baseline)]
    rows = []
    for label in labels:
        for steps in sorted({r.steps for r in found if r.label == label}):
            group = [r for r in found if r.label == label and r.steps == steps]
            losses = {}
            for r in group:
                if r.seed in losses:
                    raise RunError(f"{r.path}: a second run of {label} with seed {r.seed} and {steps} steps")
                losses[r.seed] = r.loss
            ended = {s: loss for s, loss in losses.items() if math.isfinite(loss)}
            mean = inference.mean(list(ended.values())) if ended else None
            rows.append(Row(label, steps, group[0].tokens, ended, len(losses) - len(ended), mean))
    base = {r.tokens: r.losses for r in rows if r.label == baseline and r.losses}
    law = inference.law_of(base)
    result = Comparison(found, baseline, rows, law, searches)
    tested = []
    for row in rows:
        if row.label == baseline or not row.losses:
            continue
        if row.tokens in base:
            row.difference = inference.paired(row.losses, base[row.tokens])
            row.speedups = speedups(result, row)
        if row.difference is not None and row.difference.is_bounded:
            tested.append(row)
        if law:
            row.multiple = inference.data_multiple(base, row.losses, row.tokens)
            if row.multiple is not None:
                row.is_beyond = not min(base) <= row.multiple.value * row.tokens <= max(base)
    for row, p in zip(tested, inference.holm([r.difference.p for r in tested])):
        row.p = p
    return result


def speedups(c, row):
    """How many times faster the entry meets the baseline's mean final loss at the same budget, by several clocks."""
    ours = {r.seed: r.curve for r in c.of(row.label, row.steps) if not r.diverged}
    theirs = {r.seed: r.curve for r in c.of(c.baseline, row.steps) if not r.diverged}
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    target = sum(theirs[s].val_loss.iloc[-1] for s in seeds) / len(seeds)
    result = {}
    for name, clock in CLOCKS.items():
        needed = [inference.crossing(ours[s].assign(clock=clock), target, "clock") for s in seeds]
        whole = [float(clock(theirs[s]).iloc[-1]) for s in seeds]
        if all(map(math.isfinite, needed)) and min(needed) > 0:
            result[name] = inference.ratio(whole, needed)
    row.met = sum(map(math.isfinite, needed)), len(seeds)  # whoever meets it does so by every clock
    return result


def interval(e, digits, sign=""):
    """1.23 (1.20 to 1.26) of an Estimate; - of none."""
    if e is None or not math.isfinite(e.value):
        return "-"
    text = f"{e.value:{sign}.{digits}f}"
    return f"{text} ({e.low:{sign}.{digits}f} to {e.high:{sign}.{digits}f})" if e.is_bounded else text


def print_table(c):
    width = max(12, *(len(label) for label in c.labels))
    print(f"{'':{width}} {'steps':>6} {'n':>2} {'val loss':>8} {'+-':>7} {'difference, 95%':>26} {'p, Holm':>7}  data multiple")
    for r in c.rows:
        half = f"{r.mean.high - r.mean.value:.4f}" if r.mean and r.mean.is_bounded else "-"
        difference = interval(r.difference, 4, "+").replace("(", "").replace(")", "").replace(" to ", " ")
        p = f"{r.p:.1e}" if math.isfinite(r.p) else "-"
        print(f"{r.label:{width}} {r.steps:>6} {len(r.losses):>2} {r.mean.value if r.mean else math.nan:>8.4f} {half:>7} "
              f"{difference:>26} {p:>7}  {interval(r.multiple, 2)}{' *' if r.is_beyond else ''}")
        if r.diverged:
            print(f"{'':{width}} {r.diverged} of {r.diverged + len(r.losses)} seeds diverged, and count nowhere")
    if c.law:
        print(f"law of {c.baseline}: L = {c.law.E:.3f} + {c.law.A:.3f} (D / {c.law.unit:.3g})^-{c.law.a:.2f}, D in tokens")
    if any(r.is_beyond for r in c.rows):
        print("* by the law beyond the budgets that the baseline was run with")
    print()
    for sentence in c.sentences():
        print(textwrap.fill(f"{sentence}.", 80))


def print_track3(c, target):
    print(f"\ntrack 3: (mean margin below {target:g}) x sqrt(n) wants 0.004; pairwise against {c.baseline} too")
    for r in c.rows:
        losses = list(r.losses.values())
        if not losses:
            continue
        margin = inference.track3_margin(losses, target)
        text = f"{r.label} at {r.steps}: {margin:+.4f}, {'met' if margin >= 0.004 else 'not met'}"
        for b in c.rows:
            if b.label == c.baseline != r.label and b.losses:
                pair = inference.track3_pairwise(losses, r.steps, list(b.losses.values()), b.steps)
                text += f"; to {b.steps} steps {pair:+.4f}"
        print(text)


def write_numbers(c, path):
    names = ["label", "steps", "tokens", "seeds", "diverged", "mean", "mean_low", "mean_high", "difference", "difference_low",
             "difference_high", "p_holm", "data_multiple", "data_multiple_low", "data_multiple_high", "beyond"]
    names += [f"speedup {clock}{end}" for clock in CLOCKS for end in ("", " low", " high")]
    names += ["law E", "law A", "law unit", "law a", "source"]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names + ["losses"])
        for r in c.rows:
            cells = [r.label, r.steps, r.tokens, len(r.losses), r.diverged]
            for e in (r.mean, r.difference):
                cells += [f"{x:.6f}" if math.isfinite(x) else "" for x in (e.value, e.low, e.high)] if e else [""] * 3
            cells += [f"{r.p:.4g}" if math.isfinite(r.p) else ""]
            m = r.multiple
            cells += [f"{x:.4f}" if math.isfinite(x) else "" for x in (m.value, m.low, m.high)] if m else [""] * 3
            cells += [int(r.is_beyond) if m else ""]
            for clock in CLOCKS:
                e = (r.speedups or {}).get(clock)
                cells += [f"{x:.4f}" if math.isfinite(x) else "" for x in (e.value, e.low, e.high)] if e else [""] * 3
            law = c.law if r.label == c.baseline else None
            cells += [f"{x:.6g}" for x in (law.E, law.A, law.unit, law.a)] if law else [""] * 4
            cells += [" ".join(sorted({run.record["source"] for run in c.of(r.label, r.steps)}))]
            writer.writerow(cells + [" ".join(f"{s}:{loss:.6f}" for s, loss in sorted(r.losses.items()))])


def parsed(words):
    p = argparse.ArgumentParser(prog="dev/compare", description=__doc__, epilog=HELP,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("runs", nargs="+", metavar="RUNS")
    p.add_argument("--baseline", metavar="NAME", help="what the others are compared with [adamw, or the first]")
    p.add_argument("--out", metavar="FILE", help="the report [compare.html in the first of RUNS, or beside it]")
    p.add_argument("--pictures", metavar="DIR", type=Path, help="also writes the curves and budgets there, as SVG files")
    p.add_argument("--title", default="Which optimizer trains it best?")
    p.add_argument("--force", action="store_true", help="compares runs that differ in data, model or budget, and says in what")
    p.add_argument("--track3", type=float, metavar="LOSS", nargs="?", const=3.28,
                   help="also prints the rules of modded-nanogpt's optimizer benchmark [3.28]")
    a = p.parse_args(words)
    first = Path(a.runs[0])
    a.out = Path(a.out) if a.out else (first if (first / "sweep.csv").exists() else first.parent) / "compare.html"
    return a


def main(words=None):
    words = sys.argv[1:] if words is None else words
    arguments = parsed(words)
    notes = []
    try:
        found, searches = runs.read_all(arguments.runs)
        forced(lambda: runs.refuse_unequal(found), arguments.force, notes)
        comparison = compare(found, searches, arguments.baseline)
        forced(lambda: runs.refuse_other_budgets(found, comparison.baseline), arguments.force, notes)
    except (RunError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    from . import report  # matplotlib takes a second
    write_numbers(comparison, arguments.out.with_suffix(".csv"))
    made = report.Report(comparison)
    made.write(arguments.out, arguments.title, shlex.join(["dev/compare", *words]), notes)
    if arguments.pictures:
        made.write_pictures(arguments.pictures)
    print_table(comparison)  # after the files: where its reader ends, so does the program
    if arguments.track3:
        print_track3(comparison, arguments.track3)
    for note in notes:
        print(f"forced: {note}")
    print(f"\nreport: {arguments.out}")
    return 0


def forced(check, force, notes):
    """Raises what a check says, or with `force` only notes it."""
    try:
        check()
    except RunError as error:
        if not force:
            raise
        notes.append(str(error).removesuffix("; --force compares them").removesuffix("; --force compares it"))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly where `| head` ends
    sys.exit(main())
