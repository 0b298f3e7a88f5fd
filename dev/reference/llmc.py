#!/usr/bin/env python3
"""llm.c's files, written and read here from their description (train/llmc.h, dev/reference/llmc_state.h) and not with the C
code: model.py's Gpt, in the fp32 that llm.c's own train_gpt2.py computes in, as a model file and a debug state.

    python dev/reference/llmc.py MODEL.bin STATE.bin [--layers L --heads NH --width C --vocab V --positions N --batch B
        --seq-len T --seed S --dtype fp32|bf16]

The tests' files are dev/tests/llmc_model.bin and llmc_state.bin, of the default sizes. With --dtype bf16 the model's
parameters are rounded before anything is computed.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from model import Gpt, resolve

import reference

PADDING = 128
VERSIONS = {"fp32": 3, "bf16": 5}
BLOCK = ("ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias",
         "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias")


def names(layers):
    """The parameters in llm.c's order."""
    return ["wte.weight", "wpe.weight", *(f"h.{i}.{kind}" for kind in BLOCK for i in range(layers)), "ln_f.weight",
            "ln_f.bias"]


def header(*numbers):
    return np.array(numbers + (0,) * (256 - len(numbers)), dtype="<i4").tobytes()


def write_values(file, tensors, layers, dtype):
    """Tensors by name, matrices fan-out x fan-in."""
    for name in names(layers):
        t = tensors[name].detach().float()
        if name == "wte.weight":
            t = F.pad(t, (0, 0, 0, -len(t) % PADDING))
        if dtype == "bf16":
            file.write(t.bfloat16().contiguous().view(torch.int16).numpy().astype("<i2").tobytes())
        else:
            file.write(t.contiguous().numpy().astype("<f4").tobytes())


def write_model(path, tensors, heads, dtype="fp32"):
    V, C = tensors["wte.weight"].shape
    layers = sum(name.endswith("ln_1.weight") for name in tensors)
    with open(path, "wb") as file:
        file.write(header(20240326, VERSIONS[dtype], len(tensors["wpe.weight"]), V, layers, heads, C,
                          V + -V % PADDING))
        write_values(file, tensors, layers, dtype)


def write_state(path, tokens, targets, logits, loss, gradients, layers):
    with open(path, "wb") as file:
        file.write(header(20240327, 2, *tokens.shape))
        for t in (tokens, targets):
            file.write(t.numpy().astype("<i4").tobytes())
        for t in (logits, loss):
            file.write(t.detach().numpy().astype("<f4").tobytes())
        write_values(file, gradients, layers, "fp32")


def read_model(path):
    """The tensors of a model file by name, in fp32 and without padding, and its number of heads."""
    data = open(path, "rb").read()
    magic, version, T, V, layers, heads, C, padded = np.frombuffer(data[:32], "<i4").tolist()
    assert magic == 20240326 and padded % PADDING == 0, (magic, padded)
    if version == 3:
        values = torch.tensor(np.frombuffer(data[1024:], "<f4"))
    else:
        values = torch.tensor(np.frombuffer(data[1024:], "<i2")).view(torch.bfloat16).float()
    shapes = {"wte.weight": (padded, C), "wpe.weight": (T, C), "attn.c_attn.weight": (3 * C, C),
              "attn.c_attn.bias": (3 * C,), "attn.c_proj.weight": (C, C), "mlp.c_fc.weight": (4 * C, C),
              "mlp.c_fc.bias": (4 * C,), "mlp.c_proj.weight": (C, 4 * C)}
    tensors = {}
    for name in names(layers):
        shape = shapes.get(name.split(".", 2)[-1] if name.startswith("h.") else name, (C,))
        n = int(np.prod(shape))
        tensors[name], values = values[:n].view(shape), values[n:]
    assert len(values) == 0, f"{len(values)} values are left"
    assert not tensors["wte.weight"][V:].any(), "the padding is not 0"
    tensors["wte.weight"] = tensors["wte.weight"][:V]
    return tensors, heads


def main():
    p = argparse.ArgumentParser(description="Writes a random GPT-2 and what PyTorch computes with it as llm.c's files.",
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("model")
    p.add_argument("state")
    for option, usual in (("layers", 2), ("heads", 3), ("width", 12), ("vocab", 37), ("positions", 13), ("batch", 3),
                          ("seq-len", 11), ("seed", 1)):
        p.add_argument(f"--{option}", type=int, default=usual)
    p.add_argument("--dtype", choices=VERSIONS, default="fp32")
    o = p.parse_args()
    generator = torch.Generator().manual_seed(o.seed)
    model = Gpt(resolve(dict(n_layer=o.layers, n_head=o.heads, n_embd=o.width, vocab_size=o.vocab,
                             n_positions=o.positions)))
    reference.draw_parameters(model, generator)
    if o.dtype == "bf16":
        model.bfloat16().float()
    rows = torch.randint(o.vocab, (o.batch, o.seq_len + 1), generator=generator)
    tokens, targets = rows[:, :-1], rows[:, 1:]
    logits = model(tokens)[0]
    loss = reference.loss_of(logits, targets)
    loss.backward()
    tensors = dict(model.named_parameters())
    write_model(o.model, tensors, o.heads, o.dtype)
    write_state(o.state, tokens, targets, logits, loss, {k: t.grad for k, t in tensors.items()}, o.layers)
    print(f"{o.model}, {o.state}: loss {loss.item():.6f}")


if __name__ == "__main__":
    main()
