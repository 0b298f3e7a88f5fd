#!/usr/bin/env python3
"""bench_tokenizer.py PROGRAM TABLES TEXT...: this project's tokenizer (PROGRAM: bench_tokenizer) and others'.

Everything runs on one core, one process after the other, and is timed in seconds of CPU time, so that a busy machine
costs all the same; of each the best of ROUNDS. cold: the first pass of a new tokenizer; warm: the next. Others get the
text in pieces of about 256 KiB, as Python's strings or bytes as they like, cut where no token crosses; Hugging Face's
only the first of them, as it takes so long.
"""
import gc
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

ROUNDS, PIECE, SLOW_MOST = 3, 256 << 10, 4 << 20


def make_json(folder, tables):
    """GPT-2's tables as a tokenizer.json."""
    import tokenizers

    prefix = "gpt2_" if os.path.exists(f"{tables}/gpt2_encoder.json") else ""
    model = tokenizers.models.BPE.from_file(f"{tables}/{prefix}encoder.json", f"{tables}/{prefix}vocab.bpe")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.save(f"{folder}/tokenizer.json")
    return f"{folder}/tokenizer.json"


# Each makes a new tokenizer and returns what encodes a piece, and whether it wants bytes.


def make_tiktoken(tables, path):
    import tiktoken
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks
    from tiktoken_ext.openai_public import r50k_pat_str

    prefix = "gpt2_" if os.path.exists(f"{tables}/gpt2_encoder.json") else ""
    ranks = data_gym_to_mergeable_bpe_ranks(f"{tables}/{prefix}vocab.bpe", f"{tables}/{prefix}encoder.json")
    encoding = tiktoken.Encoding("gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})
    return encoding.encode_ordinary, False


def make_tokenizers(tables, path):
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(path)
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids, False


def make_tokie(tables, path):
    import tokie

    tokenizer = tokie.Tokenizer.from_json(path)
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids, False  # encode_bytes does not split


def make_gigatoken(tables, path):
    import gigatoken

    return gigatoken.Tokenizer(path).encode, True


RIVALS = {"tiktoken": make_tiktoken, "tokenizers": make_tokenizers, "tokie": make_tokie, "gigatoken": make_gigatoken}


def pieces_of(data):
    """Cut before a newline behind something that is no white space."""
    pieces, begin = [], 0
    while len(data) - begin > 2 * PIECE:
        found = re.compile(rb"[!-~]\n").search(data, begin + PIECE)
        if not found:
            break
        pieces.append(data[begin:found.start() + 1])
        begin = found.start() + 1
    return pieces + [data[begin:]]


def checksum(lists):
    total = at = 0
    for ids in lists:
        for i in ids:
            at += 1
            total += at * int(i)
    return total % 2**64


def measure(name, tables, path, data):
    """Best cold and warm MB/s, tokens and their checksum."""
    pieces = pieces_of(data)
    if name == "tokenizers":
        pieces = pieces[:max(1, SLOW_MOST // PIECE)]
    size, best = sum(map(len, pieces)), [float("inf")] * 2
    for _ in range(1 if name == "tokenizers" else ROUNDS):
        encode, wants_bytes = RIVALS[name](tables, path)
        given = pieces if wants_bytes else [piece.decode() for piece in pieces]
        for i in range(2):
            gc.collect()
            gc.disable()
            begin = time.process_time()
            lists = [encode(piece) for piece in given]
            best[i] = min(best[i], time.process_time() - begin)
            gc.enable()
    return [1e-6 * size / seconds for seconds in best], sum(map(len, lists)), checksum(lists), size


def ours(program, tables, text):
    prefix = "gpt2_" if os.path.exists(f"{tables}/gpt2_encoder.json") else ""
    command = [program, f"{tables}/{prefix}encoder.json", text]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"(\d+) tokens, checksum (\w+), cold ([\d.]+) MB/s, warm ([\d.]+)", out)
    tokens, check, cold, warm = found.groups()
    return [float(cold), float(warm)], int(tokens), int(check, 16)


def main(program, tables, texts):
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = make_json(folder, tables)
        except ImportError:
            path = None
        for text in texts:
            with open(text, "rb") as file:
                data = file.read().decode(errors="replace").encode()
            copy = os.path.join(folder, "text")
            with open(copy, "wb") as file:
                file.write(data)
            rates, tokens, check = ours(program, tables, copy)
            print(f"{os.path.basename(text)}: {len(data)} bytes, {tokens} tokens")
            print(f"  {'':24}{'cold MB/s':>10}{'warm MB/s':>10}{'ours/cold':>10}{'ours/warm':>10}  ids")
            print(f"  {'train_gpt':24}{rates[0]:10.1f}{rates[1]:10.1f}{1:10.2f}{1:10.2f}", flush=True)
            for name in RIVALS:
                try:
                    version = importlib.metadata.version(name)
                    got, count, other, size = measure(name, tables, path, data)
                except Exception as reason:  # not installed, or it cannot
                    print(f"  {name:24}skipped: {str(reason).splitlines()[0]}")
                    continue
                same = "the same" if (count, other) == (tokens, check) else f"others: {count}"
                same = "part" if size < len(data) else same
                print(f"  {name + ' ' + version:24}{got[0]:10.1f}{got[1]:10.1f}{rates[0] / got[0]:10.2f}"
                      f"{rates[1] / got[1]:10.2f}  {same}", flush=True)


main(sys.argv[1], sys.argv[2], sys.argv[3:])
