#!/bin/sh
# bench_tokenizer.sh PROGRAM TABLES TEXT: the tokenizer's speed on a text and on this project's own code, next to
# others' if a Python with tiktoken is found. TABLES is a folder with GPT-2's encoder.json and vocab.bpe, which are not
# part of the project, and neither is the text.
program=$1 tables=$2 text=$3
[ -n "$tables" ] && [ -n "$text" ] ||
    { echo "make bench-tokenizer TABLES=FOLDER TEXT=FILE: GPT-2's encoder.json and vocab.bpe, and a text" >&2; exit 2; }
code=$(mktemp -d)/code || exit 1
trap 'rm -rf "${code%/code}"' EXIT
git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.py' '*.sh' | xargs cat > "$code"
if python=$(dev/python.sh --find tiktoken); then
    "$python" dev/bench/bench_tokenizer.py "$program" "$tables" "$text" "$code"
else
    [ -f "$tables/encoder.json" ] || tables=$tables/gpt2_encoder.json
    "$program" "$tables" "$text" "$code"
fi
