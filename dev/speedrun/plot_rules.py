"""Draws every optimizer in one plane: python dev/speedrun/plot_rules.py RULES.csv COSTS.csv --out PREFIX

Down: the loss after the short run of rules.sh (RULES.csv). Across: the least time that an update of GPT-2's hidden
matrices could take, over AdamW's; from the bytes or the FLOPs of `build/bench_optim --least` (COSTS.csv) and a machine's
rates. Losses far above the others are triangles, one below the other above the scale. Written as PREFIX.png.
"""
import argparse
import csv
import itertools
import math
import random
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patheffects import withStroke

ELEMENTS, PRODUCTS = "#0072b2", "#d55e00"
SIZE = 7.5  # of the names, points


def read(path, *columns):
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise SystemExit(f"plot_rules.py: {path}: {error.strerror}") from None
    if not rows or any(row.get(column) is None for row in rows for column in columns):
        raise SystemExit(f"plot_rules.py: {path} has no rows with {', '.join(columns)}")
    return rows


def read_points(rules, costs, bandwidth, products):
    """(name, times AdamW's cost, loss, whether it multiplies matrices) of all that have a loss; names of the rest."""
    seconds = {row["rule"]: (float(row["bytes"]) / bandwidth + float(row["flops"]) / products, float(row["flops"]) > 0)
               for row in read(costs, "rule", "bytes", "flops")}
    points, rest = [], []
    for row in read(rules, "optimizer", "last_val_loss"):
        name = row["optimizer"]
        if name not in seconds or "adamw" not in seconds:
            raise SystemExit(f"plot_rules.py: {costs} has no {name if name not in seconds else 'adamw'}")
        try:
            points.append((name, seconds[name][0] / seconds["adamw"][0], float(row["last_val_loss"]), seconds[name][1]))
        except ValueError:
            rest.append(name)
    if not points:
        raise SystemExit(f"plot_rules.py: {rules} has no losses")
    return points, rest


def front(points):
    """The points that no other beats in both cost and loss, from the cheapest."""
    best, chosen = math.inf, []
    for point in sorted(points, key=lambda point: (point[1], point[2])):
        if point[2] < best:
            best = point[2]
            chosen.append(point)
    return chosen


# --- names, none over another: boxes are (left, bottom, right, top) in pixels ---

TURNS = [(math.cos(math.tau * turn / 24), math.sin(math.tau * turn / 24)) for turn in range(24)]


def boxes_around(anchor, width, height):
    """From near to far."""
    for distance in (6, 9, 13, 18, 24, 31, 39, 48, 58, 70, 84, 100, 120, 145, 175):
        for x, y in TURNS:
            left = anchor[0] + distance * x - width * (1 - x) / 2
            bottom = anchor[1] + distance * y - height * (1 - y) / 2
            yield left, bottom, left + width, bottom + height


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def leader(anchor, box):
    """From a point to the nearest point of its name."""
    return anchor, (min(max(anchor[0], box[0]), box[2]), min(max(anchor[1], box[1]), box[3]))


def side(p, q, r):
    return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])


def meet(a, b):
    """Whether two segments cross."""
    return side(*a, b[0]) * side(*a, b[1]) < 0 and side(*b, a[0]) * side(*b, a[1]) < 0


def crosses(line, box):
    diagonals = ((box[0], box[1]), (box[2], box[3])), ((box[0], box[3]), (box[2], box[1]))
    return any(meet(line, diagonal) for diagonal in diagonals)


def layout(order, anchors, sizes, inside):
    """Each name as near to its point as all points and the names before it in `order` allow: boxes, their distances."""
    dots = [(x - 7, y - 4, x + 7, y + 4) for x, y in anchors]
    names, lines = {}, {}
    for i in order:
        others = [dot for k, dot in enumerate(dots) if k != i]
        for box in boxes_around(anchors[i], *sizes[i]):
            line = leader(anchors[i], box)
            if (inside[0] < box[0] and box[2] < inside[2] and inside[1] < box[1] and box[3] < inside[3]
                    and not any(overlap(box, other) for other in itertools.chain(names.values(), others))
                    and not any(crosses(line, other) for other in itertools.chain(names.values(), others))
                    and not any(crosses(other, box) or meet(line, other) for other in lines.values())):
                break
        names[i], lines[i] = box, line
    return names, sum(math.dist(*line) ** 2 for line in lines.values())


