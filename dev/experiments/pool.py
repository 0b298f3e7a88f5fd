"""Runs of ./train_gpt, several at once, each in a directory of its own.

What a run left there decides what happens to it: `ended` holds the exit status of one that is done, `latest` names the
checkpoint from which one that was stopped goes on, and without either it begins again.
"""

import ctypes
import fcntl
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

DIVERGED = 3  # train_gpt's exit status
RISE = 2      # nats above its first loss at which a run is ended as diverged
STOPPED = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL, 129, 130, 137, 143)


class PoolError(Exception):
    """A run that could not be made; its text is for the user."""


@dataclass
class Job:
    directory: Path
    options: list  # of the command line
    steps: int     # after which it is done, or paused where `planned` is more
    planned: int

    @property
    def command(self):
        more = ["--planned-steps", str(self.planned)] if self.planned != self.steps else []
        out = str(self.directory)
        return [*(word.replace("{out}", out) for word in self.options), "--steps", str(self.steps), *more, "--out", out]


def rows_of(directory):
    """The rows of metrics.csv, as dictionaries of text; those of a row that is half written are left out."""
    try:
        lines = (directory / "metrics.csv").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []
    names = lines[0].split(",") if lines else []
    return [dict(zip(names, cells)) for cells in (line.split(",") for line in lines[1:]) if len(cells) == len(names)]


def last_step(directory):
    """The last step and training loss in metrics.csv, without reading all of it; the first loss too."""
    try:
        with open(directory / "metrics.csv", "rb") as file:
            head = file.read(2000).decode().split("\n")
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
            tail = file.read().decode().split("\n")
    except FileNotFoundError:
        return 0, math.nan, math.nan
    rows = [line.split(",") for line in head[1:-1] + tail[1:-1] if line.count(",") >= 4]
    losses = [float(r[3]) for r in rows if r[3]]
    return (int(rows[-1][0]) if rows else 0), (losses[-1] if losses else math.nan), (losses[0] if losses else math.nan)


def final_loss(directory):
    """The last validation loss of a run; infinite if it diverged."""
    if (directory / "ended").read_text().strip() == str(DIVERGED):
        return math.inf
    losses = [float(r["val_loss"]) for r in rows_of(directory) if r["val_loss"]]
    if not losses:
        raise PoolError(f"{directory} has no validation loss: its options switch validation off")
    return losses[-1] if math.isfinite(losses[-1]) else math.inf


def remove_weights(directory):
    """The checkpoints of a run that is done; what it measured stays."""
    for checkpoint in directory.glob("step_*"):
        shutil.rmtree(checkpoint)
    (directory / "latest").unlink(missing_ok=True)


def own_lock(path):
    """Locks a file; the lock lives as long as this process or any run that inherits it. None: another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def end_with_parent():
    """In a child: Linux asks it to save and stop when this process dies, be it by kill -9."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)    # Ctrl-C reaches it through the pool


class Pool:
    def __init__(self, program, jobs, gpus, lock):
        self.program, self.gpus, self.lock = program, gpus, lock
        self.slots = list(range(jobs))[::-1]
        self.queue, self.running = [], {}  # running: Popen -> (Job, slot, began)
        self.ended, self.seconds_per_step = [], {}

    def submit(self, job):
        self.queue.append(job)

    def is_done(self, job):
        if (job.directory / "ended").exists():
            return True
        try:
            latest = (job.directory / "latest").read_text().strip()
        except FileNotFoundError:
            return False
        rows = rows_of(job.directory)
        if int(latest.removeprefix("step_")) < job.steps or not rows or not rows[-1]["val_loss"]:
            return False  # a signal may have cut the last validation, which --resume makes good
        if job.steps == job.planned:
            (job.directory / "ended").write_text("0\n")
        return True

    def start(self):
        """Starts what there is room for."""
        while self.queue and self.slots:
            job = self.queue.pop(0)
            if self.is_done(job):
                self.ended.append(job)
                continue
            resume = (job.directory / "latest").exists()
            if job.directory.exists() and not resume:
                shutil.rmtree(job.directory)
            job.directory.parent.mkdir(parents=True, exist_ok=True)
            slot = self.slots.pop()
            environment = dict(os.environ)
            if self.gpus:
                environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
            with open(f"{job.directory}.log", "a") as log:
                child = subprocess.Popen([self.program, *job.command, *(["--resume"] if resume else [])], stdout=log,
                                         stderr=log, stdin=subprocess.DEVNULL, env=environment, pass_fds=[self.lock],
                                         preexec_fn=end_with_parent)
            self.running[child] = (job, slot, time.monotonic(), last_step(job.directory)[0])

    def poll(self):
        """Jobs that have ended since the last call."""
        self.start()
        for child, (job, slot, began, first) in list(self.running.items()):
            status = child.poll()
            step, loss, initial = last_step(job.directory) if status is None else (0, 0, 0)
            if status is None and loss > initial + RISE:
                child.kill()
                child.wait()
                status = DIVERGED
            if status is None:
                continue
            del self.running[child]
            self.slots.append(slot)
            if status in STOPPED:
                raise PoolError(f"{job.directory} was stopped; the same command goes on from there")
            if status not in (0, DIVERGED):
                log = Path(f"{job.directory}.log").read_text(errors="replace").strip().splitlines()
                raise PoolError(f"{job.directory} failed with exit status {status}: {log[-1] if log else ''}\n"
                                f"its command: {self.program} {' '.join(job.command)}")
            if status == DIVERGED or job.steps == job.planned:
                (job.directory / "ended").write_text(f"{status}\n")
            if status == 0:
                done = last_step(job.directory)[0] - first
                self.seconds_per_step[str(job.directory)] = (time.monotonic() - began) / max(done, 1)
            self.ended.append(job)
        ended, self.ended = self.ended, []
        return ended

    def stop(self):
        """Ends all runs after their current step, saved."""
        for child in self.running:
            child.terminate()
        for child in self.running:
            child.wait()
