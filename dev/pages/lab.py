"""The numbers of dev/lab/README.md."""

import math
import statistics
from pathlib import Path

from experiments import inference

from .page import Page, read, short

HERE = Path(__file__).resolve().parent.parent / "lab"
NAMES = {
    "sgd": "SGD",
    "adamw": "AdamW",
    "muon": "Muon, exact polar factor",
    "muon-jordan": "Muon, 5 Newton-Schulz steps",
    "nuclear": "Muon, nuclear-norm step",
    "shampoo": "Shampoo",
    "soap": "SOAP",
}
CONDITIONS, BATCHES = ("100", "1000", "10000"), ("4096", "256", "32")
CELLS = [(condition, batch) for condition in CONDITIONS for batch in BATCHES]
ROUNDING = 1e-11  # of the floor: what lies below is fp32's


def theory(page):
    rows = [{k: float(v) for k, v in r.items()} for r in read(HERE / "results/theory.csv")]
    page.say("the Hessian's condition number is {:.1f}", rows[0]["condition"])
    best = [r for r in rows if r["lr_over_best"] == 1 and r["condition"] > 2]
    page.say("Measured shrinkage is within {:.0f}% of theory", max(100 * abs((1 - r["measured"]) / (1 - r["theory"]) - 1) for r in best))
    for phrase, momentum in (("{:.5f} a step without momentum (theory {:.5f})", False), ("{:.3f} with it ({:.3f})", True)):
        last = next(r for r in best if r["condition"] > 1000 and (r["momentum"] > 0) == momentum)
        page.say(phrase, 1 - last["measured"], 1 - last["theory"])


def cycle(page):
    rows = read(HERE / "results/cycle.csv")

    def over_rate(rule, batch, schedule="constant", lr=None):
        column = "rms_distance" if schedule == "constant" else "last_distance"
        return [float(r[column]) / float(r["lr"]) for r in rows
                if (r["rule"], r["batch"], r["schedule"]) == (rule, batch, schedule) and lr in (None, r["lr"])]

    def slope(rule):
        points = [(math.log(float(r["lr"])), math.log(float(r["rms_distance"]))) for r in rows
                  if (r["rule"], r["batch"], r["schedule"]) == (rule, "4096", "constant")]
        return statistics.linear_regression(*zip(*points)).slope

    all_rows = over_rate("spectral", "4096")
    page.say("rate x sqrt(32/3) = {:.2f} rate", math.sqrt(32 / 3))
    page.say("the distance is {:.2f} to {:.2f} times the rate, over all rates and six seeds, with slope {:.3f} on log-log",
             min(all_rows), max(all_rows), slope("spectral"), holds=max(all_rows) < math.sqrt(32 / 3))
    page.say("Newton-Schulz steps in place of the exact polar factor give {:.2f} to {:.2f}",
             min(over_rate("spectral-jordan", "4096")), max(over_rate("spectral-jordan", "4096")))
    page.say("Muon's momentum {:.2f} to {:.2f}", min(over_rate("muon", "4096")), max(over_rate("muon", "4096")))
    page.say("AdamW has a cycle too, {:.2f} to {:.2f} times its rate", min(over_rate("adamw", "4096")), max(over_rate("adamw", "4096")))
    page.say("at rate 0.04 the distance of spectral descent is {:.1f} times its rate instead of {:.1f}",
             statistics.fmean(over_rate("spectral", "256", lr="0.04")), statistics.fmean(over_rate("spectral", "4096", lr="0.04")))
    falls = []
    for batch in ("4096", "256"):
        for rule in ("spectral", "spectral-jordan", "muon", "adamw"):
            for lr in sorted({r["lr"] for r in rows}):
                pairs = zip(over_rate(rule, batch, "constant", lr), over_rate(rule, batch, "linear", lr))
                falls += [(batch, a / b) for a, b in pairs]
    page.say("ends at least {:.0f} times nearer with all rows and {:.1f} times at batch 256",
             *(math.floor(10 * min(x for b, x in falls if b == batch)) / 10 for batch in ("4096", "256")),
             holds=min(x for _, x in falls) > 1)


def nuclear(page):
    page.say("in all six seeds the excess is below {} of the floor after 300 steps",
             max(float(r["excess_over_floor"]) for r in read(HERE / "results/nuclear.csv")))


