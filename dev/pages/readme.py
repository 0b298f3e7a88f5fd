"""Numbers of README.md that come from small tables; those of its speed are from `make bench`, on the machine that it names."""

import statistics
from pathlib import Path

from .page import Page, read

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
    rows = {(r["label"], int(r["steps"])): r for r in read(results / "compare.csv")}
    budgets = sorted(steps for label, steps in rows if label == "adamw")

    def number(label, steps, column):
        return float(rows[label, steps][column])

    def cells(steps):
        muon = rows["muon", steps]
        half = [f"{number(o, steps, 'mean'):.4f} +- {number(o, steps, 'mean_high') - number(o, steps, 'mean'):.4f}" for o in ("adamw", "muon")]
        low, high = (f"{number('muon', steps, f'difference_{end}'):+.4f}" for end in ("low", "high"))
        multiple = [f"{number('muon', steps, f'data_multiple{end}'):.2f}" for end in ("", "_low", "_high")]
        return [f"{steps:,}", rows["adamw", steps]["seeds"], *half, f"{number('muon', steps, 'difference'):+.4f} ({low} to {high})",
                f"{multiple[0]} ({multiple[1]} to {multiple[2]}){' *' if muon['beyond'] == '1' else ''}"]

    page.table("headline", ["steps", "seeds", "AdamW", "Muon", "difference, 95% interval", "AdamW's data for Muon's loss"], map(cells, budgets))
    multiples = [number("muon", steps, "data_multiple") for steps in budgets]
    page.say("falls as training grows longer: {:.1f} at 1M tokens, {:.1f} at 2M, {:.1f} at 4M, {:.1f} at 8M", *multiples,
             holds=multiples == sorted(multiples, reverse=True))
    page.expect([rows["muon", steps]["beyond"] for steps in budgets] == ["0", "0", "1", "1"], "the last two are beyond what was run")
    law = rows["adamw", budgets[0]]
    page.say("L = {:.3f} + {:.3f} (D / {:.2f}M)^-{:.2f}", float(law["law E"]), float(law["law A"]), float(law["law unit"]) / 1e6, float(law["law a"]))
    page.say("after 1,920 steps Muon is at {:.4f}, AdamW after 3,840 at {:.4f}", number("muon", 1920, "mean"), number("adamw", 3840, "mean"))
    losses = [float(pair.split(":")[1]) for pair in rows["adamw", 960]["losses"].split()]
    page.say("({:.4f}; the median is {:.4f})", max(losses), statistics.median(losses),
             holds=sum(x > 1.1 for x in losses) == 1 and len(losses) == 10)
    best = "lr=0.008,weight-decay=0.2,cooldown=0.4,beta2=0.95,warmup="
    search = {r["point"]: float(r["val_loss"]) for r in read(results / "sweep.csv") if (r["stage"], r["optimizer"], r["size"]) == ("search", "adamw", "1")}
    page.say("AdamW at half the warmup ended at {:.4f} in place of {:.4f}", search[best + "25"], search[best + "50"],
             holds=search[best + "50"] == min(search.values()))


def numbers(check):
    page = Page(ROOT / "README.md")
    headline(page)
    ranks(page)
    return page.finish(check, all_numbers=False)
