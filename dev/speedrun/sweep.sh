#!/bin/sh
# Finds the rates that dev/speedrun/speedrun.sh uses: AdamW over a grid of rates, then, with AdamW's best rate for
# embeddings, gains and biases, each other optimizer over a grid of the same size. Prints every run's final validation
# loss, writes them to sweep.csv in the folder of --out (dev/speedrun/results) and the best rates to rates.csv there. A
# best rate at the edge of its grid is an error: shift the grid.
usage='usage: dev/speedrun/sweep.sh [--grid NAME="RATES"]... [--out DIR] [-- OPTIONS of train_gpt]'
command="dev/speedrun/sweep.sh $*"
grid_adamw='1e-3 2e-3 4e-3 8e-3' grid_muon='1e-2 2e-2 4e-2 8e-2'
out=dev/speedrun/results runs=$(mktemp -d) || exit 1
trap 'rm -rf "$runs"' EXIT
others=muon

set_grid() {
    eval "grid_$(echo "$1" | tr - _)=\$2"
    case " adamw $others " in *" $1 "*) ;; *) others="$others $1" ;; esac
}

while [ $# -gt 0 ]; do
    case $1 in
        --grid) set_grid "${2%%=*}" "${2#*=}" ;;
        --out) out=$2 ;;
        --) shift; break ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift 2 || { echo "$usage" >&2; exit 2; }
done
[ $# -gt 0 ] || set -- --steps 300 --val-tokens 32768 --seed 1000
mkdir -p "$out"
{ echo "# $command"; echo "# options: $*"; echo "optimizer,lr,aux_lr,val_loss"; } > "$out/sweep.csv"
echo "optimizer,lr,aux_lr" > "$out/rates.csv"

# Trains an optimizer at one rate and records its final validation loss: one OPTIMIZER LR AUX_LR OPTIONS...
one() {
    run=$runs/$1-$2
    optimizer=$1 rate=$2 aux=$3
    shift 3
    ./train_gpt --optimizer "$optimizer" --lr "$rate" ${aux:+--aux-lr "$aux"} --val-every 1000000 --sample-every 0 \
        --keep 1 --out "$run" "$@" > "$run.log" 2>&1
    status=$?
    loss=$(awk -F, 'NR > 1 && $5 != "" { loss = $5 } END { print loss }' "$run/metrics.csv" 2>/dev/null)
    [ $status -eq 0 ] || loss=diverged
    [ $status -eq 0 ] || [ $status -eq 3 ] || { cat "$run.log" >&2; exit 1; }
    echo "$optimizer,$rate,$aux,$loss" | tee -a "$out/sweep.csv"
    rm -rf "$run"
}

# The rate with the lowest loss in $out/sweep.csv, or nothing if it is at the edge of the grid.
best_of() {
    awk -F, -v name="$1" '$1 == name { n++; rate[n] = $2; loss[n] = $4 == "diverged" ? 1e30 : $4 + 0 }
        END { for (i = 1; i <= n; i++) if (!best || loss[i] < loss[best]) best = i
              if (best > 1 && best < n) print rate[best] }' "$out/sweep.csv"
}

aux=
for optimizer in adamw $others; do
    eval "grid=\$grid_$(echo "$optimizer" | tr - _)"
    for rate in $grid; do
        one "$optimizer" "$rate" "$aux" "$@"
    done
    best=$(best_of "$optimizer")
    [ -n "$best" ] || { echo "sweep: the best rate of $optimizer is at the edge of its grid ($grid); shift the grid with --grid" >&2; exit 1; }
    echo "$optimizer,$best,$aux" >> "$out/rates.csv"
    [ "$optimizer" != adamw ] || aux=$best
done
echo "best rates in $out/rates.csv:"
cat "$out/rates.csv"
