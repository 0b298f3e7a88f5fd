#!/usr/bin/env python3
"""The speedrun's records at a laptop's size, in order: which of their steps help here.

    python dev/ladder/ladder.py TEXT [--out runs/ladder] [--jobs N] [--seeds N] [PRESET...]

Trains each preset (record-1-nano to record-5-nano, then track 3's) on TEXT as bytes. Its rates are searched first, one
after the other, in powers of two from the preset's: as long as the best of them is at an edge, that side grows. Then the
best pair is run with other seeds. Runs that are done are not repeated, so that a search that was stopped goes on with the
same command. Prints a table, and writes ladder.csv and, where matplotlib is, ladder.png beside the runs.
"""

import argparse
import csv
import hashlib
import json
import math
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PRESETS = [f"record-{n}-nano" for n in (1, 2, 3, 4, 5)] + ["track3-adamw-nano", "track3-muon-nano"]
ROUNDS = 2  # over the rates
DIVERGED = 3  # train_gpt's exit status


def rates_of(preset):
    """The preset's own rates, as --list-groups has them: of the hidden matrices and, if another option sets it, of the
    embeddings."""
    listing = subprocess.run(["./train_gpt", "--preset", preset, "--list-groups", "--device", "cpu"],
                             capture_output=True, text=True, check=True).stdout
    found, rules = {}, {}
    for line in listing.splitlines():
        words = line.split()
        if line.startswith("group "):
            group = words[1].rstrip(":")
            rules[group] = words[2]
        elif words[0].startswith("lr="):
            found.setdefault(group, float(words[0][3:]))
    rates = {"lr": found["hidden"]}
    if rules["embed"] != rules["hidden"] or found["embed"] != found["hidden"]:
        rates["embed-lr" if "track3" in preset else "aux-lr"] = found["embed"]
    return rates


