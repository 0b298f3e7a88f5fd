#!/usr/bin/env python3
"""Judges of the update rules: every rule in fp64, and the file of what they say, for test_judges to compare with.

The rules are written from their formulas alone, with PyTorch's own optimizers where PyTorch has the rule (sgd,
adagrad, rmsprop, adadelta, adam, adamw, and muon with the flavour jordan and the scale original or moonshot) and
NumPy elsewhere. Before the file is written the judges are judged: golden runs of one weight, identities between
rules, and PyTorch against NumPy.

The file (safetensors, F32) holds for every shape r x c

    g.RxC [20, r, c]                  gradients, the same for all rules
    p.RxC [r, c]                      where the parameter starts

and for every case NN, which is a rule with its settings, and each of its shapes

    NN.RxC.p [21, r, c]               the parameter after 0 .. 20 steps
    NN.RxC.STATE [21, rows, cols]     likewise each state

A judge rounds parameter and state to fp32 after each step and goes on from there, so that a program can begin each
single step exactly where the judge began it. The metadata:

    case.NN       the rule and its settings as text: adamw lr=0.01 weight-decay=0.1 beta1=0.9 ...
    from.NN       RxC=K ..: steps before K (from 0) are not determined in this shape, as the eigenvectors of a
                  singular matrix are not. Step 0 of other shapes determines a basis up to its columns' signs
    condition.NN  NAME=A ..: the condition of the step, of each array, where it is above 1: a gradient, states, terms
                  of Newton-Schulz and factors under a root that are changed by a share d of their scale change the
                  array by up to A d of its scale. Measured by the judge at d = 2^-26 and 2^-20; the largest of all
                  shapes and steps. The scale is the largest element before or after the step; that of lambda, a
                  difference of mean squares, is at least kappa. The parameter changes by up to d of its own scale and
                  A d of its step's
    cases, steps  how many

    python dev/reference/judges.py dev/tests/judges.safetensors
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.optim._muon as torch_muon

T = 20  # steps

# --- Settings ---

RULES = {}


class Settings:
    """The hyperparameters of a rule as attributes: numbers, True and False for on and off, names of choices."""

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


def by_torch(make, names, s, g, t):
    """One step of a torch optimizer; names: {our state: theirs}."""
    p = torch.nn.Parameter(torch.from_numpy(s["p"].copy()))
    p.grad = torch.from_numpy(g.copy())
    optimizer = make([p])
    if t > 1:
        state = {theirs: torch.from_numpy(s[ours].copy()) for ours, theirs in names.items()}
        optimizer.state[p] = {"step": torch.tensor(t - 1.0)} | state
    optimizer.step()
    return {"p": p.detach().numpy()} | {ours: optimizer.state[p][theirs].numpy() for ours, theirs in names.items()}


# --- SGD and its kin ---


@judge("sgd", "weight-decay=0 momentum=.9 dampening=0 nesterov=off momentum-form=sum", elementwise=True,
       states=lambda h, r, c: {"momentum": (r, c)} if h.momentum else {})
def sgd(s, g, t, h):
    if h.momentum_form == "sum":
        return by_torch(lambda p: torch.optim.SGD(p, h.lr, h.momentum, h.dampening, h.weight_decay, h.nesterov),
                        {"momentum": "momentum_buffer"} if h.momentum else {}, s, g, t)
    d = g + h.weight_decay * s["p"]
    m = ema(h.momentum, s["momentum"], d)
    return {"p": s["p"] - h.lr * ((1 - h.momentum) * d + h.momentum * m if h.nesterov else m), "momentum": m}


@judge("nesterov", "momentum=.9 nesterov-form=look-ahead", elementwise=True,
       states=lambda h, r, c: {"m" if h.nesterov_form == "look-ahead" else "v": (r, c)})
def nesterov(s, g, t, h):
    """look-ahead: g is taken at p - lr b m; shifted: p is the point where it is taken."""
    b = h.momentum
    if h.nesterov_form == "look-ahead":
        m = ema(b, s["m"], g)
        return {"p": s["p"] - h.lr * m, "m": m}
    v = b * s["v"] - h.lr * g
    return {"p": s["p"] + (1 + b) * v - b * s["v"], "v": v}


@judge("adagrad", "weight-decay=0", states=full("v"), elementwise=True)
def adagrad(s, g, t, h):
    return by_torch(lambda p: torch.optim.Adagrad(p, h.lr, weight_decay=h.weight_decay, eps=h.eps),
                    {"v": "sum"}, s, g, t)


@judge("rmsprop", "weight-decay=0 momentum=0", elementwise=True,
       states=lambda h, r, c: full(*["v"] + ["momentum"] * (h.momentum > 0))(h, r, c))
def rmsprop(s, g, t, h):
    names = {"v": "square_avg"} | ({"momentum": "momentum_buffer"} if h.momentum else {})
    return by_torch(lambda p: torch.optim.RMSprop(p, h.lr, h.beta2, h.eps, h.weight_decay, h.momentum),
                    names, s, g, t)


@judge("adadelta", "weight-decay=0", states=full("v", "u"), elementwise=True)
def adadelta(s, g, t, h):
    return by_torch(lambda p: torch.optim.Adadelta(p, h.lr, h.beta2, h.eps, h.weight_decay),
                    {"v": "square_avg", "u": "acc_delta"}, s, g, t)


# --- Adam ---

ADAM = "eps-mode=outside bias-correction=on zero-init-moments=on eps-max=0"


def corrections(t, h):
    return (1 - h.beta1**t, 1 - h.beta2**t) if h.bias_correction else (1, 1)


def epsilon(done, h):
    """The eps schedule after `done` steps: eps, then an exponential from eps-start T to eps-end T, then eps-max."""
    if not h.eps_max or done < h.eps_start * T:
        return h.eps
    if done >= h.eps_end * T:
        return h.eps_max
    a = (h.eps_max - h.eps) / math.expm1(h.eps_rate * T * (h.eps_end - h.eps_start))
    return a * math.exp(h.eps_rate * (done - h.eps_start * T)) + (h.eps - a)


def adam_direction(s, g, t, h):
    m, v = (g, g * g) if t == 1 and not h.zero_init_moments else (s["m"], s["v"])
    m, v = ema(h.beta1, m, g), ema(h.beta2, v, g * g)
    c1, c2 = corrections(t, h)
    eps = epsilon(t - 1, h)
    if h.eps_mode == "outside":
        u = (m / c1) / (np.sqrt(v / c2) + eps)
    elif h.eps_mode == "uncorrected":
        u = m / (np.sqrt(v) + eps) * (math.sqrt(c2) / c1)
    else:
        u = (m / c1) / np.sqrt(v / c2 + eps)
    return u, {"m": m, "v": v}


def torch_has(h):
    return h.eps_mode == "outside" and h.bias_correction and h.zero_init_moments and not h.eps_max


def adam_by_torch(kind, s, g, t, h):
    return by_torch(lambda p: kind(p, h.lr, (h.beta1, h.beta2), h.eps, h.weight_decay),
                    {"m": "exp_avg", "v": "exp_avg_sq"}, s, g, t)


def adam_by_numpy(s, g, t, h):
    u, moments = adam_direction(s, g + h.weight_decay * s["p"], t, h)
    return {"p": s["p"] - h.lr * u} | moments


def adamw_by_numpy(s, g, t, h):
    u, moments = adam_direction(s, g, t, h)
    return {"p": decayed_step(s["p"], u, h)} | moments


@judge("adam", ADAM, states=full("m", "v"), elementwise=True)
def adam(s, g, t, h):
    return adam_by_torch(torch.optim.Adam, s, g, t, h) if torch_has(h) else adam_by_numpy(s, g, t, h)


@judge("adamw", ADAM + " cautious=off", states=full("m", "v"), elementwise=True)
def adamw(s, g, t, h):
    if torch_has(h) and not h.cautious:
        return adam_by_torch(torch.optim.AdamW, s, g, t, h)
    return adamw_by_numpy(s, g, t, h)


@judge("nested-adam", "cautious=off bias-correction=on", states=full("v", "k"), elementwise=True)
def nested_adam(s, g, t, h):
    c1, c2 = corrections(t, h)
    v = ema(h.beta2, s["v"], g * g)
    k = ema(h.beta1, s["k"], g / (np.sqrt(v / c2) + h.eps))
    return {"p": decayed_step(s["p"], k / c1, h), "v": v, "k": k}


@judge("adam-cpr", ADAM, elementwise=True,
       states=lambda h, r, c: {"m": (r, c), "v": (r, c), "lambda": (1, 1), "kappa": (1, 1)})
def adam_cpr(s, g, t, h):
    u, moments = adam_direction(s, g, t, h)
    p, multiplier, kappa = s["p"] - h.lr * u, s["lambda"], s["kappa"]
    mean_square = (p * p).mean().reshape(1, 1)
    if t == h.cpr_warmup:
        kappa = mean_square
    elif t > h.cpr_warmup:
        multiplier = np.maximum(0, multiplier + (mean_square - kappa))
        p = p - 2 * multiplier * p
    return {"p": p, "lambda": multiplier, "kappa": kappa} | moments


# --- Signs ---


@judge("signsgd", "cautious=off", elementwise=True)
def signsgd(s, g, t, h):
    return {"p": decayed_step(s["p"], np.sign(g), h)}


@judge("signum", "cautious=off", states=full("m"), elementwise=True)
def signum(s, g, t, h):
    m = ema(h.momentum, s["m"], g)
    return {"p": decayed_step(s["p"], np.sign(m), h), "m": m}


@judge("lion", "cautious=off", states=full("m"), elementwise=True)
def lion(s, g, t, h):
    u = np.sign(ema(h.beta1, s["m"], g))
    return {"p": decayed_step(s["p"], u, h), "m": ema(h.beta2, s["m"], g)}


# --- Newton-Schulz ---

JORDAN = (3.4445, -4.7750, 2.0315)
MODULA = [(3955, -8306, 5008), (3735, -6681, 3463), (3799, -6499, 3211), (4019, -6385, 2906), (2677, -3029, 1162),
          (2172, -1833, 682)]
VARIED = [(4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
          (2.8366, -3.0525, 1.2012)]
POLAR_EXPRESS = [(8.156554524902461, -22.48329292557795, 15.878769915207462),
                 (4.042929935166739, -2.808917465908714, 0.5000178451051316),
                 (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
                 (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
                 (2.3465413258596377, -1.7097828382687081, 0.42323551169305323)]

# The triples of a flavour's own number of iterations
TRIPLES = {
    "jordan": [JORDAN] * 5,
    "cubic": [(1.5, -0.5, 0)] * 15,
    "modula": [tuple(x / 1024 for x in triple) for triple in MODULA],
    "varied": VARIED,
    "polar-express": POLAR_EXPRESS,
    "track3": [(2, -1.5, 0.5)] * 12,
}


def iterate(x, triples, disturb=None):
    """On the wide side: x becomes a x + b (x x^T) x + c (x x^T)^2 x, in turn for each triple."""
    if x.shape[0] > x.shape[1]:
        return iterate(x.T, triples, disturb).T
    disturb = disturb or (lambda term, name="": term)
    for a, b, c in triples:
        gram = disturb(x @ x.T)
        x = disturb(a * x) + disturb((disturb(b * gram) + disturb(c * gram @ gram)) @ x)
    return x


def polar(u):
    """U V^T of the singular value decomposition, without the directions of singular value 0."""
    left, values, right = np.linalg.svd(u, full_matrices=False)
    kept = values > 2.0**-24 * max(u.shape) * values[0]
    return (left * kept) @ right


def orthogonalised(u, h):
    if h.ns == "exact":
        return polar(u)
    triples = TRIPLES[h.ns]
    if h.ns_steps:
        assert len(set(triples)) == 1
        triples = triples[:1] * int(h.ns_steps)
    factor, least = (1.02, 1e-6) if h.ns == "polar-express" else (1, 1e-7)
    return iterate(u / max(factor * norm(u), least), triples, h.disturb)


def shape_factor(o, u, g, h):
    """The rule of muon-scale for o, which is u orthogonalised."""
    r, c = o.shape
    return {
        "none": 1,
        "original": math.sqrt(max(1, r / c)),
        "moonshot": 0.2 * math.sqrt(max(r, c)),
        "bernstein": math.sqrt(r / c),
        "early": math.sqrt(max(r, c)),
        "gradient": norm(g) / norm(o),
        "nuclear": (u * o).sum(),
    }[h.muon_scale]


# --- The Muon family ---

MUON = "nesterov=on ns=jordan ns-steps=0 cautious=off momentum-start=0 momentum-warmup=0 momentum-cooldown=0 "
SCALED = MUON + "muon-scale=original "


def momentum_of(t, h):
    done, mu = t - 1, h.momentum
    along = [1]
    if h.momentum_warmup and done < h.momentum_warmup:
        along.append(done / h.momentum_warmup)
    if h.momentum_cooldown and T - done < h.momentum_cooldown:
        along.append((T - done) / h.momentum_cooldown)
    return h.momentum_start + (mu - h.momentum_start) * min(along) if min(along) < 1 else mu


def blend(s, g, t, h):
    """Muon's momentum and the matrix that goes to Newton-Schulz."""
    mu = momentum_of(t, h)
    m = ema(mu, s["m"], g)
    return m, (1 - mu) * g + mu * m if h.nesterov else m


