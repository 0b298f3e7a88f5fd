#!/usr/bin/env python3
"""Tests of dev/experiments: searches, statistics, the A/A test, sweeps that are killed, reports.

    test_experiments.py TRAIN_GPT [NAME]     only the tests whose name contains NAME
"""

import csv
import json
import math
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy
from scipy import stats

DEV = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(DEV))

from experiments import inference, pool, search, space  # noqa: E402

TINY = {"layers": 1, "heads": 1, "width": 16, "seq-len": 32, "batch-size": 4, "val-tokens": 1024}


class Failed(Exception):
    pass


def check(condition, words):
    if not condition:
        raise Failed(words)


def near(a, b, tolerance, words):
    check(abs(a - b) <= tolerance, f"{words}: {a}, not {b}")


# --- spaces and searches ---

def space_of(text):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        return space.read(file.name)


def searched(text, loss, most=1000):
    """A search of the first optimizer of a space to its end, and the number of points it asked for."""
    s = space_of(text)
    contestant = s.contestants[0]
    found = search.Search(contestant, contestant.knobs, {k.name: k.start for k in contestant.knobs}, s)
    steps, losses = found.method(), None
    try:
        while True:
            points = steps.send(losses)
            losses = [loss(p) for p in points]
            check(len(found.losses) < most, "the search does not end")
    except StopIteration:
        return found


HEAD = "[run]\nsteps = 10\n[search]\n"


def bowl(p):
    """Its least point is at lr 0.128, weight-decay 0.4, beta2 0.99; a knob's best value depends on the others."""
    x, y = math.log2(p["lr"] / 0.128), math.log2((p["weight-decay"] + 0.05) / 0.45)
    return x * x + y * y + 0.8 * x * y + 1e4 * (p["beta2"] - 0.99) ** 2


def coordinate_descent():
    knobs = "[optimizer.adamw]\nlr = { start = 1e-3, factor = 2 }\nweight-decay = [0, 0.1, 0.2]\nbeta2 = [0.9, 0.95]\n"
    found = searched(HEAD + knobs, bowl)
    check(found.best == {"lr": 0.128, "weight-decay": 0.4, "beta2": 0.9875}, f"it ends at {found.best}")
    check(not found.notes, f"{found.notes}")
    check(space.Knob("beta2", [0.99, 0.999], 0.99).beyond(1) == 0.9999, "beta2 does not come near 1")
    found = searched(HEAD + "[optimizer.adamw]\nbeta2 = [0.9, 0.99]\n", lambda p: 1 - p["beta2"])
    check(space.text_of(found.best["beta2"]) == "0.999999", f"beta2 comes to {found.best} on its way to 1")
    check(len(found.losses) < 60, f"{len(found.losses)} points")
    short = searched(HEAD + "budget = 9\n" + knobs, bowl)
    check(len(short.losses) == 9, f"{len(short.losses)} points of a budget of 9")
    check("used up; beta2 = 0.9 at its edge" in short.notes[0], f"{short.notes}")


def grids():
    knobs = "[optimizer.adamw]\nlr = [1e-3, 2e-3]\nweight-decay = [0, 0.1]\nnesterov = [true, false]\n"
    found = searched(HEAD + 'method = "grid"\n' + knobs,
                     lambda p: abs(math.log2(p["lr"] / 0.016)) + abs(p["weight-decay"] - 0.1) + p["nesterov"])
    check(found.best == {"lr": 0.016, "weight-decay": 0.1, "nesterov": False}, f"it ends at {found.best}")
    check(len(found.losses) == 8 + 4 + 1, f"{len(found.losses)} points")  # lr up to one past its best, weight decay one past


def random_search():
    text = HEAD + 'method = "random"\nbudget = 40\n[optimizer.adamw]\nlr = { from = 1e-3, to = 1e-2 }\nbeta2 = [0.9, 0.95]\n'
    found = searched(text, lambda p: abs(math.log(p["lr"] / 0.05)))
    check(len(found.losses) == 40, f"{len(found.losses)} points")
    check(any("grew" in n for n in found.notes) and found.best["lr"] > 0.01, f"{found.best} {found.notes}")
    again = searched(text, lambda p: abs(math.log(p["lr"] / 0.05)))
    check(list(again.losses) == list(found.losses), "another call draws other points")
    few = searched(HEAD + 'method = "random"\nbudget = 40\n[optimizer.adamw]\nbeta2 = [0.9, 0.95]\n', lambda p: p["beta2"])
    check(len(few.losses) == 2, f"{len(few.losses)} points of two")


