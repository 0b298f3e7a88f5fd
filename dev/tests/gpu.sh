#!/bin/sh
# gpu.sh BIN BUILD: the tests that need a GPU. On a machine without one each case is skipped, by name; where there is one
# that the program cannot use, they fail and say why.
# What each case said is kept in BUILD/gpu/, a file a case.
# GPU_CASE_SECONDS=1200: a case that takes longer is ended, and failed.
bin=$1 build=$2
shift 2
seconds=${GPU_CASE_SECONDS:-1200}

odd_model() { # layers, heads, width, vocabulary, length, batch
    mkdir -p "$build/odd"
    "$build/write_reference" "$build/odd/gpu.safetensors" "$@" && "$bin/test_gpt_cuda" "$build/odd/gpu.safetensors"
}

# A command that is skipped where it fails and says why: for want of something that not every GPU has.
unless_it_says() { # words, command
    words=$1
    shift
    "$@" > "$work/said" 2>&1
    status=$?
    cat "$work/said"
    [ $status -eq 0 ] && return
    grep "$words" "$work/said" && return 77
    return 1
}

run() { # folder, options
    folder=$1
    shift
    "$bin/train_gpt_cuda" --model nano --sample-every 0 --val-tokens 4096 --out "$work/$folder" "$@"
}

twice() {
    run first --steps 20 && run second --steps 20 &&
        cmp "$work/first/step_000020/model.safetensors" "$work/second/step_000020/model.safetensors"
}

# GPT-2 124M in micro-batches of 16 x 1024 tokens, where there is room for them.
twice_at_size() {
    for folder in large again; do
        unless_it_says "out of.* memory" "$bin/train_gpt_cuda" --model gpt2 --vocab 50257 --batch-size 16 --steps 3 \
            --warmup 0 --val-every 0 --sample-every 0 --out "$work/$folder" || return
    done
    cmp "$work/large/step_000003/model.safetensors" "$work/again/step_000003/model.safetensors" &&
        cmp "$work/large/step_000003/optimizer.safetensors" "$work/again/step_000003/optimizer.safetensors"
}

resumed() {
    run whole --steps 12 --schedule constant && run half --steps 6 --schedule constant &&
        "$bin/train_gpt_cuda" --resume --out "$work/half" --steps 12 &&
        cmp "$work/whole/step_000012/model.safetensors" "$work/half/step_000012/model.safetensors" &&
        cmp "$work/whole/step_000012/optimizer.safetensors" "$work/half/step_000012/optimizer.safetensors"
}

# The last training losses of two runs differ by less than $3.
losses_agree() {
    for run in "$1" "$2"; do tail -n 1 "$work/$run/metrics.csv" | cut -d, -f4; done > "$work/losses" &&
        awk -v most="$3" 'NR == 1 { a = $1 } NR == 2 { ok = $1 - a < most && a - $1 < most; print a, $1 }
                          END { exit !ok }' "$work/losses"
}

# A run that changes twins: its losses stay those of a run on the CPU alone, to fp32 rounding.
changes_twins() {
    options="--model nano --sample-every 0 --val-tokens 4096 --schedule constant --ns-dtype fp32 --dtype fp32"
    # shellcheck disable=SC2086 # several options
    "$bin/train_gpt_cpu" $options --steps 20 --out "$work/cpu" &&
        "$bin/train_gpt_cpu" $options --steps 10 --out "$work/both" &&
        "$bin/train_gpt_cuda" --resume --out "$work/both" --steps 20 && losses_agree cpu both 1e-3
}

# Ten steps of every rule on either twin, in fp32 from the same parameters on the same tokens.
every_rule() {
    rules=$("$bin/train_gpt_cpu" --optimizer '?' 2>&1 | sed 's/.*[Tt]here are //; s/,//g')
    for rule in $rules; do
        options="--model nano --sample-every 0 --val-every 0 --steps 10 --warmup 0 --schedule constant --dtype fp32
                 --optimizer $rule"
        # shellcheck disable=SC2086
        "$bin/train_gpt_cpu" $options --list-groups | grep -q ' ns-dtype=' && options="$options --ns-dtype fp32"
        # shellcheck disable=SC2086
        "$bin/train_gpt_cpu" $options --out "$work/cpu-$rule" && "$bin/train_gpt_cuda" $options --out "$work/$rule" &&
            losses_agree "cpu-$rule" "$rule" 1e-3 || { echo "$rule"; return 1; }
    done
}

sanitized() { # tool, a program and its arguments
    command -v compute-sanitizer > "$work/null" || { echo "compute-sanitizer is not installed"; return 77; }
    tool=$1
    shift
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$@"
}

# Ranks up to the number of GPUs; what needs more is skipped there, by name.
several_ranks() {
    run gpus --steps 1 --val-every 0 > "$work/said"
    gpus=$(sed -n 's/.*this machine has \([0-9]*\) GPUs.*/\1/p' "$work/said") # said where there are several
    [ -n "$gpus" ] || { echo "there is one GPU"; return 77; }
    GPUS=$gpus DEVICE=cuda HELPERS="$build" dev/tests/cli.sh "$bin/train_gpt_cuda" "ranks: "
}