def muon_by_numpy(s, g, t, h):
    m, u = blend(s, g, t, h)
    o = orthogonalised(u, h)
    return {"p": decayed_step(s["p"], o * shape_factor(o, u, g, h), h), "m": m}


def muon_by_torch(s, g, t, h):
    """torch.optim.Muon iterates in bf16; main puts the same iteration in its input's precision in its place."""
    adjust = {"original": "original", "moonshot": "match_rms_adamw"}[h.muon_scale]
    return by_torch(lambda p: torch.optim.Muon(p, h.lr, h.weight_decay, h.momentum, h.nesterov, adjust_lr_fn=adjust),
                    {"m": "momentum_buffer"}, s, g, t)


def newton_schulz_for_torch(grad, ns_coefficients, ns_steps, eps):
    x = grad / grad.norm().clamp(min=eps)
    return torch.from_numpy(iterate(x.numpy(), [ns_coefficients] * ns_steps))


@judge("muon", SCALED, states=full("m"))
def muon(s, g, t, h):
    plain = not (h.cautious or h.ns_steps or h.momentum_warmup or h.momentum_cooldown or h.disturb)
    if plain and h.ns == "jordan" and h.muon_scale in ("original", "moonshot"):
        return muon_by_torch(s, g, t, h)
    return muon_by_numpy(s, g, t, h)


