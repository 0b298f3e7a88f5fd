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


def numbers(check):
    page = Page(HERE / "README.md")
    gradients(page)
    return page.finish(check)