def memory(page):
    rows = read(HERE / "results/memory.csv")
    last = max(int(r["step"]) for r in rows)

    def fifth(name):
        by_seed = {}
        for r in rows:
            if r["beta2"] == name and int(r["step"]) > 0.8 * last:
                by_seed.setdefault(r["seed"], []).append(float(r["excess_over_floor"]))
        return {s: statistics.fmean(v) for s, v in by_seed.items()}

    trough = {}
    for r in rows:
        if r["beta2"] == "0.99":
            trough.setdefault(int(r["step"]), []).append(float(r["excess_over_floor"]))
    step = min(trough, key=lambda step: statistics.geometric_mean(trough[step]))
    page.say("passes through a trough, {:.2f} of the floor at step {:d};", statistics.geometric_mean(trough[step]), step)
    spectral = fifth("spectral")
    for name in ("0", "0.9", "0.99"):
        apart = inference.paired(fifth(name), spectral).value / statistics.fmean(spectral.values())
        page.expect(abs(apart) < 0.15, f"the cycle of Shampoo with beta2 {name} is like spectral descent's: {apart:+.0%}")
    page.table("memory", ["", "excess, mean of the last fifth", "minus spectral descent's, paired (95%)"],
               [["spectral descent", f"{statistics.fmean(spectral.values()):.3f}", ""]] +
               [[f"Shampoo, beta2 {name}", f"{statistics.fmean(fifth(name).values()):.3f}", interval(inference.paired(fifth(name), spectral), 3)]
                for name in ("0", "0.9", "0.99")])


def interval(d, digits):
    return f"{d.value:+.{digits}f} ({d.low:+.{digits}f} to {d.high:+.{digits}f})"


def contest(page):
    rows = read(HERE / "results/final.csv")
    logs, chosen = {}, {}
    for r in rows:
        key = r["inputs"], r["condition"], r["batch"], r["rule"]
        logs.setdefault(key, {})[r["seed"]] = math.log10(float(r["excess_over_floor"]))
        chosen[key] = r
    search_edges(page, chosen)
    longest = [r["beta2"] for key, r in chosen.items() if key[0] == "rotated" and key[3] in ("shampoo", "soap")]
    page.say("above 0.99 in {} of their {} cells", sum(float(beta2) > 0.99 for beta2 in longest), len(longest))
    gains = list(gains_beyond("0.999", chosen))
    page.say("in the {} where it is above 0.999 it gains {:.0f}% at most", len(gains), math.ceil(100 * max(gains)))

    def mean(rule, cell):
        return 10 ** statistics.fmean(logs["rotated", *cell, rule].values())

    def ratio(a, b, cell, inputs=("rotated", "rotated")):
        """Geometric mean of the excess of a over that of b, and its interval, paired by seed."""
        d = inference.paired(logs[inputs[0], *cell, a], logs[inputs[1], *cell, b])
        return 10**d.value, 10**d.low, 10**d.high

    def cell_text(rule, cell):
        best = min(NAMES, key=lambda other: mean(other, cell))
        level = rule == best or mean(rule, cell) < ROUNDING or ratio(rule, best, cell)[1] <= 1
        text = f"{short(mean(rule, cell))} ({short(float(chosen['rotated', *cell, rule]['momentum']))})"
        return text.replace(text.split()[0], f"**{text.split()[0]}**") if level else text

    for condition in CONDITIONS:
        page.table(f"contest-{condition}", [f"condition {condition}", "all rows", "batch 256", "batch 32"],
                   [[name, *(cell_text(rule, (condition, batch)) for batch in BATCHES)] for rule, name in NAMES.items()])
    contest_text(page, chosen, mean, ratio)
    rotation(page, logs, ratio)


def contest_text(page, chosen, mean, ratio):
    memory_rules, others = ("shampoo", "soap"), ("sgd", "adamw", "muon", "muon-jordan", "nuclear")

    def lead(cell):
        return min(memory_rules, key=lambda rule: mean(rule, cell))

    page.say("solve the problem at every condition**, to {} of the floor or less",
             max(mean(rule, (c, "4096")) for rule in memory_rules for c in CONDITIONS))
    page.say("At condition 10000 the best of the others is left with {};", min(mean(rule, ("10000", "4096")) for rule in others))
    hard = [(c, b) for c in ("1000", "10000") for b in ("256", "32")]
    behind = {cell: ratio(min(others, key=lambda rule: mean(rule, cell)), lead(cell), cell) for cell in hard}
    page.say("has {:.1f} to {:.1f} times the excess of the better of the two, and every interval is above 1",
             min(r[0] for r in behind.values()), max(r[0] for r in behind.values()), holds=min(r[1] for r in behind.values()) > 1)
    phrases = {("nuclear", "256"): "at batch 256 the nuclear-norm step has {:.2f} times Shampoo's excess ({:.2f} to {:.2f})",
               ("sgd", "256"): "and SGD {:.2f} ({:.2f} to {:.2f}); at batch 32",
               ("sgd", "32"): "at batch 32 SGD's {:.2f} ({:.2f} to {:.2f}) cannot be told from 1"}
    for (rule, batch), phrase in phrases.items():
        against = ratio(rule, "shampoo", ("100", batch))
        page.say(phrase, *against, holds=against[2] < 1 if batch == "256" else against[1] < 1 < against[2])
    for rule, phrase in (("sgd", "SGD's excess is {:.1f}, {:.1f} and {:.0f} times"), ("muon-jordan", "Muon's, with five Newton-Schulz steps, {:.1f}, {:.1f} and {:.1f} times")):
        page.say(phrase, *(ratio(rule, lead((c, "256")), (c, "256"))[0] for c in CONDITIONS))
    exact = {cell: ratio("muon", "muon-jordan", cell) for cell in CELLS if cell[1] != "4096"}
    large = [cell for cell in exact if cell[0] != "100"]
    page.say("between {:.2f} and {:.2f} times that with five Newton-Schulz steps",
             min(exact[cell][0] for cell in large), max(exact[cell][0] for cell in large))
    momenta = [float(r["momentum"]) for key, r in chosen.items() if key[0] == "rotated" and key[3] == "sgd"]
    page.say("SGD's from {:.1f} to {:.2f}", min(momenta), max(momenta))
    momenta = [float(r["momentum"]) for key, r in chosen.items() if key[0] == "rotated" and key[3] in memory_rules]
    page.say("Shampoo's and SOAP's from {:.0f} to {:.1f}", min(momenta), max(momenta))


