"""What may be said of runs with several seeds: intervals, paired tests, data multiples.

All intervals are of 95%. Losses are paired by seed: runs of one seed share initialisation and the order of the data.
"""

from dataclasses import dataclass

import numpy
from scipy import stats

LEVEL = 0.95
RESAMPLES = 2000


@dataclass
class Estimate:
    value: float
    low: float
    high: float
    error: float = float("nan")  # standard error
    p: float = float("nan")      # two-sided, of being 0
    n: int = 0

    @property
    def is_bounded(self):
        return numpy.isfinite(self.low) and numpy.isfinite(self.high)


def mean(values):
    """The mean with Student's interval; one value has none."""
    values = numpy.asarray(values, float)
    n, value = len(values), float(values.mean())
    if n < 2:
        return Estimate(value, float("nan"), float("nan"), n=n)
    error = float(values.std(ddof=1) / numpy.sqrt(n))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    p = float(stats.ttest_1samp(values, 0).pvalue) if error > 0 else float(value == 0)
    return Estimate(value, value - half, value + half, error, p, n)


def paired(a, b):
    """The mean of a - b over the seeds that both have; dictionaries from seed to loss. None: there is no such seed."""
    common = sorted(set(a) & set(b))
    return mean([a[s] - b[s] for s in common]) if common else None


def holm(ps):
    """Holm's adjustment: the least level of the family at which each hypothesis is rejected (Holm 1979)."""
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = least
    return adjusted


def track3_margin(losses, target=3.28):
    """(target - mean) sqrt(n), which the optimizer benchmark of modded-nanogpt (track 3) wants to be at least 0.004."""
    return (target - numpy.mean(losses)) * numpy.sqrt(len(losses))


def track3_pairwise(losses, steps, other_losses, other_steps):
    """The margin by which a record beats another there, also to be at least 0.004: 100 steps near the end count as
    0.0045 of loss."""
    gap = numpy.mean(other_losses) - numpy.mean(losses) + (other_steps - steps) * 0.0045 / 100
    return gap / numpy.sqrt(1 / len(losses) + 1 / len(other_losses))


def crossing(curve, target, by):
    """Where a validation curve first meets a loss, linear between two validations, in its column `by`; NaN: never."""
    loss, at = curve.val_loss.to_numpy(), curve[by].to_numpy(float)
    below = numpy.flatnonzero(loss <= target)
    if not len(below):
        return float("nan")
    i = below[0]
    if i == 0:
        return float(at[0])
    share = (loss[i - 1] - target) / (loss[i - 1] - loss[i])
    return float(at[i - 1] + share * (at[i] - at[i - 1]))


@dataclass
class Law:
    """L = E + A (D / unit)^-a."""

    E: float
    A: float
    a: float
    unit: float

    def loss(self, D):
        return self.E + self.A * (numpy.asarray(D, float) / self.unit) ** -self.a

    def data(self, loss):
        """The D at which it gives a loss; infinite at E and below."""
        return self.unit * ((loss - self.E) / self.A) ** (-1 / self.a) if loss > self.E else float("inf")


def fit_laws(D, L, weights=None):
    """Least squares, weighted if weights (budgets) are given, of the law through losses L (budgets, fits) at three or more
    budgets D: arrays E, A and a, A = NaN where no law with A > 0 and E >= 0 fits. For each a the best E and A are linear, so
    that one dimension is searched, by ever finer grids."""
    D, L = numpy.asarray(D, float), numpy.asarray(L, float)
    w = numpy.ones(len(D)) if weights is None else numpy.asarray(weights, float)
    w = w / w.sum()
    unit = float(numpy.exp(numpy.log(D).mean()))
    log_a = numpy.linspace(numpy.log(0.02), numpy.log(4), 61)[None, :] * numpy.ones((L.shape[1], 1))
    fits = numpy.arange(L.shape[1])
    while True:
        x = numpy.exp(-numpy.exp(log_a)[:, :, None] * numpy.log(D / unit))  # (fits, a, budgets)
        y = L.T[:, None, :]
        centred = x - (w * x).sum(2, keepdims=True)
        A = (w * centred * y).sum(2) / (w * centred**2).sum(2)
        E = (w * y).sum(2) - A * (w * x).sum(2)
        A = numpy.where(E < 0, (w * x * y).sum(2) / (w * x * x).sum(2), A)
        E = numpy.maximum(E, 0)
        misfit = (w * (y - E[:, :, None] - A[:, :, None] * x) ** 2).sum(2)
        best = misfit.argmin(1)
        step = log_a[0, 1] - log_a[0, 0]
        if step < 1e-7:
            A = A[fits, best]
            return E[fits, best], numpy.where(A > 0, A, numpy.nan), numpy.exp(log_a[fits, best]), unit
        log_a = log_a[fits, best][:, None] + numpy.linspace(-step, step, 21)


