"""A page whose numbers come from tables: what stands in its text and what the tables say cannot part.

A page's script says each phrase that holds a number, with the value: `page.say("ends {:.3f} nats above", value)`. The phrase
is found in the page, wherever its lines break, and its numbers are put right. A script may also say under what condition a
sentence holds; a page whose conclusion its tables no longer bear is refused. So is a number with a decimal point, outside of
code, that no phrase covers. Tables stand between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import csv
import re
import string

NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
DECIMAL = re.compile(r"(?<![\w.,:/-])\d+(?:\.\d+(?:e-?\d+)?|e-?\d+)(?![\w/])")
CODE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", re.S)


def read(path):
    """The rows of a table as dictionaries; lines that begin with # are not part of it."""
    with open(path, newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def losses_of(row):
    """{seed: loss} of a row of the .csv that `dev/compare` writes."""
    return {int(seed): float(loss) for seed, loss in (pair.split(":") for pair in row["losses"].split())}


def short(value, digits=2):
    """A number with so many significant digits, without an exponent between 0.0001 and 100,000."""
    if 1 <= value < 1e5 and value >= 10**digits:
        return f"{value:.0f}"
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


class Page:
    def __init__(self, path):
        self.path = path
        self.text = self.before = path.read_text()
        self.covered, self.faults = [], []

    def fault(self, text):
        self.faults.append(f"{self.path}: {text}")

    def expect(self, holds, what):
        """A conclusion without a number of its own."""
        if not holds:
            self.fault(f"the tables do not bear it: {what}")

    def replace(self, start, end, text):
        """Puts text in the place of [start, end) and marks it as covered."""
        self.text = self.text[:start] + text + self.text[end:]
        moved = len(text) - (end - start)
        self.covered = [(a + moved, b + moved) if a >= end else (a, b) for a, b in self.covered] + [(start, start + len(text))]

    def say(self, phrase, *values, holds=True):
        """Puts the values into the numbers of a phrase, which stands in the page once."""
        parts = list(string.Formatter().parse(phrase))
        pattern = "".join(r"\s+".join(re.escape(word) for word in re.split(r"\s+", text)) + (f"({NUMBER})" if name is not None else "")
                          for text, name, _, _ in parts)
        found = list(re.finditer(pattern, self.text))
        if not holds:
            self.fault(f"the tables do not bear '{phrase}' {values}")
        if len(found) != 1:
            self.fault(f"{len(found)} times in it: '{phrase}'")
            return
        forms = [form for _, name, form, _ in parts if name is not None]
        for group, (form, value) in reversed(list(enumerate(zip(forms, values, strict=True), 1))):
            self.replace(*found[0].span(group), short(value) if form == "" and isinstance(value, float) else format(value, form))

    def table(self, name, head, rows):
        """The table of a name; cells are texts."""
        found = re.search(rf"(<!-- table: {name} -->\n).*?(?=<!-- end -->)", self.text, re.S)
        if found is None:
            self.fault(f"there is no <!-- table: {name} --> with an <!-- end -->")
            return
        lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
        self.replace(found.end(1), found.end(), "\n" + "\n".join(lines) + "\n\n")

    def given(self, *phrases):
        """Phrases whose numbers are settings, not results."""
        for phrase in phrases:
            found = re.search(r"\s+".join(map(re.escape, phrase.split())), self.text)
            if found is None:
                self.fault(f"0 times in it: '{phrase}'")
            else:
                self.covered.append(found.span())

    def uncovered(self):
        free = list(self.text)
        for start, end in [*self.covered, *(m.span() for m in CODE.finditer(self.text))]:
            free[start:end] = " " * (end - start)
        return DECIMAL.findall("".join(free))

    def finish(self, check, all_numbers=True):
        """Writes the page, or with `check` only compares. Returns what is wrong."""
        if all_numbers and (loose := self.uncovered()):
            self.fault(f"no table bears {', '.join(loose)}")
        if check and self.text != self.before:
            old, new = self.before.splitlines(), self.text.splitlines()
            line = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))
            self.fault(f"line {line + 1} is not what the tables say: {new[line] if line < len(new) else 'it is too long'}")
        if not check and not self.faults:
            self.path.write_text(self.text)
        return self.faults
