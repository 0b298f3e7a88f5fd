"""dev/sweep: searches options of several optimizers with the same effort, then runs the best of each with other seeds."""

import argparse
import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import space as spaces
from .pool import Job, Pool, PoolError, final_loss, last_step, own_lock, remove_weights, rows_of
from .search import Search
from .space import label_of, options_of

HELP = """
A space is a TOML file:

  [run]                             # options of every run
  train = "shards/train_*.bin"
  steps = 2000                      # in a text {out} is the run's directory

  [search]
  method = "coordinate"             # or grid, or random [coordinate]
  budget = 24                       # points tried for each optimizer and size; the same for all, or 0: no limit [0]
  seeds = [1000]                    # of every point; its loss is the mean of their final validation losses
  halving = 3                       # grid, random: at 1/9 and 1/3 of the steps only the best third goes on [0: off]
  retune = ["lr"]                   # knobs that are searched again at the other sizes, from the best before

  [optimizer.adamw]                 # the table's name is the rule, unless it has `optimizer`
  lr = { start = 2e-3, factor = 2 } # a knob: start, its neighbours, and on from there while it is better
  weight-decay = [0, 0.1, 0.2]      # a knob of values; the search starts in the middle, or at { values, start }
  beta2 = 0.98                      # no knob; even steps may be its own
  warmup = { from = 20, to = 500 }  # random: a range, drawn by its logarithm

  [sizes]
  factors = [1, 0.5, 2]             # of the steps; the first is searched over all knobs

  [final]
  seeds = [1, 2, 3, 4]              # the best of each optimizer is run with these
  others = [1, 2]                   # at the other sizes [the same]

Where the best value of a knob is an outermost one, the search goes on beyond it, or says that the budget is used up.
--out holds every run's directory, sweep.csv with all losses, best.csv, and status.txt while it runs (watch cat
DIR/status.txt). Whatever stops a sweep, the same command goes on; what is done is not run again. `dev/compare DIR` compares
its final runs, and shows how much each knob matters.
"""


def size_name(factor):
    return f"x{factor:g}"