def diverging():
    found = searched(HEAD + "[optimizer.adamw]\nlr = [1, 2, 4]\n", lambda p: math.inf if p["lr"] > 0.3 else p["lr"])
    check(found.best["lr"] == 2 and found.best_loss == math.inf, f"{found.best}")
    found = searched(HEAD + "[optimizer.adamw]\nlr = [1, 2, 4]\n", lambda p: math.inf if p["lr"] > 1.5 else 1 + p["lr"])
    check(found.best["lr"] < 0.01, f"{found.best}")


def bad_spaces():
    for text, words in (
            ("[run]\n[optimizer.adamw]\n", "no steps"), (HEAD, "no table"), (HEAD + "metod = 1\n[optimizer.a]\n", "metod"),
            (HEAD + "[optimizer.adamw]\nlr = [1]\n", "two different"), (HEAD + "[optimizer.adamw]\nlr = [1, 1.0]\n", "two different"),
            (HEAD + "[optimizer.adamw]\nlr = { from = 1, to = 2 }\n", "random"),
            (HEAD + "[optimizer.adamw]\nlr = { start = -1, factor = 2 }\n", "factor"),
            (HEAD + "[optimizer.adamw]\nlr = { values = [1, 2], start = 3 }\n", "start = 3"),
            (HEAD + "[optimizer.adamw]\nsteps = [10, 20]\n", "steps is no knob"),
            (HEAD + "[optimizer.adamw]\nlr = { vals = [1, 2] }\n", "vals"),
            (HEAD + "[optimizer.'../x']\n", "name"), (HEAD + 'method = "random"\n[optimizer.a]\n', "budget"),
            (HEAD + "halving = 3\n[optimizer.a]\n", "halving"), (HEAD + 'retune = ["lr"]\n[optimizer.a]\n', "retune"),
            (HEAD + "[optimizer.a]\n[sizes]\nfactors = [1, 2]\n", "other sizes"), ("[run\n", "line 1"),
            (HEAD + "[optimizer.a]\n[final]\nseed = [1]\n", "final.seed")):
        try:
            space_of(text)
        except space.SpaceError as error:
            check(words in str(error), f"{text!r}: {error} does not say {words!r}")
        else:
            raise Failed(f"{text!r} was taken")


# --- statistics ---

def sleep_data():
    """Student's own example (1908), as R's documentation of t.test has its numbers."""
    first = dict(enumerate((0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)))
    second = dict(enumerate((1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)))
    e = inference.paired(first, second)
    near(e.value, -1.58, 1e-12, "mean")
    near(e.low, -2.4598858, 1e-7, "low")
    near(e.high, -0.7001142, 1e-7, "high")
    near(e.p, 0.002833, 5e-7, "p")
    check(inference.paired(first, {99: 1.0}) is None, "seeds that nobody shares were paired")
    check(inference.paired({1: 1.0, 2: 3.0}, {2: 1.0}).value == 2, "the common seed alone counts")


def holms_example():
    """Of Wikipedia's page on the method: 0.01, 0.04, 0.03 and 0.005."""
    got = inference.holm([0.01, 0.04, 0.03, 0.005])
    for a, b in zip(got, (0.03, 0.06, 0.06, 0.02)):
        near(a, b, 1e-12, "adjusted p")


def track3_rules():
    """Its own examples: one run needs 3.276, four need 3.278."""
    for losses in ([3.276], [3.278] * 4):
        near(inference.track3_margin(losses), 0.004, 1e-12, "margin")
    near(inference.track3_pairwise([3.27] * 2, 3000, [3.27] * 2, 3100), 0.0045, 1e-12, "100 steps less")


def laws():
    """A law's own losses give it back; a rule that needs a c-th of the data has the multiple c."""
    D = [1e6, 2e6, 4e6, 8e6]
    for E, A, a in ((1.5, 2.0, 0.3), (0, 3.0, 0.1), (2.0, 0.5, 1.2)):
        law = inference.Law(E, A, a, 3e6)
        got = inference.fit_law(D, law.loss(D))
        for d in (5e5, 3e6, 3e7):
            near(float(got.loss(d)), float(law.loss(d)), 1e-6, f"loss at {d}")
        base = {d: {s: float(law.loss(d)) for s in (1, 2)} for d in D}
        for c in (0.5, 1, 1.4, 3):
            e = inference.data_multiple(base, {s: float(law.loss(c * 2e6)) for s in (1, 2)}, 2e6)
            near(e.value, c, 1e-4 * c, "multiple")
    # budgets with other seeds: the law that is shown is the one that the multiple goes by, and it heeds how well each is known
    uneven = {1e6: {s: 2 + 0.5 * (s % 5) for s in range(10)}, 2e6: {1: 2.01, 2: 1.99}, 4e6: {1: 1.71, 2: 1.69}, 8e6: {1: 1.51, 2: 1.49}}
    law = inference.law_of(uneven)
    e = inference.data_multiple(uneven, {1: 1.6, 2: 1.62, 3: 1.64}, 2e6)
    near(e.value, law.data(1.62) / 2e6, 1e-6, "the multiple by the law")
    check(e.n == 2 and e.low < e.value < e.high, f"its interval: {e}")
    near(float(law.loss(8e6)), 1.5, 0.01, "where the loss is known well")
    check(inference.fit_law(D, [3 - math.log(d / 1e6) for d in D]).E == 0, "a law whose loss falls below nothing")
    check(inference.fit_law(D[:2], [2, 1]) is None, "two budgets gave a law")
    check(inference.fit_law(D, [1, 2, 3, 4]) is None, "losses that rise gave a law")
    check(inference.data_multiple({D[0]: {1: 2.0}, D[1]: {1: 1.0}}, {1: 1.5}, 1e6) is None, "two budgets gave a multiple")


