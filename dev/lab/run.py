#!/usr/bin/env python3
"""Makes the tables in dev/lab/results, and the figures if there is matplotlib: the experiments of README.md beside this
file. Every table begins with the commit and the command that made it."""

import argparse
import copy
import csv
import io
import itertools
import math
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from experiments import space  # noqa: E402
from experiments.search import Search  # noqa: E402
from experiments.space import label_of  # noqa: E402

SEEDS = range(1, 7)
# Steps of a size of their own: the polar factor of the gradient, that of five Newton-Schulz iterations, signs.
PLAIN = {"muon-scale": "none"}
RULES = {
    "spectral": {"rule": "spectral", "ns": "exact"} | PLAIN,
    "spectral-jordan": {"rule": "spectral", "ns": "jordan"} | PLAIN,
    "muon": {"rule": "muon"} | PLAIN,
    "adamw": {"rule": "adamw"},
    "sgd": {"rule": "sgd", "momentum": 0},
    "nuclear": {"rule": "spectral", "ns": "exact", "muon-scale": "nuclear"},
    "shampoo": {"rule": "shampoo", "graft": "none", "refresh": 1, "eps": 0, "beta1": 0},
}
RULES = {name: rule | {"weight-decay": 0} for name, rule in RULES.items()}
PROGRAMS = {"rule", "lr", "schedule", "batch", "steps", "seed", "inputs", "condition", "log-every", "spectra-every"}
CONDITIONS, BATCHES = (100, 1000, 10000), (4096, 256, 32)


@dataclass
class Run:
    known: dict    # of the problem: floor, condition, curvatures
    rows: list     # of the CSV, as dictionaries of numbers
    diverged: bool

    def over_floor(self, row=-1):
        """The excess loss in units of the least loss; infinite where the run diverged."""
        return math.inf if self.diverged else self.rows[row]["excess"] / self.known["floor"]