@judge("spectral", "ns=jordan ns-steps=0 muon-scale=original cautious=off")
def spectral(s, g, t, h):
    o = orthogonalised(g, h)
    return {"p": decayed_step(s["p"], o * shape_factor(o, g, g, h), h)}


def row_normalised(o, v, h):
    """NorMuon's mean squares of rows (of columns, where there are more of these), averaged, and o divided by their
    roots."""
    r, c = o.shape
    v = ema(h.beta2, v, (o * o).mean(axis=1 if r >= c else 0, keepdims=True))
    return o / np.sqrt(np.maximum(v, h.eps)), v


def muon_and_rows(h, r, c):
    return {"m": (r, c), "v": (r, 1) if r >= c else (1, c)}


@judge("normuon", SCALED + "beta2=.95 eps=1e-10", states=muon_and_rows)
def normuon(s, g, t, h):
    m, u = blend(s, g, t, h)
    o = orthogonalised(u, h)
    even, v = row_normalised(o, s["v"], h)
    even = even * norm(o) / norm(even)
    return {"p": decayed_step(s["p"], even * shape_factor(even, u, g, h), h), "m": m, "v": v}


@judge("muonh", MUON, states=full("m"))
def muonh(s, g, t, h):
    m, u = blend(s, g, t, h)
    return {"p": hyperball(s["p"], orthogonalised(u, h), h), "m": m}


@judge("normuonh", MUON + "beta2=.95 eps=1e-10", states=muon_and_rows)
def normuonh(s, g, t, h):
    m, u = blend(s, g, t, h)
    even, v = row_normalised(orthogonalised(u, h), s["v"], h)
    return {"p": hyperball(s["p"], even, h), "m": m, "v": v}


@judge("adamh", ADAM, states=full("m", "v"), elementwise=True)
def adamh(s, g, t, h):
    u, moments = adam_direction(s, g, t, h)
    return {"p": hyperball(s["p"], u, h)} | moments


@judge("muon2", SCALED + "beta2=.95 eps=1e-10", states=full("m", "v"))
def muon2(s, g, t, h):
    m, u = blend(s, g, t, h)
    v = ema(h.beta2, s["v"], g * g)
    u = u / (np.sqrt(v) + h.eps)
    o = orthogonalised(u, h)
    return {"p": decayed_step(s["p"], o * shape_factor(o, u, g, h), h), "m": m, "v": v}


# --- Dion ---


def qr_positive(a):
    """The Q of a = Q R with a positive diagonal of R."""
    q, r = np.linalg.qr(a)
    return q * np.where(np.diag(r) < 0, -1, 1).astype(a.dtype)


def dion_states(h, r, c):
    return {"b": (r, c), "q": (c, int(min(h.rank or r, r, c)))}


@judge("dion", "rank=0 cautious=off", states=dion_states,
       start={"q": lambda shape, random: random.standard_normal(shape)})
def dion(s, g, t, h):
    rows, cols = g.shape
    b = s["b"] + g
    p = qr_positive(b @ s["q"])
    r = b.T @ p
    b = b - (1 - h.momentum) * p @ r.T
    q = r / (np.sqrt((r * r).sum(axis=0)) + 1e-8)
    return {"p": decayed_step(s["p"], math.sqrt(rows / cols) * p @ q.T, h), "b": b, "q": q}


# --- Shampoo ---


def root(factor, h):
    """(factor + eps I)^p for a symmetric factor; with eps 0 its pseudo-inverse root."""
    power = -1 / 4 if h.sides == "two" else -1 / 2
    values, vectors = np.linalg.eigh(factor)
    if h.eps:
        powers = (np.maximum(values, 0) + h.eps) ** power
    else:
        kept = values > len(values) * 2.0**-24 * values.max()
        powers = np.where(kept, np.where(kept, values, 1) ** power, 0)
    return (vectors * powers.astype(factor.dtype)) @ vectors.T


def sides_of(h, r, c):
    """The factors that Shampoo keeps, and their sizes."""
    return {side: n for side, n in (("left", r), ("right", c))
            if h.sides == "two" or side == ("left" if r <= c else "right")}


def shampoo_states(h, r, c):
    shapes = {"m": (r, c)} if h.beta1 else {}
    shapes |= {"v": (r, c)} if h.graft == "adam" else {}
    for side, n in sides_of(h, r, c).items():
        shapes |= {side: (n, n), side + "_root": (n, n)}
    return shapes


@judge("shampoo", "bias-correction=on sides=two graft=none cautious=off", states=shampoo_states)
def shampoo(s, g, t, h):
    new = {}
    c1, c2 = corrections(t, h)
    for side in sides_of(h, *g.shape):
        new[side] = ema(h.beta2, s[side], g @ g.T if side == "left" else g.T @ g)
        factor = h.disturb(new[side], side) if h.disturb else new[side]
        new[side + "_root"] = root(factor / c2, h) if (t - 1) % h.refresh == 0 else s[side + "_root"]
    mean = g
    if h.beta1:
        new["m"] = ema(h.beta1, s["m"], g)
        mean = new["m"] / c1
    d = mean
    if "left" in new:
        d = new["left_root"] @ d
    if "right" in new:
        d = d @ new["right_root"]
    if h.graft == "adam":
        new["v"] = ema(h.beta2, s["v"], g * g)
        a = mean / (np.sqrt(new["v"] / c2) + 1e-10)
        d = d * norm(a) / norm(d)
    return {"p": decayed_step(s["p"], d, h)} | new


# --- SOAP ---


def soap_states(h, r, c):
    return {"m": (r, c), "v": (r, c), "left": (r, r), "right": (c, c), "left_basis": (r, r), "right_basis": (c, c)}


def eigenbasis(a):
    """Eigenvectors in the columns, of falling eigenvalues. Their sign is free: the largest element is positive."""
    q = np.linalg.eigh(a)[1][:, ::-1]
    return q * np.sign(q[np.abs(q).argmax(axis=0), np.arange(len(q))])


def into(basis, x):
    return basis["left_basis"].T @ x @ basis["right_basis"]


def out_of(basis, x):
    return basis["left_basis"] @ x @ basis["right_basis"].T


