#!/usr/bin/env python3
"""Holds checkpoints against Hugging Face's transformers, both ways, and our own model type against model.py.

    python dev/reference/huggingface.py TRAIN_GPT WRITE_REFERENCE CONVERT_LLMC FOLDER

For each class, a model that TRAIN_GPT has written is loaded by transformers, and a random one that transformers has
written is loaded by us; WRITE_REFERENCE computes the logits of our side. Then come other forms in which transformers
writes a model: several files, half types (against the same rounded weights in fp32), pickled weights (converted by the
line that our refusal gives), and llm.c's files, between which and directories CONVERT_LLMC converts; and models that
went from transformers to us, were trained for 20 steps, and went back. Prints the largest difference of each, relative to
the largest logit, and exits with 1 unless all are below 1e-4.
"""

import math
import struct
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

import llmc
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

# Name, number type, configuration of a random GPT-2, options of save_pretrained
SIZES = dict(n_embd=48, n_layer=2, n_head=3, vocab_size=97, n_positions=40)
FORMS = (
    ("fp16", torch.float16, {}, {}),
    ("bf16", torch.bfloat16, {}, {}),
    ("untied", torch.float32, dict(tie_word_embeddings=False), {}),
    ("sharded", torch.float32, {}, dict(max_shard_size="60KB")),
    ("sharded, bf16, untied", torch.bfloat16, dict(tie_word_embeddings=False), dict(max_shard_size="60KB")),
    ("sharded, larger", torch.float32, dict(n_embd=96, n_inner=200), dict(max_shard_size="200KB")),
    ("scores not scaled", torch.float32, dict(scale_attn_weights=False), {}),
    ("scores upcast", torch.float32, dict(reorder_and_upcast_attn=True, attn_implementation="eager"), {}),
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


def read_forms(writer, folder):
    """The difference of each form, by name."""
    for name, dtype, config, how in FORMS:
        out = Path(folder) / name.replace(" ", "-").replace(",", "")
        run("rm", "-rf", out)
        theirs = make_random("GPT2", SIZES | config).to(dtype)
        theirs.save_pretrained(out, **how)
        assert (len(list(out.glob("*.safetensors"))) > 1) == bool(how), sorted(out.iterdir())
        yield name, difference(writer, out, out / "read.safetensors", theirs.float())
    yield "pickled, converted", convert_pickled(writer, Path(folder) / "pickled")


def convert_pickled(writer, out):
    run("rm", "-rf", out, f"{out}-converted")
    theirs = make_random("GPT2", SIZES)
    theirs.save_pretrained(out)
    (out / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), out / "pytorch_model.bin")
    said = subprocess.run([writer, out / "none", out, "40", "2"], capture_output=True, text=True).stderr
    exec(said[said.index("from transformers"):], {})
    return difference(writer, f"{out}-converted", out / "read.safetensors", theirs)


def train_theirs(program, writer, folder):
    """Name and differences of a GPT-2 that transformers wrote in each type: as we read it, and after 20 steps of ours as
    transformers reads it."""
    shard = folder / "tokens.bin"
    tokens = torch.randint(97, (4000,), generator=torch.Generator().manual_seed(1)).tolist()
    shard.write_bytes(struct.pack("<256i", 20240520, 1, len(tokens), *[0] * 253) + struct.pack("<4000H", *tokens))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        name = f"trained from {str(dtype).removeprefix('torch.')}"
        out = folder / name.replace(" ", "-")
        run("rm", "-rf", out)
        theirs = make_random("GPT2", SIZES).to(dtype)
        theirs.save_pretrained(out / "theirs")
        run(program, "--model", out / "theirs", "--train", shard, "--val", shard, "--steps", 20, "--batch-size", 4,
            "--out", out / "run")
        written = out / "run" / "step_000020"
        with safe_open(written / "model.safetensors", "pt") as file:
            assert file.metadata() == {"format": "pt"}, file.metadata()
        loaded = transformers.AutoModelForCausalLM.from_pretrained(written).eval()
        moved = max((a - b).abs().max().item() for a, b in zip(loaded.parameters(), theirs.float().parameters()))
        assert moved > 1e-3, "20 steps have changed nothing"
        yield (name, difference(writer, written, out / "written.safetensors", loaded),
               difference(writer, out / "theirs", out / "read.safetensors", theirs.float()))


def in_llmc_layout(model):
    """The parameters of transformers' GPT-2 by our names, matrices fan-out x fan-in."""
    return {k.removeprefix("transformer."): t.T if k.endswith(own.TRANSPOSED) else t
            for k, t in model.named_parameters()}


@torch.no_grad()
def from_llmc(path, config):
    tensors, heads = llmc.read_model(path)
    assert heads == config.n_head, heads
    model = transformers.GPT2LMHeadModel(config).eval()
    for name, p in in_llmc_layout(model).items():
        p.copy_(tensors[name])
    return model


def convert_llmc(writer, converter, folder):
    """Name and differences of what we write and read, in each of llm.c's number types."""
    for dtype in llmc.VERSIONS:
        out = folder / f"llmc-{dtype}"
        run("rm", "-rf", out)
        out.mkdir()
        theirs = make_random("GPT2", SIZES)
        theirs.save_pretrained(out / "theirs")
        run(converter, "--dtype", dtype, out / "theirs", out / "written.bin")
        written = from_llmc(out / "written.bin", theirs.config)
        if dtype == "bf16":
            theirs = theirs.bfloat16().float()
        llmc.write_model(out / "theirs.bin", in_llmc_layout(theirs), theirs.config.n_head, dtype)
        run(converter, out / "theirs.bin", out / "read")
        yield (f"llm.c, {dtype}", *(difference(writer, out / "read", out / "read.safetensors", m)
                                    for m in (written, theirs)))


def main():
    program, writer, converter, folder = sys.argv[1:5]
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
    for name, error in read_forms(writer, folder):
        print(f"{name:24} {'':9} {error:9.1e}")
        worst = max(worst, error)
    for name, *errors in [*train_theirs(program, writer, Path(folder)), *convert_llmc(writer, converter, Path(folder))]:
        print(f"{name:24} " + " ".join(f"{e:9.1e}" for e in errors))
        worst = max([worst, *errors])
    ok = worst <= BOUND
    print(f"{'ok' if ok else 'FAIL'}: the largest difference is {worst:.1e}, the bound {BOUND:.0e}")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
