# journey.sh: somebody's own text from a folder to an evaluated model, with the tiny vocabulary of dev/tests/tokenizer.

own_text() {
    mkdir texts
    for i in 1 2 3 4 5 6 7 8 9; do lorem 20 > "texts/$i.txt"; done
    lorem 40 | as_jsonl > texts/more.jsonl
    expect 0 toke texts --val-fraction 0.2 --out shards/mine
    expect 0 "$gpt" $size --seq-len 16 --batch-size 4 --train 'shards/mine_train_*.bin' --val 'shards/mine_val_*.bin' \
        --tokenizer "$vocabulary" --steps 40 --val-every 20 --eval 'shards=shards/mine_val_*.bin' --eval-every 20 \
        --loss-tables table --sample-tokens 8 --out run
    says_all "V=497;bits a byte;--- sample at step 40" out
    cut -d, -f1,2 run/evals.csv | sort | uniq -c | tr -s ' ' > rows
    says_all "1 step,task; 3 0,shards=shards/mine_val_*.bin; 3 20,shards=; 3 40,shards=" rows
    head -n 1 table_position.csv | grep -qx 'position,targets,loss' || fail "$(head -n 1 table_position.csv)"
    awk -F, 'NR > 1 { n += $4 } END { exit !(n > 100) }' table_frequency.csv || fail "$(cat table_frequency.csv)"
    for file in vocab.json merges.txt tokenizer_config.json; do
        [ -s "run/step_000040/$file" ] || fail "the checkpoint has no $file"
    done

    # From the checkpoint alone: its tokenizer, the same loss, items of the user's own.
    printf '{"ctx": "document 1 of the", "endings": ["river, it is", "xyz 9"], "label": 0}\n' > items.jsonl
    mv "run/step_000040" model
    expect 0 "$gpt" --model model --steps 0 --prompt 'the boats' --sample-tokens 5 \
        --eval 'hellaswag=items.jsonl,shards=shards/mine_val_*.bin'
    says_all "the boats;accuracy, ;1 items" out
    loss=$(sed -n 's/^40,[^,]*,loss,//p' run/evals.csv | cut -c1-6)
    says "shards    $loss" out
    expect 1 "$gpt" --model model --steps 0 --eval hellaswag=missing.jsonl
    says "missing.jsonl" err
    expect 0 "$gpt" --model model --text texts/1.txt --seq-len 16 --batch-size 2 --steps 2 --out on
    says "texts/1.txt" out
}
run_test "somebody's own text: tokenize, train, sample, evaluate" own_text

# --text cuts as data/tokenize --val-tail does: at a character, whatever its bytes.
same_cut() {
    { printf 'é中ü'; lorem 60; printf '中é中é中é中é中é'; } > a.txt
    expect 0 toke a.txt --val-tail 0.1 --out x
    set -- $size --seq-len 8 --batch-size 2 --steps 2 --val-every 1 --sample-every 0 --tokenizer "$vocabulary"
    expect 0 "$gpt" "$@" --text a.txt --out one
    expect 0 "$gpt" "$@" --train x_train_000000.bin --val x_val_000000.bin --out two
    for run in one two; do cut -d, -f1,2,4,5 $run/metrics.csv > $run.csv; done
    same one.csv two.csv
}
run_test "--text and tokenize --val-tail cut alike" same_cut

# A run goes on without the tables that it began with: its checkpoint has them. Evaluations after it are written again.
resumed_evals() {
    mkdir tables && cp "$vocabulary"/vocab.json "$vocabulary"/merges.txt tables
    lorem 200 > a.txt
    set -- $size --seq-len 16 --batch-size 4 --text a.txt --tokenizer tables --val-every 0 --sample-every 0 \
        --eval shards=x_train_000000.bin --eval-every 5 --checkpoint-every 10
    expect 0 toke a.txt --val-fraction 0 --out x
    expect 0 "$gpt" "$@" --steps 20 --out whole
    expect 0 "$gpt" "$@" --steps 20 --keep 0 --out cut
    rm -r cut/step_000020 tables
    echo step_000010 > cut/latest
    expect 0 "$gpt" --resume --out cut
    same whole/evals.csv cut/evals.csv
}
run_test "evaluations of a resumed run, whose tokenizer's tables are gone" resumed_evals

# A tokenizer that does not fit the model.
foreign_tables() {
    lorem 50 > a.txt
    changes_nothing 2 "$gpt" --model "$model" --steps 0 --text a.txt --tokenizer "$vocabulary"
    says_all "497;256;another model's" err
    changes_nothing 2 "$gpt" $size --vocab 300 --text a.txt --tokenizer "$vocabulary" --steps 1
    says_all "497;300" err
    changes_nothing 1 "$gpt" $size --tokenizer "$vocabulary" --steps 1
    says_all "stories;--text" err
    changes_nothing 2 "$gpt" $size --text a.txt --eval-every 5 --steps 1
    says "--eval-every needs --eval" err
    changes_nothing 2 "$gpt" $size --text a.txt --eval hellaswag=x --loss-tables y --steps 1
    says "--loss-tables needs --eval shards=GLOB, once" err
}
run_test "a tokenizer that does not fit, and evaluation that lacks something" foreign_tables