def refreshed(basis, left, right):
    """One step of the orthogonal iteration."""
    return {"left_basis": qr_positive(left @ basis["left_basis"]),
            "right_basis": qr_positive(right @ basis["right_basis"])}


def bases_of(s):
    return {"left_basis": s["left_basis"], "right_basis": s["right_basis"]}


def falling_order(factor, q):
    return np.argsort(-np.diag(q.T @ factor @ q), kind="stable")


@judge("soap", "cautious=off", states=soap_states)
def soap(s, g, t, h):
    left, right = ema(h.beta2, s["left"], g @ g.T), ema(h.beta2, s["right"], g.T @ g)
    if t == 1:
        return s | {"left": left, "right": right, "left_basis": eigenbasis(left), "right_basis": eigenbasis(right)}
    basis = bases_of(s)
    rotated = into(basis, g)
    m, v = ema(h.beta1, s["m"], rotated), ema(h.beta2, s["v"], rotated * rotated)
    done = t - 1
    u = out_of(basis, m / (np.sqrt(v) + h.eps)) * (math.sqrt(1 - h.beta2**done) / (1 - h.beta1**done))
    p = decayed(s["p"] - h.lr * u, u, h)
    if done % h.refresh == 0:
        rows, cols = falling_order(left, basis["left_basis"]), falling_order(right, basis["right_basis"])
        v = v[rows][:, cols]
        sorted_basis = {"left_basis": basis["left_basis"][:, rows], "right_basis": basis["right_basis"][:, cols]}
        m = out_of(basis, m)
        basis = refreshed(sorted_basis, left, right)
        m = into(basis, m)
    return {"p": p, "m": m, "v": v, "left": left, "right": right} | basis


@judge("soap-muon", SCALED, states=soap_states)
def soap_muon(s, g, t, h):
    m, u = blend(s, g, t, h)
    outer, inner = g @ g.T, g.T @ g
    basis = bases_of(s) if t > 1 else {"left_basis": eigenbasis(outer), "right_basis": eigenbasis(inner)}
    rotated = into(basis, u)
    v = ema(h.beta2, s["v"], rotated * rotated)
    even = out_of(basis, rotated / (np.sqrt(v) + h.eps))
    even = even * norm(u) / norm(even)
    o = orthogonalised(even, h)
    p = decayed_step(s["p"], o * shape_factor(o, even, g, h), h)
    left, right = ema(h.beta2, s["left"], outer), ema(h.beta2, s["right"], inner)
    if t % h.refresh == 0:
        basis = refreshed(basis, left, right)
    return {"p": p, "m": m, "v": v, "left": left, "right": right} | basis


def kl_soap_states(h, r, c):
    return soap_states(h, r, c) | {"left_scale": (1, r), "right_scale": (1, c)}


def averaged_scale(scale, new, h):
    """The inverse roots of eigenvalues after these have been averaged with `new`."""
    values = 1 / (scale * scale)
    values = ema(h.beta2, np.where(np.isfinite(values), values, 0), new)
    return np.minimum(1 / np.sqrt(np.maximum(values, 1e-30)), 4000)


def first_scale(shape, random):
    return np.full(shape, 0.1**-0.5)


@judge("kl-soap", "refresh=1", states=kl_soap_states, start={"left_scale": first_scale, "right_scale": first_scale})
def kl_soap(s, g, t, h):
    r, c = g.shape
    if t == 1:
        left, right = g @ g.T / c, g.T @ g / r
        return s | {"left": left, "right": right, "left_basis": eigenbasis(left), "right_basis": eigenbasis(right)}
    basis, rows, cols = bases_of(s), s["left_scale"], s["right_scale"]
    rotated = into(basis, g)
    m, v = ema(h.beta1, s["m"], rotated), ema(h.beta2, s["v"], rotated * rotated)
    p = hyperball(s["p"], out_of(basis, m / (np.sqrt(v) + h.eps)), h)
    x, y = g @ basis["right_basis"] * cols, rows.T * (basis["left_basis"].T @ g)
    left, right = ema(h.beta2, s["left"], x @ x.T / c), ema(h.beta2, s["right"], y.T @ y / r)
    scales = {"left_scale": averaged_scale(rows, ((rotated * cols) ** 2).mean(axis=1)[None], h),
              "right_scale": averaged_scale(cols, ((rows.T * rotated) ** 2).mean(axis=0)[None], h)}
    if (t - 1) % h.refresh == 0:
        m = out_of(basis, m)
        basis = refreshed(basis, left, right)
        m = into(basis, m)
    return {"p": p, "m": m, "v": v, "left": left, "right": right} | basis | scales


# --- Cases: (settings, shapes, steps in a shape before which the judgement does not begin) ---

PLAIN = ("1x1", "1x5", "7x3")
MATRIX = ("1x1", "1x5", "7x3", "3x7", "5x5", "11x5")
FEW = ("1x5", "7x3", "3x7", "5x5")
FACTORS = ("1x1", "5x3", "3x5", "4x4")
FLAT = ("1x5",) + FACTORS

# SOAP's bases begin with eigenvectors of singular matrices, which are not determined, and go on with QR of nearly
# singular ones.
SINGULAR = {"5x3": 3, "3x5": 3}

# In the bases of its own factors a square gradient is diagonal, and soap-muon divides the rounding errors beside the
# diagonal by themselves where eps is small.
DIAGONALISED = SINGULAR | {"4x4": 1}

ADAMW = "adamw lr=.05 weight-decay=.1 beta1=.9 beta2=.95"
MUON_CASE = "muon lr=.1 weight-decay=.1 momentum=.95"