def rotation(page, logs, ratio):
    """AdamW where the data's axes are the weights' axes, and where they are not."""
    cost = {(c, b): ratio("adamw", "adamw", (c, b), ("rotated", "ill")) for c in CONDITIONS for b in ("256", "32")}
    page.table("rotation", ["AdamW, rotated over aligned", "batch 256", "batch 32"],
               [[f"condition {c}"] + ["{} ({} to {})".format(*map(short, cost[c, b])) for b in ("256", "32")] for c in CONDITIONS])
    page.say("{:.1f} to {:.0f} times at conditions 1000 and 10000", min(r[0] for (c, _), r in cost.items() if c != "100"),
             max(r[0] for r in cost.values()), holds=min(r[1] for (c, _), r in cost.items() if c != "100") > 1)
    alone = {(i, c): 10 ** statistics.fmean(logs[i, c, "4096", "adamw"].values()) for i in ("ill", "rotated") for c in CONDITIONS}
    page.say("with all rows it ends at {} of the floor or less on aligned inputs and at {} on rotated ones at condition 10000",
             max(alone["ill", c] for c in CONDITIONS), alone["rotated", "10000"])


def updates(page):
    rows = read(HERE / "results/updates.csv")

    def of(rule, step, column):
        return [float(r[column]) for r in rows if (r["rule"], r["step"]) == (rule, step)]

    def cell(rule, step, column, digits):
        values = of(rule, step, column)
        return "-" if max(values) == 0 else f"{statistics.fmean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

    page.say("a stable rank of {:.1f} to {:.1f} of 32", min(of("sgd", "0", "gradient_rank")), max(of("sgd", "0", "gradient_rank")))
    page.say("stable rank of {:.1f} in Shampoo and {:.1f} in SOAP by step 150, where Muon's is {:.0f} with the exact factor and {:.0f} with",
             *(statistics.fmean(of(rule, "150", "update_rank")) for rule in ("shampoo", "soap", "muon", "muon-jordan")))
    page.table("updates", ["", "first step: stable rank", "share attained", "step 150: stable rank", "share attained"],
               [[name] + [cell(rule, step, column, digits) for step in ("0", "150")
                          for column, digits in (("update_rank", 1), ("attained", 2))] for rule, name in NAMES.items()])


def search_edges(page, chosen):
    """Refuses a table whose best rates are the outermost of those that were tried."""
    tried = {}
    for r in read(HERE / "results/search.csv"):
        tried.setdefault((r["inputs"], r["condition"], r["batch"], r["rule"], r["schedule"]), []).append(r)
    for key, best in chosen.items():
        same = [float(r["lr"]) for r in tried[*key, best["schedule"]] if float(r["momentum"]) == float(best["momentum"])]
        if float(best["lr"]) in (min(same), max(same)):
            page.fault(f"{key}: the best rate is an outermost one")


def gains_beyond(beta2, chosen):
    """By how much the excess of Shampoo and SOAP is more, in the search, where a beta2 that was chosen above this is this."""
    knobs = ("inputs", "condition", "batch", "schedule", "rule", "lr", "momentum")
    losses = {(*(r[k] for k in knobs), r["beta2"]): float(r["log10_excess"]) for r in read(HERE / "results/search.csv")}
    for r in chosen.values():
        key = tuple(r[k] for k in knobs)
        if r["inputs"] == "rotated" and r["rule"] in ("shampoo", "soap") and float(r["beta2"]) > float(beta2):
            yield 10 ** (losses[*key, beta2] - losses[*key, r["beta2"]]) - 1


def numbers(check):
    page = Page(HERE / "README.md")
    page.given("0.1 N(0,1)", "0.9 of that shrinkage", "at rate 0.04", "rate 0.1", "with beta2 0.99", "below 1e-11")
    page.given("momentum 0, 0.5, 0.8, 0.9, 0.95 or 0.98", "0, 0.9, 0.99, 0.999 and on", "above 0.99", "where it is above 0.999", "at most over 0.999")
    theory(page)
    cycle(page)
    nuclear(page)
    contest(page)
    updates(page)
    memory(page)
    return page.finish(check)