def coverage():
    """95% intervals hold the truth in about 95% of simulations, also where the seeds are three, or more at some budgets."""
    draw, trials = numpy.random.default_rng(5), 300
    D, law = [1e6, 2e6, 4e6, 8e6], inference.Law(1.5, 2.0, 0.4, 3e6)
    hits = {}
    for seeds in ((3, 3, 3, 3, 3), (5, 5, 5, 5, 5), (5, 10, 5, 3, 5)):
        for _ in range(trials):
            *base, losses = (dict(enumerate(law.loss(d) + draw.normal(0, 0.02, n))) for d, n in zip([*D, 1.4 * 4e6], seeds))
            a, b = draw.normal(20, 2, seeds[0]), draw.normal(10, 0.5, seeds[0])
            for what, truth, e in (("data multiple", 1.4, inference.data_multiple(dict(zip(D, base)), losses, 4e6)),
                                   ("ratio", 2, inference.ratio(a, b)),
                                   ("paired", 10, inference.paired(dict(enumerate(a)), dict(enumerate(b))))):
                hits[what, seeds] = hits.get((what, seeds), 0) + (e.low <= truth <= e.high)
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], trials, 0.95)
    for what, count in hits.items():
        check(low <= count <= high, f"{what}: {count} of {trials} intervals hold the truth")


def crossings():
    import pandas
    curve = pandas.DataFrame({"val_loss": [5.0, 3.0, 2.0], "step": [0, 10, 20]})
    near(inference.crossing(curve, 2.5, "step"), 15, 1e-12, "between two")
    near(inference.crossing(curve, 3.0, "step"), 10, 1e-12, "at one")
    check(math.isnan(inference.crossing(curve, 1.0, "step")), "a loss that was never met")


# --- runs ---

def train(directory, *options):
    return subprocess.run([PROGRAM, *space.options_of(TINY), "--text", str(TEXT), "--threads", "1",
                           "--sample-every", "0", "--checkpoint-minutes", "0", "--val-every", "10", "--out", str(directory),
                           *map(str, options)], capture_output=True, text=True)


def same_against_itself():
    """400 short runs of one optimizer under 400 seeds: 200 pairs, in 40 comparisons of five. Those that are called
    significant must be as many as the level says, and with a known difference planted as many as the test's power says; so
    must be those of 4,000 comparisons of the same losses, paired anew, which leave less to chance."""
    comparisons, n, options = 40, 5, space.options_of(TINY)
    with tempfile.TemporaryDirectory() as folder:
        lock = pool.own_lock(Path(folder) / "lock")
        workers = pool.Pool(PROGRAM, len(os.sched_getaffinity(0)), [], lock)
        jobs = [pool.Job(Path(folder) / f"{seed}", [*options, "--text", str(TEXT), "--threads", "1",
                                                    "--sample-every", "0", "--seed", str(seed)], 25, 25)
                for seed in range(1, 2 * comparisons * n + 1)]
        for job in jobs:
            workers.submit(job)
        left = len(jobs)
        while left:
            left -= len(workers.poll())
            time.sleep(0.01)
        losses = numpy.array([pool.final_loss(job.directory) for job in jobs]).reshape(comparisons, 2, n)
        os.close(lock)
    check(len(set(losses.flat)) > 390, "the seeds change nothing")
    deviation = (losses[:, 0] - losses[:, 1]).std(ddof=1)

    def called(shift, pairs=losses):
        found = [inference.paired(dict(enumerate(a)), dict(enumerate(b - shift))).p for a, b in pairs]
        return sum(p < 0.05 for p in found)

    most = stats.binom.ppf(0.999, comparisons, 0.05)
    check(called(0) <= most, f"{called(0)} of {comparisons} comparisons of the same with itself are significant; {most:g} may be")
    shift = 2 * deviation
    noncentral = shift / deviation * math.sqrt(n)
    limit = stats.t.ppf(0.975, n - 1)
    power = stats.nct.sf(limit, n - 1, noncentral) + stats.nct.cdf(-limit, n - 1, noncentral)
    least = stats.binom.ppf(0.001, comparisons, power)
    check(called(shift) >= least, f"a difference of 2 deviations was found in {called(shift)} of {comparisons}, not in {least:g}")
    draw = numpy.random.default_rng(7)
    anew = numpy.array([draw.permutation(losses.ravel())[:2 * n].reshape(2, n) for _ in range(4000)])
    none, planted = called(0, anew) / len(anew), called(shift, anew) / len(anew)
    print(f"      A/A: {called(0)} of {comparisons} called significant; a planted difference: {called(shift)}, "
          f"{power * comparisons:.0f} expected. Paired anew: {none:.1%}, and {planted:.1%} of {power:.1%}")
    check(none < 0.065, f"of 4,000 comparisons of the same with itself {none:.1%} are significant; 5% may be")
    check(abs(planted - power) < 0.05, f"a difference of 2 deviations is found in {planted:.1%} of 4,000, not in {power:.1%}")


