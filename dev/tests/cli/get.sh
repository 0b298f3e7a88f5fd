# get.sh: data/get, against an HTTP server on loopback (get_server.py) with stand-ins for the public files. Its answers
# depend on the first part of a path, so the mirror is $server/MODE.

get=$(cd "$here/../../.." && pwd)/data/get
shared=$here/../../../../shared/data
shared=${TRAIN_GPT_DATA:-$shared}
case $shared in /*) ;; *) shared=$PWD/$shared ;; esac
stage=$(cd "$here" && pwd)/get_server.py

many() { # times: 20,000 bytes
    for i in $(seq "$1"); do head -c 20000 "$work/story.txt"; done
}

story_shard() { # stories, more tokens counted
    little_endian 20240520 4
    little_endian 1 4
    little_endian $(($1 * 10000 + ${2:-0})) 4
    zeros 1012
    many "$1"
}

# In the test's folder: files/HOST/PATH and the server, whose address is $server and whose log is ./asked.
serve() {
    command -v curl > /dev/null || skip "there is no curl"
    command -v python3 > /dev/null || skip "there is no python3"
    fineweb=files/huggingface.co/datasets/kjj0/fineweb10B-gpt2/resolve/main
    medium=files/huggingface.co/openai-community/gpt2-medium/resolve/main
    mkdir -p $fineweb $medium
    story_shard 9 > $fineweb/fineweb_val_000000.bin
    story_shard 10 > $fineweb/fineweb_train_000001.bin
    story_shard 8 > $fineweb/fineweb_train_000002.bin
    cp "$model/config.json" "$model/model.safetensors" $medium
    echo '{}' > $medium/vocab.json
    echo '#version: 0.2' > $medium/merges.txt
    : > asked
    python3 "$stage" files port asked > server.out 2>&1 &
    trap "kill $! 2> /dev/null" EXIT
    await_lines port 0
    server=http://127.0.0.1:$(cat port)
}

from() { # mode, arguments of data/get
    mode=$1
    shift
    "$get" "$@" --base "$server/$mode"
}

asked() { # number, expression: of the requests so many match
    [ "$(grep -c -e "$2" asked)" -eq "$1" ] || fail "$(grep -c -e "$2" asked) requests '$2' instead of $1: $(cat asked)"
}

leaves() { # folder, the names in it
    [ "$(echo $(ls "$1"))" = "$2" ] || fail "$1 has $(echo $(ls "$1")) instead of $2"
}

shard_1=fineweb_train_000001.bin
val=fineweb_val_000000.bin

answers() { # arguments, status, words, file
    wanted=$2 words=$3 file=$4
    eval "set -- $1"
    export DATA_MIRROR=http://127.0.0.1:9 # should it try to fetch
    changes_nothing "$wanted" "$get" "$@"
    says_all "$words" "$file"
}
run_table "data/get" answers << 'END'
finewep10B             | 2 | there is no 'finewep10B'; did you mean fineweb10B?             | err
FineWeb-Edu            | 2 | did you mean fineweb-edu?                                     | err
warandpeace            | 2 | there is no 'warandpeace' (data/get --list)                   | err
fineweb                | 2 | did you mean fineweb10B?                                      | err
fineweb10B 104         | 2 | fineweb10B has 103 training shards, not 104                   | err
fineweb-edu 100        | 2 | 99 training shards                                            | err
fineweb10B ten         | 2 | 'ten' is no number of shards from 0 to 103                    | err
gpt2 3                 | 2 | gpt2 has no shards to count                                   | err
fineweb10B 1 2         | 2 | '2' is one word too many                                      | err
gpt2 --to              | 2 | --to needs a value                                            | err
gpt2 --mirror x        | 2 | there is no option --mirror                                   | err
tokenizer --to . --base file:///nomirror | 1 | file:///nomirror ;vocab.bpe | err
gpt2 --base ftp://x    | 2 | the mirror 'ftp://x' is no URL                                | err
''                     | 2 | usage: data/get NAME                                          | err
--help                 | 0 | DATA_MIRROR;URL/HOST/PATH;--to DIR;Exit status                | out
END

lists() {
    expect 0 "$get" --list
    for word in fineweb10B fineweb-edu tinyshakespeare tinystories gpt2 gpt2-medium gpt2-large gpt2-xl tokenizer \
        hellaswag starter-pack; do
        grep -Eq "^$word +[0-9.]+ [GM]B  [^ ]" out || fail "no row of $word: $(cat out)"
    done
    [ "$(grep -Ec '^    [a-z.]+/.*, [^ ]' out)" -eq 11 ] || fail "not 11 sources and licences: $(cat out)"
    "$get" --help >> out
    awk 'length > 80' out | grep -q . && fail "wider than 80: $(awk 'length > 80' out)"
    true
}
run_test "data/get --list, --help: every name, in 80 columns" lists

fetches() {
    serve
    expect 0 from linked fineweb10B 2 --to d
    leaves d "$shard_1 fineweb_train_000002.bin $val"
    for file in $shard_1 fineweb_train_000002.bin $val; do
        same d/$file $fineweb/$file
        grep -q "^d/$file: [0-9]* bytes (size, header, SHA-256 checked)\$" out || fail "$(cat out)"
    done
    [ ! -s err ] || fail "stderr says $(cat err)"
    tail -n 2 out > next
    {
        echo "  ./train_gpt --preset track3-muon \\"
        echo "      --train 'd/fineweb_train_*.bin' --val 'd/fineweb_val_*.bin'"
    } > wanted
    same wanted next
    asked 3 '^GET /content'
    expect 0 from linked fineweb10B 2 --to d
    says "d/$val: is there, 181024 bytes (size, header, SHA-256 checked)" out
    asked 3 '^GET /content'
    expect 0 from linked fineweb10B 0 --to none
    leaves none "$val"
    export DATA_MIRROR="$server/good/"
    expect 0 "$get" fineweb10B 1 --to d2
    leaves d2 "$shard_1 $val"
    says "(size, header checked)" out
    expect 0 "$get" fineweb10B 1 --to d2 --base "file://$PWD/files"
    says "d2/$val: is there, 181024 bytes (size, header checked)" out
}
run_test "data/get: shards come whole, are checked and are not fetched twice" fetches

# Its files are right for train_gpt.
model_trains() {
    serve
    expect 0 from linked gpt2-medium --to "my model"
    leaves "my model" "config.json merges.txt model.safetensors vocab.json"
    says "  ./train_gpt --model 'my model' --steps 0 --prompt " out
    rm "my model/vocab.json" "my model/merges.txt" # the stand-in has none
    expect 0 "$gpt" --model 'my model' --steps 0 --text "$work/story.txt" --val-tokens 64 --sample-every 0
    expect 0 from good fineweb10B 1 --to d
    expect 0 shards --vocab 50257 --train 'd/fineweb_train_*.bin' --val 'd/fineweb_val_*.bin' --steps 1 --out run
    says "100000 tokens" out
}
run_test "data/get: train_gpt reads its models and shards" model_trains

beside_script() {
    serve
    mkdir tree tree/data
    cp "$get" tree/data/get
    (cd tree && expect 0 data/get fineweb10B 1 --base "$server/good") || exit 1
    leaves tree/data/fineweb10B "$shard_1 $val"
    [ "$(tail -n 1 tree/out)" = "  ./train_gpt --preset track3-muon" ] || fail "$(cat tree/out)"
    (cd tree && expect 0 data/get fineweb10B 0 --base "$server/good") || exit 1
    says "./train_gpt --model data/gpt2 --steps 0 --val 'data/fineweb10B/fineweb_val_*.bin'" tree/out
    small="--layers 1 --heads 1 --width 8 --seq-len 32 --batch-size 1 --total-batch 32 --val-tokens 64 --steps 1 --device cpu"
    (cd tree && expect 0 "$gpt" --preset track3-muon $small --out run) || exit 1
    says "data      data/fineweb10B/fineweb_train_*.bin: 100000 tokens" tree/out
    for option in '"train": "data/fineweb10B/fineweb_train_*.bin"' '"val": "data/fineweb10B/fineweb_val_*.bin"'; do
        says "$option" tree/run/run.json
    done
}
run_test "data/get: without --to, files go beside it, where presets look" beside_script

drops() {
    serve
    expect 0 from drops fineweb10B 1 --to d
    same d/$val $fineweb/$val
    same d/$shard_1 $fineweb/$shard_1
    asked 1 "^GET .*/$val -"
    grep -q "^GET .*/$val bytes=9" asked || fail "it did not go on: $(cat asked)"
    expect 1 from dies fineweb10B 1 --to e
    says_all "127.0.0.1:;does not give $val;the connection broke;goes on from byte 90512;by hand to e/$val" err
    leaves e "$val.part"
    expect 0 from good fineweb10B 1 --to e
    same e/$val $fineweb/$val
    asked 1 "^GET /good/.*/$val bytes=90512-"
    asked 0 "^GET /good/.*/$val -"
}
run_test "data/get: a connection that breaks is continued, now and later" drops

