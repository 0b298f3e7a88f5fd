# lost.sh: whatever fails, the weights that were good are saved, and nothing that was on disk is lost.

# --- a run that cannot go on saves first ---

unreadable_data() { # command that spoils a.bin
    shard 20240520 1 4000 4000 7 > a.bin
    "$gpt" $size $batch --steps 100000 --val-every 0 --train a.bin --out run > out 2> err &
    child=$!
    await_lines run/metrics.csv 5
    eval "$1"
    wait $child
    [ $? -eq 1 ] || fail "it did not end with status 1"
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines"
    says_all "a.bin;is saved; --resume --out run" err
    last=$(awk -F, 'END { print $1 }' run/metrics.csv)
    [ "$(cat run/latest)" = "$(printf 'step_%06d' "$last")" ] || fail "logged step $last, saved $(cat run/latest)"
    shard 20240520 1 4000 4000 7 > a.bin
    expect 0 resume --out run --steps $((last + 2))
    expect 0 shards --steps $((last + 2)) --val-every 0 --train a.bin --schedule constant --out whole
}
run_test "data cut short in a run: the run is saved" unreadable_data "head -c 2000 a.bin > b; cat b > a.bin"
run_test "data removed in a run: the run is saved" unreadable_data "rm a.bin"

# The row of the step whose validation fails is logged, and the resumed run adds what it lacks.
validation_fails() {
    shard 20240520 1 4000 4000 7 > a.bin
    cp a.bin v.bin
    few="--train a.bin --val v.bin --val-tokens 64 --val-every 300 --steps 302 --tensorboard"
    expect 0 shards $few --out whole
    "$gpt" $size $batch $few --out run > out 2> err &
    child=$!
    await_lines run/metrics.csv 20
    head -c 2000 v.bin > b; cat b > v.bin
    wait $child
    [ $? -eq 1 ] || fail "it did not end with status 1"
    says_all "v.bin;Step 300 is saved" err
    cp a.bin v.bin
    expect 0 resume --out run
    same_end whole run
    for tag in train/loss val/loss; do # once a step, once a validation
        cat whole/events* | tr -c 'a-z/' '\n' | grep -c "$tag" > whole.count
        cat run/events* | tr -c 'a-z/' '\n' | grep -c "$tag" > run.count
        same whole.count run.count
    done
}
run_test "a validation that fails loses nothing of its step" validation_fails

