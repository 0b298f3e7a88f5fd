# tokenize.sh: data/tokenize, with the tiny vocabulary of dev/tests/tokenizer.

tokenize=$(dirname "$gpt")/data/tokenize
vocabulary=$(cd "$here/../tokenizer" && pwd)

shared=$(cd "$here/../../../.." && pwd)/shared/data # public data, which is not part of the project

toke() { "$tokenize" --tokenizer "$vocabulary" --threads 1 "$@"; }

# The ids of all shards that match, without headers, one a line.
ids() { for shard; do tail -c +1025 "$shard"; done | od -An -v -tu2 | tr -s ' ' '\n' | grep .; }

# What the shards' ids say, by the vocabulary; <|endoftext|> as a line of its own.
text_of() {
    ids "$@" | awk -v table="$vocabulary/tiny.tiktoken" '
        BEGIN { while ((getline line < table) > 0) { split(line, part, " "); token[part[2]] = part[1] } }
        { print $1 == 496 ? "Cjx8ZW5kb2Z0ZXh0fD4K" : token[$1] }' | while read -r word; do printf %s "$word" | base64 -d; done
}

lorem() { # documents: numbered ones of some size
    awk -v n="$1" 'BEGIN { for (i = 1; i <= n; i++) { printf "document %d of the river, it is", i
        for (j = 0; j < i % 7; j++) printf " said that she%cs seen the boats", 39
        printf "\n" } }'
}

as_jsonl() { sed 's/.*/{"id": 1, "text": "&"}/'; }

# --- wrong commands ---

refuses_tokenize() { # arguments, words, status
    words=$2 wanted=$3
    eval "set -- $1"
    changes_nothing "$wanted" "$tokenize" "$@"
    says_all "$words" err
    [ "$(wc -l < err)" -eq 1 ] || fail "stderr has $(wc -l < err) lines"
}

run_table "tokenize refuses" refuses_tokenize <<'TABLE'
--tokenizer "$vocabulary" --out x                       | no files to tokenize              | 2
"$work/story.txt" --tokenizer "$vocabulary"             | --out PREFIX is missing           | 2
"$work/story.txt" --tokenizer "$vocabulary" --out x/    | names a folder                    | 2
"$work/story.txt" --out x                               | --tokenizer gpt2;data/get tokenizer | 1
"$work/story.txt" --tokenizer bytes --out x             | bytes need no shards;--text       | 2
"$work/story.txt" --tokeniser a --out x                 | --tokeniser;did you mean --tokenizer | 2
"$work/story.txt" --out                                 | --out needs a value               | 2
"$work/story.txt" --out ''                              | --out needs a value               | 2
"$work/story.txt" --shard-tokens 0                      | --shard-tokens;whole number from 1;'0' | 2
"$work/story.txt" --shard-tokens 1e6                    | --shard-tokens;'1e6'              | 2
"$work/story.txt" --val-fraction 1                      | --val-fraction;below 1;'1'        | 2
"$work/story.txt" --val-tail -0.1                       | --val-tail;'-0.1'                 | 2
"$work/story.txt" --val-tail 0.1 --val-fraction 0.1     | only one of them                  | 2
"$work/story.txt" --threads 9999                        | --threads;9999                    | 2
none.txt --tokenizer "$vocabulary" --out x              | none.txt: cannot be opened        | 1
"$work/story.txt" --tokenizer none --out x              | none: cannot be opened            | 1
"$work/empty.txt" --tokenizer "$work" --out x           | has no tokenizer                  | 1
/dev/null --tokenizer "$vocabulary" --out x             | /dev/null;regular file            | 1
TABLE

tokenize_help() {
    expect 0 "$tokenize" --help
    [ ! -s err ] || fail "it writes to stderr"
    awk 'length > 80 { exit 1 }' out || fail "a line has more than 80 columns"
    says_all "--val-tail;--field;.zst;goes on where it stopped" out
}
run_test "tokenize --help fits 80 columns" tokenize_help

# --- what it makes ---

