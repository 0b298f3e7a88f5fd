#!/bin/sh
# seeds.sh TRAIN_GPT DIR: valid files to begin the fuzzers' corpora with, in DIR/<fuzzer>.
train=$1 out=$2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
for name in json safetensors shard stories options record metrics state; do
    mkdir -p "$out/$name" || exit 1
done
"$train" --layers 1 --heads 1 --width 4 --seq-len 8 --batch-size 1 --steps 2 --val-every 1 --val-tokens 8 --sample-every 0 \
    --optimizer muon --device cpu --out "$work/run" > "$work/log" || exit
step=$work/run/step_000002
cp "$work/run/run.json" "$out/record/run.json"
cp "$step/state.json" "$out/state/state.json"
sed '/"checksum"/d; s/]},$/]}/' "$step/state.json" > "$out/state/unsealed.json"
{ printf '\002'; cat "$work/run/metrics.csv"; } > "$out/metrics/metrics.csv" # the step that it is resumed from comes first
cp "$step/config.json" "$work/run/run.json" "$out/json/"
head -c 3000 "$step/model.safetensors" > "$out/safetensors/cut" # the header and some data
cp "$step/model.safetensors" "$out/safetensors/whole"
printf '\210\330\064\001\001\000\000\000\004\000\000\000\001\000\002\000\003\000\004\000' > "$out/shard/four" # without the rest of the header
printf '%s\n' --text a.txt --lr 0.1 --no-nesterov --batch-size auto --total-batch 4096 --sensitivity c_fc=2 > "$out/options/some"
printf '%s\n' --model gpt2 --layers=3 --schedule cosine --target-loss 2.5 --aux-beta2 0.95 --resume > "$out/options/others"
