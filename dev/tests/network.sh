#!/bin/sh
# network.sh [TRAIN_GPT [PATTERN]]: ranks as hosts. Each is in namespaces of its own for the network, processes and host
# name, and a cable leads to a switch, a bridge in yet another namespace: nothing of the machine's own network changes.
# Needs Linux, root and iproute2; what cannot be had is skipped, by name. PATTERN: only the tests whose name contains it.
gpt=${1:-./train_gpt}
pattern=${2:-}
case $gpt in /*) ;; *) gpt=$PWD/$gpt ;; esac
[ -x "$gpt" ] || { echo "$gpt: is not there; run make first" >&2; exit 1; }

work=$(mktemp -d) || exit 1
net=gpt$$ # before each namespace's name
switch=${net}switch
clean() {
    for process in $(cat "$work/started" 2> /dev/null); do kill -s KILL "$process" 2> /dev/null; done
    for space in $(ip netns list 2> /dev/null | sed -n "s/^\($net[a-z0-9]*\).*/\1/p"); do ip netns del "$space"; done
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM PIPE
export LC_ALL=C OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
passed=0 failed=0 skipped=0 JOBS=1
. "$(dirname "$0")/cli/helpers.sh"

# --- hosts ---

HOSTS=4 # of a run, beside two that do not meet
PORT=29500

# Runs a command on a host, in the place of this shell; it ends after two minutes, or with the shell's process.
on() { # host, command
    host=$1
    shift
    exec ip netns exec "$net$host" unshare --uts --pid --fork --kill-child --mount-proc \
        sh -c 'hostname "$0" && mount --bind "$HOSTS_FILE.$0" /etc/hosts && exec timeout -s KILL 120 "$@"' "host$host" "$@"
}

build_network() {
    export HOSTS_FILE="$work/hosts"
    echo "127.0.0.1 localhost" > "$HOSTS_FILE"
    i=0
    ip netns add "$switch" && ip -n "$switch" link add bridge type bridge && ip -n "$switch" link set bridge up || return 1
    while [ $i -lt $((HOSTS + 2)) ]; do
        ip netns add "$net$i" &&
            ip -n "$net$i" link add cable type veth peer name "port$i" netns "$switch" &&
            ip -n "$switch" link set "port$i" master bridge up &&
            ip -n "$net$i" addr add "10.77.0.$((i + 1))/24" dev cable &&
            ip -n "$net$i" addr add "fd77::$((i + 1))/64" dev cable nodad &&
            ip -n "$net$i" link set lo up && ip -n "$net$i" link set cable up || return 1
        echo "10.77.0.$((i + 1)) host$i" >> "$HOSTS_FILE"
        i=$((i + 1))
    done
    # as Debian writes it: a host's own name is an address that others cannot reach
    for i in 0 1 2 3 4 5; do { echo "127.0.1.1 host$i"; cat "$HOSTS_FILE"; } > "$HOSTS_FILE.host$i"; done
    (on 0 true)
}

no_network=
[ "$(id -u)" -eq 0 ] || no_network="it takes root"
[ -n "$no_network" ] || build_network > "$work/network.log" 2>&1 ||
    no_network="no network namespaces: $(head -n 1 "$work/network.log")"

# A cable's two ends, by what happens to frames that leave each: `delay 20ms` and the like, of tc's.
shape() { # hosts, qdisc and its options
    i=0
    count=$1
    shift
    while [ $i -lt "$count" ]; do
        tc -n "$net$i" qdisc replace dev cable root "$@" 2>> tc.log || return 1
        tc -n "$switch" qdisc replace dev "port$i" root "$@" 2>> tc.log || return 1
        i=$((i + 1))
    done
}
unshape() {
    for i in 0 1 2 3; do
        tc -n "$net$i" qdisc del dev cable root
        tc -n "$switch" qdisc del dev "port$i" root
    done 2> "$work/null"
}
plug() { ip -n "$switch" link set "port$1" "$2"; } # host, up or down

ranks_on() { # host: processes
    for p in $(ip netns pids "$net$1"); do
        [ "$(cat "/proc/$p/comm" 2> "$work/null")" != train_gpt_cpu ] || echo "$p"
    done
}

seconds() { cut -d ' ' -f 1 /proc/uptime; }
since() { awk -v a="$1" -v b="$(seconds)" 'BEGIN { printf "%.1f", b - a }'; }

# --- ranks ---

tiny="--layers 2 --heads 2 --width 32 --seq-len 16 --batch-size 1 --total-batch 128 --val-every 0 --sample-every 0
      --device cpu --text $work/story.txt"

