#!/bin/sh
# cli.sh [TRAIN_GPT [PATTERN]]: end-to-end tests of the command, with the shell's usual tools alone.
# PATTERN: only the tests whose name contains it. Each test runs in an empty folder of its own.
gpt=${1:-./train_gpt}
pattern=${2:-}
case $gpt in /*) ;; *) gpt=$PWD/$gpt ;; esac
[ -x "$gpt" ] || { echo "$gpt: is not there; run make first" >&2; exit 1; }

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
export LC_ALL=C
export OMP_NUM_THREADS=1       # a tiny model gains nothing from more, and waits for them on a busy machine
export OMP_WAIT_POLICY=passive # for the tests that ask for more
passed=0 failed=0 skipped=0 number=0

# --- the harness: a test is a function; fail and skip end it ---

fail() { echo "$*"; exit 1; }
skip() { echo "$*"; exit 77; }

run_test() { # name, function, its arguments
    case $1 in *"$pattern"*) ;; *) return ;; esac
    name=$1
    shift
    number=$((number + 1))
    mkdir "$work/$number"
    why=$(cd "$work/$number" && "$@")
    case $? in
    0) passed=$((passed + 1)); echo "ok    $name"; rm -rf "${work:?}/$number" ;;
    77) skipped=$((skipped + 1)); echo "skip  $name: $why" ;;
    *) failed=$((failed + 1)); echo "FAIL  $name: $why" ;;
    esac
}

# Runs a command; its output goes to the files out and err, its exit status must be the first argument.
expect() {
    wanted=$1
    shift
    "$@" > out 2> err
    status=$?
    [ $status -eq "$wanted" ] || fail "exit status $status instead of $wanted: $* ($(head -n 1 err))"
}

says() { # words, file
    grep -Fq -e "$1" "$2" || fail "$2 does not say '$1': $(head -n 3 "$2")"
}

same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

# --- fixtures ---

little_endian() { # value, bytes
    value=$1 left=$2
    while [ "$left" -gt 0 ]; do
        printf "\\$(printf %03o $((value % 256)))"
        value=$((value / 256)) left=$((left - 1))
    done
}

zeros() { dd if=/dev/zero bs=1 count="$1" 2> "$work/null"; }

shard() { # magic, version, tokens counted, tokens there, first token; the others are 0
    little_endian "$1" 4
    little_endian "$2" 4
    little_endian "$3" 4
    zeros 1012
    little_endian "$5" 2
    zeros $((2 * ($4 - 1)))
}

# 20,000 bytes in which a model finds something to learn.
awk 'BEGIN { x = 1; split("the cat sat on a red mat and saw two old dogs run home", w, " ")
             while (n < 20000) { x = (x * 69069 + 5) % 4294967296; s = w[int(x / 4294967296 * 13) + 1] " "
                                 printf "%s", s; n += length(s) } }' > "$work/story.txt"
: > "$work/empty.txt"
printf 'ten bytes\n' > "$work/short.txt"
shard 20240520 1 1000 1000 7 > "$work/good.bin"
shard 20240520 1 1000 900 7 > "$work/truncated.bin"
shard 20240520 1 900 1000 7 > "$work/long.bin"
shard 1 1 1000 1000 7 > "$work/magic.bin"
shard 20240520 2 1000 1000 7 > "$work/version.bin"
shard 20240520 1 1000 1000 300 > "$work/beyond.bin"
shard 20240520 1 20 20 7 > "$work/few.bin"
head -c 100 "$work/good.bin" > "$work/header.bin"

size="--layers 2 --heads 2 --width 16 --seq-len 32"
batch="--batch-size 4 --val-tokens 512 --warmup 2 --sample-every 0 --device ${DEVICE:-cpu}"
train() { "$gpt" $size $batch --text "$work/story.txt" "$@"; }
resume() { "$gpt" --resume "$@"; }

# The same for the background: $! is then the program itself.
train_on() { exec "$gpt" $size $batch --text "$work/story.txt" "$@"; }
resume_on() { exec "$gpt" --resume "$@"; }

# A finished run of 4 steps, for tests that only need one to read.
(cd "$work" && train --out made --steps 4 --keep 1 > made.out 2>&1) || { cat "$work/made.out"; exit 1; }
model=$work/made/step_000004

# --- bad commands ---

contents() { find . ! -name 'out' ! -name err ! -name '.' -print -type f -exec cksum {} \; | sort; }

# Runs a table of tests `name prefix, function` from stdin: columns separated by |, spaces around it dropped.
run_table() {
    sed 's/ *| */|/g' > "$work/$2.table"
    while IFS='|' read -r first second third fourth <&3; do
        run_test "$1 $first" "$2" "$first" "$second" "$third" "$fourth"
    done 3< "$work/$2.table"
}