tokenize_text() {
    printf 'the boats <|endoftext|> said\n' > a.txt
    expect 0 toke a.txt --val-fraction 0 --out x
    [ "$(text_of x_train_000000.bin)" = "$(printf '\n<|endoftext|>\nthe boats <|endoftext|> said\n')" ] || fail "$(text_of x_train_*)"
    [ "$(ids x_train_000000.bin | grep -c '^496$')" -eq 1 ] || fail "<|endoftext|> in a text is no text"
    [ ! -e x_val_000000.bin ] || fail "there are held-out tokens"
    says_all "1 documents, 29 bytes;x_train_000000.bin;x_manifest.json" out
    [ -z "$(ls | grep -v -e '^x_train_000000.bin$' -e '^x_manifest.json$' -e '^a.txt$' -e '^out$' -e '^err$')" ] || fail "$(ls)"
    [ "$(od -An -tu4 -N16 x_train_000000.bin | tr -s ' ')" = " 20240520 1 $(ids x_train_000000.bin | wc -l) 0" ] || fail "the header"
    expect 0 "$gpt" $size $batch --seq-len 4 --batch-size 1 --vocab 497 --train x_train_000000.bin --steps 1
}
run_test "tokenize makes a shard of a text" tokenize_text

# The cut of nanoGPT, in characters: 10 of them, then one that has two bytes.
tokenize_tail() {
    printf 'abcdefgh\303\251j\303\274' > a.txt
    expect 0 toke a.txt --val-tail 0.1 --out x
    [ "$(text_of x_train_000000.bin)" = "$(printf '\n<|endoftext|>\nabcdefgh\303\251')" ] || fail "$(text_of x_train_*)"
    [ "$(text_of x_val_000000.bin)" = "$(printf '\n<|endoftext|>\nj\303\274')" ] || fail "$(text_of x_val_*)"
    printf '{"text": "abcdefgh\303\251j\303\274"}\n' > a.jsonl
    expect 0 toke a.jsonl --val-tail 0.1 --out y
    same x_train_000000.bin y_train_000000.bin
    same x_val_000000.bin y_val_000000.bin
}
run_test "tokenize --val-tail cuts characters" tokenize_tail

tokenize_holds_out_nothing() {
    lorem 3 > a.txt
    expect 0 toke a.txt --val-fraction 0.001 --out x
    says_all "no tokens: --val-fraction 0.001 holds out nothing here;delete x_* and give --val-tail 0.1" out
    expect 0 toke a.txt --val-fraction 0 --out y
    ! grep -q "give" out || fail "advice on what was asked for"
    rm x_*
    expect 0 toke a.txt --val-tail 0.1 --out x
    [ -s x_val_000000.bin ] || fail "nothing is held out"
    ! grep -q "give" out || fail "advice where something is held out"
}
run_test "tokenize says where nothing is held out" tokenize_holds_out_nothing

tokenize_tinyshakespeare() {
    data=${TRAIN_GPT_DATA:-$shared}
    [ -f "$data/tinyshakespeare_val.bin" ] || skip "$data/tinyshakespeare_val.bin is not there"
    expect 0 "$tokenize" "$data/tinyshakespeare.txt" --tokenizer "$data/gpt2_vocab.bpe" --val-tail 0.1 --out x
    same x_train_000000.bin "$data/tinyshakespeare_train.bin"
    same x_val_000000.bin "$data/tinyshakespeare_val.bin"
}
run_test "tokenize makes nanoGPT's tinyshakespeare" tokenize_tinyshakespeare

