"""The model of README.md: what a GPT, a machine and a plan are, and a simulator of one training step.

Data parallel, optimizer state in pieces (ZeRO-1). Units are seconds, bytes and FLOPs, and these per second.
"""

import heapq
import math
from dataclasses import dataclass, replace

T, V = 1024, 50257  # tokens in a sequence, tokens in the vocabulary
FP32, BF16 = 4, 2  # bytes
NS_STEPS = 5


class Model:
    def __init__(self, name, layers, width, micro_batch):
        self.name, self.layers, self.width = name, layers, width
        self.micro_batch = micro_batch  # tokens that a GPU takes at once
        self.layer_matrices = [(width, width)] * 4 + [(width, 4 * width)] * 2  # Q, K, V, projection; the MLP's two
        self.in_matrices = 12 * width**2  # parameters of a layer that Muon updates
        self.in_layer = self.in_matrices + 13 * width  # with 9 C biases and 4 C in two layernorms
        self.in_embeddings = (V + T + 2) * width  # tokens (also the head), positions, last layernorm
        self.parameters = layers * self.in_layer + self.in_embeddings
        self.in_bf16 = layers * self.in_matrices + V * width  # parameters that products read
        # FLOPs per token, forward and backward: 6 N + 12 L C T, N without positions, which are only looked up.
        self.layer_flops = 6 * self.in_layer + 12 * width * T
        self.head_flops = 6 * (V + 2) * width
        self.flops = layers * self.layer_flops + self.head_flops


GPT2, GPT2_XL = Model("gpt2", 12, 768, 16384), Model("gpt2-xl", 48, 1600, 8192)


@dataclass(frozen=True)
class Machine:
    """Every rank is a GPU with a NIC of its own. Where each number comes from: README.md."""

    boxes: int
    in_box: int  # ranks in a box
    nic: float = math.inf
    nvlink: float = 0.82 * 450e9
    memory: float = 0.87 * 3350e9
    flops: float = GPT2.flops * 16384 / 33e-3
    start: float = 8.4e-6  # of a collective
    nvlink_latency: float = 3.4e-6  # of the messages inside a box, all in flight together
    nic_latency: float = 14e-6  # of those to the ranks of one other box

    @property
    def ranks(self):
        return self.boxes * self.in_box


@dataclass(frozen=True)
class Plan:
    optimizer: str = "adamw"
    overlap_reduce: bool = True  # a layer's gradient leaves when it is complete; otherwise all leave at the end
    overlap_gather: bool = False  # a layer is awaited when the next forward pass gets to it; otherwise all are
    reduce_by_box: bool = False  # over NVLink first, then over the NICs; otherwise straight to the owner
    gather_by_box: bool = True  # over the NICs first, then over NVLink
    whole: bool = False  # Muon's gradients go straight to the matrix's owner; otherwise to equal ranges, then there
    gradient_bytes: int = FP32
    matrix_bytes: int = FP32  # per element of the updated matrices that are sent
    tensor_parallel: int = 1  # GPUs that share a replica of the model


def newton_schulz_flops(m, n):
    """X <- a X + (b A + c A A) X, A = X X^T, m <= n: products of 2 m^2 n, 2 m^3 and 2 m^2 n FLOPs."""
    m, n = min(m, n), max(m, n)
    return NS_STEPS * (4 * m * m * n + 2 * m**3)


def deal(model, ranks):
    """Each matrix, the costliest first, to the rank with the least FLOPs: by rank, (layer, elements) and FLOPs."""
    matrices = [(newton_schulz_flops(*m), i, math.prod(m)) for i in range(model.layers) for m in model.layer_matrices]
    loads = [(0, rank) for rank in range(ranks)]
    owned = [[] for _ in range(ranks)]
    for flops, layer, elements in sorted(matrices, key=lambda matrix: -matrix[0]):
        load, rank = loads[0]
        owned[rank].append((layer, elements))
        heapq.heapreplace(loads, (load + flops, rank))
    return owned, [load for load, _ in sorted(loads, key=lambda load: load[1])]


def most_owned(model, ranks):
    return max(sum(elements for _, elements in hand) for hand in deal(model, ranks)[0])


def largest_pieces(model, ranks, plan):
    """Elements on the rank that has most of them: of each layer, of the embeddings, of all."""
    if plan.optimizer != "muon" or not plan.whole:
        return [model.in_layer / ranks] * model.layers, model.in_embeddings / ranks, model.parameters / ranks
    owned, _ = deal(model, ranks)
    vectors = (model.in_layer - model.in_matrices) / ranks
    layers = [vectors + max(sum(e for at, e in hand if at == i) for hand in owned) for i in range(model.layers)]
    embeddings = model.in_embeddings / ranks
    return layers, embeddings, most_owned(model, ranks) + model.layers * vectors + embeddings


