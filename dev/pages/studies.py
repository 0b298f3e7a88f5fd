"""The numbers of dev/studies/README.md."""

import statistics
from pathlib import Path

from .page import Page, read

HERE = Path(__file__).resolve().parent.parent / "studies"
HIDDEN = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def gradients(page):
    rows = [r for r in read(HERE / "gradients/results/moments.csv") if r["tensor"] in HIDDEN]
    last = max(int(r["step"]) for r in rows)

    def of(column, first, end):
        return [float(r[column]) for r in rows if first <= int(r["step"]) <= end]

    page.given("table 6.1")
    page.given("While the rate is constant, from step 240 to 540,", "(1 + 0.9) / (1 - 0.9) = 19", "(1 + 0.95) / (1 - 0.95) = 39")
    page.say("the cosine of m with the gradient is {:.2f} on average, between {:.2f} and {:.2f}",
             statistics.fmean(of("cosine", 240, 540)), min(of("cosine", 240, 540)), max(of("cosine", 240, 540)),
             holds=statistics.fmean(of("cosine", 240, 540)) < 0)
    page.say("the mean of 19 fresh batches has {:.2f}", statistics.fmean(of("cosine_ideal", 240, 540)))
    page.say("it is {:.2f}, of {:.2f} that fresh batches have", statistics.fmean(of("cosine", last, last)),
             statistics.fmean(of("cosine_ideal", last, last)))
    page.say("v over the second moment is {:.2f} in the median", statistics.median(of("second", 240, last)))
    page.say("{:.2f} nats an element in the median where fresh batches leave {:.2f}", statistics.median(of("kl", 240, 540)),
             statistics.median(of("kl_ideal", 240, 540)))
    page.say("and {:.3f} of {:.3f} at the end", statistics.median(of("kl", last, last)), statistics.median(of("kl_ideal", last, last)))
    page.say("of at most {} of the elements", max(of("negative", 0, last)))
    for step, phrase in ((480, "In step 480 one batch gives {:.0f}% of the signs and 64 give {:.0f}%"),
                         (last, "at the end {:.0f}% and {:.0f}%")):
        page.say(phrase, *(100 * statistics.fmean(of(f"signs_{n}", step, step)) for n in (1, 64)))


def rare(page):
    rows = read(HERE / "rare/results/rare.csv")
    classes = {(r["rule"], int(r["from"])): {k: float(r[k]) for k in ("targets", "loss", "above", "low", "high")} for r in rows}
    froms = sorted({at for _, at in classes})

    def whole(rule):
        mine = [classes[rule, at] for at in froms]
        return sum(c["targets"] * c["loss"] for c in mine) / sum(c["targets"] for c in mine)

    def above(rule, first, end):
        return [classes[rule, at]["above"] for at in froms if first <= at < end]

    page.say("AdamW ends at {:.3f} nats a token, SGD at {:.3f}, Muon with AdamW for tables and vectors at {:.3f}, with SGD for them at {:.3f}",
             *map(whole, ("adamw", "sgd", "muon", "muon-sgd")), holds=whole("muon") < whole("adamw") < whole("sgd"))
    page.say("SGD lies {:.2f} to {:.2f} above AdamW where a token occurs 128 to 1,023 times in the text, and {:.2f} for the two most frequent",
             min(above("sgd", 128, 1024)), max(above("sgd", 128, 1024)), above("sgd", froms[-1], froms[-1] + 1)[0])
    page.say("where it occurs up to 15 times AdamW has {:.1f} to {:.1f} nats, SGD {:.1f} to {:.1f}",
             *(f(classes[rule, at]["loss"] for at in froms if at < 16) for rule in ("adamw", "sgd") for f in (min, max)))
    frequent = above("muon", 64, 1e9)
    page.say("Muon is below AdamW wherever a token occurs 64 times or more, by {:.2f} to {:.2f}", -max(frequent), -min(frequent),
             holds=max(frequent) < 0)
    page.say("up to 63 occurrences its losses are within {:.2f} of SGD's",
             max(abs(classes["muon-sgd", at]["loss"] - classes["sgd", at]["loss"]) for at in froms if at < 64))
    page.given("ln 4,096 = 8.3")


def numbers(check):
    page = Page(HERE / "README.md")
    gradients(page)
    rare(page)
    return page.finish(check)