# A document in a line, in a file, and compressed, is the same; empty ones are left out.
tokenize_forms() {
    lorem 40 > lines
    mkdir -p folder/sub folder/.hidden
    i=100
    while read -r line; do
        i=$((i + 1))
        printf %s "$line" > "folder/sub/$i.txt"
    done < lines
    : > folder/sub/empty.txt
    printf hidden > folder/.hidden/a.txt
    printf hidden > folder/.a.txt
    printf other > folder/a.c
    ln -s .. folder/sub/loop
    as_jsonl < lines > lines.jsonl
    printf '\n{"text": ""}\n' >> lines.jsonl
    sed 's/"text"/"body"/' lines.jsonl > body.ndjson
    expect 0 toke folder --val-fraction 0.3 --out a
    says_all "40 documents;1 empty documents left out;1 other files" out
    expect 0 toke lines.jsonl --val-fraction 0.3 --out b
    expect 0 toke body.ndjson --field body --val-fraction 0.3 --out c
    gzip -k lines.jsonl
    expect 0 toke lines.jsonl.gz --val-fraction 0.3 --out d
    cat lines.jsonl.gz lines.jsonl.gz > twice.jsonl.gz
    expect 0 toke twice.jsonl.gz --val-fraction 0 --out e
    for name in b c d; do
        same a_train_000000.bin ${name}_train_000000.bin
        same a_val_000000.bin ${name}_val_000000.bin
    done
    says "80 documents" out
    # in another order the same documents are held out
    sort -r lines.jsonl > reversed.jsonl
    expect 0 toke reversed.jsonl --val-fraction 0.3 --out f
    text_of a_val_000000.bin | grep . | sort > a.val
    text_of f_val_000000.bin | grep . | sort > f.val
    same a.val f.val
    documents=$(grep -c document a.val)
    [ "$documents" -gt 3 ] && [ "$documents" -lt 25 ] || fail "$documents of 40 documents are held out"
}
run_test "tokenize reads texts, folders, JSONL and gzip" tokenize_forms

tokenize_zstd() {
    command -v zstd > /dev/null || skip "there is no zstd program"
    lorem 40 | as_jsonl > lines.jsonl
    zstd -q -k lines.jsonl
    "$tokenize" lines.jsonl.zst --tokenizer "$vocabulary" --out b > out 2> err
    [ $? -eq 0 ] || { says "libzstd-dev" err; skip "it was built without zstd"; }
    expect 0 toke lines.jsonl --out a
    same a_train_000000.bin b_train_000000.bin
    head -c 100 lines.jsonl.zst > cut.jsonl.zst
    changes_nothing 1 toke cut.jsonl.zst --out c
    says "cut.jsonl.zst: ends early" err
}
run_test "tokenize reads zstd" tokenize_zstd

tokenize_shards() {
    lorem 300 | as_jsonl > lines.jsonl
    expect 0 toke lines.jsonl --val-fraction 0.2 --out a
    expect 0 toke lines.jsonl --val-fraction 0.2 --shard-tokens 1000 --out b
    for set in train val; do
        ids a_${set}_*.bin > a.ids
        ids b_${set}_*.bin > b.ids
        same a.ids b.ids
        n=$(($(wc -l < a.ids)))
        [ "$(ls b_${set}_*.bin | wc -l)" -eq $(((n + 999) / 1000)) ] || fail "$n tokens in $(ls b_${set}_*.bin | wc -l) shards"
        [ "$(wc -c < b_${set}_000000.bin)" -eq 3024 ] || fail "the first shard has $(wc -c < b_${set}_000000.bin) bytes"
    done
    # a whole number of shards
    total=$(ids a_train_000000.bin | wc -l)
    expect 0 toke lines.jsonl --val-fraction 0.2 --shard-tokens "$total" --out c
    same a_train_000000.bin c_train_000000.bin
    [ ! -e c_train_000001.bin ] || fail "there is an empty shard"
}
run_test "tokenize cuts shards at exactly N tokens" tokenize_shards

# More than one batch and parts of a text; a long text, cut in the middle of characters and of white space.
many_documents() {
    shared many.txt lorem 40000
    shared many.jsonl as_jsonl < "$work/many.txt"
    shared many.jsonl.gz gzip -1 -c "$work/many.jsonl"
}

tokenize_threads() {
    many_documents
    for n in 1 2 3; do
        expect 0 "$tokenize" "$work/many.txt" "$work/many.jsonl" --tokenizer "$vocabulary" --val-fraction 0.1 --threads $n \
            --shard-tokens 1000000 --out $n
    done
    for shard in 1_*.bin; do
        same "$shard" "2${shard#1}"
        same "$shard" "3${shard#1}"
    done
    sed '/"files"/d; /"checksum"/d; s/"file": "1/"file": "2/' 1_manifest.json > 1.json
    sed '/"files"/d; /"checksum"/d' 2_manifest.json > 2.json
    same 1.json 2.json
    # a text is tokenized in parts, a line at once
    expect 0 toke "$work/many.txt" --val-fraction 0 --out text
    { printf '{"text": "'; awk '{ printf "%s\\n", $0 }' "$work/many.txt"; printf '"}\n'; } > line.jsonl
    expect 0 toke line.jsonl --val-fraction 0 --out line
    same text_train_000000.bin line_train_000000.bin
}
run_test "tokenize does not depend on the number of threads" tokenize_threads

