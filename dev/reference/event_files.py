"""event_files.py RUN...: reads event files of runs as TensorBoard does, and compares every scalar with metrics.csv."""

import csv
import logging
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {
    "train_loss": "train/loss",
    "val_loss": "val/loss",
    "lr": "lr",
    "grad_norm": "grad_norm",
    "tokens_per_second": "tokens_per_second",
    "tokens": "progress/tokens",
    "seconds": "progress/seconds",
    "data_ms": "time/data_ms",
    "forward_ms": "time/forward_ms",
    "backward_ms": "time/backward_ms",
    "optimizer_ms": "time/optimizer_ms",
}


def fp32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def read_metrics(run):
    """{tag: {step: value}} of metrics.csv."""
    scalars = {}
    with open(f"{run}/metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, cell in row.items():
                if cell:
                    scalars.setdefault(TAGS[name], {})[step] = float(cell)
    return scalars


def compare(run):
    """The number of scalars; ends the program at the first that differs."""
    accumulator = EventAccumulator(run, size_guidance={"scalars": 0})
    accumulator.Reload()
    want, tags = read_metrics(run), accumulator.Tags()["scalars"]
    if sorted(tags) != sorted(want):
        sys.exit(f"{run}: TensorBoard has {sorted(tags)}, metrics.csv {sorted(want)}")
    for tag in tags:
        events, values = accumulator.Scalars(tag), want[tag]
        steps, times = [e.step for e in events], [e.wall_time for e in events]
        if steps != sorted(values):
            sys.exit(f"{run}: {tag} has the steps {steps}, metrics.csv {sorted(values)}")
        if times != sorted(times):
            sys.exit(f"{run}: the times of {tag} do not rise")
        for event in events:
            # metrics.csv has nine digits: half a unit of the last, and the rounding to fp32
            value = values[event.step]
            if not abs(event.value - value) <= 5e-9 * abs(value) + abs(fp32(value)) * 2.0**-24:
                sys.exit(f"{run}: {tag} in step {event.step} is {event.value}, in metrics.csv {value}")
    return sum(len(values) for values in want.values())


if __name__ == "__main__":
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    for path in sys.argv[1:]:
        print(f"{path}: {compare(path)} scalars agree with metrics.csv")
