"""The space of a sweep: a TOML file of options, with one value or several.

A knob is an option with several values. Between neighbouring values, and beyond the outermost ones, it goes on as they do:
by the same factor where values are positive (of 1 - x for decays such as beta2, whose distance from 1 counts), otherwise
by the same difference.
"""

import re
import tomllib
from dataclasses import dataclass, field

FROM_ONE = re.compile(r"(^|-)(beta[123]|momentum|momentum-start|ema-nesterov-decay|average-decay)$")  # 1 - x counts
SHARES = re.compile(r"(^|-)(cooldown|final-lr|dropout)$")  # at most 1
SEARCH_KEYS = {"method": "coordinate", "budget": 0, "seeds": [1000], "halving": 0, "retune": [], "random-seed": 1}


class SpaceError(Exception):
    """A space that cannot be searched; its text is for the user."""


def text_of(value):
    """A value as it stands on a command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def options_of(settings):
    """Command-line options of a dictionary from option to value."""
    words = []
    for name, value in settings.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", text_of(value)]
    return words


def label_of(settings):
    """lr=0.002,weight-decay=0.1: a point as part of a path and in tables."""
    return ",".join(f"{name}={text_of(value).replace('/', '_')}" for name, value in settings.items()) or "defaults"


@dataclass
class Knob:
    """An option with its values, in rising order where they are numbers; a range from values[0] to values[-1] where the
    search is random and `is_range`."""

    name: str
    values: list
    start: object
    is_range: bool = False

    @property
    def is_number(self):
        return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in self.values)

    def beyond(self, side):
        """The value that goes on below (-1) or above (1) all values, with 3 digits (of 1 - x where that counts); None: there is
        none."""
        if not self.is_number or len(self.values) < 2:
            return None
        from_one = FROM_ONE.search(self.name) is not None
        last, before = (self.values[-1], self.values[-2]) if side > 0 else (self.values[0], self.values[1])
        if from_one:
            last, before = 1 - last, 1 - before
        if last == 0:
            return None  # no less than nothing
        value = last * last / before if last > 0 and before > 0 else 2 * last - before
        value = round(value) if all(isinstance(v, int) for v in self.values) else float(f"{value:.3g}")
        if from_one:
            value = round(1 - value, 9)
        known = text_of(value) in map(text_of, self.values)
        if known or (from_one and not 0 <= float(text_of(value)) < 1) or (SHARES.search(self.name) and not 0 <= value <= 1):
            return None
        return value

    def widen(self, side):
        """Adds the value beyond; returns it, or None."""
        value = self.beyond(side)
        if value is not None:
            self.values = [*self.values, value] if side > 0 else [value, *self.values]
        return value


@dataclass
class Contestant:
    """One optimizer of a sweep: what its table says."""

    name: str
    fixed: dict
    knobs: list


@dataclass
class Space:
    """What a space's file says."""

    run: dict  # options of every run
    contestants: list
    method: str
    budget: int  # runs of each contestant's search at each size; 0: no limit
    seeds: list  # of the search
    halving: int
    retune: list  # knobs that are searched at other sizes than the first
    random_seed: int
    sizes: list = field(default_factory=lambda: [1])  # factors of the steps
    final: list = field(default_factory=list)  # seeds with which the best of the first size are run
    others: list = field(default_factory=list)  # of the other sizes
    text: str = ""


