"""What may be said of runs with several seeds: intervals, paired tests, data multiples.

All intervals are of 95%. Losses are paired by seed: runs of one seed share initialisation and the order of the data.
"""

from dataclasses import dataclass

import numpy
from scipy import stats

LEVEL = 0.95


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


def by_logarithm(value, slopes, columns):
    """The Estimate of a positive value, Student's on its logarithm by the delta method. slopes: of the logarithm, by the mean
    of each column {seed: number}. Numbers of a seed that several columns have are paired; degrees of freedom are those of as
    many seeds as carry the variance (Satterthwaite 1946), which is Student's n - 1 where all have the same n."""
    seeds, n = sorted(set().union(*columns)), numpy.array([len(c) for c in columns])
    if n.min() < 2 or not numpy.all(numpy.isfinite(slopes)):
        return Estimate(value, float("nan"), float("nan"), n=int(n.min()))
    there = numpy.array([[s in c for s in seeds] for c in columns])
    means = [sum(c.values()) / len(c) for c in columns]
    moved = numpy.array([[c.get(s, m) - m for s in seeds] for c, m in zip(columns, means)])  # what each seed moves its column,
    moved *= (slopes / numpy.sqrt(n * (n - 1)))[:, None]                                     # in deviations of the logarithm
    variance = float((moved.sum(0) ** 2).sum())
    carried = (((moved**2).sum(1) / n)[:, None] * there).sum(0)
    freedom = carried.sum() ** 2 / (carried**2).sum() - 1 if carried.any() else numpy.inf
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * variance**0.5
    return Estimate(value, float(value * numpy.exp(-half)), float(value * numpy.exp(half)), n=int(n.min()))


def data_multiple(baseline, losses, D):
    """How many times D the baseline needs for the mean of `losses`, by law_of(baseline): an Estimate.

    baseline: {budget: {seed: loss}}; losses: {seed: loss}. The interval knows of the seeds alone, not of the law's form; n is
    how many the fewest have. None: the law cannot be fitted, or never comes to that loss.
    """
    budgets = sorted(baseline)
    if len(budgets) < 3:
        return None
    columns = [*(baseline[b] for b in budgets), losses]
    means = [mean(list(c.values())) for c in columns]
    steps = numpy.array([m.error / 4 if m.error > 0 else 1e-6 for m in means])
    moved = numpy.array([m.value for m in means])[:, None] + numpy.hstack([0 * steps[:, None], numpy.diag(steps), -numpy.diag(steps)])
    E, A, a, unit = fit_laws(budgets, moved[:-1], precisions(baseline))
    with numpy.errstate(divide="ignore", invalid="ignore"):
        logs = numpy.log(unit * (numpy.maximum(moved[-1] - E, 0) / A) ** (-1 / a) / D)
        slopes = (logs[1:len(steps) + 1] - logs[len(steps) + 1:]) / (2 * steps)
    return by_logarithm(float(numpy.exp(logs[0])), slopes, columns) if numpy.isfinite(logs[0]) else None


def ratio(a, b):
    """mean(a) / mean(b) of paired positive values."""
    means = float(numpy.mean(a)), float(numpy.mean(b))
    return by_logarithm(means[0] / means[1], numpy.array([1 / means[0], -1 / means[1]]), [dict(enumerate(a)), dict(enumerate(b))])
