#!/bin/sh
# tokenizer.sh PROGRAM [TABLES]: the tokenizer against tiktoken, on a million random strings. TABLES is a folder with
# GPT-2's encoder.json and vocab.bpe, which are not part of the project.
[ -n "${2:-}" ] || { echo "make tokenizer-judge TABLES=FOLDER: with GPT-2's encoder.json and vocab.bpe" >&2; exit 2; }
python=$(dev/python.sh tiktoken) || exit 1
exec "$python" dev/reference/tokenizer.py judge "$1" "$2"