# The program must refuse: exit status, one line on stderr that holds all words (separated by ;), nothing made or
# changed in the folder, which holds a finished run `old`.
refuses() { # arguments, words, status
    words=$2 wanted=$3
    eval "set -- $1"
    cp -R "$work/made" old
    contents > "$work/before"
    expect "$wanted" train --steps 2 "$@"
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines: $(head -n 3 err)"
    contents > "$work/after"
    cmp -s "$work/before" "$work/after" || fail "it made or changed $(comm -3 "$work/before" "$work/after" | head -n 1)"
    says_all "$words" err
}

says_all() { # words separated by ;, file
    (IFS=';'; for word in $1; do says "$word" "$2"; done) || exit 1
}

run_table refuses refuses <<'TABLE'
--optimizr muon             | --optimizr;did you mean --optimizer      | 2
--no-lr                     | --no-lr                                  | 2
--qqqqqqqqqqqq              | there is no option --qqqqqqqqqqqq        | 2
adamw                       | 'adamw' is not an option                 | 2
-h                          | '-h' is not an option                    | 2
--                          | is not an option                         | 2
--lr                        | --lr needs a value                       | 2
--resume=yes                | --resume takes no value                  | 2
--no-nesterov=1             | takes no value                           | 2
--optimizer moun            | moun;muon                                | 2
--aux-optimizer adan        | 'adan';adamw                             | 2
--aux-optimizer muon        | --aux-optimizer muon;hidden matrices     | 2
--ns jordon                 | --ns;jordon;jordan                       | 2
--muon-scale big            | --muon-scale;'big';moonshot              | 2
--schedule step             | --schedule;'step';cosine                 | 2
--dtype fp16                | --dtype;fp16;bf16                        | 2
--device tpu                | --device;tpu;cuda                        | 2
--dtype bf16                | bf16;GPU;--dtype fp32                    | 2
--recompute layers          | layers;GPU;--recompute nothing           | 2
--recompute all             | --recompute;'all';cheap                  | 2
--batch-size auto           | auto;--total-batch                       | 2
--batch-size fit            | --batch-size;or auto;'fit'               | 2
--batch-size auto --total-batch 65 --seq-len 32 | 65;32 tokens         | 2
--model gpt3                | gpt3;gpt2-medium                         | 2
--model ''                  | --model                                  | 2
--model "$work/story.txt"   | --model;nor a directory                  | 2
--lr nan                    | --lr;nan                                 | 2
--lr -1                     | --lr;-1                                  | 2
--lr 1e30                   | --lr;1e+30                               | 2
--lr inf                    | --lr;inf                                 | 2
--lr fast                   | --lr;fast                                | 2
--lr=                       | --lr needs a number                      | 2
--lr 1e-3x                  | 1e-3x                                    | 2
--aux-lr nan                | --aux-lr;nan                             | 2
--embed-lr -1               | --embed-lr;-1                            | 2
--head-lr 0.1               | --head-lr;tied                           | 2
--momentum 1                | --momentum;below 1                       | 2
--beta1 0.9                 | muon does not use --beta1                | 2
--optimizer adamw --momentum 0.9          | adamw does not use --momentum       | 2
--optimizer adamw --ns exact              | adamw does not use --ns             | 2
--aux-optimizer sgd --aux-beta1 0.9       | sgd does not use --aux-beta1        | 2
--optimizer sgd --nesterov --momentum 0   | --nesterov;--momentum               | 2
--ns-steps 1.5              | --ns-steps;1.5                           | 2
--eps-mode middle           | --eps-mode;'middle';inside               | 2
--optimizer adamw --eps-max 1e-9          | --eps-max;--eps                     | 2
--optimizer adamw --eps-max 1 --eps-start 0.5 --eps-end 0.5 | --eps-start;--eps-end       | 2
--optimizer muon --eps-max 1              | muon does not use --eps-max         | 2
--optimizer sgd --momentum-form ema --dampening 0.1 | --dampening;--momentum-form         | 2
--optimizer shampoo --sides three         | --sides;'three';one                 | 2
--optimizer shampoo --refresh 0           | --refresh;0                         | 2
--optimizer dion --rank -1                | --rank;-1                           | 2
--aux-optimizer shampoo     | --aux-optimizer shampoo;hidden matrices  | 2
--sensitivity c_fc          | --sensitivity;'c_fc';NAME=X              | 2
--sensitivity c_fc=0        | --sensitivity;'c_fc=0'                   | 2
--sensitivity c_fc=1,nix=2  | --sensitivity;'nix';--list-groups        | 2
--ema-nesterov nan          | --ema-nesterov;nan                       | 2
--tail-ema 10               | --tail-ema 10;--tail-ema-from            | 2
--tail-ema-share 2          | --tail-ema-share;2                       | 2
--tail-ema-from 3           | --tail-ema-from 3;--tail-ema             | 2
--tail-ema 1 --tail-ema-from 99           | --tail-ema-from 99;2 steps          | 2
--ema-nesterov-from 3       | --ema-nesterov-from;--ema-nesterov       | 2
--ema-nesterov 1 --ema-nesterov-decay 1   | --ema-nesterov-decay 1              | 2
--ema-nesterov 1 --ema-nesterov-from 5 --ema-nesterov-until 2 | --ema-nesterov-from 5     | 2
--optimizer adamw --eps-rate 1            | --eps-rate;--eps-max                | 2
--aux-eps-max 1 --aux-eps-start .9 --aux-eps-end .5 | --aux-eps-start;--aux-eps-end | 2
--ns exact --ns-steps 3     | --ns-steps 3;--ns exact                  | 2
--sensitivity wte=1e-12     | embed;--sensitivity                      | 2
--diagnose -1               | --diagnose;-1                            | 2
--ns-steps 100              | --ns-steps;100                           | 2
--clip nan                  | --clip;nan                               | 2
--cooldown 2                | --cooldown;2                             | 2
--final-lr -1               | --final-lr;-1                            | 2
--temperature -1            | --temperature;-1                         | 2
--target-loss nan           | --target-loss;nan                        | 2
--layers 0                  | --layers;0                               | 2
--heads 0                   | --heads;0                                | 2
--width 0                   | --width;0                                | 2
--vocab 0                   | --vocab;0                                | 2
--seq-len 0                 | --seq-len;0                              | 2
--batch-size 0              | --batch-size;0                           | 2
--layers -1                 | --layers;-1                              | 2
--layers 1e30               | --layers;1e30                            | 2
--width 99999999999999999999 | --width;99999999999999999999            | 2
--width 9007199254740992    | --width;9007199254740992                 | 2
--layers 4097               | --layers;4097                            | 2
--layers 2.5                | --layers;2.5                             | 2
--layers ''                 | --layers needs                           | 2
--steps many                | --steps;many                             | 2
--threads 100000            | --threads;100000                         | 2
--heads 3                   | --heads 3;--width 16                     | 2
--total-batch 100           | --total-batch 100;128                    | 2
--batch-size 9007199254740992 | --batch-size;too large                 | 2
--batch-size 100000000      | out of memory;--batch-size               | 1
--width 1048576 --heads 1   | out of memory                            | 1
--vocab 100                 | 256;--vocab                              | 1
--prompt x --vocab 300      | --prompt;300                             | 2
--out old                   | old exists;--resume                      | 2
--resume                    | --resume needs --out                     | 2
--resume --out none         | none                                     | 2
--resume --out old --steps 8 --seed 2          | --seed 2;begun with 1                | 2
--resume --out old --steps 8 --lr 0.5          | --lr 0.5;the default                 | 2
--resume --out old --steps 8 --width 32        | --width 32;begun with 16             | 2
--resume --out old --steps 8 --optimizer adamw | --optimizer adamw;begun with muon    | 2
--resume --out old --steps 8 --text other.txt  | other.txt;story.txt                  | 2
--resume --out old --steps 8 --batch-size 3    | --total-batch 128;--batch-size 3     | 2
--resume --out old --steps 3                   | step 4 of 3                          | 1
--train "$work/good.bin"                       | --text;--train                       | 2
--text none.txt             | none.txt                                 | 1
--text "$work"              | not a regular file                       | 1
--text "$work/empty.txt"    | empty.txt;is empty                       | 1
--text "$work/short.txt"    | short.txt;10 bytes                       | 1
TABLE

