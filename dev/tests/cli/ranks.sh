# ranks.sh: several ranks train one model, started as torchrun starts them (processes that meet at a port), and by the
# launchers that are installed.

# Starts ranks 0 .. n-1 of a command, each with its own files out.R and err.R; their numbers go to $pids.
start_ranks() { # ranks, command
    world=$1 rank=0 pids=''
    shift
    meetings=$((${meetings:-0} + 1))
    [ "$world" -le "${GPUS:-$world}" ] || skip "there are $GPUS GPUs" # set on a machine with GPUs (gpu.sh)
    export CUDA_ON_CPU_DEVICES="$world"
    while [ $rank -lt "$world" ]; do
        # below 32768, from where on the system gives out ports of its own
        RANK=$rank WORLD_SIZE=$world MASTER_ADDR=127.0.0.1 MASTER_PORT=$((12000 + ($$ * 31 + started * 7 + meetings) % 20000)) \
            timeout 120 "$@" > out.$rank 2> err.$rank &
        pids="$pids $!" rank=$((rank + 1))
    done
}

# All of them end with this status.
end_ranks() { # status
    rank=0
    for pid in $pids; do
        wait "$pid"
        status=$?
        [ $status -eq "$1" ] || fail "rank $rank ended with $status instead of $1: $(head -n 1 err.$rank)"
        rank=$((rank + 1))
    done
}

ranks() { # status, ranks, command
    wanted=$1
    shift
    start_ranks "$@"
    end_ranks "$wanted"
}

# The program of a rank that start_ranks has started: the child of its timeout.
process_of() { # rank
    parent=$(echo $pids | cut -d' ' -f$(($1 + 1)))
    tries=0
    until child=$(ps -o pid= --ppid "$parent") && [ -n "$child" ]; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "rank $1 did not start"
        sleep 0.05
    done
    echo $child
}

# A tiny run of 12 micro-batches a step, and one of 8.
twelve="$size --batch-size 1 --total-batch 384 --val-tokens 256 --warmup 2 --sample-every 0 --text $work/story.txt --device ${DEVICE:-cpu}"
eight="$size --batch-size 1 --total-batch 256 --val-tokens 256 --warmup 2 --sample-every 0 --text $work/story.txt --device ${DEVICE:-cpu}"

same_bits() { # options, ranks
    expect 0 "$gpt" $eight --steps 5 --val-every 2 $1 --out one
    for n in $2; do
        ranks 0 "$n" "$gpt" $eight --steps 5 --val-every 2 $1 --out many$n
        same_end one many$n
        says "ranks     $n, of which $n on this machine; the same bits as 1 rank computes" out.0
        for log in diagnose.jsonl evals.csv; do
            [ -e one/$log ] || continue
            sed 's/"rule_ms": [^,}]*//' one/$log > one.log
            sed 's/"rule_ms": [^,}]*//' many$n/$log > many.log
            same one.log many.log
        done
        [ "$(cat out.$((n - 1)) err.0 err.$((n - 1)))" = "" ] || fail "it says $(cat out.$((n - 1)) err.*)"
    done
}

for answer in 0 1 2; do
    printf '{"ctx": "the cat sat on", "endings": ["a red mat", "two old dogs run home", "saw"], "label": %s}\n' $answer