CASES = [
    ("sgd lr=.1 weight-decay=0 momentum=0", PLAIN),
    ("sgd lr=.05 weight-decay=.2 momentum=0", PLAIN),
    ("sgd lr=.05 weight-decay=0 momentum=.9", PLAIN),
    ("sgd lr=.05 weight-decay=.2 momentum=.8 dampening=.3", PLAIN),
    ("sgd lr=.05 weight-decay=.1 momentum=.9 nesterov=on", PLAIN),
    ("sgd lr=.1 weight-decay=.1 momentum=.9 momentum-form=ema", PLAIN),
    ("sgd lr=.1 weight-decay=.1 momentum=.9 momentum-form=ema nesterov=on", PLAIN),
    ("nesterov lr=.1 momentum=.9 nesterov-form=look-ahead", PLAIN),
    ("nesterov lr=.02 momentum=.9 nesterov-form=shifted", PLAIN),
    ("adagrad lr=.1 weight-decay=0 eps=1e-10", PLAIN),
    ("adagrad lr=.1 weight-decay=.2 eps=.01", PLAIN),
    ("rmsprop lr=.01 weight-decay=0 momentum=0 beta2=.99 eps=1e-8", PLAIN),
    ("rmsprop lr=.01 weight-decay=.2 momentum=.8 beta2=.9 eps=.01", PLAIN),
    ("adadelta lr=1 weight-decay=0 beta2=.9 eps=1e-6", PLAIN),
    ("adadelta lr=.5 weight-decay=.2 beta2=.8 eps=1e-3", PLAIN),
    ("adam lr=.01 weight-decay=0 beta1=.9 beta2=.999 eps=1e-8", PLAIN),
    ("adam lr=.05 weight-decay=.3 beta1=.9 beta2=.95 eps=1e-8", PLAIN),
    ("adam lr=.05 weight-decay=.3 beta1=.9 beta2=.95 eps=.05 eps-mode=inside bias-correction=off", PLAIN),
    ("adam lr=.05 weight-decay=.3 beta1=.9 beta2=.95 eps=.05 eps-mode=uncorrected zero-init-moments=off", PLAIN),
    (ADAMW + " eps=1e-8", PLAIN),
    (ADAMW + " eps=.05 eps-mode=outside", PLAIN),
    (ADAMW + " eps=.05 eps-mode=uncorrected", PLAIN),
    (ADAMW + " eps=.05 eps-mode=inside", PLAIN),
    (ADAMW + " eps=1e-8 bias-correction=off", PLAIN),
    (ADAMW + " eps=1e-8 zero-init-moments=off", PLAIN),
    (ADAMW + " eps=1e-8 bias-correction=off zero-init-moments=off", PLAIN),
    (ADAMW + " eps=.05 eps-mode=uncorrected bias-correction=off", PLAIN),
    (ADAMW + " eps=1e-6 eps-max=.5 eps-rate=.4 eps-start=.25 eps-end=.75", PLAIN),
    (ADAMW + " eps=1e-6 eps-max=.5 eps-rate=.4 eps-start=.25 eps-end=.75 eps-mode=inside", PLAIN),
    (ADAMW + " eps=1e-8 cautious=on", PLAIN),
    ("nested-adam lr=.01 weight-decay=.1 beta1=.9 beta2=.95 eps=1e-8", PLAIN),
    ("nested-adam lr=.01 weight-decay=.5 beta1=.8 beta2=.99 eps=.05 cautious=on", PLAIN),
    ("adam-cpr lr=.03 beta1=.9 beta2=.95 eps=1e-8 cpr-warmup=5", PLAIN),
    ("signsgd lr=.01 weight-decay=.1", PLAIN),
    ("signsgd lr=.01 weight-decay=.5 cautious=on", PLAIN),
    ("signum lr=.01 weight-decay=.1 momentum=.9", PLAIN),
    ("signum lr=.05 weight-decay=.5 momentum=.8 cautious=on", PLAIN),
    ("lion lr=.01 weight-decay=.1 beta1=.9 beta2=.99", PLAIN),
    ("lion lr=.05 weight-decay=.5 beta1=.8 beta2=.9 cautious=on", PLAIN),
    (MUON_CASE, MATRIX),
    (MUON_CASE + " ns=cubic", MATRIX),
    (MUON_CASE + " ns=modula", MATRIX),
    (MUON_CASE + " ns=varied", MATRIX),
    (MUON_CASE + " ns=polar-express", MATRIX),
    (MUON_CASE + " ns=track3", MATRIX),
    (MUON_CASE + " ns=exact", MATRIX),
    (MUON_CASE + " muon-scale=none", FEW),
    (MUON_CASE + " muon-scale=moonshot", FEW),
    (MUON_CASE + " muon-scale=bernstein", FEW),
    (MUON_CASE + " muon-scale=early", FEW),
    (MUON_CASE + " muon-scale=gradient", FEW),
    (MUON_CASE + " muon-scale=nuclear", FEW),
    (MUON_CASE + " nesterov=off ns-steps=3", FEW),
    (MUON_CASE + " ns=track3 ns-steps=9 cautious=on", FEW),
    (MUON_CASE + " momentum-start=.8 momentum-warmup=6 momentum-cooldown=5", FEW),
    (MUON_CASE + " momentum-start=.6 momentum-warmup=18 momentum-cooldown=10 nesterov=off", FEW),
    ("muon lr=.1 weight-decay=0 momentum=0", FEW),
    ("spectral lr=.1 weight-decay=.1", FEW),
    ("spectral lr=.1 weight-decay=.5 ns=cubic ns-steps=12 muon-scale=bernstein cautious=on", FEW),
    ("normuon lr=.1 weight-decay=.1 momentum=.95 beta2=.95 eps=1e-10 muon-scale=original", FEW),
    ("normuon lr=.1 weight-decay=.5 momentum=.9 beta2=.8 eps=.1 nesterov=off ns=track3 muon-scale=moonshot "
     "cautious=on", FEW),
    ("normuon lr=.1 weight-decay=.1 momentum=.95 beta2=.95 eps=1e-10 muon-scale=gradient", FEW),
    ("muonh lr=.1 momentum=.95", FEW),
    ("muonh lr=.05 momentum=.9 nesterov=off ns=polar-express momentum-start=.8 momentum-warmup=6 momentum-cooldown=5",
     FEW),
    ("normuonh lr=.1 momentum=.95 beta2=.95 eps=1e-10", FEW),
    ("normuonh lr=.05 momentum=.9 beta2=.8 eps=.1 nesterov=off ns=modula", FEW),
    ("adamh lr=.1 beta1=.9 beta2=.95 eps=1e-8", PLAIN),
    ("muon2 lr=.1 weight-decay=.0125 momentum=.95 beta2=.95 eps=1e-10", FEW),
    ("muon2 lr=.05 weight-decay=.5 momentum=.9 beta2=.8 eps=.05 nesterov=off ns=varied muon-scale=none cautious=on",
     FEW),
    ("dion lr=.1 weight-decay=.1 momentum=.95 rank=0", FLAT),
    ("dion lr=.1 weight-decay=.1 momentum=.9 rank=2", FLAT),
    ("dion lr=.1 weight-decay=.5 momentum=.9 rank=2 cautious=on", FACTORS),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=.1 sides=two refresh=1 graft=none", FLAT),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=.1 sides=two refresh=3 graft=adam", FLAT),
    ("shampoo lr=.05 weight-decay=.2 beta1=0 beta2=.9 eps=.05 sides=two refresh=3 graft=none bias-correction=off",
     FACTORS),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=.001 sides=one refresh=1 graft=none", FLAT),
    ("shampoo lr=.05 weight-decay=.5 beta1=.8 beta2=.9 eps=.01 sides=one refresh=3 graft=adam bias-correction=off "
     "cautious=on", FACTORS),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=0 sides=two refresh=4 graft=none", FLAT),
    ("shampoo lr=.05 weight-decay=.2 beta1=.9 beta2=.95 eps=0 sides=one refresh=1 graft=adam", FACTORS),
    ("soap lr=.05 weight-decay=.1 beta1=.95 beta2=.95 eps=1e-8 refresh=1", FACTORS, SINGULAR),
    ("soap lr=.01 weight-decay=.5 beta1=.9 beta2=.9 eps=.01 refresh=3 cautious=on", FACTORS, SINGULAR),
    ("soap-muon lr=.1 weight-decay=.1 momentum=.95 beta2=.9 eps=1e-8 refresh=1", FACTORS, DIAGONALISED),
    ("soap-muon lr=.1 weight-decay=.5 momentum=.9 nesterov=off beta2=.8 eps=.01 refresh=4 ns=track3 "
     "muon-scale=nuclear cautious=on", FACTORS, SINGULAR),
    ("kl-soap lr=.1 beta1=.95 beta2=.9 eps=1e-8 refresh=1", FACTORS, SINGULAR),
    ("kl-soap lr=.05 beta1=.9 beta2=.8 eps=.01 refresh=3", FACTORS, SINGULAR),
]

