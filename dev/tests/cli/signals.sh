# signals.sh: every signal in every phase ends with a checkpoint, the right status and within 5 seconds, and the resumed run
# is bit-equal to one that was never stopped.

# Six megabytes of story, whose validation takes seconds.
awk '{ for (i = 0; i < 300; i++) print }' "$work/story.txt" > "$work/long.txt"
slow="--layers 2 --heads 2 --width 32 --seq-len 32 --batch-size 1 --text $work/long.txt --device ${DEVICE:-cpu} --warmup 2"

phase_options() { # phase
    case $1 in
    start) echo "--steps 2 --val-every 0 --sample-every 0 --total-batch 16777216" ;;
    step) echo "--steps 200 --val-every 0 --sample-every 0 --total-batch 8192" ;;
    validation) echo "--layers 6 --width 128 --steps 3 --val-every 2 --val-tokens 600000 --sample-every 0" ;;
    sample) echo "--steps 3 --val-every 0 --sample-every 1 --sample-tokens 3000000" ;;
    esac
}

# Waits until the phase has begun: before the first step, after one, before it.
await_phase() { # phase
    case $1 in
    start | validation) await_lines run/metrics.csv 1 ;;
    step | sample) await_lines run/metrics.csv 2 ;;
    esac
    sleep 0.1
}

stopped_in() { # signal, number, phase
    [ -x "$harness" ] || skip "the harness was not built"
    "$harness" signals "$gpt" $slow $(phase_options "$3") --out run > out 2> err &
    child=$!
    await_phase "$3"
    kill -s "$1" $child
    begin=$(date +%s)
    wait $child 2> /dev/null
    status=$?
    took=$(($(date +%s) - begin))
    [ $status -eq $((128 + $2)) ] || fail "exit status $status instead of $((128 + $2)): $(head -n 1 err)"
    [ $took -le 5 ] || fail "it took $took s"
    says "stopped by signal $2" out
    [ -f "$(newest run)/state.json" ] || fail "nothing was saved"
}
for phase in start step validation sample; do
    run_test "SIGTERM in phase $phase" stopped_in TERM 15 $phase
done
for each in INT:2 HUP:1 USR1:10 USR2:12 XCPU:24 PIPE:13; do
    run_test "SIG${each%:*} in a step" stopped_in "${each%:*}" "${each#*:}" step
done
run_test "SIGINT in a validation" stopped_in INT 2 validation
run_test "SIGHUP in a sample" stopped_in HUP 1 sample

# A signal in the last validation: the resumed run makes up for it, and for the sample at the end.
owes_sample() {
    [ -x "$harness" ] || skip "the harness was not built"
    "$harness" signals "$gpt" $slow --layers 6 --width 128 --steps 1 --val-every 5 --val-tokens 600000 --sample-tokens 5 \
        --out run > out 2> err &
    child=$!
    await_lines run/metrics.csv 1
    kill -s INT $child
    wait $child 2> /dev/null
    sed -i.bak 's/"val-tokens": "600000"/"val-tokens": "64"/' run/run.json
    unseal run/run.json
    expect 0 resume --out run
    says_all "done      1 steps;--- sample at step 1" out
}
run_test "a signal before the end: the resumed run prints the sample" owes_sample

ignored() {
    [ -x "$harness" ] || skip "the harness was not built"
    "$harness" ignoring 1 "$gpt" $slow $(phase_options step) --steps 60 --out run > out 2> err &
    child=$!
    await_phase step
    kill -s HUP $child
    wait $child 2> /dev/null
    status=$?
    [ $status -eq 0 ] || fail "exit status $status: $(tail -n 1 out)"
    says "done      60 steps" out
}
run_test "SIGHUP that is ignored, as nohup does, changes nothing" ignored

# A reader that goes away, as head does.
unread() {
    [ -x "$harness" ] || skip "the harness was not built"
    "$harness" signals "$gpt" $size $batch --text "$work/story.txt" --steps 3000 --val-every 1 --out run 2> err |
        head -n 1 > out
    tries=0 # this shell has no status of the first command: the run has ended when its folder is free
    until resume --out run --steps 0 --sample-every 0 > out 2> err; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "nothing was saved: $(tail -n 1 err)"
        sleep 0.05
    done
    [ "$(cat run/latest)" != step_003000 ] || fail "it did not stop"
}
run_test "a closed pipe saves and stops" unread
