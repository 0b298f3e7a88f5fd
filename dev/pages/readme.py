"""Numbers of README.md and optim/README.md that come from small tables; those of speed are from `make bench`, on the
machine that they name."""

import statistics
from pathlib import Path

from .page import Page, read
from .versus import Versus

ROOT = Path(__file__).resolve().parents[2]


def ranks(page):
    rows = [r for r in read(ROOT / "dev/speedrun/results/diagnose-ranks.csv") if int(r["step"]) >= 100]

    def of(rules, parts, column):
        return [float(r[column]) for r in rows if r["rule"] in rules and r["of"] in parts]

    page.say("gradients and momenta have a stable rank of at most {:.0f} out of 128",
             max(of(("adamw", "muon"), ("gradient", "momentum"), "largest")))
    page.say("AdamW's updates of at most {:.0f}", max(of(("adamw",), ("update",), "largest")))
    page.say("Muon's have one of {:.0f} to {:.0f}", min(of(("muon",), ("update",), "least")), max(of(("muon",), ("update",), "largest")))


def headline(page):
    results = ROOT / "dev/speedrun/results"
    versus = Versus(results / "compare.csv", results / "sweep-8x.csv", results / "sweep-seeds.csv", floor=0.104)
    versus.table(page, "headline")
    multiples = [versus.multiples[steps].value for steps in versus.budgets]
    page.say("falls as training grows longer: {:.1f} at 1M tokens, {:.1f} at 2M, {:.1f} at 4M, {:.1f} at 8M", *multiples,
             holds=multiples == sorted(multiples, reverse=True))
    page.expect(not any(versus.beyond(steps) for steps in versus.budgets), "no multiple is beyond what was run")
    versus.say_law(page)
    page.say("the fifth, {:.4f}, is of 7,680 steps", versus.mean("adamw", 7680).value)
    page.say("Muon's {:.4f} after 3,840 is above AdamW's after 7,680", versus.mean("muon", 3840).value,
             holds=versus.mean("adamw", 7680).high < versus.mean("muon", 3840).low)
    page.say("after 1,920 steps Muon is at {:.4f}, AdamW after 3,840 at {:.4f}", versus.mean("muon", 1920).value,
             versus.mean("adamw", 3840).value)
    losses = list(versus.losses["adamw", 960].values())
    page.say("({:.4f}; the median is {:.4f})", max(losses), statistics.median(losses),
             holds=sum(x > 1.1 for x in losses) == 1 and len(losses) == 10)
    best = "lr=0.008,weight-decay=0.2,cooldown=0.4,beta2=0.95,warmup="
    search = {r["point"]: float(r["val_loss"]) for r in read(results / "sweep.csv") if (r["stage"], r["optimizer"], r["size"]) == ("search", "adamw", "1")}
    page.say("AdamW at half the warmup ended at {:.4f} in place of {:.4f}", search[best + "25"], search[best + "50"],
             holds=search[best + "50"] == min(search.values()))


def rules(page):
    rows = read(ROOT / "dev/speedrun/results/rules.csv")
    losses = {r["optimizer"]: float(r["last_val_loss"]) for r in rows}
    slow = [losses.pop(name) for name in ("lion", "cautious-lion", "sophia")]
    page.say("from a loss of {:.3f} they reach between {:.2f} (`sinksoap`) and {:.2f} (`signsgd`)", float(rows[0]["first_val_loss"]),
             losses["sinksoap"], losses["signsgd"], holds=(losses["sinksoap"], losses["signsgd"]) == (min(losses.values()), max(losses.values())))
    page.say("whose rates are the lowest, only {:.2f}, {:.2f} and {:.2f}", *slow, holds=min(slow) > max(losses.values()))


def costs(page):
    """Of optim/README.md: the FLOPs of an update of GPT-2's hidden matrices."""
    flops = {r["rule"]: float(r["flops"]) for r in read(ROOT / "dev/speedrun/results/costs.csv")}
    for rule, count in flops.items():
        line = next((line for line in page.text.splitlines() if line.startswith(f"| `{rule}` |")), "")
        page.expect(line.split(" | ")[-2:-1] == [f"{count / 1e9:.0f}" if count else ""], f"{rule}: {count / 1e9:.0f} GFLOP, in '{line}'")
    L, C, T, V = 12, 768, 1024, 50257
    token = 6 * (12 * L * C * C + V * C) + 12 * L * C * T
    page.say("The {:.0f} GFLOP of Jordan's five iterations are {:.1f}% of the forward and backward passes of 524,288 tokens in sequences "
             "of 1,024 and {:.0f}% of those of 2,048", flops["muon"] / 1e9, *(100 * flops["muon"] / (token * n) for n in (524288, 2048)))


def numbers(check):
    page = Page(ROOT / "README.md")
    headline(page)
    ranks(page)
    rules(page)
    optim = Page(ROOT / "optim/README.md")
    costs(optim)
    return page.finish(check, all_numbers=False) + optim.finish(check, all_numbers=False)