def fit_law(D, L, weights=None):
    """The Law through losses L at budgets D; None where they are fewer than three, or no law fits."""
    if len(D) < 3 or not numpy.all(numpy.isfinite(L)):
        return None
    (E,), (A,), (a,), unit = fit_laws(D, numpy.asarray(L, float)[:, None], weights)
    return Law(float(E), float(A), float(a), unit) if A > 0 else None


def precisions(baseline):
    """1 / (standard error)^2 of the mean loss at each budget of {budget: {seed: loss}}, in the order of the budgets; None
    where one of them has none."""
    errors = numpy.array([mean(list(baseline[b].values())).error for b in sorted(baseline)])
    return 1 / errors**2 if numpy.all(errors > 0) else None


def law_of(baseline):
    """The Law through the mean losses of {budget: {seed: loss}}, weighted by how well each is known."""
    budgets = sorted(baseline)
    return fit_law(budgets, [mean(list(baseline[b].values())).value for b in budgets], precisions(baseline))


def expanded(drawn, n):
    """The bootstrap's percentile interval of n values, widened for small n to what Student's interval would have
    (Hesterberg 2015, "What teachers should know about the bootstrap", section 4.3)."""
    drawn = [d for d in drawn if not numpy.isnan(d)]
    if n < 2 or not drawn:
        return float("nan"), float("nan")
    tail = stats.norm.cdf(-numpy.sqrt(n / (n - 1)) * stats.t.ppf((1 + LEVEL) / 2, n - 1))
    bounds = numpy.quantile(numpy.minimum(drawn, 1e300), [tail, 1 - tail])  # between infinities nothing can be interpolated
    low, high = numpy.where(bounds > 1e200, numpy.inf, bounds)
    return float(low), float(high)


def data_multiple(baseline, losses, D, seed=0):
    """How many times D the baseline needs for the mean of `losses`, by law_of(baseline): an Estimate.

    baseline: {budget: {seed: loss}}; losses: {seed: loss}. The interval resamples the seeds, the same ones for every
    budget that has them, so that a seed's luck stays paired; n is how many the fewest have. None: the law cannot be fitted.
    """
    budgets = sorted(baseline)
    if len(budgets) < 3:
        return None
    columns = [*(baseline[b] for b in budgets), losses]
    seeds = sorted(set().union(*columns))
    n = min(map(len, columns))
    drawn = numpy.random.default_rng(seed).integers(0, len(seeds), (RESAMPLES if n > 1 else 0, len(seeds)))
    times = numpy.concatenate([[numpy.ones(len(seeds))], (drawn[:, :, None] == numpy.arange(len(seeds))).sum(1)])
    there = numpy.array([[s in column for s in seeds] for column in columns], float)
    table = numpy.array([[column.get(s, 0) for s in seeds] for column in columns])
    counts = there @ times.T
    means = (table @ times.T)[:, (counts > 0).all(0)] / counts[:, (counts > 0).all(0)]
    E, A, a, unit = fit_laws(budgets, means[:-1], precisions(baseline))
    with numpy.errstate(divide="ignore"):
        multiples = unit * (numpy.maximum(means[-1] - E, 0) / A) ** (-1 / a) / D
    if not numpy.isfinite(multiples[0]):
        return None
    return Estimate(float(multiples[0]), *expanded(multiples[1:], n), n=n)


def ratio(a, b, seed=0):
    """mean(a) / mean(b) of paired values, its interval by the bootstrap over pairs."""
    a, b = numpy.asarray(a, float), numpy.asarray(b, float)
    draw = numpy.random.default_rng(seed).integers(0, len(a), (RESAMPLES, len(a)))
    return Estimate(float(a.mean() / b.mean()), *expanded(a[draw].mean(1) / b[draw].mean(1), len(a)), n=len(a))
