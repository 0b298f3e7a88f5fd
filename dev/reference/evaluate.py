#!/usr/bin/env python3
"""Holds --eval against the same computed in PyTorch, item by item.

    python dev/reference/evaluate.py TRAIN_GPT FOLDER

Makes in FOLDER a random GPT-2 by transformers with the tiny vocabulary of dev/tests/tokenizer, multiple-choice items in
HellaSwag's form and a shard of tokens; evaluates all with TRAIN_GPT and here: transformers' model, one row at a time, and
Hugging Face's tokenizers. Exits with 1 unless accuracy and normalised accuracy are equal to the last item and the loss,
perplexity and bits a byte within 1e-6.
"""

import json
import math
import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers

TABLES = Path("dev/tests/tokenizer")
WORDS = ("the cat sat on a mat and it was a fine day in Rome; they're not 12 or 345 years old, though  she said so . "
         "ünïcödé naïve 中文 \U0001f600 x\ty").split(" ")
ITEMS, T = 300, 40


def make_items(path, draw):
    items = []
    for i in range(ITEMS):
        phrase = lambda least, most: " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, most))) or "a"
        items.append({"ind": i, "ctx": phrase(1, 9), "endings": [phrase(1, 6) for _ in range(4)], "label": i % 4})
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return items


def make_model(folder, vocabulary):
    torch.manual_seed(4)
    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=vocabulary, n_positions=T)
    model = transformers.GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    model.float().save_pretrained(folder)
    return model.double()


@torch.no_grad()
def losses_of(model, tokens):
    """-log p of tokens[1:], each from those before it."""
    logits = model(torch.tensor([tokens[:-1]])).logits[0]
    return F.cross_entropy(logits, torch.tensor(tokens[1:]), reduction="none").tolist()


def score(model, tokenizer, items):
    """Right items by sum and by mean over the ending's tokens; a row longer than the model keeps its end."""
    right = right_mean = 0
    for item in items:
        context, sums, means = tokenizer.encode(item["ctx"]).ids, [], []
        for ending in item["endings"]:
            ids = tokenizer.encode(" " + ending).ids
            losses = losses_of(model, (context + ids)[-(T + 1):])[-len(ids):]
            sums.append(sum(losses))
            means.append(sum(losses) / len(losses))
        right += sums.index(min(sums)) == item["label"]
        right_mean += means.index(min(means)) == item["label"]
    return right / len(items), right_mean / len(items)


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    from tokenizers import ByteLevelBPETokenizer
    tokenizer = ByteLevelBPETokenizer(str(TABLES / "vocab.json"), str(TABLES / "merges.txt"))
    draw = random.Random(7)
    items = make_items(folder / "items.jsonl", draw)
    model = make_model(folder / "model", tokenizer.get_vocab_size())
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(TABLES / name, folder / "model")
    tokens = tokenizer.encode(" ".join(draw.choice(WORDS) for _ in range(700))).ids
    (folder / "shard.bin").write_bytes(struct.pack("<256i", 20240520, 1, len(tokens), *[0] * 253)
                                       + struct.pack(f"<{len(tokens)}H", *tokens))
    done = subprocess.run([program, "--model", folder / "model", "--steps", "0", "--sample-tokens", "1", "--batch-size",
                           "5", "--eval", f"hellaswag={folder}/items.jsonl,shards={folder}/shard.bin"],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    number = r"([0-9.e+-]+)"
    ours = re.search(rf"{number} accuracy, {number} normalised", done.stdout).groups()
    ours += re.search(rf"{number} nats a token, perplexity {number}, {number} bits a byte", done.stdout).groups()
    windows = [losses_of(model, tokens[i:i + T + 1]) for i in range(0, len(tokens) - 1, T)]
    loss = sum(map(sum, windows)) / (len(tokens) - 1)
    size = len(tokenizer.decode(tokens[1:]).encode())
    theirs = (*score(model, tokenizer, items), loss, math.exp(loss), loss * (len(tokens) - 1) / math.log(2) / size)
    ok = True
    for name, got, want, bound in zip(("accuracy", "normalised", "loss", "perplexity", "bits a byte"), ours, theirs,
                                      (5e-5, 5e-5, 1e-6, 5e-3, 1e-6)):
        fine = abs(float(got) - want) <= bound * max(1, abs(want))
        print(f"{name:12} {float(got):.6f}  PyTorch {want:.6f}  {'ok' if fine else 'FAIL'}")
        ok = ok and fine
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
