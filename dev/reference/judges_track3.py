"""Judges of other entries of modded-nanogpt's track 3: DynMuon, PMuon, SinkSOAP, Muown."""

import math

import numpy as np

from judges_base import T, decayed_step, ema, full, judge, norm
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