tokenize_manifest() {
    lorem 50 | as_jsonl > lines.jsonl
    expect 0 toke lines.jsonl --val-fraction 0.2 --shard-tokens 500 --out x
    says_all '"val_fraction": 0.2;"documents": 50;"path": "lines.jsonl";"file": "x_train_000001.bin", "tokens": 500;"shard_tokens": 500' \
        x_manifest.json
    total=$(sed -n 's/.*"tokens": \([0-9]*\).*/\1/p' x_manifest.json | awk '{ n += $1 } END { print n }')
    [ "$total" -eq "$(ids x_*.bin | wc -l)" ] || fail "the manifest counts $total tokens"
    if command -v xxhsum > /dev/null; then
        says "$(xxhsum -H1 lines.jsonl | cut -d' ' -f1)" x_manifest.json
        says "$(xxhsum -H1 x_val_000000.bin | cut -d' ' -f1)" x_manifest.json
    fi
    job="lines.jsonl --val-fraction 0.2 --out x --shard-tokens"
    changes_nothing 0 toke $job 500
    says "x_manifest.json: is finished, $total tokens of 50 documents" out
    cp x_manifest.json x_journal.json # as if it had been stopped before it could remove the journal
    expect 0 toke $job 500
    [ ! -e x_journal.json ] || fail "the journal of a finished output is left"
    changes_nothing 1 toke $job 501
    says_all "x_manifest.json: its shards are finished;--shard-tokens 500, not 501;delete x_*" err
    mv x_train_000001.bin y
    changes_nothing 1 toke $job 500
    says "x_train_000001.bin: is listed in x_manifest.json, and cannot be opened" err
    head -c 1022 y > x_train_000001.bin
    changes_nothing 1 toke $job 500
    says "x_train_000001.bin: has 1022 bytes, and by x_manifest.json 2024" err
    mv y x_train_000001.bin
    echo '{"text": "more"}' >> lines.jsonl
    changes_nothing 1 toke $job 500
    says "lines.jsonl has changed" err
    rm x_manifest.json
    changes_nothing 1 toke $job 500
    says_all "x_;_00000;.bin: is there already and is not overwritten;delete x_*" err
    rm x_*_000000.bin
    changes_nothing 1 toke $job 500
    says_all "x_;.bin: is there already and is not overwritten" err
}
run_test "tokenize writes a manifest, and overwrites nothing" tokenize_manifest

# --- input that is wrong ---

refuses_line() { # line, words
    lorem 30 | as_jsonl > lines.jsonl
    printf '%s\n' "$1" >> lines.jsonl
    lorem 30 | as_jsonl >> lines.jsonl
    expect 1 "$tokenize" lines.jsonl --tokenizer "$vocabulary" --threads 2 --out x
    says "lines.jsonl: line 31: $2" err
    [ -z "$(ls | grep bin)" ] || fail "it left $(ls)"
}
run_test "tokenize refuses a line without the field" refuses_line '{"body": "a"}' 'has no field "text" (--field names another)'
run_test "tokenize refuses a line whose field is no string" refuses_line '{"text": 1}' 'the field "text" is no string'
run_test "tokenize refuses a line that is no object" refuses_line '["text"]' 'is no JSON object'
run_test "tokenize refuses a line that is no JSON" refuses_line '{"text": "a"' 'column 13: expected , or }'
run_test "tokenize refuses a line that is not UTF-8" refuses_line "$(printf '{"text": "\377"}')" 'column 11: a string is not UTF-8'