saves_by_time() {
    train_on --steps 100000 --val-every 0 --checkpoint-minutes 0.005 --keep 2 --out run > out 2> err &
    child=$!
    await_lines run/latest 1
    first=$(cat run/latest)
    tries=0
    while [ "$(cat run/latest)" = "$first" ] && [ $tries -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
    kill -s KILL $child
    wait $child 2> /dev/null
    [ "$(cat run/latest)" != "$first" ] || fail "there was one checkpoint, $first, and no other"
    [ "$(ls -d run/step_* | grep -vc tmp)" -le 3 ] || fail "it kept $(ls run)"
    last=$(sed 's/step_0*//' run/latest)
    expect 0 resume --out run --steps $((last + 1))
}
run_test "checkpoints by time" saves_by_time

keeps_best() {
    # the rate explodes after step 4, and with it the loss
    expect 0 train --steps 4 --checkpoint-every 2 --val-every 2 --schedule constant --out run
    expect 0 resume --out run --steps 12 --keep 1
    best=$(awk -F, 'NR > 2 && $5 != "" && (!n || $5 < b) { n = 1; b = $5; s = $1 } END { printf "step_%06d", s }' run/metrics.csv)
    [ -d "run/$best" ] || fail "the best, $best, is gone: $(ls run)"
    expect 0 train --steps 8 --checkpoint-every 1 --val-every 1 --keep 1 --optimizer sgd --lr 1e-9 --aux-lr 3 --warmup 0 --out worse
    best=$(awk -F, 'NR > 2 && $5 != "" && (!n || $5 < b) { n = 1; b = $5; s = $1 } END { printf "step_%06d", s }' worse/metrics.csv)
    [ "$best" != step_000008 ] || fail "the loss did not rise: $(cut -d, -f1,5 worse/metrics.csv | tr '\n' ' ')"
    [ "$(ls -d worse/step_* | tr '\n' ' ')" = "worse/$best worse/step_000008 " ] || fail "the best is $best, kept are $(ls worse)"
    # a checkpoint that no validation met is not the best, whatever an earlier validation said
    expect 0 train --steps 6 --checkpoint-every 1 --val-every 4 --keep 1 --out off
    grep -q '"best_step": 6' off/step_000006/state.json || fail "$(head -n 1 off/step_000006/state.json)"
    expect 0 train --steps 3 --checkpoint-every 1 --val-every 100 --keep 0 --out none
    grep -q '"best_loss": null' none/step_000002/state.json || fail "$(head -n 1 none/step_000002/state.json)"
}
run_test "the best checkpoint is kept beside the newest" keeps_best

stays_behind() {
    [ "$(id -u)" -ne 0 ] || skip "root may remove anything"
    expect 0 train --steps 3 --checkpoint-every 1 --keep 0 --out run
    chmod a-w run/step_000001
    expect 0 resume --out run --steps 5 --keep 1
    chmod u+w run/step_000001
    says "step_000001: cannot be removed" out
}
run_test "a checkpoint that cannot be removed does not end the run" stays_behind

same_second() {
    train --steps 1 > one 2>&1 &
    first=$!
    train --steps 1 > two 2>&1 &
    second=$!
    train --steps 1 > three 2>&1 || fail "$(tail -n 1 three)"
    wait $first || fail "$(tail -n 1 one)"
    wait $second || fail "$(tail -n 1 two)"
    [ "$(ls -d runs/*/step_000001 | wc -l)" -eq 3 ] || fail "$(ls runs)"
}
run_test "runs begun in the same second get their own folders" same_second

# --- one call fails, whichever it is ---

# The least run that reads, validates, logs, measures and saves.
least() {
    "$gpt" --layers 1 --heads 1 --width 8 --seq-len 16 --batch-size 1 --val-tokens 16 --warmup 2 --sample-every 0 \
        --device ${DEVICE:-cpu} --text "$work/story.txt" --steps 6 --checkpoint-every 3 --val-every 6 --diagnose 6 --tensorboard "$@"
}

failing_run() { # number of the call; status 9 if there are fewer
    rm -rf run where
    cp -R begun run
    FAIL_AT=$1 FAIL_LOG=where LD_PRELOAD=$failing "$gpt" --resume --out run > out 2> err
    status=$?
    [ -s where ] || return 9
    [ $status -le 2 ] || fail "call $1 ($(cat where)): status $status, $(tail -n 1 err)"
    if [ $status -ne 0 ]; then
        [ "$(wc -l < err)" -eq 1 ] || fail "call $1 ($(cat where)): stderr has $(wc -l < err) lines"
        diff -r begun run > "$work/null" && return 0 # it failed before it had changed anything
        "$gpt" --resume --out run > out 2> err ||
            [ "$(cat run/latest)" = step_000006 ] || fail "after call $1 ($(cat where)) failed: $(tail -n 1 err)"
    fi
    same whole/step_000006/model.safetensors run/step_000006/model.safetensors
    same whole/step_000006/optimizer.safetensors run/step_000006/optimizer.safetensors
}

# Calls a function with 1, 2, 3, ... until it returns 9: there are no more calls.
for_every_call() { # function
    number=0 ended=0
    while [ $ended -ne 9 ]; do
        number=$((number + 1))
        "$1" $number
        ended=$?
    done
    [ $number -gt 100 ] || fail "only $number calls"
}

any_call_fails() {
    [ -f "$failing" ] || skip "the library that lets calls fail was not built"
    expect 0 least --keep 0 --out whole
    cp -R whole begun
    printf 'step_000003\n' > begun/latest
    rm -r begun/step_000006
    for_every_call failing_run
}
run_test "every call that touches a file fails once: nothing is lost" any_call_fails

signal_at_call() { # number of the call; status 9 if there are fewer
    rm -rf run where
    FAIL_AT=$1 FAIL_SIGNAL=15 FAIL_LOG=where LD_PRELOAD=$failing least --keep 0 --out run > out 2> err
    status=$?
    [ -s where ] || return 9
    [ $status -eq 143 ] || [ $status -eq 0 ] || fail "call $1 ($(cat where)): status $status, $(tail -n 1 err)"
    [ $status -eq 143 ] && [ -d run ] || return 0 # nothing to save yet, or the run was over
    expect 0 resume --out run
    same_end whole run
}

any_call_signalled() {
    [ -f "$failing" ] || skip "the library that sends signals at calls was not built"
    expect 0 least --keep 0 --out whole
    for_every_call signal_at_call
}
run_test "SIGTERM at every call that touches a file: bit-equal" any_call_signalled
