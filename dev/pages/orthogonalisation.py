"""The numbers of dev/orthogonalisation/README.md."""

import statistics
from pathlib import Path

from experiments import inference

from .page import Page, read, short

HERE = Path(__file__).resolve().parent.parent / "orthogonalisation"
ORDER = ("jordan", "varied", "polar-express", "nanochat", "modula", "cubic", "track3", "muown")
COLUMNS = ("worst", "rms")


def maps(page):
    rows = {(r["flavour"], int(r["steps"])): {k: float(v) for k, v in r.items() if k != "flavour"}
            for r in read(HERE / "ranges.csv")}
    own = {name: row for (name, _), row in rows.items() if row["own"] == 1}
    page.table("map", ["flavour", "iterations", "products", "slope at 0", "a product lifts by", "above 1/2 from",
                       "0.001..1 becomes", "0.01..1 becomes"],
               [[f"`{name}`", f"{r['steps']:.0f}", f"{r['products']:.0f}", f"{r['slope']:.0f}",
                 f"{r['slope'] ** (1 / r['products']):.2f}", f"{r['half_from']:.5f}" if r["half_from"] > 1e-4 else "below 0.0001",
                 f"{r['least_from_0.001']:.3f} .. {r['most_from_0.001']:.3f}",
                 f"{r['least_from_0.01']:.3f} .. {r['most_from_0.01']:.3f}"]
                for name, r in ((name, own[name]) for name in ORDER)])
    forever = rows["jordan", 100]
    page.say("after a hundred iterations values from 0.001 to 1 lie anywhere between {:.3f} and {:.3f}",
             forever["least_from_0.001"], forever["most_from_0.001"])

    def off(row, start):
        return max(1 - row[f"least_from_{start}"], row[f"most_from_{start}"] - 1)

    page.say("those from 0.01 on end within {:.3f} of 1 (`jordan`: {:.3f})", off(own["varied"], 0.01), off(own["jordan"], 0.01),
             holds=own["varied"]["products"] == own["jordan"]["products"])
    page.say("those from 0.001 on within {:.3f} (`jordan`: {:.3f})", off(own["varied"], 0.001), off(own["jordan"], 0.001))
    cut = rows["polar-express", 4]
    page.say("without the last, values from 0.01 on end between {:.2f} and {:.2f}", cut["least_from_0.01"], cut["most_from_0.01"])
    page.say("{:.3f} .. {:.3f} of its whole interval", own["polar-express"]["least_from_0.01"],
             own["polar-express"]["most_from_0.01"])
    page.say("below 1 by {:.4f} at least", 1 - own["modula"]["most_from_0.001"])


def matrices(page):
    rows = read(HERE / "deviation.csv")
    own = {(r["matrix"], r["flavour"]): r for r in rows if r["own"] == "1" or r["flavour"] == "exact"}

    def of(matrix, flavour, column):
        return float(own[matrix, flavour][column])

    page.table("matrices", ["flavour", "MFLOP", *(f"{m}: {c}" for m in ("gaussian", "log-spaced", "gradient-like") for c in ("max", "rms"))],
               [[f"`{name}`", f"{of('gradient-like', name, 'mflop'):.0f}" if name != "exact" else "-",
                 *(short(of(matrix, name, c)) for matrix in ("gaussian", "log-spaced", "gradient-like") for c in COLUMNS)]
                for name in (*ORDER, "exact")])
    page.say("is {:.1f} on the gaussian, {:.0f} on the log-spaced and {:.0f} on the gradient-like",
             *(of(m, "jordan", "rms") / of(m, "track3", "rms") for m in ("gaussian", "log-spaced", "gradient-like")))
    smallest = [float(r["smallest"]) for r in read(HERE / "matrices.csv") if r["matrix"] == "gaussian"]
    page.say("lies between {} and {} of the Frobenius norm", min(smallest), max(smallest))
    page.say("leaves a largest deviation of {} to {}, and an rms of {} to {}",
             *(of("gaussian", "track3", c) for c in ("worst_least", "worst_most", "rms_least", "rms_most")))
    page.say("{:.0f} times the CPU time of `jordan` on 1024 x 256 and {:.0f} times on 256 x 256",
             *(of(m, "exact", "ms") / of(m, "jordan", "ms") for m in ("gradient-like", "gaussian")))
    page.say("leaves {} at most", max(of(m, "exact", "worst_most") for m in ("gaussian", "log-spaced", "gradient-like")))