done > "$work/items.jsonl"
run_table "ranks: the same bits," same_bits <<'TABLE'
--optimizer muon                                  | 2 4 8
--optimizer muon --ns-dtype fp32                  | 4
--optimizer muon --ns-dtype bf16                  | 4
--optimizer adamw                                 | 2 4
--optimizer nesterov --clip 0.1                   | 4
--optimizer soap --tail-ema 2 --tail-ema-from 1 --ema-nesterov 0.1 --muloco 2 | 2 4
--optimizer prodigy --d0 1e-4                     | 2
--optimizer sophia --refresh 2                    | 2
--optimizer mars --mars-form exact --clip 0.1 --ema-nesterov 0.2 | 2 4
--optimizer dion --rank 3                         | 2
--optimizer adam-cpr                              | 4
--optimizer muonh --init track3-h --ema-nesterov 0.2 | 2
--optimizer shampoo --aux-optimizer lion          | 4
--optimizer kl-soap --no-split-qkv                | 2
--dropout 0.2                                     | 4
--qk-clip 0.02 --tail-ema 2 --tail-ema-from 1 --ema-nesterov 0.1 --muloco 2 | 2 4
--qk-clip 0.02 --kv-heads 1 --optimizer adamw     | 4
--first-batch 64 --batch-growth 3                 | 2
--diagnose 2                                      | 4
--eval hellaswag=../items.jsonl,shards=../good.bin --eval-every 2 | 2 4
--kv-heads 1 --positions rotary --head untied --activation swiglu | 4
TABLE
# Rules whose CUDA code is made of verbs alone.
[ "${DEVICE:-cpu}" = cuda ] || run_table "ranks: the same bits," same_bits <<'TABLE'
--optimizer schedule-free                         | 2
--optimizer muon --aux-optimizer prodigy          | 4
--optimizer mars --aux-optimizer cautious-adamw   | 2
--optimizer cautious-lion                         | 4
--optimizer psgdh                                 | 2 4
--optimizer muown                                 | 4
--optimizer muown --qk-clip 0.02 --aux-optimizer schedule-free | 4
--optimizer adafactor --embed-optimizer scion-sign | 2 4
--optimizer dion2                                 | 2
--optimizer normuon --split-heads                 | 2 4
--optimizer adam-mini --split-heads               | 2
--optimizer soap --split-heads --kv-heads 1       | 4
TABLE

# --ranks: the program starts them itself. It waits for the others, and leaves none behind.
of_folder() { pgrep -f "$PWD/" || true; } # processes whose command line names this test's folder

starts_them() {
    expect 0 "$gpt" $eight --steps 5 --val-every 2 --out one
    export CUDA_ON_CPU_DEVICES=4
    [ 4 -le "${GPUS:-4}" ] || skip "there are $GPUS GPUs"
    expect 0 "$gpt" $eight --steps 5 --val-every 2 --out "$PWD/many" --ranks 4
    same_end one many
    says "ranks     4, of which 4 on this machine; the same bits as 1 rank computes" out
    [ "$(grep -c ^saved out)$(cat err)" = 1 ] || fail "several speak: $(cat out err)"
    [ -z "$(of_folder)" ] || fail "a rank is left"
    ! grep -q '"ranks": "' many/run.json || fail "how many ranks were started is recorded as part of the run"
    expect 0 "$gpt" --resume --steps 6 --out many
    expect 0 "$gpt" --resume --steps 6 --out one --ranks 2
    same_end one many
    expect 2 "$gpt" $eight --steps 5 --ranks 3 --out three
    says "3 ranks cannot share a step of 8 micro-batches" err
    [ "$(wc -l < err)" -eq 1 ] || fail "it says $(cat err)"
    ranks 0 2 "$gpt" $eight --steps 5 --ranks 2 --out two
    ranks 1 2 "$gpt" $eight --steps 5 --ranks 1 --out four
    ranks 1 2 "$gpt" $eight --steps 5 --ranks 4 --out four
    says "--ranks 4: this is one of 2 ranks that torchrun has started" err.0
    [ -z "$(cat err.1)" ] || fail "rank 1 too says $(cat err.1)"
}
run_test "ranks: --ranks starts them" starts_them

