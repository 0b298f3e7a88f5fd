"""tokenizer.py golden
    writes dev/tests/tokenizer: a tiny vocabulary in three forms, and strings with tiktoken's ids
tokenizer.py judge PROGRAM TABLES [COUNT]
    of COUNT random strings, PROGRAM (encode_strings) must give tiktoken's ids

TABLES is a folder with GPT-2's encoder.json and vocab.bpe, or gpt2_encoder.json and gpt2_vocab.bpe.
"""
import base64
import collections
import json
import os
import random
import re
import struct
import subprocess
import sys

import tiktoken
from tiktoken_ext.openai_public import r50k_pat_str

END = "<|endoftext|>"
FOLDER = "dev/tests/tokenizer"

# --- GPT-2's files ---

PRINT = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
REST = [byte for byte in range(256) if byte not in PRINT]
CHARACTER = {**{byte: chr(byte) for byte in PRINT}, **{byte: chr(256 + i) for i, byte in enumerate(REST)}}
BYTE = {character: byte for byte, character in CHARACTER.items()}


def shown(token):
    return "".join(CHARACTER[byte] for byte in token)


def make_encoding(ranks):
    return tiktoken.Encoding("judge", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={END: len(ranks)})


def read_tables(folder):
    prefix = "gpt2_" if os.path.exists(f"{folder}/gpt2_encoder.json") else ""
    with open(f"{folder}/{prefix}encoder.json", encoding="utf-8") as file:
        vocabulary = json.load(file)
    del vocabulary[END]
    return f"{folder}/{prefix}encoder.json", {bytes(BYTE[c] for c in token): rank for token, rank in vocabulary.items()}


# --- a tiny vocabulary ---

CORPUS = """
The old miller's daughter said that she'd never seen so many boats on the river at once, and they'd all come for the
salt. We've counted 1024 of them; there were 2048 more behind the island, weren't there? I'm sure you'll see the rest.
    for (size_t i = 0; i < n; i++) {
        total += values[i];   // 0.5, 1.5, 2.5
    }
Der Müller sagte: Größe und Stärke zählen nicht. Le garçon a été là-bas. Мельник сказал, что соль дорогая. 塩は高い、と粉屋は言った。
"""


def train(text, merges):
    """Merges the most frequent pair of neighbours in words, of equals the one with the least bytes, again and again."""
    pieces = re.findall(r" ?\w+| ?[^\w\s]+|\s+", text)
    words = collections.Counter(tuple(bytes([b]) for b in piece.encode()) for piece in pieces)
    made = []
    for _ in range(merges):
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        made.append(best)
        joined = collections.Counter()
        for word, count in words.items():
            new, i = [], 0
            while i < len(word):
                step = 2 if word[i:i + 2] == best else 1
                new.append(b"".join(word[i:i + step]))
                i += step
            joined[tuple(new)] += count
        words = joined
    return made


STRINGS = [
    "", " ", "  ", "   ", "\n", "a", " a", "  a", "a ", "a  ", "a   b", "\n\n\nthe", "the\n\n\n", " \n the", "\t\tif",
    "the the  the", "The river's salt", "they'll", "THEY'LL", "we've they're I'd I'm can't she's", "'s's'll'lll",
    "''s", " 's", "'", "'x", "x'", "' s", "1024", "a1b2", " 12 34", "3.14", "\u0663\u0664\u0665", "x\u00b2",
    "\u2167\u2168 \u216b", "!?", " !?", "!? !?", "a!b", "--  --", "/* x */", "M\u00fcller Gr\u00f6\u00dfe",
    "\u00e9t\u00e9 e\u0301te\u0301", "\u041c\u0435\u043b\u044c\u043d\u0438\u043a",
    "\u5869\u306f\u9ad8\u3044\u3001\u3068", "\U0001f600\U0001f601", " \U0001f600 a", "\U0001f469\u200d\U0001f467",
    "a\u00a0b", "a\u00a0\u00a0b", "\u3000\u3000x", "x \u3000 y", "a\u2028b", "a\u0085b", "\ufeffthe", "a\u200bb",
    "\u1680the", "\u0000", "a\u0000\u0000b", "\u007f\u0001", "\ufffe\uffff", "\U00010ffff", "\U00020000\U00031350",
    "\u1c89\u1c8a", "\ua7dc", "\U00010d40\U00010d49", "\u180e \u180e", "\u001c\u001d a", "<|endoftext|>",
    "a<|endoftext|>b", "<|endoftext", "for (size_t i = 0; i < n; i++) {\n        total += values[i];\n    }\n",
    "\r\n\r\n  x\r\n", "the" * 30, "abc" * 40, " " * 70 + "x", "1" * 90, "\u00e9" * 50,
]


