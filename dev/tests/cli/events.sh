# events.sh: --tensorboard, and what TensorBoard reads of it.

event_files() { ls "$1" | grep -c '^events.out.tfevents.'; }

writes_events() {
    expect 0 train --steps 7 --val-every 3 --checkpoint-every 2 --keep 0 --tensorboard --out run
    [ "$(event_files run)" -eq 1 ] || fail "$(ls run)"
    says '"tensorboard": "on"' run/run.json
    for tag in train/loss val/loss lr grad_norm tokens_per_second progress/tokens time/optimizer_ms; do
        grep -q "$tag" run/events* || fail "there is no $tag"
    done
    expect 0 train --steps 7 --val-every 3 --checkpoint-every 2 --keep 0 --out bare
    [ "$(event_files bare)" -eq 0 ] || fail "without --tensorboard: $(ls bare)"
    same_end run bare
    # a resumed run goes on, in a new file, and leaves the old one alone; --no-tensorboard ends it
    printf 'step_000004\n' > run/latest
    first=$(echo run/events*)
    cp "$first" before
    expect 0 resume --out run
    same "$first" before
    [ "$(event_files run)" -eq 2 ] || fail "resumed: $(ls run)"
    [ "$(ls -d run/events* | head -n 1)" = "$first" ] || fail "the new file's name comes first: $(ls run)"
    # step 5 of a session that starts: field 2 of an event is 5, field 7 holds a field 1 that is 1
    cat run/events* | od -An -v -tx1 | tr -d ' \n' | grep -q 10053a020801 || fail "the new file begins at another step"
    printf 'step_000004\n' > run/latest
    expect 0 resume --out run --no-tensorboard
    says '"tensorboard": "off"' run/run.json
    [ "$(event_files run)" -eq 2 ] || fail "--no-tensorboard: $(ls run)"
}
run_test "--tensorboard writes event files and changes nothing else" writes_events

# A limit that the event file meets before metrics.csv does.
no_room_for_events() {
    (ulimit -f 24 2> "$work/null"; train --steps 200 --val-every 0 --tensorboard --out run > out 2> err)
    [ $? -eq 1 ] || skip "file sizes cannot be limited here"
    says_all "run/events.out.tfevents.;cannot be written: File too large" err
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines"
}
run_test "an event file that cannot be written is said" no_room_for_events

# --- what TensorBoard reads ---

dev=$(cd "$here/../.." && pwd)

find_tensorboard() {
    python=$("$dev/python.sh" --find tensorboard) || skip "there is no Python with TensorBoard (make tensorboard)"
}

reads_events() {
    find_tensorboard
    expect 0 train --steps 9 --val-every 3 --checkpoint-every 2 --keep 0 --tensorboard --out run
    expect 0 "$python" "$dev/reference/event_files.py" run
    # steps after the checkpoint are there once, and those of a shorter run no more
    printf 'step_000004\n' > run/latest
    expect 0 resume --out run
    expect 0 "$python" "$dev/reference/event_files.py" run
    printf 'step_000006\n' > run/latest
    expect 0 resume --out run --steps 8
    expect 0 "$python" "$dev/reference/event_files.py" run
    printf 'step_000008\n' > run/latest
    expect 0 resume --out run --steps 11 --val-every 2
    expect 0 "$python" "$dev/reference/event_files.py" run
    says "118 scalars agree" out # 2 a row, 8 more a step, 6 validations
}
run_test "TensorBoard reads what metrics.csv has" reads_events

killed_with_events() {
    find_tensorboard
    train_on --steps 100000 --val-every 0 --checkpoint-every 50 --tensorboard --out run > out 2> err &
    child=$!
    await_lines run/latest 1
    for delay in 0.02 0.05 0.03; do
        sleep $delay
        kill -s KILL $child
        wait $child 2> /dev/null
        expect 0 "$python" -c 'import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator("run", size_guidance={"scalars": 0})
events.Reload()
steps = [event.step for event in events.Scalars("train/loss")]
sys.exit(steps != list(range(1, len(steps) + 1)))'
        resume_on --out run > out 2> err &
        child=$!
        tries=0
        until [ "$(event_files run)" -gt "${files:-1}" ]; do
            tries=$((tries + 1))
            [ $tries -lt 600 ] || fail "the resumed run wrote no event file"
            sleep 0.05
        done
        files=$(event_files run)
    done
    kill -s TERM $child
    wait $child 2> /dev/null
    expect 0 "$python" "$dev/reference/event_files.py" run
}
run_test "TensorBoard reads a run that was killed again and again" killed_with_events