# A checkpoint's tables are checked like its weights, and no other tokenizer takes their place in silence.
own_tables() {
    lorem 200 > a.txt
    set -- $size --seq-len 16 --batch-size 4 --val-every 0 --sample-every 0 --checkpoint-every 5 --keep 0
    expect 0 "$gpt" "$@" --text a.txt --tokenizer "$vocabulary" --steps 10 --out run
    cp -r run/step_000010 model
    printf '# changed\na b\n' >> run/step_000010/merges.txt
    expect 0 "$gpt" --resume --out run --steps 12
    says "continuing from run/step_000005" out
    sed 's/"a": \([0-9]*\), "b": \([0-9]*\)/"a": \2, "b": \1/' model/vocab.json > swapped
    cmp -s swapped model/vocab.json && fail "nothing was changed"
    mkdir other && cp model/merges.txt other && cp swapped other/vocab.json
    changes_nothing 2 "$gpt" --model model --text a.txt --tokenizer other --steps 0
    says_all "--tokenizer other;another than that of model" err
    changes_nothing 2 "$gpt" --model model --text a.txt --tokenizer bytes --steps 0
    says "--tokenizer bytes is another" err
    changes_nothing 2 "$gpt" --resume --out run --tokenizer bytes --steps 14
    says "--tokenizer bytes is another" err
    cp swapped model/vocab.json
    changes_nothing 2 "$gpt" --model model --text a.txt --steps 0
    says_all "model: its tokenizer;checksum" err
    expect 0 toke a.txt --val-fraction 0 --out x
    changes_nothing 1 "$gpt" "$@" --text x_train_000000.bin --tokenizer "$vocabulary" --steps 1
    says "is a file of token shards" err
    changes_nothing 2 "$gpt" "$@" --train stories --text a.txt --steps 1
    says "--train stories excludes --text" err
}
run_test "a checkpoint's tokenizer: checksum, and others" own_tables

# An evaluation that a signal cuts is made by the resumed run; a target that is reached has one too.
owed_evals() {
    lorem 4000 > a.txt
    expect 0 toke a.txt --val-fraction 0 --out x
    set -- $size --seq-len 16 --batch-size 1 --text a.txt --tokenizer "$vocabulary" --val-every 0 --sample-every 0
    "$gpt" "$@" --eval shards=x_train_000000.bin --steps 3 --out cut > out 2> err &
    process=$!
    for i in 1 2 3 4 5 6 7 8 9 10; do [ "$(wc -l 2> /dev/null < cut/metrics.csv)" -ge 4 ] 2> /dev/null && break; sleep 0.1; done
    kill -TERM $process
    wait $process
    status=$?
    [ $status -eq 143 ] || skip "the evaluation was over before the signal: exit status $status"
    says "stopped by signal 15 after step 3 of 3" out
    [ ! -e cut/evals.csv ] || fail "$(cat cut/evals.csv)"
    expect 0 "$gpt" --resume --out cut
    grep -q '^3,shards=x_train_000000.bin,loss,' cut/evals.csv || fail "no evaluation: $(cat cut/evals.csv)"
    expect 1 "$gpt" --resume --out cut
    says "nothing is left to do" err
    printf '{"ctx": "a", "endings": ["b", "c d"], "label": 0}\n' > items.jsonl
    expect 0 "$gpt" $size --seq-len 16 --batch-size 4 --text a.txt --tokenizer "$vocabulary" --val-every 1 --val-tokens 64 \
        --target-loss 100 --steps 50 --sample-every 0 --eval hellaswag=items.jsonl --out reached
    says "hellaswag=items.jsonl,accuracy" reached/evals.csv
}
run_test "evaluations that a run owes" owed_evals

# The judges of dev/reference that need Python, where it is there.
judged() { # script, its arguments
    python=$("$dev/python.sh" --find torch transformers tokenizers safetensors) ||
        skip "there is no Python with transformers (make huggingface)"
    cd "$dev/.." || fail "there is no folder of the project"
    said=$("$python" "$@" 2>&1) || fail "$(echo "$said" | grep -v ' ok$' | tail -n 3)"
}
run_test "transformers: checkpoints both ways, in every form" judged dev/reference/huggingface.py "$gpt" \
    "$helpers/write_reference" "$(dirname "$gpt")/convert_llmc" "$work/huggingface"
run_test "transformers: --eval to the last item" judged dev/reference/evaluate.py "$gpt" "$work/evaluate"
