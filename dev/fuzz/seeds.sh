#!/bin/sh
# seeds.sh PARSER FOLDER [MAKE_STORIES]: writes valid input for a fuzz entry, so that it starts behind the first checks.
parser=$1 folder=$2 make_stories=${3:-./make_stories}
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
stories)
    for n in 1 2 3; do
        rm -f "seed_$n"
        "$make_stories" --bytes 500 --seed "$n" "seed_$n" || exit 1
    done
    ;;
*)
    echo "seeds.sh: there is no seed for $parser" >&2
    exit 1
    ;;
esac