shards() { "$gpt" $size $batch "$@"; }

refuses_shards() { # arguments, words, status
    words=$2 wanted=$3
    eval "set -- $1"
    contents > "$work/before"
    expect "$wanted" shards --steps 2 "$@"
    contents > "$work/after"
    cmp -s "$work/before" "$work/after" || fail "it made $(comm -3 "$work/before" "$work/after" | head -n 1)"
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
--train "$work/beyond.bin"               | beyond.bin;300;255            | 1
--train "$work/few.bin"                  | few.bin;20 tokens             | 1
--train "$work/[gt]*.bin"                | truncated.bin                 | 1
--train "$work/good.bin" --val 'none*'   | none*                         | 1
--train /dev/null                        | /dev/null;regular file        | 1
TABLE

no_gpu() {
    [ ! -e "${gpt%/*}/train_gpt_cuda" ] || skip "train_gpt_cuda is built"
    refuses "--device cuda" "--device cuda" 2
}
run_test "refuses --device cuda without one" no_gpu

unreadable() {
    [ "$(id -u)" -ne 0 ] || skip "root reads everything"
    mkdir closed
    chmod 0 closed
    expect 1 train --steps 2 --out closed/run
    says closed err
    expect 1 shards --steps 2 --train 'closed/*.bin'
    says closed err
}
run_test "refuses folders that are closed" unreadable

# --- malformed checkpoints: each row edits one file of a good one ---

header_size() { od -An -tu1 -N 8 "$1" | awk '{ print $1 + 256 * $2 + 65536 * $3 }'; }

# Edits the header of a safetensors file by a sed script; the last argument bytes of data are cut off.
edit_header() { # file, script, bytes
    size_before=$(header_size "$1")
    dd if="$1" bs=1 skip=8 count="$size_before" 2> "$work/null" | sed "$2" > head
    data=$(($(wc -c < "$1") - 8 - size_before - ${3:-0}))
    tail -c +$((9 + size_before)) "$1" | head -c "$data" > data
    { little_endian "$(wc -c < head)" 8; cat head data; } > edited
    cmp -s edited "$1" && fail "the fault changed nothing: $2"
    mv edited "$1"
}

edit_json() { # file, script
    sed "$2" "$1" > edited
    cmp -s edited "$1" && fail "the fault changed nothing: $2"
    mv edited "$1"
}

# Replaces the first bytes of a file.
overwrite() { # file; the bytes come from stdin
    dd of="$1" conv=notrunc bs=1 2> "$work/null"
}

refuses_model() { # name, command that makes the fault in ./model, words, status
    cp -R "$model" model
    eval "$2"
    expect "$4" "$gpt" --model model --text "$work/story.txt" --val-tokens 512 --steps 0 --device ${DEVICE:-cpu}
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines: $(head -n 3 err)"
    says_all "$3" err
}

run_table "refuses a checkpoint whose" refuses_model <<'TABLE'
folder is empty          | rm model/*                                                  | config.json | 2
config is broken         | edit_json model/config.json 's/"n_embd":/"n_embd"/'         | config.json;line | 2
config is cut            | head -c 99 model/config.json > c; mv c model/config.json    | config.json | 2
config lacks a key       | edit_json model/config.json '/"n_layer"/d'                  | config.json;n_layer | 2
config has a text size   | edit_json model/config.json 's/"n_embd": 16/"n_embd": "16"/' | n_embd | 2
config has a huge size   | edit_json model/config.json 's/"n_layer": 2/"n_layer": 99999999999/' | config.json;99999999999 | 2
config has no layers     | edit_json model/config.json 's/"n_layer": 2/"n_layer": 0/'  | config.json;layers | 2
heads do not divide      | edit_json model/config.json 's/"n_head": 2/"n_head": 3/'    | config.json;heads | 2
activation is another    | edit_json model/config.json 's/gelu_new/relu/'              | config.json;relu | 2
inner width is another   | edit_json model/config.json 's/"n_inner": null/"n_inner": 65/' | n_inner;65 | 2
head is not tied         | edit_json model/config.json 's/embeddings": true/embeddings": false/' | tie_word_embeddings | 2
kind is another          | edit_json model/config.json 's/"gpt2"/"llama"/'             | llama | 2
layers are more          | edit_json model/config.json 's/"n_layer": 2/"n_layer": 3/'  | model.safetensors;h.2. | 1
layers are fewer         | edit_json model/config.json 's/"n_layer": 2/"n_layer": 1/'  | model.safetensors;h.1. | 1
tensors are not there    | rm model/model.safetensors                                  | model.safetensors | 1
tensors are empty        | : > model/model.safetensors                                 | model.safetensors | 1
tensors are cut          | head -c 20000 "$model/model.safetensors" > model/model.safetensors | model.safetensors | 1
tensors are longer       | echo more >> model/model.safetensors                        | model.safetensors | 1
header is huge           | little_endian 99999999999 8 > p; overwrite model/model.safetensors < p | model.safetensors;header | 1
header has size 0        | zeros 8 > p; overwrite model/model.safetensors < p          | model.safetensors | 1
header is no JSON        | edit_header model/model.safetensors 's/^{/[/'               | model.safetensors | 1
header has a hole        | edit_header model/model.safetensors 's/"transformer.h.0.ln_1.bias":[^}]*},//' | model.safetensors | 1
header has an overlap    | edit_header model/model.safetensors 's/\[16,48\],"data_offsets":\[21504,24576\]/[16,48],"data_offsets":[18432,21504]/' | model.safetensors | 1
offsets go backwards     | edit_header model/model.safetensors 's/\[0,16384\]/[16384,0]/'         | model.safetensors;wte | 1
header has a key twice   | edit_header model/model.safetensors 's/h.1.ln_1.bias/h.0.ln_1.bias/'   | model.safetensors;h.0.ln_1.bias | 1
dtype is unknown         | edit_header model/model.safetensors 's/F32/F99/'            | wte.weight;F99 | 1
dtype is a whole number  | edit_header model/model.safetensors 's/F32/I32/'            | wte.weight;I32 | 1
last tensor is missing   | edit_header model/model.safetensors 's/,"transformer.ln_f.bias":[^}]*}//' 64 | ln_f.bias;missing | 1
tensor is unknown        | edit_header model/model.safetensors 's/ln_f.bias/ln_g.bias/' | ln_g.bias | 1
tensor is there twice    | edit_header model/model.safetensors 's/transformer.h.1.ln_1.bias/h.0.ln_1.bias/' | h.0.ln_1.bias;twice | 1
shape is transposed      | edit_header model/model.safetensors 's/\[256,16\]/[16,256]/' | wte.weight;[256, 16] | 1
shape overflows          | edit_header model/model.safetensors 's/\[256,16\]/[4294967296,4294967296]/' | wte.weight | 1
TABLE

refuses_state() { # name, command that makes the fault in ./run, words, status
    cp -R "$work/made" run
    eval "$2"
    contents > "$work/before"
    expect "$4" resume --out run --steps 8
    contents > "$work/after"
    cmp -s "$work/before" "$work/after" || fail "it changed $(comm -3 "$work/before" "$work/after" | head -n 1)"
    says_all "$3" err
}

run_table "refuses to resume when" refuses_state <<'TABLE'
run.json is not there     | rm run/run.json                                             | run.json | 2
run.json is broken        | edit_json run/run.json 's/}$//'                             | run.json | 2
run.json has no options   | echo '{}' > run/run.json                                    | run.json;options | 2
latest is not there       | rm run/latest                                               | latest | 2
latest is empty           | : > run/latest                                              | latest | 2
latest names what is gone | echo step_000003 > run/latest                               | step_000003 | 1
latest leaves the run     | echo ../made/step_000004 > run/latest                       | latest;../made | 2
state.json is broken      | echo '{"step": 4' > run/step_000004/state.json              | state.json | 1
state.json lacks a key    | edit_json run/step_000004/state.json 's/"tokens"/"token"/'  | state.json | 1
state.json is negative    | edit_json run/step_000004/state.json 's/"step": 4/"step": -4/' | state.json | 1
optimizer state is gone   | rm run/step_000004/optimizer.safetensors                    | optimizer.safetensors | 1
optimizer state is cut    | head -c 9999 "$model/optimizer.safetensors" > run/step_000004/optimizer.safetensors | optimizer.safetensors | 1
a state tensor is renamed | edit_header run/step_000004/optimizer.safetensors 's/ln_f.bias.m/ln_f.bias.n/' | ln_f.bias.m | 1
a state's shape is wrong  | edit_header run/step_000004/optimizer.safetensors 's/\[256,16\]/[16,256]/' | wte.weight | 1
the step count is a word  | edit_header run/step_000004/optimizer.safetensors 's/steps_done":"4/steps_done":"x/' | steps_done | 1
the log is another's      | edit_json run/metrics.csv '1s/step/stop/'                   | metrics.csv | 1
TABLE

# --- runs ---

columns() { cut -d, -f1,2,4-7 "$1"; } # what does not depend on the clock

newest() { echo "$1/$(cat "$1/latest")"; }

same_end() { # two runs
    [ "$(cat "$1/latest")" = "$(cat "$2/latest")" ] || fail "$1 ends at $(cat "$1/latest"), $2 at $(cat "$2/latest")"
    for file in model.safetensors optimizer.safetensors config.json; do
        same "$(newest "$1")/$file" "$(newest "$2")/$file"
    done
    for run in "$1" "$2"; do
        sed 's/"[a-z_]*seconds": [^,}]*//g' "$(newest "$run")/state.json" > "$run.state"
        columns "$run/metrics.csv" > "$run.columns"
    done
    same "$1.state" "$2.state"
    same "$1.columns" "$2.columns"
}

