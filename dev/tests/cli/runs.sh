# runs.sh: what a run writes, when it stops, and what must not change its results.

whole_run() {
    expect 0 train --steps 7 --val-every 3 --checkpoint-every 2 --keep 2 --out run
    [ "$(wc -l < run/metrics.csv)" -eq 9 ] || fail "metrics.csv has $(wc -l < run/metrics.csv) lines"
    [ "$(head -n 1 run/metrics.csv | cut -d, -f1-8)" = \
      "step,tokens,seconds,train_loss,val_loss,lr,grad_norm,tokens_per_second" ] || fail "the header is another"
    awk -F, 'NR > 1 && ($1 != NR - 2 || $2 != 128 * $1 || NF != 16) { exit 1 }' run/metrics.csv || fail "rows differ"
    awk -F, 'NR > 1 && ($5 == "") == ($1 % 3 == 0 || $1 == 7) { exit 1 }' run/metrics.csv || fail "val_loss is misplaced"
    awk -F, 'NR == 2 && ($4 $6 $7 $8) != "" { exit 1 }' run/metrics.csv || fail "step 0 measured something"
    awk -F, '$1 > 0 { factor = $1 < 3 ? $1 / 2 : 8 - $1 < 2.8 ? (8 - $1) / 2.8 : 1; d = $6 / (0.02 * factor) - 1
                      if (NR > 2 && (d > 1e-6 || d < -1e-6)) exit 1 }' run/metrics.csv || fail "lr does not follow the schedule"
    [ "$(ls run | tr '\n' ' ')" = "latest metrics.csv run.json step_000006 step_000007 " ] || fail "$(ls run)"
    [ "$(ls run/step_000007 | tr '\n' ' ')" = "config.json model.safetensors optimizer.safetensors state.json " ] ||
        fail "$(ls run/step_000007)"
    [ "$(cat run/latest)" = step_000007 ] || fail "latest is $(cat run/latest)"
    for word in '"version"' '"machine"' '"lr": "0.02"' '"steps": "7"' '"width": "16"' '"val-every": "3"'; do
        says "$word" run/run.json
    done
    says_all "CPU;muon;adamw;parameters;tokens;memory" out
}
run_test "a run writes run.json, metrics.csv, checkpoints, latest" whole_run

# Plain descent with its gradient clipped to half is descent with half the rate.
clips() {
    plain="--steps 1 --warmup 0 --schedule constant --optimizer sgd --momentum 0 --val-every 1"
    expect 0 train $plain --clip 0 --lr 0.5 --out half
    norm=$(awk -F, 'END { printf "%.9g", $7 / 2 }' half/metrics.csv)
    expect 0 train $plain --clip "$norm" --lr 1 --out clipped
    expect 0 train $plain --clip 1e9 --lr 0.5 --out loose
    expect 0 train $plain --clip 0 --lr 1 --out whole
    loss() { awk -F, 'END { print $5 }' "$1/metrics.csv"; }
    # a step's rounding moves the loss by a few units of its fp32 sums
    awk -v a="$(loss half)" -v b="$(loss clipped)" 'BEGIN { exit !(a - b < 2e-6 && b - a < 2e-6) }' ||
        fail "clipped: $(loss clipped), half the rate: $(loss half)"
    same half/step_000001/model.safetensors loose/step_000001/model.safetensors
    awk -v a="$(loss half)" -v b="$(loss whole)" 'BEGIN { exit !(a - b > 1e-4) }' || fail "the rate changes nothing"
    [ "$(columns clipped/metrics.csv | cut -d, -f6)" = "$(columns whole/metrics.csv | cut -d, -f6)" ] ||
        fail "grad_norm is not the norm before clipping"
}
run_test "--clip bounds the gradient's norm" clips

default_out() {
    expect 0 train --steps 1
    [ "$(ls -d runs/*-muon | wc -l)" -eq 1 ] || fail "there is no runs/<time>-muon"
}
run_test "the default folder is runs/<time>-<optimizer>" default_out