# What happens to one of them happens to all.
ends_them() { # status, signal, rank, words
    export CUDA_ON_CPU_DEVICES=2
    [ 2 -le "${GPUS:-2}" ] || skip "there are $GPUS GPUs"
    "$gpt" $eight --steps 6000 --val-every 0 --checkpoint-every 2 --comm-timeout 1 --ranks 2 --out "$PWD/run" > out 2> err &
    first=$!
    await_lines run/metrics.csv 6
    other=$(ps -o pid= --ppid $first)
    [ "$3" = 0 ] && whom=$first || whom=$other
    kill "-$2" $whom
    wait $first
    status=$?
    [ $status -eq "$1" ] || fail "it ended with $status: $(cat err)"
    tries=0
    until [ -z "$(of_folder)" ]; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { kill -KILL "$other"; fail "a rank is left"; }
        sleep 0.1
    done
    [ "$(cat out err | grep -c -e "$4" -e ^train_gpt:)" -eq 1 ] || fail "it says $(cat err)"
    cat out err > said
    says "$4" said
    expect 0 resume --steps $(($(sed 's/step_0*//' run/latest) + 2)) --out run
}
run_table "ranks: of those by --ranks one gets" ends_them <<'TABLE'
143 | TERM | 0 | stopped by signal 15 after step
143 | TERM | 1 | stopped by signal 15 after step
1   | KILL | 1 | rank 1 is lost
1   | STOP | 1 | has been silent for 1
137 | KILL | 0 | rank 0 is lost
TABLE

# What is no power of two is summed otherwise, and says so.
three_ranks() {
    expect 0 "$gpt" $twelve --steps 5 --out one
    ranks 0 3 "$gpt" $twelve --steps 5 --out three
    ranks 0 3 "$gpt" $twelve --steps 5 --out again
    same_end three again
    says "ranks     3, of which 3 on this machine; sums are rounded otherwise than 1 rank's" out.0
    paste -d, one/metrics.csv three/metrics.csv | awk -F, 'NR > 1 && $4 != "" && ($4 - $20) ^ 2 > 1e-8 { exit 1 }' ||
        fail "other losses: $(paste -d' ' one/metrics.csv three/metrics.csv)"
    ranks 0 4 "$gpt" $twelve --steps 5 --out four
    same_end one four
    ranks 0 4 "$gpt" $twelve --steps 5 --same-bits 2 --out few
    says "they are more than --same-bits" out.0
}
run_test "ranks: 3 round otherwise than 1, and 4 with --same-bits 2" three_ranks

# An MPI's program that starts ranks, in $mpiexec; it is not there under a name of its own, or as mpiexec.
find_mpiexec() { # Open MPI or MPICH
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 CUDA_ON_CPU_DEVICES=4
    export ASAN_OPTIONS=detect_leaks=0 # MPI's own
    case $1 in
    MPICH) names="mpiexec.hydra mpiexec.mpich mpiexec" version=HYDRA more='' ;;
    *) names="mpirun.openmpi mpirun" version=Open more=--oversubscribe ;;
    esac
    for mpiexec in $names; do
        if "$mpiexec" --version 2>&1 | grep -Fq $version; then
            mpiexec="timeout 120 $mpiexec $more"
            return
        fi
    done
    skip "there is no mpiexec of $1's"
}

# What the program was built with, in $mpi, and what it was not, in $other: a single rank of two says so.
find_mpi() {
    PMI_SIZE=2 PMI_RANK=0 "$gpt" --list-groups > out 2> err
    case $(cat err) in
    *"built with Open MPI"*) mpi="Open MPI" other=MPICH ;;
    *"built with MPICH"*) mpi=MPICH other="Open MPI" ;;
    *"without MPI"*) skip "the program was built without MPI" ;;
    *) fail "it says $(cat out err)" ;;
    esac
}

by_mpiexec() {
    find_mpi
    find_mpiexec "$mpi"
    expect 0 "$gpt" $twelve --steps 4 --val-every 2 --out one
    for n in 1 2 4; do
        expect 0 $mpiexec -n $n "$gpt" $twelve --steps 4 --val-every 2 --out many$n
        same_end one many$n
    done
    expect 0 $mpiexec -n 3 "$gpt" $twelve --steps 4 --val-every 2 --out three
    expect 2 $mpiexec -n 1 "$gpt" $twelve --steps 4 --lr 0.1 --out new : -n 1 "$gpt" $twelve --steps 4 --lr 0.2 --out new
    says 'rank 1 has "lr": "0.2" where rank 0 has "lr": "0.1"' err
    one_sentence
}