def size_of(shape):
    return tuple(int(n) for n in shape.split("x"))


def draw(shape, random):
    """A start N(0,1), and gradients of uneven elements and steps about a mean that moves slowly; exact in fp32."""
    r, c = size_of(shape)
    p = random.standard_normal((r, c))
    sizes = np.exp(0.5 * random.standard_normal((r, c))) * np.exp(0.4 * random.standard_normal((T, 1, 1)))
    begin, end = random.standard_normal((2, r, c))
    angle = np.arange(T).reshape(T, 1, 1) * (math.pi / 2 / T)
    g = sizes * (random.standard_normal((T, r, c)) + 0.7 * (begin * np.cos(angle) + end * np.sin(angle)))
    return in_fp32(p), in_fp32(g)


def in_fp32(x):
    return x.astype(np.float32).astype(np.float64)


def trajectory(text, p, gradients, rounded=False, seed=0):
    """Parameter and states before and after every step."""
    step, h = settle(text)
    random = np.random.default_rng(seed)
    s = {"p": p}
    for name, shape in step.states(h, *p.shape).items():
        s[name] = step.start[name](shape, random) if name in step.start else np.zeros(shape)
    records = [{name: in_fp32(x) for name, x in s.items()} if rounded else s]
    for t, g in enumerate(gradients, 1):
        s = step(records[-1], g, t, h)
        assert s.keys() == records[0].keys()
        records.append({name: in_fp32(x) if rounded else x for name, x in s.items()})
    return records


# --- Conditions ---

BY_ELEMENT = ("v", "left_scale", "right_scale", "lambda", "kappa")  # whose error is a share of each element, always


def perturbed(name, x, share, elementwise, random):
    noise = random.uniform(-share, share, x.shape)
    if name in ("left", "right"):
        noise = np.triu(noise) + np.triu(noise, 1).T
    return x + noise * (x if elementwise or name in BY_ELEMENT else largest(x))


def signs_aligned(x, like):
    return x * np.where((x * like).sum(axis=0) < 0, -1, 1)


def amplification(name, got, want, before, share):
    new = signs_aligned(got[name], want[name]) if name.endswith("_basis") else got[name]
    change, scale = largest(new - want[name]), max(largest(want[name]), largest(before[name]))
    if name == "p":
        change, scale = max(change - share * largest(before[name]), 0), largest(want[name] - before[name])
    if name == "lambda":
        scale = max(scale, largest(want["kappa"]))
    return change / (share * scale) if change else 0


def conditions(text, before, g, t, random):
    """By how much each array of the step's result magnifies errors of its inputs."""
    step, h = settle(text)
    want = step(before, g, t, h)
    worst = dict.fromkeys(want, 0.0)
    shares = [2.0**-26] if text.startswith("shampoo") else [2.0**-26, 2.0**-20]  # its pseudo-inverse sees 2^-20
    for share in shares * 3:
        h.disturb = lambda x, name="": perturbed(name, x, share, False, random)
        inputs = {name: x if name == "p" else perturbed(name, x, share, step.elementwise, random)
                  for name, x in before.items()}
        got = step(inputs, perturbed("g", g, share, step.elementwise, random), t, h)
        for name in worst:
            worst[name] = max(worst[name], amplification(name, got, want, before, share))
    return worst


# --- Judging the judges ---

GOLDEN = [
    ("sgd lr=.1 momentum=0", .9, .7, .8),
    ("sgd lr=.1 momentum=.9 momentum-form=ema weight-decay=0", .99, .961, .9449),
    ("sgd lr=.1", .9, .61, .449),
    ("sgd lr=.1 dampening=.1", .9, .63, .477),
    ("sgd lr=.1 nesterov=on", .81, .349, .3041),
    ("nesterov lr=.1 nesterov-form=shifted", .81, .349, .3041),
    ("sgd lr=.1 weight-decay=.1", .89, .5821, .399169),
    ("adagrad lr=.1 eps=1e-10", .9, .8105573, .8513821),
    ("rmsprop lr=.1 beta2=.99 eps=1e-8", .0000001, -.8953228, -.4850213),
    ("adadelta lr=1 beta2=.9 eps=1e-6", .9968377, .9927971, .9953525),
    ("adam lr=.1 beta1=.9 beta2=.999 eps=1e-8 weight-decay=0", .9, .8034818, .7614729),
    ("adam lr=.1 beta1=.9 beta2=.999 eps=1e-8 weight-decay=.1", .9, .8029473, .7562371),
    ("adamw lr=.1 beta1=.9 beta2=.999 eps=1e-8 weight-decay=.1", .89, .7845818, .7347271),
    ("adamw lr=.1 beta1=.95 beta2=.95 eps=1e-8 weight-decay=0", .9, .8050484, .7603564),
    ("adamw lr=.1 beta1=.95 beta2=.95 eps=1e-8 weight-decay=0 bias-correction=off", .9776393, .9479907, .9311124),
    ("adamw lr=.1 beta1=.95 beta2=.95 eps=1e-8 weight-decay=0 zero-init-moments=off", .5527864, .2392138, .0044921),
    ("adamw lr=.1 beta1=.95 beta2=.95 eps=1e-8 weight-decay=0 bias-correction=off zero-init-moments=off",
     .9, .8020870, .7134426),
    ("nested-adam lr=.1 beta1=.9 beta2=.999 eps=1e-8 weight-decay=0", .9, .7860673, .7402687),
    ("lion lr=.1 beta1=.9 beta2=.99 weight-decay=.1", .89, .7811, .873289),
]

# [[3,0,0],[0,4,0]] stays diagonal
DIAGONAL_GOLDEN = {"jordan": (.7228762, 1.1192039), "modula": (.9955990, .9968482), "varied": (1.0186287, 1.0056322),
                   "polar-express": (.9467875, .8782865), "track3": (1, 1), "cubic": (1, 1), "exact": (1, 1)}

