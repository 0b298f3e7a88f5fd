"""Judges of the rules that take each element for itself, but for a norm: SGD and its kin, Adam's family, signs."""

import math
from types import SimpleNamespace

import numpy as np
import torch

from judges_base import T, by_torch, decayed_step, ema, full, hyperball, judge, norm

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


@judge("schedule-free", "rate-warmup=0", states=full("z", "v"), elementwise=True)
def schedule_free(s, g, t, h):
    """p holds y = beta1 x + (1 - beta1) z; x is the average of all z, weighted by the rates' squares."""
    rates = [h.lr * min(1, k / h.rate_warmup if h.rate_warmup else 1) for k in range(1, t + 1)]
    z = s["p"] if t == 1 else s["z"]
    x = (s["p"] - (1 - h.beta1) * z) / h.beta1
    v = ema(h.beta2, s["v"], g * g)
    d = g / (np.sqrt(v / (1 - h.beta2**t)) + h.eps) + h.weight_decay * s["p"]
    c = rates[-1] ** 2 / sum(rate**2 for rate in rates)
    z = z - rates[-1] * d
    x = (1 - c) * x + c * z
    return {"p": h.beta1 * x + (1 - h.beta1) * z, "z": z, "v": v}


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


@judge("adamh", ADAM, states=full("m", "v"), elementwise=True)
def adamh(s, g, t, h):
    u, moments = adam_direction(s, g, t, h)
    return {"p": hyperball(s["p"], u, h)} | moments


# --- Adam's younger kin ---


def half_life(beta):
    return math.log(0.5) / math.log(beta)


def slow_decay(t, h):
    """beta3 with the half-life on a line from beta1's to its own."""
    if t >= h.beta3_warmup:
        return h.beta3
    share = t / h.beta3_warmup
    return 0.5 ** (1 / ((1 - share) * half_life(h.beta1) + share * half_life(h.beta3)))


@judge("ademamix", "cautious=off beta3-warmup=0 alpha-warmup=0 bias-correction=on", states=full("m", "v", "slow"),
       elementwise=True)
def ademamix(s, g, t, h):
    c1, c2 = corrections(t, h)
    m, v, slow = ema(h.beta1, s["m"], g), ema(h.beta2, s["v"], g * g), ema(slow_decay(t, h), s["slow"], g)
    alpha = h.alpha * (t / h.alpha_warmup if t < h.alpha_warmup else 1)
    u = (m / c1 + alpha * slow) / (np.sqrt(v / c2) + h.eps)
    return {"p": decayed_step(s["p"], u, h), "m": m, "v": v, "slow": slow}


def nesterov_momentum(t, h):
    return h.beta1 * (1 - 0.5 * 0.96 ** (0.004 * t))


def nadamw_by_torch(s, g, t, h):
    product = math.prod(nesterov_momentum(i, h) for i in range(1, t))
    return by_torch(lambda p: torch.optim.NAdam(p, h.lr, (h.beta1, h.beta2), h.eps, h.weight_decay,
                                                decoupled_weight_decay=True),
                    {"m": "exp_avg", "v": "exp_avg_sq"}, s, g, t,
                    {"mu_product": torch.tensor(product, dtype=torch.float64)})


def nadamw_by_numpy(s, g, t, h):
    m, v = ema(h.beta1, s["m"], g), ema(h.beta2, s["v"], g * g)
    done = math.prod(nesterov_momentum(i, h) for i in range(1, t + 1))
    now, coming = nesterov_momentum(t, h), nesterov_momentum(t + 1, h)
    u = (1 - now) / (1 - done) * g + coming / (1 - done * coming) * m
    u = u / (np.sqrt(v / (1 - h.beta2**t)) + h.eps)
    return {"p": decayed_step(s["p"], u, h), "m": m, "v": v}


@judge("nadamw", "cautious=off", states=full("m", "v"), elementwise=True)
def nadamw(s, g, t, h):
    return (nadamw_by_numpy if h.cautious else nadamw_by_torch)(s, g, t, h)


@judge("prodigy", "cautious=off bias-correction=off d-coef=1", elementwise=True,
       states=lambda h, r, c: full("s", "start", "m", "v")(h, r, c) | {"common_0": (1, 1), "common_1": (1, 1)})
