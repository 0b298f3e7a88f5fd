"""Numbers of README.md that come from small tables; those of its speed are from `make bench`, on the machine that it names."""

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


def numbers(check):
    page = Page(ROOT / "README.md")
    ranks(page)
    return page.finish(check, all_numbers=False)