class Stage:
    """What happens to one contestant at one size: its search, then the final runs of the best."""

    def __init__(self, sweep, contestant, factor, search):
        self.sweep, self.contestant, self.factor, self.search = sweep, contestant, factor, search
        self.steps = round(contestant.fixed.get("steps", sweep.space.run["steps"]) * factor)
        self.generator, self.points, self.jobs, self.rung = search.method(), [], {}, 0
        self.is_final, self.is_done = False, False
        self.advance(None)

    @property
    def final_seeds(self):
        space = self.sweep.space
        return space.final if self.factor == space.sizes[0] else space.others

    def job(self, point, seed, steps):
        settings = self.sweep.space.run | self.contestant.fixed | point
        settings.pop("steps")
        folder = Path("final" if self.is_final else "search", self.contestant.name, size_name(self.factor))
        return Job(self.sweep.out / folder / f"{label_of(point)},seed={seed}",
                   [*self.sweep.options(settings), "--seed", str(seed)], steps, self.steps)

    def submit(self, points, seeds, steps):
        self.jobs = {}
        for point in points:
            for seed in seeds:
                job = self.job(point, seed, steps)
                self.jobs[job.directory] = (job, point, seed)
                self.sweep.pool.submit(job)
        self.left = len(self.jobs)

    def rungs(self):
        """Steps of the rungs of successive halving; the last is the whole run."""
        eta = self.sweep.space.halving
        return [self.steps] if eta < 2 else [max(1, self.steps // eta ** 2), max(1, self.steps // eta), self.steps]

    def advance(self, losses):
        """Sends the search its losses; submits what it asks for next, or the final runs."""
        try:
            self.points = self.generator.send(losses)
            self.rung, self.out_of_it = 0, {}
            self.submit(self.points, self.sweep.space.seeds, self.rungs()[0])
        except StopIteration:
            self.finish()

    def finish(self):
        search = self.search
        diverged = search.losses and search.best_loss == math.inf
        if diverged:
            search.notes.append("every run diverged")
        self.is_final = bool(self.final_seeds) and not diverged
        self.is_done = not self.is_final
        if self.is_final:
            self.submit([search.best], self.final_seeds, self.steps)
        if not diverged:
            self.sweep.searched(self)

    def ended(self, directory):
        """A run of this stage has ended."""
        self.left -= 1
        if self.left:
            return
        if self.is_final:
            self.is_done = True
            return
        means = {}
        for job, point, _ in self.jobs.values():
            means.setdefault(label_of(point), []).append(loss_at(job))
        means = {label: sum(losses) / len(losses) for label, losses in means.items()}
        steps = self.rungs()
        if self.rung < len(steps) - 1:
            going = sorted(means, key=means.get)[:max(1, len(means) // self.sweep.space.halving)]
            self.out_of_it |= {label: math.inf for label in means if label not in going}
            self.rung += 1
            self.submit([p for p in self.points if label_of(p) in going], self.sweep.space.seeds, steps[self.rung])
            return
        self.advance([(self.out_of_it | means)[label_of(p)] for p in self.points])


def loss_at(job):
    """The validation loss that counts: the final one, or that of a rung's end."""
    if (job.directory / "ended").exists():
        return final_loss(job.directory)
    losses = [float(r["val_loss"]) for r in rows_of(job.directory) if r["val_loss"]]
    return losses[-1] if losses else math.inf


class Sweep:
    def __init__(self, arguments, space, lock):
        self.space, self.out = space, Path(arguments.out)
        self.train, self.keeps = arguments.train_gpt, arguments.keep_weights
        self.jobs = arguments.jobs
        self.pool = Pool(self.train, arguments.jobs, arguments.gpus, lock)
        self.stages, self.rows, self.shown = [], {}, 0
        for contestant in space.contestants:
            start = {k.name: k.start for k in contestant.knobs}
            self.add(contestant, space.sizes[0], contestant.knobs, start)

    def add(self, contestant, factor, knobs, start):
        search = Search(contestant, knobs, start, self.space)
        self.stages.append(Stage(self, contestant, factor, search))

    def options(self, settings):
        more = {"sample-every": 0, "keep": 1}
        if self.jobs > 1:
            more["threads"] = 1
        return options_of(more | settings)

    def searched(self, stage):
        """The search of a stage has ended: the next size begins at its best."""
        sizes = self.space.sizes
        at = sizes.index(stage.factor) + 1
        if at < len(sizes):
            knobs = [k for k in stage.search.knobs if k.name in self.space.retune]
            self.add(stage.contestant, sizes[at], knobs, stage.search.best)

    def record(self, stage, job, point, seed):
        """The row of a run in sweep.csv."""
        loss = loss_at(job)
        rows = rows_of(job.directory)
        last = rows[-1] if rows else {}
        whole = job.steps == job.planned or not math.isfinite(loss)
        self.rows[str(job.directory)] = {
            "stage": "final" if stage.is_final else "search", "optimizer": stage.contestant.name, "size": f"{stage.factor:g}",
            "point": label_of(point), "seed": seed,
            "status": "diverged" if not math.isfinite(loss) else "done" if whole else "paused",
            "val_loss": f"{loss:.6f}" if math.isfinite(loss) else "", "steps": last.get("step", ""),
            "tokens": last.get("tokens", ""), "seconds": f"{float(last.get('seconds') or 0):.2f}",
            "directory": str(job.directory.relative_to(self.out)), "source": source_of(job.directory)}
        write_csv(self.out / "sweep.csv", list(self.rows.values()))
        if whole and not self.keeps:
            remove_weights(job.directory)

    def run(self):
        while not all(stage.is_done for stage in self.stages):
            ended = self.pool.poll()
            for job in ended:
                stage = next(s for s in self.stages if job.directory in s.jobs)
                _, point, seed = stage.jobs[job.directory]
                self.record(stage, job, point, seed)
                stage.ended(job.directory)
            self.show(force=bool(ended))
            if not ended:
                time.sleep(0.1)
        self.show(force=True)

    def show(self, force=False):
        """status.txt, and the same on a terminal, every two seconds."""
        now = time.monotonic()
        if not force and now - self.shown < 2:
            return
        self.shown = now
        text = self.status()
        write_whole(self.out / "status.txt", text)
        if sys.stdout.isatty():
            print(f"\x1b[H\x1b[J{text}", end="", flush=True)

    def status(self):
        to = io.StringIO()
        to.write(f"{'optimizer':16} {'size':>5} {'points':>9} {'best loss':>10}  best so far\n")
        for s in self.stages:
            budget = f"/{s.search.budget}" if s.search.budget < math.inf else ""
            best = f"{s.search.best_loss:.4f}" if s.search.best_loss < math.inf else "-"
            state = " | final runs" if s.is_final and not s.is_done else " | done" if s.is_done else ""
            to.write(f"{s.contestant.name:16} {size_name(s.factor):>5} {str(len(s.search.losses)) + budget:>9} {best:>10}  "
                     f"{label_of(s.search.best)}{state}\n")
        to.write(f"\n{len(self.rows)} runs done, {len(self.pool.running)} running, {len(self.pool.queue)} waiting")
        left, per_step = self.steps_left(), sorted(self.pool.seconds_per_step.values())
        if per_step and left:
            seconds = left * per_step[len(per_step) // 2] / self.jobs
            bound = "at most " if self.space.budget else "at least "
            to.write(f"; {bound}{seconds / 60:.0f} min more")
        to.write("\n")
        for job, _, _, _ in self.pool.running.values():
            step, loss, _ = last_step(job.directory)
            to.write(f"  {job.directory.relative_to(self.out)}: step {step}/{job.steps}, loss {loss:.4f}\n")
        return to.getvalue()

    def steps_left(self):
        """Steps of the runs that wait and, with a budget, of all that it allows."""
        waiting = sum(j.steps for j in self.pool.queue)
        waiting += sum(job.steps - last_step(job.directory)[0] for job, *_ in self.pool.running.values())
        if self.space.budget:
            for s in self.stages:
                if not s.is_final:
                    known = len(s.search.losses) + len(s.jobs) / len(self.space.seeds)
                    waiting += (self.space.budget - known) * len(self.space.seeds) * s.steps + len(s.final_seeds) * s.steps
        return max(0, waiting)

    def report(self):
        """best.csv, and what the searches say of themselves."""
        best = []
        print(f"{'optimizer':16} {'size':>5} {'points':>6} {'val loss':>9}  best")
        for s in self.stages:
            search = s.search
            loss = f"{search.best_loss:.4f}" if search.best_loss < math.inf else "diverged" if search.losses else ""
            print(f"{s.contestant.name:16} {size_name(s.factor):>5} {len(search.losses):>6} {loss:>9}  {label_of(search.best)}")
            for note in search.notes:
                print(f"{'':16} {note}")
            best.append({"optimizer": s.contestant.name, "size": f"{s.factor:g}", "val_loss": loss,
                         "options": " ".join(options_of(s.contestant.fixed | search.best))})
        write_csv(self.out / "best.csv", best)
        if self.space.halving:
            print("halving: points were dropped by their loss before the rate had fallen; rankings can flip in the cooldown")


def source_of(directory):
    """The commit of the program that made a run; "" where a run ended before it left a record."""
    record = directory / "run.json"
    return json.loads(record.read_text())["source"] if record.exists() else ""


def write_whole(path, text):
    """Writes a file at once, so that a reader never meets half of it."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    os.replace(new, path)


def write_csv(path, rows):
    to = io.StringIO()
    writer = csv.DictWriter(to, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, to.getvalue())


def check(sweep):
    """Has the program look at the options of each contestant, before hours are spent."""
    for c in sweep.space.contestants:
        settings = sweep.space.run | c.fixed | {k.name: k.start for k in c.knobs}
        done = subprocess.run([sweep.train, *sweep.options(settings), "--list-groups"], capture_output=True, text=True)
        if done.returncode != 0:
            raise spaces.SpaceError(f"optimizer.{c.name}: {done.stderr.strip()}")


def parsed(words):
    p = argparse.ArgumentParser(prog="dev/sweep", description=__doc__, epilog=HELP,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("space", metavar="SPACE", help="the file that says what to try")
    p.add_argument("--out", metavar="DIR", help="[runs/sweep-NAME, NAME of the space]")
    p.add_argument("--jobs", type=int, metavar="N", help="runs at once, of one thread each if there are several [the CPUs, or GPUs]")
    p.add_argument("--gpus", metavar="LIST", help="devices that the runs share out, for instance 0,1,2,3")
    p.add_argument("--keep-weights", action="store_true", help="of runs that are done")
    p.add_argument("--train-gpt", metavar="FILE", default=os.environ.get("TRAIN_GPT", "./train_gpt"), help="[./train_gpt]")
    a = p.parse_args(words)
    a.gpus = a.gpus.split(",") if a.gpus else []
    a.jobs = a.jobs or len(a.gpus) or len(os.sched_getaffinity(0))
    a.out = a.out or f"runs/sweep-{Path(a.space).stem}"
    return a


def begin(arguments, space):
    """The lock of --out. SpaceError: it is of another space, or somebody is at work in it."""
    out = Path(arguments.out)
    copy = out / "space.toml"
    if out.exists() and not copy.exists():
        raise spaces.SpaceError(f"{out} exists, and no sweep began there; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    lock = own_lock(out / "lock")
    if lock is None:
        raise spaces.SpaceError(f"a sweep, or a run that it left, is at work in {out}")
    if copy.exists():
        before = spaces.read(copy)
        if before.run != space.run:
            raise spaces.SpaceError(f"{out} was begun with another [run]; choose another --out")
        for c in space.contestants:
            for old in before.contestants:
                if old.name == c.name and old.fixed != c.fixed:
                    raise spaces.SpaceError(f"{out} was begun with other options of {c.name}; choose another --out")
    write_whole(copy, space.text)
    return lock


def stop(signal_number, _):
    raise SystemExit(128 + signal_number)


def main(words=None):
    arguments = parsed(words)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        space = spaces.read(arguments.space)
        lock = begin(arguments, space)
        sweep = Sweep(arguments, space, lock)
        check(sweep)
    except (spaces.SpaceError, OSError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    print(f"runs go to {arguments.out}, {arguments.jobs} at once; watch cat {arguments.out}/status.txt", file=sys.stderr)
    try:
        sweep.run()
    except PoolError as error:
        sweep.pool.stop()
        print(f"sweep: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as reason:
        sweep.pool.stop()
        print("sweep: stopped; the same command goes on", file=sys.stderr)
        return reason.code if isinstance(reason, SystemExit) else 130
    sweep.report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
