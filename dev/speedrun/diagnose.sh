#!/bin/sh
# Shows what optimizers do to the spectra of their steps: trains nano with each, recording spectra, and draws the pictures.
usage='usage: dev/speedrun/diagnose.sh [--optimizers "adamw muon"] [--rates FILE] [--out DIR] [--pictures PREFIX] [-- OPTIONS]

  --rates        CSV of rows optimizer,lr,aux_lr with a rate for each; the others run at their defaults
                 [dev/speedrun/results/rates.csv]
  --out          where the runs go; it must not exist yet [runs/diagnose-<time>]
  --pictures     PREFIX-spectra.png and PREFIX-rms.png [DIR/diagnose]
  OPTIONS        for ./train_gpt [--steps 300 --diagnose 20]'

optimizers='adamw muon' rates=dev/speedrun/results/rates.csv out=runs/diagnose-$(date +%Y%m%d-%H%M%S) pictures=
while [ $# -gt 0 ]; do
    case $1 in
        --optimizers) optimizers=$2 ;;
        --rates) rates=$2 ;;
        --out) out=$2 ;;
        --pictures) pictures=$2 ;;
        --) shift; break ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift 2 || { echo "$usage" >&2; exit 2; }
done
[ ! -e "$out" ] || { echo "diagnose: $out exists; choose another --out" >&2; exit 2; }
[ $# -gt 0 ] || set -- --steps 300 --diagnose 20
mkdir -p "$out" || exit 1

runs=
for optimizer in $optimizers; do
    rate=$(dev/speedrun/rate_of.sh "$rates" "$optimizer")
    echo "=== $optimizer $rate"
    # shellcheck disable=SC2086 # the rate is options
    "${TRAIN_GPT:-./train_gpt}" --optimizer "$optimizer" $rate --sample-every 0 "$@" --out "$out/$optimizer" || exit
    runs="$runs $out/$optimizer"
done
if python=$(dev/python.sh matplotlib); then
    # shellcheck disable=SC2086 # several runs
    "$python" dev/speedrun/plot_diagnose.py $runs --out "${pictures:-$out/diagnose}"
else
    echo "no pictures: there is no Python with matplotlib; the numbers are in $out/*/diagnose.jsonl"
fi
