"""AdamW and others at several budgets: losses, AdamW's data for the others', and the table of AdamW and Muon."""

import math

from experiments import inference

from .page import losses_of, read


class Versus:
    """From the .csv that `dev/compare` writes, and from the sweep.csv of sweeps that add seeds or budgets."""

    def __init__(self, compared, *added, floor=None):
        self.floor, self.losses, self.tokens = floor, {}, {}
        for r in read(compared):
            for seed, loss in losses_of(r).items():
                self.add(r["label"], r, seed, loss)
        for path in added:
            rows = read(path)
            whose = "final" if any(r["stage"] == "final" for r in rows) else "search"
            for r in rows:
                if r["stage"] == whose:
                    self.add(r["optimizer"], r, r["seed"], r["val_loss"])
        self.budgets = self.budgets_of("muon")
        self.baseline = {self.tokens[steps]: mine for (label, steps), mine in self.losses.items() if label == "adamw"}
        self.law = inference.law_of(self.baseline)
        self.multiples = {steps: self.multiple("muon", steps) for steps in self.budgets}

    def add(self, label, row, seed, loss):
        steps = int(row["steps"])
        self.tokens[steps] = int(row["tokens"])
        self.losses.setdefault((label, steps), {})[int(seed)] = float(loss)

    @property
    def labels(self):
        return list(dict.fromkeys(label for label, _ in self.losses))

    def budgets_of(self, label):
        return sorted(steps for name, steps in self.losses if name == label)

    def multiple(self, label, steps):
        """How many times the data AdamW needs for a label's loss."""
        return inference.data_multiple(self.baseline, self.losses[label, steps], self.tokens[steps])

    def mean(self, label, steps):
        return inference.mean(list(self.losses[label, steps].values()))

    def beyond(self, steps, multiple=None):
        """Whether Muon's multiple, or one, lies beyond AdamW's largest budget."""
        return (multiple or self.multiples[steps]).value * self.tokens[steps] > max(self.baseline)

    def over_laws(self, steps):
        """The least and the largest multiple by laws that might as well have been fitted: weighted and not; where there are
        budgets enough, without the smallest; where the text's floor is known and Muon's loss is not above both of them, the
        one that ends there, through the two largest."""
        budgets, loss = sorted(self.baseline), self.mean("muon", steps).value
        means = [inference.mean(list(self.baseline[D].values())).value for D in budgets]
        laws = [self.law, inference.fit_law(budgets, means), inference.fit_law(budgets[1:], means[1:])]
        if self.floor and loss <= means[-2]:
            (D1, D2), (L1, L2) = budgets[-2:], (mean - self.floor for mean in means[-2:])
            laws.append(inference.Law(self.floor, L2, math.log(L1 / L2) / math.log(D2 / D1), D2))
        found = [law.data(loss) / self.tokens[steps] for law in laws if law]
        return min(found), max(found)

    def cells(self, steps):
        adamw, muon = (self.mean(label, steps) for label in ("adamw", "muon"))
        e, m = inference.paired(self.losses["muon", steps], self.losses["adamw", steps]), self.multiples[steps]
        cells = [f"{steps:,}", str(e.n), *(f"{x.value:.4f} +- {x.high - x.value:.4f}" for x in (adamw, muon)),
                 f"{e.value:+.4f} ({e.low:+.4f} to {e.high:+.4f})",
                 f"{m.value:.2f} ({m.low:.2f} to {m.high:.2f}){' *' if self.beyond(steps) else ''}"]
        return cells + ["{:.2f} to {:.2f}".format(*self.over_laws(steps))] if self.several_laws else cells

    @property
    def several_laws(self):
        """Through three budgets there is but one."""
        return len(self.baseline) > 3

    def table(self, page, name):
        page.table(name, ["steps", "seeds", "AdamW", "Muon", "difference, 95% interval", "AdamW's data for Muon's loss",
                          *(["by other laws"] if self.several_laws else [])], map(self.cells, self.budgets))

    def say_law(self, page):
        page.say("L = {:.3f} + {:.3f} (D / {:.2f}M)^-{:.2f}", self.law.E, self.law.A, self.law.unit / 1e6, self.law.a)