def prodigy(s, g, t, h):
    """common_0 is d, or 0 before the first step, common_1 the numerator of its estimate; `start` is the first p."""
    start = s["p"] if t == 1 else s["start"]
    d = s["common_0"].item() or h.d0
    c1, c2 = corrections(t, h)
    rate, beta3 = d * h.lr * math.sqrt(c2) / c1, math.sqrt(h.beta2)
    numerator = beta3 * s["common_1"] + d / h.d0 * rate * (g * (start - s["p"])).sum()
    total = beta3 * s["s"] + d / h.d0 * rate * g
    new_d = np.maximum(d, h.d_coef * numerator / np.abs(total).sum())
    m, v = ema(h.beta1, s["m"], d * g), ema(h.beta2, s["v"], d * d * g * g)
    u = m / (np.sqrt(v) + new_d * h.eps)
    p = decayed_step(s["p"], u, SimpleNamespace(lr=rate, weight_decay=h.weight_decay, cautious=h.cautious))
    return {"p": p, "s": total, "start": start, "m": m, "v": v, "common_0": new_d, "common_1": numerator}


@judge("adopt", "cautious=off", states=full("m", "v"), elementwise=True)
def adopt(s, g, t, h):
    if t == 1:
        return {"p": s["p"], "m": s["m"], "v": g * g}
    limit = (t - 1) ** 0.25
    m = ema(h.beta1, s["m"], np.clip(g / np.maximum(np.sqrt(s["v"]), h.eps), -limit, limit))
    return {"p": decayed_step(s["p"], m, h), "m": m, "v": ema(h.beta2, s["v"], g * g)}


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


@judge("sophia", "cautious=off refresh=10", states=full("m", "h"), elementwise=True)
def sophia(s, g, t, h):
    """h holds B times the average of the squares, B labels being drawn."""
    B = 100
    m, hessian = ema(h.beta1, s["m"], g), s["h"]
    u = np.sign(m) * np.minimum(abs(m) / (h.rho * hessian + 1e-15), 1)
    if t % h.refresh == 0:
        hessian = ema(h.beta2, hessian, B * h.second[t - 1] ** 2)
    return {"p": decayed_step(s["p"], u, h), "m": m, "h": hessian}


# --- MARS, cautious steps ---


MARS = "mars-form=approximate cautious=off "


def mars_states(*names):
    return lambda h, r, c: full(*names, "previous", *["previous_point"] * (h.mars_form == "exact"))(h, r, c)


def mars_gradient(s, g, t, h):
    """The corrected gradient, and the new states. approximate: by the last step's gradient, at its own parameters and of
    its own inputs; exact: by that of this step's inputs at the last step's parameters."""
    exact = h.mars_form == "exact"
    previous = h.second[t - 1] if exact and t > 1 else s["previous"]
    c = g + h.mars_gamma * h.beta1 / (1 - h.beta1) * (g - previous)
    return c / max(1, norm(c)), {"previous": previous, "previous_point": s["p"]} if exact else {"previous": g}


@judge("mars", MARS + "bias-correction=on", states=mars_states("m", "v"), elementwise=True)
def mars(s, g, t, h):
    c, new = mars_gradient(s, g, t, h)
    c1, c2 = corrections(t, h)
    m, v = ema(h.beta1, s["m"], c), ema(h.beta2, s["v"], c * c)
    return {"p": decayed_step(s["p"], (m / c1) / (np.sqrt(v / c2) + h.eps), h), "m": m, "v": v} | new


@judge("mars-lion", MARS, states=mars_states("m"), elementwise=True)
def mars_lion(s, g, t, h):
    c, new = mars_gradient(s, g, t, h)
    m = ema(h.beta1, s["m"], c)
    return {"p": decayed_step(s["p"], np.sign(m), h), "m": m} | new


@judge("cautious-adamw", "cautious=off bias-correction=on", states=full("m", "v"), elementwise=True)
def cautious_adamw(s, g, t, h):
    c1, c2 = corrections(t, h)
    m, v = ema(h.beta1, s["m"], g), ema(h.beta2, s["v"], g * g)
    mask = (m * g > 0).astype(float)
    u = m * mask / max(mask.mean(), 1e-3) / (np.sqrt(v) + h.eps) * (math.sqrt(c2) / c1)
    return {"p": decayed_step(s["p"], u, h), "m": m, "v": v}


@judge("cautious-lion", "cautious=off", states=full("m"), elementwise=True)
def cautious_lion(s, g, t, h):
    u = np.sign(ema(h.beta1, s["m"], g))
    mask = (u * g > 0).astype(float)
    u = u * mask * (mask.size / (mask.sum() + 1))
    return {"p": decayed_step(s["p"], u, h), "m": ema(h.beta2, s["m"], g)}
