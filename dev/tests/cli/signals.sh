# signals.sh: every signal in every phase ends with a checkpoint, the right status and within 5 seconds, and the resumed run
# is bit-equal to one that was never stopped.

# Half a megabyte of story: a validation on all of its tenth takes seconds.
awk '{ for (i = 0; i < 30; i++) print }' "$work/story.txt" > "$work/long.txt"
slow_phase="--layers 2 --heads 2 --width 16 --seq-len 32 --batch-size 1 --text $work/long.txt --device ${DEVICE:-cpu} --warmup 2"

phase_options() { # phase
    case $1 in
    start) echo "--steps 2 --val-every 0 --sample-every 0 --total-batch 262144" ;;
    step) echo "--steps 3 --val-every 0 --sample-every 0 --total-batch 131072" ;;
    validation) echo "--steps 3 --val-every 2 --val-tokens 60000 --sample-every 0" ;;
    sample) echo "--steps 3 --val-every 0 --sample-every 1 --sample-tokens 3000000" ;;
    esac
}

# Waits until the phase has begun.
await_phase() { # phase
    case $1 in
    start) await_lines run/run.json 2 ;;
    step) await_lines run/metrics.csv 2 ;;
    validation) await_lines run/metrics.csv 2 ;;
    sample) await_lines run/metrics.csv 2 ;;
    esac
    sleep 0.1
}

# The step that is saved then: before the first, or the first; validation and sample follow a step.
stopped_in() { # signal, number, phase
    [ -x "$harness" ] || skip "the harness was not built"
    "$harness" signals "$gpt" $slow_phase $(phase_options "$3") --out run > out 2> err &
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
