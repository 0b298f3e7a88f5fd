#!/bin/sh
# bench.sh BENCH [options]: runs the benchmark, next to PyTorch if a Python with torch is found ($PYTHON, or the
# environment that `make reference` created).
bench=$1
shift
python=$(dev/python.sh --find torch) && export BENCH_TORCH="$python dev/bench/bench_torch.py"
exec "$bench" "$@"