# Pairs that walk the same path
SAME = [
    ("sgd lr=.3 momentum=.9 momentum-form=ema", "sgd lr=.03 momentum=.9"),
    ("sgd lr=.3 momentum=.9 momentum-form=ema nesterov=on", "sgd lr=.03 momentum=.9 nesterov=on"),
    ("nesterov lr=.02 momentum=.9 nesterov-form=shifted", "sgd lr=.02 momentum=.9 nesterov=on"),
    ("rmsprop lr=.01 beta2=.99 eps=1e-3", "adam lr=.01 weight-decay=0 beta1=0 beta2=.99 eps=1e-3 bias-correction=off"),
    ("adam lr=.01 weight-decay=0 beta1=0 beta2=0 eps=0", "signsgd lr=.01 weight-decay=0"),
    ("adam lr=.01 weight-decay=0 beta1=.9 beta2=.99 eps=1e-8",
     "adamw lr=.01 weight-decay=0 beta1=.9 beta2=.99 eps=1e-8"),
    ("nested-adam lr=.01 weight-decay=.1 beta1=0 beta2=.99 eps=.1",
     "adamw lr=.01 weight-decay=.1 beta1=0 beta2=.99 eps=.1"),
    ("lion lr=.01 weight-decay=.1 beta1=.9 beta2=.9", "signum lr=.01 weight-decay=.1 momentum=.9"),
    ("adamw lr=.01 weight-decay=.1 beta1=.9 beta2=.99 eps=.1",
     "adamw lr=.01 weight-decay=.1 beta1=.9 beta2=.99 eps=.1 eps-max=.1 eps-rate=.1 eps-start=.1 eps-end=.9"),
    ("adam-cpr lr=.01 beta1=.9 beta2=.99 eps=1e-8 cpr-warmup=99",
     "adam lr=.01 weight-decay=0 beta1=.9 beta2=.99 eps=1e-8"),
    ("muon lr=.02 weight-decay=.1 momentum=0", "spectral lr=.02 weight-decay=.1"),
    ("muon lr=.02 weight-decay=.1 momentum=0 ns=exact muon-scale=none",
     "shampoo lr=.02 weight-decay=.1 beta1=0 beta2=0 eps=0 refresh=1"),
    ("muon lr=.02 weight-decay=.1 momentum=0 ns=exact muon-scale=none",
     "shampoo lr=.02 weight-decay=.1 beta1=0 beta2=0 eps=0 refresh=1 sides=one"),
]


def check_close(what, got, want, bound):
    error = largest(np.asarray(got) - np.asarray(want))
    assert error <= bound, f"{what}: off by {error:.3g}, bound {bound:.3g}"


def check_golden():
    """Runs of one weight 1 with gradients 1, 2, -1, known to 7 digits, and a diagonal matrix."""
    gradients = np.array([1.0, 2.0, -1.0]).reshape(3, 1, 1)
    for text, *want in GOLDEN:
        got = [s["p"].item() for s in trajectory(text, np.ones((1, 1)), gradients)[1:]]
        check_close(text, got, want, 6e-8)
    for ns, want in DIAGONAL_GOLDEN.items():
        o = orthogonalised(np.array([[3.0, 0, 0], [0, 4, 0]]), Settings("", f"ns={ns} ns-steps=0"))
        check_close(ns, o, [[want[0], 0, 0], [0, want[1], 0]], 6e-8)


def check_pairs(p, gradients):
    for one, other in SAME:
        a, b = trajectory(one, p, gradients)[-1]["p"], trajectory(other, p, gradients)[-1]["p"]
        check_close(f"{one} and {other}", a, b, 1e-9)
    ahead = trajectory("nesterov lr=.2 momentum=.9", p, gradients)[-1]
    at_once = trajectory("sgd lr=.2 momentum=.9 momentum-form=ema nesterov=on", p, gradients)[-1]
    check_close("where Nesterov's gradient is taken", ahead["p"] - 0.2 * 0.9 * ahead["m"], at_once["p"], 1e-12)


def check_torch(p, gradients):
    """NumPy's twins of what PyTorch judges."""
    pairs = [
        ("adam lr=.01 beta1=.9 beta2=.95 eps=.01 weight-decay=.3", adam_by_numpy),
        ("adamw lr=.01 beta1=.9 beta2=.95 eps=.01 weight-decay=.3", adamw_by_numpy),
        ("muon lr=.02 weight-decay=.1 momentum=.9", muon_by_numpy),
        ("muon lr=.02 weight-decay=.1 momentum=.9 nesterov=off muon-scale=moonshot", muon_by_numpy),
    ]
    for text, by_numpy in pairs:
        h = settle(text)[1]
        records = trajectory(text, p, gradients)
        for t, g in enumerate(gradients, 1):
            got = by_numpy(records[t - 1], g, t, h)
            for name in got:
                check_close(f"{text}: {name}", got[name], records[t][name], 1e-13)


def check_newton_schulz(u, random):
    """It commutes with scales, signs, transposition and rotations; the exact one is dual to the nuclear norm."""
    left, right = (np.linalg.qr(random.standard_normal((n, n)))[0] for n in u.shape)
    for ns in DIAGONAL_GOLDEN:
        h = Settings("", f"ns={ns} ns-steps=0")
        o = orthogonalised(u, h)
        check_close(ns + " scaled", orthogonalised(-3 * u, h), -o, 1e-11)
        check_close(ns + " transposed", orthogonalised(u.T, h), o.T, 1e-11)
        check_close(ns + " rotated", orthogonalised(left @ u @ right, h), left @ o @ right, 1e-10)
    check_close("nuclear norm", (u * polar(u)).sum(), np.linalg.svd(u)[1].sum(), 1e-12)
    check_close("rank", norm(polar(u)) ** 2, min(u.shape), 1e-12)


def check_muon_family(p, g):
    r, c = p.shape
    for scale, rms in (("moonshot", 0.2), ("original", max(r, c) ** -0.5 * max(1, r / c) ** 0.5), ("early", 1)):
        s = trajectory(f"spectral lr=1 weight-decay=0 ns=exact muon-scale={scale}", p, g[:1])[-1]
        check_close("RMS of " + scale, norm(s["p"] - p) / (r * c) ** 0.5, rms, 1e-12)
    for text in ("muonh lr=.1 momentum=.9", "normuonh lr=.1 momentum=.9", "adamh lr=.1 beta1=.9 beta2=.9 eps=1e-8"):
        path = [norm(s["p"]) for s in trajectory(text, p, g)]
        check_close("norm under " + text, path, path[0], 1e-12)
    change = trajectory("normuon lr=1 weight-decay=0 momentum=.9 muon-scale=none", p, g[:1])[-1]["p"] - p
    plain = trajectory("muon lr=1 weight-decay=0 momentum=.9 muon-scale=none", p, g[:1])[-1]["p"] - p
    check_close("NorMuon's norm", norm(change), norm(plain), 1e-12)
    lines = np.sqrt((change * change).sum(axis=1 if r >= c else 0))
    check_close("NorMuon's even rows", lines, lines.mean(), 1e-12)


def check_dion(p, g):
    """With one gradient again and again and nothing kept, the power iteration arrives at its polar factor."""
    if p.shape[0] > p.shape[1]:
        return
    records = trajectory("dion lr=1 weight-decay=0 momentum=0", p, [g] * 1000)
    want = math.sqrt(p.shape[0] / p.shape[1]) * polar(g)
    check_close("Dion's limit", records[-2]["p"] - records[-1]["p"], want, 1e-7)  # its 1e-8 beside the norms