one_sentence() { [ "$(grep -c '^train_gpt' err)" -eq 1 ] || fail "it says $(cat err)"; }
run_test "ranks: mpirun or mpiexec starts them" by_mpiexec

another_mpi() {
    find_mpi
    find_mpiexec "$other"
    expect 1 $mpiexec -n 4 "$gpt" $twelve --steps 4 --out new
    says "this program was built with $mpi, which needs its own mpiexec" err
    one_sentence
    [ ! -e new ] || fail "it made a run"
}
run_test "ranks: another MPI's mpiexec is refused" another_mpi

# Within about a second, mpirun ends all ranks with the first that fails.
late_to_speak() {
    find_mpiexec "Open MPI"
    expect 1 $mpiexec -n 2 sh -c '[ $OMPI_COMM_WORLD_RANK = 1 ] || sleep 1.3; OMPI_COMM_WORLD_SIZE=5000 exec "$@"' \
        sh "$gpt" $twelve --steps 4 --out new
    says "OMPI_COMM_WORLD_SIZE is '5000'" err
    one_sentence
}
run_test "ranks: rank 0 says why none can start, though it is late" late_to_speak

# Two agents of 2 ranks each, as on two machines.
by_torchrun() {
    python=$("$dev/python.sh" --find torch) || skip "there is no Python with torch"
    port=$((12000 + ($$ * 31 + started * 7) % 20000))
    expect 0 "$gpt" $twelve --steps 4 --val-every 2 --out one
    for agent in 0 1; do
        CUDA_ON_CPU_DEVICES=4 timeout 120 "$python" -m torch.distributed.run --no-python --nnodes 2 --node-rank $agent \
            --nproc-per-node 2 --master-addr 127.0.0.1 --master-port $port \
            "$gpt" $twelve --steps 4 --val-every 2 --out many > out.$agent 2> err.$agent &
        pids="${pids:-} $!"
    done
    end_ranks 0
    same_end one many
    says "ranks     4, of which 4 on this machine" out.0
}
run_test "ranks: torchrun starts them, two agents" by_torchrun

# Bytes that a rank sends in a step: gradients and parameters, each to all but one of n, hidden matrices in bf16 if the
# model computes in it.
sends_as_the_formula_says() { # type, bytes of a hidden parameter
    case $1 in bf16) [ "${DEVICE:-cpu}" = cuda ] || skip "the CPU computes in fp32" ;; esac
    ranks 0 4 "$gpt" $eight --steps 2 --dtype "$1" --out run
    parameters=$(sed -n 's/.*, \([0-9]*\) parameters$/\1/p' out.0)
    hidden=$(sed -n 's/^groups *hidden .* \([0-9]*\) in .*/\1/p' out.0)
    wanted=$(awk "BEGIN { printf \"%.3g\", 3 / 4 * (4 * $parameters + 4 * ($parameters - $hidden) + $2 * $hidden) / 1000 }")
    says "each sends $wanted kB a step" out.0
    measured=$(sed -n 's/^ranks     each sent \([0-9.]*\) kB in the last step.*/\1/p' out.0)
    awk "BEGIN { exit !($measured > $wanted && $measured < 1.05 * $wanted + 12) }" || # and a few messages of a kilobyte
        fail "$measured kB, not $wanted"
    [ -n "$(tail -n 1 run/metrics.csv | cut -d, -f14)" ] || fail "no wait_ms: $(tail -n 1 run/metrics.csv)"
}
run_test "ranks: bytes sent are those of the formula" sends_as_the_formula_says fp32 4
run_test "ranks: bytes sent are those of the formula in bf16" sends_as_the_formula_says bf16 2

resumes_with_others() {
    expect 0 "$gpt" $eight --steps 6 --val-every 2 --out one
    ranks 0 4 "$gpt" $eight --steps 6 --val-every 2 --checkpoint-every 2 --keep 0 --out many
    printf 'step_000002\n' > many/latest
    ranks 0 2 "$gpt" --resume --steps 6 --out many
    same_end one many
    printf 'step_000004\n' > many/latest
    expect 0 resume --out many
    same_end one many
}
run_test "ranks: another number resumes the run to the same bits" resumes_with_others

