# gpu.sh: GPUs that the emulation plays (DEVICE=cuda).

gpu_refuses() { # environment, arguments, words
    expect 1 env $1 "$gpt" $size $batch --text "$work/story.txt" --steps 1 --out new $2
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines: $(head -n 3 err)"
    says_all "$3" err
    [ ! -e new ] || fail "it made a run"
}

gpu_says() { # environment, arguments, words
    expect 0 env $1 "$gpt" $size $batch --text "$work/story.txt" --steps 1 --val-every 0 --out new $2
    says_all "$3" out
}

run_table "GPU: refuses" gpu_refuses <<'TABLE'
CUDA_ON_CPU_DEVICES=0       |                            | no GPU answers
CUDA_ON_CPU_DRIVER=12040    |                            | driver;CUDA 12.4;needs 13
CUDA_ON_CPU_CAPABILITY=7.0  |                            | capability 7.0;7.5 or newer;--device cpu
CUDA_ON_CPU_CAPABILITY=8.0 CUDA_ON_CPU_ARCH=90 |         | not compiled for;capability 8.0;make CUDA_ARCH=80
CUDA_ON_CPU_CAPABILITY=7.5  | --dtype bf16               | capability 7.5;bf16 needs 8.0;--dtype fp32
CUDA_ON_CPU_CAPABILITY=7.5  | --dtype tf32               | capability 7.5;tf32 needs 8.0;--dtype fp32
CUDA_ON_CPU_CAPABILITY=7.5  | --heads 1 --width 128      | heads of 128 channels;fewer in fp32
CUDA_ON_CPU_SEED=7          | --layers 1 --heads 100 --width 8200 --vocab 256 --batch-size 1 | width of 8200;at most 8192
CUDA_ON_CPU_MEMORY=30000000 |                            | out of memory;--batch-size
CUDA_ON_CPU_SEED=20         | --width 40 --dtype bf16    | heads of 20 channels;multiples of 8;--dtype fp32
CUDA_ON_CPU_SEED=136        | --width 272                | heads of 136 channels;fewer in fp32
CUDA_ON_CPU_SEED=136        | --width 272 --dtype bf16   | heads of 136 channels;multiples of 8, at most 128
CUDA_ON_CPU_SEED=11         | --batch-size 100000000000 --dtype bf16 | memory
TABLE

run_table "GPU:" gpu_says <<'TABLE'
CUDA_ON_CPU_DEVICES=3         |                            | this machine has 3 GPUs, of which 1 computes;(--ranks 3)
CUDA_ON_CPU_NAME=CUDA_9       |                            | peak;unknown
CUDA_ON_CPU_NAME=Tesla        | --dtype tf32               | Tesla, cuBLASLt 12.8.4, tf32
CUDA_ON_CPU_CAPABILITY=7.5    |                            | cuBLASLt 12.8.4, fp32
CUDA_ON_CPU_CAPABILITY=8.0    |                            | cuBLASLt 12.8.4, bf16
CUDA_ON_CPU_SEED=20           | --width 40                 | cuBLASLt 12.8.4, fp32
CUDA_ON_CPU_MEMORY=60000000   | --batch-size auto --total-batch 1024                        | sequences of 32
TABLE

peak_of_h200() {
    expect 0 env CUDA_ON_CPU_NAME="NVIDIA H200" "$gpt" $size $batch --text "$work/story.txt" --steps 1 --out new
    says_all "peak      989 TFLOP/s in bf16;% MFU" out
}
run_test "GPU: a known one's share of its peak is shown" peak_of_h200

# Less memory: a smaller micro-batch of the same step, which a resumed run keeps whatever there is then.
batch_by_memory() {
    for bytes in 80000000 44000000; do
        expect 0 env CUDA_ON_CPU_MEMORY=$bytes "$gpt" $size --text "$work/story.txt" --steps 1 --val-every 0 \
            --sample-every 0 --batch-size auto --total-batch 2048 --out $bytes
        sed -n 's/^step .* x \([0-9]*\) sequences.*/\1/p' out >> batches
    done
    [ "$(sed -n 1p batches)" -gt "$(sed -n 2p batches)" ] || fail "batches of $(tr '\n' ' ' < batches)"
    says "\"batch-size\": \"$(sed -n 2p batches)\"" 44000000/run.json
    expect 0 "$gpt" --resume --out 44000000 --steps 2
    says " x $(sed -n 2p batches) sequences" out
}
run_test "GPU: --batch-size auto goes by its memory" batch_by_memory

recomputes() { # the same losses
    for what in nothing layers; do
        expect 0 "$gpt" $size $batch --text "$work/story.txt" --steps 3 --val-every 0 --recompute $what --out $what
        cut -d, -f4,7 $what/metrics.csv > $what.csv
    done
    same nothing.csv layers.csv
}
run_test "GPU: --recompute layers changes no bit" recomputes

samples_alike() {
    for what in nothing layers; do
        expect 0 "$gpt" --model "$model" --steps 0 --temperature 0 --sample-tokens 30 --prompt "the " \
            --text "$work/story.txt" --val-tokens 64 --recompute $what
        sed -n '/^--- sample/,/^---$/p' out > $what.txt
    done
    [ "$(wc -c < nothing.txt)" -gt 30 ] || fail "no sample: $(tail -n 3 out)"
    same nothing.txt layers.txt
}
run_test "GPU: --recompute layers changes no sample" samples_alike
