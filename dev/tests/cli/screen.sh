# screen.sh: what is on the screen: lines that fit a terminal, and sentences that say what to do.

fits_terminal() { # columns
    [ -x "$harness" ] || skip "the harness was not built"
    expect 0 "$harness" terminal "$1" "$gpt" $size $batch --text "$work/story.txt" --steps 12 --val-every 6 --out run
    tr '\r' '\n' < out | sed "s/$(printf '\033')\[K//" > lines
    awk -v columns="$1" '/^step|^[a-z]* +[^ ]/ && length($0) > columns && !/^saved|^done|^val loss/ { print; bad = 1 }
                         END { exit bad }' lines || fail "a line is wider than $1 columns"
    [ "$(grep -c '^step *[0-9]*/12 | loss' lines)" -eq 12 ] || fail "$(grep -c '^step' lines) lines of steps"
    for step in 6 12; do
        grep -q "^step *$step/12 | loss .* | val " lines || fail "the validation of step $step is not shown"
    done
    [ "$1" -lt 80 ] || grep -q '^step *3/12 | .* tok/s | .* left' lines || fail "80 columns show no rate or time left"
    [ "$1" -lt 120 ] || grep -q '^step *3/12 | .* norm .*FLOP/s.* left' lines || fail "120 columns do not show all"
}
for columns in 40 80 120; do
    run_test "progress fits $columns columns" fits_terminal $columns
done

thinned() {
    expect 0 train --steps 200 --val-every 50 --out run
    [ "$(grep -c '^step ' out)" -le 8 ] || fail "$(grep -c '^step ' out) lines of steps in a second"
    [ "$(grep -c 'val ' out)" -ge 5 ] || fail "validations are missing"
    [ "$(wc -l < run/metrics.csv)" -eq 202 ] || fail "metrics.csv has $(wc -l < run/metrics.csv) lines"
}
run_test "piped progress is thinned out, the log is not" thinned

# command, exit status, words, file they are in
tells() {
    mkdir nano gpt2
    expect "$2" eval "$1"
    says_all "$3" "$4"
}
while IFS='|' read -r command status words file; do
    run_test "says what to do: $command" tells "$command" "$status" "$words" "$file"
done <<'TABLE'
"$gpt" -h|0|--steps N|out
train --steps 1e3|2|did you mean 1000?|err
train --steps 2 --val-every 50.0|2|did you mean 50?|err
train --optimizer adam-w|2|did you mean adamw?|err
train --model nano --steps 1|2|./nano;preset:nano|err
train --model gpt2 --steps 1|2|./gpt2;preset:gpt2|err
train --model preset:nano --steps 1|0|from scratch|out
train --model ./nano --steps 1|2|config.json|err
train --steps 1|0|nano from scratch|out
train --steps 2|0|all of the 2 steps are warmup|out
train --steps 2 --warmup 0 --aux-warmup 9|0|warmup of all but the hidden matrices (--aux-warmup 9)|out
train --steps 2 --total-batch 256 --first-batch 128 --batch-growth 9|0|--batch-growth;the run has 2|out
"$gpt" --model "$model" --steps 0 --dropout 0.1 --sample-tokens 5|0|--dropout is not used|out
"$gpt" --model "$model" --steps 0 --qk-clip 30 --sample-tokens 5|0|--qk-clip is not used|out
shards --train "$work/good.bin" --steps 3|0|without --val there is no validation loss|out
shards --text "$work/good.bin" --steps 1|1|good.bin;--train|err
shards --train "$work/beyond.bin" --steps 1|1|300;--vocab|err
shards --train "$work/good.bin" --val "$work/good.bin" --steps 4|0|1000 tokens to train on|out
train --steps 3 --momentum-warmup 0x10|2|--momentum-warmup;0x10|err
train --steps 3 --ns-steps +5|2|--ns-steps;+5|err
train --steps 3 --lr ' 5'|2|--lr needs a number|err
train --steps 3 --clip 0x1p3|2|--clip needs a number|err
"$gpt" --model "$model" --steps 0 --sample-tokens 5|0|not validated|out
TABLE