def write_golden():
    merges = train(CORPUS, 240)
    tokens = [bytes([byte]) for byte in PRINT + REST] + [left + right for left, right in merges]
    assert len(set(tokens)) == len(tokens)
    encoding = make_encoding({token: rank for rank, token in enumerate(tokens)})
    os.makedirs(FOLDER, exist_ok=True)
    with open(f"{FOLDER}/tiny.tiktoken", "w") as to:
        for rank, token in enumerate(tokens):
            to.write(f"{base64.b64encode(token).decode()} {rank}\n")
    with open(f"{FOLDER}/vocab.json", "w", encoding="utf-8") as to:
        vocabulary = {**{shown(token): rank for rank, token in enumerate(tokens)}, END: len(tokens)}
        json.dump(vocabulary, to, ensure_ascii=False)
        to.write("\n")
    with open(f"{FOLDER}/merges.txt", "w", encoding="utf-8") as to:
        to.write("#version: 0.2\n" + "".join(f"{shown(left)} {shown(right)}\n" for left, right in merges))
    with open(f"{FOLDER}/golden.jsonl", "w") as to:
        for text in STRINGS:
            to.write(json.dumps({"text": text, "ids": encoding.encode_ordinary(text)}, separators=(",", ":")) + "\n")
    print(f"{len(tokens)} tokens, {len(STRINGS)} strings")


# --- random strings ---

RUNS = [
    " ", "\n", "\t ", "a", "zebra", "0", "9", "'", "'s", "!", "\u00e9", "\u5869", "\u0663", "\U0001f600", "\u3000", "\u0000",
]


def random_string(source, words):
    parts = []
    for _ in range(source.randrange(12)):
        kind = source.randrange(10)
        if kind < 3:
            parts.append(source.choice((" ", "", "  ", "\n")) + source.choice(words))
        elif kind < 4:
            parts.append(source.choice(RUNS) * source.randrange(1, 80))
        elif kind < 5:
            parts.append(source.choice(("'s", "'t", "'ll", "'ve", "'re", "'d", "'m", "'S", "'", "''")))
        elif kind < 6:
            parts.append("".join(chr(source.randrange(128)) for _ in range(source.randrange(1, 12))))
        elif kind < 7:
            parts.append("".join(chr(source.randrange(0x3000)) for _ in range(source.randrange(1, 8))))
        else:
            parts.append("".join(any_character(source) for _ in range(source.randrange(1, 6))))
    return "".join(parts)


def any_character(source):
    while True:
        code = source.randrange(source.choice((0x100, 0x3000, 0x10000, 0x110000)))
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def ours(program, tables, strings):
    """The ids of each string, by the program."""
    framed = b"".join(struct.pack("<I", len(text)) + text for text in strings)
    out = subprocess.run([program, tables], input=framed, stdout=subprocess.PIPE, check=True).stdout
    at, lists = 0, []
    while at < len(out):
        (count,) = struct.unpack_from("<I", out, at)
        lists.append(list(struct.unpack_from(f"<{count}I", out, at + 4)))
        at += 4 + 4 * count
    return lists


def compare(program, tables, encoding, strings):
    got = ours(program, tables, [text.encode() for text in strings])
    assert len(got) == len(strings)
    for text, ids in zip(strings, got):
        want = encoding.encode_ordinary(text)
        if ids != want:
            sys.exit(f"tokenizer.py: {text!r}: {ids} instead of {want}")


def judge(program, folder, count):
    tables, ranks = read_tables(folder)
    encoding = make_encoding(ranks)
    every = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    compare(program, tables, encoding, [f"a{c}a{c}{c} {c}1{c} " for c in every])
    print(f"each of {len(every)} code points beside letters, digits and spaces: as tiktoken {tiktoken.__version__}")
    source = random.Random(1)
    words = [token.decode(errors="ignore") for token in ranks]
    for start in range(0, count, 100000):
        compare(program, tables, encoding, [random_string(source, words) for _ in range(min(100000, count - start))])
    print(f"{count} random strings: as tiktoken {tiktoken.__version__}")


if len(sys.argv) == 2 and sys.argv[1] == "golden":
    write_golden()
elif len(sys.argv) in (4, 5) and sys.argv[1] == "judge":
    judge(sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) == 5 else 1000000)
else:
    sys.exit(__doc__)