evaluates() {
    expect 0 "$gpt" --model "$model" --text "$work/story.txt" --val-tokens 512 --batch-size 3 --steps 0 --sample-every 0
    got=$(awk '/^val loss/ { print $3 + 0 }' out)
    want=$(awk -F, 'END { printf "%.6f", $5 }' "$work/made/metrics.csv")
    awk -v a="$got" -v b="$want" 'BEGIN { exit !(a - b < 1.5e-6 && b - a < 1.5e-6 && a > 1) }' ||
        fail "val loss $got, the run's last row has $want"
    expect 0 resume --out "$work/made" --steps 0 --sample-every 0
    [ "$(awk '/^val loss/ { print $3 + 0 }' out)" = "$got" ] || fail "--resume --steps 0 evaluates another model"
}
run_test "--steps 0 evaluates a checkpoint as its run did" evaluates

reaches_target() {
    expect 0 train --steps 400 --lr 0.05 --aux-lr 0.02 --val-every 5 --target-loss 4 --out run
    says "target    4.0000 reached at step" out
    says "tokens" out
    says "s of training" out
    last=$(awk -F, 'END { print $1 }' run/metrics.csv)
    [ "$last" -lt 400 ] || fail "it did not stop early"
    awk -F, 'NR > 1 && $5 != "" && $5 <= 4 { n++; row = NR } END { exit !(n == 1 && row == NR) }' run/metrics.csv ||
        fail "it did not stop at the first validation below the target"
    awk -v last="$last" '/reached at step/ { exit !($6 > last - 5 && $6 <= last) }' out || fail "$(grep reached out)"
    [ "$(cat run/latest)" = "$(printf 'step_%06d' "$last")" ] || fail "latest is $(cat run/latest)"
}
run_test "--target-loss stops early and says where" reaches_target

diverges() { # optimizer
    expect 3 train --steps 200 --optimizer "$1" --lr 1e6 --aux-lr 1e6 --checkpoint-every 1 --out run
    says_all "diverged;in step;not finite;weight" err
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines"
    grep -Eq 'nan|inf' run/metrics.csv && fail "metrics.csv holds what is not finite"
    [ -f run/latest ] || return 0
    expect 0 "$gpt" --model "$(newest run)" --text "$work/story.txt" --val-tokens 512 --steps 0 --sample-every 0
}
for rule in sgd adamw muon; do
    run_test "a huge rate diverges: status 3, $rule" diverges $rule
done

threads() {
    for n in 1 2 3; do
        expect 0 train --steps 5 --batch-size 5 --threads $n --out "run$n"
    done
    same_end run1 run2
    same_end run1 run3
}
run_test "1, 2 and 3 threads give the same bits" threads

accumulates() {
    expect 0 train --steps 8 --batch-size 4 --total-batch 256 --out four
    expect 0 train --steps 8 --batch-size 1 --total-batch 256 --out one
    paste -d, four/metrics.csv one/metrics.csv | awk -F, 'NR > 1 { rows++
        for (i = 4; i <= 7; i++) { d = $i - $(i + 16); if (d < 0) d = -d
            if (($i == "") != ($(i + 16) == "") || d > 1e-5 * ($i > 1 ? $i : 1)) bad = 1 } }
        END { exit bad || rows != 9 }' || fail "$(paste -d, four/metrics.csv one/metrics.csv | cut -d, -f1,4,20 | tail -n 1)"
}
run_test "--batch-size 1 and 4 agree at one --total-batch" accumulates

seeds() {
    expect 0 train --steps 5 --out one
    expect 0 train --steps 5 --out two
    same_end one two
    expect 0 train --steps 5 --seed 2 --out three
    cmp -s one/step_000005/model.safetensors three/step_000005/model.safetensors && fail "--seed 2 changes nothing"
    return 0
}
run_test "the same seed gives the same bytes, another does not" seeds

# 96 sequences make a step; 32 is the largest power of two that divides it.
batch_that_fits() {
    expect 0 train --batch-size auto --total-batch 3072 --val-every 0 --steps 1 --out fits
    says "3072 tokens: 3 x 32 sequences of 32" out
    says '"batch-size": "32"' fits/run.json
}
run_test "--batch-size auto takes what divides a step" batch_that_fits