# Starts a rank on its host in the background, as torchrun would: its process is rank0, rank1, ...
start() { # rank, ranks, command
    rank=$1 ranks=$2
    shift 2
    RANK=$rank WORLD_SIZE=$ranks MASTER_ADDR=${MASTER-10.77.0.1} MASTER_PORT=$PORT on "$((rank + ${FIRST:-0}))" "$@" > "out$rank" 2> "err$rank" &
    eval "rank$rank=$!"
    echo $! >> "$work/started"
}
process_of() { eval "echo \$rank$1"; }

start_all() { # ranks, command
    world=$1
    shift
    for r in $(seq 0 $((world - 1))); do start "$r" "$world" "$@"; done
}

# Waits for one rank, which must end with the status.
await_rank() { # rank, status
    wait "$(process_of "$1")"
    status=$?
    [ $status -eq "$2" ] || fail "rank $1 ended with status $status instead of $2: $(tail -n 1 "err$1")"
}
await_all() { # ranks, status
    for r in $(seq 0 $(($1 - 1))); do await_rank "$r" "$2"; done
}

torchrun() { # hosts, command
    count=$1
    shift
    start_all "$count" "$@"
    await_all "$count" 0
}

# What mpirun starts daemons with; as long as one runs, so does its host's shell.
cat > "$work/agent" << 'AGENT'
#!/bin/sh
host=$1
shift
exec ip netns exec "$NET${host#host}" unshare --uts --pid --fork --kill-child --mount-proc \
    sh -c 'hostname "$0" && mount --bind "$HOSTS_FILE.$0" /etc/hosts && mkdir -p "$TMPDIR/$0" && export TMPDIR="$TMPDIR/$0" && eval "$@"' "$host" "$@"
AGENT
chmod +x "$work/agent"

mpirun_start() { # hosts, command
    count=$1
    shift
    names=host0
    for i in $(seq 1 $((count - 1))); do names=$names,host$i; done
    NET=$net TMPDIR=$work on 0 mpirun --host "$names" --leave-session-attached --mca plm_rsh_agent "$work/agent" \
        --mca btl tcp,self --mca btl_tcp_if_include cable --mca oob_tcp_if_include cable "$@" > out0 2> err0 &
    rank0=$!
    echo $! >> "$work/started"
}
mpirun_on() { # hosts, command
    mpirun_start "$@"
    wait "$rank0"
    status=$?
    [ $status -eq 0 ] || fail "mpirun ended with status $status: $(grep . err0 | tail -n 3)"
}

# One rank, without a network: what all others must equal.
alone() { # folder, options
    expect 0 "$gpt" $tiny --out "$@"
}
same_bits() { # two runs
    [ "$(cat "$1/latest")" = "$(cat "$2/latest")" ] || fail "$1 ends at $(cat "$1/latest"), $2 at $(cat "$2/latest")"
    for file in model.safetensors optimizer.safetensors; do same "$(newest "$1")/$file" "$(newest "$2")/$file"; done
}

# A test that needs the network, which is as new for it.
net_test() { # name, function, its arguments
    run_test "$1" with_network "$2" "$3" "$4" "$5"
}
with_network() { # function, its arguments
    [ -z "$no_network" ] || skip "$no_network"
    ("$@")
    status=$?
    unshape
    for i in 0 1 2 3; do plug $i up; done
    return $status
}

# --- a meeting that fails takes a minute: hosts 4 and 5 try from here on ---

vanish="packets to rank 0 vanish: all give up after a minute"
vanishing() {
    mkdir "$work/vanishing" && cd "$work/vanishing" && ip -n "${net}4" route add blackhole 10.77.0.6/32 || exit 1
    begin=$(seconds) FIRST=4 MASTER=10.77.0.5
    start 1 2 "$gpt" $tiny --out run --steps 8
    start 0 2 "$gpt" $tiny --out run --steps 8
    wait "$rank0"
    status0=$?
    wait "$rank1"
    echo "$status0 $?" > statuses
    since "$begin" > took
}
case $vanish in
*"$pattern"*)
    [ -n "$no_network" ] || vanishing &
    vanishing=$!
    ;;
esac

# --- the same bits from any number of hosts ---

same_as_one() { # launcher, hosts
    alone one --steps 8
    "$1" "$2" "$gpt" $tiny --out run --steps 8
    says "ranks     $2, of which $2 on this machine" out0
    same_bits one run
}
net_test "torchrun's variables: 2 hosts, bit-equal to one" same_as_one torchrun 2
net_test "torchrun's variables: 4 hosts, bit-equal to one" same_as_one torchrun 4
same_by_mpi() { # hosts
    command -v mpirun > "$work/null" || skip "there is no mpirun"
    same_as_one mpirun_on "$1"
}
net_test "mpirun: 2 hosts, bit-equal to one" same_by_mpi 2
net_test "mpirun: 4 hosts, bit-equal to one" same_by_mpi 4