# Escapes of no character are U+FFFD; only those of the text are counted. A byte order mark is none of the text.
tokenize_escapes() {
    {
        printf '\357\273\277{"text": "plain"}\n'
        echo '{"text": "a\u0000b\ud800\u0041\uDC00\ud83d\ude00\ud800\ud83d\ude00", "other": "\u0000"}'
    } > lines.jsonl
    {
        echo '{"text": "plain"}'
        echo '{"text": "a\ufffdb\ufffdA\ufffd\ud83d\ude00\ufffd\ud83d\ude00", "other": ""}'
    } > same.jsonl
    expect 0 toke lines.jsonl --val-fraction 0 --out x
    says "; 4 escapes of no character (\u0000, half a surrogate pair) became U+FFFD" out
    says '"replaced": 4,' x_manifest.json
    expect 0 toke same.jsonl --val-fraction 0 --out y
    says '"replaced": 0,' y_manifest.json
    ! grep -q FFFD out || fail "it says that something was replaced"
    same x_train_000000.bin y_train_000000.bin
    printf '\357\273\277' > mark.jsonl
    { printf '\357\273\277\n'; cat same.jsonl; } > marked.jsonl
    expect 0 toke mark.jsonl marked.jsonl --val-fraction 0 --out z
    same z_train_000000.bin y_train_000000.bin
    printf '{"text": "plain"}\n\357\273\277{"text": "plain"}\n' > inside.jsonl
    expect 1 toke inside.jsonl --out inside
    says "inside.jsonl: line 2: column 1: expected a value" err
}
run_test "tokenize takes escapes of no character, and a byte order mark" tokenize_escapes

tokenize_bad_gzip() {
    lorem 3000 | as_jsonl | gzip > lines.jsonl.gz
    head -c 5000 lines.jsonl.gz > cut.jsonl.gz
    expect 1 toke cut.jsonl.gz --out x
    says "cut.jsonl.gz: ends early: it is truncated" err
    printf 'no gzip' > no.txt.gz
    expect 1 toke no.txt.gz --out x
    says "no.txt.gz: is damaged, or no gzip file" err
    { head -c 3000 lines.jsonl.gz; printf 'xxxxxxxxxxxxxxxxxxxxx'; tail -c +3022 lines.jsonl.gz; } > bad.jsonl.gz
    expect 1 toke bad.jsonl.gz --out x
    says "bad.jsonl.gz: " err
    : > no.txt.gz
    expect 1 toke no.txt.gz --out x
    says "no.txt.gz: ends early" err
    : > no.txt
    expect 1 toke no.txt --out x
    says "no text to tokenize" err
    mkdir empty
    expect 1 toke empty --out x
    says "empty: has no *.txt" err
}
run_test "tokenize refuses gzip that is cut short or damaged" tokenize_bad_gzip

# --- stopping and going on ---

same_shards() { # prefix, prefix
    for shard in "$1"_*.bin; do
        same "$shard" "$2${shard#"$1"}"
    done
    [ "$(ls "$1"_*.bin | wc -l)" -eq "$(ls "$2"_*.bin | wc -l)" ] || fail "$1 has $(ls "$1"_*.bin | wc -l) shards, $2 $(ls "$2"_*.bin | wc -l)"
    [ -z "$(ls | grep -e tmp -e journal)" ] || fail "it left $(ls | grep -e tmp -e journal | head -n 1)"
    for run in "$1" "$2"; do
        sed "/\"checksum\"/d; s/\"file\": \"$run/\"file\": \"x/" "${run}_manifest.json" > "$run.json"
    done
    same "$1.json" "$2.json"
}

# One that another process made meanwhile is not replaced either.
tokenize_meanwhile() {
    [ -f "$failing" ] || skip "no LD_PRELOAD here"
    unfinished
    job="a.txt b.txt c.jsonl --shard-tokens 500000 --out x"
    echo precious > x_val_000000.bin
    expect 1 toke $job
    says "x_val_000000.bin: is there already and is not overwritten" err
    [ "$(cat x_val_000000.bin)" = precious ] || fail "it was overwritten"
    rm x_val_000000.bin
    head -c 1000000 x_train_000000.bin > y
    cp x_train_000000.bin kept
    mv y x_train_000000.bin
    changes_nothing 1 toke $job
    says "x_train_000000.bin: has 1000000 bytes, not 1001024: it has changed" err
    mv kept x_train_000000.bin
    expect 0 toke $job
    expect 0 toke a.txt b.txt c.jsonl --shard-tokens 500000 --out y
    same_shards y x
}

# Text and JSONL, two batches of each, several shards.
big_job() { toke "$work/many.txt" "$work/many.jsonl.gz" --val-fraction 0.1 --shard-tokens 1000000 "$@"; }