loses_a_rank() { # rank
    expect 0 "$gpt" $eight --steps 60 --val-every 0 --out one
    start_ranks 3 "$gpt" $twelve --steps 6000 --val-every 0 --checkpoint-every 2 --keep 3 --out run
    await_lines run/metrics.csv 6
    kill -9 "$(process_of "$1")"
    rank=0
    for pid in $pids; do
        wait "$pid"
        status=$?
        [ $rank -eq "$1" ] || [ $status -eq 1 ] || fail "rank $rank ended with $status: $(cat err.$rank)"
        rank=$((rank + 1))
    done
    speaker=$(($1 == 0))
    says "rank $1 is lost" err.$speaker
    says "./train_gpt --resume --out run" err.$speaker
    [ "$(cat err.* | wc -l)" -eq 1 ] || fail "it says $(cat err.*)"
    step=$(sed 's/step_0*//' run/latest)
    ranks 0 3 "$gpt" --resume --steps $((step + 2)) --out run
}
run_test "ranks: the first is killed" loses_a_rank 0
run_test "ranks: the last is killed" loses_a_rank 2

loses_two() {
    start_ranks 4 "$gpt" $eight --steps 6000 --val-every 0 --checkpoint-every 2 --out run
    await_lines run/metrics.csv 6
    kill -9 "$(process_of 0)" "$(process_of 1)"
    wait
    [ "$(cat err.2 err.3 | wc -l)" -eq 1 ] || fail "they say $(cat err.2 err.3)"
    says "is lost" err.2
}
run_test "ranks: the first two are killed" loses_two

# A rank is killed while rank 0 collects the optimizer's state: no checkpoint is made of what came.
dies_in_checkpoint() {
    wide="--layers 2 --heads 2 --width 256 --seq-len 32 --batch-size 1 --total-batch 64 --val-every 0 --warmup 2
          --sample-every 0 --optimizer adamw --schedule constant --text $work/story.txt --device ${DEVICE:-cpu}"
    start_ranks 2 "$gpt" $wide --steps 6000 --checkpoint-every 2 --keep 2 --out run
    child=$(process_of 1)
    await_lines run/latest 1
    for moment in $(seq 20000); do
        set -- run/step_*.tmp/optimizer*
        [ ! -e "$1" ] || break
    done
    kill -9 "$child"
    wait
    at=$(sed 's/step_0*//' run/latest)
    expect 0 "$gpt" $wide --steps "$at" --out one
    same "one/$(cat one/latest)/optimizer.safetensors" "run/$(cat run/latest)/optimizer.safetensors"
}
run_test "ranks: one is killed while its state is collected" dies_in_checkpoint

silent_rank() {
    start_ranks 2 "$gpt" $eight --steps 6000 --val-every 0 --checkpoint-every 2 --comm-timeout 1 --out run
    await_lines run/metrics.csv 4
    stopped=$(process_of 1)
    kill -STOP "$stopped"
    wait "${pids%% [0-9]*}" 2> /dev/null
    first=$(echo $pids | cut -d' ' -f1)
    wait "$first"
    status=$?
    kill -KILL "$stopped"
    wait
    [ $status -eq 1 ] || fail "rank 0 ended with $status"
    says "rank 1 is lost: process $stopped on" err.0
    says "has been silent for 1" err.0
}
run_test "ranks: one that is silent for longer than --comm-timeout" silent_rank

signal_to_one() { # rank
    start_ranks 3 "$gpt" $twelve --steps 6000 --val-every 0 --out run
    await_lines run/metrics.csv 4
    kill -TERM "$(process_of "$1")"
    end_ranks 143
    says "stopped by signal 15 after step" out.0
    step=$(sed 's/step_0*//' run/latest)
    says "after step $step of 6000" out.0
    ranks 0 3 "$gpt" --resume --steps $((step + 2)) --out run
}
run_test "ranks: a signal to one stops all after the same step" signal_to_one 1