def check_shampoo(p, g):
    """Damped and without averages, both sides send a singular value s to s / sqrt(s^2 + eps)."""
    left, values, right = np.linalg.svd(g, full_matrices=False)
    want = (left * (values / np.sqrt(values * values + 0.3))) @ right
    for sides in ("two", "one"):
        text = f"shampoo lr=1 weight-decay=0 beta1=0 beta2=0 eps=.3 refresh=1 sides={sides}"
        check_close(text, p - trajectory(text, p, [g])[-1]["p"], want, 1e-12)


def check_soap(p, gradients):
    """With bases that stay at I, the rules in a basis are rules without one."""
    r, c = p.shape
    moments = {name: np.zeros((r, c)) for name in ("m", "v")}
    basis = {"left": np.zeros((r, r)), "right": np.zeros((c, c)), "left_basis": np.eye(r), "right_basis": np.eye(c)}
    scales = {"left_scale": np.ones((1, r)), "right_scale": np.ones((1, c))}
    begin = {"p": p} | moments | basis | scales
    pairs = [
        ("soap lr=.1 weight-decay=0 beta1=.9 beta2=.8 eps=.1 refresh=99",
         "adamw lr=.1 weight-decay=0 beta1=.9 beta2=.8 eps=.1 eps-mode=uncorrected"),
        ("soap-muon lr=.1 weight-decay=.2 momentum=0 beta2=.8 eps=.1 refresh=99",
         "muon2 lr=.1 weight-decay=.2 momentum=0 beta2=.8 eps=.1"),
        ("kl-soap lr=.1 beta1=.9 beta2=.8 eps=.1 refresh=99",
         "adamh lr=.1 beta1=.9 beta2=.8 eps=.1 bias-correction=off"),
    ]
    for one, other in pairs:
        (step, h), (plain, k) = settle(one), settle(other)
        s, want = begin, {"p": p} | moments
        for t, g in enumerate(gradients, 1):
            s, want = step(s, g, t + 1, h), plain(want, g, t, k)  # SOAP counts from its second call
        check_close(f"{one} and {other}", s["p"], want["p"], 1e-12)
    for text in ("soap lr=.1 weight-decay=0 beta1=.9 beta2=.8 eps=.1 refresh=2",
                 "kl-soap lr=.1 beta1=.9 beta2=.8 eps=.1"):
        m = np.zeros((r, c))
        for g, s in list(zip(gradients, trajectory(text, p, gradients)[1:]))[1:]:
            m = ema(0.9, m, g)
            check_close("the average gradient through rotations: " + text, out_of(bases_of(s), s["m"]), m, 1e-12)


def check_symmetry(p, gradients, random):
    """Rules that know no coordinates: rotated, and transposed, their steps stay the same."""
    left, right = (np.linalg.qr(random.standard_normal((n, n)))[0] for n in p.shape)
    texts = [
        "muon lr=.02 weight-decay=.1 momentum=.9",
        "muonh lr=.02 momentum=.9",
        "shampoo lr=.02 weight-decay=.2 beta1=.9 beta2=.9 eps=.1 refresh=2",
        "soap lr=.02 weight-decay=.1 beta1=.9 beta2=.9 eps=.1 refresh=2",
        "soap-muon lr=.02 weight-decay=.1 momentum=.9 beta2=.9 eps=.1 refresh=2",
        "kl-soap lr=.02 beta1=.9 beta2=.9 eps=.1",
    ]
    for text in texts:
        want = trajectory(text, p, gradients)[-1]["p"]
        rotated = trajectory(text, left @ p @ right, left @ gradients @ right)[-1]["p"]
        check_close(text + " rotated", rotated, left @ want @ right, 1e-9)
        flipped = trajectory(text, p.T, gradients.transpose(0, 2, 1))[-1]["p"]
        check_close(text + " transposed", flipped, want.T, 1e-9)


def judge_the_judges(inputs):
    random = np.random.default_rng(2)
    check_golden()
    for shape, (p, g) in inputs.items():
        if shape == "1x1":
            continue
        check_torch(p, g)
        check_pairs(p, g)
        check_newton_schulz(g[0], random)
        check_muon_family(p, g)
        check_dion(p, g[0])
        check_shampoo(p, g[0])
        if p.shape[0] == p.shape[1]:  # elsewhere the first bases are not determined
            check_soap(p, g)
            check_symmetry(p, g, random)


# --- The file ---


def upwards(x):
    """x to two digits, rounded up."""
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    return f"{math.ceil(x / unit) * unit:.2g}"


def judged(number, inputs, text, shapes, late={}):
    """A case's tensors and metadata."""
    random = np.random.default_rng(1000 + number)
    tensors, worst = {}, {}
    for shape in shapes:
        p, gradients = inputs[shape]
        records = trajectory(text, p, gradients, rounded=True, seed=number)
        for name in records[0]:
            tensors[f"{number:02}.{shape}.{name}"] = np.stack([s[name] for s in records])
        for k in range(late.get(shape, 0), T):
            for name, a in conditions(text, records[k], gradients[k], k + 1, random).items():
                worst[name] = max(worst.get(name, 1), a)
    assert max(worst.values()) < 1000, f"{text}: a sign nearly flips, or the step is badly conditioned: {worst}"
    metadata = {f"case.{number:02}": text}
    if any(a > 1 for a in worst.values()):
        metadata[f"condition.{number:02}"] = " ".join(f"{name}={upwards(a)}" for name, a in worst.items() if a > 1)
    if late:
        metadata[f"from.{number:02}"] = " ".join(f"{shape}={k}" for shape, k in late.items())
    return tensors, metadata


def save(path, tensors, metadata):
    """The same bytes for the same content."""
    header, end = {"__metadata__": metadata}, 0
    for name, x in tensors.items():
        header[name] = {"dtype": "F32", "shape": x.shape, "data_offsets": [end, end + 4 * x.size]}
        end += 4 * x.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for x in tensors.values():
            file.write(x.astype("<f4").tobytes())


def main():
    if len(sys.argv) != 2:
        sys.exit("judges.py OUT: writes the judgements to the safetensors file OUT")
    torch.set_num_threads(1)
    torch_muon._zeropower_via_newtonschulz = newton_schulz_for_torch
    random = np.random.default_rng(1)
    inputs = {shape: draw(shape, random) for shape in dict.fromkeys(MATRIX + FACTORS)}
    judge_the_judges(inputs)

    tensors = {}
    metadata = {"made by": "make judges", "torch": torch.__version__.split("+")[0], "numpy": np.__version__,
                "cases": str(len(CASES)), "steps": str(T)}
    for shape, (p, g) in inputs.items():
        tensors |= {f"p.{shape}": p, f"g.{shape}": g}
    for number, case in enumerate(CASES):
        more, about = judged(number, inputs, *case)
        tensors |= more
        metadata |= about
        print(f"{number:02} {case[0]}: {about.get(f'condition.{number:02}', '')}")
    path = Path(sys.argv[1])
    save(path, tensors, metadata)
    print(f"{path}: {len(CASES)} cases, {len(tensors)} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