SWEEP = """
[run]
text = "{text}"
layers = 1
heads = 1
width = 16
seq-len = 32
batch-size = 4
val-tokens = 1024
steps = 40
val-every = 20
{more}
[optimizer.adamw]
lr = {{ start = 4e-3, factor = 4 }}
[optimizer.muon]
lr = {{ start = 2e-2, factor = 4 }}
[sizes]
factors = [1, 2, 4]
[final]
seeds = [1, 2, 3]
others = [1, 2]
"""


def sweep(folder, *words, **more):
    return subprocess.run([sys.executable, "-m", "experiments.sweep", str(Path(folder) / "space.toml"), "--train-gpt", PROGRAM,
                           *words], env=os.environ | {"PYTHONPATH": str(DEV)}, capture_output=True, text=True, **more)


def comparison(*words, stdout=subprocess.PIPE):
    return subprocess.run([sys.executable, "-m", "experiments.compare", *map(str, words)],
                          env=os.environ | {"PYTHONPATH": str(DEV)}, stdout=stdout, stderr=subprocess.PIPE, text=True)


def write_space(folder, more="", text=SWEEP):
    (Path(folder) / "space.toml").write_text(text.format(text=TEXT, more=more))


def losses_in(out):
    with open(out / "sweep.csv", newline="") as file:
        return {row["directory"]: (row["val_loss"], row["status"]) for row in csv.DictReader(file)}