diverges_together() {
    ranks 3 2 "$gpt" $eight --steps 50 --optimizer sgd --lr 1e5 --clip 0 --out run
    says "diverged" err.0
    [ "$(cat err.1)" = "" ] || fail "rank 1 says $(cat err.1)"
}
run_test "ranks: a loss that is not finite ends all" diverges_together

# Every rank ends with the status; rank 0 alone says the words.
ranks_refuse() { # options, status, words
    mkdir there
    ranks "$2" 2 "$gpt" $eight --steps 2 $1
    says_all "$3" err.0
    [ "$(cat err.* | wc -l)" -eq 1 ] || fail "it says $(cat err.*)"
    [ ! -e new ] || fail "it made a run"
}
run_table "ranks: refuses" ranks_refuse <<'TABLE'
--total-batch 96 --out new                        | 2 | 2 ranks cannot share a step of 3 micro-batches;multiple of 64 tokens
--first-batch 32 --batch-growth 2 --out new       | 2 | 2 ranks cannot share a step of 1 micro-batches, --first-batch 32
--out there                                       | 2 | --out there exists
--text missing.txt --out new                      | 1 | missing.txt
--no-such-option                                  | 2 | no-such-option
--batch-size 1000000 --total-batch 64000000 --out new | 1 | out of memory
--same-bits 0 --out new                           | 2 | --same-bits
TABLE

# Rank 1 does something else than rank 0.
differs_in_data() {
    cp "$work/story.txt" mine.txt
    mkdir elsewhere
    sed 's/cat/dog/' "$work/story.txt" > elsewhere/mine.txt
    printf '#!/bin/sh\n[ $RANK = 0 ] || cd elsewhere\nexec "$@"\n' > differently
    chmod +x differently
    ranks 1 2 ./differently "$gpt" $eight --text mine.txt --steps 2 --out "$PWD/new"
    says_all "the ranks must do the same;mine.txt;hash" err.0
    rm elsewhere/mine.txt
    ranks 1 2 ./differently "$gpt" $eight --text mine.txt --steps 2 --out "$PWD/new"
    says_all "rank 1 on;mine.txt" err.0
    [ ! -e new ] || fail "it made a run"
}
run_test "ranks: other data on one, or none" differs_in_data

differs_in_weights() {
    for seed in 1 2; do
        expect 0 "$gpt" $eight --steps 1 --seed $seed --out seed$seed
        mkdir in$seed
        mv seed$seed/step_000001 in$seed/model
    done
    printf '#!/bin/sh\ncd in$((RANK + 1))\nexec "$@"\n' > differently
    chmod +x differently
    for steps in 0 2; do
        ranks 1 2 ./differently "$gpt" $eight --model model --steps $steps --out "$PWD/new"
        says "the ranks must do the same: rank 1 has parameters: " err.0
    done
    expect 0 "$gpt" $eight --steps 4 --checkpoint-every 2 --keep 0 --out run
    mkdir old
    cp -R run old/run
    printf 'step_000002\n' > old/run/latest
    printf '#!/bin/sh\n[ $RANK = 0 ] || cd old\nexec "$@"\n' > differently
    ranks 1 2 ./differently "$gpt" --resume --steps 6 --out run
    says "rank 1 has checkpoint: run/step_000002 where rank 0 has checkpoint: run/step_000004" err.0
}
run_test "ranks: other weights on one, or another checkpoint" differs_in_weights

differs_in_options() {
    printf '#!/bin/sh\n[ $RANK = 0 ] || set -- "$@" --lr 0.5\nexec "$@"\n' > differently
    chmod +x differently
    ranks 2 2 ./differently "$gpt" $eight --steps 2 --out new
    says 'rank 1 has "lr": "0.5", which rank 0 has not' err.0
    sed -i 's/--lr 0.5/--no-such-option/' differently
    ranks 2 2 ./differently "$gpt" $eight --steps 2 --out new
    says_all "rank 1 on;no-such-option" err.0
    [ ! -e new ] || fail "it made a run"
}
run_test "ranks: other options on one" differs_in_options

