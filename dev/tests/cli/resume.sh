# resume.sh: a run stopped at any moment and resumed ends exactly like one that was never stopped.

continues_elsewhere() {
    cp -R "$model" start
    expect 0 "$gpt" --model start --text "$work/story.txt" $batch --steps 2 --out run
    rm -r start
    expect 0 resume --out run --steps 4
    [ "$(cat run/latest)" = step_000004 ] || fail "latest is $(cat run/latest)"
}
run_test "a run from --model DIR resumes without DIR" continues_elsewhere

resumes_exactly() { # optimizer and its options
    expect 0 train --steps 13 --val-every 4 --optimizer $1 --out whole
    for stop in 1 4 8; do
        rm -rf run
        expect 0 train --steps 13 --val-every 4 --optimizer $1 --checkpoint-every $stop --keep 0 --out run
        # what a stop after this step would have left, and a log that had gone on
        printf 'step_%06d\n' $stop > run/latest
        expect 0 resume --out run
        same_end whole run
    done
}
for rule in sgd adamw muon 'soap --split-heads'; do
    run_test "a resumed run is bit-equal, $rule" resumes_exactly "$rule"
done

drops_rows() {
    expect 0 train --steps 6 --checkpoint-every 2 --keep 0 --val-every 0 --out run
    printf 'step_000002\n' > run/latest
    printf '7,896,1.' >> run/metrics.csv
    expect 0 resume --out run --steps 3
    [ "$(cut -d, -f1 run/metrics.csv | tr '\n' ' ')" = "step 1 2 3 " ] || fail "$(cut -d, -f1 run/metrics.csv)"
}
run_test "resuming drops the rows after the checkpoint" drops_rows

gains_columns() { # a log of a program that wrote fewer
    expect 0 train --steps 4 --checkpoint-every 2 --keep 0 --val-every 0 --out run
    columns run/metrics.csv > whole
    cut -d, -f1-12 run/metrics.csv > older
    cp older run/metrics.csv
    printf 'step_000002\n' > run/latest
    expect 0 resume --out run
    columns run/metrics.csv > now
    same whole now
    [ "$(awk -F, '{ print NF }' run/metrics.csv | sort -u)" = 16 ] || fail "rows of several lengths"
    cut -d, -f1-11 older > run/metrics.csv
    printf 'step_000002\n' > run/latest
    expect 0 resume --out run
    same whole now
}
run_test "resuming an older program's log adds its columns" gains_columns

one_at_a_time() {
    train_on --steps 400 --total-batch 1024 --val-every 0 --out run > first 2>&1 &
    child=$!
    await_lines run/metrics.csv 3
    expect 1 resume --out run
    says "another process is training there" err
    kill -s KILL $child
    wait $child 2> /dev/null
    expect 2 resume --out run
    says_all "run: holds no checkpoint;remove it and start again" err
    expect 0 train --steps 2 --out done
    rm done/step_000002/model.safetensors
    mkfifo done/step_000002/model.safetensors
    expect 2 resume --out done --steps 4
    says "done/step_000002/model.safetensors: is not a regular file" err
}
run_test "one process a folder; no checkpoint yet; a pipe is no checkpoint" one_at_a_time

keeps_total_batch() {
    expect 0 train --steps 4 --checkpoint-every 2 --keep 0 --out run
    printf 'step_000002\n' > run/latest
    expect 0 resume --out run --batch-size 1
    awk -F, 'NR > 1 && $2 != 128 * $1 { exit 1 }' run/metrics.csv || fail "the tokens a step have changed"
}
run_test "resuming with another --batch-size keeps the tokens a step" keeps_total_batch

long="--steps 200 --val-every 50 --total-batch 1024"

interrupted() { # signal, status, options
    train_on $long $3 --checkpoint-every 0 --out run > out 2> err &
    child=$!
    await_lines run/metrics.csv 20
    kill -s "$1" $child
    wait $child 2> /dev/null
    status=$?
    [ $status -eq "$2" ] || fail "exit status $status instead of $2"
    says_all "stopped by signal;--resume --out run" out
    last=$(awk -F, 'END { print $1 }' run/metrics.csv)
    [ "$(cat run/latest)" = "$(printf 'step_%06d' "$last")" ] || fail "logged step $last, saved $(cat run/latest)"
    expect 0 resume --out run
    expect 0 train $long $3 --out whole
    same_end whole run
}
run_test "SIGTERM saves and the resumed run is bit-equal" interrupted TERM 143 ""
run_test "SIGTERM between two gradients of a step" interrupted TERM 143 "--optimizer mars --mars-form exact"

# A step long enough for two signals.
second_signal() {
    "$gpt" $size --text "$work/story.txt" --batch-size 4096 --steps 50 --val-every 0 --sample-every 0 --out run > out 2> err &
    child=$!
    await_lines run/run.json 2
    kill -s TERM $child
    sleep 0.05
    kill -s TERM $child
    wait $child 2> /dev/null
    [ $? -eq 143 ] || fail "it did not end with status 143"
    grep -q "stopped by" out && fail "it took its time"
    return 0
}
run_test "a second signal ends a run at once" second_signal

killed() {
    longer="--steps 400 --val-every 100 --total-batch 1024" # outlasts all the kills
    expect 0 train $longer --out whole
    train_on $longer --checkpoint-every 3 --out run > out 2> err &
    child=$!
    await_lines run/latest 1
    kills=0
    for delay in 0.03 0.11 0.07 0.17 0.05 0.13 0.09 0.15; do
        sleep $delay
        kill -s KILL $child 2> /dev/null && kills=$((kills + 1))
        wait $child 2> /dev/null
        expect 0 "$gpt" --model "$(newest run)" --text "$work/story.txt" --val-tokens 64 --steps 0 --sample-every 0
        resume_on --out run > out 2> err &
        child=$!
    done
    wait $child 2> /dev/null
    [ $kills -ge 6 ] || fail "only $kills kills: the run was over before"
    [ "$(cat run/latest)" = step_000400 ] || expect 0 resume --out run
    same_end whole run
}
run_test "kill -9, again and again: the end is bit-equal" killed
