"""AdamW and Muon at several budgets, from the .csv that `dev/compare` writes."""

from .page import read


class Versus:
    def __init__(self, path):
        self.rows = {(r["label"], int(r["steps"])): r for r in read(path)}
        self.budgets = sorted(steps for label, steps in self.rows if label == "adamw")

    def number(self, label, steps, column):
        return float(self.rows[label, steps][column])

    def multiples(self):
        return [self.number("muon", steps, "data_multiple") for steps in self.budgets]

    def beyond(self):
        """Of each budget, whether its multiple lies beyond the budgets that were run."""
        return [self.rows["muon", steps]["beyond"] == "1" for steps in self.budgets]

    def cells(self, steps):
        def half(label):
            mean = self.number(label, steps, "mean")
            return f"{mean:.4f} +- {self.number(label, steps, 'mean_high') - mean:.4f}"

        difference, low, high = (f"{self.number('muon', steps, f'difference{end}'):+.4f}" for end in ("", "_low", "_high"))
        multiple, least, most = (f"{self.number('muon', steps, f'data_multiple{end}'):.2f}" for end in ("", "_low", "_high"))
        return [f"{steps:,}", self.rows["adamw", steps]["seeds"], half("adamw"), half("muon"), f"{difference} ({low} to {high})",
                f"{multiple} ({least} to {most}){' *' if self.rows['muon', steps]['beyond'] == '1' else ''}"]

    def table(self, page, name):
        page.table(name, ["steps", "seeds", "AdamW", "Muon", "difference, 95% interval", "AdamW's data for Muon's loss"],
                   map(self.cells, self.budgets))

    def law(self, page):
        law = self.rows["adamw", self.budgets[0]]
        page.say("L = {:.3f} + {:.3f} (D / {:.2f}M)^-{:.2f}", float(law["law E"]), float(law["law A"]), float(law["law unit"]) / 1e6,
                 float(law["law a"]))
