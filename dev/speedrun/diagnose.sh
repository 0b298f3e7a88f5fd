#!/bin/sh
# Shows what optimizers do to the spectra of their steps: trains nano with each, recording spectra, and draws the pictures.
usage='usage: dev/speedrun/diagnose.sh [--optimizers "adamw muon"] [--best FILE]
                                [--out DIR] [--pictures PREFIX] [-- OPTIONS]

  --best         the options of each, as dev/sweep wrote them; others run at
                 their defaults [dev/speedrun/results/best.csv]
  --out          where the runs go; given again with the same options, those
                 that ended are kept [runs/diagnose-<time>]
  --pictures     PREFIX-spectra.png, PREFIX-rms.png, PREFIX-ranks.csv
                 [DIR/diagnose]
  OPTIONS        for ./train_gpt [--steps 300 --diagnose 20]'
me=diagnose here=$(dirname "$0")
. "$here/common.sh"

optimizers='adamw muon' best='' out='' pictures=''
while [ $# -gt 0 ]; do
    case $1 in
        --optimizers) optimizers=$2 ;;
        --best) best=$2 ;;
        --out) out=$2 ;;
        --pictures) pictures=$2 ;;
        --) shift; break ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift 2 || { echo "$usage" >&2; exit 2; }
done
[ $# -gt 0 ] || set -- --steps 300 --diagnose 20
case " $*" in *' --diagnose'*) ;; *) stop 2 "OPTIONS need --diagnose N: spectra every N steps" ;; esac
file=$(best_file "$best") || exit
list=$(all_options "$file" "$optimizers") || exit
open_out "options: $*
$list"

runs=
for optimizer in $optimizers; do
    best=$(options_in_list "$list" "$optimizer")
    echo "=== $optimizer: $best"
    # shellcheck disable=SC2086 # several options
    if one_run "$out/$optimizer" $best --sample-every 0 "$@" ||
        [ -s "$out/$optimizer/diagnose.jsonl" ]; then
        runs="$runs $out/$optimizer"
    fi
done
[ -n "$runs" ] || stop 1 "every run diverged before its first spectra; there is nothing to draw"
if python=$("$here/../python.sh" matplotlib); then
    # shellcheck disable=SC2086 # several runs
    "$python" "$here/plot_diagnose.py" $runs --out "${pictures:-$out/diagnose}"
else
    echo "no pictures: there is no Python with matplotlib; the numbers are in $out/*/diagnose.jsonl"
fi
