"""Judges of other entries of modded-nanogpt's track 3: DynMuon, PMuon, SinkSOAP, Muown, PSGD, one-sided Kron."""

import math

import numpy as np

from judges_base import T, decayed_step, ema, full, hyperball, in_fp32, judge, norm
from judges_matrix import MUON, blend, eigenbasis, orthogonalised, qr_positive


def spectral_scale(o):
    rows, cols = o.shape
    return math.sqrt(max(1, rows / cols))


# --- DynMuon ---


@judge("dynmuon", "nesterov=on ns=track3 ns-steps=0 cautious=off", states=full("m"))
def dynmuon(s, g, t, h):
    m = h.momentum * s["m"] + g
    u = g + h.momentum * m if h.nesterov else m
    length = norm(u) + 1e-7
    x = u / length if g.shape[0] <= g.shape[1] else u.T / length
    share = (t - 1) / T
    p = h.power_end + (h.power_start - h.power_end) / (1 + math.exp((share - h.power_middle) / h.power_width))
    d = p / 2
    disturb = h.disturb or (lambda term, name="": term)
    excess = disturb(x @ x.T) - np.eye(len(x))
    power = disturb(np.eye(len(x)) + d * excess + d * (d - 1) / 2 * excess @ excess)
    o = power @ orthogonalised(x, h) * length**p
    o = o if g.shape[0] <= g.shape[1] else o.T
    return {"p": decayed_step(s["p"], o * spectral_scale(o), h), "m": m}


# --- PMuon ---


def random_rotation(shape, random):
    return qr_positive(random.standard_normal(shape))


def followed(u, covariance, q, h):
    """The covariance of u's columns, its approximate eigenvectors and its inverse power, of root mean square 1."""
    disturb = h.disturb or (lambda term, name="": term)
    n = len(q)
    new = disturb(u.T @ u)
    covariance = h.beta2 * covariance + new
    x = new + h.beta2 * covariance + h.eps * np.eye(n)
    q = qr_positive(x @ q)
    powers = np.maximum(np.diag(q.T @ x @ q), h.eps) ** -h.whitening
    return covariance, q, (q * powers) @ q.T * (math.sqrt(n) / norm(powers))


@judge("pmuon", MUON + "ns=track3", start={"left_basis": random_rotation, "right_basis": random_rotation},
       states=lambda h, r, c: {"m": (r, c), "left": (r, r), "right": (c, c), "left_basis": (r, r),
                               "right_basis": (c, c)})
def pmuon(s, g, t, h):
    m, u = blend(s, g, t, h)
    right, right_basis, inner = followed(u, s["right"], s["right_basis"], h)
    left, left_basis, outer = followed(u.T, s["left"], s["left_basis"], h)
    o = orthogonalised(outer @ u @ inner, h)
    return {"p": decayed_step(s["p"], o * spectral_scale(o), h), "m": m, "left": left, "right": right,
            "left_basis": left_basis, "right_basis": right_basis}


# --- SinkSOAP ---


def sinksoap_states(h, r, c):
    lines = {} if r == c else {"v": (r, 1) if r > c else (1, c)}
    return {"m": (r, c), "left": (r, r), "right": (c, c)} | lines


@judge("sinksoap", MUON, states=sinksoap_states)
def sinksoap(s, g, t, h):
    r, c = g.shape
    left, right = ema(h.beta2, s["left"], g @ g.T), ema(h.beta2, s["right"], g.T @ g)
    m, u = blend(s, g, t, h)
    rows, columns = eigenbasis(left), eigenbasis(right)
    a = rows.T @ u @ columns
    b = a * a + h.eps
    y = np.ones(c)
    for _ in range(10):
        x = 1 / r / (b @ y + h.eps)
        y = 1 / c / (b.T @ x + h.eps)
    length = math.sqrt(min(r, c)) * spectral_scale(g)
    d = rows @ (np.sqrt(x)[:, None] * a * np.sqrt(y)) @ columns.T
    d = d * length / norm(d)
    new = {"m": m, "left": left, "right": right}
    if r != c:
        new["v"] = ema(h.beta2, s["v"], (d * d).mean(axis=1 if r > c else 0, keepdims=True))
        d = d / np.maximum(np.sqrt(new["v"]), 1e-10)
        d = d * length / norm(d)
    return {"p": decayed_step(s["p"], d, h)} | new


# --- Muown ---


def muown_states(h, r, c):
    return {"m": (r, c), "gain": (1, r), "first_gain": (1, r), "gain_m": (1, r), "gain_v": (1, r)}