# Waits until the file has at least so many lines.
await_lines() { # file, lines
    tries=0
    until [ -f "$1" ] && [ "$(wc -l < "$1")" -ge "$2" ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "$1 did not grow to $2 lines in time"
        sleep 0.05
    done
}

whole_run() {
    expect 0 train --steps 7 --val-every 3 --checkpoint-every 2 --keep 2 --out run
    [ "$(wc -l < run/metrics.csv)" -eq 9 ] || fail "metrics.csv has $(wc -l < run/metrics.csv) lines"
    [ "$(head -n 1 run/metrics.csv | cut -d, -f1-8)" = \
      "step,tokens,seconds,train_loss,val_loss,lr,grad_norm,tokens_per_second" ] || fail "the header is another"
    awk -F, 'NR > 1 && ($1 != NR - 2 || $2 != 128 * $1 || NF != 12) { exit 1 }' run/metrics.csv || fail "rows differ"
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

keeps() {
    expect 0 train --steps 5 --checkpoint-every 1 --keep 0 --out all
    [ "$(ls -d all/step_* | wc -l)" -eq 5 ] || fail "--keep 0 kept $(ls all)"
    expect 0 train --steps 5 --checkpoint-every 2 --keep 1 --out one
    [ "$(ls -d one/step_*)" = one/step_000005 ] || fail "--keep 1 kept $(ls one)"
    expect 0 train --steps 5 --out last
    [ "$(ls -d last/step_*)" = last/step_000005 ] || fail "no --checkpoint-every kept $(ls last)"
}
run_test "--keep keeps the newest" keeps

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

continues_elsewhere() {
    cp -R "$model" start
    expect 0 "$gpt" --model start --text "$work/story.txt" $batch --steps 2 --out run
    rm -r start
    expect 0 resume --out run --steps 4
    [ "$(cat run/latest)" = step_000004 ] || fail "latest is $(cat run/latest)"
}
run_test "a run from --model DIR resumes without DIR" continues_elsewhere

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

resumes_exactly() { # optimizer
    expect 0 train --steps 13 --val-every 4 --optimizer "$1" --out whole
    for stop in 1 4 8; do
        rm -rf run
        expect 0 train --steps 13 --val-every 4 --optimizer "$1" --checkpoint-every $stop --keep 0 --out run
        # what a stop after this step would have left, and a log that had gone on
        printf 'step_%06d\n' $stop > run/latest
        expect 0 resume --out run
        same_end whole run
    done
}
for rule in sgd adamw muon; do
    run_test "a resumed run is bit-equal, $rule" resumes_exactly $rule
done

drops_rows() {
    expect 0 train --steps 6 --checkpoint-every 2 --keep 0 --val-every 0 --out run
    printf 'step_000002\n' > run/latest
    printf '7,896,1.' >> run/metrics.csv
    expect 0 resume --out run --steps 3
    [ "$(cut -d, -f1 run/metrics.csv | tr '\n' ' ')" = "step 1 2 3 " ] || fail "$(cut -d, -f1 run/metrics.csv)"
}
run_test "resuming drops the rows after the checkpoint" drops_rows

# Every optimizer that --help names: it learns something, and a resumed run is bit-equal, averages and instruments included.
learns_and_resumes() {
    wrappers="--ema-nesterov 0.3 --tail-ema 3 --tail-ema-from 5 --diagnose 4"
    expect 0 train --optimizer "$1" $wrappers --steps 12 --val-every 12 --val-tokens 512 --out whole
    awk -F, 'NR == 2 { first = $5 } NR > 1 && $5 != "" { last = $5 } END { exit !(last < first - 0.02) }' whole/metrics.csv ||
        fail "the loss did not fall: $(cut -d, -f5 whole/metrics.csv | tr '\n' ' ')"
    expect 0 train --optimizer "$1" $wrappers --steps 7 --schedule constant --val-every 0 --out seven
    expect 0 train --optimizer "$1" $wrappers --steps 12 --schedule constant --val-every 0 --out twelve
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

one_at_a_time() {
    train_on --steps 400 --total-batch 1024 --val-every 0 --out run > first 2>&1 &
    child=$!
    await_lines run/metrics.csv 3
    expect 1 resume --out run
    says "another process is training there" err
    kill -s KILL $child
    wait $child 2> /dev/null
    expect 2 resume --out run
    says "run/latest is not there" err
    expect 0 train --steps 2 --out done
    rm done/step_000002/model.safetensors
    mkfifo done/step_000002/model.safetensors
    expect 1 resume --out done --steps 4
    says "done/step_000002/model.safetensors" err
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

interrupted() { # signal, status
    train_on $long --checkpoint-every 0 --out run > out 2> err &
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
    expect 0 train $long --out whole
    same_end whole run
}
run_test "SIGINT saves and the resumed run is bit-equal" interrupted INT 130
run_test "SIGTERM saves and the resumed run is bit-equal" interrupted TERM 143

interrupted_sample() {
    train_on --steps 50 --sample-every 2 --sample-tokens 200000 --out run > out 2> err &
    child=$!
    await_lines run/metrics.csv 4
    sleep 0.2
    kill -s TERM $child
    sleep 0.1
    kill -0 $child 2> /dev/null || fail "it ended before the sample did"
    kill -s TERM $child
    wait $child 2> /dev/null
    [ $? -eq 143 ] || fail "a second signal did not end it at once"
    train_on --steps 50 --sample-every 2 --sample-tokens 3000 --out again > out 2> err &
    child=$!
    await_lines again/metrics.csv 4
    kill -s TERM $child
    wait $child 2> /dev/null
    last=$(awk -F, 'END { print $1 }' again/metrics.csv)
    [ "$(cat again/latest)" = "$(printf 'step_%06d' "$last")" ] || fail "logged step $last, saved $(cat again/latest)"
}
run_test "a signal while a sample is printed saves; a second one ends at once" interrupted_sample

killed() {
    expect 0 train --steps 200 --val-every 50 --out whole
    train_on --steps 200 --val-every 50 --checkpoint-every 3 --out run > out 2> err &
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
    [ "$(cat run/latest)" = step_000200 ] || expect 0 resume --out run
    same_end whole run
}
run_test "kill -9, again and again: the end is bit-equal" killed

ignores_leftovers() {
    cp -R "$work/made" run
    mkdir run/step_000006.tmp
    echo half > run/step_000006.tmp/model.safetensors
    expect 0 resume --out run --steps 6
    [ ! -e run/step_000006.tmp ] || fail "step_000006.tmp is still there"
    [ "$(cat run/latest)" = step_000006 ] || fail "latest is $(cat run/latest)"
}
run_test "an unfinished checkpoint is ignored and replaced" ignores_leftovers

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
        for (i = 4; i <= 7; i++) { d = $i - $(i + 12); if (d < 0) d = -d
            if (($i == "") != ($(i + 12) == "") || d > 1e-5 * ($i > 1 ? $i : 1)) bad = 1 } }
        END { exit bad || rows != 9 }' || fail "$(paste -d, four/metrics.csv one/metrics.csv | cut -d, -f1,4,16 | tail -n 1)"
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

samples() {
    expect 0 train --steps 4 --sample-every 2 --sample-tokens 20 --prompt 'the cat' --out run
    for step in 2 4; do
        says "--- sample at step $step" out
    done
    [ "$(grep -c '^the cat' out)" -eq 2 ] || fail "samples do not begin with the prompt"
    expect 0 train --steps 2 --out quiet
    grep -q -e '--- sample' out && fail "--sample-every 0 printed a sample"
    expect 0 "$gpt" --model "$model" --text "$work/story.txt" --steps 0 --val-tokens 0 --prompt 'Once' --temperature 0 \
        --sample-tokens 100
    says "Once" out
    cp out first
    expect 0 "$gpt" --model "$model" --text "$work/story.txt" --steps 0 --val-tokens 0 --prompt 'Once' --temperature 0.9 \
        --top-k 1 --sample-tokens 100
    same first out
}
run_test "samples are printed when asked for; top-k 1 is temperature 0" samples

plain_output() {
    expect 0 train --steps 6 --val-every 2 --out run
    [ "$(grep -c '^step *[0-9]*/6 ' out)" -eq 7 ] || fail "$(grep -c '^step *[0-9]*/6 ' out) lines of steps instead of 7"
    escape=$(printf '\033') return=$(printf '\r')
    grep -q -e "$escape" -e "$return" out && fail "there are control characters"
    [ ! -s err ] || fail "stderr says $(head -n 1 err)"
}
run_test "output to a file has a line a step and no escape sequences" plain_output

closed_output() {
    train --steps 3 --out run >&- 2>&- <&-
    status=$?
    [ $status -eq 0 ] || fail "exit status $status"
    train --steps 3 --out open > out
    columns run/metrics.csv > closed.columns
    columns open/metrics.csv > open.columns
    same closed.columns open.columns
}
run_test "closed output: nothing strays into the run's files" closed_output

full_disk() {
    expect 0 train --steps 4 --checkpoint-every 2 --keep 0 --out run
    cp -R run kept
    (trap '' XFSZ; ulimit -f 20; expect 1 resume --out run --steps 8) || exit 1
    says_all "step_000006;cannot be written" err
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines"
    [ "$(cat run/latest)" = step_000004 ] || fail "latest is $(cat run/latest)"
    find run -name '*.tmp' | grep -q . && fail "left $(find run -name '*.tmp')"
    for file in config.json model.safetensors optimizer.safetensors state.json; do
        same kept/step_000004/$file run/step_000004/$file
    done
    expect 0 resume --out run
    expect 0 train --steps 8 --out whole
    cmp -s run/step_000008/model.safetensors whole/step_000008/model.safetensors && fail "the schedule did not change"
    [ "$(cat run/latest)" = step_000008 ] || fail "latest is $(cat run/latest)"
}
run_test "a full disk leaves the last checkpoint whole" full_disk

# 96 sequences make a step; 32 is the largest power of two that divides it.
batch_that_fits() {
    expect 0 train --batch-size auto --total-batch 3072 --val-every 0 --steps 1 --out fits
    says "3072 tokens: 3 x 32 sequences of 32" out
    says '"batch-size": "32"' fits/run.json
}
run_test "--batch-size auto takes what divides a step" batch_that_fits

helps() {
    expect 0 "$gpt" --help
    for option in train val text model layers heads width vocab seq-len batch-size total-batch recompute optimizer aux-optimizer \
        lr weight-decay momentum dampening nesterov no-nesterov beta1 beta2 eps ns ns-steps ns-dtype muon-scale split-qkv \
        no-split-qkv cautious momentum-form nesterov-form momentum-warmup momentum-cooldown momentum-start eps-mode eps-max eps-rate \
        eps-start eps-end bias-correction no-bias-correction zero-init-moments cpr-warmup rank sides refresh graft \
        sensitivity ema-nesterov ema-nesterov-decay ema-nesterov-from ema-nesterov-until tail-ema tail-ema-from \
        tail-ema-share diagnose aux-lr aux-weight-decay aux-momentum aux-beta1 aux-beta2 aux-eps aux-eps-mode \
        aux-bias-correction embed-lr head-lr clip list-groups \
        steps schedule warmup cooldown final-lr val-every val-tokens target-loss sample-every sample-tokens prompt \
        temperature top-k out checkpoint-every keep resume seed threads device dtype help version; do
        grep -Eq -e "^ +(--[a-z-]+, )?--$option(,| |\$)" out || fail "--help does not list --$option"
    done
    for word in sgd nesterov adagrad rmsprop adadelta adam adamw nested-adam adam-cpr signsgd signum lion muon spectral \
        normuon muonh normuonh adamh muon2 dion shampoo soap soap-muon kl-soap jordan polar-express moonshot cosine 'Exit status'; do
        says "$word" out
    done
    [ ! -s err ] || fail "stderr says $(head -n 1 err)"
    expect 0 "$gpt" --version
    grep -Eq '^train_gpt [0-9]+\.[0-9]+' out || fail "$(cat out)"
}
run_test "--help lists every option, --version says one line" helps

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

# --- GPUs that the emulation plays (DEVICE=cuda) ---

gpu_refuses() { # environment, arguments, words
    expect 1 env $1 "$gpt" $size $batch --text "$work/story.txt" --steps 1 --out new $2
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines: $(head -n 3 err)"
    says_all "$3" err
    [ ! -e new ] || fail "it made a run"
}

gpu_says() { # environment, arguments, words
    expect 0 env $1 "$gpt" $size $batch --text "$work/story.txt" --steps 1 --val-every 0 --out new $2
    says_all "$3" out
}

if [ "${DEVICE:-cpu}" = cuda ]; then
    run_table "GPU: refuses" gpu_refuses <<'TABLE'
CUDA_ON_CPU_DEVICES=0       |                            | no GPU answers
CUDA_ON_CPU_DRIVER=12040    |                            | driver;CUDA 12.4;needs 13
CUDA_ON_CPU_CAPABILITY=7.0  |                            | capability 7.0;7.5 or newer;--device cpu
CUDA_ON_CPU_CAPABILITY=7.5  | --dtype bf16               | capability 7.5;bf16 needs 8.0;--dtype fp32
CUDA_ON_CPU_CAPABILITY=7.5  | --dtype tf32               | capability 7.5;tf32 needs 8.0;--dtype fp32
CUDA_ON_CPU_CAPABILITY=7.5  | --heads 1 --width 128      | heads of 128 channels;fewer in fp32
CUDA_ON_CPU_SEED=7          | --layers 1 --heads 100 --width 8200 --vocab 256 --batch-size 1 | width of 8200;at most 8192
CUDA_ON_CPU_MEMORY=30000000 |                            | out of memory;--batch-size
CUDA_ON_CPU_SEED=20         | --width 40 --dtype bf16    | heads of 20 channels;multiples of 8;--dtype fp32
CUDA_ON_CPU_SEED=136        | --width 272                | heads of 136 channels;fewer in fp32
CUDA_ON_CPU_SEED=136        | --width 272 --dtype bf16   | heads of 136 channels;multiples of 8, at most 128
CUDA_ON_CPU_SEED=11         | --batch-size 100000000000 --dtype bf16 | memory
TABLE
    run_table "GPU:" gpu_says <<'TABLE'
CUDA_ON_CPU_DEVICES=3         |                            | 3 GPUs here, using 1
CUDA_ON_CPU_NAME=CUDA_9       |                            | peak;unknown
CUDA_ON_CPU_NAME=Tesla        | --dtype tf32               | Tesla, cuBLASLt, tf32
CUDA_ON_CPU_CAPABILITY=7.5    |                            | cuBLASLt, fp32
CUDA_ON_CPU_CAPABILITY=8.0    |                            | cuBLASLt, bf16
CUDA_ON_CPU_SEED=20           | --width 40                 | cuBLASLt, fp32
CUDA_ON_CPU_MEMORY=60000000   | --batch-size auto --total-batch 4096                        | sequences of 32
TABLE
    peak_of_h200() {
        expect 0 env CUDA_ON_CPU_NAME="NVIDIA H200" "$gpt" $size $batch --text "$work/story.txt" --steps 1 --out new
        says_all "peak      989 TFLOP/s in bf16;% MFU" out
    }
    run_test "GPU: a known one's share of its peak is shown" peak_of_h200
    # Less memory: a smaller micro-batch of the same step.
    batch_by_memory() {
        for bytes in 80000000 44000000; do
            expect 0 env CUDA_ON_CPU_MEMORY=$bytes "$gpt" $size --text "$work/story.txt" --steps 1 --val-every 0 \
                --sample-every 0 --batch-size auto --total-batch 8192 --out $bytes
            sed -n 's/^step .* x \([0-9]*\) sequences.*/\1/p' out >> batches
        done
        [ "$(sed -n 1p batches)" -gt "$(sed -n 2p batches)" ] || fail "batches of $(tr '\n' ' ' < batches)"
    }
    run_test "GPU: --batch-size auto goes by its memory" batch_by_memory
    recomputes() { # the same losses
        for what in nothing layers; do
            expect 0 "$gpt" $size $batch --text "$work/story.txt" --steps 3 --val-every 0 --recompute $what --out $what
            cut -d, -f4,7 $what/metrics.csv > $what.csv
        done
        same nothing.csv layers.csv
    }
    run_test "GPU: --recompute layers changes no bit" recomputes
    samples_alike() {
        for what in nothing layers; do
            expect 0 "$gpt" --model "$model" --steps 0 --temperature 0 --sample-tokens 30 --prompt "the " \
                --text "$work/story.txt" --val-tokens 64 --recompute $what
            sed -n '/^--- sample/,/^---$/p' out > $what.txt
        done
        [ "$(wc -c < nothing.txt)" -gt 30 ] || fail "no sample: $(tail -n 3 out)"
        same nothing.txt layers.txt
    }
    run_test "GPU: --recompute layers changes no sample" samples_alike
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
