#!/bin/sh
# bench.sh BENCH LLMC [options]: runs the benchmark, next to PyTorch if a Python with torch is found ($PYTHON, or the
# environment that `make reference` created), and to llm.c if LLMC, a program or "", is there.
bench=$1
llmc=$2
shift 2
case " $* " in *' --help '*) exec "$bench" --help ;; esac
python=$(dev/python.sh --find torch) && export BENCH_TORCH="$python dev/bench/bench_torch.py" &&
    "$python" -c 'from importlib.metadata import version; print("PyTorch", version("torch"))'
[ -z "$llmc" ] || export BENCH_LLMC="$llmc"
exec "$bench" "$@"
