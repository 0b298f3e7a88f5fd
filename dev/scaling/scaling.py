#!/usr/bin/env python3
"""Predicts the time of a training step on several GPUs: data parallel, optimizer state in pieces (ZeRO-1).

  scaling.py          prints the tables of README.md
  scaling.py --check  compares them with README.md, and the simulator with closed formulas in its limits

Nothing here was measured. The model is in step.py.
"""

import argparse
import math
import pathlib
from dataclasses import replace

from step import (BF16, FP32, GPT2, GPT2_XL, NS_STEPS, Machine, Plan, T, deal, exchange, largest_pieces, most_owned,
                  optimizer_seconds, simulate)

ONE, BOX = Machine(1, 1), Machine(1, 8)
NETWORKS = {f"{gigabits} Gb/s": Machine(8, 8, nic=0.94 * gigabits * 1e9 / 8) for gigabits in (25, 100, 400)}
MACHINES = {"one GPU": ONE, "NVLink": BOX, **NETWORKS}
MODELS = [GPT2, GPT2_XL]
BATCHES = [(GPT2, 2**19), (GPT2, 2**21), (GPT2_XL, 2**20), (GPT2_XL, 2**22)]
RUNS = [(model, batch, name, machine) for model, batch in BATCHES for name, machine in MACHINES.items()]
WHOLE_MUON = Plan("muon", whole=True, gather_by_box=False)


def efficiency(model, machine, plan, batch):
    """Against one GPU, which takes the same batch in more micro-batches."""
    alone = simulate(model, ONE, replace(plan, tensor_parallel=1), batch)
    return alone.seconds / machine.ranks / plan.tensor_parallel / simulate(model, machine, plan, batch).seconds


# --- tables ---


def table(caption, header, rows):
    header = header.split(" | ")
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)] + rows
    return "\n".join([caption, ""] + ["| " + " | ".join(line) + " |" for line in lines])


def ms(seconds):
    return f"{1e3 * seconds:,.{2 if seconds < 0.01 else 1 if seconds < 1 else 0}f}"


def timed(model, machine, plan, batch):
    seconds = simulate(model, machine, plan, batch).seconds
    return f"{ms(seconds)} ({100 * efficiency(model, machine, plan, batch):.0f}%)"


def table_bytes():
    rows = []
    for model in MODELS:
        for machine in (BOX, NETWORKS["400 Gb/s"]):
            ranks, piece = machine.ranks, FP32 * model.parameters / machine.ranks
            halved = piece - (FP32 - BF16) * model.in_bf16 / ranks
            through_nic = [piece * (ranks - machine.in_box), piece * (machine.boxes - 1)]
            rows.append([model.name, f"{ranks}"]
                        + [f"{sent / 1e6:,.0f}" for sent in [piece * (ranks - 1), halved * (ranks - 1)] + through_nic])
    return table("MB that a rank sends in a step:", "model | ranks | gradients, or fp32 parameters | "
                 "parameters, matrices in bf16 | gradients through its NIC | the same, by box", rows)


def table_adamw():
    rows = []
    for model, batch, name, machine in RUNS:
        step = simulate(model, machine, Plan(), batch)
        rows.append([f"{model.name}, {batch / 2**20:g}M", f"{machine.ranks}", name, ms(step.passes), ms(step.optimizer),
                     ms(step.communication), f"{100 * step.exposed:.0f}%"]
                    + [timed(model, machine, plan, batch)
                       for plan in (Plan(), Plan(overlap_reduce=False), Plan(overlap_gather=True))])
    return table("AdamW, ms (efficiency against one GPU):", "model, tokens | ranks | network | passes | optimizer | "
                 "communication | exposed | step | nothing overlapped | gather overlapped too", rows)


def table_muon():
    rows = []
    for model, batch, name, machine in RUNS[:5] + RUNS[10:15]:
        owned, flops = deal(model, machine.ranks)
        bytes_over_mean = most_owned(model, machine.ranks) * machine.ranks / (model.layers * model.in_matrices)
        rows.append([f"{model.name}, {batch / 2**20:g}M", f"{machine.ranks}", name,
                     f"{max(flops) * machine.ranks / sum(flops):.2f}", f"{bytes_over_mean:.2f}",
                     ms(optimizer_seconds(model, machine, Plan("muon")))]
                    + [timed(model, machine, plan, batch)
                       for plan in (WHOLE_MUON, replace(WHOLE_MUON, overlap_reduce=False), Plan("muon"))])
    return table("Muon, ms (efficiency against one GPU):", "model, tokens | ranks | network | most FLOPs, of mean | "
                 "most bytes, of mean | optimizer | to owners, by layer | to owners, at the end | "
                 "to ranges, then owners", rows)