class Page(HTMLParser):
    """What a report must not have, and its text."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.bad, self.ids = [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag in ("script", "link", "img", "iframe") or any(k.startswith("on") for k in values):
            self.bad.append(tag)
        if re.match(r"(?!#)", values.get("href", values.get("src", "#"))):
            self.bad.append(str(values))
        self.ids += [values["id"]] if "id" in values else []
        if tag not in ("meta", "br", "use", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in ("use", "path"):
            return
        if not self.open or self.open.pop() != tag:
            self.bad.append(f"</{tag}>")

    def handle_data(self, data):
        self.text.append(data)


def killed_sweep():
    """A sweep that kill -9 met, and its runs with it, ends as one that was left alone; then its report."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_space(folder)
        done = sweep(folder, "--out", str(folder / "whole"))
        check(done.returncode == 0, done.stderr)
        whole = losses_in(folder / "whole")
        with open(folder / "whole/sweep.csv", newline="") as file:
            version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout
            check(all(version.count(f"({row['source']})") == version.count("(") for row in csv.DictReader(file)), "the runs' source")
        check(sum("final/" in name for name in whole) == 14 and len(whole) >= 18, f"{len(whole)} runs")
        command = [sys.executable, "-m", "experiments.sweep", str(folder / "space.toml"), "--train-gpt", PROGRAM, "--out",
                   str(folder / "cut"), "--jobs", "2"]
        for _ in range(3):
            child = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(DEV)}, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            before = len(list(folder.glob("cut/*/*/*/*/ended")))
            while child.poll() is None and len(list(folder.glob("cut/*/*/*/*/ended"))) < before + 3:
                time.sleep(0.01)
            child.kill()
            child.wait()
        for _ in range(100):  # runs that it left end by themselves
            done = sweep(folder, "--out", str(folder / "cut"), "--jobs", "2")
            if "at work" not in done.stderr:
                break
            time.sleep(0.1)
        check(done.returncode == 0, done.stderr)
        cut = losses_in(folder / "cut")
        check(cut == whole, f"its losses differ: {sorted(set(cut.items()) ^ set(whole.items()))}")
        check("12 of" not in done.stdout and "muon" in done.stdout, done.stdout)
        check("runs done" in (folder / "cut/status.txt").read_text(), "there is no status.txt")
        check(not list(folder.glob("cut/**/*.safetensors")), "weights of runs that are done were left")

        write_space(folder, "seed = 3")
        check(sweep(folder, "--out", str(folder / "cut")).returncode == 2, "another [run] went on in the same --out")
        made = comparison(folder / "cut", "--pictures", folder / "pictures")
        check(made.returncode == 0, made.stderr)
        for name in ("steps", "tokens", "flops", "seconds", "budgets"):
            ElementTree.parse(folder / f"pictures/{name}.svg")
        page = Page()
        page.feed((folder / "cut/compare.html").read_text())
        check(not page.bad and not page.open, f"the page has {page.bad[:5]}, and leaves {page.open[:5]} open")
        check(len(set(page.ids)) == len(page.ids), "ids are not unique")
        commands = [shlex.split(t) for t in page.text if t.startswith("./train_gpt ")]
        check(len(commands) == 6, f"{len(commands)} commands")
        for command in commands:
            done = subprocess.run([PROGRAM, *command[1:], "--list-groups"], capture_output=True, text=True)
            check(done.returncode == 0 and "--seed" not in " ".join(command), f"{command}: {done.stderr}")
        text = " ".join(page.text)
        for word in ("adamw", "muon", "paired seeds", TEXT.name, "val-every", "gcc", "--lr"):
            check(word in text or word == "gcc", f"the page does not say {word}")
        check(text.count("Which optimizer") == 2, "the title")
        with open(folder / "cut/compare.csv", newline="") as file:
            rows = {(r["label"], r["steps"]): r for r in csv.DictReader(file)}
        record = {label: json.loads(next((folder / "cut").glob(f"final/{label}/x1/*/run.json")).read_text()) for label in ("adamw", "muon")}
        passes, update = (record["muon"][name] for name in ("flops_per_token", "update_flops"))
        passes *= record["muon"]["tokens_per_step"]
        check(record["adamw"]["update_flops"] == 0 < update, "FLOPs of updates")
        by_steps, by_flops = (float(rows["muon", "160"][f"speedup {clock}"]) for clock in ("steps", "FLOPs"))
        near(by_flops, by_steps * passes / (passes + update), 2e-4, "how many times fewer FLOPs")
        for run in (folder / "cut").glob("final/muon/*/*/run.json"):  # as of an older program
            run.write_text(run.read_text().replace('"update_flops"', '"update"'))
        check(comparison(folder / "cut", "--out", folder / "old.html").returncode == 0, "older runs")
        with open(folder / "old.csv", newline="") as file:
            check(not any(r["speedup FLOPs"] for r in csv.DictReader(file)), "FLOPs that are not known count")
        check(not re.search(r">(\d+) of \1 seeds meet it", (folder / "old.html").read_text()), "all seeds meet it, and no number")
        finals = {name: float(loss) for name, (loss, _) in whole.items() if name.startswith("final/muon/x1/")}
        near(float(rows["muon", "40"]["mean"]), sum(finals.values()) / 3, 1e-5, "muon's mean")
        for run in (folder / "cut").glob("final/muon/x1/*/metrics.csv"):  # as on a machine that was busy with something else
            head, *rest = [line.split(",") for line in run.read_text().splitlines()]
            at = head.index("seconds")
            run.write_text("\n".join(",".join([*row[:at], row[at] if row is head else str(99 * float(row[at])), *row[at + 1:]])
                                     for row in (head, *rest)) + "\n")
        check("seconds say little here" in comparison(folder / "cut").stdout, "seconds of a busy machine count")
        (folder / "cut/compare.csv").unlink()
        reader, writer = os.pipe()
        os.close(reader)
        unread = comparison(folder / "cut", stdout=writer)
        os.close(writer)
        check(unread.returncode == -signal.SIGPIPE and not unread.stderr, f"a table that nobody reads: {unread.stderr}")
        check((folder / "cut/compare.csv").exists(), "its numbers were not written")
        check(rows["muon", "160"]["data_multiple"] and not rows["adamw", "40"]["difference"], "columns of compare.csv")


