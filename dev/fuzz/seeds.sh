#!/bin/sh
# seeds.sh PARSER FOLDER [BIN]: writes valid input for a fuzz entry, so that it starts behind the first checks.
parser=$1 folder=$2 bin=${3:-$PWD}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder" && cd "$folder" || exit 1

little_endian() { # number, bytes
    n=$1
    for i in $(seq "$2"); do
        printf "\\$(printf %03o $((n % 256)))"
        n=$((n / 256))
    done
}

shard() { # tokens; without the part of the header that fuzz_shard.c adds
    for n in 20240520 1 $#; do
        little_endian "$n" 4
    done
    for token; do
        little_endian "$token" 2
    done
}

safetensors() { # header, bytes of data
    little_endian ${#1} 8
    printf %s "$1"
    head -c "$2" /dev/zero
}

run() { # a tiny run, in ./run
    rm -rf run
    "$bin/train_gpt" --layers 1 --heads 1 --width 4 --seq-len 8 --batch-size 1 --steps 2 --val-every 1 --val-tokens 8 \
        --sample-every 0 --device cpu --out run > run.log || { cat run.log >&2; exit 1; }
    rm run.log
}

case $parser in
json)
    printf '{"a":[1,-2.5e3,"x\\u00e9\\ud83d\\ude00\\n",[],{}],"b":{"c":null,"d":true},"e":false}' > seed_document
    printf ' [[[["\303\251\\"\\\\\\/"]]], 0, 1E-5 ]\n' > seed_nested
    ;;
sealed)
    printf '{"a": 1' > seed_small
    printf '{\n  "version": "1",\n  "losses": [4.5, null],\n  "of": {"x": "0123456789abcdef"}' > seed_record
    ;;
shard)
    shard 1 2 > seed_short
    shard 0 50256 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 > seed_two_sequences
    ;;
safetensors)
    safetensors '{}' 0 > seed_empty
    safetensors '{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 8 > seed_one
    safetensors '{"__metadata__":{"format":"pt"},"w":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},
"scalar":{"dtype":"I32","shape":[],"data_offsets":[0,4]},"none":{"dtype":"BF16","shape":[0],"data_offsets":[16,16]}} ' \
        16 > seed_several
    safetensors '{"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},
"u":{"dtype":"U16","shape":[1],"data_offsets":[8,10]}}' 10 > seed_integers
    ;;
index)
    printf '{"metadata":{"total_size":12},"weight_map":{"x":"a.safetensors","y":"a.safetensors","z":"b.safetensors"}}' > seed_both
    printf '{"weight_map":{"z":"b.safetensors"}}' > seed_one
    ;;
llmc)
    model() { # version, bytes of a value; without the part of the header that fuzz_llmc.c adds
        for n in 20240326 "$1" 2 3 1 1 2 3; do # T V L NH C Vp
            little_endian "$n" 4
        done
        head -c $(((3 * 2 + 2 * 2 + 12 * 2 * 2 + 13 * 2 + 2 * 2) * $2)) /dev/zero
    }
    model 3 4 > seed_fp32
    model 5 2 > seed_bf16
    ;;
tokenizer)
    tiny=$here/../tests/tokenizer
    cp "$tiny/tiny.tiktoken" seed_ranks
    { cat "$tiny/vocab.json"; printf '\n---\n'; cat "$tiny/merges.txt"; } > seed_pair
    ;;
stories)
    for n in 1 2 3; do
        rm -f "seed_$n"
        "$bin/make_stories" --bytes 500 --seed "$n" "seed_$n" || exit 1
    done
    ;;
options)
    printf '%s\n' --text a.txt --lr 0.1 --no-nesterov --batch-size auto --total-batch 4096 --sensitivity c_fc=2 > seed_some
    printf '%s\n' --model gpt2 --layers=3 --schedule cosine --target-loss 2.5 --aux-beta2 0.95 --resume > seed_others
    ;;
record)
    run
    mv run/run.json seed_run
    rm -r run
    ;;
metrics)
    run
    { printf '\002'; cat run/metrics.csv; } > seed_log # the step that it is resumed from comes first
    rm -r run
    ;;
state)
    run
    cp run/step_000002/state.json seed_sealed
    sed '/"checksum"/d; s/]},$/]}/' run/step_000002/state.json > seed_unsealed
    rm -r run
    ;;
*)
    echo "seeds.sh: there is no seed for $parser" >&2
    exit 1
    ;;
esac