# --- slow, lossy and narrow cables ---

netem() { # hosts, netem's options: what befalls frames on their way from a host to the switch
    for i in $(seq 0 $(($1 - 1))); do
        tc -n "$net$i" qdisc replace dev cable root netem $2 2> tc.log || skip "tc has no netem: $(head -n 1 tc.log)"
    done
    alone one --steps 8
    torchrun "$1" "$gpt" $tiny --out run --steps 8
    same_bits one run
}
for hosts in 2 4; do
    net_test "20 ms of delay, $hosts hosts: bit-equal" netem $hosts "delay 20ms"
    net_test "5% of frames lost, $hosts hosts: bit-equal" netem $hosts "loss 5%"
done

# A queue so short that it drops what TCP sends too fast.
short_queue() { # hosts
    shape "$1" tbf rate 20mbit burst 4kb limit 6kb || skip "tc has no tbf: $(head -n 1 tc.log)"
    alone one --steps 8
    torchrun "$1" "$gpt" $tiny --out run --steps 8
    same_bits one run
    drops=$(tc -n "$net"0 -s qdisc show dev cable | sed -n 's/.*dropped \([0-9]*\).*/\1/p')
    [ "$drops" -gt 0 ] || fail "the queue dropped nothing"
}
net_test "a queue that drops frames, 4 hosts: bit-equal" short_queue 4

# A rank sends its part of each sum and of the new weights: 2 (W-1)/W P 4 bytes a step. With two hosts that takes longer
# than the timeout, but none is silent; of more, those that are done hear nothing from those that are not.
narrow() { # hosts, timeout
    shape "$1" tbf rate 20mbit burst 16kb latency 200ms || skip "tc has no tbf: $(head -n 1 tc.log)"
    torchrun "$1" "$gpt" $tiny --width 256 --total-batch 64 --steps 2 --comm-timeout "$2" --out run
    parameters=$(sed -n 's/^model .* \([0-9]*\) parameters$/\1/p' out0)
    awk -F, -v W="$1" -v P="$parameters" '
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
        NR > 1 { waited += $column["wait_ms"] / 1e3; n++; step = $column["seconds"] / n }
        END {
            bytes = 2 * (W - 1) / W * P * 4
            least = bytes / (20e6 / 8)
            printf "      %d hosts: %.2f MB a rank and step take %.2f s at 20 Mbit/s; a step took %.2f s, of which %.2f s waiting: ratio %.2f\n",
                W, bytes / 1e6, least, step, waited / n, step / least
            exit !(n == 2 && step > 0.9 * least && step < 4 * least && waited / n > 0.8 * step)
        }' run/metrics.csv > "$work/ratio" || fail "$(cat "$work/ratio")"
}
for hosts in 2 4; do
    net_test "20 Mbit/s, $hosts hosts: a step takes as long as its bytes" narrow $hosts $((hosts == 2 ? 1 : 300))
    [ ! -f "$work/ratio" ] || { cat "$work/ratio"; rm "$work/ratio"; }
done

# --- cables and hosts that fail ---

# On 4 hosts: 40 steps of about a tenth of a second each.
slow_run() { # options
    shape $HOSTS tbf rate 20mbit burst 16kb latency 200ms || skip "tc has no tbf: $(head -n 1 tc.log)"
    alone one --steps 40 --checkpoint-every 5 --keep 2
    start_all $HOSTS "$gpt" $tiny --out run --steps 40 --checkpoint-every 5 --keep 2 "$@"
}

# All ranks but those given end with status 1 within 10 seconds; the first that is left says who is lost and how to go on.
# A rank that is alone hears from nobody and may say so.
lose() { # rank, ranks that do not end by themselves
    begin=$(seconds)
    for r in 0 1 2 3; do [ "$r" = "$2" ] || await_rank $r 1; done
    took=$(since "$begin")
    [ "${took%.*}" -lt 10 ] || fail "the ranks ended after $took s"
    speaker=0
    [ "$1" -ne 0 ] || speaker=1
    says_all "rank $1 is lost: process ;on host$1 ;To continue, ./train_gpt --resume --out run" err$speaker
    for r in 0 1 2 3; do
        [ $r -eq $speaker ] || [ $r -eq "$1" ] || [ ! -s err$r ] || fail "rank $r speaks too: $(cat err$r)"
    done
}

goes_on() { # hosts
    unshape
    last=$(awk -F, 'END { print $1 }' run/metrics.csv)
    [ "$last" -lt 40 ] || fail "the run was over"
    if [ "$1" -eq 1 ]; then expect 0 resume --out run; else torchrun "$1" "$gpt" --resume --out run; fi
    same_bits one run
}