def killed_validation():
    """A run that met a signal in its last validation still owes it."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = SWEEP[:SWEEP.index("[optimizer.adamw]")].replace('text = "{text}"\n', "").replace("steps = 40", "steps = 1")
        write_space(folder, "", text.replace("val-tokens = 1024", "val-tokens = 400000") + "[optimizer.adamw]\n[final]\nseeds = [1]\n")
        done = sweep(folder, "--out", str(folder / "whole"))
        check(done.returncode == 0, done.stderr)
        child = subprocess.Popen([sys.executable, "-m", "experiments.sweep", str(folder / "space.toml"), "--train-gpt", PROGRAM, "--out",
                                  str(folder / "cut")], env=os.environ | {"PYTHONPATH": str(DEV)}, stdout=subprocess.DEVNULL)
        run = folder / "cut/final/adamw/x1/defaults,seed=1"
        while not pool.rows_of(run):  # the validation before the first step
            time.sleep(0.005)
        time.sleep(0.05)
        child.kill()
        child.wait()
        while not (run / "latest").exists():
            time.sleep(0.005)
        cut = pool.rows_of(run)[-1]
        check(cut["step"] == "1" and not cut["val_loss"], f"the signal did not meet the last validation: {cut}")
        while "at work" in (done := sweep(folder, "--out", str(folder / "cut"))).stderr:
            time.sleep(0.05)
        check(done.returncode == 0, done.stderr)
        check(losses_in(folder / "cut") == losses_in(folder / "whole"), f"{losses_in(folder / 'cut')}")


def halves():
    """Successive halving: of nine rates three go on to a third of the steps, and one to the end."""
    text = SWEEP.replace("[optimizer.muon]\nlr = {{ start = 2e-2, factor = 4 }}\n", "")
    text = text[:text.index("[sizes]")].replace("lr = {{ start = 4e-3, factor = 4 }}",
                                                "lr = [1e-4, 2e-4, 4e-4, 8e-4, 2e-3, 4e-3, 8e-3, 2e-2, 4e-2]")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_space(folder, 'steps = 45\n[search]\nmethod = "grid"\nhalving = 3', text.replace("steps = 40\n", ""))
        done = sweep(folder, "--out", str(folder / "out"))
        check(done.returncode == 0, done.stderr)
        with open(folder / "out/sweep.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        ends = sorted(int(r["steps"]) for r in rows)[:9]
        check(ends == [5] * 6 + [15] * 2 + [45], f"runs ended after {ends}")
        check("rankings can flip" in done.stdout, done.stdout)


def stops_what_diverges():
    """A run whose loss climbs, though it stays finite, is ended, and the search goes on without it. An optimizer may have
    steps of its own."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = SWEEP[:SWEEP.index("[optimizer.adamw]")] + "[optimizer.signsgd]\nsteps = 4000\nlr = [1e-3, 1]\n"
        write_space(folder, '[search]\nmethod = "grid"', text)
        done = sweep(folder, "--out", str(folder / "out"))
        check(done.returncode == 0, done.stderr)
        with open(folder / "out/sweep.csv", newline="") as file:
            rows = {row["point"]: row for row in csv.DictReader(file)}
        check(rows["lr=1"]["status"] == "diverged" and int(rows["lr=1"]["steps"]) < 4000, f"{rows['lr=1']}")
        check(rows["lr=0.001"]["status"] == "done" and rows["lr=0.001"]["steps"] == "4000", f"{rows['lr=0.001']}")


def shares_gpus():
    """Each run sees one of --gpus, and each of these has one."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = SWEEP[:SWEEP.index("[sizes]")].replace("steps = 40", "steps = 2").replace("[optimizer.muon]\nlr = {{ start = 2e-2, factor = 4 }}\n", "")
        write_space(folder, '[search]\nmethod = "grid"\nbudget = 3', text)
        (folder / "program").write_text(f'#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES" >> {folder}/seen\nexec {PROGRAM} "$@"\n')
        (folder / "program").chmod(0o755)
        done = sweep(folder, "--out", str(folder / "out"), "--train-gpt", str(folder / "program"), "--gpus", "3,5")
        check(done.returncode == 0, done.stderr)
        seen = (folder / "seen").read_text().split()
        check(len(seen) == 3 and set(seen) == {"3", "5"}, f"{seen}")


def refusals():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "other.txt").write_text("Another text. " * 400)
        for name, options in {"a": [], "b": ["--optimizer", "adamw"], "wide": ["--width", 32], "text": ["--text", folder / "other.txt"],
                              "long": ["--steps", 30], "batch": ["--batch-size", 8], "again": []}.items():
            made = train(folder / name, "--steps", 20, *options)
            check(made.returncode == 0, made.stderr)
        for names, words in ((("a", "wide"), "model: n_embd 16 and 32"), (("a", "text"), "data: train 1 name"),
                             (("b", "long"), "30 steps"), (("a", "batch"), "tokens per step: 128 and 256"),
                             (("a", "again"), "a second run"), (("a", "nowhere"), "no directory of a run")):
            done = comparison(*(folder / n for n in names))
            check(done.returncode == 2 and words in done.stderr, f"{names}: {done.returncode} {done.stderr or done.stdout}")
        forced = comparison("--force", folder / "a", folder / "wide", folder / "b", "--out", folder / "forced.html")
        check(forced.returncode == 2 or "forced: " in forced.stdout, forced.stdout + forced.stderr)
        done = comparison(folder / "a", folder / "b", "--track3", "4", "--baseline", "muon")
        check(done.returncode == 0 and "one seed in common" in done.stdout and "track 3" in done.stdout, done.stdout + done.stderr)
        metrics = (folder / "b/metrics.csv").read_text().splitlines()
        (folder / "b/metrics.csv").write_text("\n".join(metrics[:-3]) + "\n")
        done = comparison(folder / "a", folder / "b")
        check(done.returncode == 2 and "is not done" in done.stderr, done.stderr)


# --- pictures of studies, from sweeps that were made up ---

def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def drawn(script, *words):
    """The path of the picture that a script of dev/ wrote, which must be an SVG."""
    done = subprocess.run([sys.executable, DEV / script, *map(str, words)], env=os.environ | {"PYTHONPATH": str(DEV)},
                          capture_output=True, text=True)
    check(done.returncode == 0, done.stderr)
    picture = next(w for w in words if str(w).endswith(".svg"))
    check(ElementTree.parse(picture).getroot().tag.endswith("svg"), "no picture")
    return picture


def plotted(study, *words):
    """What a study's plot.py wrote beside the picture: [{column: text}]."""
    picture = drawn(f"studies/{study}/plot.py", *words)
    with open(picture.with_suffix(".csv"), newline="") as file:
        return list(csv.DictReader(file))