def place_names(axes, points, heights, bold):
    """The best layout of a few orders of the names."""
    renderer = axes.figure.canvas.get_renderer()
    anchors = [tuple(axes.transData.transform((point[1], height))) for point, height in zip(points, heights)]
    texts = []
    for (name, _, loss, products), height in zip(points, heights):
        texts.append(axes.text(0, 0, name if loss == height else f"{name} {loss:.2f}", fontsize=SIZE, transform=None,
                               color=PRODUCTS if products else ELEMENTS, weight="bold" if name in bold else "normal",
                               path_effects=[withStroke(linewidth=2, foreground="white")]))
    extents = [text.get_window_extent(renderer) for text in texts]
    sizes = [(extent.width, extent.height) for extent in extents]
    order, chance = list(range(len(points))), random.Random(1)
    layouts = (layout(chance.sample(order, len(order)), anchors, sizes, axes.get_window_extent().extents)
               for _ in range(300))
    names, _ = min(layouts, key=lambda pair: pair[1])
    for i, text in enumerate(texts):
        text.set_position((names[i][0], names[i][1] - extents[i].y0))
        line = leader(anchors[i], names[i])
        if math.dist(*line) > 8:
            axes.plot(*zip(*axes.transData.inverted().transform(line)), color=text.get_color(), lw=0.5, alpha=0.6,
                      zorder=1)


# --- the picture ---

def draw(points, rest, path):
    figure, axes = plt.subplots(figsize=(9.6, 7.2), dpi=120)
    best = front(points)
    costs, losses = zip(*((point[1], point[2]) for point in points))
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 1.6, max(costs) * 1.8)
    least, usual = min(losses), statistics.median(losses)
    top = usual + 1.2 * (usual - least)
    above, row = sorted(loss for loss in losses if loss > top), 0.035 * (top - least)
    heights = [loss if loss <= top else top + (0.7 + above.index(loss)) * row for loss in losses]
    shown = dict(zip((point[0] for point in points), heights))
    axes.set_ylim(least - 2 * row, top + len(above) * row)
    axes.step([point[1] for point in best] + [max(costs) * 1.8], [shown[point[0]] for point in best] + [best[-1][2]],
              where="post", color="#999999", lw=1, ls=":", zorder=0, label="none is both cheaper and better")
    for products, colour, label in ((False, ELEMENTS, "passes over the elements"),
                                    (True, PRODUCTS, "products of matrices")):
        chosen = [point for point in points if point[3] == products]
        for marker, part in (("o", [p for p in chosen if p[2] <= top]), ("^", [p for p in chosen if p[2] > top])):
            axes.scatter([p[1] for p in part], [shown[p[0]] for p in part], s=22, marker=marker, color=colour,
                         label=label if marker == "o" else None, zorder=3)
    axes.set_xlabel("least cost of an update of GPT-2's hidden matrices, times AdamW's")
    axes.set_ylabel("validation loss after the short run, nats a token")
    axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_major_locator(matplotlib.ticker.FixedLocator([tick for tick in axes.get_yticks() if tick <= top]))
    axes.grid(alpha=0.25, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    if rest:
        axes.set_title(f"diverged: {', '.join(rest)}", fontsize=8)
    figure.tight_layout()
    figure.canvas.draw()
    place_names(axes, points, heights, {point[0] for point in best})
    figure.savefig(path + ".png")
    print(f"wrote {path}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rules", metavar="RULES.csv")
    parser.add_argument("costs", metavar="COSTS.csv")
    parser.add_argument("--out", required=True, metavar="PREFIX", help="of the picture's name")
    parser.add_argument("--bandwidth", type=float, default=24.3, help="of memory, GB/s [%(default)s]")
    parser.add_argument("--products", type=float, default=263.5, help="rate of matrix products, GFLOP/s [%(default)s]")
    o = parser.parse_args()
    draw(*read_points(o.rules, o.costs, 1e9 * o.bandwidth, 1e9 * o.products), o.out)


if __name__ == "__main__":
    main()
