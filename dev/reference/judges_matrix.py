"""Judges of the rules of matrices: Newton-Schulz and the Muon family, Dion, Shampoo, SOAP's family."""

import math

import numpy as np
import torch

from judges_base import T, by_torch, decayed, decayed_step, ema, full, hyperball, judge, norm
from judges_elementwise import MARS, corrections, mars_gradient, mars_states

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
MUOWN = [(8.2051, -22.9019, 16.4607), (4.0664, -2.8612, 0.5184), (3.9096, -2.8234, 0.525), (3.2856, -2.4153, 0.4853),
         (2.2779, -1.6198, 0.3985), (1.8726, -1.2307, 0.3585), (1.8564, -1.2132, 0.3568)]

# The triples of a flavour's own number of iterations
TRIPLES = {
    "jordan": [JORDAN] * 5,
    "cubic": [(1.5, -0.5, 0)] * 15,
    "modula": [tuple(x / 1024 for x in triple) for triple in MODULA],
    "varied": VARIED,
    "polar-express": POLAR_EXPRESS,
    "track3": [(2, -1.5, 0.5)] * 12,
    "muown": MUOWN + [(1.875, -1.25, 0.375)] * 5,
    "nanochat": POLAR_EXPRESS,
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


def schatten4(u):
    """(the sum of the singular values' fourth powers)^(1/4)"""
    return (np.linalg.svd(u, compute_uv=False) ** 4).sum() ** 0.25


def ns_norm(u, h):
    return schatten4(u) if h.ns_norm == "schatten4" else norm(u)


def equal_rows(u):
    """Each as long as they are on average, in the mean of squares."""
    lengths = np.maximum(np.sqrt((u * u).sum(axis=1, keepdims=True)), 1e-6)
    return u * (norm(u) / math.sqrt(len(u))) / lengths


def orthogonalised(u, h):
    if h.equal_rows:
        u = equal_rows(u)
    if h.ns == "exact":
        return polar(u)
    triples = TRIPLES[h.ns]
    if h.ns_steps:
        triples = (triples + triples[-1:] * 99)[:int(h.ns_steps)]
    factor, least = {"polar-express": (1.02, 1e-6), "nanochat": (1.01, 1e-6)}.get(h.ns, (1, 1e-7))
    size = factor * ns_norm(u, h)
    return iterate(u / (size + least if h.added_eps else max(size, least)), triples, h.disturb)


def shape_factor(o, u, g, h):
    """The rule of muon-scale for o, which is u orthogonalised."""
    r, c = o.shape
    if h.muon_scale == "nuclear":
        return (u * o).sum()
    return {
        "none": 1,
        "original": math.sqrt(max(1, r / c)),
        "moonshot": 0.2 * math.sqrt(max(r, c)),
        "bernstein": math.sqrt(r / c),
        "early": math.sqrt(max(r, c)),
        "rms": 0.2 * math.sqrt(r * c) / norm(o),
        "gradient": norm(g) / norm(o),
    }[h.muon_scale]


# --- The Muon family ---

MUON = ("nesterov=on ns=jordan ns-steps=0 ns-norm=frobenius cautious=off momentum-start=0 momentum-warmup=0 "
        "momentum-cooldown=0 ")
SHAPED = "muon-scale=original contra=0 radial-brake=0 step-floor=0 floor-by=matrix pin-radius=off "
SCALED = MUON + SHAPED
TRACK3 = " ns=track3 "  # what its entries take in place of jordan


def spectral_norm_in_five(u):
    """By the power iteration, from a vector of equal elements."""
    v = np.full(u.shape[1], u.shape[1] ** -0.5)
    for _ in range(5):
        v = u.T @ (u @ v)
        v = v / norm(v)
    return norm(u @ v)


def less_contra(o, u, h):
    if not h.contra:
        return o
    d = o - h.contra * u / spectral_norm_in_five(u)
    return d * norm(o) / norm(d)


def lengths(x, h):
    """Of the whole, or of rows, at least 1e-8."""
    return np.maximum(np.sqrt((x * x).sum(axis=1, keepdims=True)) if h.floor_by == "row" else norm(x), 1e-8)


def moved(p, o, h):
    """The parameter after the step o, with the brake, the floor and the pinned radius."""
    if h.radial_brake:
        k = (o * p).sum() / max((p * p).sum(), 1e-12)
        o = o - h.radial_brake * min(k, 0) * p
    if h.step_floor:
        o = o * np.maximum(1, h.step_floor * lengths(p, h) / lengths(o, h))
    if not h.pin_radius:
        return decayed_step(p, o, h)
    radius = max(norm(p), 1e-8)
    target = max(radius - h.lr * (o * p).sum() / radius, 1e-8)
    q = p - h.lr * o
    q = q * target / max(norm(q), 1e-8)
    mask = o * p > 0 if h.cautious else True
    return q * (1 - h.lr * h.weight_decay * mask)


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
    o = less_contra(orthogonalised(u, h), u, h)
    return {"p": moved(s["p"], o * shape_factor(o, u, g, h), h), "m": m}


def muon_by_torch(s, g, t, h):
    """torch.optim.Muon iterates in bf16; judges.py puts the same iteration in its input's precision in its place."""
    adjust = {"original": "original", "moonshot": "match_rms_adamw"}[h.muon_scale]
    return by_torch(lambda p: torch.optim.Muon(p, h.lr, h.weight_decay, h.momentum, h.nesterov, adjust_lr_fn=adjust),
                    {"m": "momentum_buffer"}, s, g, t)


def newton_schulz_for_torch(grad, ns_coefficients, ns_steps, eps):
    x = grad / grad.norm().clamp(min=eps)
    return torch.from_numpy(iterate(x.numpy(), [ns_coefficients] * ns_steps))


@judge("muon", SCALED, states=full("m"))
def muon(s, g, t, h):
    plain = not (h.cautious or h.ns_steps or h.momentum_warmup or h.momentum_cooldown or h.disturb or h.contra or
                 h.radial_brake or h.step_floor or h.pin_radius or h.ns_norm != "frobenius" or h.equal_rows)
    if plain and h.ns == "jordan" and h.muon_scale in ("original", "moonshot"):
        return muon_by_torch(s, g, t, h)
    return muon_by_numpy(s, g, t, h)


@judge("cautious-muon", SCALED, states=full("m"))
def cautious_muon(s, g, t, h):
    m, u = blend(s, g, t, h)
    mask = (m * g > 0).astype(float)
    u = u * mask / max(mask.mean(), 1e-3)
    o = less_contra(orthogonalised(u, h), u, h)
    return {"p": moved(s["p"], o * shape_factor(o, u, g, h), h), "m": m}


@judge("spectral", SCALED)
def spectral(s, g, t, h):
    o = less_contra(orthogonalised(g, h), g, h)
    return {"p": moved(s["p"], o * shape_factor(o, g, g, h), h)}


def row_normalised(o, v, h):
    """NorMuon's mean squares of rows (modded: of columns, where there are more of these), averaged, and o divided by
    their roots."""
    r, c = o.shape
    by_rows = r >= c or h.normuon_form == "li"
    v = ema(h.beta2, v, (o * o).mean(axis=1 if by_rows else 0, keepdims=True))
    return o / (np.sqrt(v) + h.eps if h.normuon_form == "li" else np.sqrt(np.maximum(v, h.eps))), v


def muon_and_rows(h, r, c):
    return {"m": (r, c), "v": (r, 1) if r >= c or h.normuon_form == "li" else (1, c)}


@judge("normuon", SCALED + "beta2=.95 eps=1e-10 normuon-form=modded", states=muon_and_rows)
def normuon(s, g, t, h):
    m, u = blend(s, g, t, h)
    o = less_contra(orthogonalised(u, h), u, h)
    even, v = row_normalised(o, s["v"], h)
    even = even * norm(o) / norm(even)
    return {"p": moved(s["p"], even * shape_factor(even, u, g, h), h), "m": m, "v": v}


@judge("contra-muon", SCALED + TRACK3 + "contra=.2 step-floor=.35 beta2=.95 eps=1e-10 normuon-form=modded", states=muon_and_rows)
def contra_muon(s, g, t, h):
    return normuon(s, g, t, h)


def balanced(u, h):
    """NS of rows (columns, where there are more) of equal length, divided once more by their lengths in NS(u)."""
    r, c = u.shape
    if r < c:
        return balanced(u.T, h).T
    if r == c:
        return orthogonalised(u, h)
    d = 1 / np.maximum(np.sqrt((u * u).sum(axis=1, keepdims=True)), 1e-7)
    o = orthogonalised(d * u, h)
    d = d * np.sqrt((c / r) / np.maximum((o * o).sum(axis=1, keepdims=True), 1e-14))
    return orthogonalised(d * u, h)


@judge("aurora", SCALED + TRACK3 + "contra=.2 step-floor=.35", states=full("m"))
def aurora(s, g, t, h):
    m, u = blend(s, g, t, h)
    o = less_contra(balanced(u, h), u, h)
    return {"p": moved(s["p"], o * shape_factor(o, u, g, h), h), "m": m}


@judge("muonh", MUON + TRACK3, states=full("m"))
def muonh(s, g, t, h):
    m, u = blend(s, g, t, h)
    return {"p": hyperball(s["p"], orthogonalised(u, h), h), "m": m}


@judge("normuonh", MUON + TRACK3 + "beta2=.95 eps=1e-10 normuon-form=modded", states=muon_and_rows)
def normuonh(s, g, t, h):
    m, u = blend(s, g, t, h)
    even, v = row_normalised(orthogonalised(u, h), s["v"], h)
    return {"p": hyperball(s["p"], even, h), "m": m, "v": v}


@judge("muon2", SCALED + TRACK3 + "beta2=.95 eps=1e-10", states=full("m", "v"))
def muon2(s, g, t, h):
    m, u = blend(s, g, t, h)
    v = ema(h.beta2, s["v"], g * g)
    u = u / (np.sqrt(v) + h.eps)
    o = less_contra(orthogonalised(u, h), u, h)
    return {"p": moved(s["p"], o * shape_factor(o, u, g, h), h), "m": m, "v": v}


# --- Dion ---


def qr_positive(a):
    """The Q of a = Q R with a positive diagonal of R."""
    q, r = np.linalg.qr(a)
    return q * np.where(np.diag(r) < 0, -1, 1).astype(a.dtype)


def dion_states(h, r, c):
    return {"b": (r, c), "q": (min(r, c), int(min(h.rank or r, r, c)))}


class Turned:
    """Settings for a transposed matrix, whose step has the factor sqrt(ratio)."""

    def __init__(self, h, ratio):
        self.__dict__ |= vars(h) | {"ratio": ratio}


@judge("dion", "rank=0 cautious=off", states=dion_states,
       start={"q": lambda shape, random: random.standard_normal(shape)})
def dion(s, g, t, h):
    rows, cols = g.shape
    if rows < cols:  # the same of the transposed matrices but for the factor of the step
        t = dion({"p": s["p"].T, "b": s["b"].T, "q": s["q"]}, g.T, t, Turned(h, rows / cols))
        return {"p": t["p"].T, "b": t["b"].T, "q": t["q"]}
    b = s["b"] + g
    if not b.any():
        return s | {"p": decayed_step(s["p"], b, h)}
    p = qr_positive(b @ s["q"])
    r = b.T @ p
    b = b - (1 - h.momentum) * p @ r.T
    q = r / (np.sqrt((r * r).sum(axis=0)) + 1e-8)
    return {"p": decayed_step(s["p"], math.sqrt(getattr(h, "ratio", rows / cols)) * p @ q.T, h), "b": b, "q": q}


@judge("rownorm", "cautious=off nesterov=off", states=full("m"))
def rownorm(s, g, t, h):
    m = ema(h.momentum, s["m"], g)
    u = (1 - h.momentum) * g + h.momentum * m if h.nesterov else m
    lengths = np.sqrt((u * u).mean(axis=1, keepdims=True))
    return {"p": decayed_step(s["p"], u / np.where(lengths > 0, lengths, 1), h), "m": m}


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
        due = t % h.refresh == 0 or (t == 1 and h.graft == "none")
        new[side + "_root"] = root(factor / c2, h) if due else s[side + "_root"]
    mean = g
    if h.beta1:
        new["m"] = ema(h.beta1, s["m"], g)
        mean = new["m"] / c1
    if h.graft == "adam":
        new["v"] = ema(h.beta2, s["v"], g * g)
        a = mean / (np.sqrt(new["v"] / c2) + 1e-10)
        if t < h.refresh:
            return {"p": decayed_step(s["p"], a, h)} | new
    d = mean
    if "left" in new:
        d = new["left_root"] @ d
    if "right" in new:
        d = d @ new["right_root"]
    if h.graft == "adam":
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


def cosine(x, y):
    return (x * y).sum() / (norm(x) * norm(y))


def trust(d, u, g, t, h):
    """The weight of d beside u: bounded until gate-end of the run."""
    start, end, done = h.gate_start * T, h.gate_end * T, t - 1
    least = h.gate_least * (1 if done < start else (end - done) / (end - start) if done < end else 0)
    most = h.gate_most if done < end else 1
    agreement = np.clip((cosine(d, u) - 0.2) / 0.8, 0, 1)
    progress = np.clip(cosine(d, g) / max(cosine(u, g), 1e-8), 0, 1)
    return np.clip(agreement * progress, least, most)


@judge("soap-muon", SCALED + TRACK3 + "ns-norm=schatten4 radial-brake=.5 step-floor=.3825 pin-radius=on refresh=1 "
       "gate=none gate-least=.45 gate-most=.85 gate-start=.474 gate-end=.56", states=soap_states)
def soap_muon(s, g, t, h):
    """gate=attention-out is judged as none: no case names it."""
    m, u = blend(s, g, t, h)
    outer, inner, v, even = g @ g.T, g.T @ g, s["v"], u
    if t > 1:
        rotated = into(s, u)
        v = ema(h.beta2, v, rotated * rotated)
        root = np.sqrt(v)
        even = out_of(s, rotated / (np.maximum(root, h.eps) if h.ns_norm == "schatten4" else root + h.eps))
        even = even * ns_norm(u, h) / ns_norm(even, h)
        if h.gate == "all":
            even = u + trust(even, u, g, t, h) * (even - u)
            even = even * ns_norm(u, h) / ns_norm(even, h)
    o = less_contra(orthogonalised(even, h), even, h)
    p = moved(s["p"], o * shape_factor(o, even, g, h), h)
    left, right = ema(h.beta2, s["left"], outer), ema(h.beta2, s["right"], inner)
    basis = bases_of(s)
    if t == 1:
        basis = {"left_basis": eigenbasis(left), "right_basis": eigenbasis(right)}
    elif (t - 1) % h.refresh == 0:
        rows, cols = falling_order(left, basis["left_basis"]), falling_order(right, basis["right_basis"])
        v = v[rows][:, cols]
        basis = refreshed({"left_basis": basis["left_basis"][:, rows], "right_basis": basis["right_basis"][:, cols]},
                          left, right)
    return {"p": p, "m": m, "v": v, "left": left, "right": right} | basis


@judge("soap-h", "refresh=1", states=soap_states)
def soap_h(s, g, t, h):
    left, right = ema(h.beta2, s["left"], g @ g.T), ema(h.beta2, s["right"], g.T @ g)
    basis = bases_of(s) if t > 1 else {"left_basis": eigenbasis(left), "right_basis": eigenbasis(right)}
    m, v = ema(h.beta1, s["m"], g), ema(h.beta2, s["v"], into(basis, g) ** 2)
    p = hyperball(s["p"], out_of(basis, into(basis, m) / (np.sqrt(v) + h.eps)), h)
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


# --- Muon's kin by use ---


@judge("adamuon", MUON + "beta2=.95 eps=1e-8", states=full("m", "v"))
def adamuon(s, g, t, h):
    m, u = blend(s, g, t, h)
    o = orthogonalised(np.sign(u), h)
    v = ema(h.beta2, s["v"], o * o)
    o = o / (np.sqrt(v) + h.eps)
    return {"p": decayed_step(s["p"], 0.2 * math.sqrt(o.size) * o / max(norm(o), 1e-8), h), "m": m, "v": v}


def splus_states(h, r, c):
    return {"m": (r, c), "left": (r, r), "right": (c, c), "left_basis": (r, r), "right_basis": (c, c), "average": (r, c)}


@judge("splus", "average-decay=.999", states=splus_states)
def splus(s, g, t, h):
    m = ema(h.beta1, s["m"], g)
    left, right, basis = ema(h.beta2, s["left"], g @ g.T), ema(h.beta2, s["right"], g.T @ g), bases_of(s)
    d = np.sign(m) if t == 1 else out_of(basis, np.sign(into(basis, m)))
    rate = h.lr * 2 / sum(g.shape)
    p = s["p"] - rate * d
    average = ema(h.average_decay, s["average"], p)
    p = (1 - rate * h.weight_decay) * p
    if t == 1 or t % h.refresh == 0:
        basis = {"left_basis": eigenbasis(left), "right_basis": eigenbasis(right)}
    return {"p": p, "m": m, "left": left, "right": right, "average": average} | basis


@judge("scion", "ns=jordan ns-steps=0", states=full("m"))
def scion(s, g, t, h):
    m = ema(h.momentum, s["m"], g)
    lmo = math.sqrt(m.shape[0] / m.shape[1]) * orthogonalised(m, h)
    return {"p": (1 - h.lr * h.weight_decay) * s["p"] - h.lr * h.radius * lmo, "m": m}


@judge("scion-sign", states=full("m"))
def scion_sign(s, g, t, h):
    m = ema(h.momentum, s["m"], g)
    return {"p": (1 - h.lr * h.weight_decay) * s["p"] - h.lr * h.radius * np.sign(m) / m.shape[1], "m": m}


def adafactor_by_numpy(s, g, t, h):
    new = {"column": ema(1 - t**-0.8, s["column"], (g * g).mean(axis=0, keepdims=True))}
    v = new["column"]
    if "row" in s:
        new["row"] = ema(1 - t**-0.8, s["row"], (g * g).mean(axis=1, keepdims=True).T)
        v = new["row"].T @ v / max(new["row"].mean(), h.eps)
    u = g / np.sqrt(np.maximum(v, h.eps**2))
    u = u / max(1, norm(u) / math.sqrt(u.size))
    rate = max(1e-3, norm(s["p"]) / math.sqrt(u.size)) * min(h.lr, t**-0.5)
    return {"p": decayed(s["p"], u, h) - rate * u} | new


def adafactor_by_torch(s, g, t, h):
    """One row is given to PyTorch as a vector."""
    flat = (lambda x: x[0]) if len(g) == 1 else (lambda x: x)
    p = torch.nn.Parameter(torch.from_numpy(flat(s["p"]).copy()))
    p.grad = torch.from_numpy(flat(g).copy())
    optimizer = torch.optim.Adafactor([p], h.lr, eps=(h.eps, 1e-3), weight_decay=h.weight_decay)
    if t > 1:
        column = torch.from_numpy(flat(s["column"]).copy())
        row = {"row_var": torch.from_numpy(s["row"].T.copy())} if "row" in s else {}
        state = {"col_var" if "row" in s else "variance": column} | row
        optimizer.state[p] = {"step": torch.tensor(t - 1.0)} | state
    optimizer.step()
    state = optimizer.state[p]
    new = {"row": state["row_var"].numpy().T} if "row" in s else {}
    column = state["col_var" if "row" in s else "variance"].numpy()
    return {"p": p.detach().numpy().reshape(g.shape), "column": column.reshape(1, -1)} | new


@judge("adafactor", "cautious=off", states=lambda h, r, c: ({"row": (1, r)} if r > 1 else {}) | {"column": (1, c)})
def adafactor(s, g, t, h):
    return (adafactor_by_numpy if h.cautious else adafactor_by_torch)(s, g, t, h)


@judge("adam-mini", "cautious=off", states=lambda h, r, c: {"m": (r, c), "v": (1, r)})
def adam_mini(s, g, t, h):
    m, v = ema(h.beta1, s["m"], g), ema(h.beta2, s["v"], (g * g).mean(axis=1, keepdims=True).T)
    u = m / (1 - h.beta1**t) / (np.sqrt(v.T / (1 - h.beta2**t)) + h.eps)
    return {"p": decayed_step(s["p"], u, h), "m": m, "v": v}


def galore_states(h, r, c):
    k = int(min(h.rank or r, r, c))
    moment = (r, k) if r >= c else (k, c)
    return {"m": moment, "v": moment, "basis": (min(r, c), k)}


@judge("galore", states=galore_states)
def galore(s, g, t, h):
    if len(g) < len(g[0]):  # the same of the transposed matrix, whose basis is on its right
        new = galore({name: x if name == "basis" else x.T for name, x in s.items()}, g.T, t, h)
        return {name: x if name == "basis" else x.T for name, x in new.items()}
    basis = s["basis"]
    if (t - 1) % h.refresh == 0:
        top = eigenbasis(g.T @ g)[:, :basis.shape[1]]
        basis = top * np.where((top * basis).sum(axis=0) < 0, -1, 1)
    x = g @ basis
    m, v = ema(h.beta1, s["m"], x), ema(h.beta2, s["v"], x * x)
    u = m / (np.sqrt(v) + h.eps) * (math.sqrt(1 - h.beta2**t) / (1 - h.beta1**t)) @ basis.T
    return {"p": (1 - h.lr * h.weight_decay) * (s["p"] - h.lr * 0.25 * u), "m": m, "v": v, "basis": basis}


def falling_lines(m, h):
    """The numbers of the rows with the largest sums of absolute values."""
    k = max(1, math.ceil(h.fraction * len(m)))
    return np.argsort(-abs(m).sum(axis=1), kind="stable")[:k]


DION2 = "ns=polar-express ns-steps=0 muon-scale=bernstein cautious=off"


@judge("dion2", DION2, states=full("m"))
def dion2(s, g, t, h):
    m = s["m"] + g
    across = m.T if len(m) > len(m[0]) else m  # a view: its rows are the lines
    lines = falling_lines(across, h)
    o = np.zeros(m.shape)
    (o.T if across is not m else o)[lines] = orthogonalised(across[lines], h)
    across[lines] *= h.momentum
    return {"p": decayed_step(s["p"], o * shape_factor(o, None, g, h), h), "m": m}


@judge("nordion2", DION2, states=lambda h, r, c: {"m": (r, c), "v": (1, r)})
def nordion2(s, g, t, h):
    m, v, o = s["m"] + g, s["v"].copy(), np.zeros(g.shape)
    lines = falling_lines(m, h)
    part = orthogonalised(m[lines], h)
    v[0, lines] = ema(h.beta2, v[0, lines], (part * part).mean(axis=1))
    even = part / (np.sqrt(v[:, lines].T) + h.eps)
    o[lines] = even * norm(part) / norm(even)
    m[lines] *= h.momentum
    return {"p": decayed_step(s["p"], o * shape_factor(o, None, g, h), h), "m": m, "v": v}


@judge("muon-plus", "nesterov=on equal-rows=on ns=nanochat ns-steps=0 cautious=on momentum-start=0 momentum-warmup=0 "
       "momentum-cooldown=0", states=muon_and_rows)
def muon_plus(s, g, t, h):
    m, u = blend(s, g, t, h)
    r, c = u.shape
    o = orthogonalised(u, h)
    o = o * math.sqrt(min(r, c)) / norm(o)
    even, v = row_normalised(o, s["v"], h)
    even = even * norm(o) / norm(even)
    rate = h.lr * math.sqrt(max(1, r / c))
    kept = 1 - rate * h.weight_decay * ((even * s["p"] >= 0) | (not h.cautious))
    return {"p": kept * s["p"] - rate * even, "m": m, "v": v}


@judge("mars-shampoo", MARS + "ns=jordan ns-steps=0 muon-scale=original", states=mars_states("m"))
def mars_shampoo(s, g, t, h):
    c, new = mars_gradient(s, g, t, h)
    m = ema(h.beta1, s["m"], c)
    o = orthogonalised(m / (1 - h.beta1), h)
    return {"p": decayed_step(s["p"], o * shape_factor(o, m, g, h), h), "m": m} | new