def many_series():
    from experiments import figures
    looks = {tuple(figures.look(i).values()) for i in range(figures.SERIES ** 2)}
    check(len(looks) == figures.SERIES ** 2, "two series look alike")


def pictures_of_studies():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        # the loss is a parabola in the logarithm of the rate, about a best one that falls with the size, or stays
        for rule, power in (("falls", -1), ("stays", 0)):
            write_rows(folder / rule / "sweep.csv", [
                {"optimizer": f"{rule}-{size}", "point": f"lr={0.01 * 2 ** k}", "seed": 1,
                 "val_loss": "" if k == 5 else 1 + 0.1 * (k - 2.3 - power * math.log2(size / 64)) ** 2}
                for size in (32, 64, 128) for k in range(6)])
        for row in plotted("width", folder / "falls", folder / "stays", folder / "width.svg", "C"):
            falls = row["rule"] == "falls"
            near(float(row["best_rate"]), 0.01 * 2 ** 2.3 * (64 / int(row["size"]) if falls else 1), 1e-4, "the best rate")
            near(float(row["slope"]), -1 if falls else 0, 0.005, "its slope")
        # of three rates the middle one crosses 2.2 nats halfway between steps 10 and 20, the last only just, the first never
        rows = []
        for batch in (512, 1024):
            for rate, last in ((0.001, 2.5), (0.002, 1.4), (0.004, 2.15)):
                name = f"runs/{batch}-{rate}"
                rows.append({"optimizer": f"sgd-{batch}", "point": f"lr={rate}", "seed": 1, "val_loss": last, "directory": name})
                write_rows(folder / name / "metrics.csv", [{"step": step, "val_loss": loss}
                                                           for step, loss in ((0, 5), (5, ""), (10, 3), (20, last))])
        write_rows(folder / "sweep.csv", rows)
        for row in plotted("batch", folder, folder / "batch.svg"):
            check((row["rate"], row["steps"], row["edge"], row["critical_batch"]) == ("0.002", "15.0", "", ""), f"batches: {row}")
            check(int(row["tokens"]) == 15 * int(row["batch"]), f"tokens: {row}")
        # 80 (1 + 3000 / batch) steps
        rows = []
        for batch in (500, 2000, 6000, 24000):
            steps = 80 * (1 + 3000 / batch)
            rows.append({"optimizer": f"adamw-{batch}", "point": "lr=0.1", "seed": 1, "val_loss": 1, "directory": f"runs/{batch}"})
            write_rows(folder / f"runs/{batch}/metrics.csv", [{"step": step, "val_loss": loss} for step, loss in
                                                             ((0, 5), (steps - 10, 2.3), (steps + 10, 2.1))])
        write_rows(folder / "sweep.csv", rows)
        for row in plotted("batch", folder, folder / "batch.svg"):
            near(float(row["least_steps"]), 80, 0.5, "the least steps")
            near(float(row["critical_batch"]), 3000, 20, "the critical batch")
        # a rule is half a nat above AdamW in every seed where a token is rare, and as good where it is not
        rows = []
        for rule in ("adamw", "sgd"):
            for seed in (1, 2, 3):
                rows.append({"stage": "final", "optimizer": rule, "seed": seed, "directory": f"{rule}{seed}"})
                write_rows(folder / f"{rule}{seed}.loss_frequency.csv", [
                    {"occurrences_from": start, "occurrences_to": end, "tokens": 7, "targets": 9,
                     "loss": start + seed + (0.5 if rule == "sgd" and start == 1 else 0)} for start, end in ((0, 0), (1, 1), (2, 3))])
        rows.append({"stage": "search", "optimizer": "sgd", "seed": 4, "directory": "nowhere"})
        write_rows(folder / "sweep.csv", rows)
        found = {(r["rule"], r["from"]): tuple(float(r[k]) for k in ("loss", "above", "low", "high"))
                 for r in plotted("rare", folder, folder / "rare.svg")}
        check(found == {("adamw", "1"): (3, 0, 0, 0), ("adamw", "2"): (4, 0, 0, 0), ("sgd", "1"): (3.5, 0.5, 0.5, 0.5),
                        ("sgd", "2"): (4, 0, 0, 0)}, f"tokens: {found}")
        # a mark for every seed and every mean, the least mean above
        write_rows(folder / "two.csv", [{"label": "worse", "losses": "1:2.5 2:2.7 3:2.6"}, {"label": "better", "losses": "1:1.5 2:1.6"}])
        text = drawn("studies/seeds.py", folder / "seeds.svg", folder / "two.csv").read_text()
        check(0 < text.find(">better<") < text.find(">worse<"), "the order of the labels")
        check(len(re.findall(r'<use [^>]*style="fill: var\(--series-1\)', text)) == 5, "a mark for every seed")
        # AdamW's losses are on a law, of which a sweep adds the last budget; Muon has those of thrice and twice the data
        def losses(budget):
            return [1 + 0.5 / budget + 0.001 * x for x in (-1, 0, 1)]
        write_rows(folder / "law.csv", [
            {"label": label, "steps": 10 * D, "tokens": D * 10**6, "losses": " ".join(f"{s}:{x}" for s, x in enumerate(losses(times * D)))}
            for label, D, times in (("adamw", 1, 1), ("adamw", 2, 1), ("adamw", 4, 1), ("muon", 1, 3), ("muon", 4, 2))])
        write_rows(folder / "more.csv", [{"stage": "search", "optimizer": "adamw", "steps": 80, "tokens": 8 * 10**6, "seed": s, "val_loss": x}
                                         for s, x in enumerate(losses(8))])
        text = drawn("speedrun/plot_budgets.py", folder / "budgets.svg", folder / "law.csv", folder / "more.csv").read_text()
        check(re.findall(r">([\d.]+)x<", text) == ["3.0", "2.0"], "multiples of data")


