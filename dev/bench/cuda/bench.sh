#!/bin/sh
# bench.sh BENCH [options of BENCH]: what `make bench-gpu` runs: the compiler's report on every kernel, the kernels and
# the training steps of gpt2 124M with BENCH, the rivals in PyTorch if a Python with torch is found, and at the end
# the targets next to what was measured. Without a GPU the parts that need one say so and only count.
bench=$1
shift
here=$(dirname "$0")
numbers=$(mktemp) || exit 1
trap 'rm -f "$numbers"' EXIT
trap 'exit 1' HUP INT TERM

# The last value of a name in the numbers, or the default given.
number() {
    awk -v name="$1" -v value="$2" '$1 == name { value = $2 } END { print value }' "$numbers"
}

"$here/report.sh" --short || exit 1
"$bench" kernels step "$@" --numbers "$numbers" || exit 1

echo
if python=$("$here/../python.sh" --find torch); then
    "$python" "$here/bench_torch.py" --batch "$(number adamw/batch 256)" \
        --attention-batch "$(number kernels_batch 16)" --numbers "$numbers" || echo "PyTorch's rivals failed"
else
    echo "Not timed, PyTorch's rivals: there is no Python with torch"
fi
# Memory is compared at equal micro-batches.
torch_batch=$(number torch/batch "")
if [ -n "$torch_batch" ] && [ "$torch_batch" != "$(number adamw/batch "")" ]; then
    same=$(mktemp) || exit 1
    "$bench" step "$@" --optimizer adamw --batch "$torch_batch" --numbers "$same" &&
        sed -n 's/^adamw\/bytes/same_batch\/bytes/p' "$same" >> "$numbers"
    rm -f "$same"
fi

echo
"$here/ratios.sh" "$numbers"
