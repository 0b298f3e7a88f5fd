"""Judges of other entries of modded-nanogpt's track 3: DynMuon."""

import math

import numpy as np

from judges_base import T, decayed_step, full, judge, norm
from judges_matrix import orthogonalised


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