TESTS = {
    "coordinate descent finds what is best, within its budget": coordinate_descent,
    "a grid grows where its best is at an edge": grids,
    "a random search draws within ranges, which grow": random_search,
    "a search among what diverges": diverging,
    "bad spaces are refused": bad_spaces,
    "paired differences: Student's own data": sleep_data,
    "Holm's correction": holms_example,
    "the rules of track 3": track3_rules,
    "laws and data multiples": laws,
    "intervals hold the truth as often as they say": coverage,
    "crossings of curves": crossings,
    "A/A: the same optimizer against itself": same_against_itself,
    "a sweep after kill -9 ends as one that was left alone; its report": killed_sweep,
    "a last validation that a signal cut is made good": killed_validation,
    "successive halving": halves,
    "what diverges is stopped": stops_what_diverges,
    "GPUs are shared out": shares_gpus,
    "what cannot be compared is refused": refusals,
    "pictures: sixty-four series, each with a look of its own": many_series,
    "studies: pictures, from sweeps that were made up": pictures_of_studies,
}


def write_text(path):
    """What runs train on: sentences of made-up words, the frequent ones short, always the same."""
    draw = random.Random(1)
    words = ["".join(draw.choice("bdgklmnprstvz") + draw.choice("aeiou") for _ in range(1 + i // 40)) for i in range(160)]
    weights = [1 / (1 + i) for i in range(len(words))]
    path.write_text("".join(" ".join(draw.choices(words, weights, k=draw.randrange(4, 12))) + ".\n" for _ in range(2000)))


def main():
    global PROGRAM, TEXT
    PROGRAM = str(Path(sys.argv[1]).resolve())
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    with tempfile.TemporaryDirectory() as folder:
        TEXT = Path(folder) / "sentences.txt"
        write_text(TEXT)
        return run_tests(wanted)


def run_tests(wanted):
    passed = failed = 0
    for name, test in TESTS.items():
        if wanted not in name:
            continue
        try:
            test()
        except Exception as error:  # noqa: BLE001, a test may fail in any way
            failed += 1
            print(f"FAIL  {name}: {type(error).__name__} {error}", flush=True)
        else:
            passed += 1
            print(f"ok    {name}", flush=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
