# output.sh: what is printed.

samples() {
    expect 0 train --steps 4 --sample-every 2 --sample-tokens 20 --prompt 'the cat' --out run
    for step in 2 4; do
        says "--- sample at step $step" out
    done
    [ "$(grep -c '^the cat' out)" -eq 2 ] || fail "samples do not begin with the prompt"
    expect 0 train --steps 2 --out quiet
    grep -q -e '--- sample' out && fail "--sample-every 0 printed a sample"
    expect 0 "$gpt" --model "$model" --text "$work/story.txt" --steps 0 --val-tokens 0 --prompt 'Once' --temperature 0 \
        --sample-tokens 100
    says "Once" out
    cp out first
    expect 0 "$gpt" --model "$model" --text "$work/story.txt" --steps 0 --val-tokens 0 --prompt 'Once' --temperature 0.9 \
        --top-k 1 --sample-tokens 100
    same first out
    says "--- sample at step 4" out
    expect 0 "$gpt" --model "$model" --text "$work/story.txt" --steps 0 --val-tokens 0 --sample-tokens 2 \
        --prompt "$(printf 'a\302\2331m\340\200\200\355\240\200\342\200\256b\351')"
    sed -n 's/^a/a/p' out | od -An -tx1 | tr -d ' \n' | grep -Eq '613f3f316d(3f){9}62' || fail "$(sed -n '/^a/p' out | od -An -tx1)"
}
run_test "samples are printed when asked for; top-k 1 is temperature 0" samples

plain_output() {
    expect 0 train --steps 6 --val-every 2 --out run
    # before the first step, and every validation; others only when the last line is ten seconds old
    [ "$(grep -c '^step *[0-9]*/6 ' out)" -eq 4 ] || fail "$(grep -c '^step *[0-9]*/6 ' out) lines of steps instead of 4"
    escape=$(printf '\033') return=$(printf '\r')
    grep -q -e "$escape" -e "$return" out && fail "there are control characters"
    [ ! -s err ] || fail "stderr says $(head -n 1 err)"
}
run_test "output to a file is lines without escape sequences" plain_output

# 32,768 tokens forwards are as much work as 85 steps of 128: a twentieth is every 1750 steps, but a run of 1000 has five
# validations. Of a short text less is held out.
seldom() {
    cat "$work/story.txt" "$work/story.txt" "$work/story.txt" "$work/story.txt" > long.txt
    until [ "$(wc -c < long.txt)" -gt 327680 ]; do cat long.txt long.txt > longer.txt && mv longer.txt long.txt; done
    while read -r steps every share; do
        rm -f out # what the run before it printed must not be taken for this one's
        train_on --text long.txt --steps $steps --val-tokens 32768 --out run$steps > out 2>&1 &
        until grep -qs "^step  *0" out; do kill -0 $! || break; sleep 0.1; done
        kill $!
        wait $!
        says "note      validation every $every steps, about $share of the time (--val-every)" out
        grep -q "\"val-every\": \"$every\"" run$steps/run.json || fail "run.json says $(grep val-every run$steps/run.json)"
    done <<'RUNS'
1000 200 30%
10000 1750 5%
RUNS
    head -c 4000 "$work/story.txt" > short.txt
    for data in "--text short.txt" "--train $work/good.bin --vocab 300"; do
        rm -f out
        "$gpt" $size $batch $data --val-tokens 32768 --steps 3000 --out short > out 2>&1 &
        until grep -qs "^step  *[01]/" out; do kill -0 $! || break; sleep 0.1; done
        kill $!
        wait $!
        ! grep -q "note      validation" out || fail "$data: $(grep "note      validation" out)"
        rm -r short
    done
}
run_test "validation that costs much is seldom, and says so" seldom

closed_output() {
    train --steps 3 --out run >&- 2>&- <&-
    status=$?
    [ $status -eq 0 ] || fail "exit status $status"
    train --steps 3 --out open > out
    columns run/metrics.csv > closed.columns
    columns open/metrics.csv > open.columns
    same closed.columns open.columns
}
run_test "closed output: nothing strays into the run's files" closed_output

helps() {
    expect 0 "$gpt" --help
    for option in preset list-presets eval eval-every loss-tables train val text tokenizer model layers heads width vocab seq-len positions rotary-base norm \
        norm-eps embed-norm residual-scale kv-heads qk-norm attention-scale value-scale attention-bias mlp-width activation mlp-bias head \
        softcap softcap-limit init dropout batch-size total-batch first-batch batch-growth recompute optimizer aux-optimizer \
        embed-optimizer head-optimizer \
        $(sed -n 's/^    \[HYPER_[A-Z0-9_]*\] = {"\([a-z0-9-]*\)".*/\1/p' "$here/../../../optim/hyper.c") \
        sensitivity ema-nesterov ema-nesterov-decay ema-nesterov-from ema-nesterov-until muloco muloco-rate muloco-momentum tail-ema tail-ema-from \
        tail-ema-share qk-clip diagnose aux-lr aux-weight-decay aux-momentum aux-beta1 aux-beta2 aux-eps aux-eps-mode \
        aux-bias-correction embed-lr embed-weight-decay head-lr head-weight-decay vector-lr vector-weight-decay vector-beta2 vector-bias-correction no-vector-bias-correction clip list-groups \
        steps schedule warmup cooldown cooldown-power final-lr planned-steps aux-warmup aux-cooldown aux-cooldown-power aux-planned-steps val-every val-tokens target-loss sample-every sample-tokens prompt \
        temperature top-k out checkpoint-every keep tensorboard no-tensorboard resume seed threads device dtype completion man help version; do
        grep -Eq -e "^ +(--[a-z-]+, )?--$option(,| |\$)" out || fail "--help does not list --$option"
    done
    rules=$(grep -o ' R([a-z0-9_]*)' "$here/../../../optim/rule.h" | tr -d ' R()' | tr _ -)
    for word in $rules jordan polar-express moonshot cosine 'Exit status'; do
        says "$word" out
    done
    [ ! -s err ] || fail "stderr says $(head -n 1 err)"
    expect 0 "$gpt" --version
    grep -Eq '^train_gpt [0-9]+\.[0-9.]+ \((.*[0-9a-f]{10}(-dirty)?|cksum-[0-9]+)\)$' out || fail "$(cat out)"
}
run_test "--help lists every option, --version says one line with the source" helps