def losses(page):
    rows = read(HERE / "losses.csv")
    final, search = {}, {}
    for r in rows:
        if r["stage"] == "final":
            final.setdefault(r["run"], {})[r["seed"]] = float(r["val_loss"])
        else:
            search.setdefault(r["run"], {}).setdefault(float(r["lr"]), []).append(float(r["val_loss"]))
    rates = {name: min(by_rate, key=lambda lr: statistics.fmean(by_rate[lr])) for name, by_rate in search.items()}
    for name, lr in rates.items():
        if lr in (min(search[name]), max(search[name])):
            page.fault(f"{name}'s best rate is at the edge of its grid")
    others = [name for name in ("jordan-3", *ORDER) if name in final]
    against = {name: inference.paired(final[name], final["exact"]) for name in others}
    adjusted = dict(zip(others, inference.holm([against[name].p for name in others])))

    def line(name):
        mean = inference.mean(list(final[name].values()))
        cells = [f"`{name}`" if name != "jordan-3" else "`jordan`, 3 iterations", f"{rates[name]:g}", f"{mean.value:.4f}",
                 f"{statistics.stdev(final[name].values()):.4f}"]
        if name == "exact":
            return [*cells, "", ""]
        d = against[name]
        return [*cells, f"{d.value:+.4f} ({d.low:+.4f} to {d.high:+.4f})", f"{adjusted[name]:.2g}"]

    page.table("losses", ["run", "best rate", "loss, mean of six seeds", "seeds' standard deviation", "minus `exact`, paired (95%)",
                          "p, after Holm"], [line(name) for name in (*others, "exact")])
    page.say("best rate is {:g} among rates a factor of two apart", *set(rates.values()), holds=len(set(rates.values())) == 1)
    own = [name for name in ORDER if name in final]
    page.say("differ by {:.3f}, their standard deviation pooled over flavours",
             statistics.fmean(statistics.variance(final[name].values()) for name in (*own, "exact")) ** 0.5)
    few = against["jordan-3"]
    page.say("ends {:.3f} nats above `exact` ({:.3f} to {:.3f})", few.value, few.low, few.high, holds=adjusted["jordan-3"] < 0.05)
    means = {name: statistics.fmean(final[name].values()) for name in (*own, "exact")}
    page.say("the means of flavours with their own iterations lie within {:.3f} nats of each other",
             max(means.values()) - min(means.values()))
    page.say("the means of six seeds lie within {:.3f} nats of each other", max(means.values()) - min(means.values()))
    page.say("of `jordan`'s {:.3f} a part may be that", against["jordan"].value)
    apart = [name for name in own if adjusted[name] < 0.05]
    page.expect(apart == [], f"no flavour differs from exact after Holm's adjustment, but {apart}")
    alone = [name for name in own if not against[name].low <= 0 <= against[name].high]
    jordan = against["jordan"]
    page.say("excludes 0, {:.3f} above `exact` ({:.3f} to {:.3f})", jordan.value, jordan.low, jordan.high, holds=alone == ["jordan"])
    page.say("after Holm's adjustment p is {:.2f}", adjusted["jordan"])


def numbers(check):
    page = Page(HERE / "README.md")
    page.given("values from 0.001 to 1 lie", "those from 0.01 on end", "those from 0.001 on within", "values from 0.01 on end",
               "factors of two from 0.02")
    maps(page)
    matrices(page)
    losses(page)
    return page.finish(check)
