#!/bin/sh
# Finds the rates that dev/speedrun/speedrun.sh uses: AdamW over a grid of rates, then, with AdamW's best rate for
# embeddings, gains and biases, each other optimizer over a grid of the same size. Prints every run's final validation
# loss.
usage='usage: dev/speedrun/sweep.sh [--grid NAME="RATES"]... [--out DIR]
                             [-- OPTIONS]

  --grid     the rates tried with an optimizer, besides adamw and muon any
             other [adamw="1e-3 2e-3 4e-3 8e-3" muon="1e-2 2e-2 4e-2 8e-2"]
  --out      where the runs go, every loss as sweep.csv and, once each
             optimizer has a best rate, these as rates.csv; given again, a
             sweep goes on where it stopped [runs/sweep-<time>]
  OPTIONS    for ./train_gpt [--steps 300 --val-tokens 32768 --seed 1000]

A best rate at the edge of its grid is an error: shift the grid, with the same
--out; rates already tried are not run again.'
me=sweep here=$(dirname "$0")
. "$here/common.sh"
log=1
command="dev/speedrun/sweep.sh $*"
grid_adamw='1e-3 2e-3 4e-3 8e-3' grid_muon='1e-2 2e-2 4e-2 8e-2'
out='' others=muon

set_grid() {
    case $1 in '' | *[!a-z0-9-]*) stop 2 "--grid '$1' is not NAME=\"RATES\"" ;; esac
    [ -n "$2" ] || stop 2 "--grid $1: it is empty"
    for rate in $2; do
        case $rate in *[!0-9.eE+-]* | [!0-9.]*) stop 2 "--grid $1: '$rate' is no learning rate" ;; esac
    done
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
own_options=$#
[ $# -gt 0 ] || set -- --steps 300 --val-tokens 32768 --seed 1000
open_out "options: $*"
[ -f "$out/sweep.csv" ] ||
    { echo "# $command"; echo "# options: $*"; echo "optimizer,lr,aux_lr,val_loss"; } > "$out/sweep.csv"

# The last loss of a finished run.
loss_of() { awk -F, 'NR > 1 && $5 != "" { loss = $5 } END { print loss }' "$1/metrics.csv"; }

# Trains an optimizer at one rate and records its final validation loss: one OPTIMIZER LR AUX_LR OPTIONS...
one() {
    optimizer=$1 rate=$2 aux=$3
    shift 3
    known=$(grep "^$optimizer,$rate,$aux," "$out/sweep.csv" | head -n 1)
    [ -z "$known" ] || { echo "$known  (done before)"; return; }
    name=$out/$optimizer-$rate${aux:+-$aux}
    if one_run "$name" --optimizer "$optimizer" --lr "$rate" ${aux:+--aux-lr "$aux"} --val-every 1000000 \
        --sample-every 0 --keep 1 "$@"; then
        loss=$(loss_of "$name")
        [ -n "$loss" ] || stop 1 "$name has no validation loss; validate, with --val-tokens above 0"
    else
        loss=diverged
    fi
    row="$optimizer,$rate,$aux,$loss"
    { cat "$out/sweep.csv"; echo "$row"; } > "$out/sweep.csv.tmp" && mv "$out/sweep.csv.tmp" "$out/sweep.csv" || exit 1
    echo "$row"
}

# The rate with the lowest loss among OPTIMIZER AUX_LR GRID, and where it is: inside, edge or nowhere.
best_of() {
    awk -F, -v name="$1" -v aux="$2" -v grid=" $3 " '
        $1 == name && $3 == aux && index(grid, " " $2 " ") {
            n++; rate[n] = $2
            if ($4 != "diverged" && (!best || $4 + 0 < least)) { best = n; least = $4 + 0 }
        }
        END {
            for (i = 1; i <= n; i++) { below += rate[i] + 0 < rate[best] + 0; above += rate[i] + 0 > rate[best] + 0 }
            print best ? rate[best] : "-", !best ? "nowhere" : below && above ? "inside" : "edge"
        }' "$out/sweep.csv"
}

echo "runs go to $out"
aux='' rates='optimizer,lr,aux_lr' edges=0
for optimizer in adamw $others; do
    eval "grid=\$grid_$(echo "$optimizer" | tr - _)"
    for rate in $grid; do
        one "$optimizer" "$rate" "$aux" "$@"
    done
    best=$(best_of "$optimizer" "$aux" "$grid")
    where=${best#* } best=${best% *}
    rates="$rates
$optimizer,$best,$aux"
    if [ "$where" != inside ]; then
        [ "$where" = edge ] && what="the best rate of $optimizer, $best, is at the edge of its grid ($grid)" ||
            what="$optimizer diverged at every rate of its grid ($grid)"
        echo "sweep: $what; shift the grid with --grid $optimizer=\"RATES\" --out $out" >&2
        edges=1
        [ "$optimizer" != adamw ] || break # the others need its rate
    fi
    [ "$optimizer" != adamw ] || aux=$best
done
[ $edges -eq 0 ] || exit 1
echo "$rates" > "$out/rates.csv.tmp" && mv "$out/rates.csv.tmp" "$out/rates.csv" || exit 1
echo "best rates, in $out/rates.csv:"
cat "$out/rates.csv"
if [ "$own_options" -gt 0 ]; then
    printf 'a speedrun at them:\n  dev/speedrun/speedrun.sh --rates %s -- OPTIONS\n' "$out/rates.csv"
else
    printf "to make them the speedrun's own:\n  cp %s %s %s\n" "$out/rates.csv" "$out/sweep.csv" "$here/results"
fi
