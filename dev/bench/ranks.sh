#!/bin/sh
# ranks.sh TRAIN_GPT BENCH_RANKS: what several ranks cost on this machine's CPUs: one rank of two threads, and 1, 2 and 4
# ranks of one thread each, on the same steps, in turns; the median tokens/s, whether the bits are the same, memory,
# bytes and waiting; then Muon's step on GPT-2 124M by rank. ROUNDS=3 of turns. More ranks than cores take turns on them.
gpt=$1 bench=$2
rounds=${ROUNDS:-3}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
meetings=0

start() { # ranks, threads, command
    world=$1 threads=$2 rank=1 pids=''
    shift 2
    meetings=$((meetings + 1))
    export WORLD_SIZE="$world" OMP_NUM_THREADS="$threads" MASTER_ADDR=127.0.0.1 \
        MASTER_PORT=$((20000 + ($$ * 31 + meetings) % 20000))
    while [ $rank -lt "$world" ]; do
        RANK=$rank "$@" > /dev/null 2>&1 &
        pids="$pids $!" rank=$((rank + 1))
    done
    RANK=0 "$@"
    status=$?
    for pid in $pids; do wait "$pid"; done
    return $status
}

# The median of a column of metrics.csv, over all but the first row, of one run or several.
median() { # column, files
    column=$1
    shift
    awk -F, -v column="$column" 'FNR == 1 { for (i = 1; i <= NF; i++) at[$i] = i } FNR > 3 && $at[column] != "" { print $at[column] }' "$@" |
        sort -n | awk '{ x[NR] = $1 } END { printf "%.4g", NR ? x[int((NR + 1) / 2)] : 0 }'
}

compare() { # name, options
    name=$1
    shift
    for round in $(seq "$rounds"); do
        for setting in 1x2 1x1 2x1 4x1; do
            start "${setting%x*}" "${setting#*x}" "$gpt" --val-every 0 --sample-every 0 --device cpu "$@" \
                --out "$work/$name-$setting-$round" > "$work/$setting.log" 2>&1 || { tail -n 1 "$work/$setting.log"; exit 1; }
        done
    done
    want=$(cat "$work/$name-1x2-1"/step_*/optimizer.safetensors | cksum)
    base=$(median tokens_per_second "$work/$name"-1x2-*/metrics.csv)
    for setting in 1x2 1x1 2x1 4x1; do
        bits=equal
        [ "$(cat "$work/$name-$setting-1"/step_*/optimizer.safetensors | cksum)" = "$want" ] || bits=OTHER
        rate=$(median tokens_per_second "$work/$name-$setting"-*/metrics.csv)
        wait_ms=$(median wait_ms "$work/$name-$setting"-*/metrics.csv)
        memory=$(sed -n 's/^memory *\(.*\) needed.*/\1/p' "$work/$setting.log")
        sent=$(sed -n 's/^ranks .*each sent \(.*\) in the last.*/\1/p' "$work/$setting.log")
        printf '%-6s %5s %8s  %-6s %9s %6.2f  %9s %9s %8s\n' "$name" "${setting%x*}" "${setting#*x}" $bits "$rate" \
            "$(awk "BEGIN { print $rate / $base }")" "$memory" "${sent:--}" "$wait_ms"
    done
}

printf '%-6s %5s %8s  %-6s %9s %6s  %9s %9s %8s\n' model ranks threads bits tokens/s ratio memory sent 'wait ms'
compare nano --batch-size 2 --total-batch 4096 --steps 12
compare gpt2 --model gpt2 --vocab 50257 --seq-len 256 --batch-size 1 --total-batch 1024 --optimizer adamw --steps 5
echo
echo "Muon's step on GPT-2 124M, seconds of processor time by rank:"
for n in 1 2 4; do
    printf '%d  %s\n' "$n" "$(start "$n" 1 "$bench")"
done
