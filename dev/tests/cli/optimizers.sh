# optimizers.sh: every optimizer, the wrappers around it, its instruments.

# Every optimizer that --help names: it learns something, and a resumed run is bit-equal, averages and instruments included.
learns_and_resumes() { # optimizer and its options
    case $1 in
    schedule-free | splus) wrappers="--diagnose 4" ;; # shows an average of its own
    *) wrappers="--ema-nesterov 0.3 --muloco 3 --tail-ema 3 --tail-ema-from 5 --diagnose 4" ;;
    esac
    expect 0 train --optimizer $1 $wrappers --steps 12 --val-every 12 --val-tokens 512 --out whole
    awk -F, 'NR == 2 { first = $5 } NR > 1 && $5 != "" { last = $5 } END { exit !(last < first - 0.02) }' whole/metrics.csv ||
        fail "the loss did not fall: $(cut -d, -f5 whole/metrics.csv | tr '\n' ' ')"
    expect 0 train --optimizer $1 $wrappers --steps 7 --planned-steps 12 --cooldown 0 --val-every 0 --out seven
    expect 0 train --optimizer $1 $wrappers --steps 12 --cooldown 0 --val-every 0 --out twelve
    expect 0 resume --out seven --steps 12
    for part in model optimizer; do
        same seven/step_000012/$part.safetensors twelve/step_000012/$part.safetensors
    done
    sed 's/"rule_ms": [^,]*,//' seven/diagnose.jsonl > a
    sed 's/"rule_ms": [^,]*,//' twelve/diagnose.jsonl > b
    same a b
}
for rule in $("$gpt" --help | sed -n '/^Optimizers/,/^$/s/^  \([a-z0-9-]*\) .*/\1/p'); do
    run_test "learns, and resumes bit-equal: $rule" learns_and_resumes "$rule"
done
run_test "learns, and resumes bit-equal: mars --mars-form exact" learns_and_resumes "mars --mars-form exact"

# Where every batch is the same, this step's gradient at the last parameters is the last step's. Where the parameters do
# not move, it is this step's, dropout included.
second_gradient() { # optimizer
    approximate="--optimizer $1 --clip 0.5 --total-batch 256 --steps 6 --val-every 0"
    exact="$approximate --mars-form exact"
    awk 'BEGIN { for (i = 0; i < 600; i++) printf "the cat sat on a red mat and so " }' > same.txt # 32 bytes, as --seq-len
    expect 0 train $approximate --text same.txt --ema-nesterov 0.3 --out one
    expect 0 train $exact --text same.txt --ema-nesterov 0.3 --out two
    says "takes the gradient at the last parameters, too: it takes about twice as long" out
    same one/step_000006/model.safetensors two/step_000006/model.safetensors
    expect 0 train $approximate --lr 0 --aux-lr 0 --dropout 0.2 --out one-still
    expect 0 train $exact --lr 0 --aux-lr 0 --dropout 0.2 --out two-still
    for layer in 0 1; do
        for run in one two; do
            tensor_in $run-still/step_000006/optimizer.safetensors "h.$layer.attn.c_attn.weight.previous" > $run.tensor
        done
        [ "$(wc -c < one.tensor)" -eq $((4 * 48 * 16)) ] || fail "a state of $(wc -c < one.tensor) bytes"
        same one.tensor two.tensor
    done
    expect 0 train $approximate --out one-moves
    expect 0 train $exact --out two-moves
    cmp -s one-moves/step_000006/model.safetensors two-moves/step_000006/model.safetensors && fail "the forms are the same"
    return 0
}
for rule in mars mars-lion mars-shampoo; do
    run_test "a second gradient: $rule" second_gradient $rule
done

