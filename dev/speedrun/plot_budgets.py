#!/usr/bin/env python3
"""Draws README.md's picture: final losses of AdamW and others against training tokens, and the law through AdamW's. Beside
Muon's, if there is no third, stands how much data AdamW needs for them.

    PYTHONPATH=dev python dev/speedrun/plot_budgets.py FILE.svg COMPARE.csv [SWEEP.csv...]

COMPARE.csv is `dev/compare`'s, SWEEP.csv are of sweeps that add seeds or budgets.
"""

import sys
from pathlib import Path

from experiments import figures, report
from pages.versus import Versus


def main():
    out, *tables = map(Path, sys.argv[1:])
    versus = Versus(*tables)
    groups = {label: (i, {versus.tokens[steps]: versus.losses[label, steps] for steps in versus.budgets_of(label)})
              for i, label in enumerate(versus.labels)}
    multiples = {("muon", versus.tokens[steps]): m.value for steps, m in versus.multiples.items()} if len(groups) == 2 else {}
    out.write_text(figures.alone(figures.budgets(groups, "adamw", versus.law, multiples, list(groups)), report.STYLE))


if __name__ == "__main__":
    main()
