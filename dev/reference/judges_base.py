"""What all judges share: the registry of rules, their settings, helpers, and a rule's path."""

import numpy as np
import torch

T = 20  # steps

# --- Settings ---

RULES = {}


class Settings:
    """The hyperparameters of a rule as attributes: numbers, True and False for on and off, names of choices."""

    ns_norm, normuon_form = "frobenius", "modded"  # of rules without the options
    equal_rows = False
    added_eps = False  # of Newton-Schulz: added to the norm, as some authors do, and not its least value
    second = None  # of each step, for a second pass (of drawn labels, at the last parameters): the steps' own, reversed
    disturb = None  # disturb(x, name): what large terms of a sum and ill-conditioned factors go through, see conditions

    def __init__(self, text, defaults):
        given = dict(setting.split("=") for setting in text.split())
        for name, value in (dict(setting.split("=") for setting in defaults.split()) | given).items():
            setattr(self, name.replace("-", "_"), self.value(value))

    @staticmethod
    def value(text):
        if text in ("on", "off"):
            return text == "on"
        try:
            return float(text)
        except ValueError:
            return text


def judge(name, defaults="", states=lambda h, r, c: {}, elementwise=False, start=None):
    """Registers step(s, g, t, h): s holds "p" and the states before step t (from 1) with gradient g; it returns them
    after the step. `states` gives the shapes; all begin at zero unless start[name](shape, random) makes them."""

    def register(step):
        step.states, step.defaults, step.elementwise, step.start = states, defaults, elementwise, start or {}
        RULES[name] = step
        return step

    return register


def settle(text):
    """The rule and the settings of a case's text."""
    name, _, settings = text.partition(" ")
    return RULES[name], Settings(settings, RULES[name].defaults)


def full(*names):
    return lambda h, r, c: {name: (r, c) for name in names}


# --- What rules share ---


def norm(x):
    return np.sqrt((x * x).sum())


def largest(x):
    return np.abs(x).max()


def ema(b, old, new):
    return b * old + (1 - b) * new


def decayed(p, u, h):
    """Decoupled decay of p; cautious: only where u, which is subtracted, has p's sign or is 0."""
    shrinkage = h.lr * h.weight_decay * p
    return p - (np.where(u * p >= 0, shrinkage, 0) if h.cautious else shrinkage)


def decayed_step(p, u, h):
    return decayed(p, u, h) - h.lr * u


def hyperball(p, u, h):
    length = norm(p)
    moved = p - h.lr * length * u / max(norm(u), 1e-10)
    return length * moved / max(norm(moved), 1e-10)


def by_torch(make, names, s, g, t, more=None):
    """One step of a torch optimizer; names: {our state: theirs}, more: its state that is no array of ours."""
    p = torch.nn.Parameter(torch.from_numpy(s["p"].copy()))
    p.grad = torch.from_numpy(g.copy())
    optimizer = make([p])
    if t > 1 or more:
        state = {theirs: torch.from_numpy(s[ours].copy()) for ours, theirs in names.items()}
        optimizer.state[p] = {"step": torch.tensor(t - 1.0)} | state | (more or {})
    optimizer.step()
    return {"p": p.detach().numpy()} | {ours: optimizer.state[p][theirs].numpy() for ours, theirs in names.items()}


# --- A path ---


def in_fp32(x):
    return x.astype(np.float32).astype(np.float64)


def trajectory(text, p, gradients, rounded=False, seed=0):
    """Parameter and states before and after every step."""
    step, h = settle(text)
    random = np.random.default_rng(seed)
    h.second = gradients[::-1]
    s = {"p": p}
    for name, shape in step.states(h, *p.shape).items():
        s[name] = step.start[name](shape, random) if name in step.start else np.zeros(shape)
    records = [{name: in_fp32(x) for name, x in s.items()} if rounded else s]
    for t, g in enumerate(gradients, 1):
        s = step(records[-1], g, t, h)
        assert s.keys() == records[0].keys()
        records.append({name: in_fp32(x) if rounded else x for name, x in s.items()})
    return records
