"""The pictures of a comparison, as SVG whose colours are the page's, so that they suit light and dark."""

import io
import re

import matplotlib

matplotlib.use("Agg")

import numpy
from matplotlib import pyplot, ticker

from . import inference

SERIES = 8
INK, FAINT = "#010101", "#020202"                      # become the page's colours of text and of grids
HUES = [f"#0{i + 1}00ff" for i in range(SERIES)]       # become its --series-1 to --series-8
MARKS, SIGNS = ["o", "s", "^", "D", "v", "P", "X", "*"], "●■▲◆▼✚✖★"
pyplot.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "train_gpt", "font.family": "sans-serif", "font.size": 11,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 11, "legend.frameon": False, "axes.axisbelow": True, "lines.linewidth": 1.6})


def svg(figure, name, words):
    """The figure as an inline <svg> with a text for those who do not see it; closes it."""
    to = io.StringIO()
    figure.savefig(to, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    text = to.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r'^<svg[^>]*?viewBox="([^"]*)"[^>]*>',
                  rf'<svg viewBox="\1" role="img" aria-label="{words}" xmlns="http://www.w3.org/2000/svg" '
                  r'xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)
    for hue, variable in [(INK, "--ink"), (FAINT, "--grid"), *((h, f"--series-{i + 1}") for i, h in enumerate(HUES))]:
        text = text.replace(hue, f"var({variable})")
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", text)


def alone(picture, style):
    """An <svg> of the page as a file of its own, with the page's colours."""
    return picture.replace(">", f"><style>{style} svg {{ font-family: sans-serif }}</style>", 1)


def mark(i):
    """Which of MARKS and SIGNS a series has. After eight the colours come again, each with another mark."""
    return (i + i // SERIES) % SERIES


def look(i):
    """The keywords of a series' points and line."""
    return {"color": HUES[i % SERIES], "marker": MARKS[mark(i)]}


def panel(width=4.2, height=3.1):
    return pyplot.subplots(figsize=(width, height), layout="constrained")


def band(axes, curves, by, i):
    """Mean over seeds and, where there are two at least, its interval, at the validations that all curves share."""
    steps = sorted(set.intersection(*(set(c.step) for c in curves)))
    tables = [c.set_index("step", drop=False).loc[steps] for c in curves]
    losses = numpy.array([t.val_loss for t in tables])
    x = numpy.array([t[by] for t in tables], float).mean(0)
    estimates = [inference.mean(column) for column in losses.T]
    axes.plot(x, [e.value for e in estimates], markersize=3.5, **look(i))
    if len(curves) > 1:
        axes.fill_between(x, [e.low for e in estimates], [e.high for e in estimates], color=HUES[i % SERIES], alpha=0.2,
                          linewidth=0)


def legend(axes, labels):
    """In a picture that stands alone; on the page it is beside the pictures."""
    if labels:
        handles = [pyplot.Line2D([], [], **look(i)) for i in range(len(labels))]
        if len(labels) > 3:  # too many to lie between the lines
            axes.figure.legend(handles, labels, loc="outside right upper")
        else:
            axes.legend(handles, labels)


def curves(groups, labels=()):
    """Validation loss against steps, tokens, FLOPs and seconds, with and without the optimizer's: five pictures. groups:
    [(number of the series, [Run])], of one budget. labels: of the series, for pictures that stand alone."""
    shown = [(i, [r.curve for r in runs if not r.diverged]) for i, runs in groups]
    every = [c for _, group in shown for c in group]
    low, high = min(c.val_loss.min() for c in every), max(c.val_loss.iloc[min(1, len(c) - 1)] for c in every)
    pictures = []
    for by, words in (("step", "steps"), ("tokens", "tokens"), ("flops", "FLOPs, updates included"),
                      ("seconds", "seconds of training"), ("model_seconds", "seconds without the optimizer's")):
        figure, axes = panel()
        for i, group in shown:
            band(axes, group, by, i)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.set_xlabel(words)
        axes.set_ylabel("validation loss")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        legend(axes, labels)
        pictures.append(svg(figure, f"curve-{by}", f"Validation loss against {words}"))
    return pictures


def budgets(groups, baseline, law, multiples, labels=()):
    """Final loss against budget, each point a run with its own whole schedule. groups: {label: (number of the series,
    {tokens: {seed: loss}})}. multiples: {(label, tokens): how much data the baseline needs for that loss}, written there."""
    figure, axes = panel(6, 3.6)
    for name, (i, by_budget) in groups.items():
        D = sorted(by_budget)
        estimates = [inference.mean(list(by_budget[d].values())) for d in D]
        axes.plot(D, [e.value for e in estimates], linestyle="none" if name == baseline and law else "-", **look(i))
        if all(e.n > 1 for e in estimates):
            axes.errorbar(D, [e.value for e in estimates], color=HUES[i % SERIES], linestyle="none", capsize=3,
                          yerr=[[e.value - e.low for e in estimates], [e.high - e.value for e in estimates]])
        for d, e in zip(D, estimates):
            if (name, d) in multiples:
                axes.annotate(f"{multiples[name, d]:.1f}x", (d, e.value), xytext=(0, -14), textcoords="offset points", ha="center",
                              fontsize=9, color=HUES[i % SERIES])
    ticks = sorted({d for _, by_budget in groups.values() for d in by_budget})
    if law:
        x = numpy.geomspace(ticks[0], ticks[-1] * 2, 100)
        axes.plot(x, law.loss(x), color=HUES[0], linewidth=1.2, linestyle="--")
    axes.margins(y=0.12)
    axes.set_xscale("log")
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(ticker.EngFormatter(places=1, sep=""))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlabel("tokens")
    axes.set_ylabel("final validation loss")
    legend(axes, labels)
    return svg(figure, "budgets", "Final validation loss against the number of training tokens")


def sensitivity(slices):
    """Final loss against each knob, the others as in the best point: a picture each, with a common scale. slices: {knob:
    [(number of the series, [(value, loss)])]}."""
    losses = sorted(loss for series in slices.values() for _, points in series for _, loss in points)
    if not losses:
        return []
    least, top = losses[0], losses[0] + 2 * (losses[len(losses) * 3 // 4] - losses[0]) + 1e-3
    pictures = []
    for knob, series in slices.items():
        figure, axes = panel(3.4, 2.7)
        values = [v for _, points in series for v, _ in points]
        numbers = all(isinstance(v, float) for v in values)
        for i, points in series:
            axes.plot([v if numbers else str(v) for v, _ in points], [loss for _, loss in points], markersize=4.5, **look(i))
            for v, loss in points:
                if loss > top:
                    axes.annotate("\u2191", (v, 1), xycoords=("data", "axes fraction"), va="top", ha="center",
                                  color=HUES[i % SERIES])
        if numbers and min(values) > 0 and max(values) / min(values) >= 3:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(ticker.FixedLocator(sorted(set(values))[::-(-len(set(values)) // 4)]))
            axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_ylim(least - 0.08 * (top - least), top)
        axes.set_xlabel(knob)
        axes.set_ylabel("final loss")
        pictures.append(svg(figure, f"knob-{knob}", f"Final validation loss against {knob}"))
    return pictures


def spectra(reports):
    """Stable ranks of updates and of weights over steps: two pictures. reports: [(number of the series, rows of
    diagnose.jsonl)]."""
    pictures = []
    for of in ("update", "weight") if reports else ():
        figure, axes = panel()
        for i, rows in reports:
            steps = sorted({r["step"] for r in rows})
            means = [numpy.mean([r[of]["stable_rank"] for r in rows if r["step"] == s]) for s in steps]
            axes.plot(steps, means, markersize=3.5, **look(i))
        axes.set_xlabel("step")
        axes.set_ylabel(f"stable rank of {of}s")
        pictures.append(svg(figure, f"spectra-{of}", f"Stable rank of {of}s, mean of the hidden matrices, over steps"))
    return pictures