def knob_of(name, given, where, method):
    """A Knob, or the value itself where there is only one."""
    if isinstance(given, list):
        given = {"values": given}
    if not isinstance(given, dict):
        return given
    unknown = set(given) - {"values", "start", "factor", "from", "to"}
    if unknown:
        raise SpaceError(f"{where}.{name}: {sorted(unknown)[0]} is no part of a knob: values, start, factor, from, to")
    if "from" in given or "to" in given:
        if method != "random":
            raise SpaceError(f"{where}.{name}: a range, from and to, is for method \"random\"; give values")
        if set(given) != {"from", "to"} or not 0 < given["from"] < given["to"]:
            raise SpaceError(f"{where}.{name}: a range is {{ from = X, to = Y }} with 0 < X < Y, drawn by its logarithm")
        return Knob(name, [given["from"], given["to"]], given["from"], is_range=True)
    if "factor" in given:
        start, factor = given.get("start"), given["factor"]
        if not isinstance(start, (int, float)) or start <= 0 or factor <= 1 or "values" in given:
            raise SpaceError(f"{where}.{name}: {{ start = X, factor = F }} with X > 0 and F > 1")
        return Knob(name, [float(f"{start / factor:.3g}"), start, float(f"{start * factor:.3g}")], start)
    values = given.get("values", [])
    if len(values) < 2 or len(set(map(text_of, values))) < len(values):
        raise SpaceError(f"{where}.{name}: a knob wants at least two different values")
    knob = Knob(name, list(values), given.get("start", values[(len(values) - 1) // 2]))
    if knob.is_number:
        knob.values.sort()
    if knob.start not in knob.values:
        raise SpaceError(f"{where}.{name}: start = {text_of(knob.start)} is not among its values")
    return knob


def read(path):
    """The Space in a file; SpaceError or OSError."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
        tables = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path}: {error}") from error
    unknown = set(tables) - {"run", "search", "optimizer", "sizes", "final"}
    if unknown:
        raise SpaceError(f"{path}: {sorted(unknown)[0]} is none of run, search, optimizer, sizes, final")
    search = tables.get("search", {})
    if set(search) - set(SEARCH_KEYS):
        raise SpaceError(f"{path}: search.{sorted(set(search) - set(SEARCH_KEYS))[0]} is none of {', '.join(SEARCH_KEYS)}")
    search = SEARCH_KEYS | search
    if search["method"] not in ("grid", "random", "coordinate"):
        raise SpaceError(f"{path}: search.method is grid, random or coordinate, not {search['method']}")
    if search["method"] == "random" and search["budget"] <= 0:
        raise SpaceError(f"{path}: a random search ends only with its budget: search.budget = N")
    if search["halving"] and search["method"] == "coordinate":
        raise SpaceError(f"{path}: halving is for grid and random: a coordinate's few values are all run to the end")
    if not tables.get("optimizer"):
        raise SpaceError(f"{path}: there is no table [optimizer.NAME]")
    run = tables.get("run", {})
    if "steps" not in run:
        raise SpaceError(f"{path}: [run] has no steps")
    for table, known in (("sizes", {"factors"}), ("final", {"seeds", "others"})):
        if set(tables.get(table, {})) - known:
            raise SpaceError(f"{path}: {table}.{sorted(set(tables[table]) - known)[0]} is not among {', '.join(sorted(known))}")
    sizes, final = tables.get("sizes", {}).get("factors", [1]), tables.get("final", {}).get("seeds", [])
    others = tables.get("final", {}).get("others", final)
    if len(sizes) > 1 and not search["retune"] and not final:
        raise SpaceError(f"{path}: nothing is run at the other sizes without search.retune or final.seeds")
    contestants = []
    for name, options in tables["optimizer"].items():
        where = f"{path}: optimizer.{name}"
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name):
            raise SpaceError(f"{where}: a name is of letters, digits and _ . + -")
        knobs, fixed = [], {"optimizer": name}
        for option, given in options.items():
            knob = knob_of(option, given, where, search["method"])
            if isinstance(knob, Knob):
                if option == "steps":
                    raise SpaceError(f"{where}: steps is no knob; its sizes are those of [sizes]")
                knobs.append(knob)
            else:
                fixed[option] = knob
        for missing in set(search["retune"]) - {k.name for k in knobs}:
            raise SpaceError(f"{where}: search.retune names {missing}, which is no knob of it")
        contestants.append(Contestant(name, fixed, knobs))
    return Space(run, contestants, search["method"], search["budget"], search["seeds"], search["halving"], search["retune"],
                 search["random-seed"], sizes, final, others, raw.decode())
