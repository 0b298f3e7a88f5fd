#!/bin/sh
# A short run of every optimizer at its default rates: the validation loss it reaches, as a table, a CSV and, with
# --costs, a picture over what an update costs.
usage='usage: dev/speedrun/rules.sh [--optimizers NAMES] [--csv FILE] [--out DIR]
                             [--costs FILE] [-- OPTIONS]

  --optimizers   [all that ./train_gpt has]
  --csv          where the table is written as CSV [DIR/rules.csv]
  --out          where the runs go; given again with the same options, those
                 that ended are kept [runs/rules-<time>]
  --costs        what build/bench_optim --least prints; with it the picture is
                 drawn, as FILE of --csv, its ending .png [no picture]
  OPTIONS        for ./train_gpt [--layers 2 --width 64 --seq-len 128
                 --batch-size 16 --steps 150 --val-tokens 16384]'
me=rules here=$(dirname "$0")
. "$here/common.sh"
log=1

out='' csv='' optimizers='' costs=''
while [ $# -gt 0 ]; do
    case $1 in
        --optimizers) optimizers=$2 ;;
        --csv) csv=$2 ;;
        --out) out=$2 ;;
        --costs) costs=$2 ;;
        --) shift; break ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift 2 || { echo "$usage" >&2; exit 2; }
done
[ $# -gt 0 ] || set -- --layers 2 --width 64 --seq-len 128 --batch-size 16 --steps 150 --val-tokens 16384
open_out "options: $*"
csv=${csv:-$out/rules.csv}
optimizers=${optimizers:-$("$train" --help | sed -n '/^Optimizers/,/^$/s/^  \([a-z0-9-]*\) .*/\1/p')}
[ -n "$optimizers" ] || stop 1 "$train --help names no optimizers"

echo "optimizer,lr,first_val_loss,last_val_loss,optimizer_ms" > "$csv.tmp" || exit 1
printf '%-14s %8s %10s %10s %14s\n' optimizer lr 'val before' 'val after' 'optimizer ms'
for optimizer in $optimizers; do
    run=$out/$optimizer
    one_run "$run" --optimizer "$optimizer" --val-every 1000000 --sample-every 0 --keep 1 "$@"
    awk -F, -v name="$optimizer" -v lr="$(rate_in "$run")" -v csv="$csv.tmp" -v ended=$? '
        NR > 1 && $5 != "" { if (first == "") first = $5; last = $5 }
        NR > 1 && $12 != "" { sum += $12; n++ }
        END {
            first = first != "" ? sprintf("%.4f", first) : "-"
            last = ended == 3 ? "diverged" : last != "" ? sprintf("%.4f", last) : "-"
            ms = n ? sprintf("%.1f", sum / n) : "-"
            printf "%-14s %8.3g %10s %10s %14s\n", name, lr, first, last, ms
            printf "%s,%.6g,%s,%s,%s\n", name, lr, first, last, ms >> csv
        }' "$run/metrics.csv"
done
mv "$csv.tmp" "$csv" || exit 1
echo "runs are in $out, the table is $csv"
[ -n "$costs" ] || exit 0
if python=$("$here/../python.sh" matplotlib); then
    "$python" "$here/plot_rules.py" "$csv" "$costs" --out "${csv%.csv}"
else
    echo "no picture: there is no Python with matplotlib"
fi
