# data.sh: shards and the built-in stories.

refuses_shards() { # arguments, words, status
    words=$2 wanted=$3
    eval "set -- $1"
    changes_nothing "$wanted" shards --steps 2 "$@"
    says_all "$words" err
}

run_table refuses refuses_shards <<'TABLE'
--train ''                               | pattern;empty                 | 1
--train 'none*.bin'                      | no file matches;none*.bin     | 1
--val "$work/good.bin"                   | --val without --train         | 2
--train "$work/truncated.bin"            | truncated.bin;truncated;1000  | 1
--train "$work/long.bin"                 | long.bin;too long             | 1
--train "$work/header.bin"               | header.bin;100 bytes          | 1
--train "$work/empty.txt"                | empty.txt;0 bytes             | 1
--train "$work/magic.bin"                | magic.bin;20240520            | 1
--train "$work/version.bin"              | version.bin;version 2         | 1
--train "$work/beyond.bin"               | beyond.bin;300;255;--vocab 50257 | 1
--train "$work/few.bin"                  | few.bin;20 tokens             | 1
--text "$work/good.bin"                  | good.bin;not a text;--train   | 1
--train "$work/[gt]*.bin"                | truncated.bin                 | 1
--train "$work/good.bin" --val 'none*'   | none*                         | 1
--train /dev/null                        | /dev/null;regular file        | 1
TABLE

shard_run() {
    expect 0 shards --steps 3 --train "$work/goo*.bin" --val "$work/good.bin" --out run
    expect 0 "$gpt" --steps 0 --model run/step_000003 --val "$work/good.bin" --val-tokens 512 --sample-every 0
    says "val loss" out
    expect 0 shards --steps 3 --train "$work/good.bin" --out blind
    awk -F, 'NR > 1 && $5 != "" { exit 1 }' blind/metrics.csv || fail "a run without --val has a val_loss"
}
run_test "shards train and validate" shard_run

stories_run() {
    expect 0 "$gpt" $size $batch --steps 1 --out run
    says "floor" out
    says '"floor":' run/run.json
    awk -F, 'NR == 2 && $5 > 5 && $5 < 6 { good = 1 } END { exit !good }' run/metrics.csv || fail "the first loss is not ln 256"
}
run_test "the built-in stories train" stories_run
