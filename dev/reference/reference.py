#!/usr/bin/env python3
"""Makes a reference file: what PyTorch computes for a small GPT, for test_gpt to compare a twin with.

The model is that of model.py, in plain PyTorch modules. A file (safetensors, F32) holds, under the Hugging Face names
and in the Hugging Face layout (the matrices of a block are stored fan-in x fan-out):

    param.<name>                      the random parameters, exact in fp32
    tokens, targets                   one batch (B, T), I32; a target of -1 is left out of the loss
    residual.0 .. residual.L          what each block reads, (B, T, C); residual.L is what the final norm reads
    logits                            (B, T, V)
    loss                              mean cross-entropy in nats over the targets that count
    grad.<name>                       gradients of that mean

and, for K = 0 .. N-1 steps of each optimizer O = adamw, muon, from param.<name>, with a different batch each step:

    step.K.tokens, step.K.targets     the batch
    step.K.O.loss                     its loss before the update
    step.K.O.grad.<name>              its gradients, where PyTorch's own trajectory stands at that step
    after.O.<name>                    the parameters after N updates

The metadata hold the configuration, every hyperparameter and the command. adamw is torch.optim.AdamW on every tensor,
decay on matrices, embeddings and the head only. muon is torch.optim.Muon on the blocks' matrices, with q, k and v as
three matrices and the halves of a gated MLP as two, and AdamW as above on the rest. torch.optim.Muon iterates
Newton-Schulz in bf16; here that one function is replaced by the same iteration in the precision of its input.

Everything, updates included, is computed in fp64 from the fp32 parameters and rounded to fp32 when stored, because
the best judge is one whose own error is too small to see. Plain fp32 PyTorch lies within about 1e-6 of each
tensor's scale of it, which is printed as a self-check. With --fp32 the file holds what fp32 gives.

With --bf16 the metadata also hold, as bf16.<name>, how far PyTorch's own bf16 (torch.autocast) is from these values,
|got - want| / |want| of each tensor (of the loss: the root mean square over the positions, relative to the mean loss).

The files that the tests use, without "python dev/reference/reference.py dev/tests/reference_" before each and
".safetensors" after its first word:

    tiny --most-positions 13 --ignore
    bf16 --heads 2 --width 32 --vocab 67 --seq-len 37 --batch 2 --steps 0 --ignore --bf16
    gelu --activation gelu-exact --layers 1 --heads 2 --width 16 --batch 2 --steps 0 --bf16; so are relu2 and silu
    llama --norm rmsnorm --positions rotary --activation swiglu --attention-bias none --mlp-bias off --head untied \
        --layers 1 --heads 4 --kv-heads 2 --width 16 --vocab 23 --seq-len 10 --batch 2 --steps 0 --bf16
    track3 --norm rmsnorm --positions rotary-half --qk-norm on --attention-scale .12 --activation relu2 \
        --head untied-bias --softcap sqrt --embed-norm on --norm-eps 1.1920929e-07 \
        --layers 1 --heads 2 --width 16 --vocab 17 --seq-len 10 --batch 2 --steps 0 --bf16
    modern --norm rmsnorm-no-gain --positions rotary --rotary-base 500 --qk-norm on --activation relu2 \
        --attention-bias none --mlp-bias off \
        --layers 1 --heads 2 --width 16 --vocab 31 --most-positions 14 --batch 2 --steps 0 --ignore --bf16
    odd --norm layernorm-no-bias --norm-eps 1e-3 --positions none --qk-norm gain --attention-bias qkv \
        --mlp-bias off --head untied --softcap tanh --softcap-limit 4 \
        --layers 2 --heads 3 --kv-heads 1 --width 15 --mlp-width 23 --vocab 23 --seq-len 7 --batch 2 --steps 0 --bf16
    modula --norm none --residual-scale .875 --positions rotary --attention-scale .3 --attention-bias none \
        --mlp-bias off --head untied --init modula \
        --layers 2 --heads 1 --width 8 --mlp-width 16 --vocab 11 --seq-len 9 --batch 2 --steps 0 --bf16
    steps, with the first line of llama, --heads 4 --kv-heads 2 --width 8 --vocab 29 --seq-len 9 --batch 2 --steps 4
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim._muon as torch_muon
from model import FIELDS, TRANSPOSED, Gpt, key_bias_is_void, parts, resolve, stored
from safetensors.torch import save_file

IGNORED = -1
MUON_EPS = 1e-7  # floor of the norm in Newton-Schulz

# --- The parameters and the loss ---


@torch.no_grad()
def draw_parameters(model, generator):
    """Like GPT-2's, but matrices N(0, 1/fan_in) instead of N(0, 0.02^2) and no bias zero, no gain one: every
    parameter then has a gradient that a comparison can see."""
    layers = model.config["n_layer"]
    for name, p in model.named_parameters():
        p.normal_(generator=generator)
        if p.ndim == 2:
            p.mul_(p.shape[1] ** -0.5)
            if name.endswith("c_proj.weight"):
                p.mul_((2 * layers) ** -0.5)
        else:
            p.mul_(0.1)
            if name.endswith("weight"):  # a gain
                p.add_(1)


def loss_of(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


# --- The optimizers ---


def newton_schulz(grad, ns_coefficients, ns_steps, eps):
    """torch.optim._muon's function without its cast to bf16."""
    a, b, c = ns_coefficients
    x = grad.T if grad.size(0) > grad.size(1) else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(ns_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if grad.size(0) > grad.size(1) else x


class Optimizer:
    """`adamw` or `muon` over a whole model: the same two calls, zero_grad and step."""

    def __init__(self, name, model, o):
        self.model = model
        self.pieces = []  # (fused parameter, its matrices)
        hidden = {k: p for k, p in model.named_parameters() if name == "muon" and k.endswith(TRANSPOSED)}
        rest = [(k, p) for k, p in model.named_parameters() if k not in hidden]
        groups = [
            {"params": [p for _, p in rest if p.ndim == 2], "weight_decay": o.adamw_weight_decay},
            {"params": [p for _, p in rest if p.ndim != 2], "weight_decay": 0.0},
        ]
        betas = (o.adamw_beta1, o.adamw_beta2)
        self.rules = [torch.optim.AdamW(groups, lr=o.adamw_lr, betas=betas, eps=o.adamw_eps)]
        if hidden:
            self.rules.append(self.make_muon([self.split(k, p) for k, p in hidden.items()], o))

    def split(self, name, p):
        """[p], or the matrices in a fused p: parameters of their own that share p's memory, so that an update in
        place reaches the model; step() hands them their parts of p's gradient."""
        rows = parts(name, self.model.config)
        if rows is None:
            return [p]
        pieces = [nn.Parameter(piece) for piece in p.detach().split(rows)]
        self.pieces.append((p, pieces))
        return pieces

    @staticmethod
    def make_muon(lists, o):
        return torch.optim.Muon(
            [p for ps in lists for p in ps], lr=o.muon_lr, weight_decay=o.muon_weight_decay, momentum=o.muon_momentum,
            nesterov=True, ns_coefficients=(3.4445, -4.7750, 2.0315), eps=MUON_EPS, ns_steps=o.muon_ns_steps,
            adjust_lr_fn="original")

    def step(self):
        for p, pieces in self.pieces:
            for piece, grad in zip(pieces, p.grad.split([len(piece) for piece in pieces])):
                piece.grad = grad.clone()
        for rule in self.rules:
            rule.step()


def train(name, start, batches, o, fed=None):
    """N updates from `start`. Returns the losses, the gradients of each step and the final parameters. With `fed`,
    a list of gradients, those are used instead of the model's own and there are no losses."""
    model = rebuild(start, o)
    optimizer = Optimizer(name, model, o)
    losses, grads = [], []
    for k, (tokens, targets) in enumerate(batches):
        model.zero_grad()
        if fed:
            for key, p in model.named_parameters():
                p.grad = fed[k][key].to(p.dtype)
        else:
            loss = loss_of(model(tokens)[0], targets)
            loss.backward()
            losses.append(loss.detach())
        grads.append({key: p.grad.clone() for key, p in model.named_parameters()})
        optimizer.step()
    return losses, grads, values(model)


# --- The judged values ---


def values(model):
    return {k: p.detach().clone() for k, p in model.named_parameters()}


def rebuild(params, o):
    dtype = next(iter(params.values())).dtype
    model = Gpt(o.config).to(dtype)
    model.load_state_dict(params)
    return model


def evaluate(params, tokens, targets, o):
    """Everything that one forward and one backward pass give, under the names of the file."""
    model = rebuild(params, o)
    logits, residuals = model(tokens)
    loss = loss_of(logits, targets)
    loss.backward()
    out = {f"residual.{i}": r.detach() for i, r in enumerate(residuals)}
    out |= {"logits": logits.detach(), "loss": loss.detach()}
    return out | {f"grad.{k}": p.grad.clone() for k, p in model.named_parameters()}


def is_void(name, c):
    """Whether the key's part of this tensor is a gradient that is zero but for rounding."""
    return name.startswith("grad") and name.endswith("c_attn.bias") and key_bias_is_void(c)


def distance(name, got, want, c):
    """|got - want| / |want|; without the key bias's gradient where that is zero."""
    got, want = got.double(), want.double()
    if is_void(name, c):
        got, want = (torch.cat(x.split(parts(name, c))[::2]) for x in (got, want))
    return ((got - want).norm() / want.norm()).item()


def bf16_errors(params, judged, tokens, targets, o):
    """How far autocast's bf16 is from the judged values, as metadata."""
    def each_loss(logits):
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")

    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = evaluate(params, tokens, targets, o)
        losses = each_loss(rounded["logits"]).double()
    errors = {f"bf16.{k}": distance(k, rounded[k], t, o.config) for k, t in judged.items()
              if k not in ("loss", "residual.0")}
    difference = (losses - each_loss(judged["logits"]))[targets.flatten() != IGNORED]
    errors["bf16.loss"] = (difference.square().mean().sqrt() / judged["loss"]).item()
    for key, error in errors.items():
        print(f"  {key:40} {error:.1e}")
    return {k: f"{v:.6g}" for k, v in errors.items()}


def draw_batch(o, generator):
    rows = torch.randint(o.config["vocab_size"], (o.batch, o.seq_len + 1), generator=generator)
    tokens, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    if o.ignore:
        out = torch.rand(targets.shape, generator=generator) < o.ignore
        out.view(-1)[0] = True  # at least one
        out.view(-1)[-1] = False
        targets[out] = IGNORED
    return tokens, targets


def in_file_layout(name, tensor):
    if not torch.is_floating_point(tensor):
        return tensor.to(torch.int32).contiguous()
    if name.endswith(TRANSPOSED):
        tensor = tensor.T
    return tensor.to(torch.float32).contiguous()


# --- The self-check ---


def worst(name, got, want, c):
    """max|got - want| / max|want|; of the parts of fused tensors apart, a key bias's gradient that is zero on the scale
    of the query's."""
    rows = parts(name, c)
    pairs = zip(got.split(rows), want.split(rows)) if rows else [(got, want)]
    errors = [((g.double() - w.double()).abs().max().item(), w.abs().max().item()) for g, w in pairs]
    if is_void(name, c):
        errors[1] = (errors[1][0], errors[0][1])
    return max(error / scale if scale else float(error > 0) for error, scale in errors)


def kind(name):
    parts = [p for p in name.split(".") if not p.isdigit() and p != "h"]
    return ".".join(parts)


def print_errors(title, got, want, c):
    print(title)
    kinds = {}
    for name, tensor in want.items():
        kinds[kind(name)] = max(kinds.get(kind(name), 0.0), worst(name, got[name], tensor, c))
    for name, error in kinds.items():
        print(f"  {name:32} {error:.1e}")


def single(tensors):
    return {k: t.float() for k, t in tensors.items()}


# --- The command ---


def add_model_options(p):
    """--layers and all others of model.py's FIELDS, each under its key in config.json."""
    usual = {"n_layer": 2, "n_head": 3, "n_embd": 12, "vocab_size": 37}
    for option, key, kind, words in FIELDS:
        if isinstance(kind, dict):
            p.add_argument(f"--{option}", dest=key, choices=kind, default=next(iter(kind)), help=words)
        else:
            words += " (T unless given)" if key == "n_positions" else ""
            p.add_argument(f"--{option}", dest=key, type=kind, default=usual.get(key, 0), metavar="N", help=words)


def config_of(o):
    """The model's part of the options, as in config.json."""
    values = ((key, kind, getattr(o, key)) for _, key, kind, _ in FIELDS)
    return {key: kind[value] if isinstance(kind, dict) else value for key, kind, value in values}


def options():
    p = argparse.ArgumentParser(
        description="Makes a reference file for test_gpt: a GPT in plain PyTorch, its logits, gradients and N "
        "optimizer steps, computed in fp64.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("out", type=Path, metavar="OUT", help="the safetensors file to write")
    add_model_options(p)
    p.add_argument("--seq-len", type=int, default=11, metavar="T", help="length of the batch's sequences")
    p.add_argument("--batch", type=int, default=3, metavar="B", help="sequences in the batch")
    p.add_argument("--steps", type=int, default=10, metavar="N", help="optimizer steps; 0 leaves them out")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--ignore", type=float, nargs="?", const=0.2, default=0.0, metavar="SHARE",
                   help="share of the targets that are -1, left out of the loss; 0.2 when no number follows")
    p.add_argument("--fp32", action="store_true", help="compute in fp32 instead of fp64")
    p.add_argument("--bf16", action="store_true", help="record the errors of PyTorch's own bf16")
    p.add_argument("--step-gradients-mb", type=float, default=64, metavar="MB",
                   help="leave the gradients of the steps out when they would take more than this")
    p.add_argument("--adamw-lr", type=float, default=1e-3)
    p.add_argument("--adamw-beta1", type=float, default=0.9)
    p.add_argument("--adamw-beta2", type=float, default=0.95)
    p.add_argument("--adamw-eps", type=float, default=1e-8)
    p.add_argument("--adamw-weight-decay", type=float, default=0.1, help="of matrices and embeddings")
    p.add_argument("--muon-lr", type=float, default=0.02)
    p.add_argument("--muon-momentum", type=float, default=0.95)
    p.add_argument("--muon-weight-decay", type=float, default=0.05)
    p.add_argument("--muon-ns-steps", type=int, default=5)
    o = p.parse_args()
    o.n_positions = o.n_positions or o.seq_len
    if o.seq_len == 1 and o.steps:
        p.error("--seq-len 1 wants --steps 0: a lone position gives q and k no gradient, and Muon would scale noise")
    if o.n_positions < o.seq_len:
        p.error(f"--most-positions {o.n_positions} are fewer than --seq-len {o.seq_len}")
    try:
        o.config = resolve(config_of(o))
    except ValueError as error:
        p.error(str(error))
    return o


def as_text(value):
    """As the C program writes it."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.15g}" if float(f"{value:.15g}") == value else f"{value:.17g}"


def metadata(o, with_gradients):
    config = {"B": o.batch, "T": o.seq_len, "N": o.steps, "seed": o.seed,
              "step_gradients": int(with_gradients), "computed_in": "fp32" if o.fp32 else "fp64",
              "adamw.lr": o.adamw_lr, "adamw.beta1": o.adamw_beta1, "adamw.beta2": o.adamw_beta2,
              "adamw.eps": o.adamw_eps, "adamw.weight_decay": o.adamw_weight_decay,
              "muon.lr": o.muon_lr, "muon.momentum": o.muon_momentum, "muon.weight_decay": o.muon_weight_decay,
              "muon.eps": MUON_EPS, "muon.ns_steps": o.muon_ns_steps, "torch": torch.__version__.split("+")[0],
              "command": "python dev/reference/reference.py " + " ".join(sys.argv[1:])}
    return {k: as_text(v) for k, v in (stored(o.config) | config).items()}


def steps_of(name, start, batches, o, with_gradients):
    """The file's part of one optimizer's closed loop."""
    losses, grads, after = train(name, start, batches, o)
    out = {f"after.{name}.{k}": t for k, t in after.items()}
    for i, loss in enumerate(losses):
        out[f"step.{i}.{name}.loss"] = loss
        if with_gradients:
            out |= {f"step.{i}.{name}.grad.{k}": g for k, g in grads[i].items()}
    fed = train(name, single(start), batches, o, fed=grads)[2]
    print_errors(f"{name}: fp32 fed the same gradients, after {o.steps} steps, of each tensor's scale", fed, after,
                 o.config)
    return out


def main():
    o = options()
    torch_muon._zeropower_via_newtonschulz = newton_schulz
    generator = torch.Generator().manual_seed(o.seed)
    model = Gpt(o.config)
    draw_parameters(model, generator)
    params = values(model)
    start = params if o.fp32 else {k: t.double() for k, t in params.items()}

    out = {f"param.{k}": t for k, t in params.items()}
    out["tokens"], out["targets"] = draw_batch(o, generator)
    judged = evaluate(start, out["tokens"], out["targets"], o)
    print_errors("fp32 against fp64, of each tensor's scale",
                 evaluate(params, out["tokens"], out["targets"], o),
                 evaluate({k: t.double() for k, t in params.items()}, out["tokens"], out["targets"], o), o.config)
    out |= judged

    batches = [draw_batch(o, generator) for _ in range(o.steps)]
    for i, (tokens, targets) in enumerate(batches):
        out |= {f"step.{i}.tokens": tokens, f"step.{i}.targets": targets}
    parameters = sum(t.numel() for t in params.values())
    with_gradients = 2 * o.steps * 4 * parameters <= o.step_gradients_mb * 1e6
    if o.steps:
        for name in ("adamw", "muon"):
            out |= steps_of(name, start, batches, o, with_gradients)

    facts = metadata(o, with_gradients)
    if o.bf16:
        facts |= bf16_errors(params, judged, out["tokens"], out["targets"], o)
    save_file({k: in_file_layout(k, t) for k, t in out.items()}, o.out, metadata=facts)
    print(f"{o.out}: {parameters} parameters, {len(out)} tensors, {o.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
