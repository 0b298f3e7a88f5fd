#!/bin/sh
# Orthogonalisation compared, the whole experiment: the maps of single singular values, deviation and time on matrices,
# and the loss of the default training run with each flavour. Writes tables, pictures if there is matplotlib, and
# prints what the page quotes. See README.md beside this file.
usage='usage: dev/orthogonalisation/run.sh [--runs "FLAVOUR[:ITERATIONS] ..."] [--seeds "1"] [--jobs N] [--out DIR] [-- OPTIONS]

  --runs      what is trained with: --ns FLAVOUR, and --ns-steps ITERATIONS [each flavour with its own number]
  --seeds     one run of each a seed
  --jobs      runs side by side, each on one thread [as many as there are cores]
  --out       where tables and pictures go [dev/orthogonalisation]
  OPTIONS     for ./train_gpt [--steps 300 --val-tokens 32768]'

runs='jordan varied modula polar-express cubic track3 exact' seeds=1 out=dev/orthogonalisation
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
command="dev/orthogonalisation/run.sh $*"
while [ $# -gt 0 ]; do
    case $1 in
        --runs) runs=$2 ;;
        --seeds) seeds=$2 ;;
        --jobs) jobs=$2 ;;
        --out) out=$2 ;;
        --) shift; break ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
    shift 2 || { echo "$usage" >&2; exit 2; }
done
[ $# -gt 0 ] || set -- --steps 300 --val-tokens 32768
train=${TRAIN_GPT:-./train_gpt} measure=${ORTHOGONALISATION:-build/orthogonalisation}
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$out" || exit 1

echo "=== $measure: maps of singular values, and matrices on one thread (under a minute)"
"$measure" --threads 1 "$out" || exit

# Trains with FLAVOUR[:ITERATIONS] and a seed at the rates of dev/speedrun/results/rates.csv, which were found for jordan: one
# NAME SEED OPTIONS...
one() {
    name=$1 seed=$2 ns=${1%%:*} iterations=0
    [ "$ns" = "$1" ] || iterations=${1#*:}
    shift 2
    nice "$train" --optimizer muon --lr 2e-2 --aux-lr 2e-3 --ns "$ns" --ns-steps "$iterations" --seed "$seed" --threads 1 \
        --val-every 1000000 --sample-every 0 --keep 1 --out "$scratch/$name-$seed" "$@" > "$scratch/$name-$seed.log" 2>&1
    status=$?
    [ $status -eq 0 ] || [ $status -eq 3 ] || cat "$scratch/$name-$seed.log" >&2
    return $status
}

# A run's row: final validation loss; of the optimizer (gradient norm and AdamW's part with it) the median of a step in
# ms and the sum in seconds; the median of a whole step in ms.
row() {
    awk -F, -v name="$1" -v seed="$2" '
        function median(x, n,    i, j, t) {
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && x[j - 1] > x[j]; j--) { t = x[j]; x[j] = x[j - 1]; x[j - 1] = t }
            return x[int((n + 1) / 2)]
        }
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
        $column["val_loss"] != "" { loss = $column["val_loss"] }
        $column["optimizer_ms"] != "" {
            n++; optimizer[n] = $column["optimizer_ms"] + 0; sum += optimizer[n]
            step[n] = optimizer[n] + $column["data_ms"] + $column["forward_ms"] + $column["backward_ms"]
        }
        END { printf "%s,%s,%s,%.2f,%.2f,%.1f\n", name, seed, loss, median(optimizer, n), sum / 1000, median(step, n) }
    ' "$scratch/$1-$2/metrics.csv"
}

# Waits for the runs that were started, and records them.
finish() {
    for run in $running; do
        wait "${run##*/}"
        status=$?
        run=${run%/*}
        case $status in
            0) row "${run%/*}" "${run#*/}" | tee -a "$scratch/losses.csv" ;;
            3) echo "${run%/*}, seed ${run#*/}: diverged" ;;
            *) echo "run.sh: ${run%/*}, seed ${run#*/} failed with exit status $status" >&2; exit 1 ;;
        esac
    done
    running= started=0
}

echo "=== training: $train --optimizer muon --lr 2e-2 --aux-lr 2e-3 --threads 1 $* with each --ns, $jobs at once"
{ echo "# $command; $jobs runs at once: --lr 2e-2 --aux-lr 2e-3 --threads 1 $*"; echo "run,seed,val_loss,optimizer_ms,optimizer_seconds,step_ms"; } > "$scratch/losses.csv"
running= started=0
for name in $runs; do
    for seed in $seeds; do
        one "$name" "$seed" "$@" &
        running="$running $name/$seed/$!"
        started=$((started + 1))
        [ "$started" -lt "$jobs" ] || finish
    done
done
finish
mv "$scratch/losses.csv" "$out/losses.csv" || exit 1

echo
awk -F, '
    NR > 1 { printf "%-14s %2d iterations, %2d products; slope %6.0f; above 1/2 from %.5f; %.4f to %.4f over [0.01, 1]\n", $1, $2, $3, $4, $5, $8, $9 }
' "$out/ranges.csv"
echo
awk -F, '
    NR == 2 { printf "%-14s %-11s %-14s %10s %8s %9s %8s %8s %8s\n", "matrix", "shape", "flavour", "iterations", "products", "max|s-1|", "rms", "mean s", "ms" }
    NR > 2 && $6 == 1 { printf "%-14s %-11s %-14s %10d %8d %9.3g %8.3g %8.4f %8.2f\n", $1, $2 "x" $3, $4, $5, $7, $9, $10, $11, $12 }
' "$out/deviation.csv"
echo
awk -F, '
    NR > 2 {
        if (!($1 in n)) name[++count] = $1
        n[$1]++; loss[$1] += $3; squares[$1] += $3 * $3; ms[$1] += $4; seconds[$1] += $5; rest[$1] += $6 - $4
    }
    END {
        printf "%-14s %5s %9s %8s | %13s %10s %20s\n", "run", "seeds", "val loss", "+- seed", "optimizer: s", "ms a step", "of forward+backward"
        for (i = 1; i <= count; i++) {
            k = name[i]
            v = n[k] > 1 ? (squares[k] - loss[k] * loss[k] / n[k]) / (n[k] - 1) : 0
            spread = n[k] > 1 ? sprintf("%.4f", sqrt(v > 0 ? v : 0)) : "-"
            printf "%-14s %5d %9.4f %8s | %13.1f %10.1f %19.0f%%\n", k, n[k], loss[k] / n[k], \
                   spread, seconds[k] / n[k], ms[k] / n[k], 100 * ms[k] / rest[k]
        }
    }
' "$out/losses.csv"

echo
if python=$(dev/python.sh matplotlib); then
    "$python" dev/orthogonalisation/plot.py "$out"
else
    echo "no pictures: there is no Python with matplotlib; the tables are in $out"
fi