# The process is killed, or the call fails, at call number $1 that touches a file; then the same command goes on.
stopped_at() { # call, signal or 0; false: there is no such call
    rm -f run_* log
    (
        export FAIL_AT="$1" FAIL_LOG="$PWD/log" LD_PRELOAD="$failing"
        [ "$2" -eq 0 ] || export FAIL_SIGNAL="$2"
        big_job --out run > out 2> err
        exit $?
    ) 2> killed
    status=$?
    [ -f log ] || return 1
    [ "$2" -eq 9 ] || [ "$(wc -l < err)" -le 1 ] || fail "call $1 ($(cat log)): stderr has $(wc -l < err) lines"
    for shard in run_*.bin; do
        [ ! -f "$shard" ] || same "$shard" "whole${shard#run}"
    done
    [ -f run_manifest.json ] && [ -z "$(ls | grep run_journal)" ] || { stops=$((stops + 1)) && expect 0 big_job --out run; }
    same_shards whole run
    [ $status -ne 0 ] || same_shards whole run
}

# At the first calls, ever fewer of those in the middle, and the last.
tokenize_stopped() { # signal or 0
    [ -f "$failing" ] || skip "no LD_PRELOAD here"
    many_documents
    expect 0 big_job --out whole
    at=1 stops=0
    while stopped_at $at "$1"; do at=$((at + 1 + at / 8)); done
    last=$at
    at=$((last - last / 8 - 1))
    while stopped_at $at "$1"; do at=$((at + 1)); done
    [ $stops -gt 20 ] || fail "it was stopped only $stops times in $at calls"
}
run_test "tokenize goes on after kill -9 at any call" tokenize_stopped 9
run_test "tokenize goes on after any call that failed, as on a full disk" tokenize_stopped 0

# An output that was stopped after its first journal.
unfinished() {
    lorem 3000 > a.txt
    lorem 60000 > b.txt
    lorem 60000 | as_jsonl > c.jsonl
    at=60
    until [ -f x_journal.json ]; do
        at=$((at + 10))
        [ $at -lt 400 ] || fail "there is no journal"
        rm -f x_*
        (
            export FAIL_AT=$at FAIL_SIGNAL=9 LD_PRELOAD="$failing"
            toke a.txt b.txt c.jsonl --shard-tokens 500000 --out x > out 2> err
            exit $?
        ) 2> killed
    done
    rm -f x_journal.lock
}

run_test "tokenize replaces no shard that came meanwhile" tokenize_meanwhile

tokenize_locked() {
    many_documents
    mkfifo pipe
    flock --version > out 2>&1 || skip "there is no flock"
    mkdir shards
    # one that another process holds, and one that a killed process left
    : > shards/x_journal.lock
    (exec 9< shards/x_journal.lock && flock 9 && : > pipe && read -r line < pipe) > holder 2>&1 &
    trap "kill $! 2> /dev/null" EXIT
    read -r line < pipe
    changes_nothing 1 toke "$work/many.txt" --out shards/x
    says "another process is writing shards/x_*" err
    expect 0 toke "$work/many.txt" --out shards/y # only this prefix
    echo > pipe
    wait
    expect 0 toke "$work/many.txt" --out shards/x
    [ -z "$(ls shards | grep journal)" ] || fail "it left $(ls shards | grep journal)"
    # many at once: one makes the shards, the others say that they are being written, or there
    for i in 1 2 3 4 5 6; do
        toke "$work/many.txt" --out z > out.$i 2> err.$i &
    done
    wait
    for i in 1 2 3 4 5 6; do
        grep -q -e "another process is writing z_" -e "is finished" -e "z_train_000000.bin" out.$i err.$i ||
            fail "one of several says $(cat out.$i err.$i)"
    done
    [ "$(cat out.* | grep -c '^train')" -eq 1 ] || fail "$(cat out.* | grep -c '^train') of 6 made the shards"
    same shards/x_train_000000.bin z_train_000000.bin
}
run_test "tokenize locks its output" tokenize_locked

