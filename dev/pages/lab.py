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
CELLS = [(condition, batch) for condition in ("100", "1000", "10000") for batch in ("4096", "256", "32")]


def theory(page):
    rows = [{k: float(v) for k, v in r.items()} for r in read(HERE / "results/theory.csv")]
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

    spectral = fifth("spectral")
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

    def mean(rule, cell):
        return statistics.fmean(logs["rotated", *cell, rule].values())

    def ratio(a, b, cell, inputs=("rotated", "rotated")):
        """Geometric mean of excess of a over that of b, with its interval, paired by seed."""
        d = inference.paired(logs[inputs[0], *cell, a], logs[inputs[1], *cell, b])
        return 10**d.value, 10**d.low, 10**d.high

    def cell_text(rule, cell):
        best = min(NAMES, key=lambda other: mean(other, cell))
        level = rule == best or ratio(rule, best, cell)[1] <= 1
        text = short(10 ** mean(rule, cell))
        momentum = short(float(chosen["rotated", *cell, rule]["momentum"]))
        return f"**{text}** ({momentum})" if level else f"{text} ({momentum})"

    for condition in ("100", "1000", "10000"):
        page.table(f"contest-{condition}", [f"condition {condition}", "all rows", "batch 256", "batch 32"],
                   [[name, *(cell_text(rule, (condition, batch)) for batch in ("4096", "256", "32"))] for rule, name in NAMES.items()])
    page.table("rotation", ["AdamW, rotated / aligned", "all rows", "batch 256", "batch 32"],
               [[f"condition {condition}"] + ["{} ({} to {})".format(*map(short, ratio("adamw", "adamw", (condition, batch), ("rotated", "ill"))))
                                              for batch in ("4096", "256", "32")] for condition in ("100", "1000", "10000")])
    return logs, chosen, mean, ratio


def updates(page):
    rows = read(HERE / "results/updates.csv")

    def of(rule, step, column):
        return [float(r[column]) for r in rows if (r["rule"], r["step"]) == (rule, step)]

    def cell(rule, step, column, digits):
        values = of(rule, step, column)
        return "-" if max(values) == 0 else f"{statistics.fmean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

    page.say("a stable rank of {:.1f} to {:.1f} of 32", min(of("sgd", "0", "gradient_rank")), max(of("sgd", "0", "gradient_rank")))
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


def numbers(check):
    page = Page(HERE / "README.md")
    theory(page)
    cycle(page)
    nuclear(page)
    contest(page)
    updates(page)
    memory(page)
    return page.finish(check)
