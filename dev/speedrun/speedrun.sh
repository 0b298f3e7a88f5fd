#!/bin/sh
# Trains one model with several optimizers, from the same initialisation on the same batches, and compares them by
# validation loss: a table, a CSV, a picture if there is matplotlib, and a sample from each model.
usage='usage: dev/speedrun/speedrun.sh [--optimizers "adamw muon"] [--seeds "1 2 3"] [--rates FILE] [--out DIR] [-- OPTIONS]

  --optimizers   the first is the baseline: the others are timed to its final validation loss
  --seeds        one run of each optimizer per seed: initialisation and data order
  --rates        CSV of rows optimizer,lr,aux_lr with a rate for each; the others run at their defaults
                 [dev/speedrun/results/rates.csv]
  --out          where runs, table and pictures go; it must not exist yet [runs/speedrun-<time>]
  OPTIONS        for ./train_gpt, for instance --train, --val, --model, --steps'

optimizers='adamw muon' seeds='1 2 3' rates=dev/speedrun/results/rates.csv out=runs/speedrun-$(date +%Y%m%d-%H%M%S)
while [ $# -gt 0 ]; do
    case $1 in
        --optimizers) optimizers=$2 ;;
        --seeds) seeds=$2 ;;
        --rates) rates=$2 ;;
        --out) out=$2 ;;
        --) shift; break ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift 2 || { echo "$usage" >&2; exit 2; }
done
[ ! -e "$out" ] || { echo "speedrun: $out exists; choose another --out" >&2; exit 2; }
[ $# -gt 0 ] || set -- --steps 300 --val-tokens 32768 --val-every 25
mkdir -p "$out" || exit 1
train=${TRAIN_GPT:-./train_gpt}

for seed in $seeds; do
    for optimizer in $optimizers; do
        rate=$(dev/speedrun/rate_of.sh "$rates" "$optimizer")
        echo
        echo "=== $optimizer, seed $seed: $train --optimizer $optimizer $rate --seed $seed $*"
        # shellcheck disable=SC2086 # the rate is options
        "$train" --optimizer "$optimizer" $rate --seed "$seed" --sample-every 0 --checkpoint-every 0 --keep 1 "$@" \
            --out "$out/$optimizer-seed$seed" || exit
    done
done

echo
dev/speedrun/compare.sh "$out" "$optimizers" "$seeds" | tee "$out/table.txt" || exit
if python=$(dev/python.sh matplotlib); then
    "$python" dev/speedrun/plot.py "$out" --optimizers $optimizers --seeds $seeds
else
    echo "no picture: there is no Python with matplotlib; the curves are in $out/*/metrics.csv"
fi

first=${seeds%% *}
for optimizer in $optimizers; do
    latest=$out/$optimizer-seed$first/$(cat "$out/$optimizer-seed$first/latest")
    echo
    echo "=== a sample of $optimizer"
    "$train" --model "$latest" --steps 0 --val-tokens 0 --prompt "${PROMPT:-One morning }" 2>/dev/null | sed -n '/^--- sample/,/^---$/p' | sed '1d;$d'
done