def exchange(machine, piece, by_box):
    """Every rank gets its piece, of so many bytes at most, from every other, or gives it: [(link, seconds), ...]."""
    if machine.ranks == 1:
        return []
    inside, outside = (machine.in_box - 1) * piece, (machine.ranks - machine.in_box) * piece
    near = machine.start + (machine.nvlink_latency if machine.in_box > 1 else 0)
    far = machine.nic_latency * (machine.boxes - 1)
    if machine.boxes == 1 or machine.in_box == 1 or not by_box:
        return [("network", near + far + max(inside / machine.nvlink, outside / machine.nic))]
    return [("nvlink", near + inside * machine.boxes / machine.nvlink),
            ("nic", machine.start + far + outside / machine.in_box / machine.nic)]


def optimizer_seconds(model, machine, plan):
    """The busiest rank's. AdamW reads p, g, m, v and writes p, m, v; Muon has no v. The norm reads g once more."""
    ranks = machine.ranks * plan.tensor_parallel
    if plan.optimizer == "adamw":
        return 8 * FP32 * model.parameters / ranks / machine.memory
    others = (model.parameters - model.layers * model.in_matrices) / ranks
    moved = FP32 * (6 * most_owned(model, ranks) + 8 * others)
    return max(deal(model, ranks)[1]) / machine.flops + moved / machine.memory


@dataclass(frozen=True)
class Step:
    seconds: float
    passes: float  # forward and backward
    communication: float  # if nothing were hidden
    optimizer: float
    exposed: float  # share of the communication that is not hidden


class Links:
    """A link carries one transfer at a time, in the order of the calls."""

    def __init__(self):
        self.free_at, self.busy = {}, 0

    def carry(self, stages, ready):
        """The time when what is ready then has passed through all stages, one after the other."""
        for link, seconds in stages:
            ready = max(ready, self.free_at.get(link, 0)) + seconds
            self.free_at[link] = ready
            self.busy += seconds
        return ready


def simulate(model, machine, plan, batch):
    """One step of `batch` tokens, from the end of one update to the end of the next."""
    links, layers, share = Links(), range(model.layers), 1 / plan.tensor_parallel
    pieces, embeddings, everything = largest_pieces(model, machine.ranks, plan)
    tokens = batch / machine.ranks
    micro_batches = math.ceil(tokens * share / model.micro_batch)
    rate = micro_batches * plan.tensor_parallel * machine.flops
    layer, head = tokens * model.layer_flops / rate, tokens * model.head_flops / rate
    all_reduces = 0  # tensor parallel: two of activations in a pass through a layer, nothing hides them
    if plan.tensor_parallel > 1:
        sent = 2 * (1 - share) * tokens / micro_batches * model.width * BF16
        all_reduces = 2 * (machine.start + machine.nvlink_latency + sent / machine.nvlink)
    forward, backward = layer / 3 + all_reduces, 2 * layer / 3 + all_reduces

    def gather(piece):
        in_bf16 = model.in_bf16 / model.parameters
        piece *= share * (in_bf16 * plan.matrix_bytes + (1 - in_bf16) * FP32)
        return links.carry(exchange(machine, piece, plan.gather_by_box)[::-1], 0)

    def reduce(piece, ready):
        piece *= share * plan.gradient_bytes
        added = machine.ranks + 1 if machine.ranks > 1 else 0  # as many parts are read, and their sum is written
        stages = exchange(machine, piece, plan.reduce_by_box) + [("memory", added * piece / machine.memory)]
        return links.carry(stages, ready)

    if plan.overlap_gather:
        now = gather(embeddings)
        arrived = [gather(piece) for piece in pieces]
    else:
        now = gather(everything)
        arrived = [now] * model.layers
    for i in layers:
        now = max(now, arrived[i]) + forward
    now += head / 3 + (micro_batches - 1) * (model.layers * (forward + backward) + head) + 2 * head / 3
    for i in reversed(layers):
        now += backward
        if plan.overlap_reduce:
            reduce(pieces[i], now)
    now = reduce(embeddings if plan.overlap_reduce else everything, now)
    now = links.carry(exchange(machine, 0, plan.reduce_by_box), now)  # squares, for the norm of the whole gradient
    if plan.optimizer == "muon" and not plan.whole:
        for _ in range(2):  # from ranges to owners, and back
            now = links.carry(exchange(machine, FP32 * most_owned(model, machine.ranks) / machine.ranks, False), now)
    optimizer = optimizer_seconds(model, machine, plan)
    passes = tokens * share * model.flops / machine.flops
    communication = links.busy + 2 * all_reduces * model.layers * micro_batches
    exposed = (now - passes) / communication if communication else 0
    return Step(now + optimizer, passes, communication, optimizer, exposed)
