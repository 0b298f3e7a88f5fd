#!/usr/bin/env python3
"""Turns shards of GPT-2 tokens back into text, for byte models.

    python dev/ladder/decode.py ENCODER.json SHARD... > TEXT

ENCODER.json is GPT-2's vocabulary. Each <|endoftext|> becomes a form feed.
"""

import json
import struct
import sys
from array import array
from pathlib import Path


def byte_of_character():
    """GPT-2's vocabulary writes each byte as a printable character: itself, or else one from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def main():
    byte = byte_of_character()
    words = {i: bytes(byte[c] for c in word) for word, i in json.loads(Path(sys.argv[1]).read_text()).items()
             if word != "<|endoftext|>"}
    words[50256] = b"\f"
    for name in sys.argv[2:]:
        data = Path(name).read_bytes()
        magic, version, count = struct.unpack("<3i", data[:12])
        if (magic, version) != (20240520, 1):
            sys.exit(f"{name}: not a shard of GPT-2 tokens")
        tokens = array("H", data[1024:1024 + 2 * count])
        sys.stdout.buffer.write(b"".join(map(words.__getitem__, tokens)))


if __name__ == "__main__":
    main()