def tokens_that_hide(model, machine, by_box):
    """Tokens whose backward pass through a layer takes as long as the exchange of its gradient, latency aside."""
    at_once = replace(machine, start=0, nvlink_latency=0, nic_latency=0)
    slowest = max(seconds for _, seconds in exchange(at_once, FP32 * model.in_layer / machine.ranks, by_box))
    return slowest * machine.flops / (2 / 3 * model.layer_flops)


def batch_for(wanted, model, machine, plan):
    sequences = 1  # a rank's
    while efficiency(model, machine, plan, sequences * machine.ranks * T) < wanted:
        sequences += max(1, sequences // 64)
    return sequences * machine.ranks * T


def table_hiding():
    rows = []
    for model, _, name, machine in RUNS[1:5] + RUNS[11:15]:
        rows.append([model.name, f"{machine.ranks}", name])
        for by_box in (False, True):
            batch = batch_for(0.9, model, machine, Plan(reduce_by_box=by_box))
            rows[-1] += [f"{tokens_that_hide(model, machine, by_box):,.0f}", f"{batch / 2**20:.2f}M"]
    return table("Where overlap stops hiding, AdamW:", "model | ranks | network | tokens that hide a layer | "
                 "batch for 90% | tokens that hide a layer, by box | batch for 90%, by box", rows)


def table_memory():
    rows = []
    for model in MODELS:
        for plan, ranks in [(Plan(), 1), (Plan(), 8), (Plan(), 64), (Plan("muon"), 1), (Plan("muon"), 8),
                            (Plan("muon"), 64), (WHOLE_MUON, 64)]:
            muons = most_owned(model, ranks) if plan.optimizer == "muon" else 0
            adams = (model.parameters - (model.layers * model.in_matrices if muons else 0)) / ranks
            received = (ranks - 1) * largest_pieces(model, ranks, plan)[2]
            parts = [FP32 * model.parameters, BF16 * model.in_bf16, FP32 * model.parameters,
                     FP32 * (muons + 2 * adams), FP32 * received]
            rows.append([model.name, plan.optimizer + ", to owners" * plan.whole, f"{ranks}"]
                        + [f"{count / 1e9:.2f}" for count in parts + [sum(parts)]])
    return table("GB on the rank that has most, activations aside:", "model | optimizer | ranks | parameters | "
                 "bf16 copies | gradients | state | receive buffers | in all", rows)


def table_next():
    by_box = Plan(reduce_by_box=True)
    plans = [Plan(), Plan(gradient_bytes=BF16), by_box, replace(by_box, overlap_gather=True),
             Plan(reduce_by_box=True, overlap_gather=True, gradient_bytes=BF16, matrix_bytes=BF16)]
    rows = [[f"{model.name}, {batch / 2**20:g}M", name] + [timed(model, machine, plan, batch) for plan in plans]
            + [timed(model, replace(machine, in_box=1), Plan(tensor_parallel=8), batch)]
            for model, batch, name, machine in RUNS if machine.boxes > 1]
    return table("What would come next, 64 ranks, AdamW, ms (efficiency against one GPU):", "model, tokens | network | "
                 "as designed | bf16 gradients | reduced by box | the same, gather overlapped | "
                 "the same, gradients and matrices in bf16 | tensor parallel in the box", rows)


TABLES = [table_bytes, table_adamw, table_muon, table_hiding, table_memory, table_next]


# --- checks ---


def checks():
    """(what, got, wanted): counts against published ones, the simulator against closed formulas in its limits."""
    yield "parameters of gpt2", GPT2.parameters, 124439808
    yield "parameters of gpt2-xl", GPT2_XL.parameters, 1557611200
    # where symmetric products cost half: 3 m^2 n + m^3 (optim/README.md's 848 iterate long matrices on their Gram matrix)
    symmetric = [NS_STEPS * (3 * m * m * n + m**3) for m, n in GPT2.layer_matrices]
    yield "Muon's GFLOP with symmetric products", round(GPT2.layers * sum(symmetric) / 1e9), 1142
    # 24 matrices of 4 C^2 and 48 of C^2 on 64 ranks: nobody gets more than one of the large ones
    yield "the most elements on a rank", most_owned(GPT2, 64), 4 * 768**2
    yield "all elements", sum(e for hand in deal(GPT2_XL, 64)[0] for _, e in hand), 48 * 12 * 1600**2
    for (model, batch), (name, machine) in ((b, m) for b in BATCHES for m in MACHINES.items() if m[1] is not ONE):
        where = f"{model.name}, {batch} tokens, {name}: "
        ranks, size, inf = machine.ranks, FP32 * model.parameters, math.inf
        passes = batch / ranks * model.flops / machine.flops
        delay = machine.start + machine.nvlink_latency + (machine.boxes - 1) * machine.nic_latency
        straight = 7 / 8 * size / (machine.nvlink if machine is BOX else machine.nic)
        gathered = 7 / 8 * size / machine.nvlink
        if machine is not BOX:
            gathered += machine.start + 7 / 64 * size / machine.nic
        moved = delay + straight + delay + delay + gathered  # gradients, their norm, parameters
        in_memory = ((ranks + 1) * size / ranks + 8 * size / ranks) / machine.memory
        step = simulate(model, machine, Plan(overlap_reduce=False), batch)
        yield where + "nothing overlapped is the sum", step.seconds, passes + moved + in_memory
        yield where + "nothing overlapped is exposed", step.exposed, 1

        free = replace(machine, nvlink=inf, nic=inf, memory=inf, start=0, nvlink_latency=0, nic_latency=0)
        for plan in (Plan(), Plan(overlap_gather=True, reduce_by_box=True), Plan("muon"), WHOLE_MUON):
            update = max(deal(model, ranks)[1]) / machine.flops if plan.optimizer == "muon" else 0
            yield where + f"{plan}, infinite bandwidth", simulate(model, free, plan, batch).seconds, passes + update

        at_once = replace(machine, flops=inf, memory=inf)
        plan = Plan(overlap_gather=True, gather_by_box=False)
        wanted = 2 * (model.layers + 1) * delay + 2 * straight + delay
        yield where + "infinite FLOP/s", simulate(model, at_once, plan, batch).seconds, wanted

        # the rank with most bytes decides, there and back; through ranges it is one part in W, twice more
        most = most_owned(model, ranks)
        rest = (model.parameters - model.layers * model.in_matrices) / ranks
        slowest = machine.nvlink / 7 if machine is BOX else machine.nic / 56
        step = simulate(model, at_once, replace(WHOLE_MUON, overlap_reduce=False), batch)
        yield where + "Muon, to owners", step.seconds, 3 * delay + 2 * FP32 * (most + rest) / slowest
        wanted = 5 * delay + straight + gathered + 2 * FP32 * most / ranks / slowest
        step = simulate(model, at_once, Plan("muon", overlap_reduce=False), batch)
        yield where + "Muon, to ranges, then owners", step.seconds, wanted

        # an eighth of the parameters between boxes; four all-reduces in bf16 a layer, for each micro-batch
        if machine is not BOX:
            micro_batches = math.ceil(batch / ranks / model.micro_batch)
            starts = 4 * model.layers * micro_batches * (machine.start + machine.nvlink_latency)
            reduced = 4 * model.layers * 2 * 7 / 8 * batch / 8 * model.width * BF16 / machine.nvlink
            step = simulate(model, replace(at_once, in_box=1), Plan(overlap_reduce=False, tensor_parallel=8), batch)
            between = machine.start + 7 * machine.nic_latency
            wanted = starts + reduced + 3 * between + 2 * 7 / 8 * size / 8 / machine.nic
            yield where + "tensor parallel", step.seconds, wanted

        # layers leave as they are ready, or one behind the other if a layer takes longer to send than to compute
        no_memory = replace(machine, memory=inf)
        backward = 2 / 3 * model.layer_flops / machine.flops * min(batch / ranks, model.micro_batch)
        layer, last = (delay + straight * part / model.parameters for part in (model.in_layer, model.in_embeddings))
        late = max(layer, model.layers * layer - (model.layers - 1) * backward) + last
        wanted = passes + late + delay + delay + gathered
        yield where + "reduction overlapped", simulate(model, no_memory, Plan(), batch).seconds, wanted


def main():
    parser = argparse.ArgumentParser(description="Predicts the time of a training step on several GPUs.")
    parser.add_argument("--check", action="store_true", help="compare with README.md and with closed formulas")
    check = parser.parse_args().check
    tables = [make() for make in TABLES]
    if not check:
        print("\n\n".join(tables))
        return
    page = (pathlib.Path(__file__).parent / "README.md").read_text()
    wrong = [f"README.md lacks this table: {text.splitlines()[0]}" for text in tables if f"\n{text}\n" not in page]
    wrong += [f"{what}: {got} instead of {wanted}" for what, got, wanted in checks()
              if not abs(got - wanted) <= 1e-9 * abs(wanted)]
    if wrong:
        raise SystemExit("\n".join(f"scaling.py: {line}" for line in wrong))


main()