without_gpu() {
    [ "${DEVICE:-cpu}" = cuda ] && [ -z "${GPUS:-}" ] || skip "it is about emulated GPUs"
    printf '#!/bin/sh\n[ $RANK = 0 ] || export CUDA_ON_CPU_DEVICES=0\nexec "$@"\n' > differently
    chmod +x differently
    ranks 1 2 ./differently "$gpt" $eight --steps 2 --out new
    says_all "rank 1 on;no GPU answers" err.0
    [ ! -e new ] || fail "it made a run"
}
run_test "ranks: one without a GPU" without_gpu

two_jobs() {
    start_ranks 2 "$gpt" $eight --steps 6000 --val-every 0 --out run
    await_lines run/metrics.csv 4
    job=$pids
    mkdir other
    (cd other && ranks 1 2 "$gpt" --resume --out ../run && says "../run" err.0) || exit 1
    pids=$job
    kill -TERM "$(process_of 0)"
    end_ranks 143
}
run_test "ranks: two jobs on one run's directory" two_jobs

one_gpu_for_two() {
    [ "${DEVICE:-cpu}" = cuda ] || skip "it is about GPUs"
    [ "${GPUS:-1}" = 1 ] || skip "there are $GPUS GPUs"
    GPUS=2 start_ranks 2 env CUDA_ON_CPU_DEVICES=1 "$gpt" $eight --steps 2 --out new
    end_ranks 1
    says "ranks 0 and 1 have the same GPU" err.0
    [ -n "${GPUS:-}" ] || {
        GPUS=3 start_ranks 3 env CUDA_ON_CPU_DEVICES=2 "$gpt" $twelve --steps 2 --out new
        end_ranks 1
        says "ranks 0 and 2 have the same GPU" err.0
    }
}
run_test "ranks: more than GPUs" one_gpu_for_two

# Nobody is waited for where nothing is computed.
informs() {
    for option in --help --version --list-presets; do
        expect 0 env RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=9 "$gpt" $option
        [ -s out ] || fail "$option says nothing"
        expect 0 env RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=9 "$gpt" $option
        [ ! -s out ] || fail "rank 1 too says $(head -n 1 out)"
    done
}
run_test "ranks: --help meets nobody" informs

# Tests of the environment, of one process.
environment_refuses() { # environment, words
    expect 1 env $1 "$gpt" $eight --steps 1 --out new
    says_all "$2" err
    [ ! -e new ] || fail "it made a run"
}
run_table "ranks: refuses" environment_refuses <<'TABLE'
WORLD_SIZE=2                                   | WORLD_SIZE is set;RANK is not
WORLD_SIZE=x RANK=0                            | WORLD_SIZE is 'x'
WORLD_SIZE=2 RANK=0                            | MASTER_ADDR and MASTER_PORT
WORLD_SIZE=2 RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=0 | MASTER_ADDR and MASTER_PORT
SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 WORLD_SIZE=2 RANK=0 | MASTER_ADDR and MASTER_PORT
PMI_SIZE=2 PMI_RANK=0                          | mpiexec started 2 ranks;MPI
SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 PMI_SIZE=2 PMI_RANK=0 | mpiexec started 2 ranks;MPI
SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 | mpirun started 2 ranks;MPI
SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 TORCHELASTIC_RUN_ID=none WORLD_SIZE=2 RANK=0 | MASTER_ADDR and MASTER_PORT
TABLE

# A launcher's only rank is one like any other, whatever number an outer launcher gave it.
alone() { # environment
    expect 0 env $1 "$gpt" $eight --steps 1 --out new
    says "saved" out
}
run_table "ranks: alone with" alone <<'TABLE'
WORLD_SIZE=1 RANK=3
RANK=3
SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 TORCHELASTIC_RUN_ID=none WORLD_SIZE=1 RANK=0
TABLE