# Stopped by a signal, it says so and keeps what it has.
tokenize_interrupted() { # signal, exit status
    [ -f "$failing" ] || skip "no LD_PRELOAD here"
    [ -x "$harness" ] || skip "the harness was not built"
    many_documents
    expect 0 big_job --out whole
    (
        toke() { "$harness" signals "$tokenize" --tokenizer "$vocabulary" --threads 1 "$@"; }
        export FAIL_AT=40 FAIL_SIGNAL="$1" LD_PRELOAD="$failing"
        big_job --out run > out 2> err
        exit $?
    )
    status=$?
    [ $status -eq "$2" ] || fail "exit status $status instead of $2"
    says "tokenize: stopped; the same command goes on from there" err
    [ -f run_journal.json ] || fail "there is no journal"
    [ ! -e run_journal.lock ] || fail "the lock is left"
    expect 0 big_job --out run
    says "resumes" out
    same_shards whole run
}
run_test "tokenize goes on after Ctrl-C" tokenize_interrupted 2 130
run_test "tokenize goes on after SIGTERM" tokenize_interrupted 15 143

tokenize_changed() {
    [ -f "$failing" ] || skip "no LD_PRELOAD here"
    unfinished
    job="a.txt b.txt c.jsonl --shard-tokens 500000 --out x"
    changes_nothing 1 toke a.txt b.txt c.jsonl --shard-tokens 500001 --out x
    says_all "x: its shards are unfinished;--shard-tokens 500000, not 500001;delete x_*" err
    changes_nothing 1 toke $job --val-fraction 0.5
    says "begun with --val-fraction 0.01, not --val-fraction 0.5" err
    changes_nothing 1 toke $job --val-tail 0.01
    says "begun with --val-fraction 0.01, not --val-tail 0.01" err
    changes_nothing 1 toke $job --field body
    says "begun with --field text, not body" err
    changes_nothing 1 toke b.txt a.txt c.jsonl --shard-tokens 500000 --out x
    says "file 1 of the input was a.txt and is now b.txt" err
    changes_nothing 1 toke a.txt b.txt --shard-tokens 500000 --out x
    says "file 3 of the input was c.jsonl and is now missing" err
    changes_nothing 1 toke a.txt b.txt c.jsonl a.txt --shard-tokens 500000 --out x
    says "a.txt has been added to the input" err
    cp b.txt kept
    tr d D < kept > b.txt
    changes_nothing 1 toke $job
    says "b.txt has changed since" err
    cp kept b.txt
    cp -r "$vocabulary" other
    rm other/tiny.tiktoken
    sed 's/"!": 0,/"!": 1,/; s/"\\"": 1,/"\\"": 0,/' "$vocabulary/vocab.json" > other/vocab.json
    changes_nothing 1 "$tokenize" $job --tokenizer other
    says "begun with another tokenizer" err
    cp x_journal.json kept
    sed 's/"offset": /"offset": 1/' kept > x_journal.json
    changes_nothing 1 toke $job
    says "x_journal.json: " err
    cp kept x_journal.json
    expect 0 toke $job
    says "resumes" out
    expect 0 toke a.txt b.txt c.jsonl --shard-tokens 500000 --out y
    same_shards y x
}
run_test "tokenize refuses another command or input for an unfinished output" tokenize_changed

# A line of progress ends where a signal ends the program.
tokenize_interrupted_screen() {
    many_documents
    i=0
    while [ $i -lt 60 ]; do # the same text again and again
        i=$((i + 1))
        set -- "$@" "$work/many.txt"
    done
    "$harness" terminal 60 sh -c 'echo $$ > pid; exec "$@"' sh "$tokenize" --tokenizer "$vocabulary" --threads 1 "$@" \
        --out x > out 2> err &
    tries=0
    until grep -q '% |' out; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "no progress in time"
        sleep 0.02
    done
    kill -TERM "$(cat pid)"
    wait $!
    status=$?
    [ $status -eq 143 ] || fail "exit status $status instead of 143: $(tail -n 1 out)"
    grep -q '^tokenize: stopped; the same command goes on' out || fail "$(tail -n 1 out)"
}
run_test "tokenize ends its line of progress when it is stopped" tokenize_interrupted_screen

tokenize_screen() {
    many_documents
    expect 0 "$harness" terminal 60 "$tokenize" "$work/many.txt" "$work/many.jsonl" --tokenizer "$vocabulary" --out x
    says "MB/s" out
    expect 0 toke "$work/many.txt" --out y
    ! grep -q '%' out || fail "progress where there is no terminal"
}
run_test "tokenize shows its progress on a terminal" tokenize_screen
