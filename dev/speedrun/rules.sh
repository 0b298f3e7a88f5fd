#!/bin/sh
# A short run of every optimizer at its default rates: the validation loss it reaches, as a table and a CSV.
usage='usage: dev/speedrun/rules.sh [--csv FILE] [--out DIR] [-- OPTIONS]

  --csv      where the table is written as CSV [DIR/rules.csv]
  --out      where the runs go; it must not exist yet [runs/rules-<time>]
  OPTIONS    for ./train_gpt [--steps 150 --val-tokens 16384]'

out=runs/rules-$(date +%Y%m%d-%H%M%S) csv=
while [ $# -gt 0 ]; do
    case $1 in
        --csv) csv=$2 ;;
        --out) out=$2 ;;
        --) shift; break ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift 2 || { echo "$usage" >&2; exit 2; }
done
[ ! -e "$out" ] || { echo "rules: $out exists; choose another --out" >&2; exit 2; }
[ $# -gt 0 ] || set -- --steps 150 --val-tokens 16384
mkdir -p "$out" || exit 1
train=${TRAIN_GPT:-./train_gpt} csv=${csv:-$out/rules.csv}

echo "optimizer,lr,first_val_loss,last_val_loss,optimizer_ms" > "$csv"
printf '%-12s %8s %10s %10s %14s\n' optimizer lr 'val before' 'val after' 'optimizer ms'
for optimizer in $("$train" --help | sed -n '/^Optimizers/,/^$/s/^  \([a-z0-9-]*\) .*/\1/p'); do
    "$train" --optimizer "$optimizer" --val-every 1000000 --sample-every 0 --keep 1 "$@" --out "$out/$optimizer" \
        > "$out/$optimizer.txt" 2>&1 || { tail -n 1 "$out/$optimizer.txt" >&2; exit 1; }
    lr=$(sed -n 's/.*"name": "hidden".*"lr": "\([^"]*\)".*/\1/p' "$out/$optimizer/run.json")
    awk -F, -v name="$optimizer" -v lr="$lr" -v csv="$csv" '
        NR > 1 && $5 != "" { if (first == "") first = $5; last = $5 }
        NR > 1 && $12 != "" { sum += $12; n++ }
        END { printf "%-12s %8.3g %10.4f %10.4f %14.1f\n", name, lr, first, last, sum / n
              printf "%s,%.6g,%.4f,%.4f,%.1f\n", name, lr, first, last, sum / n >> csv }' "$out/$optimizer/metrics.csv"
done