class Lab:
    def __init__(self, program, out, jobs, commit, command):
        self.program, self.out, self.pool = program, out, ThreadPoolExecutor(jobs)
        self.commit, self.command = commit, command

    def run(self, settings):
        """One run of the program; one that diverges is a result too."""
        words = []
        for name, value in settings.items():
            words += [f"--{name}", space.text_of(value)] if name in PROGRAMS else ["--set", f"{name}={space.text_of(value)}"]
        # 32 x 64 matrices gain nothing from more threads
        done = subprocess.run([self.program, *words], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode not in (0, 3):
            raise SystemExit(f"run.py: {' '.join(words)}: {done.stderr.strip()}")
        known, _, table = done.stdout.partition("\n")
        pairs = (pair.split("=") for pair in known.split()[1:])
        rows = [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(io.StringIO(table))]
        return Run({name: float(value) for name, value in pairs}, rows, done.returncode == 3)

    def runs(self, all_settings):
        return list(self.pool.map(self.run, all_settings))

    def write(self, name, rows, goes_on=False):
        """A table; its first line is the commit and the command that made it, and of one that `goes_on` all its commits."""
        path, commits = self.out / f"{name}.csv", [self.commit]
        if goes_on and path.exists():
            commits = list(dict.fromkeys([*path.read_text().split(":")[0].removeprefix("# ").split(), self.commit]))
        with open(path, "w", newline="") as file:
            file.write(f"# {' '.join(commits)}: {self.command}\n")
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def shrinkage(run):
    """The factor of |W - W_OLS| a step, by least squares on its logarithm where it has fallen by 1e-2 to 2e-4."""
    first = run.rows[0]["distance"]
    points = [(r["step"], math.log(r["distance"])) for r in run.rows if 2e-4 < r["distance"] / first < 1e-2]
    return math.nan if run.diverged else math.exp(statistics.linear_regression(*zip(*points)).slope)


def theory(lab):
    """SGD beside its closed forms: without momentum, and with one a tenth closer to 1 than the best, where every mode
    oscillates and the radius is its root (Polyak 1964)."""
    rows = []
    for target in (1, 10, 100, 1000):
        inputs = {"rule": "sgd", "inputs": "rotated", "condition": target}
        known = lab.run(inputs | {"steps": 0}).known
        kappa, least, most = known["condition"], known["curvature_least"], known["curvature_most"]
        best = 2 / (least + most)
        root = 1 - 0.9 * 2 / (math.sqrt(kappa) + 1)
        cases = [(0, factor, max(1 - factor * best * least, factor * best * most - 1), factor * best)
                 for factor in ((0.25, 0.5, 0.75, 0.9, 1, 1.02, 1.04, 1.06) if target == 10 else (1,))]
        cases.append((root**2, 1, root, (2 / (math.sqrt(least) + math.sqrt(most))) ** 2))
        runs = lab.runs(inputs | {"momentum": m, "lr": lr, "steps": int(math.log(1e-5) / math.log(radius)) + 20}
                        for m, _, radius, lr in cases)
        rows += [{"momentum": float(m), "condition": kappa, "lr_over_best": float(factor), "theory": radius,
                  "measured": shrinkage(run)} for (m, factor, radius, _), run in zip(cases, runs)]
    lab.write("theory", rows)


def cycle(lab):
    """Where runs end at a constant rate, and at one that falls linearly to 0 in as many steps, white inputs."""
    cases = [(rule, schedule, batch, lr, seed) for batch in (4096, 256) for lr in (0.04, 0.08, 0.16, 0.32, 0.64)
             for rule in ("spectral", "spectral-jordan", "muon", "adamw") for schedule in ("constant", "linear") for seed in SEEDS]
    # the largest singular value has about 14 to go, by a falling rate at half the speed
    runs = lab.runs(RULES[rule] | {"schedule": schedule, "batch": batch, "lr": lr, "seed": seed, "steps": int(40 / lr) + 150,
                                   "log-every": 5} for rule, schedule, batch, lr, seed in cases)
    rows = []
    for (rule, schedule, batch, lr, seed), run in zip(cases, runs):
        end = [r["distance"] ** 2 for r in run.rows if r["step"] > 0.8 * run.rows[-1]["step"]]
        rows.append({"rule": rule, "schedule": schedule, "batch": batch, "lr": lr, "seed": seed,
                     "rms_distance": math.sqrt(statistics.fmean(end)), "last_distance": run.rows[-1]["distance"]})
    lab.write("cycle", rows)


def nuclear(lab):
    """The nuclear-norm step at the rate of theory, 1 / curvature: what remains after 300 steps, white inputs."""
    rates = [1 / run.known["spectral_curvature"] for run in lab.runs({"rule": "sgd", "steps": 0, "seed": s} for s in SEEDS)]
    runs = lab.runs(RULES["nuclear"] | {"lr": lr, "seed": s} for lr, s in zip(rates, SEEDS))
    lab.write("nuclear", [{"seed": s, "lr": lr, "excess_over_floor": run.over_floor()}
                          for s, lr, run in zip(SEEDS, rates, runs)])


def memory(lab):
    """Shampoo with eps 0 and no momentum, by its memory, beside spectral descent at the same constant rate."""
    cases = [(name, seed) for name in ("spectral", "0", "0.9", "0.99") for seed in SEEDS]
    runs = lab.runs((RULES["spectral"] if name == "spectral" else RULES["shampoo"] | {"beta2": float(name)}) |
                    {"lr": 0.1, "steps": 1200, "seed": seed, "log-every": 20, "spectra-every": 20} for name, seed in cases)
    lab.write("memory", [{"beta2": name, "seed": seed, "step": int(r["step"]), "excess_over_floor": run.over_floor(i),
                          "update_norm": math.sqrt(sum(r[f"u{k}"] ** 2 for k in range(1, 33))) if "u1" in r else ""}
                         for (name, seed), run in zip(cases, runs) for i, r in enumerate(run.rows)])


def updates(lab):
    """What each rule of the contest makes of gradients, at its settings of the contest: condition 1000, batch 256."""
    with open(lab.out / "final.csv", newline="") as file:
        chosen = [r for r in csv.DictReader(line for line in file if not line.startswith("#"))
                  if (r["inputs"], r["condition"], r["batch"], r["seed"]) == ("rotated", "1000", "256", "1")]
    entrants, rows = {c.name: c for c in contest_space().contestants}, []
    for best in chosen:
        settings = settings_of(entrants[best["rule"]], best)
        runs = lab.runs(settings | {"seed": s, "spectra-every": 150, "log-every": 150} for s in SEEDS)
        rows += [{"rule": best["rule"], "seed": s, "step": int(r["step"]), "gradient_rank": r["grad_stable_rank"],
                  "gradient_condition": r["grad_condition"], "update_rank": r["update_stable_rank"], "attained": r["attained"]}
                 | {f"u{k}": r[f"u{k}"] for k in range(1, 33)}
                 for s, run in zip(SEEDS, runs) for r in run.rows if "u1" in r]
    lab.write("updates", rows)


def contest_space():
    return space.read(HERE / "rules.toml")


KNOBS = ("inputs", "condition", "batch", "schedule", "rule", "lr", "momentum", "beta2")


def settings_of(entrant, row):
    """The program's settings of an entrant at the knobs of a table's row."""
    more = {momentum_name(entrant): float(row["momentum"])} | ({} if row["beta2"] == "" else {"beta2": float(row["beta2"])})
    fixed = {("rule" if k == "optimizer" else k): v for k, v in entrant.fixed.items()}
    return fixed | more | {"lr": float(row["lr"])} | {k: row[k] for k in ("inputs", "condition", "batch", "schedule")}


def momentum_name(entrant):
    return "beta1" if any(knob.name == "beta1" for knob in entrant.knobs) else "momentum"


def row_of(cell, entrant, point):
    return cell | {"rule": entrant.name, "lr": float(point["lr"]), "momentum": float(point[momentum_name(entrant)]),
                   "beta2": point.get("beta2", "")}


def key_of(row):
    return tuple(space.text_of(float(row[k])) if k in ("lr", "momentum") or (k == "beta2" and row[k] != "") else str(row[k])
                 for k in KNOBS)


def known_rows(path):
    """The rows of a table that is there already: what they hold is not run again."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def contest(lab):
    """Every rule in every cell: a search over its knobs, then its best point with other seeds. One criterion for both: the
    mean over seeds of the logarithm of the excess over the floor after 300 steps. With all rows a constant rate is searched
    as well as a falling one, and the better of the two is the rule's; with mini-batches rates fall."""
    cells = [{"inputs": "rotated", "condition": condition, "batch": batch} for condition in CONDITIONS for batch in BATCHES]
    cells += [cell | {"inputs": "ill"} for cell in cells]  # the axes of the data are those of the weights
    done = {key_of(r): float(r["log10_excess"]) for r in known_rows(lab.out / "search.csv")}
    final = []
    for cell in cells:
        setting = contest_space()
        for entrant in setting.contestants:
            if cell["inputs"] == "ill" and entrant.name != "adamw":
                continue
            begin = next((r for r in reversed(final) if r["rule"] == entrant.name), None)
            found = []
            for schedule in ("linear", "constant") if cell["batch"] == 4096 else ("linear",):
                found.append(search_cell(lab, setting, cell | {"schedule": schedule}, entrant, begin, done))
                begin = found[-1][1]
            best = min(found, key=lambda f: f[0])[1]
            runs = lab.runs(settings_of(entrant, best) | last_row(setting) | {"seed": s} for s in setting.final)
            final += [best | {"seed": s, "excess_over_floor": run.over_floor()} for s, run in zip(setting.final, runs)]
        lab.write("search", [dict(zip(KNOBS, key)) | {"log10_excess": loss} for key, loss in done.items()], goes_on=True)
        lab.write("final", final)


def begin_at(knob, value):
    """Moves a knob's start to a value; a rate's grid with it."""
    if knob.name == "lr":
        knob.values = [float(f"{value * f:.3g}") for f in (0.5, 1, 2)]
        value = knob.values[1]
    if value in knob.values:
        knob.start = value


def pattern(search):
    """Coordinate by coordinate, and where that has ended, along the diagonals of every two knobs, which lean on each other."""
    before = None
    while label_of(search.best) != before:
        yield from search.coordinate()
        before = label_of(search.best)
        for one, other in itertools.combinations(search.knobs, 2):
            beside = [[knob.values[i] for i in (at - 1, at + 1) if 0 <= i < len(knob.values)]
                      for knob in (one, other) for at in [knob.values.index(search.best[knob.name])]]
            yield from search.ask([search.best | {one.name: a, other.name: b} for a in beside[0] for b in beside[1]])


def search_cell(lab, setting, cell, entrant, begin, done):
    """The search of one entrant in a cell: (loss, row) of its best point. It begins at the best one known of this cell, else
    of the last (begin)."""
    here = [(loss, dict(zip(KNOBS, key))) for key, loss in done.items() if key[:5] == key_of(row_of(cell, entrant, START))[:5]]
    begin = min(here, key=lambda h: h[0])[1] if here else begin
    knobs = [copy.deepcopy(knob) for knob in entrant.knobs]
    if begin is not None:
        for knob in knobs:
            begin_at(knob, float(begin["momentum" if knob.name == "beta1" else knob.name]))
    search = Search(entrant, knobs, {k.name: k.start for k in knobs}, setting)
    asked, points = pattern(search), None
    while True:
        try:
            points = next(asked) if points is None else asked.send([done[key_of(row)] for row in rows])
        except StopIteration:
            break
        rows = [row_of(cell, entrant, p) for p in points]
        new = [row for row in rows if key_of(row) not in done]
        n = len(setting.seeds)
        logs = [math.log10(run.over_floor()) for run in
                lab.runs(settings_of(entrant, row) | last_row(setting) | {"seed": s} for row in new for s in setting.seeds)]
        done.update((key_of(row), statistics.fmean(logs[i * n:i * n + n])) for i, row in enumerate(new))
    return search.best_loss, row_of(cell, entrant, search.best)


START = {"lr": 1, "momentum": 0, "beta1": 0}


def last_row(setting):
    return {"steps": setting.run["steps"], "log-every": setting.run["steps"]}


PARTS = {"theory": theory, "cycle": cycle, "nuclear": nuclear, "memory": memory, "contest": contest, "updates": updates}


def main():
    parser = argparse.ArgumentParser(prog="dev/lab/run.py", description=__doc__)
    parser.add_argument("--lab", default="build/lab", help="the program [build/lab]")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="[dev/lab/results]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once [the CPUs]")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {' '.join(PARTS)} [all]")
    given = parser.parse_args()
    parts = given.parts or list(PARTS)
    for part in parts:
        if part not in PARTS:
            parser.error(f"'{part}' is none of {' '.join(PARTS)}")
    if not Path(given.lab).exists():
        raise SystemExit(f"run.py: {given.lab} is not there; make lab builds it")
    given.out.mkdir(parents=True, exist_ok=True)
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, cwd=HERE).stdout.strip() or "unknown"
    for part in parts:
        print(f"{part} ...", flush=True)
        PARTS[part](Lab(given.lab, given.out, given.jobs, commit, f"dev/lab/run.py {part}"))


if __name__ == "__main__":
    main()