@judge("muown", "nesterov=on ns=muown ns-steps=0 steps=20", states=muown_states)
def muown(s, g, t, h):
    w, gain, first = s["p"], s["gain"].T, s["first_gain"].T
    if t == 1:
        lengths = np.sqrt((w * w).sum(axis=1, keepdims=True))
        gain = first = np.where(lengths > 0, lengths, math.sqrt(0.33))
    along = 0 if t == 1 else (min(t - 2, h.steps - 1) / (h.steps - 1)) ** 1.2
    n = first + along * (h.target_norm - first)
    e = w / gain
    slope = (g * e).sum(axis=1, keepdims=True)
    dv = gain / n * (g - e * slope)
    m = h.momentum * s["m"] + dv
    u = dv + h.momentum * m if h.nesterov else m
    v = n * e - h.lr * 0.2 * math.sqrt(max(g.shape)) * orthogonalised(u, h)
    gain_m, gain_v = ema(h.beta1, s["gain_m"].T, slope), ema(h.beta2, s["gain_v"].T, slope * slope)
    gain = gain - h.lr * gain_m / (1 - h.beta1**t) / (np.sqrt(gain_v / (1 - h.beta2**t)) + h.eps)
    p = gain * v / np.sqrt((v * v).sum(axis=1, keepdims=True))
    return {"p": p, "m": m, "gain": gain.T, "first_gain": first.T, "gain_m": gain_m.T, "gain_v": gain_v.T}


# --- PSGD ---

MASK = 2**64 - 1


def mixed(x):
    """splitmix64's output function."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def probes(t, which, shape, h):
    """N(0, 1) of step t, number 2 i and 2 i + 1 of a stream making element i; or golden runs' own."""
    if h.probes == "fixed":
        return np.reshape((1, -1, 0.5, 2, -0.5, 1), shape) if which else np.zeros(shape)
    key = mixed(((t << 24) + which) * 0xD1342543DE82EF95 + 1 & MASK)
    uniforms = [(mixed(key + (k + 1) * 0x9E3779B97F4A7C15 & MASK) >> 11) / 2**53 for k in range(2 * math.prod(shape))]
    drawn = [math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v)
             for u, v in zip(uniforms[::2], uniforms[1::2])]
    return in_fp32(np.reshape(drawn, shape))


def spectral_estimate(s):
    size = np.abs(s).max()
    s = s / size
    x = s @ s[:, (s * s).sum(axis=0).argmax()]
    return size * norm(s @ (x / norm(x)))


def learned(factor, a, p, h):
    """A factor after a step that whitens the columns of a beside those of p."""
    disturb = h.disturb or (lambda term, name="": term)
    if not a.any():
        return factor
    whitened, kept = disturb(a.T @ a), disturb(p.T @ p)
    return factor - h.factor_lr / spectral_estimate(whitened + kept) * np.triu(whitened - kept) @ factor


@judge("psgdh", "probes=drawn",
       states=lambda h, r, c: {"m": (r, c), "left_factor": (r, r), "right_factor": (c, c)})
def psgdh(s, g, t, h):
    r, c = g.shape
    m = ema(h.beta1, s["m"], g)
    u = m / (1 - h.beta1**t)
    left, right = s["left_factor"], s["right_factor"]
    if t == 1:
        q = max((g**4).mean(), 1e-24 / 524288**4) ** (-1 / 32)
        left, right = q * np.eye(r), q * np.eye(c)
    k = math.sqrt(np.abs(right).max() / np.abs(left).max())
    left, right = np.triu(left) * k, np.triu(right) / k
    a = left @ (u + 1.2e-7 * norm(u) * probes(t, 0, g.shape, h)) @ right.T
    p = np.linalg.inv(left).T @ probes(t, 1, g.shape, h) @ np.linalg.inv(right)
    left, right = learned(left, a.T, p.T, h), learned(right, a, p, h)
    u = left.T @ left @ u @ right.T @ right
    return {"p": hyperball(s["p"], u, h), "m": m, "left_factor": left, "right_factor": right}


@judge("kron", "probes=drawn cautious=off", start={"factor": lambda shape, random: np.eye(*shape)},
       states=lambda h, r, c: {"m": (r, c), "factor": (min(r, c), min(r, c))})
def kron(s, g, t, h):
    """Without the steps in which the factor stays, from 502 on."""
    wide = g.shape[0] < g.shape[1]
    m = ema(h.beta1, s["m"], g)
    u, v = m / (1 - h.beta1**t), probes(t, 1, g.shape, h)
    u, v = (u.T, v.T) if wide else (u, v)
    q = np.triu(s["factor"])
    q = learned(q, u @ q.T, v @ np.linalg.inv(q), h)
    d = u @ q.T @ q
    d = d * min(1, 1.1 / math.sqrt((d * d).mean()))
    return {"p": decayed_step(s["p"], d.T if wide else d, h), "m": m, "factor": q}
