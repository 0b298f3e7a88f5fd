#!/bin/sh
# Trains one model with several optimizers, from the same initialisation on the same batches, and compares them by
# validation loss: a table, a CSV, a picture if there is matplotlib, and a sample from each model.
usage='usage: dev/speedrun/speedrun.sh [--optimizers "adamw muon"] [--seeds "1 2 3"]
                                [--best FILE] [--out DIR] [-- OPTIONS]

  --optimizers   the first is the baseline: the others are timed to its final
                 validation loss
  --seeds        one run of each optimizer per seed: initialisation and data
                 order
  --best         the options of each, as dev/sweep wrote them; others run at
                 their defaults [dev/speedrun/results/best.csv]
  --out          where runs, table and pictures go; given again with the same
                 options, a speedrun goes on where it stopped: runs that ended
                 are kept, one with a checkpoint is resumed, one without starts
                 again [runs/speedrun-<time>]
  OPTIONS        for ./train_gpt, for instance --train, --val, --model, --steps
                 [--layers 2 --heads 4 --width 64 --seq-len 128 --batch-size 16
                 --steps 960 --val-tokens 65536 --val-every 40]; they win over
                 the options of --best

With LAUNCH="mpirun -np 4" in the environment several ranks make each run.'
me=speedrun here=$(dirname "$0")
. "$here/common.sh"

optimizers='adamw muon' seeds='1 2 3' best='' out=''
while [ $# -gt 0 ]; do
    case $1 in
        --optimizers) optimizers=$2 ;;
        --seeds) seeds=$2 ;;
        --best) best=$2 ;;
        --out) out=$2 ;;
        --) shift; break ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift 2 || { echo "$usage" >&2; exit 2; }
done
[ $# -gt 0 ] || set -- --layers 2 --heads 4 --width 64 --seq-len 128 --batch-size 16 \
    --steps 960 --val-tokens 65536 --val-every 40
file=$(best_file "$best") || exit
list=$(all_options "$file" "$optimizers") || exit
open_out "options: $*
$list"
echo "runs go to $out"

for seed in $seeds; do
    for optimizer in $optimizers; do
        best=$(options_in_list "$list" "$optimizer")
        echo
        echo "=== $optimizer, seed $seed: $train $best --seed $seed $*"
        # shellcheck disable=SC2086 # several options
        one_run "$out/$optimizer-seed$seed" $best --seed "$seed" --sample-every 0 --checkpoint-every 0 --keep 1 "$@"
    done
done

echo
"$here/compare.sh" "$out" "$optimizers" "$seeds" > "$out/table.txt" || exit
cat "$out/table.txt"
if python=$("$here/../python.sh" matplotlib); then
    # shellcheck disable=SC2086 # several names
    "$python" "$here/plot.py" "$out" --optimizers $optimizers --seeds $seeds
else
    echo "no picture: there is no Python with matplotlib; the curves are in $out/*/metrics.csv"
fi

first=${seeds%% *}
for optimizer in $optimizers; do
    run=$out/$optimizer-seed$first
    [ "$(cat "$run/ended")" = 0 ] || continue
    echo
    echo "=== a sample of $optimizer"
    "$train" --model "$run/$(cat "$run/latest")" --steps 0 --val-tokens 0 --prompt "${PROMPT:-One morning }" 2> /dev/null |
        sed -n '/^--- sample/,/^---$/p' | sed '1d;$d'
done
