#!/bin/sh
# run.sh BIN BUILD [NAME PROGRAM...]: runs every test program in BUILD/tests and the lab's own, test_gpt and the command's
# tests with the programs in BIN.
# NAME PROGRAM...: only these programs, and of the command's tests those whose name contains NAME.
# Ends with "N passed, N failed, N skipped" over all of them; exit status 1 when any failed.
bin=$1 build=$2 name=${3:-}
shift $(($# < 3 ? $# : 3))
programs=" $* "
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
trap 'stop_jobs; exit 1' HUP INT TERM
passed=0 failed=0 skipped=0
# Most programs compute on one thread or wait for each other, so several run at a time.
most=$(getconf _NPROCESSORS_ONLN 2> "$logs/null") || most=1
[ "$most" -le 4 ] || most=4
. dev/tests/jobs.sh

# Whether a command is to be run: always without NAME; with NAME only if one of the programs is among its words.
wanted() {
    [ -n "$name" ] || return 0
    for word; do
        case $programs in *" $word "*) return 0 ;; esac
    done
    return 1
}

# Counts what a program's log says; one that dies without its closing line counts as one failure. With NAME, a program
# in which no case has that name is skipped silently.
count() { # status, log, command
    status=$1 log=$2
    [ -z "$name" ] || [ "$(tail -n 1 "$log")" != "0 passed, 0 failed, 0 skipped" ] || return 0
    echo "== $3"
    cat "$log"
    counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\{0,1\}$/\1 \2 \4/p' "$log" | tail -n 1)
    set -- $counts
    if [ $status -eq 77 ] && [ $# -eq 0 ]; then
        echo "skip  it can test nothing here"
        set -- 0 0 1
    elif [ $# -lt 2 ] || { [ $status -ne 0 ] && [ "$2" -eq 0 ]; }; then
        echo "FAIL  ended with status $status and no count of its failures"
        failed=$((failed + 1))
    fi
    passed=$((passed + ${1:-0})) failed=$((failed + ${2:-0})) skipped=$((skipped + ${3:-0}))
}

# Runs one program beside others.
run() {
    ! wanted "$@" || start_job "$*" "$@"
}

# Runs one program, which starts several itself, with nothing beside it.
run_alone() {
    wanted "$@" || return 0
    report_jobs
    start_job "$*" env JOBS="$most" "$@"
    report_jobs
}

activations="dev/tests/reference_gelu.safetensors dev/tests/reference_relu2.safetensors dev/tests/reference_silu.safetensors"
bf16_models="dev/tests/reference_llama.safetensors dev/tests/reference_track3.safetensors dev/tests/reference_modern.safetensors
    dev/tests/reference_modula.safetensors"
models="$bf16_models dev/tests/reference_odd.safetensors dev/tests/reference_steps.safetensors"

for test in "$build"/tests/test_*; do
    run "$test"
done
run "$build/lab" --self-check
[ -n "$name" ] || run dev/tests/experiments.sh "$bin/train_gpt_cpu"
run "$bin/test_gpt_cpu" dev/tests/reference_tiny.safetensors $activations $models
run "$bin/test_gpt_cpu" --llmc dev/tests/llmc_model.bin dev/tests/llmc_state.bin
# The CUDA twin's kernels and the optimizers' on the CPU, under several orders of threads. CUDA_ON_CPU_CUBLAS: products
# by other algorithms and of other precision, as cuBLAS may choose.
emulated() { # order, seed, program and its arguments; streams put off what they can
    order=$1 seed=$2
    shift 2
    if ! wanted "$1"; then
        return
    elif [ -x "$1" ]; then
        run env CUDA_ON_CPU_STREAMS=lazy CUDA_ON_CPU_ORDER="$order" CUDA_ON_CPU_SEED="$seed" "$@"
    else
        echo "== $1"
        echo "skip  it was not built: there is no C++ compiler"
        skipped=$((skipped + 1))
    fi
}
emulated forward 0 "$build/emulated/test_emulator"
emulated forward 0 "$build/emulated/test_flash"
emulated forward 0 "$build/emulated/test_nccl"
emulated forward 0 "$build/emulated/test_checks"
emulated forward 0 "$build/emulated/test_gpt_cuda" dev/tests/reference_tiny.safetensors $activations $models
export CUDA_ON_CPU_CUBLAS=varied
emulated forward 0 "$build/emulated/test_products" 8
emulated reverse 0 "$build/emulated/test_gpt_cuda" dev/tests/reference_tiny.safetensors
export CUDA_ON_CPU_CUBLAS=varied,truncated
emulated forward 0 "$build/emulated/test_gpt_cuda" --dtype tf32 dev/tests/reference_bf16.safetensors
unset CUDA_ON_CPU_CUBLAS
emulated forward 0 "$build/emulated/test_gpt_cuda" --llmc dev/tests/llmc_model.bin dev/tests/llmc_state.bin
emulated random 1 "$build/emulated/test_gpt_cuda" dev/tests/reference_tiny.safetensors
emulated forward 0 "$build/emulated/test_gpt_cuda" --dtype bf16 dev/tests/reference_bf16.safetensors $activations $bf16_models
export CUDA_ON_CPU_CUBLAS=varied,fast
emulated random 1 "$build/emulated/test_gpt_cuda" --dtype bf16 dev/tests/reference_bf16.safetensors
export CUDA_ON_CPU_CUBLAS=plain CUDA_ON_CPU_CAPABILITY=8.0 # GELU is a kernel of ours there
emulated reverse 0 "$build/emulated/test_gpt_cuda" --dtype bf16 dev/tests/reference_bf16.safetensors
unset CUDA_ON_CPU_CUBLAS
export CUDA_ON_CPU_CAPABILITY=7.5 # logits are read twice there
emulated reverse 0 "$build/emulated/test_gpt_cuda" dev/tests/reference_tiny.safetensors dev/tests/reference_track3.safetensors
# What needs bf16 is skipped by name there.
emulated forward 0 "$build/emulated/test_gpt_cuda" --dtype bf16 dev/tests/reference_bf16.safetensors
emulated forward 0 "$build/emulated/test_flash"
emulated forward 0 "$build/emulated/test_products" 8
emulated forward 0 "$build/emulated/test_qk_clip"
emulated forward 0 "$build/emulated/test_large" 3 4 256 1031 80 1
unset CUDA_ON_CPU_CAPABILITY
export CUDA_ON_CPU_CUBLAS=plain # epilogues are kernels of ours there
emulated random 2 "$build/emulated/test_gpt_cuda" dev/tests/reference_tiny.safetensors dev/tests/reference_odd.safetensors
unset CUDA_ON_CPU_CUBLAS
emulated forward 0 "$build/emulated/test_large" 3 4 256 1031 80 1
emulated random 2 "$build/emulated/test_judges"
export CUDA_ON_CPU_CUBLAS=varied
emulated random 5 "$build/emulated/test_bit_equal"
unset CUDA_ON_CPU_CUBLAS
emulated random 6 "$build/emulated/test_verbs"
emulated random 7 "$build/emulated/test_newton_schulz"

# Larger and odder models, as the CPU's twin has them: heads of 16 to 128 channels, sequences of several tiles, rows in
# many parts, few tokens that stand in many rows, wide rows, logits in two blocks of rows, long rows of them, MLPs wider
# than all partial sums; and other nonlinearities.
wanted "$build/emulated/test_gpt_cuda" && mkdir -p "$build/odd" && while read -r file sizes; do
    # shellcheck disable=SC2086 # several sizes
    "$build/write_reference" "$build/odd/$file" $sizes || failed=$((failed + 1))
done <<'MODELS'
16.safetensors 3 5 80 301 37 3
24.safetensors 1 3 72 3 70 4
64.safetensors 2 3 192 97 65 1
128.safetensors 1 1 128 515 33 2
516.safetensors 1 6 516 7 5 2
one.safetensors 1 1 8 5 1 1
rows.safetensors 1 1 8 5 65 64
vocab.safetensors 1 1 8 5003 3 1
wide.safetensors 1 1 8 5 3 1 n_inner=17000
gated.safetensors 1 1 8 5 3 1 n_inner=9000 activation_function=swiglu
exact.safetensors 2 2 24 31 7 3 activation_function=gelu
relu2.safetensors 2 3 33 31 9 2 activation_function=relu2
silu.safetensors 1 2 10 31 5 3 activation_function=silu
dropout.safetensors 2 3 24 31 13 3 dropout=0.3
modula.safetensors 2 4 64 31 20 3 dropout=0.2 norm=none residual_scale=0.75 attention_scale=0.01
dropped.safetensors 2 4 32 31 70 2 dropout=0.2 num_key_value_heads=2 position_encoding=rotary embedding_norm=on qk_norm=gain
MODELS
emulated random 3 "$build/emulated/test_gpt_cuda" "$build"/odd/*.safetensors
[ ! -x "$build/emulated/bench" ] || run sh dev/bench/cuda/test_bench.sh "$build/emulated/bench"
[ -n "$name" ] || run sh dev/bench/test_bench.sh "$build/bench"
# A whole run on the emulated GPU: it learns, resumes bit for bit, averages and measures.
if [ -x "$build/emulated/train_gpt_cuda" ]; then
    case $name in *ranks*) ;; *)
        run_alone env CUDA_ON_CPU_ORDER=random CUDA_ON_CPU_SEED=4 CUDA_ON_CPU_CUBLAS=varied DEVICE=cuda \
            sh dev/tests/cli.sh "$build/emulated/train_gpt_cuda" "bit-equal: muon|"
        case $name in *GPU*) cases=$name ;; *) cases=GPU: ;; esac
        run_alone env CUDA_ON_CPU_STREAMS=lazy DEVICE=cuda sh dev/tests/cli.sh "$build/emulated/train_gpt_cuda" "$cases" ;;
    esac
    case $name in '' | *ranks*) # several emulated GPUs
        run_alone env CUDA_ON_CPU_STREAMS=lazy CUDA_ON_CPU_CUBLAS=varied CUDA_ON_CPU_ORDER=random CUDA_ON_CPU_SEED=8 DEVICE=cuda \
            sh dev/tests/cli.sh "$build/emulated/train_gpt_cuda" "${name:-ranks:}" ;;
    esac
fi
run_alone env HELPERS="$build" sh dev/tests/cli.sh "$bin/train_gpt" "$name"

echo
[ $started -lt 20 ] || report_slowest 20
[ $((passed + failed + skipped)) -gt 0 ] || echo "no test program and no test has '$name' in its name"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
