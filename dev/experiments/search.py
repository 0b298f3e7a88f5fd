"""Searches as generators: each yields lists of points to run and is sent their losses, infinity where a run diverged.

A point is a dictionary from a knob's name to its value. A search ends by itself, or when its budget of points is used up,
and then says so; both are told apart by what it leaves in `Search.notes`.
"""

import itertools
import math
import random

from .space import label_of, text_of


class Search:
    """The search of one contestant at one size of run. `best` and `best_loss` are valid whenever a loss is known."""

    def __init__(self, contestant, knobs, start, space):
        self.name, self.knobs, self.start = contestant.name, knobs, start
        self.budget = space.budget or math.inf
        self.seed = f"{space.random_seed} {contestant.name}"
        self.losses, self.points, self.notes = {}, {}, []
        self.best, self.best_loss = dict(start), math.inf
        self.method = getattr(self, space.method) if knobs or space.method == "grid" else self.nothing

    def ask(self, points):
        """Yields those that are not known yet, as far as the budget goes. Returns whether all are known now."""
        new = {label_of(p): p for p in points if label_of(p) not in self.losses}
        room = self.budget - len(self.losses)
        chosen = dict(list(new.items())[:min(len(new), room)])
        if chosen:
            for (label, point), loss in zip(chosen.items(), (yield list(chosen.values()))):
                self.losses[label], self.points[label] = loss, point
                if loss < self.best_loss:
                    self.best, self.best_loss = point, loss
        return len(chosen) == len(new)

    def loss(self, point):
        return self.losses.get(label_of(point), math.inf)

    def edges(self):
        """The knobs whose best value is an outermost one of those tried beside the best of all, and on which side."""
        for knob in self.knobs:
            if knob.is_number and not knob.is_range and len(knob.values) > 1:
                for side, outermost in ((-1, knob.values[0]), (1, knob.values[-1])):
                    if self.best[knob.name] == outermost and knob.beyond(side) is not None:
                        yield knob, side

    def used_up(self):
        at = ", ".join(f"{knob.name} = {text_of(self.best[knob.name])} at its edge" for knob, _ in self.edges())
        self.notes.append(f"the budget of {self.budget} points is used up" + (f"; {at}" if at else ""))

    def widen(self):
        """While the best is at an edge, the next value beyond it, with the best of the other knobs."""
        while edges := list(self.edges()):
            new = [self.best | {knob.name: knob.widen(side)} for knob, side in edges]
            if not (yield from self.ask(new)):
                return self.used_up()

    def nothing(self):
        """There is nothing to search."""
        yield from ()

    def grid(self):
        names = [k.name for k in self.knobs]
        points = [dict(zip(names, values)) for values in itertools.product(*(k.values for k in self.knobs))]
        if not (yield from self.ask(points)):
            return self.used_up()
        yield from self.widen()

    def coordinate(self):
        """One knob after the other: both neighbours of the best value, then on in the direction that is better, until
        a whole round changes nothing."""
        yield from self.ask([self.start])
        while True:
            before = label_of(self.best)
            for knob in self.knobs:
                if not (yield from self.descend(knob)):
                    return self.used_up()
            if label_of(self.best) == before:
                return None

    def descend(self, knob):
        """The best value of a knob, the others as in the best point. False: the budget is used up."""
        while True:
            if not knob.is_number:
                return (yield from self.ask([self.best | {knob.name: v} for v in knob.values]))
            here, around = self.best[knob.name], []
            for side in (-1, 1):
                at = knob.values.index(here) + side
                value = knob.values[at] if 0 <= at < len(knob.values) else knob.widen(side)
                if value is not None:
                    around.append(self.best | {knob.name: value})
            if not (yield from self.ask(around)):
                return False
            if self.best[knob.name] == here:
                return True

    def random(self):
        """A quarter of the budget at a time. Before the next, a range whose best lies in an outer tenth grows by a
        quarter on that side."""
        draw = random.Random(self.seed)
        part = math.ceil(self.budget / 4)
        while True:
            points = []
            for _ in range(part):
                point = {}
                for knob in self.knobs:
                    if knob.is_range:
                        low, high = map(math.log, knob.values)
                        point[knob.name] = float(f"{math.exp(draw.uniform(low, high)):.3g}")
                    else:
                        point[knob.name] = draw.choice(knob.values)
                points.append(point)
            if all(label_of(p) in self.losses for p in points):
                self.notes.append("no point is left that was not tried")
                return None
            if not (yield from self.ask(points)) or len(self.losses) >= self.budget:
                return self.used_up()
            for knob in self.knobs:
                if knob.is_range:
                    low, high = map(math.log, knob.values)
                    at = (math.log(self.best[knob.name]) - low) / (high - low)
                    if at < 0.1 or at > 0.9:
                        grown = (high - low) / 4
                        low, high = (low - grown, high) if at < 0.1 else (low, high + grown)
                        knob.values = [math.exp(low), math.exp(high)]
                        self.notes.append(f"{knob.name}'s range grew to {knob.values[0]:.3g} .. {knob.values[1]:.3g}")
