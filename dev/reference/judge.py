#!/usr/bin/env python3
"""Makes a reference file of a user's own checkpoint and tokens, with transformers as the judge.

    python dev/reference/judge.py --model DIR --shard FILE [--batch B] [--seq-len T] [--at N] OUT
    ./test_gpt_cpu OUT

DIR is a checkpoint of GPT-2, Llama or Qwen3 (ours or one that transformers wrote), or of our own model_type, which model.py
judges; FILE a shard of tokens. The file is as reference.py's, without optimizer steps: parameters, a batch of the shard
from token N on, residual stream, logits, loss and gradients, computed in fp64. How train_gpt reads config.json and the
weights is judged too: they come from build/write_reference, and what transformers has read must be the same numbers.
`make judge MODEL=DIR SHARD=FILE` does both lines.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import model as own
from reference import evaluate, loss_of

# A kind of tensor of ours, and transformers' that it consists of, in Llama and Qwen3
PARTS = {"wte.weight": ("embed_tokens.weight",),
         "attn.c_attn.weight": tuple(f"self_attn.{x}_proj.weight" for x in "qkv"),
         "attn.c_attn.bias": tuple(f"self_attn.{x}_proj.bias" for x in "qkv"),
         "attn.c_q.weight": ("self_attn.q_proj.weight",),
         "attn.c_kv.weight": ("self_attn.k_proj.weight", "self_attn.v_proj.weight"),
         "attn.q_norm.weight": ("self_attn.q_norm.weight",), "attn.k_norm.weight": ("self_attn.k_norm.weight",),
         "attn.c_proj.weight": ("self_attn.o_proj.weight",), "attn.c_proj.bias": ("self_attn.o_proj.bias",),
         "mlp.c_fc.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
         "mlp.c_fc.bias": ("mlp.gate_proj.bias", "mlp.up_proj.bias"),
         "mlp.c_proj.weight": ("mlp.down_proj.weight",), "mlp.c_proj.bias": ("mlp.down_proj.bias",),
         "ln_1.weight": ("input_layernorm.weight",), "ln_2.weight": ("post_attention_layernorm.weight",),
         "ln_f.weight": ("norm.weight",)}
MAGIC, HEADER = 20240520, 256 * 4


def read_batch(path, at, batch, length):
    header = np.fromfile(path, dtype="<i4", count=3)
    if len(header) < 3 or header[0] != MAGIC or header[1] != 1:
        sys.exit(f"{path}: is not a shard of tokens")
    wanted = batch * length + 1
    if at + wanted > header[2]:
        sys.exit(f"{path}: has {header[2]} tokens; {wanted} from {at} on are more")
    tokens = torch.from_numpy(np.fromfile(path, dtype="<u2", count=wanted, offset=HEADER + 2 * at).astype(np.int64))
    return tokens[:-1].reshape(batch, length), tokens[1:].reshape(batch, length)


def parts_of(name, split):
    """transformers' names of a tensor of ours."""
    if not split:
        return ["lm_head.weight" if name == "lm_head.weight" else "transformer." + name]
    if name == "lm_head.weight":
        return [name]
    layer, kind = "", name
    if name.startswith("h."):
        number, kind = name[2:].split(".", 1)
        layer = f"layers.{number}."
    return [f"model.{layer}{part}" for part in PARTS[kind]]


def joined(tensors, name, split):
    """A tensor of ours in the file's layout, from transformers'."""
    whole = torch.cat([tensors[part] for part in parts_of(name, split)])
    return whole.T if split and name.endswith(own.TRANSPOSED) else whole


def judge_by_transformers(folder, names, tokens, targets):
    """{name in the file: value in fp64}, and the parameters, of a model that transformers knows."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    model.eval()
    split = not hasattr(model, "transformer")
    inner = model.model if split else model.transformer
    residuals = []

    def keep(_, arguments, keywords):
        residuals.append((arguments[0] if arguments else keywords["hidden_states"]).detach())

    for block in [*(inner.layers if split else inner.h), inner.norm if split else inner.ln_f]:
        block.register_forward_pre_hook(keep, with_kwargs=True)
    logits = model(tokens).logits
    loss = loss_of(logits, targets)
    loss.backward()
    parameters = {k: p.detach() for k, p in model.named_parameters()}
    gradients = {k: p.grad for k, p in model.named_parameters()}
    out = {f"residual.{i}": r for i, r in enumerate(residuals)} | {"logits": logits.detach(), "loss": loss.detach()}
    return (out | {f"grad.{name}": joined(gradients, name, split) for name in names},
            {name: joined(parameters, name, split) for name in names})


def judge_by_module(folder, names, tokens, targets):
    """The same of our own model_type, by model.py."""
    model = own.load(folder).double()
    parameters = {k: p.detach() for k, p in model.named_parameters()}
    settings = argparse.Namespace(config=model.config)
    values = evaluate(parameters, tokens, targets, settings)
    in_file = {k: t.T if k.endswith(own.TRANSPOSED) else t for k, t in values.items()}
    return in_file, {k: p.T if k.endswith(own.TRANSPOSED) else p for k, p in parameters.items()}


def options():
    p = argparse.ArgumentParser(description="Makes a reference file of a checkpoint and tokens, for test_gpt.")
    p.add_argument("out", type=Path, metavar="OUT", help="the safetensors file to write")
    p.add_argument("--model", type=Path, required=True, metavar="DIR", help="a checkpoint's directory")
    p.add_argument("--shard", type=Path, required=True, metavar="FILE", help="tokens in llm.c's format")
    p.add_argument("--batch", type=int, default=2, metavar="B")
    p.add_argument("--seq-len", type=int, metavar="T", help="64, or as many as the model takes, unless given")
    p.add_argument("--at", type=int, default=0, metavar="N", help="the first token")
    p.add_argument("--writer", default="build/write_reference", help=argparse.SUPPRESS)
    return p.parse_args()


def main():
    o = options()
    for path in (o.model / "config.json", o.shard):
        if not path.exists():
            sys.exit(f"{path}: there is no such file")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = json.loads((o.model / "config.json").read_text())
    o.seq_len = o.seq_len or min(64, config.get("n_positions") or config.get("max_position_embeddings") or 64)
    tokens, targets = read_batch(o.shard, o.at, o.batch, o.seq_len)
    done = subprocess.run([o.writer, o.out, o.model, str(o.seq_len), str(o.batch)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr.strip() or f"{o.writer} failed")
    with safe_open(o.out, "pt") as file:
        facts = file.metadata()
    ours = {k.removeprefix("param."): t for k, t in load_file(o.out).items() if k.startswith("param.")}
    by_module = config.get("model_type") == "train_gpt"
    values, parameters = (judge_by_module if by_module else judge_by_transformers)(o.model, ours, tokens, targets)
    for name, p in parameters.items():
        if not torch.equal(p.float().flatten(), ours[name].flatten()):
            sys.exit(f"{name}: train_gpt has read other numbers than {'model.py' if by_module else 'transformers'}")
    out = {f"param.{k}": p for k, p in ours.items()} | values
    out = {k: t.float().contiguous() for k, t in out.items()} | {"tokens": tokens.int(), "targets": targets.int()}
    save_file(out, o.out, metadata=facts | {"command": "python dev/reference/judge.py " + " ".join(sys.argv[1:])})
    print(f"{o.out}: {sum(p.numel() for p in ours.values())} parameters, loss {values['loss'].item():.6f} in fp64")


if __name__ == "__main__":
    main()