class Ladder:
    def __init__(self, options):
        self.options = options
        self.text = hashlib.sha256(Path(options.text).read_bytes()).hexdigest()
        self.rows = []

    def origin(self, preset):
        """What a result belongs to besides its name: the text, and the preset's options as they are now."""
        listing = subprocess.run(["./train_gpt", "--preset", preset, "--list-groups", "--device", "cpu"],
                                 capture_output=True, text=True, check=True).stdout
        return {"text": self.text, "groups": hashlib.sha256(listing.encode()).hexdigest()}

    def loss(self, preset, rates, seed):
        """The final validation loss of a run; infinite if it diverged."""
        name = "-".join([preset, *(f"{v:.4g}" for v in rates.values()), f"seed{seed}"])
        result = Path(self.options.out) / f"{name}.json"
        if not result.exists():
            self.train(preset, rates, seed, Path(self.options.out) / name, result)
        found, origin = json.loads(result.read_text()), self.origin(preset)
        for what, now in origin.items():
            if found.get(what) != now:
                sys.exit(f"{result} is of another text or of other options ({what}): give another --out, or remove it")
        return found["val_loss"]

    def train(self, preset, rates, seed, run, result):
        subprocess.run(["rm", "-rf", run], check=True)
        command = ["./train_gpt", "--preset", preset, "--text", self.options.text, "--threads", "1", "--device", "cpu",
                   "--seed", str(seed), "--val-every", "100000", "--sample-every", "0", "--checkpoint-minutes", "0",
                   "--out", str(run)]
        for name, value in rates.items():
            command += [f"--{name}", f"{value:.6g}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in (0, DIVERGED):
            sys.exit(f"{' '.join(command)}: {done.stderr}")
        loss = math.inf
        if done.returncode == 0:
            with open(run / "metrics.csv") as file:
                loss = [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]][-1]
        result.write_text(json.dumps({"preset": preset, **rates, "seed": seed, "val_loss": loss, **self.origin(preset)}))
        subprocess.run(["rm", "-rf", run], check=True)
        print(f"{preset:20} {rates} seed {seed}: {loss:.4f}", file=sys.stderr, flush=True)

    def search(self, preset):
        """The best rates, one after the other, in powers of two."""
        best = rates_of(preset)
        for round_ in range(ROUNDS):
            before = dict(best)
            for knob in best:
                low, high = best[knob] / 2, best[knob] * 2
                tried = {}
                while True:
                    values = [low * 2 ** i for i in range(round(math.log2(high / low)) + 1)]
                    self.together(preset, [best | {knob: v} for v in values], 1)
                    tried = {v: self.loss(preset, best | {knob: v}, 1) for v in values}
                    winner = min(tried, key=tried.get)
                    low, high = (low / 2 if winner == low else low), (high * 2 if winner == values[-1] else high)
                    if values[0] < winner < values[-1]:
                        break
                best[knob] = winner
            if best == before or len(best) == 1:
                break
        return best

    def together(self, preset, settings, *seeds):
        with ThreadPoolExecutor(self.options.jobs) as pool:
            for _ in pool.map(lambda job: self.loss(preset, *job), [(r, s) for r in settings for s in seeds]):
                pass

    def climb(self, preset):
        best = self.search(preset)
        seeds = range(1, self.options.seeds + 1)
        self.together(preset, [best], *seeds)
        losses = [self.loss(preset, best, seed) for seed in seeds]
        self.rows.append({"preset": preset, "lr": f"{best['lr']:.4g}",
                          "other_lr": " ".join(f"{v:.4g}" for k, v in best.items() if k != "lr"),
                          "val_loss": f"{statistics.mean(losses):.4f}",
                          "deviation": f"{statistics.stdev(losses):.4f}" if len(losses) > 1 else "",
                          "losses": " ".join(f"{x:.4f}" for x in losses)})

    def report(self):
        print(f"{'preset':20} {'lr':>9} {'tables':>9} {'val loss':>9} {'deviation':>9}  of {self.options.seeds} seeds")
        for r in self.rows:
            print(f"{r['preset']:20} {r['lr']:>9} {r['other_lr']:>9} {r['val_loss']:>9} {r['deviation']:>9}  {r['losses']}")
        with open(Path(self.options.out) / "ladder.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0].keys())
            writer.writeheader()
            writer.writerows(self.rows)
        self.draw()

    def draw(self):
        try:
            import matplotlib
        except ImportError:
            print("no picture: matplotlib is not there")
            return
        matplotlib.use("Agg")
        from matplotlib import pyplot
        names = [r["preset"].removesuffix("-nano") for r in self.rows]
        figure, axes = pyplot.subplots(figsize=(8, 4.5))
        for i, r in enumerate(self.rows):
            losses = [float(x) for x in r["losses"].split()]
            axes.plot([i] * len(losses), losses, "o", color="tab:blue", alpha=0.5)
            axes.annotate(r["val_loss"], (i, max(losses)), xytext=(0, 7), textcoords="offset points", ha="center")
        steps = [float(r["val_loss"]) for r in self.rows if r["preset"].startswith("record")]
        axes.plot(range(len(steps)), steps, "-", color="tab:blue", alpha=0.6)
        axes.set_xticks(range(len(names)), names, rotation=20)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylabel("validation loss, nats per byte")
        axes.set_title("The records' steps at nano size, rates swept, each dot a seed")
        axes.margins(y=0.12)
        axes.grid(axis="y", alpha=0.3)
        figure.tight_layout()
        figure.savefig(Path(self.options.out) / "ladder.png", dpi=110)


def main():
    p = argparse.ArgumentParser(description="Which of the speedrun's steps help a small model.")
    p.add_argument("text", metavar="TEXT", help="a text to train on as bytes")
    p.add_argument("presets", metavar="PRESET", nargs="*", default=PRESETS, help=f"[{' '.join(PRESETS)}]")
    p.add_argument("--out", default="runs/ladder", help="directory of the runs [runs/ladder]")
    p.add_argument("--jobs", type=int, default=2, help="runs at a time, of one thread each [2]")
    p.add_argument("--seeds", type=int, default=3, help="seeds of the best rates [3]")
    ladder = Ladder(p.parse_args())
    Path(ladder.options.out).mkdir(parents=True, exist_ok=True)
    for preset in ladder.options.presets:
        ladder.climb(preset)
    ladder.report()


if __name__ == "__main__":
    main()