if [ $# -gt 0 ]; then # one case, in a process that check can end
    "$@"
    exit
fi

passed=0 failed=0 skipped=0
logs=$build/gpu
rm -rf "$logs"
work=$(mktemp -d) && mkdir -p "$logs" || exit 1
export work
child=
trap 'rm -rf "$work"' EXIT
trap '[ -z "$child" ] || kill $child; exit 1' HUP INT TERM
limit=
command -v timeout > "$work/null" && limit="timeout -k 10 $seconds"

# Whether a GPU is there, and whether the program can use it; if not, `why`.
there=no gpu=no why="there is no GPU"
# As train/launch.c looks.
case ${CUDA_VISIBLE_DEVICES-all} in
'' | -* | N*) ;;
*) if [ -e /dev/nvidiactl ] || [ -e /usr/lib/wsl/lib/nvidia-smi ]; then there=yes; fi ;;
esac
if [ ! -x "$bin/train_gpt_cuda" ]; then
    [ $there = no ] || why="train_gpt_cuda was not built; make says what is missing"
else
    why=$("$bin/train_gpt_cuda" --probe 2>&1)
    case $? in
    0) gpu=yes there=yes ;;
    77) ;;
    *) there=yes ;;
    esac
fi

# check NAME COMMAND...: passes if the command does.
check() {
    name=$1
    shift
    if [ $gpu = no ]; then
        skipped=$((skipped + 1))
        echo "skip  $name: $why"
        return
    fi
    log=$logs/$(printf "%s" "$name" | tr -c "a-zA-Z0-9" -).log
    # shellcheck disable=SC2086 # several words
    $limit "$0" "$bin" "$build" "$@" > "$log" 2>&1 & # so that signals of the keyboard are heard meanwhile
    child=$!
    wait $child
    status=$? child=
    case $status in
    0) passed=$((passed + 1)); echo "ok    $name" ;;
    77) skipped=$((skipped + 1)); echo "skip  $name: $(tail -n 1 "$log")" ;;
    124) failed=$((failed + 1)); echo "FAIL  $name: it had not ended after $seconds seconds" ;;
    137) failed=$((failed + 1)); echo "FAIL  $name: it was killed, as whatever does not end in $seconds seconds" ;;
    *) failed=$((failed + 1)); echo "FAIL  $name: $(tail -n 2 "$log" | tr '\n' ' ')" ;;
    esac
    grep -E ' ok$| FAIL$|skip$' "$log"
}

bf16=dev/tests/reference_bf16.safetensors
check "the PyTorch reference" "$bin/test_gpt_cuda" dev/tests/reference_tiny.safetensors
check "llm.c's debug state" "$bin/test_gpt_cuda" --llmc dev/tests/llmc_model.bin dev/tests/llmc_state.bin
check "the PyTorch reference in bf16, beside PyTorch's own" "$bin/test_gpt_cuda" --dtype bf16 $bf16
check "the PyTorch reference in tf32" "$bin/test_gpt_cuda" --dtype tf32 $bf16
check "an odder model against the CPU's twin" odd_model 3 5 80 301 37 3
check "a larger model against the CPU's twin" odd_model 4 12 768 5003 256 4
check "heads of 128 channels against the CPU's twin" unless_it_says "heads of 128" odd_model 2 3 384 1031 515 2
check "products of ones, of every shape of GPT-2's training" "$build/cuda/test_products"
check "gradients of GPT-2 124M in bf16 and in tf32 against fp32" "$build/cuda/test_large" 12 12 768 50257 1024 2
check "every optimizer against its judge" "$build/cuda/test_judges"
check "elementwise rules and verbs: the bits of the CPU" "$build/cuda/test_bit_equal"
check "sums and factorisations" "$build/cuda/test_verbs"
check "orthogonalisation in fp32 and in bf16" "$build/cuda/test_newton_schulz"
check "attention's largest scores" "$build/cuda/test_qk_clip"
check "ten steps of every optimizer on either twin" every_rule
check "the emulator's kernels" "$build/cuda/test_emulator"
check "flash attention against double" "$build/cuda/test_flash"
check "two runs give the same bits" twice
check "two runs of GPT-2 124M give the same bits" twice_at_size
check "a resumed run is bit-equal" resumed
check "a run goes on from the CPU to the GPU" changes_twins
check "several ranks, one on each GPU" several_ranks
for tool in memcheck racecheck synccheck initcheck; do
    check "compute-sanitizer $tool" sanitized $tool "$bin/test_gpt_cuda" dev/tests/reference_tiny.safetensors
    check "compute-sanitizer $tool, bf16" sanitized $tool "$bin/test_gpt_cuda" --dtype bf16 $bf16
    check "compute-sanitizer $tool, flash attention" sanitized $tool "$build/cuda/test_flash"
    check "compute-sanitizer $tool, orthogonalisation" sanitized $tool "$build/cuda/test_newton_schulz"
done
if [ $gpu = no ] && [ $there = yes ]; then
    failed=1
    echo "FAIL  there is a GPU, and nothing ran: $why"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
