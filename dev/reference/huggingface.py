#!/usr/bin/env python3
"""Holds checkpoints against Hugging Face's transformers, both ways, and our own model type against model.py.

    python dev/reference/huggingface.py TRAIN_GPT WRITE_REFERENCE FOLDER

For each class, a model that TRAIN_GPT has written is loaded by transformers, and a random one that transformers has
written is loaded by us; WRITE_REFERENCE computes the logits of our side. Prints the largest difference of each, relative
to the largest logit, and exits with 1 unless all are below 1e-4.
"""

import math
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

import model as own

BOUND = 1e-4
LLAMA = "--norm rmsnorm --positions rotary --activation swiglu --mlp-bias off"

# Name, class, options of train_gpt, configuration of a random model of transformers
CASES = (
    ("gpt2", "GPT2", "", dict(n_embd=48, n_layer=2, n_head=3, vocab_size=97, n_positions=40)),
    ("gpt2, other choices", "GPT2", "--activation relu2 --mlp-width 100 --head untied --norm-eps 1e-4",
     dict(n_embd=48, n_layer=2, n_head=3, vocab_size=97, n_positions=40, n_inner=50, activation_function="silu",
          layer_norm_epsilon=1e-3, tie_word_embeddings=False)),
    ("llama", "Llama", f"{LLAMA} --attention-bias none --head untied --kv-heads 2",
     dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
          vocab_size=97, max_position_embeddings=64)),
    ("llama, other choices", "Llama", f"{LLAMA.replace(' --mlp-bias off', '')} --rotary-base 500 --norm-eps 1e-4",
     dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6, vocab_size=97,
          max_position_embeddings=64, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-3,
          rope_parameters={"rope_type": "default", "rope_theta": 777.0})),
    ("qwen3", "Qwen3", f"{LLAMA} --attention-bias none --qk-norm gain --kv-heads 1",
     dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3,
          head_dim=8, vocab_size=97, max_position_embeddings=64)),
    ("track 3", None, "--norm rmsnorm --positions rotary-half --qk-norm on --attention-scale .12 --activation relu2 "
     "--head untied-bias --softcap sqrt --embed-norm on", None),
    ("record 2", None, "--norm rmsnorm-no-gain --positions rotary --attention-bias none --mlp-bias off "
     "--value-scale .3 --activation gelu-exact", None),
    ("odd", None, "--norm layernorm-no-bias --positions none --qk-norm gain --attention-bias qkv --kv-heads 2 "
     "--head untied --softcap tanh --softcap-limit 4", None),
)


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr or done.stdout}")


def difference(writer, folder, file, model):
    """Of the logits that our program and `model` find for the checkpoint in `folder`."""
    run(writer, file, folder, 40, 2)
    ours = load_file(file)
    with torch.no_grad():
        theirs = model(ours["tokens"].long())
    theirs = theirs.logits if hasattr(theirs, "logits") else theirs[0]
    want = theirs.reshape(-1, theirs.shape[-1]).double()
    error = ((ours["logits"].reshape(want.shape).double() - want).abs().max() / want.abs().max()).item()
    return error if math.isfinite(error) else math.inf  # max() would pass over a NaN


@torch.no_grad()
def make_random(class_name, config):
    model = getattr(transformers, f"{class_name}{'LMHead' if class_name == 'GPT2' else 'ForCausalLM'}"
                    + ("Model" if class_name == "GPT2" else ""))
    torch.manual_seed(1)
    model = model(getattr(transformers, f"{class_name}Config")(**config)).eval()
    for p in model.parameters():
        p.add_(torch.randn_like(p) * 0.1)
    return model


def main():
    program, writer, folder = sys.argv[1:4]
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    worst = 0.0
    print(f"transformers {transformers.__version__}\n{'':24} {'we write':>9} {'we read':>9}")
    for name, class_name, options, config in CASES:
        out = Path(folder) / name.replace(" ", "-").replace(",", "")
        run("rm", "-rf", out)
        run(program, *options.split(), "--layers", 2, "--width", 64, "--seq-len", 64, "--steps", 5, "--lr", 0.1,
            "--aux-lr", 0.1, "--warmup", 0, "--val-every", 0, "--sample-every", 0, "--out", out)
        written = out / "step_000005"
        loaded = transformers.AutoModelForCausalLM.from_pretrained(written).eval() if class_name else own.load(written)
        errors = [difference(writer, written, out / "ours.safetensors", loaded)]
        if class_name:
            assert type(loaded).__name__.startswith(class_name), type(loaded)
            theirs = make_random(class_name, config)
            theirs.save_pretrained(out / "theirs")
            errors.append(difference(writer, out / "theirs", out / "read.safetensors", theirs))
        print(f"{name:24} " + " ".join(f"{e:9.1e}" for e in errors))
        worst = max([worst, *errors])
    ok = worst <= BOUND
    print(f"{'ok' if ok else 'FAIL'}: the largest difference is {worst:.1e}, the bound {BOUND:.0e}")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