no_ranges() {
    serve
    expect 0 from noranges fineweb10B 1 --to d
    same d/$val $fineweb/$val
    says "d/$val.part cannot be continued on this host; it is fetched from the beginning" err
}
run_test "data/get: a host without ranges starts over" no_ranges

foreign_part() {
    serve
    mkdir d
    many 3 > d/$val.part
    expect 0 from linked fineweb10B 0 --to d
    same d/$val $fineweb/$val
    says "d/$val.part, continued, is wrong: it is no token shard" err
    rm d/$val
    { cat $fineweb/$val; echo more; } > d/$val.part
    expect 0 from linked fineweb10B 0 --to d
    same d/$val $fineweb/$val
    rm d/$val
    : > asked
    cp $fineweb/$val d/$val.part
    expect 0 from linked fineweb10B 0 --to d
    same d/$val $fineweb/$val
    asked 0 ^GET
}
run_test "data/get: a part of something else, one too long, a whole one" foreign_part

refuses() { # mode; words
    serve
    expect 1 from "$1" fineweb10B 1 --to d
    says_all "$2" err
    leaves d "$3"
}
run_table "data/get, a host:" refuses << END
404     | does not give $val (HTTP 404);another mirror;/404/huggingface.co/datasets/kjj0/;by hand to d/$val |
500     | does not give $val (HTTP 500)                                                      |
forged  | is wrong: it has the SHA-256;nothing was kept                                      |
long    | does not give $val (the connection broke;from byte 181024                          | $val.part
short   | is wrong: it counts 90000 tokens, but has 180024 bytes, not 181024;nothing was kept |
END

hosts() {
    serve
    expect 0 from busy fineweb10B 1 --to d
    same d/$val $fineweb/$val
    asked 2 "^HEAD .*/$val"
    asked 2 "^GET .*/$val"
    expect 0 from nohead fineweb10B 1 --to e
    same e/$val $fineweb/$val
    says "e/$val: 181024 bytes (header checked)" out
}
run_test "data/get: a host that is busy, or that answers no HEAD" hosts

bad_shard() { # what; the command that makes it; words
    serve
    eval "$2" > $fineweb/$shard_1
    expect 1 from linked fineweb10B 1 --to d
    says_all "$shard_1 from 127.0.0.1;is wrong: it $3;nothing was kept" err
    leaves d "$val"
    cp $fineweb/$shard_1 d
    expect 1 from linked fineweb10B 1 --to d
    says "d/$shard_1: is wrong: it $3; move it away" err
    same d/$shard_1 $fineweb/$shard_1
}
run_table "data/get, a shard:" bad_shard << 'END'
magic     | cat "$work/magic.bin"   | is no token shard: it begins with 1, not 20240520
version   | cat "$work/version.bin" | is a token shard of version 2, not 1
too many  | story_shard 3 7         | counts 30007 tokens, but has 61024 bytes, not 61038
no header | echo short              | is too short for a token shard, with 6 bytes
END

keeps_wrong() {
    serve
    expect 0 from linked fineweb10B 1 --to d
    story_shard 9 | sed 's/cat/dog/' > changed # of the same size, with a right header
    story_shard 4 > short                     # which a host without sums tells by its size
    for kind in changed short; do
        cp $kind d/$val
        cp d/$val before
        rm d/$shard_1
        expect 1 from "$([ $kind = changed ] && echo linked || echo good)" fineweb10B 1 --to d
        says "data/get: d/$val: is wrong: it has " err
        same before d/$val
        leaves d "$val"
        : > d/$shard_1
    done
    rm -r d
    mkdir -p d/$val
    expect 1 from linked fineweb10B 1 --to d
    says "d/$val: is there and is no file" err
}
run_test "data/get: a wrong file is named and stays" keeps_wrong

offline() {
    serve
    expect 0 from linked fineweb10B 1 --to d
    gone=http://127.0.0.1:9
    expect 0 "$get" fineweb10B 1 --to d --base $gone
    says "d/$val: is there, 181024 bytes (header checked; 127.0.0.1:9 cannot be reached (" out
    printf damaged > d/$val
    expect 1 "$get" fineweb10B 1 --to d --base $gone
    says "d/$val: is wrong: it is too short for a token shard" err
    rm d/$val
    expect 1 "$get" fineweb10B 1 --to d --base $gone
    says_all "data/get: 127.0.0.1:9 cannot be reached (it cannot be connected to): try another mirror or download" err
    says "$gone/huggingface.co/datasets/kjj0/fineweb10B-gpt2/resolve/main/$val by hand to d/$val" err
    [ "$(wc -l < err)" -eq 1 ] || fail "not one sentence: $(cat err)"
    expect 1 "$get" tinyshakespeare --to f --base $gone
    says_all "127.0.0.1:9 cannot be reached (it cannot be connected to): ;by hand to f/input.txt" err
    (unset DATA_MIRROR; export https_proxy=$gone HTTPS_PROXY=$gone; expect 1 "$get" fineweb10B 1 --to e) || exit 1
    says_all "huggingface.co cannot be reached;--base;https://huggingface.co/datasets/kjj0/;by hand to e/$val" err
    leaves e ""
}
run_test "data/get: without a network" offline

# What these files must be is known to the script; the data folder has them.
known() {
    for file in tinyshakespeare.txt gpt2_vocab.bpe gpt2_encoder.json; do
        [ -f "$shared/$file" ] || skip "$shared/$file is not here"
    done
    serve
    text=files/raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare
    tables=files/openaipublic.blob.core.windows.net/gpt-2/encodings/main
    mkdir -p $text $tables
    cp "$shared/tinyshakespeare.txt" $text/input.txt
    cp "$shared/gpt2_vocab.bpe" $tables/vocab.bpe
    cp "$shared/gpt2_encoder.json" $tables/encoder.json
    expect 0 from good tinyshakespeare --to d
    says "d/input.txt: 1115394 bytes (size, SHA-256 checked)" out
    says "./train_gpt --preset nanogpt-cpu --text d/input.txt" out
    expect 0 from good tokenizer --to t
    says "t/vocab.bpe: 456318 bytes (size, SHA-256 checked)" out
    says "t/encoder.json: 1042301 bytes (size, SHA-256 checked)" out
    says "./train_gpt --text book.txt --tokenizer t" out
    expect 0 shards --tokenizer t --text $text/input.txt --list-groups
    asked 0 ^HEAD
    expect 0 "$get" tokenizer --to t --base http://127.0.0.1:9 # takes no network
    says "t/vocab.bpe: is there, 456318 bytes (size, SHA-256 checked)" out
    rm d/input.txt
    expect 1 from wrong tinyshakespeare --to d
    says "input.txt from 127.0.0.1" err
    says "is wrong: it has the SHA-256" err
    leaves d ""
}
run_test "data/get: known sums" known

unknown_sum() {
    serve
    text=files/raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare
    mkdir -p $text
    cp "$work/story.txt" $text/input.txt
    expect 1 from good tinyshakespeare --to d
    says "is wrong: it has 20001 bytes, not 1115394; nothing was kept" err
    leaves d ""
}
run_test "data/get: another text under a known name" unknown_sum

interrupted() { # signal, number
    serve
    [ -x "$harness" ] || skip "the harness was not built"
    "$harness" signals "$get" fineweb10B 1 --to d --base "$server/slow" > out 2> err &
    child=$!
    tries=0
    until [ -f d/$val.part ] && [ "$(wc -c < d/$val.part)" -gt 50000 ]; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || fail "no part in time: $(ls d) $(cat asked err)"
        sleep 0.05
    done
    kill -s "$1" $child
    begin=$(date +%s)
    wait $child
    status=$?
    [ $(($(date +%s) - begin)) -le 10 ] || fail "it took $(($(date +%s) - begin)) s"
    [ $status -eq $((128 + $2)) ] || fail "exit status $status: $(cat err)"
    says "data/get: stopped; the same command goes on from there" err
    leaves d "$val.part"
    expect 0 from linked fineweb10B 1 --to d
    same d/$val $fineweb/$val
    grep -q "^GET /content/.*/$val bytes=[1-9]" asked || fail "it began again: $(cat asked)"
}
run_table "data/get, stopped by" interrupted << 'END'
INT  | 2
TERM | 15
HUP  | 1
END

on_terminal() {
    serve
    [ -x "$harness" ] || skip "the harness was not built"
    "$harness" terminal 80 "$get" fineweb10B 0 --to d --base "$server/linked" > out || fail "$(cat out)"
    says_all "fetching $val, 181024 bytes;100.0%" out
    same d/$val $fineweb/$val
}
run_test "data/get: curl's bar on a terminal" on_terminal

# The tools without some of them.
only() { # tools to leave out
    mkdir bin
    for tool in sh dash awk sed grep cut cat wc mv rm ls mkdir mktemp dirname sleep od curl wget sha256sum shasum openssl \
        perl env tr head cmp; do
        case " $* " in *" $tool "*) continue ;; esac
        found=$(command -v "$tool")
        case $found in /*) ln -s "$found" bin/$tool ;; esac
    done
    PATH=$PWD/bin
}

with_wget() {
    serve
    command -v wget > /dev/null || skip "there is no wget"
    only curl
    expect 0 from linked fineweb10B 1 --to d
    same d/$val $fineweb/$val
    says "d/$val: 181024 bytes (size, header, SHA-256 checked)" out
    expect 0 from drops fineweb10B 1 --to e
    same e/$val $fineweb/$val
    expect 0 from noranges fineweb10B 1 --to f
    same f/$val $fineweb/$val
    expect 1 from 404 fineweb10B 1 --to g
    says "does not give $val (HTTP 404)" err
    expect 1 from forged fineweb10B 1 --to g
    says "is wrong: it has the SHA-256" err
    leaves g ""
    expect 1 "$get" fineweb10B 1 --to g --base http://127.0.0.1:9
    says "127.0.0.1:9 cannot be reached" err
}
run_test "data/get: wget in the place of curl" with_wget

without_tools() {
    serve
    (only curl wget; expect 1 "$get" fineweb10B 1 --to d) || exit 1
    says "neither curl nor wget is there" err
    says "download https://huggingface.co/datasets/kjj0/fineweb10B-gpt2/resolve/main/... by hand into d" err
    rm -r bin
    (only sha256sum shasum openssl; expect 0 from linked fineweb10B 0 --to e) || exit 1
    says "none of sha256sum, shasum and openssl" err
    says "(size, header checked)" out
    rm -r bin
    for left in shasum openssl; do
        (only sha256sum $left; expect 1 from forged fineweb10B 0 --to f) || exit 1
        says "is wrong: it has the SHA-256" err
        rm -r bin
    done
}
run_test "data/get: without the tools" without_tools
