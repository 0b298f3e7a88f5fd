#!/usr/bin/env python3
"""Writes the beginning of GPT-2's tokenizer as one of its own: the bytes, its first merges, and <|endoftext|>.

    python dev/studies/rare/tables.py TABLES SIZE DIR

TABLES has vocab.bpe and encoder.json (data/get tokenizer); the new tokenizer, of SIZE tokens, goes to DIR.
"""

import json
import sys
from pathlib import Path


def main():
    tables, size, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    lines = (tables / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    encoder = json.loads((tables / "encoder.json").read_text(encoding="utf-8"))
    merges = size - 257
    kept = {word: i for word, i in encoder.items() if i < 256 + merges} | {"<|endoftext|>": size - 1}
    out.mkdir(parents=True)
    (out / "vocab.bpe").write_text("\n".join(lines[:1 + merges]) + "\n", encoding="utf-8")
    (out / "encoder.json").write_text(json.dumps(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
