"""Draws what `./train_gpt --diagnose N` measured: python dev/speedrun/plot_diagnose.py RUN [RUN ...] --out PREFIX

PREFIX-spectra.png: singular values of momentum and update of a few matrices in one step, each scaled by its largest, one
column a run: what the optimizer makes of the spectrum. PREFIX-rms.png: the RMS of the update over the run, a line a layer.
PREFIX-ranks.csv: least, median and largest stable rank of gradients, momenta and updates among all matrices, by step.
"""
import argparse
import csv
import json
import os
import re
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

KINDS = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
COLOURS = {"gradient": "#999999", "momentum": "#0072b2", "update": "#d55e00"}


def read_run(directory):
    path = os.path.join(directory, "diagnose.jsonl")
    rows = []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith("\n"):
                    break  # still being written
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    raise SystemExit(f"{path}, line {number} is not JSON") from None
    except FileNotFoundError:
        raise SystemExit(f"{path} is not there: the run needs --diagnose N") from None
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from None
    if not rows:
        raise SystemExit(f"{path} holds no rows: the run needs --diagnose N, and at least N steps")
    for row in rows:
        row["layer"], row["kind"] = layer_and_kind(path, row["tensor"])
    return rows


def layer_and_kind(path, tensor):
    """Layer and matrix of a tensor's name: h.1.attn.c_attn.weight is (1, attn.c_attn)."""
    match = re.search(r"(?:^|\.)(\d+)\.(.+?)(?:\.weight)?$", tensor)
    if not match:
        raise SystemExit(f"{path}: the name of the tensor {tensor} has no layer in it, as in h.1.attn.c_attn.weight")
    return int(match[1]), match[2]


def chosen_layer(runs, wanted):
    """The layer asked for; without one layer 1, or the last if there are fewer, that all runs have."""
    shared = set.intersection(*({row["layer"] for row in rows} for _, rows in runs))
    if not shared:
        raise SystemExit("the runs have no layer in common")
    if wanted is None:
        return 1 if 1 in shared else max(shared)
    if wanted not in shared:
        raise SystemExit(f"--layer {wanted}: the layers are {', '.join(map(str, sorted(shared)))}")
    return wanted


def chosen_kinds(runs, layer):
    """The four matrices of a layer, or where they have other names the first six."""
    kinds = list(dict.fromkeys(row["kind"] for _, rows in runs for row in rows if row["layer"] == layer))
    return [kind for kind in KINDS if kind in kinds] or kinds[:6]


def draw_spectra(runs, step, layer, path):
    kinds = chosen_kinds(runs, layer)
    figure, axes = plt.subplots(len(kinds), len(runs), figsize=(3.4 * len(runs), 0.7 + 1.9 * len(kinds)), sharey=True,
                                squeeze=False, layout="constrained")
    for column, (name, rows) in enumerate(runs):
        steps = sorted({row["step"] for row in rows})
        at = min(steps, key=lambda s: abs(s - step)) if step else steps[len(steps) // 2]
        for line, kind in enumerate(kinds):
            axis = axes[line][column]
            row = next((r for r in rows if (r["step"], r["layer"], r["kind"], r["block"]) == (at, layer, kind, 0)), None)
            if row is None:
                axis.set_axis_off()
                continue
            for part, colour in COLOURS.items():
                if row[part] is None:
                    continue
                values = [max(s, 1e-12) for s in row[part]["singular_values"]]
                largest = values[0]
                axis.semilogy([i / max(1, len(values) - 1) for i in range(len(values))], [s / largest for s in values],
                              color=colour, label=part, lw=1.4)
            axis.set_ylim(1e-6, 1.6)
            axis.grid(alpha=0.25, lw=0.5)
            ranks = ", ".join(f"{row[part]['stable_rank']:.1f}" for part in COLOURS if row[part] is not None)
            axis.set_title(f"{name}: {row['tensor'].removesuffix('.weight')}, step {at}\nstable ranks {ranks}", fontsize=8)
            if column == 0:
                axis.set_ylabel("s / largest", fontsize=8)
            axis.tick_params(labelsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("place of the singular value (fraction)", fontsize=8)
    figure.legend(*axes[0][0].get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside upper center",
                  ncols=len(COLOURS))
    save(figure, path)


def draw_rms(runs, path):
    figure, axes = plt.subplots(1, len(runs), figsize=(3.8 * len(runs), 3.4), sharey=True, squeeze=False,
                                layout="constrained")
    for axis, (name, rows) in zip(axes[0], runs):
        layers = sorted({row["layer"] for row in rows})
        for layer in layers:
            of_layer = {}
            for row in rows:
                if row["layer"] == layer and row["lr"]:
                    of_layer.setdefault(row["step"], []).append(row["update_rms"] / row["lr"])
            steps = sorted(of_layer)
            shade = plt.cm.viridis(0.85 * layer / max(1, layers[-1]))
            axis.plot(steps, [sum(of_layer[s]) / len(of_layer[s]) for s in steps], color=shade, lw=1.4, label=f"layer {layer}")
        axis.set_yscale("log")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.grid(alpha=0.25, lw=0.5)
        axis.tick_params(labelsize=7)
    axes[0][0].set_ylabel("RMS of the update / learning rate", fontsize=8)
    axes[0][-1].legend(fontsize=7, frameon=False)
    save(figure, path)


def write_ranks(runs, path):
    with open(path + ".csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rule", "step", "of", "least", "median", "largest"])
        for name, rows in runs:
            for step in sorted({row["step"] for row in rows}):
                for part in COLOURS:
                    ranks = [row[part]["stable_rank"] for row in rows if row["step"] == step and row[part] is not None]
                    if ranks:
                        writer.writerow([name, step, part, *(f"{f(ranks):.2f}" for f in (min, statistics.median, max))])
    print(f"wrote {path}.csv")


def save(figure, path):
    figure.savefig(path + ".png", dpi=80)
    plt.close(figure)
    print(f"wrote {path}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's directory")
    parser.add_argument("--out", required=True, metavar="PREFIX", help="of the pictures' names")
    parser.add_argument("--step", type=int, default=0, help="step whose spectra are drawn [the middle one]")
    parser.add_argument("--layer", type=int, help="layer whose matrices are drawn [1, or the last]")
    arguments = parser.parse_args()
    runs = [(rows[0]["rule"], rows) for rows in map(read_run, arguments.runs)]
    layer = chosen_layer(runs, arguments.layer)
    draw_spectra(runs, arguments.step, layer, arguments.out + "-spectra")
    draw_rms(runs, arguments.out + "-rms")
    write_ranks(runs, arguments.out + "-ranks")


if __name__ == "__main__":
    main()