presets() {
    expect 0 "$gpt" --list-presets
    grep -q '^record-1 .*124M' out || fail "$(head -n 3 out)"
    awk 'length > 79' out | grep -q . && fail "a line is too long"
    for preset in $("$gpt" --list-presets | sed 's/ .*//'); do
        expect 0 "$gpt" --preset "$preset" --list-groups --device cpu
    done
    expect 0 train --preset record-1-nano --steps 2 --lr 0.125 --out run
    for word in '"preset": "record-1-nano"' '"optimizer": "adamw"' '"lr": "0.125"' '"schedule": "cosine"' '"steps": "2"' \
        '"beta2": "0.95"'; do
        says "$word" run/run.json
    done
    printf '# mine\n\n  lr\t0.25   # high\r\nno-nesterov\nsteps 3\n' > mine
    expect 0 train --preset ./mine --out own
    for word in '"lr": "0.25"' '"nesterov": "off"' '"steps": "3"'; do says "$word" own/run.json; done
    rm mine
    printf '  # a text may hold the sign\nprompt Shelf #1 # of 2 \nsteps 1 # but numbers do not\n' > sign
    expect 0 train --preset ./sign --out sign-run
    says '"prompt": "Shelf #1 # of 2"' sign-run/run.json
    printf 'lr 0.1\0001\nsteps 1\n' > zero
    expect 2 train --preset ./zero
    says "./zero: not a preset: it holds a NUL byte" err
    expect 0 resume --out own --steps 4
    says '"lr": "0.25"' own/run.json
    printf 'lr 0.1\nlearning 3\n' > bad
    expect 2 train --preset ./bad
    says_all "./bad:2: there is no option --learning" err
    for line in 'lr' 'nesterov on' 'steps many' 'preset record-l' 'preset ./bad' 'resume'; do
        printf '\n%s\n' "$line" > bad
        expect 2 train --preset ./bad
        says "./bad:2: --" err
    done
    expect 2 train --preset record-l
    says_all "record-l;did you mean record-1" err
}
run_test "presets: names, files, and the command line over them" presets

preset_data() {
    tiny="$size $batch --total-batch 128"
    changes_nothing 1 "$gpt" --preset track3-muon $tiny
    says_all "there is no data/fineweb10B/fineweb_train_*.bin;data/get fineweb10B brings it" err
    mkdir -p data/fineweb10B && : > data/fineweb10B/fineweb_train_000001.bin.part
    expect 1 "$gpt" --preset track3-muon $tiny
    says "data/get fineweb10B brings it" err
    rm -r data
    changes_nothing 1 "$gpt" --preset nanogpt-cpu $tiny
    says_all "data/tinyshakespeare/input.txt;data/get tinyshakespeare brings it" err
    for preset in record-3 track3-muon; do
        expect 0 "$gpt" --preset $preset $tiny --steps 1 --text "$work/story.txt" --out $preset-text
        says "data      $work/story.txt" out
        expect 0 "$gpt" --preset $preset $tiny --steps 1 --train "$work/good.bin" --out $preset-train
        says "without --val there is no validation loss" out
        expect 0 "$gpt" --preset $preset-nano $tiny --steps 1 --out $preset-nano
        says "data      the built-in stories" out
        grep -q '^    "train": "' $preset-nano/run.json && fail "the stories are shards: $(cat $preset-nano/run.json)"
    done
    printf 'preset track3-muon\ntext %s\n' "$work/story.txt" > mine
    expect 0 "$gpt" --preset ./mine $tiny --steps 1 --out mine-text
    says "data      $work/story.txt" out
    expect 0 "$gpt" --preset ./mine $tiny --steps 1 --train stories --out mine-stories
    says "data      the built-in stories" out
    expect 0 shards --steps 1 --train stories --out stories
    says "data      the built-in stories" out
    expect 2 shards --steps 1 --train stories --val "$work/good.bin"
    says "--train stories excludes --val" err
}
run_test "presets: their data, and other data in its place" preset_data

short_val() {
    shard 20240520 1 1 1 7 > one.bin
    expect 1 shards --train "$work/good.bin" --val one.bin --steps 3 --out run
    says "one.bin" err
    [ ! -e run ] || fail "it made the folder"
}
run_test "a validation set without a target is refused before anything is made" short_val

other_forms() {
    cp -R "$model" model
    rm model/state.json
    mv model/model.safetensors model/model-00001-of-00001.safetensors
    tr -d ' ' < model/model-00001-of-00001.safetensors | tr ',' '\n' | sed -n 's/.*\("transformer[^"]*"\):{"dtype.*/\1/p' > names
    { printf '{"weight_map": {'
      sed 's/$/: "model-00001-of-00001.safetensors"/; $!s/$/,/' names
      printf '}}'; } > model/model.safetensors.index.json
    expect 0 "$gpt" --model model --text "$work/story.txt" --val-tokens 512 --steps 0 --sample-every 0
    grep '^val loss' out > sharded
    expect 0 "$gpt" --model "$model" --text "$work/story.txt" --val-tokens 512 --steps 0 --sample-every 0
    grep '^val loss' out | cmp -s - sharded || fail "$(cat sharded), but of one file $(grep '^val loss' out)"
    rm model/model.safetensors.index.json
    : > model/pytorch_model.bin
    expect 1 "$gpt" --model model --text "$work/story.txt" --steps 0
    says_all "pytorch_model.bin;from_pretrained(\"model\").save_pretrained" err
}
run_test "a model in several files is read; of a pickled one it says what to do" other_forms

stories_only_for_their_models() {
    expect 0 "$gpt" $size $batch --steps 1 --out run
    expect 0 "$gpt" --model run/step_000001 --steps 0 --val-tokens 512 --sample-every 0
    says_all "val loss;above the floor" out
    expect 0 "$gpt" --model "$model" --steps 0 --sample-every 0
    grep -q "val loss" out && fail "a text's model was validated on the stories"
    return 0
}
run_test "the built-in stories validate only models that were trained on them" stories_only_for_their_models