# What is validated, saved and exported is the average; with its share at 0 it is the plain run.
shows_average() {
    for share in 0 0.6; do
        expect 0 train --steps 6 --val-every 6 --val-tokens 512 --tail-ema 3 --tail-ema-from 2 --tail-ema-share $share --out t$share
        expect 0 "$gpt" --model t$share/step_000006 --text "$work/story.txt" --steps 0 --val-tokens 512 --sample-every 0
        loss=$(sed -n 's/^val loss  \([0-9.]*\).*/\1/p' out)
        awk -F, -v loss="$loss" '$1 == 6 { exit !($5 - loss < 1e-5 && loss - $5 < 1e-5) }' t$share/metrics.csv ||
            fail "share $share: the checkpoint has $loss, its run $(tail -n 1 t$share/metrics.csv)"
    done
    expect 0 train --steps 6 --val-every 6 --val-tokens 512 --out plain
    same plain/step_000006/model.safetensors t0/step_000006/model.safetensors
    cmp -s t0/step_000006/model.safetensors t0.6/step_000006/model.safetensors && fail "the average is not shown"
    expect 0 train --steps 2 --tail-ema 3 --tail-ema-from 2 --out last
}
run_test "--tail-ema is what is validated and saved" shows_average

diagnoses() {
    expect 0 train --optimizer muon --steps 4 --diagnose 2 --out run
    [ "$(wc -l < run/diagnose.jsonl)" -eq 24 ] || fail "$(wc -l < run/diagnose.jsonl) lines, not 2 x 2 layers x 6 matrices"
    for word in '"step": 4' '"tensor": "h.1.attn.c_attn.weight", "block": 2' '"singular_values": [' '"deviation"' '"rule_ms"'; do
        says "$word" run/diagnose.jsonl
    done
}
run_test "--diagnose writes a line a matrix" diagnoses

has_sensitivities() {
    expect 0 "$gpt" $size --list-groups --lr 0.5 --sensitivity c_proj=2,h.1.mlp=4
    says_all "group hidden: muon;group hidden/2: muon;group hidden/4: muon;lr=0.25;lr=0.125" out
}
run_test "--sensitivity divides rates" has_sensitivities

lists_groups() {
    for rule in sgd adamw muon; do
        expect 0 "$gpt" $size --list-groups --optimizer $rule --text none.txt
        says_all "group hidden: $rule;group embed;group vector;wte.weight;h.1.mlp.c_proj.bias;lr=" out
        [ "$(grep -c 'weight\|bias' out)" -ge 28 ] || fail "tensors are missing"
    done
    expect 0 "$gpt" $size --list-groups --optimizer muon --lr 0.125 --aux-lr 0.25 --embed-lr 0.5
    says_all "lr=0.125;lr=0.25;lr=0.5" out
    [ "$(ls)" = "$(printf 'err\nout')" ] || fail "it made $(ls)"
}
run_test "--list-groups lists groups and tensors" lists_groups

# With the rate of the hidden matrices at 0, only the rest moves, by its own schedule.
group_schedules() {
    rest="--steps 4 --warmup 0 --lr 0"
    expect 0 train $rest --cooldown 0 --aux-cooldown 1 --out run
    expect 0 train $rest --cooldown 1 --out same
    same run/step_000004/model.safetensors same/step_000004/model.safetensors
    expect 0 train $rest --cooldown 0 --out other
    cmp -s run/step_000004/model.safetensors other/step_000004/model.safetensors && fail "--aux-cooldown changes nothing"
    expect 0 train $rest --cooldown 0 --aux-warmup 3 --out warm
    expect 0 train --steps 4 --warmup 3 --lr 0 --cooldown 0 --out same2
    same warm/step_000004/model.safetensors same2/step_000004/model.safetensors
    cmp -s warm/step_000004/model.safetensors other/step_000004/model.safetensors && fail "--aux-warmup changes nothing"
    expect 0 train --steps 2 --planned-steps 100 --schedule linear --warmup 0 --out planned
    awk -F, '$1 == 2 { d = $6 / 0.02 - 0.99; good = d < 1e-6 && d > -1e-6 } END { exit !good }' planned/metrics.csv ||
        fail "the rate of step 2 of a plan of 100 is $(awk -F, 'END { print $6 }' planned/metrics.csv)"
    expect 0 resume --out planned --steps 4
    grep -q "the learning rate" out && fail "a planned schedule moved"
    return 0
}
run_test "--aux-cooldown, --aux-warmup and --planned-steps schedule what they say" group_schedules
