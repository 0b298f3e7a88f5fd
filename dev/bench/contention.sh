#!/bin/sh
# contention.sh [TRAIN_GPT]: what busy neighbours cost a step, by how long OpenMP's waiting threads spin, with a single
# thread and with two ranks of one: milliseconds, median and mean of STEPS steps of nano (30) and ten times as many of a
# tiny model, on the machine as it is and next to four busy loops. base/environment.c sets the default, by the means: a
# thread that has used up its time slice is late in few steps, but by much. Others on the machine leave only the ratios
# to compare.
gpt=${1:-./train_gpt}
steps=${STEPS:-30}
[ -x "$gpt" ] || { echo "$gpt: is not there; run make first" >&2; exit 1; }
work=$(mktemp -d) || exit 1
neighbours=
stop_neighbours() {
    [ -z "$neighbours" ] || kill $neighbours 2> /dev/null
    neighbours=
}
trap 'stop_neighbours; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
unset OMP_WAIT_POLICY GOMP_SPINCOUNT OMP_NUM_THREADS

milliseconds() { # variable or "", options of train_gpt
    variable=$1
    shift
    env ${variable:+"$variable"} "$gpt" --device cpu --val-every 0 --sample-every 0 "$@" --out "$work/run" \
        > "$work/log" 2>&1 || { tail -n 1 "$work/log" >&2; return 1; }
    # the first steps warm up the caches
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
             NR > 5 && $column["tokens_per_second"] != "" { print '"$tokens"' * 1000 / $column["tokens_per_second"] }' \
        "$work/run/metrics.csv" | sort -n |
        awk '{ ms[NR] = $1; sum += $1 } END { printf "%8.2f %9.2f", ms[int((NR + 1) / 2)], sum / NR }'
    rm -rf "$work/run"
}

measure() { # name, variable or "", options
    name=$1 variable=$2
    shift 2
    nano=$(tokens=2048 milliseconds "$variable" --steps "$steps" --batch-size 4 --total-batch 2048 "$@") || exit 1
    tiny=$(tokens=128 milliseconds "$variable" --steps $((10 * steps)) --layers 2 --heads 2 --width 16 --seq-len 32 \
        --batch-size 2 --total-batch 128 "$@") || exit 1
    printf '%-10s  %-21s  %s  %s\n' "$machine" "$name" "$nano" "$tiny"
}

printf '%-10s  %-21s  %8s %9s  %8s %9s\n' neighbours setting 'nano ms' mean 'tiny ms' mean
for machine in none four; do
    if [ $machine = four ]; then
        for _ in 1 2 3 4; do
            sh -c 'while :; do :; done' &
            neighbours="$neighbours $!"
        done
    fi
    measure default ""
    measure GOMP_SPINCOUNT=0 GOMP_SPINCOUNT=0
    measure GOMP_SPINCOUNT=1000 GOMP_SPINCOUNT=1000
    measure GOMP_SPINCOUNT=10000 GOMP_SPINCOUNT=10000
    measure "--threads 1" "" --threads 1
    measure "--ranks 2" "" --ranks 2 --threads 1
done
