# architectures.sh: models other than GPT-2, from the command line to checkpoints, resumed runs and samples.

# Trains, resumes bit for bit, decodes as it trains, and refuses options that contradict its checkpoint.
whole_way() { # model_type, options
    kind=$1
    shift
    expect 0 train --steps 6 "$@" --out whole
    says "\"model_type\": \"$kind\"" whole/step_000006/config.json
    expect 0 train --steps 6 "$@" --checkpoint-every 3 --keep 0 --out run
    printf 'step_000003\n' > run/latest
    expect 0 resume --out run
    same_end whole run
    OMP_NUM_THREADS=3 expect 0 train --steps 6 "$@" --threads 3 --out threads
    same threads/step_000006/model.safetensors whole/step_000006/model.safetensors
    expect 0 "$gpt" --model whole/step_000006 --steps 0 --prompt 'The ' --sample-tokens 6 --device "$device"
    says "sample" out
    expect 0 train --model whole/step_000006 --steps 2 --out further
    expect 2 train --model whole/step_000006 --layers 3 --steps 2
    says_all "--layers 3;whole/step_000006" err
}
device=${DEVICE:-cpu}
llama="--positions rotary --norm rmsnorm --kv-heads 1 --activation swiglu --attention-bias none --mlp-bias off"
run_test "a Llama" whole_way llama $llama --head untied --init normal
run_test "a Qwen3" whole_way qwen3 $llama --qk-norm gain
run_test "track 3's model" whole_way train_gpt --positions rotary-half --norm rmsnorm --norm-eps 1.2e-7 --embed-norm on \
    --qk-norm on --attention-scale 0.12 --activation relu2 --head untied-bias --softcap sqrt --init track3
run_test "an odd one" whole_way train_gpt --positions none --norm layernorm-no-bias --kv-heads 1 --qk-norm gain \
    --attention-bias qkv --value-scale 0.5 --mlp-width 21 --softcap tanh --softcap-limit 4 --head untied
run_test "modula's model" whole_way train_gpt --positions rotary --norm none --residual-scale 0.875 --attention-scale 0.3 \
    --attention-bias none --mlp-bias off --head untied --init modula
run_test "dropout: resumed and with more threads bit-equal" whole_way gpt2 --dropout 0.2

clips() { # options
    expect 0 train --steps 8 --lr 0.1 --warmup 0 "$@" --out without
    columns=$(head -n 1 without/metrics.csv)
    largest=$(echo "$columns" | tr , '\n' | grep -n largest_score | cut -d: -f1)
    [ "$(tail -n 1 without/metrics.csv | cut -d, -f"$largest-")" = , ] || fail "scores without --qk-clip"
    expect 0 train --steps 8 --lr 0.1 --warmup 0 "$@" --qk-clip 1e9 --out measured
    same measured/step_000008/model.safetensors without/step_000008/model.safetensors
    says "qk-clip   0 of 4 heads were clipped, 0 times" out
    before=$(tail -n 1 measured/metrics.csv | cut -d, -f"$largest")
    bound=$(echo "$before" | awk '{ print $1 / 3 }')
    expect 0 train --steps 8 --lr 0.1 --warmup 0 "$@" --qk-clip "$bound" --out clipped
    grep -q 'qk-clip   [1-4] of 4 heads were clipped, [1-9][0-9]* times in all' out || fail "$(grep qk-clip out)"
    says "\"qk-clip\": \"$bound" clipped/run.json
    tail -n 1 clipped/metrics.csv | awk -F, -v at="$largest" -v before="$before" '!($at < before && $(at + 1) > 0) { exit 1 }' ||
        fail "the largest score was $before, and is: $(tail -n 1 clipped/metrics.csv)"
}
run_test "--qk-clip: smaller scores" clips
run_test "--qk-clip: smaller scores of grouped queries" clips --kv-heads 1 --positions rotary --attention-bias none
run_test "--qk-clip: resumed and with more threads bit-equal" whole_way gpt2 --qk-clip 0.02
run_test "--qk-clip: the same under schedule-free" whole_way gpt2 --optimizer schedule-free --qk-clip 0.02

drops() {
    expect 0 train --steps 3 --out without
    expect 0 train --steps 3 --dropout 0.3 --out with
    cmp -s without/step_000003/model.safetensors with/step_000003/model.safetensors && fail "--dropout changes nothing"
    # neither validation nor samples have any
    expect 0 "$gpt" --model with/step_000003 --text "$work/story.txt" --steps 0 --seq-len 32 --dropout 0.9 \
        --val-tokens 512 --device "$device"
    cp out first
    expect 0 "$gpt" --model with/step_000003 --text "$work/story.txt" --steps 0 --seq-len 32 --val-tokens 512 \
        --device "$device"
    [ "$(grep '^val loss' out)" = "$(grep '^val loss' first)" ] || fail "dropout in the validation"
}
run_test "--dropout in training alone" drops

grows() {
    expect 0 train --steps 8 --batch-size 2 --seq-len 32 --total-batch 256 --first-batch 64 --batch-growth 6 --out run
    [ "$(awk -F, 'NR > 1 && $2 > 0 { printf "%s ", $2 - last; last = $2 }' run/metrics.csv)" = "64 64 128 128 192 192 256 256 " ] ||
        fail "the steps' tokens: $(awk -F, 'NR > 1 { print $2 }' run/metrics.csv | tr '\n' ' ')"
    expect 0 train --steps 8 --batch-size 2 --seq-len 32 --total-batch 256 --first-batch 64 --batch-growth 6 \
        --checkpoint-every 3 --keep 0 --out again
    printf 'step_000003\n' > again/latest
    expect 0 resume --out again --batch-size 1
    [ "$(cut -d, -f2 again/metrics.csv)" = "$(cut -d, -f2 run/metrics.csv)" ] || fail "resumed, the tokens are others"
}
run_test "--first-batch and --batch-growth" grows

plans() {
    rest="--steps 4 --warmup 0 --lr 0 --cooldown 1"
    expect 0 train $rest --aux-cooldown-power 2 --out run
    expect 0 train $rest --cooldown-power 2 --out same
    same run/step_000004/model.safetensors same/step_000004/model.safetensors
    expect 0 train $rest --aux-planned-steps 9 --out later
    expect 0 train $rest --planned-steps 9 --out same2
    same later/step_000004/model.safetensors same2/step_000004/model.safetensors
    cmp -s run/step_000004/model.safetensors later/step_000004/model.safetensors && fail "they change nothing"
    return 0
}
run_test "--aux-cooldown-power and --aux-planned-steps" plans
