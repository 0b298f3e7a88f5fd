#!/bin/sh
# test_bench.sh BENCH: the GPU's benchmark on the CPU, at tiny sizes: every part runs, every figure is finite and
# positive, and what was not measured is reported as such. BENCH: compiled by dev/cuda_on_cpu.
bench=$1
here=$(dirname "$0")
. "$here/../checks.sh"
sizes="--model nano --seq-len 32 --batch 1 --total 64 --rounds 1 --steps 1 --copy-mib 1 --gemm 64 --flush-mib 1"

# The figures are there, the kernels' and both optimizers', and each is a finite positive number.
figures() {
    awk '$2 !~ /^[0-9.]+(e[-+]?[0-9]+)?$/ || $2 + 0 <= 0 { print; bad = 1 }
         /^us\// { kernels++ }  /^(adamw|muon)\/(tokens_per_second|update_share|bytes) / { steps++ }
         END { print kernels + 0, "kernels,", steps + 0, "figures of steps"
               exit bad || kernels < 30 || steps != 6 }' "$1"
}
says() {
    grep -q -- "$2" "$1" || { echo "$1 does not say '$2'"; return 1; }
}
refused() {
    "$@"
    [ $? -eq 2 ]
}

# shellcheck disable=SC2086 # several options
check "every kernel and step runs" sh -c "'$bench' $sizes --numbers '$work/numbers' > '$work/table'"
check "every figure is finite and positive" figures "$work/numbers"
check "no product was taken apart" sh -c "! grep 'taken apart' '$work/table'"
check "without a GPU the work is counted" sh -c "'$bench' --counted > '$work/counted'"
check "and said not to be timed" says "$work/counted" "^Not timed, every kernel and every step"
check "gpt2's floor is what the README says" says "$work/counted" "floor 19.58 ms, 14% of it elementwise"
check "an unknown option is refused" refused "$bench" --rouns 3
check "a size of 0 is refused" refused "$bench" --rounds 0
"$here/ratios.sh" /dev/null > "$work/none"
check "targets without figures are unmeasured" sh -c "[ \$(grep -c unmeasured '$work/none') -eq 6 ]"
printf '%s\n' 'of_copy/a 0.9' 'of_copy/b_c 0.79' 'us/flash_forward 100' 'torch/flash_forward_us 91' 'torch/bytes 8' \
    'torch/batch 4' 'adamw/batch 8' 'adamw/bytes 9' 'same_batch/bytes 7' 'muon/update_share nan' > "$work/some"
"$here/ratios.sh" "$work/some" > "$work/ratios"
check "the slowest kernel is found" says "$work/ratios" "(b c), of the copy .* 0.790 >= 0.80  MISSED"
check "a must is met" says "$work/ratios" "attention forward.* 0.910 >= 0.90  ok"
check "memory is compared at one micro-batch" says "$work/ratios" "memory.* 0.875 <= 1.00  ok"
check "a NaN does not pass" says "$work/ratios" "Muon.* unmeasured"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
