# helpers.sh: the harness, the inputs that all tests read, and a finished run of a tiny model in $work/made.

# --- the harness: a test is a function; fail and skip end it ---

logs=$work/logs most=${JOBS:-1}
mkdir "$logs"
. "$(dirname "$0")/jobs.sh"

fail() { echo "$*"; exit 1; }
skip() { echo "$*"; exit 77; }

run_test() { # name, function, its arguments
    case "$1|" in *"$pattern"*) ;; *) return ;; esac
    mkdir "$work/$((started + 1))"
    start_job "$1" in_its_folder "$@"
}

in_its_folder() { # name, function, its arguments
    cd "$work/$started" && shift && "$@"
}

count() { # status, log, name
    why=$(cat "$2")
    case $1 in
    0) passed=$((passed + 1)); echo "ok    $3"; rm -rf "${work:?}/$reported" ;;
    77) skipped=$((skipped + 1)); echo "skip  $3: $why" ;;
    *) failed=$((failed + 1)); echo "FAIL  $3: $why" ;;
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

says_all() { # words separated by ;, file
    (IFS=';'; for word in $1; do says "$word" "$2"; done) || exit 1
}

# Runs a table of tests `name prefix, function` from stdin: columns separated by |, spaces around it dropped.
run_table() {
    sed 's/ *| */|/g' > "$work/$2.table"
    while IFS='|' read -r first second third fourth <&3; do
        run_test "$1 $first" "$2" "$first" "$second" "$third" "$fourth"
    done 3< "$work/$2.table"
}

# --- inputs and runs ---

# Removes the checksum, the last member, from a JSON file.
unseal() {
    awk '/^  "checksum"/ { sub(/,$/, "", last) } NR > 1 && last !~ /^  "checksum"/ { print last } { last = $0 }
         END { print last }' "$1" > unsealed
    mv unsealed "$1"
}

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

# A file in $work that several tests read, from whichever has made it first.
shared() { # name, command that prints it
    file=$work/$1
    shift
    [ ! -f "$file" ] || return 0
    "$@" > "$file.$started"
    ln "$file.$started" "$file" 2> "$work/null" || [ -f "$file" ]
}

size="--layers 2 --heads 2 --width 16 --seq-len 32"
batch="--batch-size 4 --val-tokens 512 --warmup 2 --sample-every 0 --device ${DEVICE:-cpu}"
train() { "$gpt" $size $batch --text "$work/story.txt" "$@"; }
shards() { "$gpt" $size $batch "$@"; }
resume() { "$gpt" --resume "$@"; }

# The same for the background: $! is then the program itself.
train_on() { exec "$gpt" $size $batch --text "$work/story.txt" "$@"; }
resume_on() { exec "$gpt" --resume "$@"; }

# A finished run of 4 steps, for tests that only need one to read.
(cd "$work" && train --out made --steps 4 --keep 1 > made.out 2>&1) || { cat "$work/made.out"; exit 1; }
model=$work/made/step_000004

# --- what a run left ---

# Every file of the folder with its checksum, but for the output of the last command.
contents() { find . ! -name 'out' ! -name err ! -name '.' -print -type f -exec cksum {} \; | sort; }

# Runs a command that must end with the status and leave every file of the folder as it was.
changes_nothing() { # status, command
    contents > "$work/$started.before"
    expect "$@"
    contents > "$work/$started.after"
    cmp -s "$work/$started.before" "$work/$started.after" ||
        fail "it made or changed $(comm -3 "$work/$started.before" "$work/$started.after" | head -n 1)"
}

columns() { cut -d, -f1,2,4-7 "$1"; } # what does not depend on the clock

newest() { echo "$1/$(cat "$1/latest")"; }

same_end() { # two runs
    [ "$(cat "$1/latest")" = "$(cat "$2/latest")" ] || fail "$1 ends at $(cat "$1/latest"), $2 at $(cat "$2/latest")"
    for file in model.safetensors optimizer.safetensors config.json; do
        same "$(newest "$1")/$file" "$(newest "$2")/$file"
    done
    for run in "$1" "$2"; do
        # what depends on the clock, and with it the checksum; the names of the data
        sed 's/"[a-z_]*seconds": [^,}]*//g; s/"checksum": .*//; s/"name": "[^"]*"//' "$(newest "$run")/state.json" > "$run.state"
        columns "$run/metrics.csv" > "$run.columns"
    done
    same "$1.state" "$2.state"
    same "$1.columns" "$2.columns"
}

tensor_in() { # safetensors file, name
    header=$(od -An -td8 -N 8 "$1" | tr -d ' ')
    place=$(tail -c +9 "$1" | head -c "$header" | sed "s/.*\"$2\":{[^}]*\"data_offsets\":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/")
    tail -c +$((9 + header + ${place% *})) "$1" | head -c $((${place#* } - ${place% *}))
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