pulled() { # rank, hosts of the resumed run
    slow_run --comm-timeout 3
    await_lines run/metrics.csv 12
    plug "$1" down
    lose "$1" none
    plug "$1" up
    goes_on "$2"
}
net_test "a cable is pulled for good: 4 hosts, resumed on 2" pulled 2 2
net_test "rank 0's cable is pulled for good: 4 hosts, resumed on 1" pulled 0 1

pulled_briefly() { # rank
    slow_run
    await_lines run/metrics.csv 12
    plug "$1" down
    before=$(wc -l < run/metrics.csv)
    sleep 1
    [ "$(wc -l < run/metrics.csv)" -le $((before + 1)) ] || fail "the run went on without a cable"
    plug "$1" up
    await_all $HOSTS 0
    same_bits one run
}
net_test "a cable is pulled for a second: nothing is lost" pulled_briefly 3

killed() { # rank, hosts of the resumed run
    slow_run
    await_lines run/metrics.csv 12
    kill -s KILL "$(process_of "$1")"
    lose "$1" "$1"
    goes_on "$2"
}
net_test "kill -9 of a rank: 4 hosts, resumed on 2" killed 3 2
net_test "kill -9 of rank 0: 4 hosts, resumed on 1" killed 0 1

# mpirun ends the others' processes. Itself it waits for its daemon on a host that it cannot reach.
lost_by_mpi() { # command with the process of rank 2 on its host, hosts of the resumed run
    command -v mpirun > "$work/null" || skip "there is no mpirun"
    shape $HOSTS tbf rate 20mbit burst 16kb latency 200ms || skip "tc has no tbf: $(head -n 1 tc.log)"
    alone one --steps 40 --checkpoint-every 5 --keep 2
    mpirun_start $HOSTS "$gpt" $tiny --out run --steps 40 --checkpoint-every 5 --keep 2 --comm-timeout 3
    await_lines run/metrics.csv 12
    process=$(ranks_on 2)
    [ -n "$process" ] || fail "rank 2 is not on its host"
    begin=$(seconds)
    eval "$1"
    took=0
    while [ "$(for h in 0 1 2 3; do ranks_on $h; done)" != "" ]; do
        [ "${took%.*}" -lt 10 ] || fail "after $took s ranks are left"
        sleep 0.1
        took=$(since "$begin")
    done
    if [ "$1" = "plug 2 down" ]; then
        says_all "is lost: process ;To continue, ./train_gpt --resume --out run" err0
        kill -s KILL "$rank0"
        wait "$rank0" 2> "$work/null"
        plug 2 up
    else
        wait "$rank0" && fail "mpirun ended with status 0"
    fi
    goes_on "$2"
}
net_test "mpirun: kill -9 of a rank" lost_by_mpi 'kill -s KILL $process' 2
net_test "mpirun: a cable is pulled for good" lost_by_mpi 'plug 2 down' 1

# --- the meeting ---

meets() { # first rank, second, seconds between
    alone one --steps 8
    start "$1" 2 "$gpt" $tiny --out run --steps 8
    sleep "$3"
    start "$2" 2 "$gpt" $tiny --out run --steps 8
    await_all 2 0
    same_bits one run
}
net_test "rank 1 starts 5 s after rank 0" meets 0 1 5
net_test "rank 0 starts 5 s after rank 1" meets 1 0 5

plugged_late() {
    alone one --steps 8
    plug 0 down
    start_all 2 "$gpt" $tiny --out run --steps 8
    sleep 5
    plug 0 up
    await_all 2 0
    same_bits one run
}
net_test "rank 0's cable comes 5 s late" plugged_late

by_name() {
    MASTER=host0
    same_as_one torchrun 2
}
gives_up() {
    [ -z "$no_network" ] || skip "$no_network"
    wait "$vanishing"
    cd "$work/vanishing" || exit 1
    [ "$(cat statuses)" = "1 1" ] || fail "the ranks ended with status $(cat statuses)"
    took=$(cat took)
    [ "${took%.*}" -le 65 ] || fail "it took $took s"
    says "only 1 of 2 ranks came to 10.77.0.5:29501 (MASTER_PORT + 1) within 60 seconds" err0
}
run_test "$vanish" gives_up

net_test "MASTER_ADDR is a name that is 127.0.1.1 on its own host" by_name

by_ipv6() {
    ip -n "${net}0" -6 addr show dev cable 2> "$work/null" | grep -q fd77 || skip "there is no IPv6"
    MASTER=fd77::1
    same_as_one torchrun 4
}
net_test "MASTER_ADDR is an IPv6 address" by_ipv6

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
