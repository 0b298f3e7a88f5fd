# convert.sh: models between llm.c's files and directories, by ./convert_llmc.

convert=${gpt%/*}/convert_llmc
references=$(cd "$here/.." && pwd)

needs_convert() { [ -x "$convert" ] || skip "convert_llmc is not built"; }

# llmc_model.bin was written in Python.
converts() {
    needs_convert
    expect 0 "$convert" "$references/llmc_model.bin" model
    expect 0 "$convert" --dtype fp32 model back.bin
    same "$references/llmc_model.bin" back.bin
    expect 0 "$convert" --dtype bf16 model half.bin
    [ "$(wc -c < half.bin)" -eq $((1024 + ($(wc -c < back.bin) - 1024) / 2)) ] || fail "half.bin has $(wc -c < half.bin) bytes"
    expect 0 "$convert" half.bin half
    expect 0 "$convert" --dtype bf16 half again.bin
    same half.bin again.bin
    cmp -s model/model.safetensors half/model.safetensors && fail "nothing was rounded"
    expect 0 "$convert" --dtype fp32 "$model" trained.bin
    expect 0 "$convert" trained.bin trained
    for from in "$model" trained; do
        expect 0 "$gpt" --model "$from" --text "$work/story.txt" --val-tokens 512 --steps 0 --sample-every 0
        grep '^val loss' out
    done > losses
    [ "$(sort -u losses | wc -l)" -eq 1 ] || fail "converted, the loss is another: $(cat losses)"
}
run_test "convert_llmc: from llm.c and back, in fp32 and bf16" converts

refuses_to_convert() { # arguments, words, status
    needs_convert
    words=$2 wanted=$3
    eval "set -- $1"
    cp -R "$model" old
    cp "$references/llmc_model.bin" old.bin
    head -c 9999 old.bin > cut.bin
    changes_nothing "$wanted" "$convert" "$@"
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines: $(head -n 3 err)"
    says_all "$words" err
}

run_table "convert_llmc refuses" refuses_to_convert <<'TABLE'
old.bin                     | --help                                   | 2
old.bin new more            | --help                                   | 2
--dtype fp16 old new.bin    | --dtype;fp16                             | 2
--dtype                     | --dtype                                  | 2
old new.bin                 | old;--dtype fp32                         | 2
--dtype fp32 old.bin new    | old.bin is no directory                  | 2
old.bin old                 | old: already exists                      | 1
--dtype fp32 old old.bin    | old.bin: already exists                  | 1
none.bin new                | none.bin: cannot be opened               | 1
cut.bin new                 | cut.bin: has 9999 bytes                  | 1
"$work/good.bin" new        | good.bin: begins with 20240520           | 1
--dtype fp32 . new.bin      | config.json                              | 1
TABLE
